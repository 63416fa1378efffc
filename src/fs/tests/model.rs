//! The file system against a model that knows nothing of inodes, requests or time: every step is
//! done to both, as the kernel would do it, and then all of the tree is compared. Now and then the
//! daemon dies, also in the middle of a step, and another one goes on.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use reference::{Allow, Kind, Model, Step, Writing, nth, split, steps};

mod reference;

/// What uses the file system as the kernel does.
struct Kernel {
    fs: Fs,
    store: FakeStore,
    held: Vec<InodeNo>,
    /// Mounts the store.
    mount: Box<dyn Fn() -> Fs>,
}

impl Kernel {
    fn lookup(&mut self, parent: InodeNo, name: &str) -> Result<Entry, Errno> {
        let entry = found(block_on(self.fs.lookup(parent, OsStr::new(name), ME)))?;
        self.held.push(entry.attr.ino);
        Ok(entry)
    }

    /// The directory at `path`. The kernel asks nothing of what it knows to be none.
    fn walk(&mut self, path: &str) -> Result<InodeNo, Errno> {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let attr = self.lookup(at, name)?.attr;
            if attr.kind != FileKind::Directory {
                return Err(Errno::ENOTDIR);
            }
            at = attr.ino;
        }
        Ok(at)
    }

    /// Opens for writing with `flags`; makes the file if it is not there.
    fn open(&mut self, path: &str, flags: i32) -> Result<HandleNo, Errno> {
        let (above, name) = split(path);
        let mut tries = 0;
        loop {
            let parent = self.walk(above)?;
            let result = match self.lookup(parent, name) {
                Ok(entry) if entry.attr.kind == FileKind::Directory => Err(Errno::EISDIR),
                Ok(entry) => block_on(self.fs.open(entry.attr.ino, OpenFlags(flags), ME))
                    .map_err(|error| error.errno()),
                Err(Errno::ENOENT) => {
                    let name = OsStr::new(name);
                    block_on(self.fs.create(parent, name, CREATOR, OpenFlags(flags), ME))
                        .map(|(entry, opened)| {
                            self.held.push(entry.attr.ino);
                            opened
                        })
                        .map_err(|error| error.errno())
                }
                Err(errno) => Err(errno),
            };
            tries += 1;
            if !matches!(result, Err(Errno::ESTALE)) || tries > 2 {
                return result.map(|opened| opened.file);
            }
        }
    }

    fn close(&mut self, file: HandleNo) -> Result<(), Errno> {
        let flushed = block_on(self.fs.flush(file, ME)).map_err(|error| error.errno());
        let released = block_on(self.fs.release(file)).map_err(|error| error.errno());
        flushed.and(released)
    }

    /// Ends the daemon as `kill -9` does, and starts another one.
    fn restart(&mut self) {
        self.held.clear();
        self.fs = (self.mount)();
        self.store.forget_faults();
        self.store.release();
        assert_eq!(self.store.uploads().in_flight, 0, "an upload goes on");
    }

    /// What the bucket holds.
    fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let body = |key: String| {
            let body = self.store.body(&key).expect("it is there").to_vec();
            (key, body)
        };
        self.store.keys().into_iter().map(body).collect()
    }

    fn forget(&mut self) {
        for ino in self.held.drain(..) {
            self.fs.forget(ino, 1);
        }
    }
}

