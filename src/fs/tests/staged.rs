//! Files that are staged, against a model: files with names, that are shared by all who have them
//! open, and live as long as somebody has.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use tempfile::TempDir;

use super::*;
use crate::stage::{Origin, Remote, Stage, leftovers};

/// A file system over a bucket, with a stage.
struct Place {
    store: FakeStore,
    fs: Fs,
    directory: TempDir,
}

fn place(can_rename: bool) -> Place {
    let store = FakeStore::new();
    store.set_upload_part_size(PART);
    let directory = tempfile::tempdir().expect("a directory");
    let remote = Remote {
        store: Arc::new(store.clone()),
        read: ReadConfig::default(),
        write: WriteConfig {
            part_size: PART as u64,
            ..WriteConfig::default()
        },
    };
    let origin = Origin::new("b".to_owned(), Vec::new(), BTreeMap::new());
    let stage = Stage::create(directory.path(), &origin, remote.clone()).expect("a stage");
    let tree = TreeConfig {
        prefix: crate::s3::Prefix::default(),
        ttl: Ttl::Minimal,
        negative_ttl: Ttl::Minimal,
        details: false,
        pages: true,
        ordered: true,
    };
    let config = FsConfig {
        allow_delete: true,
        allow_overwrite: true,
        rename_by_copy: !can_rename,
        can_rename,
        ..CONFIG
    };
    let tree = Tree::new(Arc::clone(&remote.store), tree);
    let fs = Fs::new(remote.store, tree, remote.read, remote.write, config).staged(stage);
    Place {
        store,
        fs,
        directory,
    }
}

const PART: usize = 300_000;

impl Place {
    /// Opens or makes a file, as the kernel does: after `ESTALE` the name is looked up once more.
    fn open(&self, name: &str, flags: i32) -> Result<HandleNo, Errno> {
        let mut tries = 0;
        loop {
            tries += 1;
            let opened = match lookup(&self.fs, name) {
                Err(Errno::ENOENT) if flags & libc::O_CREAT != 0 => {
                    let (name, flags) = (OsStr::new(name), OpenFlags(flags));
                    let created = self.fs.create(ROOT, name, CREATOR, flags, ME);
                    block_on(created)
                        .map(|(_entry, opened)| opened.file)
                        .map_err(|error| error.errno())
                }
                Err(errno) => Err(errno),
                Ok(entry) => open(&self.fs, entry.attr.ino, flags),
            };
            match opened {
                Err(Errno::ESTALE) if tries < 2 => {}
                opened => return opened,
            }
        }
    }

    fn write(&self, file: HandleNo, offset: usize, data: &[u8]) -> Result<(), Errno> {
        let written = match self.fs.write_now(file, offset as u64, data) {
            Some(written) => written,
            None => block_on(
                self.fs
                    .write(file, offset as u64, Bytes::copy_from_slice(data)),
            ),
        };
        written.map_err(|error| error.errno())
    }

    fn close(&self, file: HandleNo) -> Result<(), Errno> {
        let flushed = block_on(self.fs.flush(file, ME));
        block_on(self.fs.release(file)).map_err(|error| error.errno())?;
        flushed.map_err(|error| error.errno())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        let (from, to) = ((ROOT, OsStr::new(from)), (ROOT, OsStr::new(to)));
        let renamed = block_on(self.fs.rename(from, to, RenameMode::Replace));
        renamed.map_err(|error| error.errno())
    }

    fn unlink(&self, name: &str) -> Result<(), Errno> {
        block_on(self.fs.unlink(ROOT, OsStr::new(name))).map_err(|error| error.errno())
    }

    fn truncate(&self, name: &str, size: u64) -> Result<(), Errno> {
        let change = SetAttr {
            size: Some(size),
            ..SetAttr::default()
        };
        let ino = lookup(&self.fs, name)?.attr.ino;
        let entry = block_on(self.fs.setattr(ino, change)).map_err(|error| error.errno())?;
        assert_eq!(entry.attr.size, size);
        Ok(())
    }

    /// What is in the bucket.
    fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let keys = self.store.keys().into_iter();
        let body = |key: &String| self.store.body(key).expect("an object").to_vec();
        keys.map(|key| (key.clone(), body(&key))).collect()
    }

    fn staged_files(&self) -> usize {
        let sessions = std::fs::read_dir(self.directory.path()).expect("a directory");
        let files = sessions.map(|session| std::fs::read_dir(session.expect("a stage").path()));
        let files = files.flat_map(|files| files.expect("a directory"));
        let names = files.map(|file| {
            file.expect("a file")
                .file_name()
                .into_string()
                .expect("text")
        });
        names.filter(|name| name.ends_with(".json")).count()
    }
}

