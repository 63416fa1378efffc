//! The command: what was typed and what the environment says, made into a mount.
//!
//! [`main`] reads the arguments (`args`, its groups `args_*`, `values`), also as mount(8) writes them
//! (`fstab`), joins them with the environment (`config`) and the machine (`machine`, `instances`,
//! `metadata`, `interfaces`, `limits`), checks the mount point (`checks`, `descriptor`), starts itself
//! again in the background (`daemon`) unless told otherwise, reaches S3 (`connect`), puts what keeps its
//! answers before it (`disk_cache`, `shared_cache`, `remembered`), and serves the mount (`mount`) until a
//! signal (`signals`) or an unmount ends it. The service manager is told how it goes (`notify`).
//! `mount-s3 staged` (`args_staged`, `staged`) cares for what a mount has left on the disk;
//! `mount-s3 index` (`args_index`, `index`, `progress`) makes the index of a data set, and compares one
//! with its bucket. All reach S3 by the same flags (`args_connect`).
//! `mount-s3 generate` (`args_generate`, `args_manual`, `generate`) writes manual pages and completions.
//! `mount-s3 prefetch` (`args_prefetch`, `prefetch`) tells a mount, by its socket (`channel`), what
//! will be read.
//! `mount-s3 cache` (`args_cache`, `cache`) fills the cache of mounts and looks after it. Lists of files
//! and objects are read by `lines`; `text` writes sizes and times.
//! `mount-s3 doctor` (`args_doctor`, `doctor`) looks at everything that a mount needs.
//! `mount-s3 top` (`args_top`, `top`) shows what a mount says of itself (`status`) there; what else
//! shows its figures is begun in `observed`.
//! What it cannot do it explains (`diagnosis`, `exit`); what it does it logs (`logging`,
//! `log_file`, `log_level`).

mod args;
mod args_cache;
mod args_caching;
mod args_connect;
mod args_doctor;
mod args_generate;
mod args_index;
mod args_logging;
mod args_manual;
mod args_metrics;
mod args_mount;
mod args_objects;
mod args_prefetch;
mod args_staged;
mod args_subcommand;
mod args_top;
mod args_transfer;
mod cache;
mod channel;
mod checks;
mod config;
mod connect;
mod daemon;
mod descriptor;
mod diagnosis;
mod disk_cache;
mod doctor;
mod exit;
mod fstab;
mod generate;
mod index;
mod instances;
mod interfaces;
mod limits;
mod lines;
mod log_file;
mod log_level;
mod logging;
mod machine;
mod memory;
mod metadata;
mod mount;
mod notify;
mod observed;
mod prefetch;
mod progress;
mod remembered;
mod shared_cache;
mod signals;
mod staged;
mod status;
mod text;
mod top;
mod values;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::process::{self, ExitCode};

use args::Args;
use checks::MountPoint;
use config::{Config, Environment, Role};
use daemon::Launcher;
use exit::Failure;
use notify::ServiceManager;

