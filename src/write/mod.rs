//! The write path: bytes in order, and one object at the end.
//!
//! A [`WriteHandle`] takes the bytes of one open file, each write where the last one ended. What
//! happens to them depends on how many come:
//!
//! * Up to one part is kept in a buffer that grows with the data. When the file ends there, it is
//!   stored by a single PutObject.
//! * More goes up as a multipart upload, whose parts are on the way while more bytes come. The
//!   upload holds two parts at first, and more when the writer would have to wait, as long
//!   as there is memory and its share of the mount's [`SendWindow`] allows. When it holds all it
//!   may, the next write waits: that is how the network's pace reaches `write(2)`.
//! * In a handle that appends, each full buffer is put at the end of the object by a request of
//!   its own, on the condition that nobody else has changed the object since the last one.
//!
//! A handle that takes pages ([`WriteHandle::in_pages`]) puts in order what the kernel hands over
//! from its page cache.
//!
//! User metadata that may change while the file is written ([`WriteHandle::describing`]) goes up
//! with the first request that can carry it. What has changed when the file is complete is made
//! up for by a copy of the object onto itself.
//!
//! Every byte held is paid for from the budget ([`crate::memory`]). Nothing is visible under the
//! object's name before [`WriteHandle::complete`] (or, for one that appends, before its first
//! request), and nothing ever is when something failed before: what was uploaded is aborted.

mod buffer;
mod config;
mod describe;
mod error;
mod funds;
mod inner;
mod pages;
mod streaming;
mod taken;
#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::{fmt, sync};

use bytes::Bytes;
use futures::lock::Mutex;

pub use config::{Place, Places, WriteConfig};
pub use error::Error;
pub use window::SendWindow;

use crate::s3::{ETag, Key, PutCondition, PutRequest, Store, Stored};
use buffer::Buffer;
use describe::Description;
use funds::Funds;
use inner::{Append, Inner, Stage};
use pages::Pages;
use streaming::Streaming;

/// A file that is being written. Every method may be called from any thread. Dropping the handle
/// aborts what was not completed.
pub struct WriteHandle {
    store: Arc<dyn Store>,
    config: WriteConfig,
    /// Changes only as long as nothing was sent, under the lock of `inner`.
    request: sync::Mutex<PutRequest>,
    description: Option<Description>,
    /// Where the first write has to begin.
    start: u64,
    in_pages: bool,
    inner: Mutex<Inner>,
}

/// How the bytes reach the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// They become the object, all at once.
    Whole,
    /// They are put at the end of the object, buffer by buffer, beginning with a new object.
    /// Directory buckets only.
    AppendToNew,
    /// They are put at the end of this version of the object. Directory buckets only.
    AppendTo {
        /// The version.
        etag: ETag,
        /// Its length in bytes.
        size: u64,
    },
}

/// How far a file is.
#[derive(Debug, Clone)]
pub enum Progress {
    /// Nothing was written, and no length was set.
    Untouched,
    /// Something was.
    Written,
    /// It is complete.
    Stored,
    /// It has failed.
    Failed(Error),
}

impl WriteHandle {
    /// A handle that writes `request`'s object. Makes no request. `place` is given back when the
    /// file is complete, has failed, or is dropped.
    pub fn new(
        store: Arc<dyn Store>,
        request: PutRequest,
        target: Target,
        config: WriteConfig,
        place: Place,
    ) -> Self {
        let (append, start) = match target {
            Target::Whole => (None, 0),
            Target::AppendToNew => (Some(Append { base: None }), 0),
            Target::AppendTo { etag, size } => (
                Some(Append {
                    base: Some((etag, size)),
                }),
                size,
            ),
        };
        let funds = Funds::new(&config.budget, place);
        Self {
            store,
            config,
            request: sync::Mutex::new(request),
            description: None,
            start,
            in_pages: false,
            inner: Mutex::new(Inner {
                end: start,
                pages: None,
                stage: Stage::Buffering {
                    buffer: Buffer::default(),
                    append,
                    funds,
                },
            }),
        }
    }

