//! Every kind of bucket under the host names of AWS, by real mounts: a proxy leads there to a server
//! that accepts nothing but the signatures which AWS wants of that kind.

use std::collections::HashMap;
use std::fmt::Debug;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use s3_test_server::{
    Algorithm, CA_FILE, Config, Fault, Model, Rule, Server, Signatures, TlsConfig,
};
use tempfile::TempDir;

use crate::failures::fail_both_ways;
use crate::proxy::{Proxy, Rules};
use crate::store::MountPoint;
use crate::support::{FAILURE_LIMIT, mount_s3, run};
use crate::wait::{once_in_five, within};

/// A kind of bucket.
#[derive(Debug, Clone, Copy)]
struct Kind {
    /// What the command is told.
    name: &'static str,
    flags: &'static [&'static str],
    /// The first label of the host name.
    label: &'static str,
    /// The others.
    domain: &'static str,
    algorithm: Algorithm,
    service: &'static str,
    region: &'static str,
    sessions: Option<Duration>,
}

const GENERAL_PURPOSE: Kind = Kind {
    name: "some-bucket",
    flags: &["--region", "eu-west-1"],
    label: "some-bucket",
    domain: "s3.eu-west-1.amazonaws.com",
    algorithm: Algorithm::V4,
    service: "s3",
    region: "eu-west-1",
    sessions: None,
};

const DUAL_STACK: Kind = Kind {
    flags: &["--region", "eu-west-1", "--dual-stack"],
    domain: "s3.dualstack.eu-west-1.amazonaws.com",
    ..GENERAL_PURPOSE
};

const ACCELERATED: Kind = Kind {
    flags: &["--region", "eu-west-1", "--transfer-acceleration"],
    domain: "s3-accelerate.amazonaws.com",
    ..GENERAL_PURPOSE
};

const ACCESS_POINT: Kind = Kind {
    name: "arn:aws:s3:us-west-2:123456789012:accesspoint/finance",
    flags: &[],
    label: "finance-123456789012",
    domain: "s3-accesspoint.us-west-2.amazonaws.com",
    region: "us-west-2",
    ..GENERAL_PURPOSE
};

const OBJECT_LAMBDA: Kind = Kind {
    name: "arn:aws:s3-object-lambda:us-east-2:123456789012:accesspoint/redact",
    label: "redact-123456789012",
    domain: "s3-object-lambda.us-east-2.amazonaws.com",
    service: "s3-object-lambda",
    region: "us-east-2",
    ..ACCESS_POINT
};

const MULTI_REGION: Kind = Kind {
    name: "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap",
    label: "mfzwi23gnjvgw",
    domain: "mrap.accesspoint.s3-global.amazonaws.com",
    algorithm: Algorithm::V4Asymmetric,
    region: "*",
    ..ACCESS_POINT
};

const OUTPOST: Kind = Kind {
    name: "arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-01ac5d28a6a232904/accesspoint/ap",
    label: "ap-123456789012",
    domain: "op-01ac5d28a6a232904.s3-outposts.us-west-2.amazonaws.com",
    service: "s3-outposts",
    ..MULTI_REGION
};

const DIRECTORY: Kind = Kind {
    name: "logs--apne1-az4--x-s3",
    // The name tells the region.
    flags: &[],
    label: "logs--apne1-az4--x-s3",
    domain: "s3express-apne1-az4.ap-northeast-1.amazonaws.com",
    algorithm: Algorithm::V4,
    service: "s3express",
    region: "ap-northeast-1",
    sessions: Some(Duration::from_secs(300)),
};

/// A bucket under its host name.
struct Place {
    kind: Kind,
    server: Server,
    proxy: Proxy,
    certificates: TempDir,
}

impl Place {
    fn of(kind: Kind) -> Self {
        let certificates = tempfile::tempdir().expect("a directory");
        let server = Server::start(Config {
            tls: Some(TlsConfig {
                addr: (Ipv4Addr::LOCALHOST, 0).into(),
                dir: certificates.path().to_owned(),
            }),
            buckets: vec![kind.label.to_owned()],
            keys: vec![(ACCESS_KEY.to_owned(), SECRET_KEY.to_owned())],
            domain: Some(kind.domain.to_owned()),
            signatures: Some(Signatures {
                algorithm: kind.algorithm,
                service: kind.service.to_owned(),
                region: kind.region.to_owned(),
                sessions: kind.sessions,
            }),
            directory: kind.sessions.is_some(),
            ..Config::default()
        })
        .expect("a server");
        let proxy = Proxy::start(Rules {
            hosts: HashMap::from([host(kind, &server)]),
            ..Rules::default()
        });
        Self {
            kind,
            server,
            proxy,
            certificates,
        }
    }

