//! `mount-s3 index`: made of a listing or an inventory, compared with its bucket, and what is refused.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};
use s3_test_server::{BulkSpec, Config, Fault, Model, ObjectSpec, Rule, Server};
use tempfile::TempDir;

use crate::store::MountPoint;
use crate::support::{Outcome, mount_s3, run};
use crate::wait::{once_in_five, wait_for};

const BUCKET: &str = "data-set";
const MODIFIED: &str = "2024-05-01T10:20:30.000Z";
const LIMIT: Duration = Duration::from_secs(120);

/// A bucket of the test's own, and a directory for indexes of it.
struct Place {
    server: Server,
    directory: TempDir,
}

impl Place {
    /// With nothing in the bucket.
    fn empty() -> Self {
        Self::over(Config::default())
    }

    /// As [`Self::empty`], on a server of this configuration.
    fn over(config: Config) -> Self {
        let server = Server::start(config).expect("the server starts");
        server.create_bucket(BUCKET);
        let directory = tempfile::tempdir().expect("a directory");
        Self { server, directory }
    }

    /// With 2,500 objects of 100 bytes in `train/`, and one beside it.
    fn new() -> Self {
        let place = Self::empty();
        let spec = BulkSpec {
            bucket: BUCKET.to_owned(),
            key: "train/{i:05}".to_owned(),
            count: 2_500,
            size: 100,
            ..BulkSpec::default()
        };
        place.server.put_objects(&spec).expect("planted");
        let text = ObjectSpec::text(BUCKET, "README", "read me");
        place.server.put_object(&text);
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs the command with these arguments and good credentials.
    fn run(&self, args: &[&str]) -> Outcome {
        run(self.command(args).env("AWS_REGION", "us-east-1"), LIMIT)
    }

    /// As [`Self::run`], without a region.
    fn run_anywhere(&self, args: &[&str]) -> Outcome {
        run(&mut self.command(args), LIMIT)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = mount_s3(args);
        command
            .env("AWS_ENDPOINT_URL", self.server.endpoint())
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .current_dir(self.directory.path());
        command
    }

    /// Mounts `source` with the index `data.idx`, and gives what was said and what was logged.
    fn mount(&self, source: &str, point: &MountPoint) -> (Outcome, String) {
        let logs = self.file("logs");
        let log = ["--log-directory", logs.to_str().expect("UTF-8")];
        let index = ["--index", "data.idx", "--force-path-style"];
        let outcome = self.run(&[&[source, point.text()], &index[..], &log].concat());
        let log = fs::read_dir(logs).map_or_else(
            |_none| String::new(),
            |logs| {
                let log = logs.last().expect("a log").expect("an entry");
                fs::read_to_string(log.path()).expect("readable")
            },
        );
        (outcome, log)
    }

    /// Refuses these requests from now on.
    fn deny(&self, requests: &[(&str, &str)]) {
        let rule =
            |(operation, key): &(&str, &str)| Rule::new(Fault::Deny).on(operation).under(key);
        self.server.set_model(Model {
            rules: requests.iter().map(rule).collect(),
            ..Model::default()
        });
    }

    fn index(&self, source: &str, args: &[&str]) -> Outcome {
        let words = ["index", source, "--force-path-style", "-o", "data.idx"];
        self.run(&[&words, args].concat())
    }
}

#[test]
fn help_shows_every_flag() {
    let outcome = run(&mut mount_s3(&["index", "--help"]), LIMIT);
    assert_eq!(outcome.status, Some(0));
    for flag in [
        "-o, --output <FILE>",
        "--check",
        "--from-inventory <PATH|S3_URI>",
        "--progress",
        "--endpoint-url",
        "--region",
        "--profile",
        "--no-sign-request",
        "--requester-pays",
        "--ca-bundle",
    ] {
        assert!(outcome.stdout.contains(flag), "{flag}: {}", outcome.stdout);
    }
}

#[test]
fn index_is_made_and_is_that_of_the_bucket() {
    let place = Place::new();
    let made = place.index("s3://data-set/", &[]);
    assert_eq!(made.status, Some(0), "{made:?}");
    assert_eq!(
        made.stderr, "",
        "nothing is told where there is no terminal"
    );
    let line = "data.idx: 2501 objects, 250007 bytes, of s3://data-set/\n";
    assert_eq!(made.stdout, line);
    let same = place.index("s3://data-set/", &["--check"]);
    assert_eq!((same.status, &*same.stdout), (Some(0), ""), "{same:?}");
    let below = place.index("s3://data-set/train/", &["--progress"]);
    assert!(
        below.stdout.starts_with("data.idx: 2500 objects"),
        "{below:?}"
    );
    assert!(below.stderr.contains(" objects, "), "{below:?}");
    assert_eq!(
        fs::read_dir(place.directory.path())
            .expect("readable")
            .count(),
        1
    );
}

#[test]
fn check_prints_what_was_added_removed_and_changed() {
    let place = Place::new();
    place.index("s3://data-set/", &[]);
    let server = &place.server;
    server.put_object(&ObjectSpec::text(BUCKET, "train/00007", "other"));
    server.put_object(&ObjectSpec::text(BUCKET, "train/x\ny", "new"));
    server.delete_object(BUCKET, "README");
    let outcome = place.index("s3://data-set/", &["--check"]);
    assert_eq!(outcome.status, Some(1), "{outcome:?}");
    assert_eq!(outcome.stdout, "- README\n~ train/00007\n+ train/x\\ny\n");
    let outcome = place.index("s3://data-set/train/", &["--check"]);
    assert_eq!(outcome.stdout, "~ train/00007\n+ train/x\\ny\n");
}

#[test]
fn check_that_cannot_be_made_exits_2() {
    let place = Place::new();
    let missing = place.index("s3://data-set/", &["--check"]);
    assert_eq!(missing.status, Some(2), "{missing:?}");
    assert!(missing.stderr.contains("data.idx"), "{missing:?}");
    place.index("s3://data-set/train/", &[]);
    let other = place.index("s3://data-set/", &["--check"]);
    assert_eq!(other.status, Some(2), "{other:?}");
    assert!(
        other.stderr.contains("is of s3://data-set/train/"),
        "{other:?}"
    );
}

#[test]
fn index_that_cannot_be_made_exits_1_and_leaves_the_old_one() {
    let place = Place::new();
    fs::write(place.file("data.idx"), "old").expect("written");
    let missing = place.index("s3://no-such-bucket/", &[]);
    assert_eq!(missing.status, Some(1), "{missing:?}");
    assert!(missing.stderr.contains("To fix it: "), "{missing:?}");
    assert_eq!(fs::read(place.file("data.idx")).expect("there"), b"old");
    let args = ["index", "s3://data-set/", "-o", "/nonexistent/data.idx"];
    let nowhere = place.run(&args);
    assert_eq!(nowhere.status, Some(1), "{nowhere:?}");
    assert!(
        nowhere.stderr.contains("/nonexistent/data.idx"),
        "{nowhere:?}"
    );
}

#[test]
fn mount_refuses_an_index_that_is_not_its_own_with_status_2() {
    let place = Place::new();
    place.index("s3://data-set/train/", &[]);
    let point = MountPoint::new();
    let refused = |source: &str, file: &str| {
        let outcome = place.run(&[source, point.text(), "--index", file, "--no-log"]);
        assert_eq!(outcome.status, Some(2), "{outcome:?}");
        outcome.stderr
    };
    for source in [
        "s3://other-bucket/train/",
        "data-set",
        "s3://data-set/test/",
    ] {
        let error = refused(source, "data.idx");
        assert!(error.contains("is of s3://data-set/train/"), "{error}");
        assert!(error.contains("To fix it: "), "{error}");
    }
    fs::write(
        place.file("other"),
        "something else, that is longer than the header of an index",
    )
    .expect("written");
    let error = refused("data-set", "other");
    assert!(
        error.contains("other is not an index: make one with"),
        "{error}"
    );
    let mut bytes = fs::read(place.file("data.idx")).expect("there");
    bytes.pop();
    fs::write(place.file("short"), bytes).expect("written");
    let error = refused("s3://data-set/train/", "short");
    assert!(error.contains("short is damaged"), "{error}");
}

#[test]
fn mount_in_the_background_takes_an_index() {
    let place = Place::new();
    place.index("s3://data-set/train/", &[]);
    let point = MountPoint::new();
    let args = [
        "s3://data-set/train/",
        point.text(),
        "--index",
        "data.idx",
        "--no-log",
    ];
    let outcome = place.run(&[&args[..], &["--force-path-style"]].concat());
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert!(point.is_mounted());
    assert_eq!(fs::read_dir(point.path()).expect("readable").count(), 2_500);
}

/// With an index of what is in the bucket before `change`.
fn indexed(change: impl FnOnce(&Place)) -> Place {
    let place = Place::new();
    assert_eq!(place.index("s3://data-set/", &[]).status, Some(0));
    place.server.reset_stats();
    change(&place);
    place
}

const WARNING: &str = "an object that the index names was replaced, is gone, or may not be read";

#[test]
fn mount_needs_no_permission_but_to_read_and_asks_for_a_byte() {
    // What has no answer for 3 seconds is asked for again.
    once_in_five(|_| {
        let place = indexed(|place| {
            place.deny(&[("ListObjectsV2", ""), ("HeadObject", "")]);
        });
        let point = MountPoint::new();
        let (outcome, log) = place.mount("data-set", &point);
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        let asked = place.server.stats();
        let counts = (asked.count("GetObject"), asked.requests());
        // The store counts bytes after they were sent.
        let sent = wait_for("the byte to be counted", LIMIT, || {
            let sent = place.server.stats().operations["GetObject"].body_bytes_sent;
            (sent > 0).then_some(sent)
        });
        assert_eq!(
            fs::read(point.path().join("README")).expect("read"),
            b"read me"
        );
        assert!(!log.contains(WARNING), "{log}");
        match (counts, sent) {
            ((1, 1), 1) => Ok(()),
            _ => Err(format!("{sent} bytes: {asked:?}")),
        }
    });
}

#[test]
fn mount_without_the_permission_to_read_is_refused() {
    let place = indexed(|place| place.deny(&[("GetObject", "")]));
    let point = MountPoint::new();
    let (outcome, _log) = place.mount("data-set", &point);
    assert_eq!(outcome.status, Some(1), "{outcome:?}");
    for text in [
        "initial GetObject failed for bucket data-set in region us-east-1",
        "Forbidden",
        "To fix it: the credentials need s3:GetObject",
    ] {
        assert!(outcome.stderr.contains(text), "{outcome:?}");
    }
    assert!(!point.is_mounted());
    assert_eq!(place.server.stats().count("ListObjectsV2"), 0);
}

#[test]
fn mount_works_with_a_warning_when_an_object_was_replaced_or_is_gone() {
    let replaced = |place: &Place| {
        let other = ObjectSpec::text(BUCKET, "README", "other");
        place.server.put_object(&other);
    };
    let deleted = |place: &Place| place.server.delete_object(BUCKET, "README");
    // As S3 answers those who may not list.
    let hidden = |place: &Place| place.deny(&[("GetObject", "README")]);
    for change in [&replaced as &dyn Fn(&Place), &deleted, &hidden] {
        let place = indexed(change);
        let point = MountPoint::new();
        let (outcome, log) = place.mount("data-set", &point);
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        for text in [WARNING, "GetObject s3://data-set/README", "index --check"] {
            assert!(log.contains(text), "{text}: {log}");
        }
        assert_eq!(place.server.stats().count("ListObjectsV2"), 0);
        let body = fs::read(point.path().join("train/00001")).expect("as it was");
        assert_eq!(body.len(), 100);
    }
}

#[test]
fn mount_reads_a_byte_of_what_it_shows_and_can_be_read() {
    let place = Place::empty();
    let text = |key: &str, text: &str| {
        place
            .server
            .put_object(&ObjectSpec::text(BUCKET, key, text))
    };
    text("a/secret", "x");
    text("b/", "");
    place.server.put_object(&ObjectSpec {
        storage_class: Some("GLACIER".to_owned()),
        ..ObjectSpec::text(BUCKET, "b/archived", "x")
    });
    text("b/readable", "x");
    assert_eq!(place.index("s3://data-set/", &[]).status, Some(0));
    place.deny(&[("ListObjectsV2", ""), ("GetObject", "a/")]);
    let point = MountPoint::new();
    let (outcome, log) = place.mount("s3://data-set/b/", &point);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert!(!log.contains(WARNING), "{log}");
}

#[test]
fn mount_of_an_empty_index_asks_nothing() {
    let place = Place::empty();
    assert_eq!(place.index("s3://data-set/", &[]).status, Some(0));
    place.server.reset_stats();
    let point = MountPoint::new();
    let (outcome, _log) = place.mount("data-set", &point);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert_eq!(fs::read_dir(point.path()).expect("readable").count(), 0);
    assert_eq!(place.server.stats().requests(), 0);
}

#[test]
fn mount_finds_the_region_by_reading_a_byte() {
    let region = "eu-central-1".to_owned();
    let place = Place::over(Config {
        region,
        ..Config::default()
    });
    place.server.put_object(&ObjectSpec::text(BUCKET, "a", "x"));
    let args = [
        "index",
        "s3://data-set/",
        "--force-path-style",
        "-o",
        "data.idx",
    ];
    assert_eq!(place.run_anywhere(&args).status, Some(0));
    place.server.set_model(Model {
        enforce_region: true,
        ..Model::default()
    });
    place.server.reset_stats();
    let point = MountPoint::new();
    let args = [
        "data-set",
        point.text(),
        "--index",
        "data.idx",
        "--no-log",
        "--force-path-style",
    ];
    let outcome = place.run_anywhere(&args);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert_eq!(fs::read(point.path().join("a")).expect("readable"), b"x");
    assert_eq!(place.server.stats().count("ListObjectsV2"), 0);
}

#[test]
fn inventory_gives_the_index_of_the_listing() {
    let place = Place::empty();
    let mut rows = String::new();
    for number in (0..300).rev() {
        let (key, text) = (format!("train/{number:03} é"), format!("text {number}"));
        place
            .server
            .put_object(&ObjectSpec::text(BUCKET, &key, &text));
        let etag = Md5::digest(&text);
        let etag: String = etag.iter().map(|b| format!("{b:02x}")).collect();
        rows.push_str(&format!(
            "\"{BUCKET}\",\"train%2F{number:03}+%C3%A9\",\"{}\",\"{MODIFIED}\",\"{}\"\n",
            text.len(),
            etag,
        ));
    }
    let mut file = GzEncoder::new(Vec::new(), Compression::fast());
    file.write_all(rows.as_bytes()).expect("in memory");
    let file = file.finish().expect("in memory");
    let manifest = format!(
        r#"{{"sourceBucket": "{BUCKET}", "fileFormat": "CSV",
            "fileSchema": "Bucket, Key, Size, LastModifiedDate, ETag",
            "files": [{{"key": "lists/data/part.csv.gz", "size": {}}}]}}"#,
        file.len()
    );
    place
        .server
        .put_bytes("lists", "lists/2024/manifest.json", manifest.as_bytes());
    place
        .server
        .put_bytes("lists", "lists/data/part.csv.gz", &file);
    fs::create_dir_all(place.file("lists/data")).expect("made");
    fs::write(place.file("lists/data/part.csv.gz"), &file).expect("written");
    fs::write(place.file("manifest.json"), manifest).expect("written");
    for from in ["s3://lists/lists/2024/manifest.json", "manifest.json"] {
        let outcome = place.index("s3://data-set/", &["--from-inventory", from]);
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        assert!(outcome.stdout.contains("300 objects"), "{outcome:?}");
        let same = place.index("s3://data-set/", &["--check"]);
        assert_eq!((same.status, &*same.stdout), (Some(0), ""), "{same:?}");
        fs::remove_file(place.file("data.idx")).expect("there");
    }
    let other = place.index("s3://lists/", &["--from-inventory", "manifest.json"]);
    assert_eq!(other.status, Some(1), "{other:?}");
    assert!(
        other
            .stderr
            .contains("of the bucket data-set, not of lists"),
        "{other:?}"
    );
}
