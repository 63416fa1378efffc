//! The model: what a file system over S3 shows, without inodes, requests or time. Shared with the
//! tests of real mounts.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::Errno;

/// Body and version of each object, by its key.
pub(crate) type Objects = BTreeMap<String, (Vec<u8>, u64)>;

/// What the model says. `H` is a handle of an open file.
pub(crate) struct Model<H> {
    pub(crate) objects: Objects,
    versions: u64,
    /// Directories that were made here and are not in S3.
    directories: BTreeSet<String>,
    /// Files that are written.
    pub(crate) writers: BTreeMap<String, Writing<H>>,
    pub(crate) allow: Allow,
    /// Bytes of a file of which nothing is sent before its end, at most.
    part_size: usize,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Allow {
    pub(crate) delete: bool,
    pub(crate) overwrite: bool,
    pub(crate) append: bool,
    /// Renaming copies: directories can be renamed, and files that are written.
    pub(crate) copy: bool,
}

/// A file that is written, or was when its handle was opened.
pub(crate) struct Writing<H> {
    pub(crate) handle: H,
    pub(crate) body: Vec<u8>,
    /// Version and length of what it is appended to.
    base: Option<(u64, usize)>,
    /// Whether a directory of its name has appeared in S3 since: then it is not seen any more.
    hidden: bool,
    /// Whether nothing had its name when it got it.
    is_new: bool,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    Local(usize),
    File(Vec<u8>),
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Create(String),
    Append(String),
    Write(Index, Vec<u8>),
    Close(Index),
    Mkdir(String),
    Rmdir(String),
    Unlink(String),
    Rename(String, String),
    /// The daemon dies.
    Crash,
    /// The daemon dies while it closes a file, in one of the steps that this takes.
    CrashInClose(Index, Index),
    /// The daemon dies while it renames, in one of the steps that this takes.
    CrashInRename(Index, String, Index),
    /// By somebody else.
    Put(String, Vec<u8>),
    Remove(Index),
}

impl<H> Model<H> {
    pub(crate) fn new(allow: Allow, part_size: usize) -> Self {
        Self {
            objects: BTreeMap::new(),
            versions: 0,
            directories: BTreeSet::new(),
            writers: BTreeMap::new(),
            allow,
            part_size,
        }
    }

