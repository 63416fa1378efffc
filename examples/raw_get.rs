//! Fetches objects and throws them away: what the store and the CRT allow without a file system,
//! for benchmarks.
//!
//! Usage: `raw_get ENDPOINT BUCKET BYTES KEY...` fetches the first BYTES of each key, all keys at
//! once, unsigned; `raw_get ENDPOINT BUCKET COUNTxBYTES KEY` fetches COUNT blocks of BYTES at
//! random, one after the other. Uses the settings of the command.

use std::env;
use std::error::Error;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::executor::block_on;
use mount_s3::crt::{Runtime, RuntimeConfig};
use mount_s3::s3::{
    self, Addressing, Auth, BodySink, BucketName, ETag, GetRequest, InFlight, Key, ObjectInfo,
    S3Config, S3Store, Store,
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
    let (endpoint, bucket, amount) = (next()?, next()?, next()?);
    let (count, bytes) = match amount.split_once('x') {
        Some((count, bytes)) => (Some(count.parse()?), bytes.parse()?),
        None => (None, amount.parse()?),
    };
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
    config.ca_bundle = env::var_os("AWS_CA_BUNDLE").map(Into::into);
    let store = block_on(S3Store::connect(&runtime, config))?;
    match count {
        Some(count) => fetch_blocks(&store, &keys, count, bytes)?,
        None => fetch_starts(&store, &keys, bytes)?,
    }
    // The bodies are also held by their requests, which they hold: they end with the process.
    drop(store);
    let _undone = runtime.shutdown(Duration::from_millis(100));
    Ok(())
}

fn fetch_starts(store: &S3Store, keys: &[String], bytes: u64) -> Result<(), Box<dyn Error>> {
    let (done, results) = mpsc::channel();
    for key in keys {
        let (key, info) = find(store, key)?;
        fetch(store, key, info.etag, 0..info.size.min(bytes), &done)?;
    }
    for _ in keys {
        results.recv()??;
    }
    Ok(())
}

fn fetch_blocks(
    store: &S3Store,
    keys: &[String],
    count: u64,
    bytes: u64,
) -> Result<(), Box<dyn Error>> {
    let (done, results) = mpsc::channel();
    let (key, info) = find(store, keys.first().ok_or("no key")?)?;
    let blocks = (info.size / bytes).max(1);
    let mut at: u64 = 1;
    for _ in 0..count {
        // Visits every block of an object that has a power of two of them.
        at = at.wrapping_mul(5).wrapping_add(0x9e37_79b9) % blocks;
        let range = at * bytes..(at + 1) * bytes;
        fetch(store, key.clone(), info.etag.clone(), range, &done)?;
        results.recv()??;
    }
    Ok(())
}

fn find(store: &S3Store, key: &str) -> Result<(Key, ObjectInfo), Box<dyn Error>> {
    let key = Key::new(key)?;
    let info = block_on(store.head(&key))?;
    Ok((key, info))
}

fn fetch(
    store: &S3Store,
    key: Key,
    if_match: ETag,
    range: Range<u64>,
    done: &Sender<Result<(), s3::Error>>,
) -> Result<(), Box<dyn Error>> {
    let body = Arc::new(Discard {
        request: OnceLock::new(),
        done: done.clone(),
    });
    let request = GetRequest {
        key,
        if_match,
        size: range.end,
        range,
        window: WINDOW_BYTES,
        is_hedge: false,
    };
    let in_flight = store.get(request, Arc::clone(&body) as Arc<dyn BodySink>)?;
    // Cannot be set twice: each body has one request.
    let _unset = body.request.set(in_flight);
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
        // The request holds this body, and this body the request.
        let _unheard = self.done.send(result);
    }
}

const FRAGMENT_BYTES: usize = 1 << 20;
/// Sixteen parts of 8 MiB: at 90 MB/s for each connection more than two cores can take.
const WINDOW_BYTES: u64 = 128 << 20;
