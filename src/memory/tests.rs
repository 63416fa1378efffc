//! Budgets under every order of events.

use std::sync::Weak;
use std::task::{Context, Poll, Waker};

use futures::FutureExt;
use proptest::prelude::*;

use super::*;

/// A file that holds leases of which some are idle since a time.
struct File {
    idle: Mutex<Vec<(Instant, Lease)>>,
}

impl Holder for File {
    fn last_used(&self) -> Option<Instant> {
        let idle = self.idle.lock().expect("sound");
        idle.iter().map(|(used, _)| *used).max()
    }

    fn give_back(&self, bytes: u64, idle_since: Instant) -> u64 {
        let mut idle = self.idle.lock().expect("sound");
        let mut given = 0;
        while given < bytes
            && let Some(index) = idle.iter().position(|(used, _)| *used <= idle_since)
        {
            given += idle.remove(index).1.bytes();
        }
        given
    }
}

fn nobody() -> Weak<dyn Holder> {
    Weak::<File>::new()
}

fn file(budget: &Arc<Budget>, used: Instant, bytes: u64) -> (Arc<File>, Arc<Account>) {
    let file = Arc::new(File {
        idle: Mutex::default(),
    });
    let holder: Weak<dyn Holder> = Arc::downgrade(&file) as _;
    let account = budget.open(holder);
    let lease = account.lease(bytes).expect("fits");
    file.idle.lock().expect("sound").push((used, lease));
    (file, account)
}

#[test]
fn reclaim_takes_from_the_least_recently_used_first() {
    let budget = Budget::new(100, 10);
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let (second, _a) = file(&budget, at(2), 30);
    let (first, _b) = file(&budget, at(1), 30);
    let (third, _c) = file(&budget, at(3), 30);
    assert!(budget.reclaim(31, at(10)));
    assert_eq!(budget.used(), 30);
    assert_eq!(first.last_used(), None);
    assert_eq!(second.last_used(), None);
    assert_eq!(third.last_used(), Some(at(3)));
}

#[test]
fn reclaim_spares_what_was_used_a_moment_ago() {
    let budget = Budget::new(100, 10);
    let start = Instant::now();
    let (_file, _account) = file(&budget, start, 90);
    assert!(!budget.reclaim(10, start + GRACE / 2));
    assert_eq!(budget.used(), 90);
    assert!(budget.reclaim(10, start + GRACE * 2));
    assert_eq!(budget.used(), 0);
}

#[test]
fn relieve_takes_nothing_while_there_is_plenty() {
    let budget = Budget::new(100, 10);
    let start = Instant::now();
    let (_a, _account) = file(&budget, start, 75);
    budget.relieve(start + GRACE * 2);
    assert_eq!(budget.used(), 75);
    let (_b, _account) = file(&budget, start, 5);
    budget.relieve(start + GRACE * 2);
    assert!(budget.used() <= 62, "{}", budget.used());
}

#[test]
fn closed_accounts_are_asked_no_more() {
    let budget = Budget::new(100, 10);
    let (_file, account) = file(&budget, Instant::now(), 50);
    assert_eq!(budget.holders().open.len(), 1);
    _file.idle.lock().expect("sound").clear();
    drop(account);
    assert_eq!(budget.holders().open.len(), 0);
    assert_eq!(budget.used(), 0);
}

#[test]
fn room_is_ample_for_one_and_fair_for_many() {
    let budget = Budget::new(800, 10);
    let first = budget.open(nobody());
    assert_eq!(first.room(1 << 40).growth, 700);
    assert_eq!(first.room(300).growth, 300);
    let mut lease = first.lease(650).expect("fits");
    assert!(!first.room(1 << 40).over);
    let second = budget.open(nobody());
    let _other = second.lease(50).expect("fits");
    assert!(first.room(1 << 40).over, "the newcomer has a right to half");
    assert_eq!(second.room(1 << 40).growth, 300);
    lease.shrink(350);
    assert!(!first.room(1 << 40).over);
}

