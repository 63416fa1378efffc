//! A staged file: making an object of it.

use super::Error;
use super::blocks::{self, Block};
use super::file::{StagedFile, usize_of};
use super::pieces::{Piece, pieces};
use super::record::{Base, Version};
use super::state::Fate;
use crate::memory::Lease;
use crate::s3::{self, CopyRequest, ETag, ErrorKind, Key, PutCondition, PutRequest};

impl StagedFile {
    /// Makes S3 have this file, if it does not. Returns whether it has; it has not for a file that
    /// is thrown away.
    ///
    /// # Errors
    /// [`Error::Disk`]; [`Error::S3`], with [`ErrorKind::Precondition`] when somebody else has
    /// replaced or deleted the object meanwhile. What was written stays on the disk, safe from a
    /// crash of the system, and may be stored later.
    ///
    /// # Cancel safety
    /// A dropped call may have stored the object, and changed nothing else.
    pub async fn store(&self) -> Result<bool, Error> {
        let _mutation = self.mutation.lock().await;
        self.settle().await
    }

    /// Gives the file another key, which an object has if `is_taken` says so. If S3 has an object of
    /// the file, that is brought up to date first, and moved by `move_object`, which says what
    /// version has the new key then.
    ///
    /// # Errors
    /// Those of [`Self::store`], or of `move_object`; the file has its old key then.
    ///
    /// # Cancel safety
    /// A dropped call may have stored and moved the object; the file has its old key then.
    pub async fn rename<E: From<Error>>(
        &self,
        key: Key,
        is_taken: bool,
        move_object: impl AsyncFnOnce(Option<Version>) -> Result<Option<ETag>, E>,
    ) -> Result<(), E> {
        let _mutation = self.mutation.lock().await;
        if self.lock().record.has_object {
            self.settle().await?;
        }
        let stored = {
            let state = self.lock();
            state.record.base.as_ref().map(Base::version)
        };
        let etag = move_object(stored.clone()).await?;
        {
            let mut state = self.lock();
            state.record.key = key.as_str().to_owned();
            state.key = key.clone();
            state.record.has_object |= is_taken;
            if let (Some(stored), Some(etag)) = (stored, etag) {
                let version = Version {
                    etag,
                    size: stored.size,
                };
                let reader = self.remote.reader(&key, &version.etag, version.size);
                state.rebase(&version, reader);
            }
        }
        Ok(self.save()?)
    }

    async fn settle(&self) -> Result<bool, Error> {
        let (fate, has_changed) = {
            let state = self.lock();
            (state.fate, state.has_changed())
        };
        match fate {
            Fate::Kept => {}
            Fate::Removed => return Ok(false),
            Fate::LetGo => return Ok(true),
        }
        if has_changed {
            let version = match self.upload(true).await {
                Err(Error::S3(error)) if error.kind() == ErrorKind::Precondition => {
                    self.upload_nevertheless(error).await
                }
                uploaded => uploaded,
            };
            let version = version.inspect_err(|_error| self.keep_safe())?;
            self.note_stored(&version)?;
        }
        self.describe().await?;
        Ok(true)
    }

    /// Uploads the file as it is; `is_conditional` lets it replace no other version than its base.
    async fn upload(&self, is_conditional: bool) -> Result<Version, Error> {
        let (request, base, size) = {
            let state = self.lock();
            let base = state.record.base.as_ref().map(Base::etag);
            let request = PutRequest {
                content_type: state.record.content_type.clone(),
                metadata: state.record.metadata.clone(),
                condition: match &base {
                    Some(etag) if is_conditional => PutCondition::Version(etag.clone()),
                    _ => PutCondition::Any,
                },
                ..PutRequest::new(state.key.clone())
            };
            (request, base, state.size)
        };
        let (store, write) = (&self.remote.store, &self.remote.write);
        let sent = request.metadata.clone();
        let part = write.part_size;
        let stored = if size <= part {
            let _lease = self.pay(size, size);
            let body = self.read_at(0, usize_of(size)).await?;
            store.put(request, body).await?
        } else {
            let lease = self.pay(part.saturating_mul(PARTS_HELD), part);
            let buffer = lease.bytes();
            let mut upload = store.upload(request, buffer)?;
            let has_changed =
                |range| base.is_none() || self.lock().blocks.is_dirty(blocks::covering(&range));
            for piece in pieces(size, part, has_changed) {
                match (piece, &base) {
                    (Piece::Copy(range), Some(etag)) => upload.copy(etag.clone(), range).await?,
                    (Piece::Copy(range) | Piece::Upload(range), _) => {
                        let mut at = range.start;
                        while at < range.end {
                            let length = usize_of(part.min(range.end - at));
                            let bytes = self.read_at(at, length).await?;
                            at += bytes.len() as u64;
                            upload.write(bytes).await?;
                        }
                    }
                }
            }
            upload.complete().await?
        };
        self.lock().stored_metadata = Some(sent);
        Ok(Version {
            etag: stored.etag,
            size,
        })
    }

