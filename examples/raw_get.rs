//! Fetches objects and throws them away: what the store and the CRT allow without a file system,
//! for benchmarks.
//!
//! Usage: `raw_get ENDPOINT BUCKET BYTES KEY...` fetches the first BYTES of each key, all keys at
//! once, unsigned. Uses the settings of the command.

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::executor::block_on;
use mount_s3::crt::{Runtime, RuntimeConfig};
use mount_s3::s3::{
    self, Addressing, Auth, BodySink, BucketName, GetRequest, InFlight, Key, S3Config, S3Store,
    Store,
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("raw_get: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let mut next = || {
        arguments
            .next()
            .ok_or("usage: raw_get ENDPOINT BUCKET BYTES KEY...")
    };
    let (endpoint, bucket, bytes) = (next()?, next()?, next()?.parse()?);
    let keys: Vec<String> = arguments.collect();

    let runtime = Runtime::start(RuntimeConfig {
        event_loop_threads: None,
        max_fragment_bytes: Some(FRAGMENT_BYTES),
    })?;
    let mut config = S3Config::new(BucketName::new(bucket)?);
    config.endpoint_url = Some(endpoint);
    config.region = Some("us-east-1".to_owned());
    config.addressing = Addressing {
        path_style: true,
        ..Addressing::default()
    };
    config.auth = Auth::Anonymous;
    let store = block_on(S3Store::connect(&runtime, config))?;
    let (done, results) = mpsc::channel();
    let mut bodies = Vec::new();
    for key in &keys {
        let key = Key::new(key.as_str())?;
        let info = block_on(store.head(&key))?;
        let body = Arc::new(Discard {
            request: OnceLock::new(),
            done: done.clone(),
        });
        let request = GetRequest {
            key,
            if_match: info.etag,
            range: 0..info.size.min(bytes),
            window: WINDOW_BYTES,
        };
        let in_flight = store.get(request, Arc::clone(&body) as Arc<dyn BodySink>)?;
        // Cannot be set twice: each body has one request.
        let _unset = body.request.set(in_flight);
        bodies.push(body);
    }
    for _ in &bodies {
        results.recv()??;
    }
    // The bodies are also held by their requests, which they hold: the process ends with them.
    drop(store);
    let _undone = runtime.shutdown(Duration::from_millis(100));
    Ok(())
}

struct Discard {
    request: OnceLock<Box<dyn InFlight>>,
    done: Sender<Result<(), s3::Error>>,
}

impl BodySink for Discard {
    fn part(&self, _offset: u64, bytes: Bytes) {
        self.request.wait().extend_window(bytes.len() as u64);
    }

    fn finish(&self, result: Result<(), s3::Error>) {
        // The receiver outlives every request.
        let _unheard = self.done.send(result);
    }
}

const FRAGMENT_BYTES: usize = 1 << 20;
/// Sixteen parts of 8 MiB: at 90 MB/s for each connection more than two cores can take.
const WINDOW_BYTES: u64 = 128 << 20;
