//! Work that a thread puts off until it holds no lock.
//!
//! Data arrives on threads of the CRT, and the thread that it arrives on is the best one to answer
//! those who wait for it: the bytes are in its cache, and no other thread has to wake up. But they
//! are woken in the middle of somebody's work, with locks held that they may need. So the callback
//! opens a turn ([`run`]), who is woken in it is put off ([`put_off`]), and runs when the
//! callback's own work is done.

use std::cell::RefCell;
use std::collections::VecDeque;

/// Runs `body`, and then what was put off meanwhile, in that order, until nothing is left. Inside
/// another turn only `body` runs, and what it puts off is left to the outer turn.
pub(crate) fn run<T>(body: impl FnOnce() -> T) -> T {
    if TURN.with_borrow(Option::is_some) {
        return body();
    }
    TURN.set(Some(Turn::default()));
    // Also when something panics: what is left then is dropped.
    let _end = End;
    let result = body();
    while let Some(work) = next() {
        work();
    }
    result
}

/// Puts `work` off to the end of this thread's turn, if there is one, and it has room.
///
/// # Errors
/// Gives `work` back, to be run elsewhere.
pub(crate) fn put_off<W: FnOnce() + 'static>(work: W) -> Result<(), W> {
    TURN.with_borrow_mut(|turn| match turn {
        Some(turn) if turn.taken < MOST => {
            turn.taken += 1;
            turn.later.push_back(Box::new(work));
            Ok(())
        }
        _ => Err(work),
    })
}

fn next() -> Option<Box<dyn FnOnce()>> {
    TURN.with_borrow_mut(|turn| turn.as_mut()?.later.pop_front())
}

/// One callback, and what it leads to.
#[derive(Default)]
struct Turn {
    later: VecDeque<Box<dyn FnOnce()>>,
    /// How much was put off in all.
    taken: usize,
}

/// Ends the turn when dropped.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        // What is dropped may wake somebody, who looks at the turn.
        drop(TURN.take());
    }
}

/// What one turn takes on: other connections wait for this thread.
const MOST: usize = 4;

thread_local! {
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::panic::catch_unwind;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn put_off_outside_of_a_turn_gives_the_work_back() {
        assert!(put_off(|| ()).is_err());
    }

    #[test]
    fn put_off_work_runs_in_order_after_the_body() {
        let log = Rc::new(RefCell::new(Vec::new()));
        let note = |text: &'static str| {
            let log = Rc::clone(&log);
            move || log.borrow_mut().push(text)
        };
        let (second, third) = (note("second"), note("third"));
        let result = run(|| {
            run(|| assert!(put_off(second).is_ok()));
            // Put off by what was put off.
            assert!(put_off(move || assert!(put_off(third).is_ok())).is_ok());
            note("first")();
            7
        });
        assert_eq!(result, 7);
        assert_eq!(*log.borrow(), ["first", "second", "third"]);
        assert!(put_off(|| ()).is_err());
    }

    #[test]
    fn put_off_more_than_a_turn_takes_gives_the_rest_back() {
        let count = Rc::new(Cell::new(0));
        run(|| {
            for index in 0..2 * MOST {
                let count = Rc::clone(&count);
                let taken = put_off(move || count.set(count.get() + 1));
                assert_eq!(taken.is_ok(), index < MOST);
            }
        });
        assert_eq!(count.get(), MOST);
    }

    #[test]
    fn panic_ends_the_turn() {
        let panicked = catch_unwind(|| run(|| panic!("planted")));
        assert!(panicked.is_err());
        assert!(put_off(|| ()).is_err());
    }
}
