//! Stores that do nothing but list, one round trip at a time.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::time::SystemTime;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::*;
use crate::s3::{
    BodySink, CopyRequest, ETag, Error, GetRequest, InFlight, Key, ListedObject, ObjectInfo,
    PageToken, PutRequest, RenameRequest, Restore, StorageClass, Store, Stored, Upload,
};

/// How a store lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// In the order of the bytes.
    LikeS3,
    /// In the order of the names without the `/` of common prefixes; a listing that begins after a
    /// text begins after the entry of this name.
    ByName,
    /// In the order of the bytes, and always from the start.
    FromTheStart,
    /// In the order of the bytes, and begins one entry too late.
    SkipsOne,
    /// Cannot begin after a text.
    Refuses,
}

/// A store that has names.
#[derive(Debug, Clone)]
pub(super) struct Shelf(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    /// The texts of its entries, in its order.
    texts: Vec<String>,
    page: usize,
    /// Round trips so far.
    trips: AtomicUsize,
    requests: AtomicUsize,
    /// The requests that are to fail.
    failing: Mutex<usize>,
}

impl Shelf {
    /// A store with these keys, `page` entries a page.
    pub(super) fn new(kind: Kind, keys: impl IntoIterator<Item = String>, page: usize) -> Self {
        let rolled_up = keys.into_iter().map(|key| match key.split_once('/') {
            Some((name, _)) => format!("{name}/"),
            None => key,
        });
        let mut texts: Vec<_> = rolled_up.collect::<BTreeSet<_>>().into_iter().collect();
        if kind == Kind::ByName {
            texts.sort_by(|a, b| name(a).cmp(name(b)));
        }
        Self::with(kind, texts, page)
    }

    /// A store that lists these texts in this order.
    pub(super) fn in_order(texts: Vec<String>, page: usize) -> Self {
        Self::with(Kind::LikeS3, texts, page)
    }

    fn with(kind: Kind, texts: Vec<String>, page: usize) -> Self {
        Self(Arc::new(Inner {
            kind,
            texts,
            page,
            trips: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            failing: Mutex::new(0),
        }))
    }

    /// The texts of all entries, in the store's order.
    pub(super) fn texts(&self) -> &[String] {
        &self.0.texts
    }

    /// Lets a round trip pass: the requests before it are answered.
    pub(super) fn pass(&self) {
        self.0.trips.fetch_add(1, Ordering::Relaxed);
    }

    /// Round trips and requests since the last call.
    pub(super) fn reset(&self) -> (usize, usize) {
        let trips = self.0.trips.swap(0, Ordering::Relaxed);
        (trips, self.0.requests.swap(0, Ordering::Relaxed))
    }

    /// Lets the next requests fail.
    pub(super) fn fail_next(&self, requests: usize) {
        *self.0.failing.lock().unwrap() = requests;
    }

    /// Whether nobody else has this store: no request is under way.
    pub(super) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn answer(&self, from: &ListFrom) -> Result<ListPage, Error> {
        let Inner { texts, kind, .. } = &*self.0;
        let mut failing = self.0.failing.lock().unwrap();
        if *failing > 0 {
            *failing -= 1;
            return Err(Error::new(ErrorKind::Throttled, s3::Context::default()));
        }
        let start = match (from, kind) {
            (ListFrom::Start, _) | (ListFrom::After(_), Kind::FromTheStart) => 0,
            (ListFrom::After(_), Kind::Refuses) => {
                return Err(Error::new(ErrorKind::Other, s3::Context::default()));
            }
            (ListFrom::After(text), Kind::ByName) => {
                texts.partition_point(|one| name(one) <= name(text))
            }
            (ListFrom::After(text), Kind::SkipsOne) => texts.partition_point(|one| one <= text) + 1,
            (ListFrom::After(text), Kind::LikeS3) => texts.partition_point(|one| one <= text),
            (ListFrom::Page(token), _) => token.as_str().parse().unwrap(),
        };
        let mut rest = texts.iter().skip(start);
        let mut page = ListPage::default();
        for text in rest.by_ref().take(self.0.page) {
            if text.ends_with('/') {
                page.common_prefixes.push(text.clone());
            } else {
                page.objects.push(object(text));
            }
        }
        let next = rest.next().map(|_| (start + self.0.page).to_string());
        page.next = next.map(PageToken::new);
        Ok(page)
    }
}

impl Store for Shelf {
    fn list<'a>(&'a self, request: &'a ListRequest) -> BoxFuture<'a, Result<ListPage, Error>> {
        let shelf = self.clone();
        async move {
            shelf.0.requests.fetch_add(1, Ordering::Relaxed);
            let asked = shelf.0.trips.load(Ordering::Relaxed);
            poll_fn(|_| {
                if shelf.0.trips.load(Ordering::Relaxed) > asked {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            shelf.answer(&request.from)
        }
        .boxed()
    }

    fn head<'a>(&'a self, _: &'a Key) -> BoxFuture<'a, Result<ObjectInfo, Error>> {
        unreachable!("it only lists")
    }

    fn get(&self, _: GetRequest, _: Arc<dyn BodySink>) -> Result<Box<dyn InFlight>, Error> {
        unreachable!("it only lists")
    }

    fn put(&self, _: PutRequest, _: Bytes) -> BoxFuture<'_, Result<Stored, Error>> {
        unreachable!("it only lists")
    }

    fn upload(&self, _: PutRequest, _: u64) -> Result<Box<dyn Upload>, Error> {
        unreachable!("it only lists")
    }

    fn delete<'a>(&'a self, _: &'a Key) -> BoxFuture<'a, Result<(), Error>> {
        unreachable!("it only lists")
    }

    fn copy(&self, _: CopyRequest) -> BoxFuture<'_, Result<Stored, Error>> {
        unreachable!("it only lists")
    }

    fn rename(&self, _: RenameRequest) -> BoxFuture<'_, Result<(), Error>> {
        unreachable!("it only lists")
    }
}

fn name(text: &str) -> &str {
    text.strip_suffix('/').unwrap_or(text)
}

fn object(key: &str) -> ListedObject {
    ListedObject {
        key: key.to_owned(),
        info: ObjectInfo {
            etag: ETag::new("\"e\""),
            size: 1,
            last_modified: SystemTime::UNIX_EPOCH,
            storage_class: StorageClass::Readable,
            restore: Restore::None,
            details: None,
        },
    }
}