    /// The host name of the bucket, and where it is.
    fn host(&self) -> (String, SocketAddr) {
        host(self.kind, &self.server)
    }

    fn prepare(&self, command: &mut Command, secret: &str) {
        command
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .env("AWS_CA_BUNDLE", self.certificates.path().join(CA_FILE))
            .env("HTTPS_PROXY", self.proxy.url());
    }

    /// Mounts the bucket in the background.
    fn mount(&self, more: &[&str]) -> MountPoint {
        let mount_point = MountPoint::new();
        let args = [self.kind.name, mount_point.text(), "--allow-delete"];
        let mut command = mount_s3(&[&args, self.kind.flags, more].concat());
        self.prepare(&mut command, SECRET_KEY);
        let outcome = run(&mut command, FAILURE_LIMIT);
        assert_eq!(outcome.status, Some(0), "{:?}: {outcome:?}", self.kind);
        mount_point
    }

    /// What the command says when it cannot mount.
    fn refusal(&self, secret: &str) -> String {
        let mount_point = MountPoint::new();
        let args = [&[self.kind.name, mount_point.text()], self.kind.flags].concat();
        let error = fail_both_ways(&args, |command| self.prepare(command, secret));
        assert!(!mount_point.is_mounted());
        error
    }

    fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.server.read_object(self.kind.label, key)
    }

    /// How often the server was asked for `operation`.
    fn count(&self, operation: &str) -> usize {
        let log = self.server.stats().log;
        log.iter()
            .filter(|entry| entry.operation == operation)
            .count()
    }

    /// Every request was let in, and came under the bucket's own host name.
    fn check_requests(&self) {
        let log = self.server.stats().log;
        let refused: Vec<_> = log.iter().filter(|entry| entry.status == 403).collect();
        assert!(refused.is_empty(), "{:?}: {refused:?}", self.kind);
        let host = format!("CONNECT {}.{}:443 ", self.kind.label, self.kind.domain);
        let seen = self.proxy.seen();
        let elsewhere: Vec<_> = seen
            .iter()
            .filter(|line| !line.starts_with(&host))
            .collect();
        assert!(!seen.is_empty() && elsewhere.is_empty(), "{elsewhere:?}");
    }
}

fn host(kind: Kind, server: &Server) -> (String, SocketAddr) {
    let name = format!("{}.{}:443", kind.label, kind.domain);
    (name, server.tls_addr().expect("it serves TLS"))
}

/// Stores, reads, lists and deletes, by one request and in parts.
fn works(place: &Place, directory: &Path) {
    let kind = place.kind;
    let large: Vec<u8> = (0..11 << 20).map(|i: u32| (i % 251) as u8).collect();
    for (name, content) in [
        ("small file+ü.txt", &b"small"[..]),
        ("sub/large", &large[..]),
    ] {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        fs::write(&path, content).unwrap_or_else(|error| panic!("{kind:?} {name}: {error}"));
        assert_eq!(
            place.object(name).as_deref(),
            Some(content),
            "{kind:?} {name}"
        );
        assert_eq!(fs::read(&path).expect("read"), content, "{kind:?} {name}");
    }
    assert!(place.count("UploadPart") >= 2, "{kind:?}");
    let names: Vec<_> = fs::read_dir(directory)
        .expect("listed")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names.len(), 2, "{kind:?}: {names:?}");
    fs::remove_file(directory.join("small file+ü.txt")).expect("deleted");
    assert_eq!(place.object("small file+ü.txt"), None, "{kind:?}");
    place.check_requests();
}

#[test]
fn general_purpose_buckets_are_signed_for_their_region() {
    for kind in [GENERAL_PURPOSE, DUAL_STACK, ACCELERATED] {
        let place = Place::of(kind);
        works(&place, place.mount(&PARTS).path());
    }
}

