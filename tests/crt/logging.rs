//! The bridge to the `log` crate.

use std::fs;
use std::sync::{Mutex, Once};

use futures::executor::block_on;
use log::{Level, LevelFilter, Log, Metadata, Record};
use mount_s3::crt::{CredentialsProvider, ProfileOptions, TlsContext, Trust};

use crate::auth::request_with;
use crate::server::{Answer, Server};
use crate::support::{Fixture, Recorder, in_subprocess, run_in_subprocess};

#[test]
fn record_of_the_crt_reaches_the_logger_with_its_level_and_target() {
    let fixture = Fixture::start();
    let server = Server::start(1000, |_| Answer::Object);
    let recorder = Recorder::new();
    let (client, request) = fixture.get(&server, 0..1000, recorder.clone());
    recorder.expect_bytes(0..1000);
    drop((client, request));
    fixture.end();
    let records = RECORDS.lock().unwrap();
    assert!(
        records
            .iter()
            .any(|(level, target, text)| *level == Level::Info
                && target == "crt::s3"
                && text.contains("meta request")),
        "{records:?}"
    );
    assert!(records.iter().any(|(_, target, _)| target == "crt::http"));
    assert!(records.iter().all(|(level, _, _)| *level <= Level::Debug));
}

#[test]
fn no_secret_reaches_the_logger_at_any_level() {
    if !in_subprocess() {
        return run_in_subprocess("logging::no_secret_reaches_the_logger_at_any_level", &[]);
    }
    let fixture = Fixture::start();
    log::set_max_level(LevelFilter::Trace);
    let fixed =
        CredentialsProvider::fixed(fixture.runtime(), "AKIDTEST", SECRET, Some(TOKEN)).unwrap();
    let request = request_with(fixture.runtime(), &fixed);
    assert_eq!(request.header("x-amz-security-token"), Some(TOKEN));
    let authorization = request.header("authorization").expect("signed");
    let (_, signature) = authorization.split_once("Signature=").expect("a signature");

    // The one file overrides what the other says.
    let directory = tempfile::tempdir().unwrap();
    let files = ["config", "credentials"].map(|name| directory.path().join(name));
    let keys =
        format!("aws_access_key_id=A\naws_secret_access_key={SECRET}\naws_session_token={TOKEN}\n");
    fs::write(&files[0], format!("[profile p]\n{keys}")).unwrap();
    fs::write(&files[1], format!("[p]\n{keys}{keys}")).unwrap();
    let tls = TlsContext::new(fixture.runtime(), Trust::System).unwrap();
    let options = ProfileOptions {
        name: Some("p"),
        config_file: files[0].to_str(),
        credentials_file: files[1].to_str(),
    };
    let profile = CredentialsProvider::profile(fixture.runtime(), &tls, &options).unwrap();
    assert_eq!(block_on(profile.load()).unwrap().access_key_id, "A");

    drop((fixed, profile, tls));
    fixture.end();
    let records = RECORDS.lock().unwrap();
    assert!(records.iter().any(|(level, _, _)| *level == Level::Trace));
    assert!(records.iter().any(|(_, target, _)| target == "crt::auth"));
    for secret in [SECRET, TOKEN, signature, "AWS4-HMAC-SHA256"] {
        let leak = records.iter().find(|(_, _, text)| text.contains(secret));
        assert_eq!(leak, None, "{secret} is in the log");
    }
}

/// Makes all tests log, so that every message of the CRT is formatted.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Collector).expect("the only logger");
        log::set_max_level(LevelFilter::Debug);
    });
}

struct Collector;

impl Log for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() <= Level::Warn && std::env::var_os("CRT_TEST_LOG").is_some() {
            eprintln!("{} {} {}", record.level(), record.target(), record.args());
        }
        let mut records = RECORDS.lock().unwrap();
        if records.len() < 100_000 {
            records.push((
                record.level(),
                record.target().to_owned(),
                record.args().to_string(),
            ));
        }
    }

    fn flush(&self) {}
}

const SECRET: &str = "SECRET-KEY-THAT-NO-LOG-MAY-HOLD";
const TOKEN: &str = "SESSION-TOKEN-THAT-NO-LOG-MAY-HOLD";

static RECORDS: Mutex<Vec<(Level, String, String)>> = Mutex::new(Vec::new());
