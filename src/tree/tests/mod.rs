//! Tests of the namespace over an in-memory store. `sNN` names a statement of the semantics.

mod answers;
mod indexed;
mod memory;
mod names;
mod pages;
mod properties;
mod reading;
mod threads;
mod walking;

use std::ffi::OsStr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::executor::block_on;

use super::*;
use crate::s3::fake::{FakeStore, Op};

/// A tree over a fake store, with a clock that stands still until it is moved.
struct Fixture {
    store: FakeStore,
    tree: Tree,
    now: Arc<Mutex<Instant>>,
}

const MINIMAL: (Ttl, Ttl) = (Ttl::Minimal, Ttl::Minimal);
const MINUTE: (Ttl, Ttl) = (
    Ttl::For(Duration::from_secs(60)),
    Ttl::For(Duration::from_secs(60)),
);

impl Fixture {
    fn new(keys: &[&str]) -> Self {
        Self::with(keys, "", MINIMAL)
    }

    fn with(keys: &[&str], prefix: &str, ttls: (Ttl, Ttl)) -> Self {
        Self::looking_up(keys, prefix, ttls, false)
    }

    /// One whose lookups may fetch pages.
    fn paged(keys: &[&str], ttls: (Ttl, Ttl)) -> Self {
        Self::looking_up(keys, "", ttls, true)
    }

    /// One with a memory, below `d/`.
    fn remembering(keys: &[&str], ttls: (Ttl, Ttl), memory: Arc<dyn Memory>) -> Self {
        Self::build(keys, "d/", ttls, false, Some(memory))
    }

    fn looking_up(keys: &[&str], prefix: &str, ttls: (Ttl, Ttl), pages: bool) -> Self {
        Self::build(keys, prefix, ttls, pages, None)
    }

    fn build(
        keys: &[&str],
        prefix: &str,
        ttls: (Ttl, Ttl),
        pages: bool,
        memory: Option<Arc<dyn Memory>>,
    ) -> Self {
        let (ttl, negative_ttl) = ttls;
        let store = FakeStore::deterministic();
        for key in keys {
            store.put(key, key.as_bytes().to_vec());
        }
        let now = Arc::new(Mutex::new(Instant::now()));
        let clock = Arc::clone(&now);
        let config = TreeConfig {
            prefix: Prefix::new(prefix).unwrap(),
            ttl,
            negative_ttl,
            details: false,
            pages,
            ordered: true,
        };
        let clock = Clock::new(move || *clock.lock().unwrap());
        let tree = Tree::build(Arc::new(store.clone()), config, clock, memory);
        Self { store, tree, now }
    }

    fn advance(&self, by: Duration) {
        *self.now.lock().unwrap() += by;
    }

    fn lookup(&self, parent: InodeNo, name: &str) -> Result<Node, Error> {
        block_on(self.tree.lookup(parent, OsStr::new(name)))
    }

    /// Looks up each component.
    fn walk(&self, path: &str) -> Result<Node, Error> {
        let mut at = ROOT;
        let mut node = None;
        for name in path.split('/') {
            let found = self.lookup(at, name)?;
            at = found.ino;
            node = Some(found);
        }
        Ok(node.unwrap())
    }

    fn getattr(&self, ino: InodeNo) -> Result<Node, Error> {
        block_on(self.tree.getattr(ino))
    }

    fn open(&self, ino: InodeNo, freshness: Freshness) -> Result<FileVersion, Error> {
        let Belief { mut version, doubt } = self.tree.believe(ino, freshness)?;
        if let Some(doubt) = doubt {
            version.info = block_on(self.tree.ask(&version.key, doubt))?;
        }
        Ok(version)
    }

    fn open_dir(&self, ino: InodeNo) -> DirHandle {
        block_on(self.tree.open_dir(ino)).unwrap()
    }

    /// Reads a directory to its end, without references; `.` and `..` left out.
    fn entries(&self, ino: InodeNo) -> Vec<DirEntry> {
        read_all(&self.open_dir(ino), false, usize::MAX).unwrap()
    }

    /// The names of a directory, directories with a `/`, local files with a `*`.
    fn names(&self, ino: InodeNo) -> Vec<String> {
        let entries = self.entries(ino);
        entries.iter().map(display).collect()
    }

    /// HEADs and LISTs since the last call.
    fn requests(&self) -> (usize, usize) {
        let counts = (self.store.count(Op::Head), self.store.count(Op::List));
        self.store.clear_log();
        counts
    }

    fn core(&self) -> &Arc<Core> {
        self.tree.core().expect("a bucket")
    }

    fn prefix(&self) -> Prefix {
        self.core().config.prefix.clone()
    }

    fn known_inodes(&self) -> usize {
        self.core().table().len()
    }
}

/// One read: the entries that a buffer of `room` entries takes.
fn read(
    directory: &DirHandle,
    offset: u64,
    plus: bool,
    room: usize,
) -> Result<Vec<DirEntry>, Error> {
    let mut taken = Vec::new();
    block_on(directory.read(offset, plus, &mut |entry| {
        if taken.len() == room {
            return Emit::Full;
        }
        taken.push(entry);
        Emit::Taken
    }))?;
    Ok(taken)
}

/// Reads from the start to the end with buffers of `room` entries; `.` and `..` left out.
fn read_all(directory: &DirHandle, plus: bool, room: usize) -> Result<Vec<DirEntry>, Error> {
    let mut all = Vec::new();
    let mut offset = 0;
    loop {
        let entries = read(directory, offset, plus, room)?;
        let Some(last) = entries.last() else { break };
        offset = last.offset;
        all.extend(entries);
    }
    let dots: Vec<DirEntry> = all.drain(..2).collect();
    assert_eq!((&*dots[0].name, &*dots[1].name), (".", ".."));
    Ok(all)
}

fn display(entry: &DirEntry) -> String {
    match entry.node.kind {
        NodeKind::Directory { .. } => format!("{}/", entry.name),
        NodeKind::File(_) => entry.name.to_string(),
        NodeKind::Local(_) => format!("{}*", entry.name),
    }
}

fn info(node: &Node) -> &ObjectInfo {
    match &node.kind {
        NodeKind::File(info) => info,
        NodeKind::Directory { .. } | NodeKind::Local(_) => panic!("{node:?} is no object"),
    }
}

fn is_directory(node: &Node) -> bool {
    matches!(node.kind, NodeKind::Directory { .. })
}
