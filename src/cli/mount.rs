//! One mount, from its parts: runtime, store, file system, kernel session.

use std::env;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::args::VERSION;
use super::checks::MountPoint;
use super::config::{Config, StageOptions};
use super::connect::{connect, s3_config};
use super::descriptor;
use super::diagnosis::session_failure;
use super::disk_cache::{cache_source, open_cache};
use super::exit::Failure;
use super::index;
use super::limits::raise_open_files;
use super::log_level::LogLevel;
use super::logging;
use super::notify::ServiceManager;
use super::observed::{Caches, Observers};
use super::remembered::Remembered;
use super::shared_cache;
use super::signals::{Forwarding, HeldSignals, Signal};
use crate::cache::{CachedStore, Source};
use crate::crt::{Runtime, RuntimeConfig};
use crate::fs::{Fs, FsConfig};
use crate::fuse::{MountConfig, Session};
use crate::memory::Budget;
use crate::metrics::Metrics;
use crate::prefetch::Prefetcher;
use crate::read::{HedgeConfig, Hedger, ReadConfig};
use crate::s3::{S3Store, Store};
use crate::shared_cache::{SharedCache, SharedCacheStore};
use crate::stage::{Origin, Remote, Stage, leftovers};
use crate::tree::{TreeConfig, Ttl};
use crate::write::{Places, SendWindow, WriteConfig};

/// A mount that answers.
#[derive(Debug)]
pub(super) struct Mounted {
    session: Session,
    beside: Beside,
    // Outlives the session, so that no signal kills the process before it has unmounted.
    signals: Forwarding,
    // Outlives everything that makes requests.
    runtime: Runtime,
}

/// What goes on beside the session, and is brought to an end after it.
#[derive(Debug)]
struct Beside {
    observers: Observers,
    names: Remembered,
    shared_cache: Option<SharedCache>,
}

/// Makes the mount, and tells `stage` of each step before it begins.
///
/// # Errors
/// What could not be done, why, and what helps. Nothing stays mounted.
pub(super) fn start(
    config: &Config,
    manager: &ServiceManager,
    stage: &mut dyn FnMut(&str),
) -> Result<Mounted, Failure> {
    stage("checking the mount point");
    let place = MountPoint::check(&config.directory)?;
    stage("opening the log");
    let log_level = logging::start(&config.log)?;
    log::debug!("mount-s3 {VERSION}: {config:?}");
    if let Some(warning) = &config.memory.warning {
        log::warn!("{warning}");
    }
    for name in &config.tuning.ignored {
        log::warn!("the environment variable {name} has no effect");
    }
    let throughput = &config.client.throughput;
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let event_loops = config
        .tuning
        .event_loops
        .unwrap_or_else(|| throughput.event_loops(cores));
    log::info!("aiming at {throughput}; {event_loops} event loops on {cores} cores");
    raise_open_files();
    stage("starting the AWS Common Runtime");
    let runtime = Runtime::start(RuntimeConfig {
        event_loop_threads: Some(event_loops),
        max_fragment_bytes: Some(FRAGMENT_BYTES),
    })
    .map_err(|error| Failure::new("Failed to start the AWS Common Runtime").caused_by(&error))?;
    let mounted = mount(config, place, &runtime, stage).and_then(|(session, held, beside)| {
        let signals = listen(held, &session, log_level, manager.clone())?;
        Ok((session, signals, beside))
    });
    match mounted {
        Ok((session, signals, beside)) => Ok(Mounted {
            session,
            beside,
            signals,
            runtime,
        }),
        Err(failure) => {
            // What does not end in time ends with the process; the failure is what matters.
            if let Err(error) = runtime.shutdown(FAILED_SHUTDOWN_DEADLINE) {
                log::debug!("{error}");
            }
            Err(failure)
        }
    }
}

impl Mounted {
    /// Serves the mount until a signal or an unmount ends it.
    pub(super) fn serve(self) {
        let Self {
            session,
            beside,
            signals,
            runtime,
        } = self;
        // The runtime waits for whoever can still make requests.
        let Beside {
            observers,
            names,
            shared_cache,
        } = beside;
        if let Err(error) = session.wait() {
            log::error!("the mount has ended: {error}");
        }
        names.save();
        if let Some(cache) = shared_cache {
            shared_cache::settle(&cache);
        }
        drop(observers);
        // What does not end in time ends with the process.
        if let Err(error) = runtime.shutdown(SHUTDOWN_DEADLINE) {
            log::warn!("{error}");
        }
        drop(signals);
    }

    /// Unmounts at once.
    pub(super) fn end(self) {
        self.session.unmounter().unmount();
        self.serve();
    }
}

