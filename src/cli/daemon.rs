//! Background start.
//!
//! The launcher runs this program again, with the same arguments, and waits on a pipe for the word
//! that the mount answers. A process that has threads cannot be forked safely; one that is
//! started afresh has none. The pipe is the new process's standard output, and each line on it is
//! one [`Report`].

use std::env;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use super::config::BACKGROUND_VARIABLE;
use super::exit::Failure;

/// What the background process tells the launcher.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Report {
    /// It begins with this.
    Stage(String),
    /// The mount answers.
    Ready,
    /// It ends; the text says why, ready to be printed.
    Failed(String),
}

/// The background process's end of the pipe.
#[derive(Debug)]
pub(super) struct Launcher(io::Stdout);

/// Starts the background process and waits until the mount answers.
///
/// # Errors
/// The process could not be started, ended too early, or took too long; or the text of its own
/// failure.
pub(super) fn launch() -> Result<(), Failure> {
    let failure = |error: io::Error| {
        Failure::new("Failed to start the background process")
            .caused_by(&error)
            .with_remedy("use --foreground")
    };
    let mut words = env::args_os();
    let mut command = Command::new(env::current_exe().map_err(failure)?);
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    let mut child = command
        .args(words)
        .env(BACKGROUND_VARIABLE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failure)?;
    let reports = child.stdout.take().map(follow);
    let reports = reports.ok_or_else(|| failure(io::ErrorKind::BrokenPipe.into()))?;
    await_ready(&mut child, &reports, START_TIMEOUT)
}

impl Launcher {
    /// The pipe that this process was started with.
    pub(super) fn inherited() -> Self {
        Self(io::stdout())
    }

    /// Tells what is being done now.
    pub(super) fn stage(&mut self, name: &str) {
        // If the launcher is gone, `ready` fails too, and that is where it matters.
        _ = self.send(&Report::Stage(name.to_owned()));
    }

    /// Tells that the mount answers, and leaves the terminal: its session and its files.
    ///
    /// # Errors
    /// The launcher is gone: nobody waits for this mount.
    pub(super) fn ready(mut self) -> io::Result<()> {
        let null = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")?;
        // Fails only for the leader of a process group, which has no terminal to leave.
        _ = setsid();
        self.send(&Report::Ready)?;
        // The standard files become `/dev/null` rather than nothing, so that no file opened later
        // is mistaken for one of them.
        for redirected in [dup2_stdin(&null), dup2_stdout(&null), dup2_stderr(&null)] {
            if let Err(error) = redirected {
                log::warn!("a standard file stays open: {error}");
            }
        }
        Ok(())
    }

    /// Tells why this process ends.
    pub(super) fn failed(mut self, failure: &Failure) {
        if self.send(&Report::Failed(failure.to_string())).is_err() {
            log::error!("{failure}");
        }
    }

    fn send(&mut self, report: &Report) -> io::Result<()> {
        self.0.write_all(report.to_line().as_bytes())?;
        self.0.flush()
    }
}

impl Report {
    fn to_line(&self) -> String {
        match self {
            Self::Stage(name) => format!("stage {name}\n"),
            Self::Ready => "ready\n".to_owned(),
            Self::Failed(text) => format!("failed {}\n", text.escape_default()),
        }
    }

    fn from_line(line: &str) -> Option<Self> {
        match line.split_once(' ') {
            None if line == "ready" => Some(Self::Ready),
            Some(("stage", name)) => Some(Self::Stage(name.to_owned())),
            Some(("failed", text)) => Some(Self::Failed(unescape(text))),
            _ => None,
        }
    }
}

/// Reads the pipe to its end, so that waiting for it can have a time limit.
fn follow(pipe: ChildStdout) -> Receiver<Report> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if let Some(report) = Report::from_line(&line)
                && sender.send(report).is_err()
            {
                return;
            }
        }
    });
    receiver
}

