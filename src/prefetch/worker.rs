//! The thread that follows what is read, and fetches.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use super::File;
use super::guide::{Guide, SetNo, is_below};
use super::shelf::Shelf;
use crate::read::ReadConfig;
use crate::s3::{Error, Key, ListPage, ListRequest, ObjectInfo, Store, find};

/// What happens to files.
#[derive(Debug)]
pub(super) enum Event {
    /// One is read for the first time since it was opened.
    Read {
        /// The version that was opened.
        file: File,
        /// Whether it was fetched before.
        was_fetched: bool,
    },
    /// An order was told in which files will be read.
    Told(Told),
    /// One was changed by this mount.
    Changed(Key),
    /// All in a directory were changed by this mount.
    ChangedBelow(Key),
    /// Nothing has happened for a while.
    Idle,
    /// Nothing more will happen.
    End,
}

/// Files in the order in which they will be read.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) keys: Vec<Key>,
    /// Gets to know which of them were found.
    pub(super) found: oneshot::Sender<Result<Vec<bool>, Error>>,
}

/// Follows the events, and fetches.
pub(super) struct Worker {
    pub(super) store: Arc<dyn Store>,
    pub(super) read: ReadConfig,
    pub(super) shelf: Arc<Shelf>,
    pub(super) guide: Guide,
    /// What the keys of all files start with.
    pub(super) root: String,
}

/// What the store was asked, and what it said.
enum Answer {
    Page(SetNo, Result<ListPage, Error>),
    Found(Told, Result<Vec<Option<File>>, Error>),
}

type Asking = BoxFuture<'static, Answer>;

impl Worker {
    /// Works until the [end](Event::End).
    pub(super) async fn run(mut self, mut events: UnboundedReceiver<Event>) {
        let mut asking: FuturesUnordered<Asking> = FuturesUnordered::new();
        loop {
            futures::select! {
                event = events.next() => {
                    let mut next = event;
                    loop {
                        match next {
                            None | Some(Event::End) => return,
                            Some(Event::Told(told)) => asking.push(self.find(told)),
                            Some(event) => self.note(event),
                        }
                        match events.try_recv() {
                            Ok(event) => next = Some(event),
                            Err(_) => break,
                        }
                    }
                }
                answer = asking.select_next_some() => self.absorb(answer),
            }
            for (set, request) in self.guide.list() {
                asking.push(self.list(set, request));
            }
            self.fetch();
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Read { file, was_fetched } => {
                if !was_fetched {
                    // It may have been fetched since it was opened: who reads it has asked as well.
                    self.shelf.give_up_one(&file.key);
                }
                let gone = self.guide.note_read(&file);
                self.give_up(&gone);
            }
            Event::Changed(key) => {
                self.guide.forget(&key);
                // Once more: it may have been fetched since.
                self.shelf.give_up_one(&key);
            }
            Event::ChangedBelow(path) => {
                self.guide.forget_below(&path);
                self.shelf.give_up(|key| is_below(key, &path));
            }
            Event::Idle => {
                self.guide.forget_sets();
                self.shelf.give_up(|_| true);
            }
            Event::Told(_) | Event::End => {}
        }
    }

    fn give_up(&self, gone: &[Key]) {
        for key in gone {
            self.shelf.give_up_one(key);
        }
    }

    fn list(&self, set: SetNo, request: ListRequest) -> Asking {
        let store = Arc::clone(&self.store);
        Box::pin(async move { Answer::Page(set, store.list(&request).await) })
    }

    fn find(&self, told: Told) -> Asking {
        let (store, root) = (Arc::clone(&self.store), self.root.clone());
        Box::pin(async move {
            let found = find(store.as_ref(), &told.keys, &root).await;
            let files = |found: Vec<Option<ObjectInfo>>| {
                let keys = told.keys.iter().zip(found);
                keys.map(|(key, info)| file(key, &info?)).collect()
            };
            let found = found.map(files);
            Answer::Found(told, found)
        })
    }

    fn absorb(&mut self, answer: Answer) {
        let gone = match answer {
            Answer::Page(set, page) => self.guide.absorb(set, page),
            Answer::Found(Told { found: reply, .. }, found) => {
                let is_there =
                    |files: &Vec<Option<File>>| files.iter().map(Option::is_some).collect();
                // Whoever has told it may not want to know.
                _ = reply.send(found.as_ref().map(is_there).map_err(Error::clone));
                self.guide.follow(found.into_iter().flatten().flatten())
            }
        };
        self.give_up(&gone);
    }

    /// Begins to fetch as much as may be under way.
    fn fetch(&mut self) {
        let mut under_way = self.shelf.under_way();
        while under_way < MOST_UNDER_WAY {
            let (wasted, read) = self.shelf.balance();
            let is_here = |key: &Key| self.shelf.contains(key);
            let Some(wanted) = self.guide.next(wasted, read, is_here) else {
                return;
            };
            if !self.shelf.fetch(&self.store, &wanted.file, &self.read) {
                let gone = self.guide.put_back(&wanted);
                self.give_up(&gone);
                return;
            }
            under_way += 1;
        }
    }
}

/// The file of an object, if it can be read.
fn file(key: &Key, info: &ObjectInfo) -> Option<File> {
    info.is_readable().then(|| File {
        key: key.clone(),
        etag: info.etag.clone(),
        size: info.size,
    })
}

/// Runs `work` on this thread to its end, and calls `idle` each time that nothing wakes it for so
/// long.
pub(super) fn run_until_done(work: impl Future<Output = ()>, after: Duration, idle: impl Fn()) {
    let mut work = pin!(work);
    let alarm = Arc::new(Alarm {
        thread: thread::current(),
        rings: AtomicBool::new(true),
    });
    let waker = Waker::from(Arc::clone(&alarm));
    let mut context = Context::from_waker(&waker);
    let mut woken = Instant::now();
    loop {
        if alarm.rings.swap(false, Ordering::AcqRel) {
            if work.as_mut().poll(&mut context).is_ready() {
                return;
            }
            woken = Instant::now();
            continue;
        }
        match after.saturating_sub(woken.elapsed()) {
            Duration::ZERO => {
                woken = Instant::now();
                idle();
            }
            // May return early.
            left => thread::park_timeout(left),
        }
    }
}

/// Wakes a thread.
struct Alarm {
    thread: Thread,
    rings: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.rings.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Files under way: fewer than there are connections, so that what programs wait for finds one.
const MOST_UNDER_WAY: usize = 48;
