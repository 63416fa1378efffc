//! `mount-s3 index`: the index of a data set, made or compared with its bucket; and the index of a mount.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;

use super::args_index::IndexArgs;
use super::config::{ClientOptions, Config, Environment, LogOptions};
use super::connect::{self, client_config};
use super::diagnosis::connect_failure;
use super::exit::Failure;
use super::logging;
use super::machine::Throughput;
use super::progress::Progress;
use super::values::Manifest;
use crate::crt::{Runtime, RuntimeConfig};
use crate::index::{
    Change, Error, Index, IndexWriter, IndexedStore, Inventory, InventoryPlace, Scope, Sorted,
    Sorter, compare, crawl,
};
use crate::s3::{BucketName, Prefix, S3Config, S3Store, Store};
use crate::tree::Tree;

/// Opens the index that the mount is to have, if it is to have one.
///
/// # Errors
/// It cannot be read, or is of something else than what is mounted.
pub(super) fn open(config: &Config) -> Result<Option<Index>, Failure> {
    let Some(path) = &config.mount.index else {
        return Ok(None);
    };
    open_of(path, &config.bucket, &config.prefix).map(Some)
}

/// Connects to the bucket that the mount is of, by reading a byte of an object of its index.
///
/// # Errors
/// The index cannot be read, or the bucket not be reached.
pub(super) fn connect(
    index: &Index,
    runtime: &Runtime,
    config: &Config,
    s3: S3Config,
) -> Result<S3Store, Failure> {
    let samples = index
        .samples(&config.prefix)
        .map_err(|error| Failure::new("Failed to read the index").caused_by(&error))?;
    let (store, outdated) = block_on(S3Store::connect_to_known(runtime, s3, samples))
        .map_err(|error| connect_failure(&config.bucket, &config.client, &error))?;
    if let Some(error) = outdated {
        log::warn!(
            "an object that the index names was replaced, is gone, or may not be read: {error}; \
             `mount-s3 index --check` tells what has changed since the index was made"
        );
    }
    Ok(store)
}

/// The bucket `store`, and the names in it, as `index` has them.
pub(super) fn names(
    index: Arc<Index>,
    store: Arc<dyn Store>,
    config: &Config,
) -> (Arc<dyn Store>, Tree) {
    let tree = Tree::of_index(Arc::clone(&index), config.prefix.clone());
    (Arc::new(IndexedStore::new(store, index)), tree)
}

/// Opens an index that has all that is in `bucket` below `prefix`.
fn open_of(path: &Path, bucket: &BucketName, prefix: &Prefix) -> Result<Index, Failure> {
    let index = Index::open(path)
        .map_err(|error| Failure::new("Failed to open the index").caused_by(&error))?;
    let Scope {
        bucket: indexed_bucket,
        prefix: indexed,
    } = index.scope();
    let is_of_this = *indexed_bucket == bucket.to_string();
    if is_of_this && prefix.as_str().starts_with(indexed.as_str()) {
        return Ok(index);
    }
    Err(Failure::new(format!(
        "the index {} is of s3://{indexed_bucket}/{}, and does not have s3://{bucket}/{}",
        path.display(),
        indexed.as_str(),
        prefix.as_str()
    ))
    .with_remedy(format!(
        "name what the index is of, or a prefix below it; or make another one: \
         mount-s3 index s3://{bucket}/{} -o FILE",
        prefix.as_str()
    )))
}

/// Does what was asked for, and gives the exit status.
pub(super) fn main(args: IndexArgs) -> ExitCode {
    let (check, failed) = (args.check, if args.check { 2 } else { 1 });
    match run(args, Environment::read()) {
        Ok(differences) if check && differences > 0 => ExitCode::from(1),
        Ok(_) => ExitCode::SUCCESS,
        Err(failure) => {
            _ = writeln!(io::stderr(), "Error: {failure}");
            ExitCode::from(failed)
        }
    }
}

/// Makes the index, or compares it and gives the number of differences.
fn run(args: IndexArgs, environment: Environment) -> Result<u64, Failure> {
    logging::start(&LogOptions::of_command(args.debug, &environment)?)?;
    let throughput = Throughput::choose(None, None, Path::new("/"));
    let client = ClientOptions::new(args.connect, args.client, throughput, environment)?;
    let runtime = Runtime::start(RuntimeConfig::default()).map_err(|error| {
        Failure::new("Failed to start the AWS Common Runtime").caused_by(&error)
    })?;
    let (bucket, prefix) = args.source;
    let job = Job {
        runtime: &runtime,
        client,
        bucket,
        prefix,
        file: &args.output,
        progress: args.progress,
    };
    let done = match (args.check, args.from_inventory) {
        (true, _) => job.check(),
        (false, None) => job.make(|sorter| job.list(sorter)),
        (false, Some(manifest)) => job.make(|sorter| job.read_inventory(&manifest, sorter)),
    };
    drop(job);
    // What does not end in time ends with the process.
    if let Err(error) = runtime.shutdown(SHUTDOWN_DEADLINE) {
        log::debug!("{error}");
    }
    done
}

