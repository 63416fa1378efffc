//! The command line as mount(8) writes it for a line of fstab(5):
//! `mount.mount-s3 SOURCE DIRECTORY [-sfnv] -o OPTIONS`.

use std::ffi::{OsStr, OsString};

/// A command line of mount(8), as one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FstabLine {
    /// The words, the name of the program first.
    pub(super) words: Vec<OsString>,
    /// What is mounted, as mount(8) was told it, if it is text.
    pub(super) source: Option<String>,
    /// Whether all is to be done but mounting (`mount -f`).
    pub(super) is_fake: bool,
}

/// What is told when a command line is taken for one of mount(8).
pub(super) const NOTICE: &str = "Using 'fstab' style options as detected use of `-o` argument.";

/// Translates a command line, if it is one of mount(8).
///
/// # Errors
/// The options cannot be meant; the text names the one, and the remedy.
pub(super) fn translate(words: &[OsString]) -> Option<Result<FstabLine, String>> {
    let [program, source, directory, of_mount @ .., dash_o, options] = words else {
        return None;
    };
    // mount(8) hands these on: sloppy, fake, no mtab, verbose.
    let is_of_mount = |word: &OsString| ["-s", "-f", "-n", "-v"].iter().any(|flag| word == flag);
    if dash_o != "-o" || !of_mount.iter().all(is_of_mount) {
        return None;
    }
    Some(flags_of(options).map(|flags| {
        FstabLine {
            words: [program, source, directory]
                .into_iter()
                .cloned()
                .chain(flags.into_iter().map(OsString::from))
                .collect(),
            source: source.to_str().map(str::to_owned),
            is_fake: of_mount.iter().any(|word| word == "-f"),
        }
    }))
}

/// The flags that a list of options stands for.
fn flags_of(options: &OsStr) -> Result<Vec<String>, String> {
    let options = options
        .to_str()
        .ok_or_else(|| "the options after -o must be UTF-8 text".to_owned())?;
    let options = split(options)?;
    let has = |name| options.iter().any(|option| option == name);
    if has("ro") && has("rw") {
        return Err("Cannot use 'ro' flag combined with 'rw' flag.".to_owned());
    }
    options
        .iter()
        .filter(|option| !is_dropped(option))
        .map(|option| flag_of(option))
        .collect()
}

/// Splits at commas that no backslash precedes.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut options = vec![String::new()];
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let plain = match c {
            ',' => {
                options.push(String::new());
                continue;
            }
            '"' => {
                return Err(
                    "a quotation mark in the options needs a backslash before it".to_owned(),
                );
            }
            '\\' => match rest.next() {
                Some(escaped @ (',' | '\\' | '"')) => escaped,
                Some(other) => {
                    return Err(format!(
                        "'\\{other}' in the options is not an escape: \\, \\\\ and \\\" are"
                    ));
                }
                None => return Err("the options end with a lone backslash".to_owned()),
            },
            other => other,
        };
        if let Some(option) = options.last_mut() {
            option.push(plain);
        }
    }
    Ok(options)
}

/// Whether an option is for mount(8) or systemd, or says what is so anyway.
fn is_dropped(option: &str) -> bool {
    option.is_empty()
        || option.starts_with("x-")
        || FOR_OTHERS.contains(&option)
        || IN_FORCE.contains(&option)
}

fn flag_of(option: &str) -> Result<String, String> {
    let name = option.split_once('=').map_or(option, |(name, _value)| name);
    if option.starts_with('-') {
        return Err(format!("options must not start with '-': '{option}'"));
    }
    match name {
        "ro" => return Ok("--read-only".to_owned()),
        "read-only" => return Err("Use 'ro' instead of 'read-only' with -o".to_owned()),
        "foreground" => {
            return Err(
                "'foreground' can not be used with -o: mount(8) waits for the end".to_owned(),
            );
        }
        "remount" => {
            return Err(
                "a mount can not be changed while it is mounted ('remount'): umount and mount it again"
                    .to_owned(),
            );
        }
        _ => {}
    }
    match NEVER.iter().find(|(never, _)| *never == name) {
        Some((_, instead)) => Err(format!(
            "'{name}' is not possible: mounts are always {instead}; write {instead} instead"
        )),
        None => Ok(format!("--{option}")),
    }
}