#[test]
fn access_points_are_signed_for_the_service_and_region_of_their_arn() {
    for kind in [ACCESS_POINT, OBJECT_LAMBDA] {
        let place = Place::of(kind);
        works(&place, place.mount(&PARTS).path());
    }
}

#[test]
fn multi_region_access_points_and_outposts_are_signed_asymmetrically() {
    for kind in [MULTI_REGION, OUTPOST] {
        let place = Place::of(kind);
        works(&place, place.mount(&PARTS).path());
        let error = place.refusal("another secret");
        assert!(error.contains("SignatureDoesNotMatch"), "{error}");
        assert!(error.contains("invalid AWS credentials"), "{error}");
    }
}

#[test]
fn directory_buckets_are_read_and_written_in_sessions() {
    once_in_five(|_| {
        let place = Place::of(DIRECTORY);
        works(&place, place.mount(&PARTS).path());
        let sessions = place.count("CreateSession");
        // What is appended has no parts.
        let mount_point = place.mount(&["--no-log", "--incremental-upload"]);
        let directory = mount_point.path();
        let path = directory.join("log");
        fs::write(&path, "one ").expect("written");
        let mut file = OpenOptions::new().append(true).open(&path).expect("opened");
        file.write_all(b"two").expect("appended");
        drop(file);
        assert_eq!(place.object("log").as_deref(), Some(&b"one two"[..]));
        fs::rename(&path, directory.join("moved")).expect("renamed");
        assert_eq!(place.object("moved").as_deref(), Some(&b"one two"[..]));
        place.check_requests();
        // One session for the request that proves the bucket, one for the mount. The first renaming
        // is preceded by a trial.
        is_just([sessions, place.count("RenameObject")], [2, 2])
    });
}

/// Whether no more was asked for than has to be: what gets no answer in time is asked for again.
fn is_just<T: PartialEq + Debug>(asked: T, expected: T) -> Result<(), String> {
    if asked == expected {
        Ok(())
    } else {
        Err(format!("{asked:?} instead of {expected:?}"))
    }
}

#[test]
fn directory_bucket_is_the_cache_of_a_bucket_of_another_kind_and_region() {
    // What the cache does not answer within two seconds is read from the bucket itself.
    once_in_five(|_| {
        let (origin, cache) = (Place::of(GENERAL_PURPOSE), Place::of(DIRECTORY));
        origin
            .server
            .put_bytes(origin.kind.label, "file", b"content");
        let places = [&origin, &cache];
        let proxy = Proxy::start(Rules {
            hosts: places.iter().map(|place| place.host()).collect(),
            ..Rules::default()
        });
        let bundle = places.map(|place| {
            fs::read_to_string(place.certificates.path().join(CA_FILE)).expect("a certificate")
        });
        let bundle_path = origin.certificates.path().join("both.pem");
        fs::write(&bundle_path, bundle.concat()).expect("written");
        let mut gets = Vec::new();
        for _ in 0..2 {
            let mount_point = MountPoint::new();
            let args = [origin.kind.name, mount_point.text(), "--no-log"];
            let cache_xz = ["--cache-xz", cache.kind.name];
            let mut command = mount_s3(&[&args, &cache_xz[..], origin.kind.flags].concat());
            origin.prepare(&mut command, SECRET_KEY);
            command
                .env("AWS_CA_BUNDLE", &bundle_path)
                .env("HTTPS_PROXY", proxy.url());
            let outcome = run(&mut command, FAILURE_LIMIT);
            assert_eq!(outcome.status, Some(0), "{outcome:?}");
            let read = fs::read(mount_point.path().join("file")).expect("read");
            assert_eq!(read, b"content");
            has_block(&cache)?;
            gets.push(origin.count("GetObject"));
        }
        for place in places {
            let log = place.server.stats().log;
            assert!(log.iter().all(|entry| entry.status != 403), "{log:?}");
        }
        // One session for the request that proves the bucket, one for the mount; twice.
        is_just((gets, cache.count("CreateSession")), (vec![1, 1], 4))
    });
}

