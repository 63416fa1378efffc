//! Uploads objects of nothing in particular: what the store and the CRT allow without a file
//! system, for benchmarks.
//!
//! Usage: `raw_put ENDPOINT BUCKET BYTES BUFFER KEY...` uploads BYTES to each key, all keys at once,
//! unsigned, holding at most BUFFER bytes for each. Prints MiB/s and seconds of CPU a GiB.

use std::env;
use std::error::Error;
use std::fs;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::executor::block_on;
use mount_s3::crt::{Runtime, RuntimeConfig};
use mount_s3::s3::{
    self, Addressing, Auth, BucketName, Key, PutRequest, S3Config, S3Store, Store, Upload,
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("raw_put: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let mut next = || {
        arguments
            .next()
            .ok_or("usage: raw_put ENDPOINT BUCKET BYTES BUFFER KEY...")
    };
    let (endpoint, bucket) = (next()?, next()?);
    let (bytes, buffer): (u64, u64) = (next()?.parse()?, next()?.parse()?);
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
    let mut uploads = Vec::new();
    for key in &keys {
        uploads.push(store.upload(PutRequest::new(Key::new(key.as_str())?), buffer)?);
    }
    let (started, cpu) = (Instant::now(), cpu_seconds()?);
    let writers: Vec<_> = uploads
        .into_iter()
        .map(|upload| thread::spawn(move || write(upload, bytes)))
        .collect();
    for writer in writers {
        writer.join().map_err(|_| "a writer panicked")??;
    }
    let seconds = started.elapsed().as_secs_f64();
    let total = (bytes * keys.len() as u64) as f64;
    let speed = total / MIB / seconds;
    let cost = (cpu_seconds()? - cpu) / (total / MIB / 1024.0);
    eprintln!("{speed:.0} MiB/s, {cost:.3} CPU s/GiB");
    drop(store);
    runtime.shutdown(Duration::from_secs(10))?;
    Ok(())
}

/// Writes what a file system gets: one piece of memory after the other.
fn write(mut upload: Box<dyn Upload>, bytes: u64) -> Result<(), s3::Error> {
    let piece = Bytes::from(vec![0x5a; PIECE_BYTES]);
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(PIECE_BYTES);
        let piece = piece.slice(..length.min(PIECE_BYTES));
        left -= piece.len() as u64;
        block_on(upload.write(piece))?;
    }
    block_on(upload.complete()).map(drop)
}

/// User and system time of this process.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no process name")?;
    // proc(5): the 12th and 13th field after the name, in clock ticks of 10 ms.
    let ticks = fields.split_whitespace().skip(11).take(2);
    Ok(ticks
        .filter_map(|field| field.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0)
}

const FRAGMENT_BYTES: usize = 1 << 20;
/// What the kernel writes at once.
const PIECE_BYTES: usize = 1 << 20;
const MIB: f64 = 1048576.0;