#[test]
fn writers_and_readers_of_one_file_see_each_other() {
    let place = place(false);
    let writer = place
        .open("f", libc::O_RDWR | libc::O_CREAT)
        .expect("it is made");
    let reader = place.open("f", libc::O_RDONLY).expect("it opens");
    place.write(writer, 3, b"abc").expect("it writes");
    assert_eq!(
        read(&place.fs, reader, 0, 10).expect("it reads"),
        &b"\0\0\0abc"[..]
    );
    assert_eq!(lookup(&place.fs, "f").expect("it is there").attr.size, 6);
    place.close(writer).expect("it is stored");
    assert_eq!(place.objects()["f"], b"\0\0\0abc");
    assert_eq!(
        read(&place.fs, reader, 3, 10).expect("it reads"),
        &b"abc"[..]
    );
    place.close(reader).expect("nothing to do");
    assert_eq!(place.staged_files(), 0);
}

#[test]
fn reader_sees_what_somebody_writes_later() {
    let place = place(false);
    place.store.put("f", "before");
    let reader = place.open("f", libc::O_RDONLY).expect("it opens");
    let writer = place.open("f", libc::O_WRONLY).expect("it opens");
    place.write(writer, 0, b"after!").expect("it writes");
    place.close(writer).expect("it is stored");
    assert_eq!(
        read(&place.fs, reader, 0, 10).expect("it reads"),
        &b"after!"[..]
    );
    place.close(reader).expect("nothing to do");
    assert_eq!(place.staged_files(), 0);
}

#[test]
fn file_of_nobody_is_kept_until_it_can_be_stored() {
    let place = place(false);
    let file = place
        .open("f", libc::O_RDWR | libc::O_CREAT)
        .expect("it is made");
    place.write(file, 0, b"abc").expect("it writes");
    place
        .store
        .fail_next(Op::Put, None, ErrorKind::Throttled, 3);
    assert_eq!(
        block_on(place.fs.fsync(file)).map_err(|error| error.errno()),
        Err(Errno::EIO)
    );
    // Both the close and the release that follows it try.
    assert_eq!(
        block_on(place.fs.flush(file, ME)).map_err(|error| error.errno()),
        Err(Errno::EIO)
    );
    assert_eq!(
        block_on(place.fs.release(file)).map_err(|error| error.errno()),
        Err(Errno::EIO)
    );
    assert_eq!(place.objects(), BTreeMap::new());
    assert_eq!(lookup(&place.fs, "f").expect("it is there").attr.size, 3);
    let file = place.open("f", libc::O_RDONLY).expect("it opens");
    assert_eq!(read(&place.fs, file, 0, 10).expect("it reads"), &b"abc"[..]);
    place.close(file).expect("it is stored");
    assert_eq!(place.objects()["f"], b"abc");
}

#[test]
fn failed_unlink_and_rename_change_nothing() {
    let place = place(false);
    place.store.put("f", "before");
    let file = place.open("f", libc::O_RDWR).expect("it opens");
    place.write(file, 0, b"after!").expect("it writes");
    place
        .store
        .fail_next(Op::Delete, None, ErrorKind::Throttled, 1);
    assert_eq!(place.unlink("f"), Err(Errno::EIO));
    place
        .store
        .fail_next(Op::Copy, None, ErrorKind::Throttled, 1);
    assert_eq!(place.rename("f", "g"), Err(Errno::EIO));
    assert_eq!(place.objects()["f"], b"after!");
    place.write(file, 0, b"again!").expect("it writes");
    place.close(file).expect("it is stored");
    assert_eq!(
        place.objects(),
        BTreeMap::from([("f".to_owned(), b"again!".to_vec())])
    );
}

#[test]
fn existing_objects_are_changed_only_where_that_is_allowed() {
    let mut place = place(false);
    place.fs.config.allow_overwrite = false;
    place.store.put("f", "x");
    assert_eq!(place.open("f", libc::O_WRONLY), Err(Errno::EPERM));
    assert_eq!(place.truncate("f", 0), Err(Errno::EPERM));
    let new = place
        .open("new", libc::O_WRONLY | libc::O_CREAT)
        .expect("it is made");
    place.write(new, 5, b"x").expect("it writes");
    place.close(new).expect("it is stored");
}

#[test]
fn end_of_the_mount_stores_what_is_staged() {
    let place = place(false);
    let file = place
        .open("f", libc::O_WRONLY | libc::O_CREAT)
        .expect("it is made");
    place.write(file, 0, b"abc").expect("it writes");
    block_on(place.fs.finish_closed());
    assert_eq!(place.objects()["f"], b"abc");
    // Nobody has told yet that it is not open any more.
    assert_eq!(place.staged_files(), 1);
    let Place { fs, directory, .. } = place;
    drop(fs);
    let left = std::fs::read_dir(directory.path()).expect("a directory");
    assert_eq!(left.count(), 0);
}

