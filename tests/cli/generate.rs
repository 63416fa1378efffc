//! Manual pages and completions, as packages have them.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::{mount_s3, run};

const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn manual_pages_are_ones_that_man_can_show() {
    let place = tempfile::tempdir().expect("a directory");
    let directory = place.path().join("man1");
    let outcome = run(
        &mut mount_s3(&["generate", "man", directory.to_str().expect("UTF-8")]),
        LIMIT,
    );
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert_eq!(
        (outcome.stdout, outcome.stderr),
        (String::new(), String::new())
    );
    let page = directory.join("mount-s3.1");
    let shown = Command::new("groff")
        .args(["-man", "-Tutf8", "-ww", "-P-cbou"])
        .arg(&page)
        .output()
        .expect("groff: apt-get install groff-base");
    assert_eq!(String::from_utf8_lossy(&shown.stderr), "");
    let text = String::from_utf8_lossy(&shown.stdout).replace(['\u{2010}', '\u{2212}'], "-");
    for expected in [
        "--metadata-ttl",
        "MOUNTPOINT_LOG",
        "SIGUSR2",
        "mount-s3-staged(1)",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    for name in [
        "mount-s3-index.1",
        "mount-s3-staged.1",
        "mount-s3-staged-recover.1",
        "mount-s3-cache.1",
        "mount-s3-cache-warm.1",
    ] {
        assert!(directory.join(name).exists(), "{name}");
    }
}

#[test]
fn completions_are_ones_that_the_shell_takes() {
    let place = tempfile::tempdir().expect("a directory");
    let outcome = run(
        &mut mount_s3(&[
            "generate",
            "completions",
            place.path().to_str().expect("UTF-8"),
        ]),
        LIMIT,
    );
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    for name in ["mount-s3.bash", "_mount-s3", "mount-s3.fish"] {
        assert!(place.path().join(name).exists(), "{name}");
    }
    let script = ". ./mount-s3.bash; function=$(complete -p mount-s3 | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \
                  COMP_WORDS=(mount-s3 --metadata-t); COMP_CWORD=1; \
                  \"$function\" mount-s3 --metadata-t mount-s3; echo \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    let completed = run(bash.args(["-c", script]).current_dir(place.path()), LIMIT);
    assert_eq!(completed.stdout, "--metadata-ttl\n", "{completed:?}");
}

#[test]
fn directory_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("UTF-8");
    let outcome = run(&mut mount_s3(&["generate", "man", path]), LIMIT);
    assert_eq!(outcome.status, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains(path), "{outcome:?}");
    assert!(fs::read(file.path()).is_ok_and(|text| text.is_empty()));
}
