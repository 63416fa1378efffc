//! `mount-s3 cache warm`: objects fetched into the cache, so that mounts read them from the disk.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use futures::executor::block_on;

use super::selection::{Objects, Origin, Selection};
use super::stat::in_units;
use super::stop::{Followed, Stop};
use super::{say, shut_down, unreadable};
use crate::cache::{CachedStore, End, FetchLimits, Fetched, Lacking, Trouble, Version, Wanted};
use crate::cli::args_cache::WarmArgs;
use crate::cli::config::{CacheOptions, ClientOptions, Environment, LogOptions};
use crate::cli::connect::client_config;
use crate::cli::diagnosis::connect_failure;
use crate::cli::disk_cache::{cached, open_cache};
use crate::cli::exit::Failure;
use crate::cli::limits::raise_open_files;
use crate::cli::lines::Complaints;
use crate::cli::logging;
use crate::cli::machine::Throughput;
use crate::cli::memory::Memory;
use crate::cli::mount::{FRAGMENT_BYTES, LEAST_TARGET_TO_PREFETCH};
use crate::cli::progress::{Bytes, Progress};
use crate::crt::{Runtime, RuntimeConfig};
use crate::s3::{ErrorKind, Key, ObjectInfo, S3Store, find};

pub(super) fn run(args: WarmArgs, mut environment: Environment) -> Result<ExitCode, Failure> {
    logging::start(&LogOptions::of_command(args.debug, &environment)?)?;
    let selection = Selection::read(args.source, args.list.as_deref())?;
    let gbps = args.reading.maximum_throughput_gbps;
    environment.ask_instance(args.connect.region.is_some(), gbps.is_some());
    let throughput = Throughput::choose(gbps, environment.instance_type(), Path::new("/"));
    let part_bytes = args.reading.part_bytes();
    let memory = Memory::new(args.reading.memory_target, throughput.gbps, part_bytes, 1)?;
    if let Some(warning) = &memory.warning {
        log::warn!("{warning}");
    }
    let surroundings = environment.surroundings();
    let client = ClientOptions::new(args.connect, args.client, throughput, environment)?;
    raise_open_files();
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let runtime = Runtime::start(RuntimeConfig {
        event_loop_threads: Some(client.throughput.event_loops(cores)),
        max_fragment_bytes: Some(FRAGMENT_BYTES),
    })
    .map_err(|error| Failure::new("Failed to start the AWS Common Runtime").caused_by(&error))?;
    let job = Job {
        selection,
        client,
        memory,
        cache: CacheOptions {
            directory: args.place.directory,
            surroundings,
            most: args.max_cache_size.map(|mib| mib << 20),
            passthrough: false,
        },
        rate: args.rate,
        progress: args.progress,
    };
    let done = job.run(&runtime);
    shut_down(runtime);
    done
}

/// What to fetch, and how.
struct Job {
    selection: Selection,
    client: ClientOptions,
    memory: Memory,
    cache: CacheOptions,
    rate: Option<NonZeroU64>,
    progress: bool,
}

