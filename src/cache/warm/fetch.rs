//! Bytes that are missing, fetched many at a time.
//!
//! Whatever is fetched has to find its way to the disk, or it was fetched for nothing. So no more is under
//! way, or waits to be written, than may wait to be written: a slow disk slows the network down.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::rate::Rate;
use super::{Version, Wanted};
use crate::cache::amount::Amount;
use crate::cache::fill::MOST_QUEUED;
use crate::cache::{BLOCK, CachedStore, Watch};
use crate::s3::{BodySink, Error, ErrorKind, GetRequest, InFlight, Key, Store};

/// How much is fetched at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// Bytes of the parts that a GET is split into.
    pub part: u64,
    /// Bytes of memory for what is under way.
    pub memory: u64,
    /// Bytes per second; without one as many as come.
    pub rate: Option<NonZeroU64>,
}

/// What came of fetching.
#[derive(Debug)]
pub struct Fetched {
    /// How many versions the cache has in whole now that it lacked bytes of.
    pub complete: u64,
    /// How many it still lacks bytes of.
    pub incomplete: u64,
    /// Bytes that came.
    pub bytes: u64,
    /// Objects that were given up.
    pub troubles: Vec<(Key, Trouble)>,
    /// How it ended.
    pub end: End,
}

/// Why an object was given up.
#[derive(Debug)]
pub enum Trouble {
    /// The store does not give it.
    Store(Error),
    /// It was fetched, and is not in the cache all the same: others have taken its room.
    NotKept,
}

/// How fetching ended.
#[derive(Debug)]
pub enum End {
    /// Everything was tried.
    Done,
    /// Somebody has asked for it.
    Stopped,
    /// Others fill the cache, or the disk: there is no room.
    NoRoom,
    /// The disk fails.
    Disk,
    /// The store fails, whatever it is asked for.
    Store(Error),
}

impl CachedStore {
    /// Fetches what is missing into the cache, and returns when it is written.
    pub fn fetch(&self, wanted: Vec<Wanted>, limits: &FetchLimits, watch: &dyn Watch) -> Fetched {
        let begun = wanted.len();
        let mut fetched = Fetched {
            complete: 0,
            incomplete: 0,
            bytes: 0,
            troubles: Vec::new(),
            end: End::Done,
        };
        let mut left: Vec<Version> = wanted.into_iter().map(|one| one.version).collect();
        for _ in 0..ROUNDS {
            let mut round = Round::new(self, &left, limits, watch);
            fetched.end = round.run();
            fetched.bytes += round.bytes;
            let mut failed = std::mem::take(&mut round.failed);
            drop(round);
            self.settle(&fetched.end);
            let versions = std::mem::take(&mut left).into_iter().enumerate();
            let tried: Vec<Version> = versions
                .filter_map(|(index, version)| match failed.remove(&index) {
                    Some(error) => {
                        fetched.troubles.push((version.key, Trouble::Store(error)));
                        None
                    }
                    None => Some(version),
                })
                .collect();
            let lacking = self.lacking(tried);
            left = lacking.wanted.into_iter().map(|one| one.version).collect();
            if left.is_empty() || !matches!(fetched.end, End::Done) {
                break;
            }
        }
        fetched.incomplete = (fetched.troubles.len() + left.len()) as u64;
        fetched.complete = (begun as u64).saturating_sub(fetched.incomplete);
        if matches!(fetched.end, End::Done) {
            let not_kept = left
                .into_iter()
                .map(|version| (version.key, Trouble::NotKept));
            fetched.troubles.extend(not_kept);
        }
        fetched
    }

    /// Waits until what came is written; for a while only when somebody waits for the end.
    fn settle(&self, end: &End) {
        let begun = Instant::now();
        while self.queued() > 0 {
            if matches!(end, End::Stopped) && begun.elapsed() > LAST_WRITES {
                return;
            }
            thread::sleep(TICK);
        }
    }

    /// Bytes that wait to be written.
    fn queued(&self) -> u64 {
        self.shared.queued.load(Ordering::Relaxed)
    }
}

/// What is missing of a version, to be fetched.
struct Job {
    /// Which of the versions.
    index: usize,
    gaps: VecDeque<Range<u64>>,
    /// How often it has failed.
    failures: u32,
    not_before: Instant,
}

/// The first gap of a job, under way.
struct Running {
    job: Job,
    request: Box<dyn InFlight>,
    /// Bytes that may be delivered, and were not.
    outstanding: u64,
    /// Bytes that may not be delivered yet.
    rest: u64,
}

/// What happened to the GET of this number.
enum Event {
    Arrived(u64, u64),
    Ended(u64, Result<(), Error>),
}

/// Tells of what arrives, and lets go of it: the cache has it.
struct Meter {
    number: u64,
    events: Sender<Event>,
}

