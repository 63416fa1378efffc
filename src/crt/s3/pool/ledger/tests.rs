//! Ledgers under every order of events.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

/// Memory of a system that has a certain amount of it.
struct FakeBlock {
    number: usize,
    bytes: u64,
}

thread_local! {
    static SYSTEM_FREE: Cell<u64> = const { Cell::new(u64::MAX) };
    static NUMBERS: Cell<usize> = const { Cell::new(0) };
}

impl Memory for FakeBlock {
    fn allocate(bytes: u64) -> Option<Self> {
        let left = SYSTEM_FREE.get().checked_sub(bytes)?;
        SYSTEM_FREE.set(left);
        NUMBERS.set(NUMBERS.get() + 1);
        let number = NUMBERS.get();
        Some(Self { number, bytes })
    }
}

impl Drop for FakeBlock {
    fn drop(&mut self) {
        SYSTEM_FREE.set(SYSTEM_FREE.get() + self.bytes);
    }
}

/// Bytes that are out of the system, which starts full in each test's thread.
fn allocated() -> u64 {
    u64::MAX - SYSTEM_FREE.get()
}

#[derive(Debug, Clone)]
struct FakeWaiter {
    number: usize,
    gone: Rc<Cell<bool>>,
}

impl Waiter for FakeWaiter {
    fn is_gone(&self) -> bool {
        self.gone.get()
    }
}

fn waiter(number: usize) -> FakeWaiter {
    FakeWaiter {
        number,
        gone: Rc::default(),
    }
}

type FakeLedger = Ledger<FakeBlock, FakeWaiter>;

const PAGE: u64 = 4096;

/// A ledger of `limit` pages with parts of 8 pages that keeps `spare` pages.
fn ledger(limit: u64, spare: u64) -> FakeLedger {
    Ledger::with_spare(limit * PAGE, 8 * PAGE, spare * PAGE)
}

/// The numbers of those who got a grant, and the grants.
fn granted(settled: Settled<FakeBlock, FakeWaiter>) -> (Vec<usize>, Vec<Grant>) {
    let answers = settled.answers.into_iter();
    answers
        .filter_map(|(waiter, answer)| Some((waiter.number, answer.ok()?)))
        .unzip()
}

fn grant(ledger: &mut FakeLedger, pages: u64) -> Grant {
    let (_, mut grants) = granted(ledger.reserve(pages * PAGE, false, waiter(0)));
    grants.pop().expect("fits")
}

#[test]
fn block_given_back_last_is_used_next() {
    let mut ledger = ledger(100, 100);
    let grants = [0; 3].map(|_| grant(&mut ledger, 8));
    let blocks = grants
        .each_ref()
        .map(|grant| ledger.claim(grant).expect("promised"));
    let numbers = blocks.each_ref().map(|block| block.number);
    for (grant, block) in grants.iter().zip(blocks) {
        let _ = ledger.give_back(grant, Some(block));
    }
    let again = [0; 3].map(|_| grant(&mut ledger, 8));
    let warm = again
        .each_ref()
        .map(|grant| ledger.claim(grant).expect("promised").number);
    assert_eq!(warm, [numbers[2], numbers[1], numbers[0]]);
}

#[test]
fn claims_decide_which_block_it_is_not_grants() {
    let mut ledger = ledger(100, 100);
    let first = grant(&mut ledger, 8);
    let prepared = [0; 4].map(|_| grant(&mut ledger, 8));
    let warm = ledger.claim(&first).expect("promised");
    let number = warm.number;
    let _ = ledger.give_back(&first, Some(warm));
    for next in prepared {
        let block = ledger.claim(&next).expect("promised");
        assert_eq!(block.number, number, "one block serves one after the other");
        let _ = ledger.give_back(&next, Some(block));
    }
}

#[test]
fn first_come_first_served() {
    let mut ledger = ledger(10, 0);
    let held = grant(&mut ledger, 8);
    assert!(
        granted(ledger.reserve(5 * PAGE, false, waiter(1)))
            .0
            .is_empty()
    );
    let (small, _) = granted(ledger.reserve(PAGE, false, waiter(2)));
    assert!(small.is_empty(), "no overtaking");
    let (served, grants) = granted(ledger.give_back(&held, None));
    assert_eq!(served, [1, 2]);
    grants
        .iter()
        .for_each(|grant| drop(ledger.give_back(grant, None)));
    assert_eq!(ledger.usage().granted, 0);
}