    /// Takes the pages of a new object as the kernel writes them back: nearly in order, and the one in
    /// which the file ends more than once.
    #[must_use]
    pub fn in_pages(mut self) -> Self {
        self.in_pages = true;
        self.inner.get_mut().pages = Some(Pages::new(&self.config.budget));
        self
    }

    /// Lets the object have the user metadata that `metadata` gives, as it is when the file is
    /// complete. It is called from the threads that write and complete, and must not wait.
    #[must_use]
    pub fn describing(
        mut self,
        metadata: impl Fn() -> BTreeMap<String, String> + Send + Sync + 'static,
    ) -> Self {
        self.description = Some(Description::new(Box::new(metadata)));
        self
    }

    /// Takes the bytes that begin at `offset` if that is possible without waiting: `None` when it
    /// is not, and nothing has happened.
    ///
    /// # Errors
    /// Those of [`Self::write`].
    pub fn write_now(&self, offset: u64, data: &[u8]) -> Option<Result<(), Error>> {
        let mut inner = self.inner.try_lock()?;
        if !inner.is_plain(offset, data.len()) {
            return None;
        }
        if let Err(error) = self.admit(&mut inner, offset, data.len()) {
            return Some(Err(error));
        }
        let taken = match &mut inner.stage {
            Stage::Buffering { buffer, funds, .. } if buffer.len() + data.len() <= self.part() => {
                self.fill(buffer, funds, data);
                Ok(())
            }
            Stage::Streaming(streaming) => streaming.take_in_now(data)?,
            _ => return None,
        };
        match &taken {
            Ok(()) => inner.took(data),
            Err(error) => inner.fail(error),
        }
        Some(taken)
    }

    /// Takes the bytes that begin at `offset`, which is where the last write ended. Waits while
    /// the upload holds all that it may.
    ///
    /// # Errors
    /// [`Error::NotAtEnd`], [`Error::TooLarge`], [`Error::Stored`] after [`Self::complete`], and
    /// [`Error::S3`]. After an error (other than [`Error::Stored`]) the file has failed: what was
    /// uploaded is aborted, and all that follows fails in the same way. A handle that takes pages fails
    /// after [`Error::Stored`], too, and keeps its object: the kernel tells one of those who have the file open
    /// that a page was refused, and once, so that each end of the file has to tell it again.
    ///
    /// # Cancel safety
    /// A dropped call makes the file fail with [`Error::GivenUp`], unless it still waited for
    /// another call to end.
    pub async fn write(&self, offset: u64, data: Bytes) -> Result<(), Error> {
        let mut inner = self.inner.lock().await;
        self.take_all(&mut inner, Some((offset, data))).await
    }

    /// Whether the handle takes pages.
    pub fn takes_pages(&self) -> bool {
        self.in_pages
    }

    /// Gives the file a length, up to which bytes have to come before it is complete; others may follow.
    /// `false`, and nothing has happened, if it has more already. Waits for a write that is under way. Only
    /// of a handle that takes pages.
    pub async fn set_length(&self, length: u64) -> bool {
        self.inner.lock().await.set_length(length)
    }

    /// Up to `size` bytes from `offset` on, of pages that were taken and of which the kernel needs the rest
    /// again before more can be written into them; `None` if they are not here any more, as of a file that
    /// has failed. Waits for a write that is under way. Only of a handle that takes pages.
    pub async fn read_page(&self, offset: u64, size: usize) -> Option<Bytes> {
        let inner = self.inner.lock().await;
        if matches!(inner.stage, Stage::Failed(_)) {
            return None;
        }
        inner.pages.as_ref()?.read(inner.end, offset, size)
    }

    /// Makes sure that S3 has every byte so far, and lets writing go on if the handle appends;
    /// completes the file otherwise.
    ///
    /// # Errors
    /// Those of [`Self::complete`].
    ///
    /// # Cancel safety
    /// As [`Self::write`]; the bytes may have been stored.
    pub async fn sync(&self) -> Result<(), Error> {
        let mut inner = self.inner.lock().await;
        self.settle(&mut inner, true).await
    }

