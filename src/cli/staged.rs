//! `mount-s3 staged`: what mounts have left staged, listed, stored or thrown away.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;

use super::args::Args;
use super::args_staged::{Action, Choice, Recover, StagedArgs};
use super::config::{Config, Environment};
use super::connect::{self, s3_config};
use super::disk_cache::{cache_source, open_cache};
use super::exit::Failure;
use super::mount::{read_config, write_config};
use super::observed::Caches;
use super::remembered::Remembered;
use crate::crt::{Runtime, RuntimeConfig};
use crate::s3::S3Store;
use crate::stage::{FileId, Leftover, LeftoverSession, Origin, Remote, leftovers};

/// Does what was asked for; the exit status is 1 if it was not possible for every file.
pub(super) fn main(args: StagedArgs) -> ExitCode {
    let done = match args.action {
        Action::List(list) => find(&list.stage).map(|sessions| show(&sessions)),
        Action::Recover(recover) => run(&recover),
        Action::Discard(discard) => each(&discard.stage, &discard.choice, |_session, file| {
            file.discard();
            Ok("discarded")
        }),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            _ = writeln!(io::stderr(), "Error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn find(stage: &Path) -> Result<Vec<LeftoverSession>, Failure> {
    leftovers(stage).map_err(|error| {
        Failure::new("Failed to read the stage")
            .caused_by(&error)
            .with_remedy("name the directory that the mount was given with --stage")
    })
}

fn show(sessions: &[LeftoverSession]) -> bool {
    let mut lines = Vec::new();
    for session in sessions {
        for file in &session.files {
            let state = if session.is_in_use() {
                "mounted"
            } else if file.is_in_doubt {
                "in doubt"
            } else {
                "left"
            };
            lines.push(format!(
                "{:<28} {state:<9} {:>12} {:>12}  s3://{}/{}",
                file.id.to_string(),
                file.size,
                file.changed,
                session.origin.bucket,
                file.key
            ));
        }
    }
    if lines.is_empty() {
        say("no file is staged");
        return true;
    }
    say(&format!(
        "{:<28} {:<9} {:>12} {:>12}  OBJECT",
        "FILE", "STATE", "BYTES", "CHANGED"
    ));
    for line in lines {
        say(&line);
    }
    true
}

fn run(recover: &Recover) -> Result<bool, Failure> {
    let runtime = Runtime::start(RuntimeConfig::default()).map_err(|error| {
        Failure::new("Failed to start the AWS Common Runtime").caused_by(&error)
    })?;
    // Files of one mount follow each other, and share its connection.
    let mut connected: Option<(Origin, Connected)> = None;
    let done = each(&recover.stage, &recover.choice, |session, file| {
        if file.is_in_doubt && !recover.force {
            return Err(Failure::new(
                "the system was restarted since it was written: its last bytes may be missing",
            )
            .with_remedy("store it nevertheless with --force, or discard it"));
        }
        let Connected { remote, names } = match &connected {
            Some((origin, connected)) if *origin == session.origin => connected.clone(),
            _ => {
                let new = connect(&session.origin, &runtime)?;
                connected = Some((session.origin.clone(), new.clone()));
                new
            }
        };
        let recovered = block_on(file.recover(remote, recover.force));
        names.save();
        recovered
            .map(|()| "stored")
            .map_err(|error| Failure::new("it could not be stored, and stays").caused_by(&error))
    });
    drop(connected);
    // What does not end in time ends with the process.
    if let Err(error) = runtime.shutdown(SHUTDOWN_DEADLINE) {
        log::debug!("{error}");
    }
    done
}

/// Does `act` with each file of the choice, and tells what came of it.
fn each(
    stage: &Path,
    choice: &Choice,
    mut act: impl FnMut(&LeftoverSession, &Leftover) -> Result<&'static str, Failure>,
) -> Result<bool, Failure> {
    let sessions = find(stage)?;
    let is_chosen = |file: &Leftover| choice.all || choice.files.contains(&file.id);
    let mut all_done = true;
    for session in &sessions {
        for file in session.files.iter().filter(|file| is_chosen(file)) {
            let name = format!("{} (s3://{}/{})", file.id, session.origin.bucket, file.key);
            if session.is_in_use() {
                // With --all, those that are in use are nobody's business.
                if !choice.all {
                    all_done = false;
                    complain(&format!("{name}: a mount uses it; unmount that first"));
                }
                continue;
            }
            match act(session, file) {
                Ok(outcome) => say(&format!("{name}: {outcome}")),
                Err(failure) => {
                    all_done = false;
                    complain(&format!("{name}: {failure}"));
                }
            }
        }
    }
    let exists = |id: &FileId| {
        let mut files = sessions.iter().flat_map(|session| &session.files);
        files.any(|file| file.id == *id)
    };
    for id in choice.files.iter().filter(|id| !exists(id)) {
        all_done = false;
        complain(&format!("{id}: no such staged file"));
    }
    Ok(all_done)
}

/// What a mount that is gone was connected to.
#[derive(Clone)]
struct Connected {
    remote: Remote,
    /// What was known of names, which are changed.
    names: Remembered,
}

/// Reaches S3 as the mount did that is gone.
fn connect(origin: &Origin, runtime: &Runtime) -> Result<Connected, Failure> {
    let words = ["mount-s3"].into_iter();
    let words = words.chain(origin.arguments.iter().map(String::as_str));
    let args = Args::parse_words(words.map(Into::into)).map_err(|refusal| {
        Failure::new("Failed to read what the mount was started with").caused_by(&refusal)
    })?;
    let config = Config::new(args, Environment::of_origin(&origin.environment))?;
    let store = connect::connect(runtime, s3_config(&config), &config.client)?;
    let names = names(&config, &store);
    let budget = config.memory.plan.budget();
    let read = read_config(&config, Arc::clone(&budget));
    let remote = Remote {
        store: names.noting(Arc::new(store)),
        write: write_config(&config, &read, budget),
        read,
    };
    Ok(Connected { remote, names })
}

/// What the cache of the mount knows of names. The files are stored also without it.
fn names(config: &Config, store: &S3Store) -> Remembered {
    let mut caches = Caches::default();
    if let Some(options) = &config.mount.cache {
        match open_cache(options) {
            Ok(cache) => caches.disk = Some(cache),
            Err(failure) => complain(&format!(
                "mounts with the cache may show files as they were before: {failure}"
            )),
        }
    }
    Remembered::open(config, &caches, &cache_source(&config.client, store))
}

fn say(line: &str) {
    // A caller who closed the pipe does not want to know.
    _ = writeln!(io::stdout(), "{line}");
}

fn complain(line: &str) {
    _ = writeln!(io::stderr(), "{line}");
}

const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);
