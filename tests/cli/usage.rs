//! The command line: help, version, and what is refused with exit status 2.

use std::time::Duration;

use crate::support::{mount_s3, run};

const LIMIT: Duration = Duration::from_secs(120);

/// Every flag by the heading that it stands under.
const HELP: &[(&str, &[&str])] = &[
    ("Options", &["-h, --help", "-V, --version"]),
    (
        "Bucket options",
        &[
            "--prefix",
            "--region",
            "--endpoint-url",
            "--force-path-style",
            "--transfer-acceleration",
            "--dual-stack",
            "--requester-pays",
            "--expected-bucket-owner",
            "--bucket-type",
        ],
    ),
    (
        "AWS credentials options",
        &["--no-sign-request", "--profile"],
    ),
    (
        "Mount options",
        &[
            "--read-only",
            "--allow-delete",
            "--allow-overwrite",
            "--allow-rename",
            "--keep-directories",
            "--incremental-upload",
            "--write-mode",
            "--stage",
            "--writeback-cache",
            "--auto-unmount",
            "--allow-root",
            "--allow-other",
            "--uid",
            "--gid",
            "--dir-mode",
            "--file-mode",
            "--posix-metadata",
            "--xattrs",
            "-f, --foreground",
        ],
    ),
    (
        "Client options",
        &[
            "--maximum-throughput-gbps",
            "--memory-target",
            "--read-part-size",
            "--max-threads",
            "--part-size",
            "--write-part-size",
            "--ca-bundle",
            "--bind",
            "--user-agent-prefix",
        ],
    ),
    (
        "New object options",
        &[
            "--storage-class",
            "--sse",
            "--sse-kms-key-id",
            "--upload-checksums",
            "--infer-content-type",
        ],
    ),
    (
        "Logging options",
        &[
            "-l, --log-directory",
            "-d, --debug",
            "--debug-crt",
            "--log-metrics",
            "--no-log",
        ],
    ),
    (
        "Metrics options",
        &[
            "--otlp-endpoint",
            "--otlp-export-interval",
            "--metrics-listen",
            "--metrics-label",
        ],
    ),
    (
        "Caching options",
        &[
            "--index",
            "--cache",
            "--max-cache-size",
            "--cache-xz",
            "--metadata-ttl",
            "--negative-metadata-ttl",
        ],
    ),
];

/// Headings, and the spellings of the flags under them, of a help text.
pub(crate) fn outline(help: &str) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for line in help.lines() {
        if let Some(heading) = line.strip_suffix(':').filter(|h| !h.starts_with(' ')) {
            groups.push((heading.to_owned(), Vec::new()));
        } else if let Some(flag) = line.trim_start().strip_prefix('-')
            && line.find('-').is_some_and(|indent| indent <= 6)
            && let Some((_, flags)) = groups.last_mut()
        {
            let words: Vec<&str> = flag.split_whitespace().collect();
            let count = if words[0].ends_with(',') { 2 } else { 1 };
            flags.push(format!("-{}", words[..count].join(" ")));
        }
    }
    groups.retain(|(_, flags)| !flags.is_empty());
    groups
}

#[test]
fn help_shows_every_flag_under_its_heading() {
    for flag in ["-h", "--help"] {
        let outcome = run(&mut mount_s3(&[flag]), LIMIT);
        assert_eq!(outcome.status, Some(0));
        let expected: Vec<_> = HELP
            .iter()
            .map(|(heading, flags)| {
                let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
                ((*heading).to_owned(), flags)
            })
            .collect();
        assert_eq!(outline(&outcome.stdout), expected, "{}", outcome.stdout);
    }
}

#[test]
fn version_names_program_and_version() {
    for flag in ["-V", "--version"] {
        let outcome = run(&mut mount_s3(&[flag]), LIMIT);
        assert_eq!(outcome.status, Some(0));
        let version = outcome.stdout.strip_prefix("mount-s3 ").expect("the name");
        let version = version.strip_suffix('\n').expect("one line");
        let (number, build) = version.split_once('+').unwrap_or((version, "0"));
        assert_eq!(number, env!("CARGO_PKG_VERSION"));
        assert!(
            build.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{version}"
        );
    }
}

#[test]
fn wrong_command_line_exits_2_with_the_reason() {
    let cases: &[(&[&str], &str)] = &[
        (&[], "required arguments were not provided"),
        (&["bucket"], "<DIRECTORY>"),
        (&["bucket", "/mnt", "more"], "unexpected argument 'more'"),
        (
            &["bucket", "/mnt", "--bogus"],
            "unexpected argument '--bogus'",
        ),
        (&["b", "/mnt"], "bucket names must be 3-255 characters long"),
        (&["bu!cket", "/mnt"], "only letters, numbers, ., - and _"),
        (
            &["arn:aws:s3:::bucket", "/mnt"],
            "this is a bucket's ARN; use its name",
        ),
        (
            &["s3://arn:aws:s3:::bucket/", "/mnt"],
            "ARNs are not supported in s3:// URIs",
        ),
        (
            &["s3://bucket/prefix", "/mnt"],
            "invalid bucket prefix: prefix must end in '/'",
        ),
        (
            &["bucket", "/mnt", "--prefix", "a"],
            "invalid bucket prefix: prefix must end in '/'",
        ),
        (
            &["s3://bucket/", "/mnt", "--prefix", "a/"],
            "explicit prefix option not allowed with S3 URI",
        ),
        (
            &["bucket", "/mnt", "--file-mode", "9"],
            "must be a valid octal number",
        ),
        (
            &["bucket", "/mnt", "--dir-mode", "4755"],
            "only user/group/other permissions are supported",
        ),
        (&["bucket", "/mnt", "--uid", "0"], "0 is not in 1.."),
        (&["bucket", "/mnt", "--gid", "x"], "invalid digit"),
        (
            &["bucket", "/mnt", "--metadata-ttl", "soon"],
            "must be a number of seconds",
        ),
        (&["bucket", "/mnt", "--part-size", "0"], "0 is not in 1.."),
        (
            &["bucket", "/mnt", "--endpoint-url", "host"],
            "must start with https:// or http://",
        ),
        (
            &["bucket", "/mnt", "--allow-root", "--allow-other"],
            "cannot be used with",
        ),
        (
            &["bucket", "/mnt", "--sse", "rot13"],
            "[possible values: aws:kms, aws:kms:dsse, AES256]",
        ),
        (
            &["bucket", "/mnt", "--incremental-upload"],
            "only possible in a directory bucket",
        ),
        (
            &["bucket", "/mnt", "--no-log", "--debug"],
            "cannot be used with",
        ),
    ];
    for (args, reason) in cases {
        let outcome = run(&mut mount_s3(args), LIMIT);
        assert_eq!(outcome.status, Some(2), "{args:?}: {outcome:?}");
        assert_eq!(outcome.stdout, "", "{args:?}");
        assert!(
            outcome.stderr.contains(reason),
            "{args:?}: {}",
            outcome.stderr
        );
    }
}