/// Runs the command and gives its exit status: 0 when the mount ended or, in the background, when
/// it answers; 1 when it could not be made; 2 when the command line is wrong, or names an index that
/// is not one of what is mounted.
pub fn main() -> ExitCode {
    let words: Vec<_> = env::args_os().collect();
    if args_staged::is_meant(&words) {
        return args_subcommand::run(&words, staged::main);
    }
    if args_cache::is_meant(&words) {
        return args_subcommand::run(&words, cache::main);
    }
    if args_prefetch::is_meant(&words) {
        return args_subcommand::run(&words, |args| prefetch::main(&args));
    }
    if args_top::is_meant(&words) {
        return args_subcommand::run(&words, |args| top::main(&args));
    }
    if args_index::is_meant(&words) {
        return args_subcommand::run(&words, index::main);
    }
    if args_doctor::is_meant(&words) {
        return args_subcommand::run(&words, doctor::main);
    }
    if args_generate::is_meant(&words) {
        return args_subcommand::run(&words, |args| generate::main(&args));
    }
    let mut environment = Environment::read();
    let line = fstab::translate(&words);
    if line.is_some() && !environment.is_of_background() {
        // A caller who closed the pipe does not want to know.
        _ = writeln!(io::stdout(), "{}", fstab::NOTICE);
    }
    let args = match Args::parse_words(words) {
        Ok(args) => args,
        Err(refusal) => return refusal.report(),
    };
    if args.mount.foreground || environment.is_of_background() {
        let has_throughput = args.transfer.reading.maximum_throughput_gbps.is_some();
        environment.ask_instance(args.connect.region.is_some(), has_throughput);
    }
    let config = match Config::new(args, environment) {
        Ok(config) => config,
        Err(failure) => return fail(&failure),
    };
    if let Err(failure) = index::open(&config) {
        _ = fail(&failure);
        return ExitCode::from(WRONG_USE);
    }
    if matches!(line, Some(Ok(line)) if line.is_fake) {
        return ExitCode::SUCCESS;
    }
    match config.role {
        Role::Launcher => launch(&config),
        Role::Foreground => serve(&config, Observer::Terminal),
        Role::Background => serve(&config, Observer::Launcher(Launcher::inherited())),
    }
}

/// Who is told how the start goes.
enum Observer {
    /// The user, when all is done.
    Terminal,
    /// The process that waits for this one, at each step.
    Launcher(Launcher),
}

impl Observer {
    fn stage(&mut self, name: &str) {
        log::debug!("{name}");
        match self {
            Self::Terminal => {}
            Self::Launcher(launcher) => launcher.stage(name),
        }
    }

    fn ready(self, config: &Config) -> io::Result<()> {
        match self {
            Self::Terminal => {
                announce(config);
                Ok(())
            }
            Self::Launcher(launcher) => launcher.ready(),
        }
    }

    fn failed(self, failure: &Failure) -> ExitCode {
        match self {
            Self::Terminal => return fail(failure),
            Self::Launcher(launcher) => launcher.failed(failure),
        }
        ExitCode::FAILURE
    }
}

fn launch(config: &Config) -> ExitCode {
    let started = MountPoint::check(&config.directory).and_then(|_place| daemon::launch());
    match started {
        Ok(()) => {
            announce(config);
            ExitCode::SUCCESS
        }
        Err(failure) => fail(&failure),
    }
}

fn serve(config: &Config, mut observer: Observer) -> ExitCode {
    if !config.core_dumps {
        limits::forbid_core_dumps();
    }
    let manager = ServiceManager::at(config.notify_socket.as_deref());
    let started = mount::start(config, &manager, &mut |stage| {
        manager.status(stage);
        observer.stage(stage);
    });
    let mounted = match started {
        Ok(mounted) => mounted,
        Err(failure) => return observer.failed(&failure),
    };
    if let Err(failure) = write_pid_file(config) {
        mounted.end();
        return observer.failed(&failure);
    }
    match observer.ready(config) {
        Ok(()) => {
            manager.ready(&config.success_line());
            mounted.serve();
            ExitCode::SUCCESS
        }
        Err(error) => {
            log::error!("unmounting, as nobody can be told of the mount: {error}");
            mounted.end();
            ExitCode::FAILURE
        }
    }
}

fn write_pid_file(config: &Config) -> Result<(), Failure> {
    let Some(path) = &config.tuning.pid_file else {
        return Ok(());
    };
    fs::write(path, format!("{}\n", process::id())).map_err(|error| {
        Failure::new(format!("Failed to write the file {}", path.display())).caused_by(&error)
    })
}

fn fail(failure: &Failure) -> ExitCode {
    _ = writeln!(io::stderr(), "Error: {failure}");
    ExitCode::FAILURE
}

fn announce(config: &Config) {
    // A caller who closed the pipe does not want to know.
    _ = writeln!(io::stdout(), "{}", config.success_line());
}

/// The exit status of a command line that is wrong.
const WRONG_USE: u8 = 2;