/// An index, and the bucket that it is of.
struct Job<'a> {
    runtime: &'a Runtime,
    client: ClientOptions,
    bucket: BucketName,
    prefix: Prefix,
    file: &'a Path,
    progress: bool,
}

impl Job<'_> {
    /// Writes the objects that `collect` gives to a sorter.
    fn make(
        &self,
        collect: impl FnOnce(&mut Sorter) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let failure = |error: Error| Failure::new("Failed to write the index").caused_by(&error);
        // Tried now, so that a directory that cannot be written to is no surprise at the end; and made
        // then, so that a process that is killed before leaves nothing behind.
        drop(IndexWriter::create(self.file, &self.scope()).map_err(failure)?);
        let mut sorter = Sorter::beside(self.file);
        collect(&mut sorter)?;
        let mut writer = IndexWriter::create(self.file, &self.scope()).map_err(failure)?;
        for object in sorter.finish().map_err(failure)? {
            let object = object.map_err(failure)?;
            writer.push(&object).map_err(failure)?;
        }
        let summary = writer.finish().map_err(failure)?;
        say(&format!(
            "{}: {} objects, {} bytes, of s3://{}/{}",
            self.file.display(),
            summary.objects,
            summary.bytes,
            self.bucket,
            self.prefix.as_str()
        ));
        Ok(0)
    }

    /// Prints what differs between the index and the bucket, and gives the number of differences.
    fn check(&self) -> Result<u64, Failure> {
        let index = open_of(self.file, &self.bucket, &self.prefix)?;
        let mut sorter = Sorter::beside(self.file);
        self.list(&mut sorter)?;
        let failure = |error: Error| Failure::new("Failed to compare").caused_by(&error);
        let found: Sorted = sorter.finish().map_err(failure)?;
        let prefix = self.prefix.as_str();
        let known = index.objects().filter(|object| {
            let is_below = |key: &str| key.starts_with(prefix);
            object.as_ref().map_or(true, |object| is_below(&object.key))
        });
        compare(known, found, &mut |change, key| {
            let sign = match change {
                Change::Added => '+',
                Change::Removed => '-',
                Change::Changed => '~',
            };
            say(&format!("{sign} {}", key.escape_debug()));
        })
        .map_err(failure)
    }

    fn list(&self, sorter: &mut Sorter) -> Result<(), Failure> {
        let store = self.connect(&self.bucket, self.prefix.clone())?;
        let mut progress = Progress::new(self.progress);
        block_on(crawl(&store, self.prefix.as_str(), &mut |objects| {
            progress.page(objects.len());
            objects
                .into_iter()
                .try_for_each(|object| sorter.push(object))
        }))
        .map_err(|error| Failure::new("Failed to list the bucket").caused_by(&error))
    }

    fn read_inventory(&self, manifest: &Manifest, sorter: &mut Sorter) -> Result<(), Failure> {
        let failure = |error: Error| Failure::new("Failed to read the inventory").caused_by(&error);
        let place = match manifest {
            Manifest::Path(path) => InventoryPlace::Disk(path.clone()),
            Manifest::Uri(bucket, key) => {
                // Permissions may be bound to the directory of the manifest.
                let directory = key.as_str().rsplit_once('/');
                let directory =
                    directory.map_or_else(String::new, |(above, _)| format!("{above}/"));
                let prefix = Prefix::new(directory).unwrap_or_default();
                let store = self.connect(bucket, prefix)?;
                InventoryPlace::Bucket(Arc::new(store), key.clone())
            }
        };
        let mut progress = Progress::new(self.progress);
        let inventory = Inventory::open(place).map_err(failure)?;
        log::info!("the inventory has {} files", inventory.files());
        let mut take = |object| {
            progress.object();
            sorter.push(object)
        };
        inventory.read(&self.scope(), &mut take).map_err(failure)
    }

    fn connect(&self, bucket: &BucketName, prefix: Prefix) -> Result<S3Store, Failure> {
        let config = client_config(bucket.clone(), prefix, &self.client);
        connect::connect(self.runtime, config, &self.client)
    }

    fn scope(&self) -> Scope {
        Scope {
            bucket: self.bucket.to_string(),
            prefix: self.prefix.clone(),
        }
    }
}

fn say(line: &str) {
    // A caller who closed the pipe does not want to know.
    _ = writeln!(io::stdout(), "{line}");
}

const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);