    /// Ends the file: its object is visible when this succeeds. Doing it again gives the same
    /// result again, and makes no request.
    ///
    /// # Errors
    /// What the file failed with. Then nothing is visible, unless the store says of the error that
    /// an answer may have been lost, see [`crate::s3::Upload::complete`].
    ///
    /// # Cancel safety
    /// As [`Self::write`]; the object may have been stored.
    pub async fn complete(&self) -> Result<(), Error> {
        let mut inner = self.inner.lock().await;
        self.settle(&mut inner, false).await
    }

    /// Gives the object another key, and another content type, if nothing was sent yet and nothing
    /// can have been, and if `agree` is so; says whether it has. While `agree` runs nobody else can
    /// begin to send, so that it is the place to note the new name. It must not block.
    ///
    /// Waits for a write that is under way.
    ///
    /// # Cancel safety
    /// A dropped call has changed nothing.
    pub async fn redirect(
        &self,
        key: Key,
        content_type: Option<String>,
        agree: impl FnOnce() -> bool,
    ) -> bool {
        let inner = self.inner.lock().await;
        let is_possible = matches!(&inner.stage, Stage::Buffering { append: None, .. });
        if !is_possible || !agree() {
            return false;
        }
        let mut request = self.request.lock().unwrap_or_else(PoisonError::into_inner);
        request.key = key;
        request.content_type = content_type;
        true
    }

    /// How far the file is. Waits for a write that is under way.
    pub async fn progress(&self) -> Progress {
        let inner = self.inner.lock().await;
        match &inner.stage {
            Stage::Failed(error) => Progress::Failed(error.clone()),
            Stage::Stored => Progress::Stored,
            Stage::Buffering { .. } if inner.is_untouched(self.start) => Progress::Untouched,
            Stage::Buffering { .. } | Stage::Streaming(_) => Progress::Written,
        }
    }

    /// Checks a write before any of it is done.
    fn admit(&self, inner: &mut Inner, offset: u64, length: usize) -> Result<(), Error> {
        let (end, largest) = (inner.end, self.config.largest_file());
        let error = match &inner.stage {
            Stage::Failed(error) => return Err(error.clone()),
            // Whoever has written pages does not see this answer.
            Stage::Stored if inner.pages.is_some() => Error::Stored,
            Stage::Stored => return Err(Error::Stored),
            _ if offset != end && inner.pages.is_none() => Error::NotAtEnd { offset, end },
            Stage::Buffering {
                append: Some(_), ..
            } => return Ok(()),
            _ if offset.saturating_add(length as u64) > largest => Error::TooLarge { largest },
            _ => return Ok(()),
        };
        inner.fail(&error);
        Err(error)
    }

    /// Takes `next`, and what came too early and follows.
    async fn take_all(
        &self,
        inner: &mut Inner,
        mut next: Option<(u64, Bytes)>,
    ) -> Result<(), Error> {
        while let Some((offset, data)) = next {
            self.admit(inner, offset, data.len())?;
            let data = inner.sort(offset, data)?;
            if !data.is_empty() {
                let stage = inner.take();
                let taken = self.take_in(stage, data.clone()).await;
                inner.stage = taken.inspect_err(|error| inner.fail(error))?;
                inner.took(&data);
            }
            next = inner.next();
        }
        Ok(())
    }

