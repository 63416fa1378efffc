//! `mount-s3 top`: what it prints, and what it shows in a terminal.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::metrics::{LIMIT, Mounted, settle, start_store};
use crate::store::BUCKET;
use crate::support::{Outcome, mount_s3, run};
use crate::wait::wait_for;

#[test]
fn top_prints_what_a_mount_does() {
    let server = start_store();
    server.put_bytes(BUCKET, "dir/file\u{1b}[2J", &[1; 1 << 20]);
    let mounted = Mounted::start(&server, &["--read-only"], &[]);
    let file = mounted.path("dir/file\u{1b}[2J");
    assert_eq!(fs::read(&file).expect("read").len(), 1 << 20);
    settle(&mounted, &server);
    let below = mounted.path("dir");
    for directory in [mounted.mount_point.text(), &below] {
        let outcome = run(
            &mut mount_s3(&["top", directory, "--once", "--interval", "0.2"]),
            LIMIT,
        );
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        for part in [
            "s3://some-bucket/ at ",
            "read     0 B/s, 1.0 MiB in all",
            "S3 REQUEST",
            "GetObject",
            "KERNEL REQUEST",
            "dir/file\\u{1b}[2J",
        ] {
            assert!(outcome.stdout.contains(part), "{part}\n{}", outcome.stdout);
        }
    }
    // Not a terminal: as with --once.
    let plain = run(&mut mount_s3(&["top", mounted.mount_point.text()]), LIMIT);
    assert_eq!(plain.status, Some(0), "{plain:?}");
    assert!(plain.stdout.contains("KERNEL REQUEST"), "{plain:?}");
    let list = run(&mut mount_s3(&["top"]), LIMIT);
    assert_eq!(list.status, Some(0), "{list:?}");
    let line = format!("{} (s3://some-bucket/)", mounted.mount_point.text());
    assert!(list.stdout.contains(&line), "{list:?}");
    let other = run(&mut mount_s3(&["top", "/proc", "--once"]), LIMIT);
    assert_eq!(other.status, Some(1), "{other:?}");
    assert!(
        other.stderr.contains("Failed to find the mount of /proc"),
        "{other:?}"
    );
}

/// `mount-s3 top` in a terminal.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    seen: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    fn top(mounted: &Mounted) -> Self {
        let top = format!(
            "{} top {} --interval 0.2",
            env!("CARGO_BIN_EXE_mount-s3"),
            mounted.mount_point.text()
        );
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--command", &top, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script(1) of util-linux");
        let seen = Arc::<Mutex<String>>::default();
        let mut out = child.stdout.take().expect("piped");
        let to = Arc::clone(&seen);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = out.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]);
                to.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_str(&text);
            }
        });
        let keys = child.stdin.take().expect("piped");
        Self {
            child,
            keys,
            seen,
            reader,
        }
    }

    fn seen(&self) -> String {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn wait_for_text(&self, text: &str) {
        wait_for(text, LIMIT, || self.seen().contains(text).then_some(()));
    }

    /// Waits for the end, and for the terminal to be as it was; gives the exit status.
    fn end(mut self) -> (Option<i32>, String) {
        let status = wait_for("top to end", LIMIT, || self.child.try_wait().expect("ours"));
        wait_for("the last of what it shows", LIMIT, || {
            self.reader.is_finished().then_some(())
        });
        let seen = self.seen();
        assert!(seen.contains("\u{1b}[?1049l"), "the screen is left");
        assert!(seen.contains("\u{1b}[?25h"), "the cursor is shown");
        (status.code(), seen)
    }
}

#[test]
fn top_shows_a_mount_until_a_key_is_pressed() {
    let server = start_store();
    let mounted = Mounted::start(&server, &[], &[]);
    for key in ["q", "\u{3}"] {
        let mut terminal = Terminal::top(&mounted);
        terminal.wait_for_text("\u{1b}[?1049h");
        terminal.wait_for_text("KERNEL REQUEST");
        terminal.keys.write_all(key.as_bytes()).expect("sent");
        terminal.keys.flush().expect("sent");
        assert_eq!(terminal.end().0, Some(0), "{key:?}");
    }
}

#[test]
fn top_tells_of_the_end_of_the_mount() {
    let server = start_store();
    let mut mounted = Mounted::start(&server, &[], &[]);
    let terminal = Terminal::top(&mounted);
    terminal.wait_for_text("KERNEL REQUEST");
    mounted.end();
    let (status, seen) = terminal.end();
    assert_eq!(status, Some(1), "{seen}");
    assert!(seen.contains("has ended"), "{seen}");
}

#[test]
fn help_of_top_says_what_it_is() {
    let Outcome { status, stdout, .. } = run(&mut mount_s3(&["top", "--help"]), LIMIT);
    assert_eq!(status, Some(0));
    assert!(stdout.contains("--interval <SECONDS>"), "{stdout}");
}