/// What mount(8), systemd and the boot process make of a line.
const FOR_OTHERS: [&str; 9] = [
    "auto", "noauto", "user", "nouser", "users", "_netdev", "nofail", "defaults", "rw",
];

/// What every mount of ours is.
const IN_FORCE: [&str; 5] = ["nodev", "nosuid", "noatime", "exec", "async"];

/// What no mount of ours can be, and what it is.
const NEVER: [(&str, &str); 5] = [
    ("dev", "nodev"),
    ("suid", "nosuid"),
    ("noexec", "exec"),
    ("relatime", "noatime"),
    ("sync", "async"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    /// What a list of options becomes.
    fn flags(options: &str) -> Result<Vec<String>, String> {
        flags_of(OsStr::new(options))
    }

    #[test]
    fn translate_takes_what_mount_writes_and_nothing_else() {
        let line = |flags: &[&str]| {
            let all = [&["mount.mount-s3", "b", "/m"], flags, &["-o", "rw,uid=7"]].concat();
            translate(&words(&all))
        };
        let expected = words(&["mount.mount-s3", "b", "/m", "--uid=7"]);
        for (flags, is_fake) in [
            (&[][..], false),
            (&["-n", "-v"], false),
            (&["-s", "-f"], true),
        ] {
            let words = expected.clone();
            assert_eq!(
                line(flags),
                Some(Ok(FstabLine {
                    words,
                    source: Some("b".to_owned()),
                    is_fake
                })),
                "{flags:?}"
            );
        }
        for other in [
            &["mount-s3", "b", "/m"][..],
            &["mount-s3", "b", "/m", "-o"],
            &["mount-s3", "b", "/m", "--uid", "7"],
            &["mount-s3", "b", "/m", "-d", "-o", "rw"],
            &["mount-s3", "index", "-o", "f"],
            &["mount-s3", "index", "s3://b/", "-o", "f", "--check"],
            &["mount-s3", "b", "-o", "rw", "/m"],
        ] {
            assert_eq!(translate(&words(other)), None, "{other:?}");
        }
    }

    #[test]
    fn options_become_flags() {
        let documented = "_netdev,nosuid,nodev,nofail,rw,allow-delete,uid=7";
        let cases: &[(&str, &[&str])] = &[
            ("rw", &[]),
            ("", &[]),
            (",,", &[]),
            (documented, &["--allow-delete", "--uid=7"]),
            ("auto,noauto,user,nouser,users,_netdev,nofail,rw", &[]),
            (
                "x-systemd.automount,x-systemd.idle-timeout=60,defaults",
                &[],
            ),
            ("ro", &["--read-only"]),
            ("nodev,nosuid,noatime,exec,async", &[]),
            ("profile=a=b", &["--profile=a=b"]),
            (
                r#"user-agent-prefix=a\,b\\c\"d"#,
                &[r#"--user-agent-prefix=a,b\c"d"#],
            ),
        ];
        for (options, expected) in cases {
            let expected = expected.iter().map(|flag| (*flag).to_owned()).collect();
            assert_eq!(flags(options), Ok(expected), "{options}");
        }
    }

    #[test]
    fn options_that_cannot_be_meant_are_refused_by_name() {
        for (options, reason) in [
            ("ro,rw", "Cannot use 'ro' flag combined with 'rw' flag."),
            ("rw,foreground", "'foreground'"),
            ("read-only", "Use 'ro' instead"),
            ("rw,--allow-delete", "'--allow-delete'"),
            ("-d", "'-d'"),
            ("remount,ro", "umount and mount it again"),
            ("dev", "write nodev instead"),
            ("rw,suid", "write nosuid instead"),
            ("sync", "write async instead"),
            (r#"profile="a""#, "quotation mark"),
            (r"profile=\a", r"'\a'"),
            (r"rw\", "lone backslash"),
        ] {
            let error = flags(options).expect_err(options);
            assert!(error.contains(reason), "{options}: {error}");
        }
    }
}