fn mount(
    config: &Config,
    place: MountPoint,
    runtime: &Runtime,
    stage: &mut dyn FnMut(&str),
) -> Result<(Session, HeldSignals, Beside), Failure> {
    let index = index::open(config)?;
    stage("connecting to S3");
    let metrics = Metrics::default();
    let mut s3 = s3_config(config);
    s3.metrics = Arc::clone(&metrics.s3);
    if prefetches(config) {
        let target = &mut s3.throughput_target_gbps;
        *target = target.max(LEAST_TARGET_TO_PREFETCH);
    }
    let store = match &index {
        Some(index) => index::connect(index, runtime, config, s3)?,
        None => connect(runtime, s3, &config.client)?,
    };
    log::debug!(
        "connected to bucket {} in region {}",
        store.bucket(),
        store.region()
    );
    let budget = config.memory.plan.budget();
    let region = store.region();
    let caches = Caches {
        bucket: shared_cache::open(config, runtime, region, &budget, &metrics.s3)?,
        disk: config.mount.cache.as_ref().map(open_cache).transpose()?,
    };
    let source = cache_source(&config.client, &store);
    let names = Remembered::open(config, &caches, &source);
    let (store, cached) = layered(store, source, &caches);
    let (store, tree) = match index {
        Some(index) => index::names(Arc::new(index), store, config),
        None => names.tree(store, tree_config(config)),
    };

    stage("mounting");
    let options = &config.mount;
    if let Some(cache) = &caches.disk {
        cache.pay_from(&budget);
    }
    let hedging = HedgeConfig::new(config.memory.part_bytes, Arc::clone(&budget));
    let hedger = Hedger::start(hedging)
        .map_err(|error| Failure::new("Failed to start a thread").caused_by(&error))?;
    let mut read = read_config(config, Arc::clone(&budget)).hedged(hedger);
    read.gets_prove = caches.are_none();
    let remote = Remote {
        store,
        write: write_config(config, &read, budget),
        read,
    };
    let stage = match &options.stage {
        Some(stage) => Some(open_stage(config, stage, remote.clone())?),
        None => None,
    };
    let prefetcher = start_prefetcher(config, &remote)?;
    let fs = Fs::new(
        remote.store,
        tree,
        remote.read,
        remote.write,
        FsConfig {
            uid: options.uid,
            gid: options.gid,
            file_mode: options.file_mode.bits(),
            dir_mode: options.dir_mode.bits(),
            read_only: options.read_only,
            allow_delete: options.allow_delete,
            allow_overwrite: options.allow_overwrite,
            incremental_upload: options.incremental_upload,
            can_rename: options.directory_bucket,
            rename_by_copy: options.allow_rename,
            keep_directories: options.keep_directories,
            infer_content_type: config.objects.infer_content_type,
            writeback_cache: options.writeback_cache,
            posix_metadata: options.posix_metadata,
            xattrs: options.xattrs,
        },
    );
    let fs = fs.observed(metrics);
    let fs = match (stage, cached) {
        (Some(stage), _) => fs.staged(stage),
        (None, Some(cached))
            if options
                .cache
                .as_ref()
                .is_some_and(|cache| cache.passthrough) =>
        {
            fs.backed(cached)
        }
        (None, _) => fs,
    };
    let (fs, told) = match prefetcher {
        Some(prefetcher) => {
            let prefetcher = Arc::new(prefetcher);
            let told = Arc::downgrade(&prefetcher);
            (fs.prefetching(prefetcher), Some(told))
        }
        None => (fs, None),
    };
    let signals = HeldSignals::hold()
        .map_err(|error| Failure::new("Failed to listen to signals").caused_by(&error))?;
    let kernel = MountConfig {
        directory: config.directory.clone(),
        source: config.fstab_source.clone(),
        read_only: options.read_only,
        access: options.access,
        auto_unmount: options.auto_unmount,
        max_threads: usize::from(options.max_threads),
        background: config.tuning.background,
    };
    let (session, directory) = match place {
        MountPoint::Directory(directory) => {
            let kernel = MountConfig {
                directory: directory.clone(),
                ..kernel
            };
            (Session::mount(fs, &kernel), Some(directory))
        }
        MountPoint::Descriptor(number) => {
            if kernel.auto_unmount {
                log::warn!("--auto-unmount has no effect: who hands over a mount unmounts it");
            }
            let device = descriptor::take(number)?;
            (Session::take_over(fs, device, &kernel), None)
        }
    };
    let session = session.map_err(|error| session_failure(&error))?;
    let shared_cache = caches.bucket.clone();
    let observers = Observers::start(config, runtime, directory, session.figures(), told, caches)?;
    let beside = Beside {
        observers,
        names,
        shared_cache,
    };
    Ok((session, signals, beside))
}

/// Lets signals end the mount, and change what is logged.
fn listen(
    held: HeldSignals,
    session: &Session,
    log_level: Option<LogLevel>,
    manager: ServiceManager,
) -> Result<Forwarding, Failure> {
    let unmounter = session.unmounter();
    held.forward(move |signal| match signal {
        Signal::End(signal) => {
            log::info!("unmounting, as {signal} asks for it");
            manager.stopping();
            unmounter.unmount();
        }
        Signal::NextLogLevel => {
            if let Some(level) = &log_level {
                level.advance();
            }
        }
    })
    .map_err(|error| Failure::new("Failed to listen to signals").caused_by(&error))
}

