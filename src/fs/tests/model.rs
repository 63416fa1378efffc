//! The file system against a model that knows nothing of inodes, requests or time: every step is
//! done to both, as the kernel would do it, and then all of the tree is compared.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

/// What the model says.
#[derive(Default)]
struct Model {
    /// Body and version of each object.
    objects: BTreeMap<String, (Vec<u8>, u64)>,
    versions: u64,
    /// Directories that were made here and are not in S3.
    directories: BTreeSet<String>,
    /// Files that are written.
    writers: BTreeMap<String, Writing>,
    allow: Allow,
    /// Bytes of a file of which nothing is sent before its end, at most.
    part_size: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Allow {
    delete: bool,
    overwrite: bool,
    append: bool,
    /// Renaming copies: directories can be renamed, and files that are written.
    copy: bool,
}

/// A file that is written, or was when its handle was opened.
struct Writing {
    handle: HandleNo,
    body: Vec<u8>,
    /// Version and length of what it is appended to.
    base: Option<(u64, usize)>,
    /// Whether a directory of its name has appeared in S3 since: then it is not seen any more.
    hidden: bool,
    /// Whether nothing had its name when it got it.
    is_new: bool,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Directory,
    Local(usize),
    File(Vec<u8>),
}

#[derive(Debug, Clone)]
enum Step {
    Create(String),
    Append(String),
    Write(Index, Vec<u8>),
    Close(Index),
    Mkdir(String),
    Rmdir(String),
    Unlink(String),
    Rename(String, String),
    /// By somebody else.
    Put(String, Vec<u8>),
    Remove(Index),
}

impl Model {
    fn put(&mut self, key: &str, body: Vec<u8>) {
        self.versions += 1;
        self.objects.insert(key.to_owned(), (body, self.versions));
    }

    fn is_remote_directory(&self, path: &str) -> bool {
        let prefix = format!("{path}/");
        self.objects.keys().any(|key| key.starts_with(&prefix))
    }

    fn has_local_inside(&self, path: &str) -> bool {
        let prefix = format!("{path}/");
        let mut locals = self.directories.iter().chain(self.visible_writers());
        locals.any(|path| path.starts_with(&prefix))
    }

    fn visible_writers(&self) -> impl Iterator<Item = &String> {
        let visible = self.writers.iter().filter(|(_path, writer)| !writer.hidden);
        visible.map(|(path, _writer)| path)
    }

    /// What a path leads to whose directory exists.
    fn kind(&self, path: &str) -> Option<Kind> {
        if path.is_empty()
            || self.is_remote_directory(path)
            || self.directories.contains(path)
            || self.has_local_inside(path)
        {
            return Some(Kind::Directory);
        }
        if let Some(writer) = self.writers.get(path).filter(|writer| !writer.hidden) {
            return Some(Kind::Local(writer.body.len()));
        }
        let (body, _version) = self.objects.get(path)?;
        Some(Kind::File(body.clone()))
    }

    /// The names in a directory.
    fn names(&self, path: &str) -> BTreeSet<String> {
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        let all = self.objects.keys().chain(self.visible_writers());
        let all = all.chain(&self.directories);
        let inside = all.filter_map(|path| path.strip_prefix(&prefix));
        let names = inside.filter_map(|rest| rest.split('/').next());
        let shown = |name: &&str| !matches!(*name, "" | "." | "..") && !name.contains('\0');
        names.filter(shown).map(str::to_owned).collect()
    }

    /// Why a path cannot be reached, if it cannot.
    fn obstacle(&self, path: &str) -> Option<Errno> {
        let mut at = String::new();
        let (above, _name) = split(path);
        for name in above.split('/').filter(|name| !name.is_empty()) {
            at = if at.is_empty() {
                name.to_owned()
            } else {
                format!("{at}/{name}")
            };
            match self.kind(&at) {
                Some(Kind::Directory) => {}
                Some(_) => return Some(Errno::ENOTDIR),
                None => return Some(Errno::ENOENT),
            }
        }
        None
    }

