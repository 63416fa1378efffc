//! Caches on the disk, and the command for them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::local::Local;
use crate::support::mount::Mount;
use crate::support::store::TestStore;

/// A store, a bucket in it, and the directory of a cache.
pub(super) struct Scene {
    pub(super) store: Local,
    pub(super) bucket: String,
    pub(super) directory: TempDir,
}

impl Scene {
    pub(super) fn new() -> Self {
        let store = Local::start();
        let bucket = store.fresh_bucket();
        let directory = tempfile::tempdir().expect("a directory");
        Self {
            store,
            bucket,
            directory,
        }
    }

    /// With `count` objects of `size` bytes in `set/`.
    pub(super) fn with_set(count: u64, size: u64) -> Self {
        let scene = Self::new();
        for i in 0..count {
            scene.store.plant(&scene.bucket, &name(i), size, i);
        }
        scene
    }

    pub(super) fn path(&self) -> &str {
        self.directory.path().to_str().expect("UTF-8")
    }

    pub(super) fn uri(&self, path: &str) -> String {
        format!("s3://{}/{path}", self.bucket)
    }

    /// `mount-s3 cache ACTION --cache DIRECTORY WORDS`; `uri` reaches the store.
    pub(super) fn command(&self, action: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mount-s3"));
        command
            .args(["cache", action, "--cache", self.path()])
            .args(words)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test");
        if action == "warm"
            || words
                .iter()
                .any(|word| word.starts_with("s3://") || *word == "--list")
        {
            command.args([
                "--endpoint-url",
                &self.store.endpoint(),
                "--force-path-style",
            ]);
            command.args(["--region", "us-east-1"]);
        }
        command
    }

    pub(super) fn run(&self, action: &str, words: &[&str]) -> Output {
        self.command(action, words).output().expect("it runs")
    }

    /// Warms, which has to succeed, and gives what it says.
    pub(super) fn warm(&self, words: &[&str]) -> String {
        let output = self.run("warm", words);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        String::from_utf8(output.stdout).expect("text")
    }

    pub(super) fn json(&self, action: &str) -> (Option<i32>, Value) {
        let output = self.run(action, &["--json"]);
        let document = serde_json::from_slice(&output.stdout);
        (output.status.code(), document.expect("a document"))
    }

    pub(super) fn mount(&self, words: &[&str]) -> Mount {
        let mounting = self.store.mounting(&self.bucket);
        mounting.with(&["--cache", self.path()]).with(words).mount()
    }

    pub(super) fn gets(&self) -> u64 {
        self.store.count("GetObject")
    }

    /// The files of the cache of this kind.
    pub(super) fn files(&self, ending: &str) -> Vec<PathBuf> {
        let root = self.directory.path().join("mount-s3-cache/v1");
        let places = fs::read_dir(root).expect("there").flatten();
        let files = places.flat_map(|place| fs::read_dir(place.path()).expect("there").flatten());
        let paths = files.map(|file| file.path());
        let mut paths: Vec<_> = paths
            .filter(|path| path.extension().is_some_and(|found| found == ending))
            .collect();
        paths.sort();
        paths
    }
}

/// The key of an object in the set.
pub(super) fn name(i: u64) -> String {
    format!("set/{i:04}")
}
