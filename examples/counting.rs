//! What counting costs, for benchmarks: nanoseconds for what every request of the kernel adds to.
//!
//! Usage: `counting`. With as many threads as the machine has cores, all at the same figures.

use std::hint::black_box;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use mount_s3::metrics::{Counter, Histogram};

fn main() -> io::Result<()> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    for threads in [1, cores] {
        let (counter, histogram) = (Counter::default(), Histogram::default());
        let add = time(threads, |_| counter.add(black_box(1)));
        let observe = time(threads, |turn| histogram.observe(black_box(turn % 4096)));
        let timed = time(threads, |_| {
            let begin = Instant::now();
            histogram.observe_time(begin.elapsed());
        });
        writeln!(
            io::stdout(),
            "{threads} threads: counter {add} ns, histogram {observe} ns, time {timed} ns"
        )?;
    }
    Ok(())
}

/// How long one turn of `work` takes a thread, in nanoseconds.
fn time(threads: usize, work: impl Fn(u64) + Sync) -> u128 {
    let start = Barrier::new(threads);
    let took = thread::scope(|scope| {
        let run = || {
            start.wait();
            let begin = Instant::now();
            (0..TURNS).for_each(&work);
            begin.elapsed()
        };
        let runs: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let runs = runs.into_iter().map(|run| run.join().unwrap_or_default());
        runs.max().unwrap_or(Duration::ZERO)
    });
    took.as_nanos() / u128::from(TURNS)
}

const TURNS: u64 = 20_000_000;
