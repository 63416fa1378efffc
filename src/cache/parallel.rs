//! The same work on many things, by several threads.

use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What `work` makes of each of `items`, in their order. Several threads work, as they wait for the
/// disk. A panic of `work` is one of this.
pub(super) fn map_all<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let some = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else {
                return done;
            };
            done.push((index, work(item)));
        }
    };
    let mut done = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS.min(items.len()))
            .map(|_| scope.spawn(some))
            .collect();
        let mut done = Vec::with_capacity(items.len());
        for thread in threads {
            match thread.join() {
                Ok(part) => done.extend(part),
                Err(payload) => panic::resume_unwind(payload),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// A disk has this many requests to do before more of them are no help.
const THREADS: usize = 8;

#[cfg(test)]
mod tests {
    use super::map_all;

    #[test]
    fn map_all_keeps_the_order() {
        let items: Vec<u64> = (0..1000).collect();
        let doubled: Vec<u64> = items.iter().map(|item| item * 2).collect();
        assert_eq!(map_all(&items, |item| item * 2), doubled);
        assert!(map_all(&[], |item: &u64| *item).is_empty());
    }
}