#[test]
fn those_who_have_gone_are_passed_over() {
    let mut ledger = ledger(10, 0);
    let held = grant(&mut ledger, 7);
    let large = waiter(1);
    let _ = ledger.reserve(8 * PAGE, false, large.clone());
    large.gone.set(true);
    let settled = ledger.reserve(3 * PAGE, false, waiter(2));
    let answers: Vec<_> = settled
        .answers
        .iter()
        .map(|(waiter, answer)| (waiter.number, answer.as_ref().err().copied()))
        .collect();
    assert_eq!(answers, [(1, Some(Refusal::Gone)), (2, None)]);
    drop(held);
}

#[test]
fn forced_reservations_neither_wait_nor_starve_others() {
    let mut ledger = ledger(10, 0);
    let held = grant(&mut ledger, 2);
    let (forced, grants) = granted(ledger.reserve(8 * PAGE, true, waiter(1)));
    assert_eq!(forced, [1]);
    assert!(granted(ledger.reserve(PAGE, false, waiter(2))).0.is_empty());
    let (forced, more) = granted(ledger.reserve(8 * PAGE, true, waiter(3)));
    assert_eq!(forced, [3], "never refused, and nobody is in its way");
    assert_eq!(ledger.usage().granted, 18 * PAGE, "beyond the limit");
    let (served, _grants) = granted(ledger.give_back(&held, None));
    assert_eq!(served, [2], "a fifth is left");
    assert!(
        granted(ledger.reserve(2 * PAGE, false, waiter(4)))
            .0
            .is_empty()
    );
    let (served, _) = granted(ledger.give_back(&grants[0], None));
    assert!(served.is_empty());
    let (served, _grants) = granted(ledger.give_back(&more[0], None));
    assert_eq!(served, [4]);
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let mut ledger = ledger(10, 0);
    for (size, forced, refusal) in [
        (0, false, Refusal::Empty),
        (0, true, Refusal::Empty),
        (10 * PAGE + 1, false, Refusal::TooLarge),
        (u64::MAX, true, Refusal::TooLarge),
    ] {
        let settled = ledger.reserve(size, forced, waiter(0));
        assert_eq!(
            settled.answers[0].1.as_ref().err(),
            Some(&refusal),
            "{size}"
        );
    }
    assert_eq!(ledger.usage(), FakeLedger::new(10 * PAGE, 0).usage());
}

#[test]
fn refusal_of_the_system_is_answered_and_others_go_on() {
    let mut ledger = ledger(100, 0);
    let held = grant(&mut ledger, 8);
    let free = SYSTEM_FREE.replace(2 * PAGE);
    let settled = ledger.reserve(8 * PAGE, false, waiter(1));
    let refused = settled.answers[0].1.as_ref().err();
    assert_eq!(refused, Some(&Refusal::NoMemory));
    let (served, _grants) = granted(ledger.reserve(PAGE, false, waiter(2)));
    assert_eq!(served, [2]);
    SYSTEM_FREE.set(free - PAGE);
    assert_eq!(ledger.usage().granted, 9 * PAGE);
    drop(held);
}

#[test]
fn trim_keeps_what_is_granted_alone() {
    let mut ledger = ledger(100, 100);
    let [used, prepared, done] = [0; 3].map(|_| grant(&mut ledger, 8));
    let block = ledger.claim(&used).expect("promised");
    let other = ledger.claim(&done);
    drop(ledger.give_back(&done, other));
    assert_eq!((ledger.usage().held, allocated()), (24 * PAGE, 24 * PAGE));
    drop(ledger.trim());
    assert_eq!((ledger.usage().held, allocated()), (16 * PAGE, 16 * PAGE));
    assert!(ledger.claim(&prepared).is_some());
    drop(ledger.give_back(&used, Some(block)));
}

#[test]
fn spare_blocks_of_other_sizes_make_room_the_oldest_first() {
    let mut ledger = ledger(16, 100);
    let grants = [4, 5, 6].map(|pages| grant(&mut ledger, pages));
    let blocks = grants
        .each_ref()
        .map(|grant| ledger.claim(grant).expect("promised"));
    for (grant, block) in grants.iter().zip(blocks) {
        let _ = ledger.give_back(grant, Some(block));
    }
    let _needs_nine = grant(&mut ledger, 8);
    let sizes: Vec<_> = ledger.idle.keys().map(|bytes| bytes / PAGE).collect();
    assert_eq!(sizes, [6, 8]);
    assert_eq!(ledger.usage().held, 14 * PAGE);
}

#[derive(Debug, Clone)]
enum Step {
    Reserve(u64, bool),
    Claim(usize),
    GiveBack(usize),
    Leave(usize),
    Trim,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..70_000, prop::bool::weighted(0.1)).prop_map(|(size, forced)| Step::Reserve(size, forced)),
        4 => (0usize..20).prop_map(Step::Claim),
        4 => (0usize..20).prop_map(Step::GiveBack),
        1 => (0usize..20).prop_map(Step::Leave),
        1 => Just(Step::Trim),
    ]
}

