//! What shows the figures of a mount.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Weak;
use std::time::Instant;

use super::channel::{Channel, Place, Services};
use super::config::Config;
use super::exit::Failure;
use super::status::Status;
use crate::cache::Cache;
use crate::crt::{HttpClient, Runtime, TlsContext, Trust, Uri};
use crate::fuse::Figures;
use crate::metrics::{Label, Snapshot, names};
use crate::prefetch::Prefetcher;
use crate::shared_cache::SharedCache;
use crate::telemetry::{Listener, MetricsLog, OtlpConfig, OtlpExporter, Source, report_process};

/// What shows the figures of a mount, until it is dropped; the last ones are shown then. Drop it
/// before the runtime is shut down.
#[derive(Debug)]
pub(super) struct Observers {
    _channel: Option<Channel>,
    _listener: Option<Listener>,
    _log: Option<MetricsLog>,
    _otlp: Option<OtlpExporter>,
}

/// Where what was read is kept.
#[derive(Debug, Default)]
pub(super) struct Caches {
    /// On a disk.
    pub(super) disk: Option<Cache>,
    /// In a bucket.
    pub(super) bucket: Option<SharedCache>,
}

impl Caches {
    /// Whether it is kept nowhere.
    pub(super) fn are_none(&self) -> bool {
        self.disk.is_none() && self.bucket.is_none()
    }

    fn report(&self, snapshot: &mut Snapshot) {
        if let Some(cache) = &self.bucket {
            cache.report(snapshot);
        }
        if let Some(cache) = &self.disk {
            cache.report(snapshot);
        }
    }
}

impl Observers {
    /// Shows `figures` where `config` says, of a mount at `directory`, if that is known. Lets the
    /// user of the mount ask for them, and tell `prefetcher` what will be read.
    ///
    /// # Errors
    /// Figures cannot be shown where they were asked for.
    pub(super) fn start(
        config: &Config,
        runtime: &Runtime,
        directory: Option<PathBuf>,
        figures: Figures,
        prefetcher: Option<Weak<Prefetcher>>,
        caches: Caches,
    ) -> Result<Self, Failure> {
        let mount_point = directory.as_ref().unwrap_or(&config.directory);
        let source = source(config, mount_point, figures.clone(), caches);
        let no_thread =
            |error| Failure::new("Failed to start a thread for metrics").caused_by(&error);
        let channel = open_channel(config, directory.as_deref(), &source, figures, prefetcher);
        let log = config
            .log
            .metrics
            .then(|| MetricsLog::start(source.clone()));
        let otlp = config.metrics.otlp.as_ref();
        let otlp = otlp.map(|otlp| export(config, runtime, otlp, source.clone()));
        let listener = config.metrics.listen.as_ref().map(|address| {
            Listener::start(address, source).map_err(|error| {
                Failure::new(format!("Failed to serve metrics at {address}"))
                    .caused_by(&error)
                    .with_remedy("choose another address for --metrics-listen, or go without it")
            })
        });
        Ok(Self {
            _channel: channel,
            _log: log.transpose().map_err(no_thread)?,
            _otlp: otlp.transpose()?,
            _listener: listener.transpose()?,
        })
    }
}

/// All figures of the mount and of its process.
fn source(config: &Config, directory: &Path, figures: Figures, caches: Caches) -> Source {
    let mount = [
        Label::new("bucket", config.bucket.to_string()),
        Label::new("prefix", config.prefix.as_str().to_owned()),
        Label::new("mount_point", directory.to_string_lossy().into_owned()),
    ];
    let labels = mount.into_iter().chain(config.metrics.labels.clone());
    let target = config.memory.plan.target();
    let began = Instant::now();
    Source::new(labels, move || {
        let mut snapshot = Snapshot::default();
        figures.report(&mut snapshot);
        report_process(&mut snapshot);
        caches.report(&mut snapshot);
        let uptime = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        snapshot.gauge(&names::PROCESS_UPTIME, [], uptime);
        snapshot.gauge(&names::MEMORY_TARGET, [], target);
        snapshot
    })
}

fn export(
    config: &Config,
    runtime: &Runtime,
    otlp: &OtlpConfig,
    source: Source,
) -> Result<OtlpExporter, Failure> {
    let failure = |error: crate::crt::Error| {
        Failure::new(format!("Failed to send metrics to {}", otlp.endpoint))
            .caused_by(&error)
            .with_remedy("correct --otlp-endpoint, or go without it")
    };
    let uri = Uri::parse(runtime, &OtlpExporter::url(&otlp.endpoint)).map_err(failure)?;
    let trust = match &config.client.ca_bundle {
        Some(path) => Trust::CaFile(path),
        None => Trust::System,
    };
    let is_tls = uri.scheme() == "https";
    let tls = is_tls.then(|| TlsContext::new(runtime, trust)).transpose();
    let tls = tls.map_err(failure)?;
    let client = HttpClient::new(runtime, tls, OtlpExporter::TIMEOUT).map_err(failure)?;
    OtlpExporter::start(otlp.clone(), source, client, uri)
        .map_err(|error| Failure::new("Failed to start a thread for metrics").caused_by(&error))
}

/// Lets the user of the mount ask it for something. Without that it is still a mount.
fn open_channel(
    config: &Config,
    directory: Option<&Path>,
    source: &Source,
    figures: Figures,
    prefetcher: Option<Weak<Prefetcher>>,
) -> Option<Channel> {
    let (bucket, prefix) = (config.bucket.to_string(), config.prefix.clone());
    let mount_point = directory.unwrap_or(&config.directory);
    let mount_point = mount_point.to_string_lossy().into_owned();
    let source = source.clone();
    let services = Services {
        prefix: prefix.clone(),
        prefetcher,
        status: Box::new(move || {
            let mount = (
                bucket.clone(),
                prefix.as_str().to_owned(),
                mount_point.clone(),
            );
            Status::new(mount, &source.snapshot(), figures.top_files(MOST_FILES))
        }),
    };
    let place = match directory {
        Some(directory) => fs::metadata(directory).map(|found| Place::Device(found.dev())),
        None => Ok(Place::Process(process::id())),
    };
    place
        .and_then(|place| Channel::open(place, services))
        .inspect_err(|error| {
            log::warn!("`mount-s3 top` and `mount-s3 prefetch` will not find this mount: {error}");
        })
        .ok()
}

/// Files that are told of.
const MOST_FILES: usize = 100;