#[test]
fn end_of_a_mount_that_is_in_use_leaves_what_is_staged_and_open() {
    let place = place(false);
    let file = place
        .open("f", libc::O_WRONLY | libc::O_CREAT)
        .expect("it is made");
    place.write(file, 0, b"half").expect("it writes");
    block_on(place.fs.finish_released_writers());
    assert!(!place.objects().contains_key("f"));
    assert_eq!(place.staged_files(), 1);
}

#[test]
fn what_is_written_while_the_mount_ends_is_stored_or_stays_staged() {
    let place = place(false);
    let open = |name| {
        let file = place.open(name, libc::O_WRONLY | libc::O_CREAT);
        let file = file.expect("it is made");
        place.write(file, 0, b"abc").expect("it writes");
        file
    };
    let (closed, open) = (open("closed"), open("open"));
    block_on(place.fs.finish_released());
    for file in [closed, open] {
        place.write(file, 3, b"def").expect("it writes");
    }
    place.close(closed).expect("it is stored");
    assert_eq!(place.objects()["closed"], b"abcdef");
    assert_eq!(place.objects()["open"], b"abc");
    let Place { fs, directory, .. } = place;
    drop(fs);
    let sessions = leftovers(directory.path()).expect("a stage");
    let keys = sessions[0].files.iter().map(|file| file.key.as_str());
    assert_eq!(keys.collect::<Vec<_>>(), ["open"]);
}

#[test]
fn directory_with_open_files_is_not_renamed() {
    let place = place(false);
    place.store.put("d/f", "x");
    let dir = lookup(&place.fs, "d").expect("a directory").attr.ino;
    let file = found(block_on(place.fs.lookup(dir, OsStr::new("f"), ME))).expect("a file");
    let ino = file.attr.ino;
    let file = open(&place.fs, ino, libc::O_WRONLY).expect("it opens");
    place.write(file, 0, b"y").expect("it writes");
    assert_eq!(place.rename("d", "e"), Err(Errno::EPERM));
    place.close(file).expect("it is stored");
    place.rename("d", "e").expect("nobody has it open");
    assert_eq!(
        place.objects(),
        BTreeMap::from([("e/f".to_owned(), b"y".to_vec())])
    );
}

