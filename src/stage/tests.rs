//! Staged files over the in-memory store, against bytes in memory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use futures::executor::block_on;
use proptest::prelude::*;
use tempfile::TempDir;

use super::blocks::BLOCK;
use super::*;
use crate::read::ReadConfig;
use crate::s3::fake::{FakeStore, Op};
use crate::s3::{ErrorKind, Key, Store};
use crate::write::WriteConfig;

const PART: u64 = 2 * BLOCK;

/// A bucket and a directory for stages.
struct Place {
    store: FakeStore,
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let store = FakeStore::new();
        store.set_upload_part_size(usize::try_from(PART).expect("small"));
        Self {
            store,
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    fn remote(&self) -> Remote {
        Remote {
            store: Arc::new(self.store.clone()),
            read: ReadConfig::default(),
            write: WriteConfig {
                part_size: PART,
                ..WriteConfig::default()
            },
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn stage(&self) -> Stage {
        let origin = Origin::new("b".to_owned(), Vec::new(), BTreeMap::new());
        Stage::create(self.path(), &origin, self.remote()).expect("a stage")
    }

    /// A staged file of the object `f`, if it exists.
    fn begin(&self, stage: &Stage) -> StagedFile {
        let base = block_on(self.store.head(&key("f"))).ok();
        let base = base.map(|info| Version {
            etag: info.etag,
            size: info.size,
        });
        let file = stage.begin(&key("f"), base.as_ref(), false, None, BTreeMap::new());
        file.expect("a staged file")
    }

    /// Files in all stages.
    fn files(&self) -> usize {
        let stages = fs::read_dir(self.path()).expect("a directory");
        let files = stages.map(|stage| fs::read_dir(stage.expect("a stage").path()));
        files.map(|files| files.expect("a directory").count()).sum()
    }

    fn body(&self) -> Option<Vec<u8>> {
        self.store.body("f").map(|body| body.to_vec())
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("small")
}

fn key(text: &str) -> Key {
    Key::new(text).expect("a valid key")
}

fn bytes(seed: u8, length: u64) -> Vec<u8> {
    let numbers = (0..=250).cycle().map(|at: u8| seed.wrapping_add(at));
    numbers.take(index(length)).collect()
}

fn read_all(file: &StagedFile) -> Vec<u8> {
    let size = usize::try_from(file.size()).expect("small");
    block_on(file.read(0, size + 1)).expect("it reads").to_vec()
}

#[test]
fn write_of_a_few_bytes_fetches_their_block_alone() {
    let place = Place::new();
    let mut body = bytes(1, 5 * PART);
    place.store.put("f", body.clone());
    let stage = place.stage();
    let file = place.begin(&stage);
    block_on(file.write(PART + 5, b"hello")).expect("it writes");
    body[index(PART) + 5..][..5].copy_from_slice(b"hello");
    let fetched: u64 = place
        .store
        .log()
        .iter()
        .filter_map(|logged| logged.range.clone())
        .map(|range| range.end - range.start)
        .sum();
    assert_eq!(fetched, BLOCK);
    assert_eq!(read_all(&file), body);

    place.store.clear_log();
    assert!(block_on(file.store()).expect("it stores"));
    assert_eq!(place.body(), Some(body));
    // Two copies around one part, of which the block that is not on the disk is fetched.
    assert_eq!(place.store.count(Op::PartCopy), 2);
    assert_eq!(place.store.count(Op::Part), 1);
    place.store.clear_log();
    assert!(block_on(file.store()).expect("nothing to do"));
    assert_eq!(place.store.log(), []);
}

#[test]
fn write_of_whole_blocks_fetches_nothing() {
    let place = Place::new();
    place.store.put("f", bytes(1, 2 * PART));
    let stage = place.stage();
    let file = place.begin(&stage);
    place.store.clear_log();
    let data = bytes(9, BLOCK);
    file.write_now(BLOCK, &data)
        .expect("no wait")
        .expect("it writes");
    assert!(file.write_now(1, b"x").is_none(), "a block is missing");
    assert_eq!(place.store.log(), []);
}

#[test]
fn store_over_a_version_of_somebody_else_fails_and_keeps_the_file() {
    let place = Place::new();
    place.store.put("f", bytes(1, 100));
    let stage = place.stage();
    let file = place.begin(&stage);
    block_on(file.write(0, b"mine")).expect("it writes");
    place.store.put("f", bytes(2, 100));
    let refused = block_on(file.store()).expect_err("somebody else was faster");
    assert!(matches!(refused, Error::S3(error) if error.kind() == ErrorKind::Precondition));
    assert_eq!(place.body(), Some(bytes(2, 100)));
    assert_eq!(&read_all(&file)[..4], b"mine");
}

#[test]
fn store_whose_answer_was_lost_is_found_to_have_succeeded() {
    let place = Place::new();
    place.store.put("f", bytes(1, 3 * PART));
    let stage = place.stage();
    let file = place.begin(&stage);
    block_on(file.write(0, b"mine")).expect("it writes");
    let whole = read_all(&file);
    // As if an earlier try had stored it.
    place.store.put("f", whole.clone());
    assert!(block_on(file.store()).expect("it is there"));
    assert_eq!(place.body(), Some(whole));
    block_on(file.write(1, b"more")).expect("it writes");
    assert!(block_on(file.store()).expect("the base is the new one"));
}

#[test]
fn failed_store_is_tried_again() {
    let place = Place::new();
    let stage = place.stage();
    let file = place.begin(&stage);
    block_on(file.write(0, &bytes(3, 3 * PART))).expect("it writes");
    for op in [Op::Upload, Op::Part, Op::Complete] {
        place.store.fail_next(op, None, ErrorKind::Throttled, 1);
        block_on(file.store()).expect_err("planted");
        assert_eq!(place.body(), None);
    }
    assert!(block_on(file.store()).expect("it stores"));
    assert_eq!(place.body(), Some(bytes(3, 3 * PART)));
    assert_eq!(place.store.uploads().in_flight, 0);
}

#[test]
fn version_that_has_our_changes_and_others_is_not_taken_for_ours() {
    let place = Place::new();
    let mut body = bytes(1, 3 * BLOCK);
    place.store.put("f", body.clone());
    let stage = place.stage();
    let file = place.begin(&stage);
    // From now on this block is on the disk as S3 has it.
    block_on(file.write(BLOCK, b"first")).expect("it writes");
    block_on(file.store()).expect("it stores");
    body[index(BLOCK)..][..5].copy_from_slice(b"first");
    block_on(file.write(0, b"second")).expect("it writes");
    body[..6].copy_from_slice(b"second");
    let ours = body.clone();
    body[index(BLOCK)..][..5].copy_from_slice(b"other");
    place.store.put("f", body.clone());
    let refused = block_on(file.store()).expect_err("it was replaced");
    assert!(matches!(refused, Error::S3(error) if error.kind() == ErrorKind::Precondition));
    assert_eq!(place.body(), Some(body));
    // What is the same from the first byte to the last is what was stored before.
    place.store.put("f", ours.clone());
    assert!(block_on(file.store()).expect("it is ours"));
    assert_eq!(read_all(&file), ours);
}

#[test]
fn records_are_saved_one_after_the_other() {
    let place = Place::new();
    let stage = place.stage();
    let file = place.begin(&stage);
    let number = |n: u32| BTreeMap::from([("n".to_owned(), n.to_string())]);
    thread::scope(|scope| {
        for start in 0..4 {
            let file = &file;
            scope.spawn(move || {
                for n in 0..500 {
                    file.set_metadata(number(4 * n + start))
                        .expect("it is noted");
                }
            });
        }
    });
    let records = fs::read_dir(place.path()).expect("a directory");
    let session = records.last().expect("one").expect("a stage").path();
    let record = fs::read_to_string(session.join("1.json")).expect("a record");
    let last = format!("\"n\": \"{}\"", file.metadata()["n"]);
    assert!(record.contains(&last), "{record} lacks {last}");
}

#[test]
fn metadata_alone_are_changed_by_a_copy() {
    let place = Place::new();
    let stage = place.stage();
    let file = place.begin(&stage);
    block_on(file.write(0, b"x")).expect("it writes");
    block_on(file.store()).expect("it stores");
    place.store.clear_log();
    let metadata = BTreeMap::from([("mode".to_owned(), "33188".to_owned())]);
    file.set_metadata(metadata.clone()).expect("it is noted");
    block_on(file.store()).expect("it stores");
    assert_eq!(place.store.count(Op::Copy), 1);
    assert_eq!(place.store.count(Op::Put), 0);
    assert_eq!(place.store.metadata("f"), Some(metadata));
}

#[test]
fn change_of_a_file_that_was_let_go_is_refused() {
    let place = Place::new();
    let stage = place.stage();
    let file = place.begin(&stage);
    block_on(file.write(0, b"x")).expect("it writes");
    assert!(!file.let_go(), "it is not stored");
    block_on(file.store()).expect("it stores");
    assert!(file.let_go());
    let refused = [
        file.write_now(0, b"y").expect("no need to wait"),
        block_on(file.write(0, b"y")),
        block_on(file.truncate(9)),
        file.set_metadata(BTreeMap::from([("a".to_owned(), "b".to_owned())])),
    ];
    for change in refused {
        assert!(matches!(change, Err(Error::LetGo)), "{change:?}");
    }
    assert_eq!(block_on(file.read(0, 9)).expect("it reads"), &b"x"[..]);
    // Of a file without a name a change is lost, which those who make it know.
    let file = place.begin(&stage);
    block_on(file.remove(async |_| Ok::<_, Error>(()))).expect("removed");
    assert!(file.let_go());
    block_on(file.write(0, b"y")).expect("it writes");
}

#[test]
fn stage_that_is_empty_vanishes_and_one_that_is_not_stays() {
    let place = Place::new();
    let (stage, other) = (place.stage(), Place::new());
    let file = place.begin(&stage);
    file.discard();
    drop((file, stage));
    assert_eq!(fs::read_dir(place.path()).expect("a directory").count(), 0);

    let stage = other.stage();
    drop(other.begin(&stage));
    let sessions = leftovers(other.path()).expect("a directory");
    assert!(sessions[0].is_in_use());
    drop((sessions, stage));
    let sessions = leftovers(other.path()).expect("a directory");
    assert!(!sessions[0].is_in_use());
    assert_eq!(sessions[0].files[0].key, "f");
    sessions[0].files[0].discard();
    drop(sessions);
    assert_eq!(fs::read_dir(other.path()).expect("a directory").count(), 0);
}

#[test]
fn recovery_refuses_what_somebody_else_replaced_unless_all_of_it_is_here() {
    let place = Place::new();
    place.store.put("f", bytes(1, 4 * BLOCK));
    let stage = place.stage();
    let file = place.begin(&stage);
    block_on(file.write(0, b"changed")).expect("it writes");
    drop((file, stage));
    place.store.put("f", "of somebody else");
    let sessions = leftovers(place.path()).expect("a directory");
    let left = &sessions[0].files[0];
    assert_eq!((left.size, left.changed), (4 * BLOCK, BLOCK));
    for replace in [false, true] {
        block_on(left.recover(place.remote(), replace)).expect_err("its base is gone");
    }
    assert_eq!(place.body(), Some(b"of somebody else".to_vec()));

    let place = Place::new();
    place.store.put("f", "x");
    let stage = place.stage();
    let file = place.begin(&stage);
    block_on(file.write(0, b"whole")).expect("it writes");
    drop((file, stage));
    place.store.put("f", "of somebody else");
    let sessions = leftovers(place.path()).expect("a directory");
    let left = &sessions[0].files[0];
    block_on(left.recover(place.remote(), false)).expect_err("there is another version");
    block_on(left.recover(place.remote(), true)).expect("all of it is here");
    assert_eq!(place.body(), Some(b"whole".to_vec()));
    drop(sessions);
    assert_eq!(place.files(), 0);
}

#[test]
fn directory_of_others_is_refused() {
    let place = Place::new();
    let origin = Origin::new("b".to_owned(), Vec::new(), BTreeMap::new());
    let create = |path: &Path| Stage::create(path, &origin, place.remote()).map(drop);
    let open = place.path().join("open");
    fs::create_dir(&open).expect("room");
    fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("ours");
    let refused = create(&open).expect_err("everybody may write");
    assert!(refused.to_string().contains("chmod go-w"), "{refused}");
    let link = place.path().join("link");
    std::os::unix::fs::symlink(&open, &link).expect("room");
    let refused = create(&link).expect_err("a link");
    assert!(refused.to_string().contains("symbolic link"), "{refused}");
    let file = place.path().join("file");
    fs::write(&file, "").expect("room");
    let refused = create(&file).expect_err("no directory");
    assert!(
        matches!(refused, Error::Disk { error, .. } if error.kind() == io::ErrorKind::AlreadyExists)
    );
}

#[derive(Debug, Clone)]
enum Step {
    Write(u64, u64, u8),
    Truncate(u64),
    Read(u64, u64),
    Store,
    /// The process is killed, and another one stores what it left.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let most = 3 * PART;
    let near = prop_oneof![
        0..most,
        (0..6u64, 0..3u64).prop_map(|(block, shift)| (block * BLOCK + shift).saturating_sub(1)),
    ];
    let length = prop_oneof![1..40u64, 1..PART, Just(BLOCK), Just(2 * BLOCK)];
    let step = prop_oneof![
        6 => (near.clone(), length.clone(), any::<u8>())
            .prop_map(|(at, length, seed)| Step::Write(at, length, seed)),
        2 => near.clone().prop_map(Step::Truncate),
        3 => (near, length).prop_map(|(at, length)| Step::Read(at, length)),
        2 => Just(Step::Store),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn prop_staged_file_is_as_bytes_in_memory(
        before in proptest::option::of(0..3 * PART),
        steps in steps(),
    ) {
        let place = Place::new();
        let mut model = before.map(|size| bytes(7, size));
        if let Some(body) = &model {
            place.store.put("f", body.clone());
        }
        let mut stage = place.stage();
        let mut file = place.begin(&stage);
        let mut body = model.clone().unwrap_or_default();
        for step in steps {
            match step {
                Step::Write(at, length, seed) => {
                    let data = bytes(seed, length);
                    let end = index(at + length);
                    if body.len() < end {
                        body.resize(end, 0);
                    }
                    body[index(at)..end].copy_from_slice(&data);
                    match file.write_now(at, &data) {
                        Some(written) => written.expect("it writes"),
                        None => block_on(file.write(at, &data)).expect("it writes"),
                    }
                }
                Step::Truncate(size) => {
                    body.resize(index(size), 0);
                    block_on(file.truncate(size)).expect("it truncates");
                }
                Step::Read(at, length) => {
                    let start = index(at).min(body.len());
                    let end = index(at + length).min(body.len());
                    let read = block_on(file.read(at, index(length))).expect("it reads");
                    prop_assert_eq!(&read[..], &body[start..end]);
                }
                Step::Store => {
                    prop_assert!(block_on(file.store()).expect("it stores"));
                    model = Some(body.clone());
                    prop_assert!(file.is_stored());
                }
                Step::Crash => {
                    drop((file, stage));
                    let sessions = leftovers(place.path()).expect("a directory");
                    prop_assert_eq!(sessions.len(), 1);
                    prop_assert_eq!(sessions[0].files[0].size, body.len() as u64);
                    prop_assert!(!sessions[0].files[0].is_in_doubt);
                    let recovered = sessions[0].files[0].recover(place.remote(), false);
                    block_on(recovered).expect("it is recovered");
                    drop(sessions);
                    prop_assert_eq!(place.files(), 0);
                    model = Some(body.clone());
                    stage = place.stage();
                    file = place.begin(&stage);
                }
            }
            prop_assert_eq!(file.size(), body.len() as u64);
            prop_assert_eq!(place.body(), model.clone());
        }
        prop_assert_eq!(read_all(&file), body);
    }
}
