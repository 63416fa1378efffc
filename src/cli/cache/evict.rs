//! `mount-s3 cache evict`: what the cache has, removed.

use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use futures::executor::block_on;

use super::selection::{Objects, Selection};
use super::stat::in_units;
use super::stop::Stop;
use super::{holdings, say, shut_down, unreadable};
use crate::cache::{Eviction, ObjectSet};
use crate::cli::args_cache::{ChoiceArgs, EvictArgs};
use crate::cli::config::{ClientOptions, Environment, LogOptions};
use crate::cli::connect::{client_config, connect};
use crate::cli::disk_cache::cache_origin;
use crate::cli::exit::Failure;
use crate::cli::logging;
use crate::cli::machine::Throughput;
use crate::cli::progress::Progress;
use crate::crt::{Runtime, RuntimeConfig};

pub(super) fn run(args: EvictArgs, environment: Environment) -> Result<ExitCode, Failure> {
    logging::start(&LogOptions::of_command(args.debug, &environment)?)?;
    let holdings = holdings(&args.place.directory, &environment)?;
    let what = match args.choice {
        ChoiceArgs { all: true, .. } => Eviction::All,
        ChoiceArgs {
            older_than: Some(age),
            ..
        } => {
            let time = SystemTime::now().checked_sub(age);
            Eviction::UnusedSince(time.unwrap_or(SystemTime::UNIX_EPOCH))
        }
        ChoiceArgs {
            to_size: Some(mib), ..
        } => Eviction::ToBytes(mib << 20),
        ChoiceArgs { source, list, .. } => {
            let selection = Selection::read(source, list.as_deref())?;
            let throughput = Throughput::choose(None, None, Path::new("/"));
            let client = ClientOptions::new(args.connect, args.client, throughput, environment)?;
            Eviction::Objects(find(&selection, &client)?)
        }
    };
    let evicted = holdings.evict(&what).map_err(|error| unreadable(&error))?;
    let (bytes, left) = (in_units(evicted.bytes), in_units(evicted.left));
    say(&format!(
        "{} versions of objects were removed ({bytes}); the rest takes {left}",
        evicted.entries
    ));
    if evicted.in_use > 0 {
        say(&format!(
            "{} stay, as mounts read them just now",
            evicted.in_use
        ));
    }
    if evicted.stuck > 0 {
        let text = format!("{} could not be removed, as was told above", evicted.stuck);
        return Err(Failure::new(text));
    }
    Ok(ExitCode::SUCCESS)
}

/// The objects that are meant, as the files of the cache are named after them.
fn find(selection: &Selection, client: &ClientOptions) -> Result<ObjectSet, Failure> {
    let mut stop = Stop::listen()?;
    let runtime = Runtime::start(RuntimeConfig::default()).map_err(|error| {
        Failure::new("Failed to start the AWS Common Runtime").caused_by(&error)
    })?;
    let found = find_with(selection, client, &runtime, &mut stop);
    shut_down(runtime);
    found
}

fn find_with(
    selection: &Selection,
    client: &ClientOptions,
    runtime: &Runtime,
    stop: &mut Stop,
) -> Result<ObjectSet, Failure> {
    let bucket = &selection.bucket;
    let config = client_config(bucket.clone(), selection.root.clone(), client);
    let store = connect(runtime, config, client)?;
    let origin = cache_origin(client, &store);
    let mut objects = ObjectSet::default();
    match &selection.objects {
        Objects::Named(named) => {
            for (_, key) in named {
                objects.add(&origin, store.bucket(), key.as_str());
            }
        }
        Objects::All => {
            let mut progress = Progress::new(false);
            let mut page = |objects| progress.page(objects);
            let listing = selection.list(&store, stop, &mut page);
            let Some(listed) = block_on(listing)? else {
                return Err(Failure::new("interrupted before anything was removed"));
            };
            for object in listed {
                objects.add(&origin, store.bucket(), &object.key);
            }
        }
    }
    Ok(objects)
}