    /// What is in S3 is not local any more, and a directory in S3 hides what is written.
    fn settle(&mut self) {
        let local = std::mem::take(&mut self.directories).into_iter();
        self.directories = local
            .filter(|path| !self.is_remote_directory(path))
            .collect();
        let written = self.writers.keys().cloned();
        let hidden: Vec<String> = written
            .filter(|path| self.is_remote_directory(path))
            .collect();
        for path in hidden {
            if let Some(writer) = self.writers.get_mut(&path) {
                writer.hidden = true;
            }
        }
    }

    fn unlink(&mut self, path: &str) -> Result<(), Errno> {
        if !self.allow.delete {
            return Err(Errno::EPERM);
        }
        match self.kind(path) {
            None => Err(Errno::ENOENT),
            Some(Kind::Directory) => Err(Errno::EISDIR),
            Some(Kind::Local(_)) => Err(Errno::EPERM),
            Some(Kind::File(_)) if self.writers.contains_key(path) => Err(Errno::EPERM),
            Some(Kind::File(_)) => {
                self.objects.remove(path);
                Ok(())
            }
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), Errno> {
        match self.kind(from) {
            None => return Err(Errno::ENOENT),
            Some(Kind::Directory | Kind::Local(_)) => return Err(Errno::EPERM),
            Some(Kind::File(_)) if self.writers.contains_key(from) => return Err(Errno::EPERM),
            Some(Kind::File(_)) => {}
        }
        match self.kind(to) {
            Some(Kind::Directory) => return Err(Errno::EISDIR),
            Some(Kind::Local(_)) => return Err(Errno::EPERM),
            Some(Kind::File(_)) if self.writers.contains_key(to) => return Err(Errno::EPERM),
            Some(Kind::File(_)) if !self.allow.overwrite => return Err(Errno::EEXIST),
            Some(Kind::File(_)) | None => {}
        }
        if let Some(object) = self.objects.remove(from) {
            self.objects.insert(to.to_owned(), object);
        }
        Ok(())
    }

    /// What renaming does that copies.
    fn rename_by_copy(&mut self, from: &str, to: &str) -> Result<(), Errno> {
        let source = self.kind(from).ok_or(Errno::ENOENT)?;
        let is_directory = source == Kind::Directory;
        let (old, new) = (format!("{from}/"), format!("{to}/"));
        if is_directory && new.starts_with(&old) {
            return Err(Errno::EINVAL);
        }
        let target = self.kind(to);
        match &target {
            Some(Kind::Directory) if !is_directory => return Err(Errno::EISDIR),
            Some(Kind::Local(_)) => return Err(Errno::EPERM),
            Some(Kind::File(_)) if self.writers.contains_key(to) => return Err(Errno::EPERM),
            Some(Kind::File(_)) if is_directory => return Err(Errno::ENOTDIR),
            Some(Kind::File(_)) if !self.allow.overwrite => return Err(Errno::EEXIST),
            Some(Kind::Directory | Kind::File(_)) | None => {}
        }
        match source {
            Kind::Directory => self.rename_directory(&old, &new),
            Kind::Local(_) => self.rename_writer(from, to, target.is_none()),
            Kind::File(_) if self.writers.contains_key(from) => Err(Errno::EPERM),
            Kind::File(_) if self.writers.contains_key(to) => Err(Errno::EPERM),
            Kind::File(body) => {
                self.objects.remove(from);
                self.put(to, body);
                Ok(())
            }
        }
    }

    fn rename_writer(&mut self, from: &str, to: &str, is_new: bool) -> Result<(), Errno> {
        let is_unsent = |writer: &Writing| writer.is_new && writer.body.len() <= self.part_size;
        let can_move = self.writers.get(from).is_some_and(is_unsent);
        if !can_move || self.allow.append || self.writers.contains_key(to) {
            return Err(Errno::EPERM);
        }
        if let Some(mut writer) = self.writers.remove(from) {
            writer.is_new = is_new;
            self.writers.insert(to.to_owned(), writer);
        }
        Ok(())
    }

    /// `old` and `new` end in `/`.
    fn rename_directory(&mut self, old: &str, new: &str) -> Result<(), Errno> {
        if old.starts_with(new) {
            return Err(Errno::ENOTEMPTY);
        }
        let is_inside = |path: &&String| path.starts_with(old) || path.starts_with(new);
        if self.writers.keys().any(|path| is_inside(&path)) {
            return Err(Errno::EPERM);
        }
        let is_marker =
            |(key, (body, _)): (&String, &(Vec<u8>, u64))| key == new && body.is_empty();
        let mut there = self.objects.iter().filter(|(key, _)| key.starts_with(new));
        let to = new.trim_end_matches('/');
        if self.has_local_inside(to) || there.any(|object| !is_marker(object)) {
            return Err(Errno::ENOTEMPTY);
        }
        let keys: Vec<_> = self.objects.keys().cloned().collect();
        for key in keys {
            if let Some(rest) = key.strip_prefix(old)
                && let Some((body, _version)) = self.objects.remove(&key)
            {
                self.put(&format!("{new}{rest}"), body);
            }
        }
        self.directories.remove(to);
        let locals = std::mem::take(&mut self.directories).into_iter();
        let moved = locals.map(|path| match format!("{path}/").strip_prefix(old) {
            Some(rest) => format!("{new}{rest}").trim_end_matches('/').to_owned(),
            None => path,
        });
        self.directories = moved.collect();
        Ok(())
    }

    fn rmdir(&mut self, path: &str) -> Result<(), Errno> {
        match self.kind(path) {
            None => Err(Errno::ENOENT),
            Some(Kind::Local(_) | Kind::File(_)) => Err(Errno::ENOTDIR),
            Some(Kind::Directory) if !self.directories.contains(path) => Err(Errno::EPERM),
            Some(Kind::Directory) if self.has_local_inside(path) => Err(Errno::ENOTEMPTY),
            Some(Kind::Directory) => {
                self.directories.remove(path);
                Ok(())
            }
        }
    }

    fn mkdir(&mut self, path: &str) -> Result<(), Errno> {
        if self.kind(path).is_some() {
            return Err(Errno::EEXIST);
        }
        self.directories.insert(path.to_owned());
        Ok(())
    }
}

/// The directory and the name of a path.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// What uses the file system as the kernel does.
struct Kernel {
    fs: Fs,
    store: FakeStore,
    held: Vec<InodeNo>,
}

impl Kernel {
    fn lookup(&mut self, parent: InodeNo, name: &str) -> Result<Entry, Errno> {
        let entry = block_on(self.fs.lookup(parent, OsStr::new(name)));
        let entry = entry.map_err(|error| error.errno())?;
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
            if result != Err(Errno::ESTALE) || tries > 2 {
                return result.map(|opened| opened.file);
            }
        }
    }

