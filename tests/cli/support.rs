//! Running the command.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::starting::unless_given_up;
use crate::wait::{LONG, wait_for};

/// What a finished command left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// `None` if a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The longest a start that fails may take.
pub(crate) const FAILURE_LIMIT: Duration = Duration::from_secs(60);

/// The command with these arguments and an environment that holds no credentials.
pub(crate) fn mount_s3(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mount-s3"));
    command
        .args(args)
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .env("HOME", "/nonexistent")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// Runs a command to its end.
///
/// The end is that of its output too: a background process that keeps the launcher's pipes open
/// makes this fail.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Outcome {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let stdout = read_all(child.stdout.take().expect("piped"));
    let stderr = read_all(child.stderr.take().expect("piped"));
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            break status;
        }
        if start.elapsed() > limit {
            child.kill().expect("the child is ours");
            panic!("{command:?} took longer than {limit:?}");
        }
        thread::sleep(Duration::from_millis(5));
    };
    while !(stdout.is_finished() && stderr.is_finished()) {
        assert!(
            start.elapsed() < limit,
            "{command:?} has ended, its output has not"
        );
        thread::sleep(Duration::from_millis(5));
    }
    Outcome {
        status: status.code(),
        stdout: stdout.join().expect("read"),
        stderr: stderr.join().expect("read"),
    }
}

/// Starts a mount in the foreground and waits until it answers. One that has given up, as it got no answer
/// in time, is started again: the machine may have stood still.
pub(crate) fn start(command: &mut Command) -> Child {
    unless_given_up(|| {
        let spawned = command.stdout(Stdio::piped()).spawn();
        let mut child = spawned.expect("the command starts");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let read = stdout.read_line(&mut line);
        if line.contains("is mounted at") {
            return Ok(child);
        }
        _ = child.kill();
        _ = child.wait();
        Err(format!("{read:?}, {line:?}: {command:?}"))
    })
}

/// Waits for the end of a process.
pub(crate) fn end_of(child: &mut Child) -> ExitStatus {
    wait_for("the process to end", LONG, || {
        child.try_wait().expect("the child is ours")
    })
}

/// Sends a signal to a process. By no command: a process that is started closes its copies of open
/// files first, and the kernel lets it wait for a write to one of them.
pub(crate) fn kill(signal: &str, pid: u32) {
    let signal: Signal = format!("SIG{signal}").parse().expect("a signal");
    let pid = i32::try_from(pid).expect("a process");
    signal::kill(Pid::from_raw(pid), signal).expect("sent");
}

fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).expect("text");
        text
    })
}