/// What a ledger must agree with.
struct Model {
    ledger: FakeLedger,
    out: Vec<(Grant, Option<FakeBlock>)>,
    /// In the order in which they came.
    waiting: VecDeque<FakeWaiter>,
    answered: RefCell<usize>,
}

impl Model {
    fn take(&mut self, settled: Settled<FakeBlock, FakeWaiter>, expected: Option<usize>) {
        for (waiter, answer) in settled.answers {
            *self.answered.borrow_mut() += 1;
            if expected != Some(waiter.number) {
                let first = self.waiting.pop_front().expect("waits");
                assert_eq!(waiter.number, first.number, "in order");
                assert_eq!(answer.is_err(), waiter.is_gone());
            }
            self.out.extend(answer.ok().map(|grant| (grant, None)));
        }
        drop(settled.evicted);
    }

    fn check(&self) {
        let (ledger, usage) = (&self.ledger, self.ledger.usage());
        let granted: u64 = self.out.iter().map(|(grant, _)| grant.bytes).sum();
        assert_eq!(usage.granted, granted);
        assert_eq!(usage.held, allocated());
        assert!(usage.held <= usage.limit.max(granted));
        let patient = self.out.iter().filter(|(grant, _)| !grant.forced);
        assert!(patient.map(|(grant, _)| grant.bytes).sum::<u64>() <= usage.limit);
        assert_eq!(usage.waiting, self.waiting.len());
        if let Some(first) = ledger.waiting.front() {
            let could = !first.waiter.is_gone() && ledger.fits(first.bytes);
            assert!(!could, "nobody waits for what is there");
        }
        for (bytes, idle) in &ledger.idle {
            let unclaimed = |(grant, block): &&(Grant, Option<FakeBlock>)| {
                grant.bytes == *bytes && block.is_none()
            };
            assert_eq!(idle.promised, self.out.iter().filter(unclaimed).count());
            assert!(idle.blocks.len() >= idle.promised, "promises are kept");
            assert!(
                idle.blocks
                    .iter()
                    .is_sorted_by_key(|(returned, _)| returned)
            );
        }
    }
}

proptest! {
    #[test]
    fn accounts_agree_and_nobody_is_forgotten(
        limit in 8u64..40,
        spare in 0u64..40,
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut model = Model {
            ledger: ledger(limit, spare),
            out: Vec::new(),
            waiting: VecDeque::new(),
            answered: RefCell::new(0),
        };
        let mut asked = 0;
        for step in steps {
            match step {
                Step::Reserve(size, forced) => {
                    asked += 1;
                    let waiter = waiter(asked);
                    let bytes = model.ledger.bytes(size);
                    let at_once = size == 0 || bytes > model.ledger.limit || forced;
                    if !at_once {
                        model.waiting.push_back(waiter.clone());
                    }
                    let settled = model.ledger.reserve(size, forced, waiter);
                    model.take(settled, at_once.then_some(asked));
                }
                Step::Claim(index) => if let Some((grant, block)) = model.out.get_mut(index)
                    && block.is_none()
                {
                    let warmest = model.ledger.idle[&grant.bytes].blocks.back().map(|(_, block)| block.number);
                    let claimed = model.ledger.claim(grant).expect("promised");
                    assert_eq!(claimed.bytes, grant.bytes);
                    assert_eq!(Some(claimed.number), warmest);
                    *block = Some(claimed);
                },
                Step::GiveBack(index) => if index < model.out.len() {
                    let (grant, block) = model.out.swap_remove(index);
                    let settled = model.ledger.give_back(&grant, block);
                    model.take(settled, None);
                    let usage = model.ledger.usage();
                    assert!(usage.held - usage.granted <= (spare * PAGE).max(usage.granted));
                },
                Step::Leave(index) => if let Some(waiter) = model.waiting.get(index) {
                    waiter.gone.set(true);
                },
                Step::Trim => {
                    let settled = model.ledger.trim();
                    model.take(settled, None);
                    let usage = model.ledger.usage();
                    assert_eq!(usage.held, usage.granted);
                }
            }
            // Those who leave are noticed at the next step.
            if model.ledger.waiting.front().is_none_or(|first| !first.waiter.is_gone()) {
                model.check();
            }
        }
        while let Some((grant, block)) = model.out.pop() {
            let settled = model.ledger.give_back(&grant, block);
            model.take(settled, None);
        }
        let settled = model.ledger.trim();
        model.take(settled, None);
        model.check();
        assert_eq!(*model.answered.borrow(), asked, "everybody has an answer");
        assert_eq!(allocated(), 0);
    }
}
