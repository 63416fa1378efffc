//! GETs that wait for what others fetch.
//!
//! There may be many: of all who read one object at the same time, past the page cache or by several
//! mounts, only one fetches a part. So they keep no thread that others read with.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::entry::Entry;
use super::get::Get;

/// A thread that watches what GETs wait for, until this is dropped.
#[derive(Debug)]
pub(super) struct Followers(Sender<Follower>);

/// A GET that waits for a block.
pub(super) struct Follower {
    get: Arc<Get>,
    entry: Arc<Entry>,
    block: u64,
    since: Instant,
}

/// What has become of a block that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// It is there, or nobody fetches it any more, or nobody waits for it.
    GoOn,
    /// It takes too long.
    Late,
    Wait,
}

impl Followers {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(super) fn start() -> io::Result<Self> {
        let (send, new) = channel();
        thread::Builder::new()
            .name("cache-follow".into())
            .spawn(move || watch(&new))?;
        Ok(Self(send))
    }

    /// Lets `get` go on when the block number `block` of `entry`, which somebody fetches, is there, or as
    /// soon as that is not to be expected.
    pub(super) fn wait(&self, get: Arc<Get>, entry: Arc<Entry>, block: u64) {
        let follower = Follower {
            get,
            entry,
            block,
            since: Instant::now(),
        };
        if let Err(unheard) = self.0.send(follower) {
            unheard.0.go_on(false);
        }
    }
}

fn watch(new: &Receiver<Follower>) {
    let mut waiting = Vec::<Follower>::new();
    loop {
        if waiting.is_empty() {
            match new.recv() {
                Ok(follower) => waiting.push(follower),
                Err(_) => return,
            }
        }
        waiting.extend(new.try_iter());
        let now = Instant::now();
        let mut index = 0;
        while let Some(follower) = waiting.get(index) {
            match follower.news(now) {
                News::Wait => index += 1,
                news => waiting.swap_remove(index).go_on(news != News::Late),
            }
        }
        if !waiting.is_empty() {
            thread::sleep(NAP);
        }
    }
}

impl Follower {
    fn news(&self, now: Instant) -> News {
        // Written, and then given up.
        let is_claimed = self.entry.is_claimed(self.block);
        if self.entry.has(self.block) || !is_claimed || self.get.has_ended() {
            News::GoOn
        } else if now.saturating_duration_since(self.since) > PATIENCE {
            News::Late
        } else {
            News::Wait
        }
    }

    fn go_on(self, is_patient: bool) {
        self.get.go_on(self.entry, is_patient);
    }
}

/// How long a GET waits for one block, before it fetches what is missing by itself: as long as a slow
/// connection takes for a part, of which nothing is there before all of it is. Whoever has claimed it may
/// be stopped, or have a connection that is stuck.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

const NAP: Duration = Duration::from_millis(1);
