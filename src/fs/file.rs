//! Operations on open files that write, and what becomes of the bytes.
//!
//! A file is complete when it is closed, so that `close` can say what became of it; but not when
//! nothing was written yet, or by another process than the one that opened it: programs duplicate
//! descriptors and fork before they begin to write. Then the file waits for its release, or for
//! whoever opens it next; for its release alone where the kernel gathers bytes, and may have some.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use log::{debug, error};

use super::attr::Entry;
use super::errno::Error;
use super::handles::HandleNo;
use super::opens::{Entrance, Writer};
use super::pins::Pinned;
use super::process::Pid;
use super::{Attr, Fs, OpenFile, OpenKind, Opened, PINNED_VALID_FOR, content_type, posix};
use crate::s3::{Key, ObjectInfo, PutRequest};
use crate::tree::{self, InodeNo, LocalFile};
use crate::write::{self, Progress, Target, WriteHandle};

impl Fs {
    /// Writes at `offset`, which has to be the end of the file, if that is possible without
    /// waiting: `None` when it is not, and nothing has happened.
    ///
    /// # Errors
    /// Those of [`Self::write`].
    pub fn write_now(&self, file: HandleNo, offset: u64, data: &[u8]) -> Option<Result<(), Error>> {
        let file = match self.files.get(file) {
            Ok(file) => file,
            Err(error) => return Some(Err(error)),
        };
        let result = match &*file {
            OpenFile::Staged(handle) => handle.staged.write_now(offset, data)?,
            open => match self.writer(open) {
                Ok(writer) => {
                    let result = writer.handle.write_now(offset, data)?;
                    written(writer, offset, data.len(), result)
                }
                Err(error) => Err(error),
            },
        };
        Some(counted(&file, data.len(), result))
    }

    /// Writes at `offset`, which has to be the end of the file.
    ///
    /// # Errors
    /// [`Error::UnknownHandle`], [`Error::NotOpenForWriting`], [`Error::Replaced`],
    /// [`Error::Write`]. When bytes could not be written the file has failed: nothing of it will be
    /// stored, and every later write fails in the same way.
    ///
    /// # Cancel safety
    /// A dropped write makes the file fail.
    pub async fn write(&self, file: HandleNo, offset: u64, data: Bytes) -> Result<(), Error> {
        let file = self.files.get(file)?;
        let length = data.len();
        let result = if let OpenFile::Staged(handle) = &*file {
            handle.staged.write(offset, &data).await
        } else {
            let writer = self.writer(&file)?;
            let result = writer.handle.write(offset, data).await;
            written(writer, offset, length, result)
        };
        counted(&file, length, result)
    }

    /// Does what closing a descriptor asks for, on behalf of the thread `by`: stores what was
    /// written, as the head of this module tells.
    ///
    /// # Errors
    /// [`Error::UnknownHandle`]; [`Error::Complete`] when the file could not be stored.
    ///
    /// # Cancel safety
    /// A dropped call makes the file fail; it may have been stored.
    pub async fn flush(&self, file: HandleNo, by: Pid) -> Result<(), Error> {
        let file = self.files.get(file)?;
        let writer = match &*file {
            OpenFile::Reader { reading, .. } => {
                reading.close();
                return Ok(());
            }
            OpenFile::Staged(handle) => return self.flush_staged(handle, by).await,
            OpenFile::Writer { writer, .. } => writer,
        };
        self.opens.close(writer);
        match writer.handle.progress().await {
            Progress::Untouched => Ok(()),
            Progress::Written if !by.is_same_process(writer.opened_by) => {
                let key = writer.key();
                debug!("{key} is not complete: another process closes it");
                Ok(())
            }
            Progress::Written | Progress::Stored | Progress::Failed(_) => self.finish(writer).await,
        }
    }

    /// Does what `fsync` and `fdatasync` ask for: stores the file, which cannot be written on then,
    /// unless files are written by appending.
    ///
    /// # Errors
    /// Those of [`Self::flush`], and [`Error::Replaced`].
    ///
    /// # Cancel safety
    /// As [`Self::flush`].
    pub async fn fsync(&self, file: HandleNo) -> Result<(), Error> {
        let file = self.files.get(file)?;
        let writer = match &*file {
            OpenFile::Reader { .. } => return Ok(()),
            OpenFile::Staged(handle) => return self.fsync_staged(handle).await,
            OpenFile::Writer { writer, .. } => writer,
        };
        self.opens.resume(writer)?;
        if self.config.incremental_upload {
            return writer.handle.sync().await.map_err(Error::Complete);
        }
        self.finish(writer).await
    }