#[test]
fn permits_come_in_the_order_in_which_they_were_asked_for() {
    let budget = Budget::new(0, 10);
    let held = budget.try_permit(6).expect("free");
    let mut large = budget.permit(100);
    let mut small = budget.permit(1);
    assert!((&mut large).now_or_never().is_none());
    assert!((&mut small).now_or_never().is_none(), "no overtaking");
    assert!(budget.try_permit(1).is_none(), "no overtaking");
    drop(held);
    let large = large.now_or_never().expect("its turn: the whole reserve");
    assert!((&mut small).now_or_never().is_none());
    drop(large);
    drop(small.now_or_never().expect("its turn"));
    assert_eq!(budget.permitted(), 0);
}

#[test]
fn abandoned_wait_lets_the_next_one_through() {
    let budget = Budget::new(0, 10);
    let held = budget.try_permit(8).expect("free");
    let mut first = budget.permit(5);
    let mut second = budget.permit(2);
    let mut context = Context::from_waker(Waker::noop());
    assert!(first.poll_unpin(&mut context).is_pending());
    assert!(second.poll_unpin(&mut context).is_pending());
    drop(first);
    assert!(matches!(second.poll_unpin(&mut context), Poll::Ready(_)));
    drop((second, held));
    assert_eq!(budget.permitted(), 0);
}

#[test]
fn every_waiting_thread_gets_its_permit() {
    let budget = Budget::new(0, 100);
    std::thread::scope(|scope| {
        for thread in 0..32 {
            let budget = &budget;
            scope.spawn(move || {
                for round in 0..200 {
                    let bytes = 1 + (thread * 7 + round * 13) % 100;
                    let permit = futures::executor::block_on(budget.permit(bytes));
                    assert!(budget.permitted() <= 100);
                    drop(permit);
                }
            });
        }
    });
    assert_eq!(budget.permitted(), 0);
}

#[derive(Debug, Clone)]
enum Step {
    Lease(usize, u64),
    Grow(usize, u64),
    Shrink(usize, u64),
    Drop(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0usize..4, 0u64..600).prop_map(|(account, bytes)| Step::Lease(account, bytes)),
        (0usize..8, 0u64..600).prop_map(|(lease, bytes)| Step::Grow(lease, bytes)),
        (0usize..8, 0u64..600).prop_map(|(lease, bytes)| Step::Shrink(lease, bytes)),
        (0usize..8).prop_map(Step::Drop),
    ]
}

proptest! {
    #[test]
    fn never_over_the_limit_and_zero_at_the_end(steps in prop::collection::vec(step(), 1..100)) {
        let budget = Budget::new(1000, 0);
        let accounts: Vec<_> = (0..4).map(|_| budget.open(nobody())).collect();
        let mut leases: Vec<Lease> = Vec::new();
        for step in steps {
            match step {
                Step::Lease(account, bytes) => {
                    let fits = budget.used() + bytes <= 1000;
                    let lease = accounts[account].lease(bytes);
                    prop_assert_eq!(lease.is_some(), fits);
                    leases.extend(lease);
                }
                Step::Grow(index, bytes) => if let Some(lease) = leases.get_mut(index) {
                    let fits = budget.used() + bytes <= 1000;
                    prop_assert_eq!(lease.grow(bytes), fits);
                },
                Step::Shrink(index, bytes) => if let Some(lease) = leases.get_mut(index) {
                    lease.shrink(bytes);
                },
                Step::Drop(index) => if index < leases.len() {
                    leases.remove(index);
                },
            }
            prop_assert!(budget.used() <= 1000);
            prop_assert_eq!(budget.used(), leases.iter().map(Lease::bytes).sum::<u64>());
            let active = accounts.iter().filter(|account| account.held() > 0).count() as u64;
            prop_assert_eq!(budget.active.load(Ordering::Relaxed), active);
        }
        drop(leases);
        prop_assert_eq!(budget.used(), 0);
    }
}
