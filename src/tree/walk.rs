//! Walks through a tree: `find`, `ls -R`, `os.walk` open one directory after the other.
//!
//! Whoever has read a directory and then opens directories in it, in the order in which they were
//! listed, is taken to open the next ones, too. The first page of a few of these is asked for
//! ahead. It is kept for a second, and only the next one who opens that directory gets it, unless
//! this mount has changed anything since.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Core;
use super::expiry::Moment;
use super::inode::InodeNo;
use super::pager::Pager;

/// The walks of a tree.
#[derive(Default)]
pub(super) struct Walks(Mutex<State>);

#[derive(Default)]
struct State {
    /// The directories that were read, the last one that was of use at the end.
    read: VecDeque<Siblings>,
    guesses: HashMap<(InodeNo, Arc<str>), Guess>,
    /// Guesses that nobody wanted.
    unused: usize,
}

/// The directories in one directory.
struct Siblings {
    parent: InodeNo,
    /// As they were listed.
    names: Vec<Arc<str>>,
    /// The one after the one that was opened last.
    next: usize,
    /// The first one that was not guessed.
    unguessed: usize,
    /// How many to ask for ahead; 0 when a guess was wrong.
    window: usize,
    /// When one was opened last.
    opened: Option<Moment>,
    /// What one takes the walk.
    each: Duration,
}

/// A listing that was begun ahead.
#[derive(Debug)]
pub(super) struct Guess {
    pub(super) pager: Pager,
    asked: Moment,
}

impl Guess {
    /// Whether it still counts as a listing of what `prefix` stands for.
    pub(super) fn is_good(&self, core: &Core, prefix: &str) -> bool {
        self.pager.prefix() == prefix && is_fresh(core, self.asked)
    }
}

impl Walks {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up what was begun ahead, which refers to the tree.
    pub(super) fn end(&self) {
        let guesses = std::mem::take(&mut self.lock().guesses);
        drop(guesses);
    }

    /// Notes that the directory `parent` was read to its end, and has these directories in it.
    pub(super) fn note_read(&self, parent: InodeNo, names: Vec<Arc<str>>) {
        let mut state = self.lock();
        state.read.retain(|siblings| siblings.parent != parent);
        if names.len() < 2 {
            return;
        }
        while state.read.len() >= MOST_READ {
            state.read.pop_front();
        }
        state.read.push_back(Siblings {
            parent,
            names,
            next: 0,
            unguessed: 0,
            window: FIRST_WINDOW,
            opened: None,
            each: Duration::ZERO,
        });
    }

    /// Notes that `name` in `parent`, whose keys start with `prefix`, is opened. Returns the
    /// listing that was begun ahead, and asks for what will be opened next.
    pub(super) fn open(
        &self,
        core: &Arc<Core>,
        parent: InodeNo,
        name: &Arc<str>,
        prefix: &str,
    ) -> Option<Guess> {
        let now = core.clock.now();
        let (guess, stale, wanted) = {
            let mut state = self.lock();
            let stale = state.take_stale(core);
            let guess = state.guesses.remove(&(parent, Arc::clone(name)));
            let patience = core.config.ttl.of_file() / 2;
            let room = state.room(core.requests.load(Ordering::Relaxed));
            let wanted = state.advance(parent, name, guess.is_some(), now, patience, room);
            (guess, stale, wanted)
        };
        // Outside the lock: this cancels requests, and makes some.
        drop(stale);
        let above = prefix.strip_suffix('/')?.strip_suffix(&**name)?;
        for name in wanted {
            let asked = core.clock.now();
            let mut pager = Pager::new(Arc::clone(core), format!("{above}{name}/"), true);
            pager.begin();
            let guess = Guess { pager, asked };
            let mut state = self.lock();
            let before = state.guesses.insert((parent, name), guess);
            state.unused += usize::from(before.is_some());
            drop(state);
            drop(before);
        }
        guess
    }
}

impl State {
    /// Takes out the guesses that count no more, and makes no more where they were made.
    fn take_stale(&mut self, core: &Core) -> Vec<Guess> {
        let names = self.guesses.iter();
        let names = names.filter(|(_, guess)| !is_fresh(core, guess.asked));
        let names: Vec<_> = names.map(|(name, _)| name.clone()).collect();
        let mut stale = Vec::new();
        for name in names {
            stale.extend(self.guesses.remove(&name));
            self.unused += 1;
            let read = self.read.iter_mut();
            for siblings in read.filter(|siblings| siblings.parent == name.0) {
                siblings.window = 0;
            }
        }
        stale
    }

    /// How many guesses may be made now, when so many requests were made in all.
    fn room(&self, requests: usize) -> usize {
        let guesses = self.unused + self.guesses.len();
        (requests.saturating_sub(guesses) / ONE_OF).saturating_sub(guesses)
    }

    /// Notes that `name` in `parent` is opened, and whether that was guessed. Returns the names
    /// there to be asked for now, `room` of them at most.
    fn advance(
        &mut self,
        parent: InodeNo,
        name: &Arc<str>,
        was_guessed: bool,
        now: Moment,
        patience: Duration,
        room: usize,
    ) -> Vec<Arc<str>> {
        let found = self.read.iter().position(|read| read.parent == parent);
        let Some(mut siblings) = found.and_then(|at| self.read.remove(at)) else {
            return Vec::new();
        };
        let wanted = siblings.advance(name, was_guessed, now, patience, room);
        self.read.push_back(siblings);
        wanted
    }
}

impl Siblings {
    fn advance(
        &mut self,
        name: &Arc<str>,
        was_guessed: bool,
        now: Moment,
        patience: Duration,
        room: usize,
    ) -> Vec<Arc<str>> {
        let expected = self.names.get(self.next) == Some(name);
        if !expected {
            let Some(at) = self.names.iter().position(|one| one == name) else {
                return Vec::new();
            };
            self.next = at;
            self.unguessed = at;
        }
        let is_walk = expected || self.next == 0;
        self.next += 1;
        self.unguessed = self.unguessed.max(self.next);
        if let Some(opened) = self.opened.replace(now) {
            self.each = (self.each + now.since(opened)) / 2;
        }
        if was_guessed {
            self.window = (self.window * 2).min(MOST_GUESSES);
        }
        if !is_walk {
            return Vec::new();
        }
        // Attributes of files are not to be too old when the walk comes to them.
        let in_time = patience.as_micros() / self.each.as_micros().max(1);
        let in_time = usize::try_from(in_time).unwrap_or(usize::MAX);
        let end = self.next + self.window.min(in_time);
        let end = end.min(self.unguessed + room).min(self.names.len());
        let wanted = self.names.get(self.unguessed..end).unwrap_or_default();
        self.unguessed += wanted.len();
        wanted.to_vec()
    }
}

/// Whether a listing that was asked for at this moment counts as one of now.
fn is_fresh(core: &Core, asked: Moment) -> bool {
    let is_young = asked.remaining(KEPT, core.clock.now()).is_some();
    is_young && !core.clock.has_ticked_since(asked)
}

impl fmt::Debug for Walks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lock().guesses.keys()).finish()
    }
}

/// How long a page is kept: as long as directories are believed at least.
const KEPT: Duration = Duration::from_secs(1);

/// Directories asked for ahead at first.
const FIRST_WINDOW: usize = 2;

/// Directories asked for ahead, at most.
const MOST_GUESSES: usize = 16;

/// Directories whose directories are remembered: one walk needs as many as it is deep.
const MOST_READ: usize = 32;

/// One request for so many others may be superfluous.
const ONE_OF: usize = 5;