/// Waits for a block to be stored, which is given up when it takes too long.
fn has_block(cache: &Place) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let keys = cache.server.keys(cache.kind.label);
        if keys.iter().any(|key| key.starts_with("mount-s3-cache/v1/")) {
            return Ok(());
        }
        within(start.elapsed(), FAILURE_LIMIT)?;
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn sessions_are_renewed_and_never_logged() {
    // The client takes none that ends within five seconds. The others leave what was signed the time
    // to arrive.
    let place = Place::of(Kind {
        sessions: Some(Duration::from_secs(20)),
        ..DIRECTORY
    });
    for key in ["first", "second"] {
        place
            .server
            .put_bytes(place.kind.label, key, key.as_bytes());
    }
    let log = tempfile::tempdir().expect("a directory");
    let log_directory = log.path().to_str().expect("UTF-8");
    let mount_point = MountPoint::new();
    let args = [place.kind.name, mount_point.text(), "-l", log_directory];
    let mut command = mount_s3(&args);
    place.prepare(&mut command, SECRET_KEY);
    command.env("MOUNTPOINT_LOG", "trace");
    let outcome = run(&mut command, FAILURE_LIMIT);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    let read = |key: &str| fs::read_to_string(mount_point.path().join(key)).expect("read");
    assert_eq!(read("first"), "first");
    let before = place.count("CreateSession");
    thread::sleep(Duration::from_secs(16));
    assert_eq!(read("second"), "second");
    assert!(place.count("CreateSession") > before);
    place.check_requests();
    drop(mount_point);
    let mut lines = 0;
    for entry in fs::read_dir(log.path()).expect("listed") {
        let text = fs::read(entry.expect("an entry").path()).expect("read");
        let text = String::from_utf8_lossy(&text);
        lines += text.lines().count();
        for secret in [SECRET_KEY, "session/secret+", "session//token+"] {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret:?} is logged");
        }
    }
    assert!(lines > 100, "the log has {lines} lines");
}

#[test]
fn refused_sessions_are_explained() {
    let place = Place::of(DIRECTORY);
    place.server.set_model(Model {
        rules: vec![Rule::new(Fault::Deny).on("CreateSession")],
        ..Model::default()
    });
    let error = place.refusal(SECRET_KEY);
    for text in [
        "initial CreateSession failed for bucket logs--apne1-az4--x-s3 in region ap-northeast-1",
        "Forbidden",
        "AccessDenied",
        "the credentials need s3express:CreateSession",
    ] {
        assert!(error.contains(text), "{text:?} is not in: {error}");
    }
    let place = Place::of(DIRECTORY);
    let error = place.refusal("another secret");
    assert!(error.contains("invalid AWS credentials"), "{error}");
}

#[test]
fn settings_that_make_no_endpoint_are_named() {
    let arn = "arn:aws:s3:us-west-2:123456789012:accesspoint/finance";
    for (bucket, flags, variable, texts) in [
        (
            arn,
            &["--force-path-style"][..],
            "",
            ["Path-style addressing", "--force-path-style"],
        ),
        (
            arn,
            &["--transfer-acceleration"],
            "",
            ["S3 Accelerate", "--transfer-acceleration"],
        ),
        (
            MULTI_REGION.name,
            &[],
            "AWS_USE_FIPS_ENDPOINT",
            ["FIPS", "AWS_USE_FIPS_ENDPOINT"],
        ),
        (
            "some-bucket",
            &["--endpoint-url", "http://127.0.0.1:1"],
            "AWS_USE_DUALSTACK_ENDPOINT",
            ["dual-stack", "AWS_USE_DUALSTACK_ENDPOINT"],
        ),
    ] {
        let mount_point = MountPoint::new();
        let args = [&[bucket, mount_point.text()], flags].concat();
        let error = fail_both_ways(&args, |command| {
            command
                .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
                .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
            if !variable.is_empty() {
                command.env(variable, "true");
            }
        });
        for text in texts {
            assert!(error.contains(text), "{text:?} is not in: {error}");
        }
    }
}

const ACCESS_KEY: &str = "AKIDEXAMPLEACCESSKEY";
const SECRET_KEY: &str = "SECRET-KEY-THAT-NO-LOG-MAY-HOLD";

/// So that a small file has several parts, of which S3 takes none that is smaller.
const PARTS: [&str; 3] = ["--part-size", "5242880", "--no-log"];
