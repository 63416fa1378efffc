//! The thread that follows what is read, and fetches.

use std::sync::Arc;

use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use super::File;
use super::guide::{Guide, SetNo, is_at_or_below};
use super::shelf::Shelf;
use crate::read::ReadConfig;
use crate::s3::{Error, Key, ListPage, ListRequest, Store};

/// What happens to files.
#[derive(Debug)]
pub(super) enum Event {
    /// One is read for the first time since it was opened.
    Read(File),
    /// One was changed by this mount, or everything below it.
    Changed(Key),
    /// Nothing more will happen.
    End,
}

/// Follows the events, and fetches.
pub(super) struct Worker {
    pub(super) store: Arc<dyn Store>,
    pub(super) read: ReadConfig,
    pub(super) shelf: Arc<Shelf>,
    pub(super) guide: Guide,
}

type Listing = BoxFuture<'static, (SetNo, Result<ListPage, Error>)>;

impl Worker {
    /// Works until the [end](Event::End).
    pub(super) async fn run(mut self, mut events: UnboundedReceiver<Event>) {
        let mut listings: FuturesUnordered<Listing> = FuturesUnordered::new();
        loop {
            futures::select! {
                event = events.next() => {
                    let mut next = event;
                    loop {
                        match next {
                            None | Some(Event::End) => return,
                            Some(event) => self.note(event),
                        }
                        match events.try_recv() {
                            Ok(event) => next = Some(event),
                            Err(_) => break,
                        }
                    }
                }
                (set, page) = listings.select_next_some() => {
                    let gone = self.guide.absorb(set, page);
                    self.give_up(&gone);
                }
            }
            for (set, request) in self.guide.list() {
                listings.push(self.list(set, request));
            }
            self.fetch();
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Read(file) => {
                let gone = self.guide.note_read(&file);
                self.give_up(&gone);
            }
            Event::Changed(key) => {
                self.guide.forget(&key);
                // Once more: it may have been fetched since.
                self.shelf.give_up(|one| is_at_or_below(one, &key));
            }
            Event::End => {}
        }
    }

    fn give_up(&self, gone: &[Key]) {
        for key in gone {
            self.shelf.give_up_one(key);
        }
    }

    fn list(&self, set: SetNo, request: ListRequest) -> Listing {
        let store = Arc::clone(&self.store);
        Box::pin(async move { (set, store.list(&request).await) })
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
                self.guide.put_back(&wanted);
                return;
            }
            under_way += 1;
        }
    }
}

/// Files under way: fewer than there are connections, so that what programs wait for finds one.
const MOST_UNDER_WAY: usize = 48;