/// Does a step to both, and compares what both say of it.
fn step(kernel: &mut Kernel, model: &mut Model<HandleNo>, step: &Step) {
    let both = match step {
        Step::Create(path) => {
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC;
            open(kernel, model, path, flags)
        }
        Step::Append(path) => {
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND;
            open(kernel, model, path, flags)
        }
        Step::Write(at, data) => {
            let Some(path) = nth(model.writers.keys(), *at) else {
                return;
            };
            let Some(writer) = model.writers.get_mut(&path) else {
                return;
            };
            let offset = writer.body.len() as u64;
            writer.body.extend_from_slice(data);
            let written = kernel.fs.write_now(writer.handle, offset, data);
            let written = written.unwrap_or_else(|| {
                let data = Bytes::copy_from_slice(data);
                block_on(kernel.fs.write(writer.handle, offset, data))
            });
            (written.map_err(|error| error.errno()), Ok(()))
        }
        Step::Close(at) => {
            let Some(path) = nth(model.writers.keys(), *at) else {
                return;
            };
            let Some(writer) = model.writers.remove(&path) else {
                return;
            };
            close(kernel, model, &path, writer)
        }
        Step::Mkdir(path) => {
            let done = in_parent(kernel, path, |fs, parent, name| {
                block_on(fs.mkdir(parent, name)).map(Some)
            });
            let said = model.obstacle(path).map_or_else(|| model.mkdir(path), Err);
            (done, said)
        }
        Step::Rmdir(path) => {
            let done = in_parent(kernel, path, |fs, parent, name| {
                block_on(fs.rmdir(parent, name)).map(|()| None)
            });
            let said = model.obstacle(path).map_or_else(|| model.rmdir(path), Err);
            (done, said)
        }
        Step::Unlink(path) => {
            let done = in_parent(kernel, path, |fs, parent, name| {
                block_on(fs.unlink(parent, name)).map(|()| None)
            });
            let said = model.obstacle(path).map_or_else(|| model.unlink(path), Err);
            (done, said)
        }
        Step::Rename(from, to) => {
            if from == to || model.obstacle(from).is_some() || model.obstacle(to).is_some() {
                return;
            }
            let target = kernel.walk(split(to).0).expect("it is reached");
            let done = in_parent(kernel, from, |fs, parent, name| {
                let to = (target, OsStr::new(split(to).1));
                block_on(fs.rename((parent, name), to, RenameMode::Replace)).map(|()| None)
            });
            (done, model.rename(from, to))
        }
        Step::Crash => {
            kernel.restart();
            model.crash();
            return;
        }
        Step::CrashInClose(at, during) => return crash_in_close(kernel, model, *at, *during),
        Step::CrashInRename(from, to, during) => {
            if let Some(from) = nth(model.paths().iter(), *from) {
                crash_in_rename(kernel, model, &from, to, *during);
            }
            return;
        }
        Step::Put(key, body) => {
            kernel.store.put(key, body.clone());
            model.put(key, body.clone());
            return;
        }
        Step::Remove(at) => {
            if let Some(key) = nth(model.objects.keys(), *at) {
                kernel.store.remove(&key);
                model.objects.remove(&key);
            }
            return;
        }
    };
    assert_eq!(both.0, both.1, "{step:?}");
}

type Both = (Result<(), Errno>, Result<(), Errno>);

fn in_parent(
    kernel: &mut Kernel,
    path: &str,
    operation: impl FnOnce(&Fs, InodeNo, &OsStr) -> Result<Option<Entry>, Error>,
) -> Result<(), Errno> {
    let (above, name) = split(path);
    let parent = kernel.walk(above)?;
    let made = operation(&kernel.fs, parent, OsStr::new(name)).map_err(|error| error.errno())?;
    kernel.held.extend(made.map(|entry| entry.attr.ino));
    Ok(())
}

fn open(kernel: &mut Kernel, model: &mut Model<HandleNo>, path: &str, flags: i32) -> Both {
    let opened = kernel.open(path, flags);
    let said = model.open(path, flags & libc::O_APPEND != 0, opened.ok());
    (opened.map(drop), said)
}

fn close(
    kernel: &mut Kernel,
    model: &mut Model<HandleNo>,
    path: &str,
    writer: Writing<HandleNo>,
) -> Both {
    (kernel.close(writer.handle), model.close(path, writer))
}

