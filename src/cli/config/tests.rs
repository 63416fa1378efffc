//! Flags and environment, joined.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::tree::Ttl;

fn config(words: &[&str], environment: Environment) -> Result<Config, Failure> {
    let words = [&["mount-s3", "bucket", "/mnt"], words].concat();
    let args = Args::parse_words(words.iter().map(OsString::from)).expect("valid");
    Config::new(args, environment)
}

fn set(value: &str) -> Option<OsString> {
    Some(OsString::from(value))
}

#[test]
fn new_prefers_flags_to_the_environment() {
    let environment = || Environment {
        region: set("eu-west-1"),
        endpoint_url: set("https://env.example.com"),
        ca_bundle: set("/env.pem"),
        max_attempts: set("3"),
        ..Environment::default()
    };
    let client = config(&[], environment()).expect("valid").client;
    assert_eq!(client.region.as_deref(), Some("eu-west-1"));
    assert_eq!(
        client.endpoint_url.as_deref(),
        Some("https://env.example.com")
    );
    assert_eq!(client.ca_bundle, Some(PathBuf::from("/env.pem")));
    assert_eq!(client.max_attempts, NonZeroU32::new(3));

    let flags = [
        "--region",
        "us-west-2",
        "--endpoint-url",
        "http://flag.example.com",
        "--ca-bundle",
        "/flag.pem",
    ];
    let client = config(&flags, environment()).expect("valid").client;
    assert_eq!(client.region.as_deref(), Some("us-west-2"));
    assert_eq!(
        client.endpoint_url.as_deref(),
        Some("http://flag.example.com")
    );
    assert_eq!(client.ca_bundle, Some(PathBuf::from("/flag.pem")));
}

#[test]
fn new_refuses_a_bad_variable_by_name() {
    for (environment, name) in [
        (
            Environment {
                max_attempts: set("0"),
                ..Environment::default()
            },
            "AWS_MAX_ATTEMPTS",
        ),
        (
            Environment {
                endpoint_url: set("s3.example.com"),
                ..Environment::default()
            },
            "AWS_ENDPOINT_URL",
        ),
        (
            Environment {
                s3_endpoint_url: set("s3.example.com"),
                ..Environment::default()
            },
            "AWS_ENDPOINT_URL_S3",
        ),
        (
            Environment {
                region: set("eu west"),
                ..Environment::default()
            },
            "AWS_REGION",
        ),
    ] {
        let failure = config(&[], environment).expect_err("refused").to_string();
        assert!(failure.contains(name), "{failure}");
    }
}

#[test]
fn endpoint_of_s3_alone_counts_before_that_of_all_services() {
    let endpoint = |flags: &[&str], all: &str, s3: &str| {
        let set = |url: &str| (!url.is_empty()).then(|| OsString::from(url));
        let environment = Environment {
            endpoint_url: set(all),
            s3_endpoint_url: set(s3),
            ..Environment::default()
        };
        let config = config(flags, environment).expect("valid");
        config.client.endpoint_url.unwrap_or_default()
    };
    let (all, s3) = ("https://all.example", "https://s3.example");
    assert_eq!(endpoint(&[], all, ""), all);
    assert_eq!(endpoint(&[], all, s3), s3);
    assert_eq!(endpoint(&[], "", s3), s3);
    let flag = "https://flag.example";
    assert_eq!(endpoint(&["--endpoint-url", flag], all, s3), flag);
}

#[test]
fn new_takes_a_bad_variable_that_a_flag_overrides() {
    let environment = Environment {
        region: set("eu west"),
        ..Environment::default()
    };
    config(&["--region", "eu-west-1"], environment).expect("the flag counts");
}

#[test]
fn new_chooses_role_and_log_target() {
    let child = || Environment {
        background: true,
        ..Environment::default()
    };
    let none = Environment::default;
    let directory = LogTarget::Directory(PathBuf::from("/logs"));
    for (flags, environment, role, target) in [
        (&[][..], none(), Role::Launcher, LogTarget::Syslog),
        (&[], child(), Role::Background, LogTarget::Syslog),
        (&["-f"], none(), Role::Foreground, LogTarget::StandardError),
        (
            &["-f", "-l", "/logs"],
            none(),
            Role::Foreground,
            directory.clone(),
        ),
        (&["-l", "/logs"], child(), Role::Background, directory),
        (&["--no-log"], none(), Role::Launcher, LogTarget::Nowhere),
    ] {
        let config = config(flags, environment).expect("valid");
        assert_eq!(
            (config.role, config.log.target),
            (role, target),
            "{flags:?}"
        );
    }
}