    /// Pays for `wished` bytes, or for `least` if memory is short, which is not refused.
    fn pay(&self, wished: u64, least: u64) -> Lease {
        let mut lease = self.remote.write.budget.open_without_holder().empty_lease();
        if !lease.grow(wished) {
            lease.overdraw(least);
        }
        lease
    }

    /// Notes that S3 has the file as `version`, and that what is on the disk is a copy of that.
    fn note_stored(&self, version: &Version) -> Result<(), Error> {
        let key = self.key();
        let reader = self.remote.reader(&key, &version.etag, version.size);
        let had_base = {
            let mut state = self.lock();
            let had_base = state.base.is_some();
            state.rebase(version, reader);
            state.is_untouched = false;
            had_base
        };
        // Whoever finds the new base with the old states stores the same bytes once more.
        self.save()?;
        let mut state = self.lock();
        let all = blocks::covering(&(0..version.size));
        if had_base {
            for block in all
                .filter(|block| state.blocks.get(*block) == Block::Dirty)
                .collect::<Vec<_>>()
            {
                self.mark(&mut state, block..block + 1, Block::Clean)?;
            }
            Ok(())
        } else {
            self.mark(&mut state, all, Block::Clean)
        }
    }

    /// Tries once more after `refusal`, which says that another version than the base is there.
    ///
    /// An earlier try whose answer was lost may have stored that version. And Ceph RGW refuses
    /// every version: there is the base, and it is replaced without a condition.
    async fn upload_nevertheless(&self, refusal: s3::Error) -> Result<Version, Error> {
        let (key, size, base) = {
            let state = self.lock();
            let base = state.record.base.as_ref().map(Base::etag);
            (state.key.clone(), state.size, base)
        };
        match self.remote.store.head(&key).await {
            Ok(info) if Some(&info.etag) == base.as_ref() => self.upload(false).await,
            Ok(info) if info.size == size && self.is_stored_as(&info.etag).await? => Ok(Version {
                etag: info.etag,
                size,
            }),
            Ok(_) | Err(_) => Err(refusal.into()),
        }
    }

    /// Makes sure that what could not be stored outlives a crash of the system.
    fn keep_safe(&self) {
        if let Err(error) = self.disk.sync() {
            log::warn!("what was not stored may not outlive a crash of the system: {error}");
        }
    }

    /// Whether the version `etag` of the object, which is as long, has the bytes that this file was
    /// to give it. What is on the disk and did not change counts, too: it is taken for a copy of that
    /// version from then on.
    async fn is_stored_as(&self, etag: &ETag) -> Result<bool, Error> {
        let (key, size) = {
            let state = self.lock();
            (state.key.clone(), state.size)
        };
        let theirs = self.remote.reader(&key, etag, size);
        for block in blocks::covering(&(0..size)) {
            let is_local = {
                let state = self.lock();
                state.base.is_none() || state.blocks.get(block) != Block::Absent
            };
            if !is_local {
                continue;
            }
            let (start, length) = (block * blocks::BLOCK, usize_of(blocks::BLOCK));
            let ours = self.read_at(start, length).await?;
            if theirs.read_at(start, length).await? != ours {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Gives the object the metadata that it is to have, if it has others.
    async fn describe(&self) -> Result<(), Error> {
        let request = {
            let state = self.lock();
            let (Some(base), wanted) = (&state.record.base, &state.record.metadata) else {
                return Ok(());
            };
            if state.is_described() {
                return Ok(());
            }
            CopyRequest {
                from: state.key.clone(),
                version: base.etag(),
                size: base.size,
                to: state.key.clone(),
                condition: PutCondition::Version(base.etag()),
                metadata: Some(wanted.clone()),
            }
        };
        let (wanted, size) = (request.metadata.clone(), request.size);
        let stored = self.remote.store.copy(request).await;
        let version = Version {
            etag: stored?.etag,
            size,
        };
        self.lock().stored_metadata = wanted;
        self.note_stored(&version)
    }
}

/// Parts that an upload holds at a time.
const PARTS_HELD: u64 = 4;