    async fn take_in(&self, stage: Stage, data: Bytes) -> Result<Stage, Error> {
        match stage {
            Stage::Buffering {
                mut buffer,
                append: None,
                mut funds,
            } => {
                if buffer.len() + data.len() <= self.part() {
                    self.fill(&mut buffer, &mut funds, &data);
                    return Ok(Stage::Buffering {
                        buffer,
                        append: None,
                        funds,
                    });
                }
                let request = self.request();
                let mut streaming =
                    Streaming::start(self.store.as_ref(), request, &self.config, funds)?;
                streaming.take_in(buffer.take(), &self.config).await?;
                streaming.take_in(data, &self.config).await?;
                Ok(Stage::Streaming(streaming))
            }
            Stage::Buffering {
                mut buffer,
                append: Some(mut append),
                mut funds,
            } => {
                let mut rest = data;
                while buffer.len() + rest.len() > self.part() {
                    let now = rest.split_to(self.part() - buffer.len());
                    self.fill(&mut buffer, &mut funds, &now);
                    self.append(&mut append, buffer.take()).await?;
                }
                self.fill(&mut buffer, &mut funds, &rest);
                Ok(Stage::Buffering {
                    buffer,
                    append: Some(append),
                    funds,
                })
            }
            Stage::Streaming(mut streaming) => {
                streaming.take_in(data, &self.config).await?;
                Ok(Stage::Streaming(streaming))
            }
            Stage::Stored => Err(Error::Stored),
            Stage::Failed(error) => Err(error),
        }
    }

    async fn settle(&self, inner: &mut Inner, keep_open: bool) -> Result<(), Error> {
        let last = inner.last();
        self.take_all(inner, last).await?;
        inner.check_whole()?;
        let result = match inner.take() {
            Stage::Buffering {
                mut buffer,
                append: Some(mut append),
                mut funds,
            } => {
                let body = buffer.take();
                let result = match append.base.clone() {
                    Some((etag, size)) if body.is_empty() => Ok(Stored { etag, size }),
                    _ => self.append(&mut append, body).await,
                };
                if keep_open && result.is_ok() {
                    funds.give_back();
                    inner.stage = Stage::Buffering {
                        buffer,
                        append: Some(append),
                        funds,
                    };
                    return Ok(());
                }
                self.describe(result).await
            }
            Stage::Buffering {
                mut buffer,
                append: None,
                // Pays until the request has ended.
                funds: _funds,
            } => {
                let stored = self.store.put(self.request(), buffer.take()).await;
                self.describe(stored.map_err(Error::S3)).await
            }
            Stage::Streaming(streaming) => {
                let stored = streaming.complete().await;
                self.describe(stored).await
            }
            Stage::Stored => Ok(()),
            Stage::Failed(error) => Err(error),
        };
        match &result {
            Ok(()) => inner.stage = Stage::Stored,
            Err(error) => inner.fail(error),
        }
        result
    }

    /// Puts `body` at the end of the object, which is then the new base.
    async fn append(&self, append: &mut Append, body: Bytes) -> Result<Stored, Error> {
        let mut request = match &append.base {
            // The object keeps the metadata that it has.
            Some(_) => self.plain_request(),
            None => self.request(),
        };
        if let Some((etag, size)) = &append.base {
            request.append_at = Some(*size);
            request.condition = PutCondition::Version(etag.clone());
        }
        let size = request.append_at.unwrap_or(0) + body.len() as u64;
        let etag = self.store.put(request, body).await?.etag;
        append.base = Some((etag.clone(), size));
        Ok(Stored { etag, size })
    }

    /// The request that begins the object.
    fn request(&self) -> PutRequest {
        let mut request = self.plain_request();
        if let Some(description) = &self.description {
            request.metadata = description.sent();
        }
        request
    }

    /// Makes sure that what was stored has the metadata that it is to have.
    async fn describe(&self, stored: Result<Stored, Error>) -> Result<(), Error> {
        let stored = stored?;
        match &self.description {
            Some(description) => {
                let key = &self.plain_request().key;
                Ok(description.settle(&*self.store, key, stored).await?)
            }
            None => Ok(()),
        }
    }

    fn fill(&self, buffer: &mut Buffer, funds: &mut Funds, data: &[u8]) {
        funds.pay(buffer.room_for(data.len(), self.part()) as u64);
        buffer.extend(data, self.part());
    }

    /// The request without a description.
    fn plain_request(&self) -> PutRequest {
        let request = self.request.lock().unwrap_or_else(PoisonError::into_inner);
        request.clone()
    }

    fn part(&self) -> usize {
        usize::try_from(self.config.part_size).unwrap_or(usize::MAX)
    }
}

impl fmt::Debug for WriteHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteHandle")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}
