//! What was noted lately.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Remembers the last some thousand things that were noted. They are hints: nothing depends on them
/// but how many requests are made.
#[derive(Debug)]
pub(super) struct Recent<T>(Mutex<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    /// In the order in which they came. What was forgotten may still be here.
    order: VecDeque<T>,
    things: HashSet<T>,
}

impl<T: Copy + Eq + Hash> Recent<T> {
    /// Notes `thing`. Returns whether it is noted already.
    pub(super) fn note(&self, thing: T) -> bool {
        let mut inner = self.inner();
        let Inner { order, things } = &mut *inner;
        if !things.insert(thing) {
            return true;
        }
        order.push_back(thing);
        if order.len() > MOST
            && let Some(oldest) = order.pop_front()
        {
            things.remove(&oldest);
        }
        false
    }

    /// Whether `thing` is noted.
    pub(super) fn has(&self, thing: &T) -> bool {
        self.inner().things.contains(thing)
    }

    /// Forgets `thing`.
    pub(super) fn forget(&self, thing: &T) {
        self.inner().things.remove(thing);
    }

    fn inner(&self) -> MutexGuard<'_, Inner<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            order: VecDeque::new(),
            things: HashSet::new(),
        }))
    }
}

/// Of blocks, those of 4 GiB; in less than 1 MiB of memory.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_last_ones() {
        let recent = Recent::default();
        for number in 0..MOST {
            assert!(!recent.note(number));
        }
        assert!(recent.note(0));
        assert!(!recent.note(MOST));
        assert!(!recent.note(0), "the oldest was forgotten");
        assert!(recent.note(2));
        assert!(recent.has(&2));
        recent.forget(&2);
        assert!(!recent.has(&2) && !recent.note(2));
    }

    #[test]
    fn takes_no_more_memory_for_what_comes_and_goes() {
        let recent = Recent::default();
        for _ in 0..3 * MOST {
            recent.note(1);
            recent.forget(&1);
        }
        assert!(recent.inner().order.len() <= MOST);
    }
}