/// The daemon dies while it asks the store for one of `operations`, if it does so while `run` runs.
/// What came of `run` if it does not.
fn dies_during<T>(
    kernel: &Kernel,
    (operations, during): (&[Op], Index),
    run: impl AsyncFnOnce(&Fs) -> T,
) -> Option<T> {
    let held = operations[during.index(operations.len())];
    kernel.store.hold_next(held, None, 1);
    let ran = run(&kernel.fs).now_or_never();
    eprintln!("DIES {held:?} {}", ran.is_none());
    ran
}

fn crash_in_close(kernel: &mut Kernel, model: &mut Model<HandleNo>, at: Index, during: Index) {
    let Some(path) = nth(model.writers.keys(), at) else {
        return;
    };
    let Some(writer) = model.writers.remove(&path) else {
        return;
    };
    let steps = [Op::Put, Op::Upload, Op::Part, Op::Complete];
    let handle = writer.handle;
    let close = async |fs: &Fs| {
        let flushed = fs.flush(handle, ME).await;
        flushed.and(fs.release(handle).await)
    };
    let closed = dies_during(kernel, (&steps, during), close);
    let before = model.objects.clone();
    let said = model.close(&path, writer);
    let done = match closed {
        Some(closed) => {
            assert_eq!(closed.map_err(|error| error.errno()), said, "{path:?}");
            model.objects.clone()
        }
        None => std::mem::replace(&mut model.objects, before),
    };
    kernel.restart();
    model.crash_within(&done, |_key| None, kernel.objects());
}

fn crash_in_rename(
    kernel: &mut Kernel,
    model: &mut Model<HandleNo>,
    from: &str,
    to: &str,
    during: Index,
) {
    if from == to || model.obstacle(from).is_some() || model.obstacle(to).is_some() {
        return;
    }
    let (source, target) = (split(from), split(to));
    let parent = kernel.walk(source.0).expect("it is reached");
    let new_parent = kernel.walk(target.0).expect("it is reached");
    let steps = [Op::Copy, Op::Delete, Op::Rename, Op::Head, Op::List];
    let rename = async |fs: &Fs| {
        let (from, to) = (OsStr::new(source.1), OsStr::new(target.1));
        let mode = RenameMode::Replace;
        fs.rename((parent, from), (new_parent, to), mode).await
    };
    let renamed = dies_during(kernel, (&steps, during), rename);
    let is_directory = model.kind(from) == Some(Kind::Directory);
    let before = model.objects.clone();
    let said = model.rename(from, to);
    let done = match renamed {
        Some(renamed) => {
            assert_eq!(
                renamed.map_err(|error| error.errno()),
                said,
                "{from:?} to {to:?}"
            );
            model.objects.clone()
        }
        None => std::mem::replace(&mut model.objects, before),
    };
    kernel.restart();
    let moved = |key: &str| match key.strip_prefix(from) {
        Some("") if !is_directory => Some(to.to_owned()),
        Some(rest) if is_directory && rest.starts_with('/') => Some(format!("{to}{rest}")),
        _ => None,
    };
    model.crash_within(&done, moved, kernel.objects());
}