fn await_ready(
    child: &mut Child,
    reports: &Receiver<Report>,
    timeout: Duration,
) -> Result<(), Failure> {
    let deadline = Instant::now() + timeout;
    let mut stage = "starting".to_owned();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match reports.recv_timeout(left) {
            Ok(Report::Stage(name)) => stage = name,
            Ok(Report::Ready) => return Ok(()),
            Ok(Report::Failed(text)) => {
                end(child);
                return Err(Failure::new(text));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = end(child);
                return Err(
                    Failure::new("Failed to create mount process").because(format!(
                        "the background process ended before the mount was ready, while {stage} \
                     ({status})"
                    )),
                );
            }
            Err(RecvTimeoutError::Timeout) => {
                let status = end(child);
                return Err(Failure::new(format!(
                    "Timeout after {} seconds while waiting for mount process to be ready",
                    timeout.as_secs()
                ))
                .because(format!(
                    "the background process was still {stage} ({status})"
                ))
                .with_remedy("run it with --foreground --debug to see more"));
            }
        }
    }
}

/// Waits for the process to end; asks it to, and then forces it, if it does not by itself.
fn end(child: &mut Child) -> String {
    for signal in [None, Some(Signal::SIGTERM), Some(Signal::SIGKILL)] {
        if let (Some(signal), Ok(pid)) = (signal, i32::try_from(child.id())) {
            // It was not waited for yet, so the number still means this process.
            _ = kill(Pid::from_raw(pid), signal);
        }
        let deadline = Instant::now() + END_TIMEOUT;
        while Instant::now() < deadline {
            match child.try_wait() {
                Ok(Some(status)) => return status.to_string(),
                Ok(None) => thread::sleep(END_POLL),
                Err(error) => return error.to_string(),
            }
        }
    }
    "it does not end".to_owned()
}

/// Undoes [`str::escape_default`].
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match rest.next() {
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('t') => plain.push('\t'),
            Some('u') => {
                let digits: String = rest.by_ref().skip(1).take_while(|c| *c != '}').collect();
                let code = u32::from_str_radix(&digits, 16)
                    .ok()
                    .and_then(char::from_u32);
                plain.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

/// As long as Mountpoint for Amazon S3 waits.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a process may take to end before it is told so more firmly.
const END_TIMEOUT: Duration = Duration::from_secs(2);

const END_POLL: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shell(script: &str) -> (Child, Receiver<Report>) {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let reports = follow(child.stdout.take().expect("piped"));
        (child, reports)
    }

    fn outcome(script: &str, timeout: Duration) -> Result<(), String> {
        let (mut child, reports) = shell(script);
        let result = await_ready(&mut child, &reports, timeout);
        end(&mut child);
        result.map_err(|failure| failure.to_string())
    }

    #[test]
    fn await_ready_returns_when_the_process_is_ready() {
        let script = "echo stage one; echo strange; echo ready; exec sleep 60";
        assert_eq!(outcome(script, Duration::from_secs(60)), Ok(()));
    }

    #[test]
    fn await_ready_gives_the_failure_of_the_process() {
        let script = r"printf '%s\n' 'failed one\n\ntwo'; exit 1";
        let failure = outcome(script, Duration::from_secs(60));
        assert_eq!(failure, Err("one\n\ntwo".to_owned()));
    }

    #[test]
    fn await_ready_names_the_stage_when_the_process_ends_early() {
        let failure = outcome("echo stage testing; kill -9 $$", Duration::from_secs(60));
        let failure = failure.expect_err("it ended");
        assert!(failure.contains("while testing (signal: 9"), "{failure}");
    }

    #[test]
    fn await_ready_ends_a_process_that_takes_too_long() {
        let (mut child, reports) = shell("echo stage testing; exec sleep 60");
        // The shell may take longer than the limit to begin.
        let (sender, told) = mpsc::channel();
        let stage = reports.recv().expect("a stage");
        sender.send(stage).expect("open");
        let failure = await_ready(&mut child, &told, Duration::from_secs(2))
            .expect_err("too long")
            .to_string();
        assert!(failure.starts_with("Timeout after 2 seconds"), "{failure}");
        assert!(
            failure.contains("was still testing (signal: 15"),
            "{failure}"
        );
        assert!(child.try_wait().expect("known").is_some(), "still running");
    }

    proptest! {
        #[test]
        fn prop_report_survives_its_line(text in any::<String>()) {
            let report = Report::Failed(text);
            let line = report.to_line();
            let line = line.strip_suffix('\n').expect("a line");
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(Report::from_line(line), Some(report));
        }
    }
}