fn tree_config(config: &Config) -> TreeConfig {
    let options = &config.mount;
    let needs_head = options.posix_metadata || options.xattrs;
    TreeConfig {
        prefix: config.prefix.clone(),
        ttl: options.metadata_ttl,
        negative_ttl: options.negative_metadata_ttl,
        details: options.posix_metadata,
        // A directory bucket has another order; extended attributes need a HEAD.
        pages: !(options.directory_bucket || needs_head),
        ordered: !options.directory_bucket,
    }
}

/// Whether what is known of files is believed long enough for it to be of use to fetch them before
/// they are opened.
fn prefetches(config: &Config) -> bool {
    matches!(config.mount.metadata_ttl, Ttl::For(ttl) if ttl >= SHORTEST_TTL_TO_PREFETCH)
}

/// The store, of which what was read is kept in `caches`, and looked for on the disk first; and the
/// part of it that does so.
fn layered(
    store: S3Store,
    source: Source,
    caches: &Caches,
) -> (Arc<dyn Store>, Option<Arc<CachedStore>>) {
    let mut store: Arc<dyn Store> = Arc::new(store);
    if let Some(cache) = &caches.bucket {
        store = Arc::new(SharedCacheStore::new(store, cache, source.clone()));
    }
    let Some(cache) = &caches.disk else {
        return (store, None);
    };
    let cached = Arc::new(CachedStore::new(store, cache, source));
    (Arc::clone(&cached) as Arc<dyn Store>, Some(cached))
}

/// Lets files be fetched before they are opened, if that is of use.
fn start_prefetcher(config: &Config, remote: &Remote) -> Result<Option<Prefetcher>, Failure> {
    if !prefetches(config) {
        return Ok(None);
    }
    let (store, read) = (Arc::clone(&remote.store), remote.read.clone());
    Prefetcher::start(store, read, &config.prefix)
        .map(Some)
        .map_err(|error| Failure::new("Failed to start a thread").caused_by(&error))
}

/// Makes a place for staged files, and tells of those that an earlier mount has left.
fn open_stage(config: &Config, stage: &StageOptions, remote: Remote) -> Result<Stage, Failure> {
    let directory = &stage.directory;
    let arguments = env::args_os().skip(1);
    let origin = Origin::new(
        config.bucket.to_string(),
        arguments
            .map(|word| word.to_string_lossy().into_owned())
            .collect(),
        stage.environment.clone(),
    );
    let failure = |error| Failure::new("Failed to prepare the stage").caused_by(&error);
    let stage = Stage::create(directory, &origin, remote).map_err(failure)?;
    let left = leftovers(directory).map_err(failure)?;
    let left = left.iter().filter(|session| !session.is_in_use());
    let count: usize = left.map(|session| session.files.len()).sum();
    if count > 0 {
        log::warn!(
            "{count} files of earlier mounts are not stored: see `mount-s3 staged list --stage {}`",
            directory.display()
        );
    }
    Ok(stage)
}

pub(super) fn read_config(config: &Config, budget: Arc<Budget>) -> ReadConfig {
    let part_bytes = config.memory.part_bytes;
    let mut read = ReadConfig::for_throughput(part_bytes, config.client.throughput.gbps, budget);
    if let Some(bytes) = config.tuning.max_window {
        read.max_window = bytes.get();
    }
    read
}

/// Writing is to reach the throughput that `read` is to, and to have no more bytes under way than one
/// file that is read.
pub(super) fn write_config(config: &Config, read: &ReadConfig, budget: Arc<Budget>) -> WriteConfig {
    let memory = &config.memory;
    let writers = memory
        .plan
        .writers(memory.part_bytes, memory.write_part_bytes);
    WriteConfig {
        part_size: memory.write_part_bytes,
        window: SendWindow::new(memory.write_part_bytes, read.max_window, read.rate),
        budget,
        places: Places::new(writers),
    }
}

/// What a connection reads at a time, at most: the largest single lever on the cost of a download,
/// as it saves copies and wake-ups.
pub(super) const FRAGMENT_BYTES: usize = 1 << 20;

/// What is fetched ahead has to be believed in until it is opened.
const SHORTEST_TTL_TO_PREFETCH: Duration = Duration::from_secs(1);

/// What the CRT has 64 connections for: each small object takes one for a round trip. Large objects
/// need no more than their own target says, and are slower with more where the processor is the
/// limit, so mounts that fetch nothing ahead keep to that.
pub(super) const LEAST_TARGET_TO_PREFETCH: f64 = 25.6;

const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);

/// Shorter, as somebody waits to hear of the failure.
const FAILED_SHUTDOWN_DEADLINE: Duration = Duration::from_millis(500);
