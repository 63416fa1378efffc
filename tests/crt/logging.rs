//! The bridge to the `log` crate.

use std::sync::{Mutex, Once};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::server::{Answer, Server};
use crate::support::{Fixture, Recorder};

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
        metadata.level() <= Level::Debug
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

static RECORDS: Mutex<Vec<(Level, String, String)>> = Mutex::new(Vec::new());