    pub(crate) fn put(&mut self, key: &str, body: Vec<u8>) {
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
    pub(crate) fn kind(&self, path: &str) -> Option<Kind> {
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
    pub(crate) fn names(&self, path: &str) -> BTreeSet<String> {
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

    /// Every path that is seen.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        let mut directories = vec![String::new()];
        while let Some(directory) = directories.pop() {
            for name in self.names(&directory) {
                let path = if directory.is_empty() {
                    name
                } else {
                    format!("{directory}/{name}")
                };
                if self.kind(&path) == Some(Kind::Directory) {
                    directories.push(path.clone());
                }
                paths.push(path);
            }
        }
        paths
    }

    /// Why a path cannot be reached, if it cannot.
    pub(crate) fn obstacle(&self, path: &str) -> Option<Errno> {
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
    pub(crate) fn settle(&mut self) {
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

    pub(crate) fn unlink(&mut self, path: &str) -> Result<(), Errno> {
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

    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Result<(), Errno> {
        if self.allow.copy {
            self.rename_by_copy(from, to)
        } else {
            self.rename_object(from, to)
        }
    }

    fn rename_object(&mut self, from: &str, to: &str) -> Result<(), Errno> {
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
        let is_unsent = |writer: &Writing<H>| writer.is_new && writer.body.len() <= self.part_size;
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

    pub(crate) fn rmdir(&mut self, path: &str) -> Result<(), Errno> {
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

    pub(crate) fn mkdir(&mut self, path: &str) -> Result<(), Errno> {
        if self.kind(path).is_some() {
            return Err(Errno::EEXIST);
        }
        self.directories.insert(path.to_owned());
        Ok(())
    }

    /// Opens for writing, with `handle` if the file system did, too; says what it has to answer.
    pub(crate) fn open(
        &mut self,
        path: &str,
        is_append: bool,
        handle: Option<H>,
    ) -> Result<(), Errno> {
        let is_new = self.kind(path).is_none();
        let base = match (self.obstacle(path), self.kind(path)) {
            (Some(obstacle), _) => return Err(obstacle),
            (None, Some(Kind::Directory)) => return Err(Errno::EISDIR),
            (None, Some(Kind::Local(_))) => return Err(Errno::EPERM),
            (None, Some(Kind::File(_))) if is_append && !self.allow.append => {
                return Err(Errno::EPERM);
            }
            (None, Some(Kind::File(_))) if !is_append && !self.allow.overwrite => {
                return Err(Errno::EPERM);
            }
            // A writer whose file is hidden by a directory and came to light again is still there.
            (None, _) if self.writers.contains_key(path) => return Err(Errno::EPERM),
            (None, Some(Kind::File(_))) if is_append => self.objects.get(path).cloned(),
            (None, Some(Kind::File(_)) | None) => None,
        };
        if let Some(handle) = handle {
            let writing = Writing {
                handle,
                body: base.as_ref().map(|base| base.0.clone()).unwrap_or_default(),
                base: base.as_ref().map(|(body, version)| (*version, body.len())),
                hidden: false,
                is_new,
            };
            self.writers.insert(path.to_owned(), writing);
        }
        Ok(())
    }

    /// Stores what a writer has written, which was taken out of the writers.
    pub(crate) fn close(&mut self, path: &str, writer: Writing<H>) -> Result<(), Errno> {
        let Writing { body, base, .. } = writer;
        match base {
            Some((_version, length)) if body.len() == length => Ok(()),
            Some((version, _length)) => match self.objects.get(path) {
                Some((_body, now)) if *now == version => {
                    self.put(path, body);
                    Ok(())
                }
                _ => Err(Errno::ESTALE),
            },
            None => {
                self.put(path, body);
                Ok(())
            }
        }
    }

    /// Forgets what was in the daemon only.
    pub(crate) fn crash(&mut self) {
        self.writers.clear();
        self.directories.clear();
    }

    /// The daemon died while it did what would have made `done` of the objects: each object has to be as
    /// it was or as it would have been, and what was to get another name may have both; `is_moved`
    /// gives the new name of a key. Goes on from what is `there`.
    pub(crate) fn crash_within(
        &mut self,
        done: &Objects,
        is_moved: impl Fn(&str) -> Option<String>,
        there: BTreeMap<String, Vec<u8>>,
    ) {
        let body =
            |objects: &Objects, key: &str| objects.get(key).map(|(body, _version)| body.clone());
        let keys: BTreeSet<&String> = self.objects.keys().chain(there.keys()).collect();
        for key in keys {
            let found = there.get(key).cloned();
            let allowed = [body(&self.objects, key), body(done, key)];
            assert!(
                allowed.contains(&found),
                "{key:?} holds {found:?}, not one of {allowed:?}"
            );
            if found.is_none()
                && let Some(new) = is_moved(key)
            {
                assert_eq!(
                    there.get(&new),
                    body(&self.objects, key).as_ref(),
                    "{key:?} is lost"
                );
            }
        }
        self.crash();
        self.objects.clear();
        for (key, body) in there {
            self.put(&key, body);
        }
    }
}

/// The directory and the name of a path.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// One of `paths`, if there are any.
pub(crate) fn nth<'a>(
    paths: impl ExactSizeIterator<Item = &'a String>,
    at: Index,
) -> Option<String> {
    let mut paths = paths;
    (paths.len() > 0)
        .then(|| at.index(paths.len()))
        .and_then(|at| paths.nth(at))
        .cloned()
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

/// Steps of every kind.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => path().prop_map(Step::Create),
        2 => path().prop_map(Step::Append),
        4 => (any::<Index>(), body()).prop_map(|(at, body)| Step::Write(at, body)),
        3 => any::<Index>().prop_map(Step::Close),
        2 => path().prop_map(Step::Mkdir),
        2 => path().prop_map(Step::Rmdir),
        3 => path().prop_map(Step::Unlink),
        4 => (path(), path()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => Just(Step::Crash),
        1 => (any::<Index>(), any::<Index>())
            .prop_map(|(at, during)| Step::CrashInClose(at, during)),
        2 => (any::<Index>(), path(), any::<Index>())
            .prop_map(|(from, to, during)| Step::CrashInRename(from, to, during)),
        3 => (key(), body()).prop_map(|(key, body)| Step::Put(key, body)),
        2 => any::<Index>().prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 1..25)
}
