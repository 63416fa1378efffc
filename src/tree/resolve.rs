//! Asking S3 what a key is: one HEAD and one LIST at once, shared by all who ask meanwhile.

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Either, Shared, WeakShared, select};

use super::expiry::Moment;
use super::inode::{Found, InodeNo};
use super::{Core, Notices};
use crate::s3::{self, ErrorKind, Key, ListFrom, ListPage, ListRequest, ObjectInfo};

impl Core {
    /// What `key` is: a directory if some key starts with it and a `/`, else the object that has
    /// this key, else nothing.
    ///
    /// S3 is asked for both at once. That it is a directory is answered without waiting for the
    /// object; the object counts only when there is no directory.
    pub(super) async fn resolve(&self, key: &Key) -> Result<Option<Found>, s3::Error> {
        let directory = pin!(self.directory_exists(key));
        let file = pin!(self.head(key));
        let file = match select(directory, file).await {
            Either::Left((Ok(true), _)) => return Ok(Some(Found::Directory)),
            Either::Left((Ok(false), file)) => file.await,
            Either::Left((Err(error), _)) => return Err(error),
            Either::Right((file, directory)) => {
                if directory.await? {
                    return Ok(Some(Found::Directory));
                }
                file
            }
        };
        Ok(file?.map(Found::File))
    }

    /// The object that has this key.
    pub(super) async fn head(&self, key: &Key) -> Result<Option<ObjectInfo>, s3::Error> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        match self.store.head(key).await {
            Ok(mut info) => {
                self.share_details(&mut info);
                Ok(Some(info))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lets objects that are described alike, as most in a bucket are, share the memory for it.
    fn share_details(&self, info: &mut ObjectInfo) {
        let mut last = self.details.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == info.details {
            info.details.clone_from(&last);
        } else {
            last.clone_from(&info.details);
        }
    }

    /// Whether some key starts with `key` and a `/`.
    pub(super) async fn directory_exists(&self, key: &Key) -> Result<bool, s3::Error> {
        let prefix = format!("{key}/");
        if Key::new(&*prefix).is_err() {
            // S3 has no key that long, and may refuse to list it.
            return Ok(false);
        }
        let mut request = ListRequest {
            prefix,
            delimited: true,
            from: ListFrom::Start,
            max_keys: Some(1),
        };
        loop {
            let page = self.list(&request).await?;
            let objects = page.objects.iter().map(|object| &object.key);
            if objects
                .chain(&page.common_prefixes)
                .any(|found| found.starts_with(&request.prefix))
            {
                return Ok(true);
            }
            // Some kinds of buckets answer with empty pages before the first entry.
            let Some(next) = page.next else {
                return Ok(false);
            };
            request.from = ListFrom::Page(next);
        }
    }

    /// One page of a listing.
    ///
    /// # Errors
    /// As [`s3::Store::list`].
    pub(super) async fn list(&self, request: &ListRequest) -> Result<ListPage, s3::Error> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let page = self.store.list(request).await?;
        for object in &page.objects {
            if object.key.ends_with('/') && object.info.size > 0 {
                self.notices.marker_with_content(&object.key);
            }
        }
        Ok(page)
    }

    /// Asks S3 what `key`, known as `name` in `parent`, is, or waits for the answer to the same
    /// question if it was asked less than `max_age` before `now`.
    pub(super) fn board(
        self: &Arc<Self>,
        name: (InodeNo, Arc<str>),
        key: Key,
        now: Moment,
        max_age: Duration,
    ) -> Passenger<'_> {
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(&name)
            && flight.asked.remaining(max_age, now).is_some()
            && let Some(answer) = flight.answer.upgrade()
        {
            return Passenger {
                asked: flight.asked,
                answer: Some(answer),
                flights: &self.flights,
                name,
            };
        }
        let core = Arc::clone(self);
        let resolve = async move { core.resolve(&key).await };
        let answer = resolve.boxed().shared();
        if let Some(weak) = answer.downgrade() {
            let flight = Flight {
                asked: now,
                answer: weak,
            };
            flights.insert(name.clone(), flight);
        }
        Passenger {
            asked: now,
            answer: Some(answer),
            flights: &self.flights,
            name,
        }
    }
}

/// The questions that S3 is being asked.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<(InodeNo, Arc<str>), Flight>>);

/// One question. It lives as long as someone waits: the last one to leave cancels it.
struct Flight {
    asked: Moment,
    answer: WeakShared<Resolving>,
}

type Resolving = BoxFuture<'static, Result<Option<Found>, s3::Error>>;

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<(InodeNo, Arc<str>), Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lock().keys()).finish()
    }
}

/// One who waits for an answer.
pub(super) struct Passenger<'a> {
    /// When the question was asked.
    pub(super) asked: Moment,
    /// Absent only while this is dropped.
    answer: Option<Shared<Resolving>>,
    flights: &'a Flights,
    name: (InodeNo, Arc<str>),
}

impl Passenger<'_> {
    /// The answer.
    pub(super) async fn wait(&mut self) -> Result<Option<Found>, s3::Error> {
        match &mut self.answer {
            Some(answer) => answer.await,
            None => Ok(None),
        }
    }
}

impl Drop for Passenger<'_> {
    fn drop(&mut self) {
        // Outside the lock: the last one drops the requests with it.
        self.answer = None;
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(&self.name)
            && flight.answer.upgrade().is_none()
        {
            flights.remove(&self.name);
        }
    }
}

impl Notices {
    /// Logs, once, that there is a key that ends in `/` and has bytes which no file shows.
    pub(super) fn marker_with_content(&self, key: &str) {
        if !self.marker_with_content.swap(true, Ordering::Relaxed) {
            log::warn!(
                "object {key:?} is not empty, but its key ends in '/': it is shown as a \
                 directory and cannot be read (more such objects are not logged)"
            );
        }
    }

    /// Logs, once, that there is a key with a component that is too long for a name.
    pub(super) fn name_too_long(&self, directory: &str, name: &str) {
        if !self.name_too_long.swap(true, Ordering::Relaxed) {
            log::warn!(
                "{name:?} in {directory:?} is longer than 255 bytes, too long for a file name: \
                 it is not shown (more such names are not logged)"
            );
        }
    }
}