    fn close(&mut self, file: HandleNo) -> Result<(), Errno> {
        let flushed = block_on(self.fs.flush(file, ME)).map_err(|error| error.errno());
        let released = block_on(self.fs.release(file)).map_err(|error| error.errno());
        flushed.and(released)
    }

    fn forget(&mut self) {
        for ino in self.held.drain(..) {
            self.fs.forget(ino, 1);
        }
    }
}

/// Does a step to both, and compares what both say of it.
fn step(kernel: &mut Kernel, model: &mut Model, step: &Step) {
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
            let said = if model.allow.copy {
                model.rename_by_copy(from, to)
            } else {
                model.rename(from, to)
            };
            (done, said)
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

fn nth<'a>(paths: impl ExactSizeIterator<Item = &'a String>, at: Index) -> Option<String> {
    let mut paths = paths;
    (paths.len() > 0)
        .then(|| at.index(paths.len()))
        .and_then(|at| paths.nth(at))
        .cloned()
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

fn open(kernel: &mut Kernel, model: &mut Model, path: &str, flags: i32) -> Both {
    let is_append = flags & libc::O_APPEND != 0;
    let is_new = model.kind(path).is_none();
    let opened = kernel.open(path, flags);
    let said = match (model.obstacle(path), model.kind(path)) {
        (Some(obstacle), _) => Err(obstacle),
        (None, Some(Kind::Directory)) => Err(Errno::EISDIR),
        (None, Some(Kind::Local(_))) => Err(Errno::EPERM),
        (None, Some(Kind::File(_))) if is_append && !model.allow.append => Err(Errno::EPERM),
        (None, Some(Kind::File(_))) if !is_append && !model.allow.overwrite => Err(Errno::EPERM),
        // A writer whose file is hidden by a directory and came to light again is still there.
        (None, _) if model.writers.contains_key(path) => Err(Errno::EPERM),
        (None, Some(Kind::File(_))) if is_append => Ok(model.objects.get(path).cloned()),
        (None, Some(Kind::File(_)) | None) => Ok(None),
    };
    if let (Ok(handle), Ok(base)) = (opened, &said) {
        let writing = Writing {
            handle,
            body: base.as_ref().map(|base| base.0.clone()).unwrap_or_default(),
            base: base.as_ref().map(|(body, version)| (*version, body.len())),
            hidden: false,
            is_new,
        };
        model.writers.insert(path.to_owned(), writing);
    }
    (opened.map(drop), said.map(drop))
}

fn close(kernel: &mut Kernel, model: &mut Model, path: &str, writer: Writing) -> Both {
    let closed = kernel.close(writer.handle);
    let Writing { body, base, .. } = writer;
    let said = match base {
        Some((_version, length)) if body.len() == length => Ok(()),
        Some((version, _length)) => match model.objects.get(path) {
            Some((_body, now)) if *now == version => {
                model.put(path, body);
                Ok(())
            }
            _ => Err(Errno::ESTALE),
        },
        None => {
            model.put(path, body);
            Ok(())
        }
    };
    (closed, said)
}

/// All of the tree is as the model says, by lookups and by listings, and every body.
fn compare(kernel: &mut Kernel, model: &Model, path: &str, plus: bool) {
    let ino = kernel.walk(path).expect("a directory");
    let dir = block_on(kernel.fs.opendir(ino)).expect("it opens");
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

fn name() -> impl Strategy<Value = String> {
    let long = "n".repeat(255);
    prop_oneof![
        12 => select(vec!["a", "b", "a-", "a.b", "é", " ", "\u{1}"]).prop_map(str::to_owned),
        1 => Just(long),
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(name(), 1..4).prop_map(|names| names.join("/"))
}

/// A key of somebody else's, who cares for no rules.
fn key() -> impl Strategy<Value = String> {
    let end = select(vec!["", "", "", "", "/", "//x", "/./y", "/..", "/a"]);
    (path(), end).prop_map(|(path, end)| format!("{path}{end}"))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..30)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => path().prop_map(Step::Create),
        2 => path().prop_map(Step::Append),
        4 => (any::<Index>(), body()).prop_map(|(at, body)| Step::Write(at, body)),
        3 => any::<Index>().prop_map(Step::Close),
        2 => path().prop_map(Step::Mkdir),
        2 => path().prop_map(Step::Rmdir),
        3 => path().prop_map(Step::Unlink),
        4 => (path(), path()).prop_map(|(from, to)| Step::Rename(from, to)),
        3 => (key(), body()).prop_map(|(key, body)| Step::Put(key, body)),
        2 => any::<Index>().prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 1..25)
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
        let fs = Fs::new(Arc::new(store.clone()), tree, ReadConfig::default(), write, config);
        let mut kernel = Kernel { fs, store, held: Vec::new() };
        let allow = Allow { delete, overwrite, append, copy };
        let part_size = usize::try_from(part_size).expect("small");
        let mut model = Model { allow, part_size, ..Model::default() };
        for one in &steps {
            step(&mut kernel, &mut model, one);
            model.settle();
            compare(&mut kernel, &model, "", plus);
            kernel.forget();
        }
    }
}