/// All of the tree is as the model says, by lookups and by listings, and every body.
fn compare(kernel: &mut Kernel, model: &Model<HandleNo>, path: &str, plus: bool) {
    let ino = kernel.walk(path).expect("a directory");
    let dir = block_on(kernel.fs.opendir(ino)).expect("it opens").dir;
    let (mut found, mut offset) = (BTreeMap::new(), 0);
    loop {
        let before = found.len();
        let mut held = Vec::new();
        block_on(kernel.fs.readdir(dir, offset, plus, &mut |entry| {
            let name = entry.name.to_str().expect("UTF-8").to_owned();
            offset = entry.next_offset;
            if plus && name != "." && name != ".." {
                held.push(entry.entry.attr.ino);
            }
            let twice = found.insert(name, entry.entry.attr);
            assert!(twice.is_none(), "{:?} comes twice in {path:?}", entry.name);
            Emit::Taken
        }))
        .expect("it is read");
        kernel.held.extend(held);
        if found.len() == before {
            break;
        }
    }
    kernel.fs.releasedir(dir).expect("it closes");
    found.retain(|name, _attr| name != "." && name != "..");
    let names: BTreeSet<String> = found.keys().cloned().collect();
    assert_eq!(names, model.names(path), "in {path:?}");
    for (name, listed) in found {
        let path = if path.is_empty() {
            name
        } else {
            format!("{path}/{name}")
        };
        let looked_up = kernel.lookup(ino, split(&path).1).expect("it is there");
        let expected = model.kind(&path).expect("it is in the model");
        for attr in [listed, looked_up.attr] {
            match &expected {
                Kind::Directory => assert_eq!(attr.kind, FileKind::Directory, "{path:?}"),
                Kind::Local(size) => assert_eq!(attr.size, *size as u64, "{path:?}"),
                Kind::File(body) => assert_eq!(attr.size, body.len() as u64, "{path:?}"),
            }
        }
        match expected {
            Kind::Directory => compare(kernel, model, &path, plus),
            Kind::Local(_) => {}
            Kind::File(body) => {
                // A writer that a directory hides, and hid when it was opened, keeps readers out.
                if model.writers.contains_key(&path) {
                    continue;
                }
                let file = open_name_at(kernel, ino, split(&path).1);
                let read = block_on(kernel.fs.read(file, 0, 1 << 16)).expect("it reads");
                assert_eq!(&read[..], &body[..], "{path:?}");
                kernel.close(file).expect("it closes");
            }
        }
    }
}

fn open_name_at(kernel: &mut Kernel, parent: InodeNo, name: &str) -> HandleNo {
    for _ in 0..2 {
        let ino = kernel.lookup(parent, name).expect("it is there").attr.ino;
        match block_on(kernel.fs.open(ino, OpenFlags(libc::O_RDONLY), ME)) {
            Err(error) if error.errno() == Errno::ESTALE => {}
            opened => return opened.expect("it opens").file,
        }
    }
    panic!("{name:?} stays stale");
}

proptest! {
    /// A failure prints its steps, and is kept beside this file to be done again.
    #[test]
    fn prop_file_system_does_what_the_model_does(
        steps in steps(),
        delete: bool,
        overwrite: bool,
        append: bool,
        copy: bool,
        plus: bool,
        page_size in 1usize..5,
        part_size in 1u64..60,
    ) {
        let store = FakeStore::deterministic();
        store.set_page_size(page_size);
        store.set_upload_part_size(usize::try_from(part_size).expect("small"));
        let ttl = Ttl::For(Duration::ZERO);
        let tree = TreeConfig {
            prefix: crate::s3::Prefix::default(),
            ttl,
            negative_ttl: ttl,
            details: false,
            pages: true,
            ordered: true,
        };
        let config = FsConfig {
            allow_delete: delete,
            allow_overwrite: overwrite,
            incremental_upload: append,
            can_rename: !copy,
            rename_by_copy: copy,
            ..CONFIG
        };
        let write = WriteConfig {
            // One that appends stores each part as it is full, which the model does not do.
            part_size: if append { 1 << 20 } else { part_size },
            ..WriteConfig::default()
        };
        let mount = {
            let store = store.clone();
            move || {
                let store: Arc<dyn Store> = Arc::new(store.clone());
                let (tree, read) =
                    (Tree::new(Arc::clone(&store), tree.clone()), ReadConfig::default());
                Fs::new(store, tree, read, write.clone(), config)
            }
        };
        let mut kernel = Kernel { fs: mount(), store, held: Vec::new(), mount: Box::new(mount) };
        let allow = Allow { delete, overwrite, append, copy };
        let part_size = usize::try_from(part_size).expect("small");
        let mut model = Model::new(allow, part_size);
        for one in &steps {
            step(&mut kernel, &mut model, one);
            model.settle();
            compare(&mut kernel, &model, "", plus);
            kernel.forget();
        }
    }
}