    /// Closes a file for good. What was written and not stored yet is stored now.
    ///
    /// # Errors
    /// [`Error::UnknownHandle`]; [`Error::Complete`], which nobody else hears of.
    ///
    /// # Cancel safety
    /// As [`Self::flush`]; the handle is closed in any case.
    pub async fn release(&self, file: HandleNo) -> Result<(), Error> {
        let file = self.files.remove(file)?;
        let (ino, result) = match &*file {
            OpenFile::Reader { ino, .. } => {
                if let Some(backings) = &self.backings {
                    backings.leave(*ino);
                }
                (*ino, Ok(()))
            }
            OpenFile::Staged(handle) => (handle.ino(), Ok(())),
            OpenFile::Writer { writer, .. } => {
                self.opens.release(writer);
                (writer.ino, self.finish(writer).await)
            }
        };
        self.pins.remove(ino);
        self.leave_staged(ino).await?;
        result
    }

    /// Stores what was written by handles that were closed, and whose release the kernel does not
    /// tell of any more. Only for when no file is open any more: what one process has closed,
    /// another one may not have written to its end.
    ///
    /// # Cancel safety
    /// As [`Self::flush`].
    pub async fn finish_closed(&self) {
        for writer in self.opens.closed_writers() {
            self.finish_or_log(&writer).await;
        }
        self.store_staged().await;
    }

    /// Stores what can be stored while the kernel still tells of closes and releases: what is
    /// staged, and what was closed for good, after the closes that are under way. What one process has
    /// closed and another one has open is left alone, as it may not be written to its end.
    ///
    /// # Cancel safety
    /// As [`Self::flush`].
    pub async fn finish_released(&self) {
        for writer in self.opens.resting_writers() {
            // A close that is under way ends before this.
            let _progress = writer.handle.progress().await;
            self.finish_unless_open(&writer).await;
        }
        self.store_staged().await;
    }

    /// Stores what was closed for good and is not staged, and waits for nothing that is open.
    ///
    /// # Cancel safety
    /// As [`Self::flush`].
    pub async fn finish_released_writers(&self) {
        for writer in self.opens.resting_writers() {
            self.finish_unless_open(&writer).await;
        }
    }

    async fn finish_unless_open(&self, writer: &Arc<Writer>) {
        if !self.is_open(writer) {
            self.finish_or_log(writer).await;
        }
    }

    async fn finish_or_log(&self, writer: &Writer) {
        if let Err(error) = self.finish(writer).await {
            error!("{} could not be stored: {error}", writer.key());
        }
    }

    /// Whether there is a file that was closed and not stored: its release is to come, unless another
    /// process has it open.
    pub fn awaits_release(&self) -> bool {
        !self.opens.resting_writers().is_empty()
    }

    /// Whether the kernel has a handle of the writer.
    fn is_open(&self, writer: &Arc<Writer>) -> bool {
        let mut is_open = false;
        self.files.for_each(|file| {
            is_open |= matches!(file, OpenFile::Writer { writer: open, .. } if Arc::ptr_eq(open, writer));
        });
        is_open
    }

