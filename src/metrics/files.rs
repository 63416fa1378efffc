//! What is read of, and written to, each file.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::counter::Counter;

/// Counts the bytes of files, by key: of those that are open, and of those among the others of
/// which most was read or written. Every method may be called from any thread.
#[derive(Debug, Default)]
pub struct Files(Mutex<HashMap<Arc<str>, Arc<FileUse>>>);

/// Counts the bytes of one file.
#[derive(Debug, Default)]
pub struct FileUse {
    /// Bytes that programs have read.
    pub read: Counter,
    /// Bytes that programs have written.
    pub written: Counter,
}

/// What was counted of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFigures {
    /// The key.
    pub key: Arc<str>,
    /// Bytes that programs have read.
    pub read: u64,
    /// Bytes that programs have written.
    pub written: u64,
    /// Handles of it that are open.
    pub open: usize,
}

impl Files {
    /// What counts the bytes of the file `key`. To be held as long as the file is open.
    pub fn open(&self, key: &str) -> Arc<FileUse> {
        let mut files = self.lock();
        if let Some(file) = files.get(key) {
            return Arc::clone(file);
        }
        if files.len() >= MOST_FILES {
            make_room(&mut files);
        }
        let file = Arc::<FileUse>::default();
        if files.len() < MOST_FILES {
            files.insert(key.into(), Arc::clone(&file));
        }
        file
    }

    /// The files of which most was read and written, at most `most` of them, the first first.
    pub fn top(&self, most: usize) -> Vec<FileFigures> {
        let figures = |(key, file): (&Arc<str>, &Arc<FileUse>)| FileFigures {
            key: Arc::clone(key),
            read: file.read.get(),
            written: file.written.get(),
            open: Arc::strong_count(file) - 1,
        };
        let mut all: Vec<_> = self.lock().iter().map(figures).collect();
        all.retain(|file| file.read + file.written > 0);
        all.sort_by_key(|file| std::cmp::Reverse(file.read + file.written));
        all.truncate(most);
        all
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<FileUse>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileUse {
    fn bytes(&self) -> u64 {
        self.read.get() + self.written.get()
    }
}

/// Forgets closed files, but for those with most bytes. So many at a time that what it costs is
/// little for each of the files that come.
fn make_room(files: &mut HashMap<Arc<str>, Arc<FileUse>>) {
    let is_closed = |file: &Arc<FileUse>| Arc::strong_count(file) == 1;
    let closed = files.values().filter(|file| is_closed(file));
    let mut bytes: Vec<u64> = closed.map(|file| file.bytes()).collect();
    bytes.sort_unstable_by_key(|bytes| std::cmp::Reverse(*bytes));
    let least = bytes.get(MOST_FILES / 4).copied().unwrap_or_default();
    files.retain(|_, file| !is_closed(file) || file.bytes() > least);
}

/// Each takes about 200 bytes of memory.
const MOST_FILES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_has_the_files_of_most_bytes_first() {
        let files = Files::default();
        let small = files.open("small");
        small.read.add(1);
        files.open("large").written.add(100);
        files.open("large").read.add(10);
        files.open("unread");
        let top = files.top(10);
        let keys: Vec<_> = top.iter().map(|file| &*file.key).collect();
        assert_eq!(keys, ["large", "small"]);
        assert_eq!((top[0].read, top[0].written, top[0].open), (10, 100, 0));
        assert_eq!(top[1].open, 1);
        assert_eq!(files.top(1).len(), 1);
    }

    #[test]
    fn closed_files_with_few_bytes_are_forgotten() {
        let files = Files::default();
        let held = files.open("held");
        files.open("large").read.add(1 << 30);
        for number in 0..10 * MOST_FILES {
            files.open(&number.to_string()).read.add(number as u64 % 7);
            assert!(files.lock().len() <= MOST_FILES);
        }
        held.read.add(1 << 31);
        let keys: Vec<_> = files.top(2).into_iter().map(|file| file.key).collect();
        assert_eq!(keys, ["held".into(), "large".into()]);
    }

    #[test]
    fn open_files_beyond_what_is_kept_count_for_nobody() {
        let files = Files::default();
        let held: Vec<_> = (0..=MOST_FILES)
            .map(|number| files.open(&number.to_string()))
            .collect();
        assert_eq!(files.lock().len(), MOST_FILES);
        held.last().expect("some").read.add(1);
        assert!(files.top(1).is_empty());
    }
}