#[test]
fn new_takes_the_log_filter_of_the_environment_over_the_flags() {
    let filter = |flags: &[&str], directives: Option<OsString>| {
        let environment = Environment {
            log_filter: directives,
            ..Environment::default()
        };
        config(flags, environment).expect("valid").log.filter
    };
    assert_eq!(filter(&[], None), "warn,crt=error");
    assert_eq!(filter(&["-d"], None), "warn,mount_s3=debug,crt=error");
    assert_eq!(filter(&["--debug-crt"], None), "warn,crt=debug");
    let metrics = "warn,crt=error,metrics=info";
    assert_eq!(filter(&["--log-metrics"], None), metrics);
    assert_eq!(filter(&["-d"], set("trace")), "trace");
}

#[test]
fn new_takes_the_negative_ttl_from_the_positive_one() {
    let mount = |flags: &[&str]| config(flags, Environment::default()).expect("valid").mount;
    let minute = Ttl::For(Duration::from_secs(60));
    assert_eq!(mount(&[]).negative_metadata_ttl, Ttl::Minimal);
    assert_eq!(
        mount(&["--metadata-ttl", "60"]).negative_metadata_ttl,
        minute
    );
    let both = ["--metadata-ttl", "60", "--negative-metadata-ttl", "minimal"];
    assert_eq!(mount(&both).negative_metadata_ttl, Ttl::Minimal);
}

#[test]
fn new_takes_no_credentials_when_requests_are_not_signed() {
    let credentials = |flags: &[&str]| {
        let config = config(flags, Environment::default());
        config.expect("valid").client.credentials
    };
    assert_eq!(credentials(&[]), CredentialsSource::DefaultChain);
    let profile = CredentialsSource::Profile("dev".to_owned());
    assert_eq!(credentials(&["--profile", "dev"]), profile);
    let both = ["--profile", "dev", "--no-sign-request"];
    assert_eq!(credentials(&both), CredentialsSource::Anonymous);
}

#[test]
fn success_line_names_the_prefix_if_there_is_one() {
    let line = |flags: &[&str]| {
        let config = config(flags, Environment::default());
        config.expect("valid").success_line()
    };
    assert_eq!(line(&[]), "bucket bucket is mounted at /mnt");
    assert_eq!(
        line(&["--prefix", "a/b/"]),
        "prefix a/b/ of bucket bucket is mounted at /mnt"
    );
}

#[test]
fn new_takes_switches_of_the_environment() {
    let environment = Environment {
        dual_stack: set("TRUE"),
        fips: set("true"),
        ..Environment::default()
    };
    let client = config(&[], environment).expect("valid").client;
    assert!(client.dual_stack && client.fips);
    let off = Environment {
        dual_stack: set("false"),
        fips: set("false"),
        ..Environment::default()
    };
    let client = config(&["--dual-stack"], off).expect("valid").client;
    assert!(client.dual_stack && !client.fips);
}

#[test]
fn new_takes_the_kind_and_its_defaults_from_the_name() {
    use crate::s3::UploadChecksums::{Crc32c, Crc64Nvme, Off};
    let outpost = "arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-01/accesspoint/ap";
    let directory = "logs--use1-az5--x-s3";
    for (bucket, flags, kind, checksums) in [
        ("bucket", "", BucketKind::GeneralPurpose, Crc32c),
        (directory, "", BucketKind::Directory, Crc32c),
        (
            directory,
            "--bucket-type general-purpose",
            BucketKind::GeneralPurpose,
            Crc32c,
        ),
        (
            "bucket",
            "--bucket-type directory",
            BucketKind::Directory,
            Crc32c,
        ),
        (outpost, "", BucketKind::Outposts, Off),
        (
            outpost,
            "--upload-checksums crc64nvme",
            BucketKind::Outposts,
            Crc64Nvme,
        ),
    ] {
        let words = ["mount-s3", bucket, "/mnt"]
            .into_iter()
            .chain(flags.split_whitespace());
        let args = Args::parse_words(words.map(OsString::from)).expect("valid");
        let config = Config::new(args, Environment::default()).expect("valid");
        assert_eq!(
            (config.kind, config.objects.checksums),
            (kind, checksums),
            "{bucket} {flags}"
        );
        assert_eq!(config.mount.directory_bucket, kind == BucketKind::Directory);
    }
}