impl BodySink for Meter {
    fn part(&self, _offset: u64, bytes: Bytes) {
        // Nobody listens to a GET that was given up.
        _ = self
            .events
            .send(Event::Arrived(self.number, bytes.len() as u64));
    }

    fn finish(&self, result: Result<(), Error>) {
        _ = self.events.send(Event::Ended(self.number, result));
    }
}

/// One try at everything.
struct Round<'a> {
    store: &'a CachedStore,
    versions: &'a [Version],
    part: u64,
    /// Bytes that may be under way, or wait to be written.
    most: u64,
    rate: Option<Rate>,
    watch: &'a dyn Watch,
    /// The version that was not begun yet.
    next: usize,
    /// Jobs that were begun, and go on.
    again: VecDeque<Job>,
    /// By the numbers of the GETs.
    running: BTreeMap<u64, Running>,
    gets: u64,
    outstanding: u64,
    sender: Sender<Event>,
    events: Receiver<Event>,
    /// What the cache had counted before.
    left_out: u64,
    errors: u64,
    bytes: u64,
    failed: BTreeMap<usize, Error>,
}

impl<'a> Round<'a> {
    fn new(
        store: &'a CachedStore,
        versions: &'a [Version],
        limits: &FetchLimits,
        watch: &'a dyn Watch,
    ) -> Self {
        let now = Instant::now();
        let part = limits.part.max(1);
        // A quarter less, as what arrives is counted a little before it waits to be written.
        let most = limits.memory.min(MOST_QUEUED / 4 * 3);
        let most = limits.rate.map_or(most, |rate| most.min(rate.get()));
        let (sender, events) = channel();
        let metrics = &store.shared.metrics;
        Self {
            store,
            versions,
            part,
            most: most.max(part),
            rate: limits.rate.map(|rate| Rate::new(rate, part, now)),
            watch,
            next: 0,
            again: VecDeque::new(),
            running: BTreeMap::new(),
            gets: 0,
            outstanding: 0,
            sender,
            events,
            left_out: metrics.left_out.get(),
            errors: metrics.errors.get(),
            bytes: 0,
            failed: BTreeMap::new(),
        }
    }

    fn run(&mut self) -> End {
        loop {
            if self.watch.is_stopped() {
                return End::Stopped;
            }
            if let Some(end) = self.trouble_of_the_cache() {
                return end;
            }
            self.extend_windows();
            self.start();
            let is_begun = self.next >= self.versions.len() && self.again.is_empty();
            if self.running.is_empty() && is_begun {
                return End::Done;
            }
            let mut event = self.events.recv_timeout(TICK).ok();
            while let Some(known) = event {
                if let Some(end) = self.note(known) {
                    return end;
                }
                event = self.events.try_recv().ok();
            }
        }
    }

    fn trouble_of_the_cache(&self) -> Option<End> {
        let shared = &self.store.shared;
        if shared.metrics.errors.get() > self.errors {
            return Some(End::Disk);
        }
        let is_left_out = shared.metrics.left_out.get() > self.left_out;
        let has_room = || {
            let room = shared.usage.room(shared.entries.root());
            Amount::of_bytes(self.part).fits_in(room) && room.files > 0
        };
        (is_left_out && !has_room()).then_some(End::NoRoom)
    }

    /// Lets those that are under way deliver more.
    fn extend_windows(&mut self) {
        let share = (self.most / (self.running.len() as u64).max(1)).max(self.part);
        let numbers: Vec<u64> = self.running.keys().copied().collect();
        for number in numbers {
            while let Some(running) = self.running.get(&number)
                && running.rest > 0
                && running.outstanding < share
            {
                let step = self.part.min(running.rest);
                if !self.may_ask_for(step) {
                    return;
                }
                if let Some(running) = self.running.get_mut(&number) {
                    running.rest -= step;
                    running.outstanding += step;
                    self.outstanding += step;
                    running.request.extend_window(step);
                }
            }
        }
    }

    /// Begins what may be begun beside what is under way: as long as that could not take all that may
    /// be under way twice, so that neither a small object nor the end of a large one is waited for.
    fn start(&mut self) {
        let mut rest: u64 = self.running.values().map(Running::rest).sum();
        while self.running.len() < MOST_UNDER_WAY && rest < 2 * self.most {
            let Some(mut job) = self.next_job() else {
                return;
            };
            let Some(range) = job.gaps.front().cloned() else {
                continue;
            };
            let step = self.part.min(range.end - range.start);
            if !self.may_ask_for(step) {
                return self.again.push_front(job);
            }
            let version = &self.versions[job.index];
            self.gets += 1;
            let meter = Meter {
                number: self.gets,
                events: self.sender.clone(),
            };
            let request = GetRequest {
                key: version.key.clone(),
                if_match: version.etag.clone(),
                size: version.size,
                range: range.clone(),
                window: step,
                is_hedge: false,
            };
            match self.store.get(request, Arc::new(meter)) {
                Ok(request) => {
                    let running = Running {
                        job,
                        request,
                        outstanding: step,
                        rest: range.end - range.start - step,
                    };
                    rest += running.rest();
                    self.outstanding += step;
                    self.running.insert(self.gets, running);
                }
                Err(error) => {
                    job.gaps.clear();
                    self.failed.insert(job.index, error);
                }
            }
        }
    }