impl Job {
    fn run(&self, runtime: &Runtime) -> Result<ExitCode, Failure> {
        // What is used from now on is not removed to make room; file systems have slow clocks.
        let begun = SystemTime::now() - CLOCK_STEP;
        let mut stop = Stop::listen()?;
        let mut complaints = Complaints::default();
        let found = match self.connect(runtime, &mut stop)? {
            Some(store) => {
                let versions = self.find(&store, &mut stop, &mut complaints)?;
                versions.map(|versions| (store, versions))
            }
            None => None,
        };
        let Some((store, versions)) = found else {
            return Err(Failure::new("interrupted before anything was fetched"));
        };
        let count = versions.len();
        if count == 0 && complaints.count() == 0 {
            let (bucket, root) = (&self.selection.bucket, self.selection.root.as_str());
            return Err(Failure::new(format!(
                "there are no objects below s3://{bucket}/{root}"
            )));
        }
        let Lacking {
            complete,
            complete_bytes,
            mut wanted,
        } = store.lacking(versions);
        if complete > 0 {
            let size = in_units(complete_bytes);
            say(&format!(
                "{complete} of {count} objects are in the cache ({size})"
            ));
        }
        let no_room = store
            .make_room(&mut wanted, begun, || stop.is_asked())
            .map_err(|error| unreadable(&error))?;
        let fetched = self.fetch(&store, wanted, &stop);
        drop(store);
        let is_all = self.report(fetched, &no_room, &mut complaints)?;
        Ok(match is_all && complaints.count() == 0 {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }

    /// The bucket, and the cache before it; `None` when a signal ends it.
    fn connect(
        &self,
        runtime: &Runtime,
        stop: &mut Stop,
    ) -> Result<Option<Arc<CachedStore>>, Failure> {
        let (bucket, root) = (&self.selection.bucket, self.selection.root.clone());
        let mut s3 = client_config(bucket.clone(), root, &self.client);
        s3.part_bytes = self.memory.part_bytes;
        s3.memory_limit_bytes = Some(self.memory.plan.buffers());
        s3.throughput_target_gbps = s3.throughput_target_gbps.max(LEAST_TARGET_TO_PREFETCH);
        // The directory first: that is wrong sooner.
        let cache = open_cache(&self.cache)?;
        let Some(store) = block_on(stop.or_stop(S3Store::connect(runtime, s3))) else {
            return Ok(None);
        };
        let store = store.map_err(|error| connect_failure(bucket, &self.client, &error))?;
        Ok(Some(cached(&self.client, &Arc::new(store), &cache)))
    }

    /// The newest versions of what is meant, as far as they can be read; `None` when a signal ends it.
    fn find(
        &self,
        store: &CachedStore,
        stop: &mut Stop,
        complaints: &mut Complaints,
    ) -> Result<Option<Vec<Version>>, Failure> {
        let mut versions = Vec::new();
        let mut take = |key: Key, info: ObjectInfo, complaints: &mut Complaints| {
            if info.is_readable() {
                versions.push(Version {
                    key,
                    etag: info.etag,
                    size: info.size,
                });
            } else {
                complaints.add(&format!("{}: is archived: restore it first", shown(&key)));
            }
        };
        match &self.selection.objects {
            Objects::All => {
                let mut progress = Progress::new(self.progress);
                let mut page = |objects| progress.page(objects);
                let listing = self.selection.list(store, stop, &mut page);
                let Some(listed) = block_on(listing)? else {
                    return Ok(None);
                };
                for object in listed {
                    // S3 has none that are no keys.
                    if let Ok(key) = Key::new(object.key) {
                        take(key, object.info, complaints);
                    }
                }
            }
            Objects::Named(named) => {
                let keys: Vec<Key> = named.iter().map(|(_, key)| key.clone()).collect();
                let found = stop.or_stop(find(store, &keys, self.selection.root.as_str()));
                let Some(found) = block_on(found) else {
                    return Ok(None);
                };
                let failure =
                    |error| Failure::new("Failed to look for the objects").caused_by(&error);
                let found = found.map_err(failure)?;
                for ((origin, key), info) in named.iter().zip(found) {
                    match info {
                        Some(info) => take(key.clone(), info, complaints),
                        None => complaints.add(&self.missing(origin, key)),
                    }
                }
                // Some may be named twice.
                versions.sort_by(|one, two| one.key.cmp(&two.key));
                versions.dedup_by(|one, two| one.key == two.key);
            }
        }
        Ok(Some(versions))
    }

    fn missing(&self, origin: &Origin, key: &Key) -> String {
        let (bucket, key) = (&self.selection.bucket, shown(key));
        match origin {
            Origin::Typed => {
                format!("there is no object {key}; for all that is below it: s3://{bucket}/{key}/")
            }
            Origin::Line(list, number) => {
                format!("{}:{number}: there is no object {key}", list.display())
            }
        }
    }

    fn fetch(&self, store: &CachedStore, wanted: Vec<Wanted>, stop: &Stop) -> Fetched {
        let missing = wanted.iter().map(|one| one.missing).sum();
        let limits = FetchLimits {
            part: self.memory.part_bytes,
            memory: self.memory.plan.largest_part(),
            rate: self.rate,
        };
        let begun = Instant::now();
        let followed = Followed::new(Bytes::new(missing, self.progress), stop);
        let fetched = store.fetch(wanted, &limits, &followed);
        drop(followed);
        if fetched.bytes > 0 {
            let (complete, bytes) = (fetched.complete, in_units(fetched.bytes));
            let millis = begun.elapsed().as_millis().max(1);
            let rate = u128::from(fetched.bytes) * 1000 / millis;
            let rate = in_units(u64::try_from(rate).unwrap_or(u64::MAX));
            say(&format!(
                "{complete} objects were fetched: {bytes}, {rate}/s"
            ));
        }
        fetched
    }

    /// Tells what is not in the cache, and whether nothing is.
    fn report(
        &self,
        fetched: Fetched,
        no_room: &[Wanted],
        complaints: &mut Complaints,
    ) -> Result<bool, Failure> {
        for (key, trouble) in &fetched.troubles {
            complaints.add(&format!("{}: {}", shown(key), reason(trouble)));
        }
        let left = fetched.incomplete + no_room.len() as u64;
        let again = "run the same command again for the rest";
        let failure = match fetched.end {
            End::Stopped => Failure::new(format!("interrupted: {left} objects are missing"))
                .with_remedy(again),
            End::Disk => Failure::new(format!(
                "a file of the cache cannot be read or written, as was told above: {left} objects are missing"
            ))
            .with_remedy(format!("{again} when the disk has been seen to")),
            End::Store(error) => {
                Failure::new(format!("Failed to fetch: {left} objects are missing")).caused_by(&error)
            }
            End::NoRoom => {
                Failure::new(format!("others fill the cache, or the disk: {left} objects are missing"))
                    .with_remedy(self.more_room())
            }
            End::Done if !no_room.is_empty() => {
                let missing = in_units(no_room.iter().map(|one| one.missing).sum());
                Failure::new(format!(
                    "the cache is full: {} objects ({missing}) were not fetched, as they would have taken \
                     the place of the others",
                    no_room.len()
                ))
                .with_remedy(self.more_room())
            }
            End::Done => return Ok(left == 0),
        };
        Err(failure)
    }

    fn more_room(&self) -> &'static str {
        match self.cache.most {
            Some(_) => {
                "allow more with --max-cache-size, here and for mounts, or choose fewer objects"
            }
            None => "make room on the disk (5 % of it stay free), or choose fewer objects",
        }
    }
}

fn reason(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Store(error) => match error.kind() {
            ErrorKind::NotFound => "was deleted meanwhile".to_owned(),
            ErrorKind::Precondition => {
                "was replaced meanwhile: run the same command again".to_owned()
            }
            ErrorKind::Archived => "is archived: restore it first".to_owned(),
            _ => error.to_string(),
        },
        Trouble::NotKept => "was fetched, and others have taken its place in the cache".to_owned(),
    }
}

/// A key for a terminal.
fn shown(key: &Key) -> String {
    key.as_str().escape_debug().to_string()
}

/// More than the steps of the clocks of file systems.
const CLOCK_STEP: Duration = Duration::from_secs(2);