#[derive(Debug, Clone)]
enum Step {
    Open(&'static str, i32),
    Write(Index, usize, Vec<u8>),
    Read(Index, usize, usize),
    Sync(Index),
    Close(Index),
    Truncate(&'static str, usize),
    Rename(&'static str, &'static str),
    Unlink(&'static str),
}

fn step() -> impl Strategy<Value = Step> {
    let name = || select(vec!["a", "b", "c"]);
    let offset = || prop_oneof![0..200usize, 0..400_000usize, Just(131_072usize)];
    let data = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..100),
        (any::<u8>(), 1..300_000usize).prop_map(|(byte, length)| vec![byte; length]),
    ];
    let flags = select(vec![
        libc::O_RDONLY,
        libc::O_RDWR,
        libc::O_WRONLY | libc::O_APPEND,
        libc::O_RDWR | libc::O_CREAT,
        libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC,
        libc::O_RDWR | libc::O_TRUNC,
    ]);
    prop_oneof![
        5 => (name(), flags).prop_map(|(name, flags)| Step::Open(name, flags)),
        6 => (any::<Index>(), offset(), data)
            .prop_map(|(file, offset, data)| Step::Write(file, offset, data)),
        3 => (any::<Index>(), offset(), 1..100_000usize)
            .prop_map(|(file, offset, length)| Step::Read(file, offset, length)),
        2 => any::<Index>().prop_map(Step::Sync),
        4 => any::<Index>().prop_map(Step::Close),
        2 => (name(), offset()).prop_map(|(name, size)| Step::Truncate(name, size)),
        3 => (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => name().prop_map(Step::Unlink),
    ]
}

/// What the file system should be: names of files, and the bytes of files.
#[derive(Default)]
struct Model {
    names: BTreeMap<&'static str, usize>,
    files: Vec<Vec<u8>>,
    open: Vec<(HandleNo, usize, bool)>,
}

impl Model {
    fn do_step(&mut self, place: &Place, step: Step) {
        let missing = Err(Errno::ENOENT);
        match step {
            Step::Open(name, flags) => {
                let opened = place.open(name, flags);
                let is_new = !self.names.contains_key(name);
                if is_new && flags & libc::O_CREAT == 0 {
                    assert_eq!(opened, missing.map(|()| HandleNo(0)));
                    return;
                }
                if is_new {
                    self.names.insert(name, self.files.len());
                    self.files.push(Vec::new());
                }
                let file = self.names[name];
                if flags & libc::O_TRUNC != 0 {
                    self.files[file].clear();
                }
                let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
                self.open.push((opened.expect("it opens"), file, writes));
            }
            Step::Write(index, offset, data) => {
                let Some((handle, file, true)) = self.pick(&index) else {
                    return;
                };
                match place.write(handle, offset, &data) {
                    Err(Errno::ESTALE) if self.is_removed(file) => return,
                    written => written.expect("it writes"),
                }
                let body = &mut self.files[file];
                if body.len() < offset + data.len() {
                    body.resize(offset + data.len(), 0);
                }
                body[offset..offset + data.len()].copy_from_slice(&data);
            }
            Step::Read(index, offset, length) => {
                let Some((handle, file, _)) = self.pick(&index) else {
                    return;
                };
                let body = &self.files[file];
                let (start, end) = (offset.min(body.len()), (offset + length).min(body.len()));
                let size = u32::try_from(length).expect("small");
                let bytes = match read(&place.fs, handle, offset as u64, size) {
                    Err(Errno::ESTALE) if self.is_removed(file) => return,
                    bytes => bytes.expect("it reads"),
                };
                assert!(bytes == body[start..end], "other bytes at {offset}");
            }
            Step::Sync(index) => {
                let Some((handle, file, _)) = self.pick(&index) else {
                    return;
                };
                block_on(place.fs.fsync(handle)).expect("it is stored");
                if let Some((name, _)) = self.names.iter().find(|(_, other)| **other == file) {
                    let stored = place.store.body(name);
                    // Who only reads need not wait for those who write.
                    assert!(stored.is_some());
                }
            }
            Step::Close(index) => {
                if self.open.is_empty() {
                    return;
                }
                let (handle, _file, _) = self.open.swap_remove(index.index(self.open.len()));
                place.close(handle).expect("it is stored");
            }
            Step::Truncate(name, size) => {
                let done = place.truncate(name, size as u64);
                match self.names.get(name) {
                    Some(file) => {
                        done.expect("it is cut");
                        self.files[*file].resize(size, 0);
                    }
                    None => assert_eq!(done, missing),
                }
            }
            Step::Rename(from, to) => {
                let done = place.rename(from, to);
                match self.names.get(from).copied() {
                    None => assert_eq!(done, missing),
                    Some(file) => {
                        done.expect("it is renamed");
                        self.names.remove(from);
                        self.names.insert(to, file);
                    }
                }
            }
            Step::Unlink(name) => {
                let done = place.unlink(name);
                match self.names.remove(name) {
                    Some(_) => done.expect("it is removed"),
                    None => assert_eq!(done, missing),
                }
            }
        }
    }

    /// Whether it has no name any more: what was not fetched before is gone.
    fn is_removed(&self, file: usize) -> bool {
        !self.names.values().any(|other| *other == file)
    }

    fn pick(&self, index: &Index) -> Option<(HandleNo, usize, bool)> {
        (!self.open.is_empty()).then(|| self.open[index.index(self.open.len())])
    }

    /// What is to be in the bucket when nobody has a file open.
    fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let names = self.names.iter();
        names
            .map(|(name, file)| ((*name).to_owned(), self.files[*file].clone()))
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn prop_staged_files_are_as_files_are(
        can_rename in any::<bool>(),
        before in prop::collection::btree_map(select(vec!["a", "b"]), 0..500_000usize, 0..3),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let place = place(can_rename);
        let mut model = Model::default();
        for (name, size) in before {
            let body: Vec<u8> = (0..=252).cycle().take(size).collect();
            place.store.put(name, body.clone());
            model.names.insert(name, model.files.len());
            model.files.push(body);
        }
        for step in steps {
            model.do_step(&place, step);
            for (name, file) in &model.names {
                let size = lookup(&place.fs, name).expect("it is there").attr.size;
                prop_assert_eq!(size, model.files[*file].len() as u64);
            }
            if model.open.is_empty() {
                prop_assert_eq!(place.staged_files(), 0);
                prop_assert!(place.objects() == model.objects(), "the bucket is another");
            }
        }
        for (handle, _file, _) in std::mem::take(&mut model.open) {
            place.close(handle).expect("it is stored");
        }
        prop_assert!(place.objects() == model.objects(), "the bucket is another");
        prop_assert_eq!(place.staged_files(), 0);
        prop_assert_eq!(place.store.uploads().in_flight, 0);
    }
}