    /// Finishes the writer of `key` if it has closed the file. Returns whether there was one, as
    /// the name leads elsewhere then.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] while the file is written; [`Error::Complete`].
    pub(super) async fn finish_writer_of(&self, key: &Key) -> Result<bool, Error> {
        match self.opens.closed_writer(key)? {
            Some(writer) => self.finish_other(&writer).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Bytes of a file that is being written, which the kernel needs again to write the rest of a page.
    pub(super) async fn read_page(
        &self,
        writer: &Writer,
        offset: u64,
        size: u32,
    ) -> Result<Bytes, Error> {
        let page = writer.handle.read_page(offset, size as usize).await;
        page.ok_or(Error::NotOpenForReading)
    }

    /// Opens the file `ino`, whose key is `key`, for writing on behalf of the thread `by`. Makes no
    /// request, unless a writer that has closed the file has to be finished first.
    pub(super) async fn open_writer(
        &self,
        ino: InodeNo,
        key: Key,
        kind: WriterKind,
        by: Pid,
    ) -> Result<Opened, Error> {
        let is_new = matches!(kind, WriterKind::New { .. });
        let in_pages = matches!(kind, WriterKind::New { in_pages: true });
        let opening = match self.opens.write(&key, is_new)? {
            Entrance::Free(opening) => opening,
            Entrance::Closed(writer) => {
                self.finish_other(&writer).await?;
                return Err(tree::Error::Stale.into());
            }
        };
        self.check_not_backed(ino)?;
        let place = self.write.places.take().ok_or(Error::TooManyWriters)?;
        let (target, size, replaced) = match kind {
            WriterKind::New { .. } if self.config.incremental_upload => {
                (Target::AppendToNew, 0, None)
            }
            WriterKind::New { .. } => (Target::Whole, 0, None),
            WriterKind::Replace(info) if self.config.incremental_upload => {
                (Target::AppendToNew, 0, Some(info))
            }
            WriterKind::Replace(info) => (Target::Whole, 0, Some(info)),
            WriterKind::Append(info) => {
                let (etag, size) = (info.etag.clone(), info.size);
                (Target::AppendTo { etag, size }, size, Some(info))
            }
        };
        let mut request = PutRequest::new(key.clone());
        request.content_type = self.content_type(&key);
        self.note_changed(&key);
        let file = self.tree.start_writing(ino, &key, size)?;
        let store = Arc::clone(&self.store);
        let is_appended = matches!(target, Target::AppendTo { .. });
        let mut handle = WriteHandle::new(store, request, target, self.write.clone(), place);
        if self.config.posix_metadata {
            handle = posix::describing(handle, Arc::clone(&file), replaced, is_appended);
        }
        if in_pages {
            handle = handle.in_pages();
        }
        let file_use = self.metrics.files.open(key.as_str());
        let writer = Writer::new(ino, key, Arc::clone(&file), handle, is_new, by);
        opening.take(&writer);
        self.pins.add(ino, Pinned::Local(file));
        Ok(Opened {
            file: self.files.insert(OpenFile::Writer { writer, file_use }),
            kind: match in_pages {
                true => OpenKind::WritesInPages,
                false => OpenKind::Writes,
            },
            backing: None,
        })
    }

    /// Stores what was written, once, and lets the name lead to it.
    pub(super) async fn finish(&self, writer: &Writer) -> Result<(), Error> {
        let result = writer.handle.complete().await;
        self.tree.end_writing(writer.ino, result.is_ok());
        self.opens.end(writer);
        result.map_err(Error::Complete)
    }

    /// Finishes a writer that has closed the file which somebody else is to have.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] when it may still go on; [`Error::Complete`].
    pub(super) async fn finish_other(&self, writer: &Writer) -> Result<(), Error> {
        self.opens.let_go(writer).await?;
        self.finish(writer).await
    }

    /// The content type of a new object.
    pub(super) fn content_type(&self, key: &Key) -> Option<String> {
        if self.config.infer_content_type {
            content_type::of(key)
        } else {
            None
        }
    }

    fn writer<'a>(&self, file: &'a OpenFile) -> Result<&'a Arc<Writer>, Error> {
        match file {
            OpenFile::Reader { .. } | OpenFile::Staged(_) => Err(Error::NotOpenForWriting),
            OpenFile::Writer { writer, .. } => {
                self.opens.resume(writer)?;
                Ok(writer)
            }
        }
    }

    /// What `stat` says of a file that is local. A name that leads to it may lead to another inode at any
    /// time, when the file is complete.
    pub(super) fn local_entry(&self, ino: InodeNo, file: &LocalFile) -> Entry {
        Entry {
            attr: Attr::of_local(ino, &file.attr(), &self.config),
            // A kernel that gathers bytes knows better how many there are, and would ask before each write.
            valid_for: match self.config.writeback_cache {
                true => PINNED_VALID_FOR,
                false => Duration::ZERO,
            },
        }
    }
}

/// What a file is that is opened for writing.
#[derive(Debug)]
pub(super) enum WriterKind {
    /// It was made here, and nobody has opened it yet.
    New {
        /// Whether the kernel may gather what is written in its page cache.
        in_pages: bool,
    },
    /// An object that is to be replaced.
    Replace(ObjectInfo),
    /// An object that is to be appended to.
    Append(ObjectInfo),
}

/// Counts what was written, if it was.
fn counted(file: &OpenFile, length: usize, result: Result<(), Error>) -> Result<(), Error> {
    result.inspect(|()| file.file_use().written.add(length as u64))
}

fn written(
    writer: &Writer,
    offset: u64,
    length: usize,
    result: Result<(), write::Error>,
) -> Result<(), Error> {
    result.map_err(Error::Write)?;
    writer.file.grow_to(offset + length as u64);
    Ok(())
}
