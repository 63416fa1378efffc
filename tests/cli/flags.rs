//! Every flag of the command: a value that is accepted, one that is refused, and an effect that shows
//! on the wire or on the mount. A flag without a row here fails the test.

mod answers;
mod rows;
mod run;
mod transfer;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use self::run::Run;
use crate::store::BUCKET;
use crate::support::{mount_s3, run as run_command};
use crate::usage::outline;

/// One flag.
struct Row {
    /// As `--help` spells it, without its short form.
    flag: &'static str,
    /// Words that are accepted. `{dir}` is a directory of the row's own, `{port}` that of the store.
    accepted: &'static str,
    /// Words that are refused with exit status 2, and the reason.
    refused: &'static [(&'static str, &'static str)],
    /// What comes of the words that are accepted.
    effect: Effect,
}

/// How it shows that a flag does something.
enum Effect {
    /// The mount is there, and this holds.
    Mounted(fn(&Run)),
    /// The mount is refused with exit status 1 for this reason, as the flag says.
    Fails(&'static str),
    /// It needs more than a mount: a test in this file, by a word that is in it.
    Elsewhere(&'static str, &'static str),
}

impl Row {
    /// A flag whose value, if it has one, cannot be wrong.
    const fn new(flag: &'static str, accepted: &'static str, effect: Effect) -> Self {
        Self {
            flag,
            accepted,
            refused: &[],
            effect,
        }
    }

    const fn refused(self, refused: &'static [(&'static str, &'static str)]) -> Self {
        Self { refused, ..self }
    }

    fn check(&self) {
        for (words, reason) in self.refused {
            let words: Vec<_> = words.split(' ').collect();
            let words = [&[BUCKET, "/mnt"], words.as_slice()].concat();
            let outcome = run_command(&mut mount_s3(&words), LIMIT);
            assert_eq!(outcome.status, Some(2), "{words:?}: {outcome:?}");
            assert!(outcome.stderr.contains(reason), "{words:?}: {outcome:?}");
        }
        match self.effect {
            Effect::Mounted(holds) => holds(&Run::mount(self.accepted)),
            Effect::Fails(reason) => {
                let outcome = Run::fail(self.accepted);
                assert_eq!(outcome.status, Some(1), "{outcome:?}");
                assert!(outcome.stderr.contains(reason), "{outcome:?}");
            }
            Effect::Elsewhere(file, word) => {
                let words = self.accepted.split(' ').filter(|word| !word.is_empty());
                let words: Vec<_> = [BUCKET, "/nonexistent/dir"]
                    .into_iter()
                    .chain(words)
                    .collect();
                let outcome = run_command(&mut mount_s3(&words), LIMIT);
                assert_eq!(outcome.status, Some(1), "{outcome:?}");
                assert!(outcome.stderr.contains("does not exist"), "{outcome:?}");
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
                let text = fs::read_to_string(path).expect("the file of a test");
                assert!(text.contains(word), "{file} has no {word}");
            }
        }
    }
}

#[test]
fn every_flag_is_accepted_refused_and_does_what_it_says() {
    let help = run_command(&mut mount_s3(&["--help"]), LIMIT).stdout;
    let flags: BTreeSet<_> = outline(&help)
        .into_iter()
        .flat_map(|(_, flags)| flags)
        .filter_map(|flag| Some(format!("--{}", flag.split("--").nth(1)?)))
        .collect();
    let rows = rows::rows();
    let known: BTreeSet<_> = rows.iter().map(|row| row.flag.to_owned()).collect();
    assert_eq!(
        flags, known,
        "flags of --help, and rows in tests/cli/flags/rows.rs"
    );
    assert_eq!(known.len(), rows.len(), "one row a flag");

    let waiting = Mutex::new(rows.iter());
    let failed: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_A_TIME)
            .map(|_| {
                scope.spawn(|| {
                    let mut failed = Vec::new();
                    loop {
                        let next = waiting.lock().expect("no panic while it is held").next();
                        let Some(row) = next else { return failed };
                        let row_thread = thread::scope(|one| one.spawn(|| row.check()).join());
                        if row_thread.is_err() {
                            failed.push(row.flag);
                        }
                    }
                })
            })
            .collect();
        let ended = threads.into_iter();
        ended
            .flat_map(|thread| thread.join().expect("rows fail in their own threads"))
            .collect()
    });
    assert!(failed.is_empty(), "{failed:?}");
}

/// Mounts at a time.
const AT_A_TIME: usize = 4;

const LIMIT: Duration = Duration::from_secs(120);
