//! Where batches of rows are kept: at the end of a file, which makes room for the next one when it is
//! full. Several processes may write.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cache::directory::Directory;
use crate::cache::place;

/// The files, and what is to be written to them.
#[derive(Debug)]
pub(super) struct Journal {
    directory: Arc<Directory>,
    /// Bytes that a file has at most.
    most: u64,
    waiting: Mutex<VecDeque<Vec<u8>>>,
    /// Held by the one who writes.
    file: Mutex<()>,
}

/// One of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum File {
    /// The one that was full.
    Before,
    /// The one that is written to.
    Now,
}

impl File {
    /// In the order in which they were begun.
    pub(super) const ALL: [Self; 2] = [Self::Before, Self::Now];
}

impl Journal {
    /// The files in `directory`.
    pub(super) fn new(directory: Arc<Directory>, most: u64) -> Self {
        Self {
            directory,
            most,
            waiting: Mutex::default(),
            file: Mutex::default(),
        }
    }

    /// Takes a batch, to be written by [`Self::write`]; when the disk is so slow that many wait, the
    /// oldest one is given up.
    pub(super) fn push(&self, batch: Vec<u8>) {
        let mut waiting = lock(&self.waiting);
        waiting.push_back(batch);
        if waiting.len() > MOST_WAITING {
            waiting.pop_front();
        }
    }

    /// Writes the batches that were taken. What the disk does not take is given up.
    pub(super) fn write(&self) {
        let _writing = lock(&self.file);
        loop {
            let batch = lock(&self.waiting).pop_front();
            let Some(batch) = batch else { return };
            if let Err(error) = self.append(&batch) {
                log::debug!("what is known of names is not kept: {error}");
                lock(&self.waiting).clear();
            }
        }
    }

    /// What a file has; nothing, if there is none.
    ///
    /// # Errors
    /// The disk does not give it.
    pub(super) fn read(&self, file: File) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match place::open_to_read(&self.path(file)) {
            Ok(file) => {
                // Nobody writes more.
                file.take(2 * self.most).read_to_end(&mut bytes)?;
                Ok(bytes)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(bytes),
            Err(error) => Err(error),
        }
    }

    /// Lets what follows be in a file of its own.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn begin_file(&self) -> io::Result<()> {
        fs::rename(self.path(File::Now), self.path(File::Before))
    }

    /// Bytes in the files.
    pub(super) fn len(&self) -> u64 {
        let size = |file| fs::symlink_metadata(self.path(file)).map_or(0, |found| found.len());
        File::ALL.map(size).into_iter().sum()
    }

    /// Removes the files.
    ///
    /// # Errors
    /// They are still there.
    pub(super) fn remove(&self) -> io::Result<()> {
        for file in File::ALL {
            place::remove_file(&self.path(file))?;
        }
        Ok(())
    }

    fn append(&self, batch: &[u8]) -> io::Result<()> {
        let path = self.path(File::Now);
        let mut file = match place::append_or_create(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.directory.make_names()?;
                place::append_or_create(&path)?
            }
            file => file?,
        };
        if file.metadata()?.len() >= self.most {
            self.begin_file()?;
            file = place::append_or_create(&path)?;
        }
        // At once, as others append as well. A batch that is there in part spoils what comes after it.
        file.write_all(batch)
            .inspect_err(|_error| _ = place::remove_file(&path))
    }

    fn path(&self, file: File) -> PathBuf {
        self.directory.names().join(match file {
            File::Before => "known-before",
            File::Now => "known",
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Batches that wait for the disk: 4 MiB.
const MOST_WAITING: usize = 64;