    /// Whether so many bytes may be under way more. Then they count for the rate.
    fn may_ask_for(&mut self, bytes: u64) -> bool {
        let fits = self.outstanding + self.store.queued() + bytes <= self.most;
        fits && self
            .rate
            .as_mut()
            .is_none_or(|rate| rate.take(bytes, Instant::now()))
    }

    /// The next job, if one may be begun now.
    fn next_job(&mut self) -> Option<Job> {
        let now = Instant::now();
        if let Some(due) = self.again.iter().position(|job| job.not_before <= now) {
            return self.again.remove(due);
        }
        let index = self.next;
        let version = self.versions.get(index)?;
        self.next += 1;
        Some(Job {
            index,
            gaps: self.gaps(version),
            failures: 0,
            not_before: now,
        })
    }

    /// What is missing of a version, in ranges that are worth a request of their own.
    fn gaps(&self, version: &Version) -> VecDeque<Range<u64>> {
        let mut joined: VecDeque<Range<u64>> = VecDeque::new();
        for gap in self.store.gaps(version) {
            match joined.back_mut() {
                Some(last) if gap.start - last.end <= NOT_WORTH_A_REQUEST => last.end = gap.end,
                _ => joined.push_back(gap),
            }
        }
        joined
    }

    /// Takes note of what happened; gives the end if nothing more can be hoped for.
    fn note(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Arrived(number, bytes) => {
                self.bytes += bytes;
                self.watch.advanced(bytes);
                if let Some(running) = self.running.get_mut(&number) {
                    let expected = bytes.min(running.outstanding);
                    running.outstanding -= expected;
                    self.outstanding -= expected;
                }
            }
            Event::Ended(number, result) => {
                let Running {
                    mut job,
                    outstanding,
                    ..
                } = self.running.remove(&number)?;
                self.outstanding -= outstanding;
                match result {
                    Ok(()) => {
                        job.gaps.pop_front();
                        if !job.gaps.is_empty() {
                            self.again.push_front(job);
                        }
                    }
                    Err(error) => return self.note_failure(job, error),
                }
            }
        }
        None
    }

    /// Lets what failed be tried again, if that may help; gives the end if it concerns all.
    fn note_failure(&mut self, mut job: Job, error: Error) -> Option<End> {
        job.failures += 1;
        if may_pass(error.kind()) && job.failures < TRIES {
            job.not_before = Instant::now() + PAUSE * job.failures;
            // What has come is there.
            job.gaps = self.gaps(&self.versions[job.index]);
            self.again.push_back(job);
            return None;
        }
        if concerns_all(error.kind()) {
            return Some(End::Store(error));
        }
        self.failed.insert(job.index, error);
        None
    }
}

impl Running {
    /// Bytes that are still to come, of all gaps.
    fn rest(&self) -> u64 {
        let others = self.job.gaps.iter().skip(1);
        let others: u64 = others.map(|gap| gap.end - gap.start).sum();
        self.outstanding + self.rest + others
    }
}

/// Whether the same request may succeed a little later. The store has tried it again by itself.
fn may_pass(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Throttled
            | ErrorKind::Dns
            | ErrorKind::Connection
            | ErrorKind::Timeout
            | ErrorKind::Integrity
            | ErrorKind::Other
    )
}

/// Whether other objects will fail as well.
fn concerns_all(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NoSuchBucket
            | ErrorKind::NoCredentials
            | ErrorKind::BadCredentials
            | ErrorKind::WrongRegion
            | ErrorKind::Throttled
            | ErrorKind::Dns
            | ErrorKind::Connection
            | ErrorKind::Tls
            | ErrorKind::Timeout
            | ErrorKind::Settings
    )
}

/// GETs at a time, for small objects: as many as a mount has that fetches files ahead.
const MOST_UNDER_WAY: usize = 48;

/// How often everything that is not there is tried.
const ROUNDS: usize = 3;

/// How often a GET is tried.
const TRIES: u32 = 3;

/// Before the second try; before the third twice as long.
const PAUSE: Duration = Duration::from_secs(1);

/// Blocks that are there and lie between missing ones are fetched again, if they are no more than this.
const NOT_WORTH_A_REQUEST: u64 = 8 * BLOCK;

/// How soon it is seen that there is room, and who watches wants an end.
const TICK: Duration = Duration::from_millis(10);

/// How long what came may take to be written when the end is waited for.
const LAST_WRITES: Duration = Duration::from_secs(5);
