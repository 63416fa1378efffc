//! Real mounts of the real binary.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use super::starting::unless_given_up;
use super::umount::umount;
use super::wait::{LONG, wait_for};

/// How a test mounts.
#[derive(Debug, Clone)]
pub(crate) struct Mounting {
    /// Bucket, or `s3://bucket/prefix/`.
    pub(crate) bucket: String,
    /// Endpoint URL.
    pub(crate) endpoint: String,
    /// Access key and secret; `None` mounts without signing.
    pub(crate) credentials: Option<(String, String)>,
    /// Further arguments.
    pub(crate) arguments: Vec<String>,
    /// Further environment variables.
    pub(crate) environment: Vec<(String, String)>,
    /// What starts the command: a program that becomes it, and its arguments.
    pub(crate) wrapper: Vec<String>,
}

impl Mounting {
    /// Mounts `bucket` of the store at `endpoint`, with path-style addressing, read and signed as
    /// the store's one user.
    pub(crate) fn new(bucket: &str, endpoint: &str, access_key: &str, secret_key: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            endpoint: endpoint.to_owned(),
            credentials: Some((access_key.to_owned(), secret_key.to_owned())),
            arguments: Vec::new(),
            environment: Vec::new(),
            wrapper: Vec::new(),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Starts the command by another program, which becomes it.
    #[must_use]
    pub(crate) fn within(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The command, without a mode (foreground or background) and with an environment that holds
    /// no credentials but these.
    pub(crate) fn command(&self, directory: &Path) -> Command {
        let words = self.wrapper.iter().map(String::as_str);
        let mut words = words.chain([env!("CARGO_BIN_EXE_mount-s3")]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command.arg(&self.bucket).arg(directory);
        command.args(["--endpoint-url", &self.endpoint, "--force-path-style"]);
        command.args(["--region", "us-east-1"]);
        command.args(&self.arguments);
        if let Some(cache) = common_cache() {
            let names = |flag: &str| self.arguments.iter().any(|argument| argument == flag);
            if !names("--cache") {
                command.arg("--cache").arg(cache);
                if !names("--metadata-ttl") && !names("--index") {
                    command.args(["--metadata-ttl", "minimal"]);
                }
            }
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        match &self.credentials {
            Some((access_key, secret_key)) => {
                command.env("AWS_ACCESS_KEY_ID", access_key);
                command.env("AWS_SECRET_ACCESS_KEY", secret_key);
            }
            None => {
                command.arg("--no-sign-request");
            }
        }
        command
    }

    /// Mounts in the foreground on a fresh directory and returns when the mount answers. One that has
    /// given up, as it got no answer in time, is tried again: the machine may have stood still.
    pub(crate) fn mount(&self) -> Mount {
        unless_given_up(|| self.try_mount())
    }

    fn try_mount(&self) -> Result<Mount, String> {
        let directory = tempfile::tempdir().expect("a mount point");
        let mut child = self
            .command(directory.path())
            .arg("--foreground")
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("start mount-s3");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("its standard output"));
        let mount = Mount {
            child,
            directory: Some(directory),
        };
        stdout.read_line(&mut line).expect("read its first line");
        if !line.contains("is mounted at") {
            return Err(format!("mount-s3 did not mount: {line:?}"));
        }
        // Nothing more is expected; drain so that the daemon can never block on a full pipe.
        std::thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
        Ok(mount)
    }
}

/// The directory of the cache that all mounts of this process have, where [`WITH_CACHE`] is set.
fn common_cache() -> Option<&'static Path> {
    static CACHE: OnceLock<Option<TempDir>> = OnceLock::new();
    let cache = CACHE.get_or_init(|| {
        std::env::var_os(WITH_CACHE).map(|_set| tempfile::tempdir().expect("a directory"))
    });
    cache.as_ref().map(TempDir::path)
}

/// Lets all mounts that name no cache have one, which changes nothing of what programs see.
const WITH_CACHE: &str = "MOUNT_S3_TESTS_WITH_CACHE";

/// A mounted bucket; unmounted, and its daemon ended, when dropped.
#[derive(Debug)]
pub(crate) struct Mount {
    child: Child,
    directory: Option<TempDir>,
}

impl Mount {
    /// The mount point.
    pub(crate) fn path(&self) -> &Path {
        self.directory.as_ref().expect("mounted").path()
    }

    /// A path below the mount point.
    pub(crate) fn join(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }

    /// Process id of the daemon.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Unmounts from outside and returns how the daemon ended.
    pub(crate) fn unmount(mut self) -> ExitStatus {
        umount(self.path());
        self.wait()
    }

    /// Waits for the daemon's end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("mount-s3 ends", LONG, || {
            self.child.try_wait().expect("ask for mount-s3")
        })
    }

    /// Kills the daemon as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("kill mount-s3");
        self.child.wait().expect("wait for mount-s3");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazy, so that a test that failed with a file open still leaves nothing behind.
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.path())
            .stderr(Stdio::null())
            .status();
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            std::thread::sleep(Duration::from_millis(200));
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // Never remove a directory that may still be the mount: a recursive removal of a mounted
        // bucket would delete objects.
        if let Some(directory) = self.directory.take() {
            let path = directory.keep();
            let _ = std::fs::remove_dir(path);
        }
    }
}
