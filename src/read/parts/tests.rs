//! GETs in parts from a store whose every delivery the test makes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use proptest::prelude::*;

use super::*;
use crate::memory::Budget;
use crate::s3::fake::{nothing_is_written, synthetic};
use crate::s3::{ErrorKind, ListPage, ListRequest, ObjectInfo};

const PART: u64 = 100;
const SEED: u64 = 3;

/// A store that delivers what it is told to.
#[derive(Debug, Default)]
struct Manual(Mutex<Vec<Requested>>);

struct Requested {
    range: Range<u64>,
    sink: Option<Arc<dyn BodySink>>,
    delivered: u64,
    canceled: Arc<AtomicBool>,
}

impl fmt::Debug for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Requested").field(&self.range).finish()
    }
}

#[derive(Debug)]
struct Flight(Arc<AtomicBool>);

impl InFlight for Flight {
    fn extend_window(&self, _: u64) {
        unreachable!("a part is granted as a whole");
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Store for Manual {
    fn head<'a>(&'a self, _: &'a Key) -> BoxFuture<'a, Result<ObjectInfo, Error>> {
        unreachable!("nothing but GET is used")
    }

    fn list<'a>(&'a self, _: &'a ListRequest) -> BoxFuture<'a, Result<ListPage, Error>> {
        unreachable!("nothing but GET is used")
    }

    fn get(
        &self,
        request: GetRequest,
        sink: Arc<dyn BodySink>,
    ) -> Result<Box<dyn InFlight>, Error> {
        let GetRequest {
            range,
            window,
            is_hedge,
            ..
        } = request;
        assert_eq!(window, range.end - range.start);
        let is_known = self.requests().iter().any(|known| known.range == range);
        assert_eq!(is_hedge, is_known);
        let canceled = Arc::new(AtomicBool::new(false));
        self.requests().push(Requested {
            range,
            sink: Some(sink),
            delivered: 0,
            canceled: Arc::clone(&canceled),
        });
        Ok(Box::new(Flight(canceled)))
    }

    nothing_is_written!();
}

impl Manual {
    fn requests(&self) -> MutexGuard<'_, Vec<Requested>> {
        self.0.lock().expect("no test panics under it")
    }

    fn ranges(&self) -> Vec<Range<u64>> {
        let requests = self.requests();
        requests
            .iter()
            .map(|request| request.range.clone())
            .collect()
    }

    fn is_canceled(&self, index: usize) -> bool {
        self.requests()[index].canceled.load(Ordering::Relaxed)
    }

    /// Delivers up to `bytes` bytes more of a request, also when it was cancelled, as a store may.
    fn deliver(&self, index: usize, bytes: u64) {
        let (sink, range) = {
            let mut requests = self.requests();
            let request = &mut requests[index];
            let start = request.range.start + request.delivered;
            let end = (start + bytes).min(request.range.end);
            request.delivered += end - start;
            (request.sink.clone(), start..end)
        };
        if let Some(sink) = sink {
            sink.part(range.start, synthetic(SEED, range));
        }
    }

    fn deliver_all(&self, index: usize) {
        self.deliver(index, u64::MAX / 2);
        self.finish(index, Ok(()));
    }

    fn finish(&self, index: usize, result: Result<(), Error>) {
        let sink = self.requests()[index].sink.take();
        if let Some(sink) = sink {
            sink.finish(result);
        }
    }
}

/// Checks that bytes come in order, and keeps the end.
#[derive(Default)]
struct Collector(Mutex<Collected>);

#[derive(Default)]
struct Collected {
    received: u64,
    end: Option<Result<(), ErrorKind>>,
}

impl Collector {
    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.0.lock().expect("no test panics under it")
    }

    fn received(&self) -> u64 {
        self.lock().received
    }

    fn end(&self) -> Option<Result<(), ErrorKind>> {
        self.lock().end
    }
}

impl BodySink for Collector {
    fn part(&self, offset: u64, bytes: Bytes) {
        let mut collected = self.lock();
        assert_eq!(collected.end, None, "bytes after the end");
        assert_eq!(offset, collected.received, "bytes out of order");
        collected.received += bytes.len() as u64;
        assert_eq!(bytes, synthetic(SEED, offset..collected.received));
    }

    fn finish(&self, result: Result<(), Error>) {
        let result = result.map_err(|error| error.kind());
        assert_eq!(self.lock().end.replace(result), None, "a second end");
    }
}

struct Fixture {
    store: Arc<Manual>,
    core: Arc<Core>,
    budget: Arc<Budget>,
    sink: Arc<Collector>,
    get: Arc<Get>,
    owner: Box<dyn InFlight>,
}

/// A GET of `0..end` with this window, of a mount where parts take a millisecond.
fn fixture(end: u64, window: u64, reserve: u64) -> Fixture {
    let store = Arc::new(Manual::default());
    let budget = Budget::new(0, reserve);
    let core = Core::new(HedgeConfig {
        part_size: PART,
        percent: 100,
        budget: Arc::clone(&budget),
    });
    for _ in 0..200 {
        core.note_arrival(&(0..PART), Duration::from_millis(1), false);
    }
    let sink = Arc::new(Collector::default());
    let request = GetRequest {
        key: Key::new("object").expect("valid"),
        if_match: ETag::new("e"),
        size: end,
        range: 0..end,
        window,
        is_hedge: false,
    };
    let source: Arc<dyn Store> = store.clone();
    let get = Arc::new(Get::new(&core, &source, request, sink.clone()));
    get.allow(window);
    let owner = Box::new(CancelOnDrop(Arc::clone(&get)));
    Fixture {
        store,
        core,
        budget,
        sink,
        get,
        owner,
    }
}

impl Fixture {
    /// What the thread does for a part that was asked for long ago.
    fn consider(&self, start: u64) -> bool {
        let later = Instant::now() + Duration::from_secs(60);
        self.get.consider(start, later)
    }
}

fn error(kind: ErrorKind) -> Error {
    Error::new(kind, crate::s3::Context::default())
}

#[test]
fn parts_run_in_parallel_within_the_window_and_arrive_in_order() {
    let fixture = fixture(450, 101, 0);
    let Fixture { store, sink, .. } = &fixture;
    assert_eq!(store.ranges(), [0..100, 100..200]);
    store.deliver_all(1);
    assert_eq!(sink.received(), 0);
    store.deliver_all(0);
    assert_eq!(sink.received(), 200);
    fixture.owner.extend_window(99);
    assert_eq!(store.ranges().len(), 2);
    fixture.owner.extend_window(1000);
    assert_eq!(store.ranges()[2..], [200..300, 300..400, 400..450]);
    (2..5).rev().for_each(|index| store.deliver_all(index));
    assert_eq!((sink.received(), sink.end()), (450, Some(Ok(()))));
}

#[test]
fn late_part_is_asked_for_again_and_the_loser_is_cancelled() {
    for winner in [0, 3] {
        let fixture = fixture(300, 300, 1000);
        let Fixture { store, sink, .. } = &fixture;
        assert!(!fixture.consider(0), "it is hedged only once");
        assert_eq!(store.ranges().get(3), Some(&(0..100)));
        assert_eq!(fixture.budget.permitted(), 100);
        store.deliver_all(1);
        store.deliver_all(winner);
        assert_eq!(sink.received(), 200, "what arrived behind it comes at once");
        assert!(store.is_canceled(3 - winner));
        assert_eq!(fixture.budget.permitted(), 0);
        store.deliver_all(3 - winner);
        store.deliver_all(2);
        assert_eq!((sink.received(), sink.end()), (300, Some(Ok(()))));
        let HedgeCounters {
            started,
            won,
            bytes,
        } = fixture.core.counters();
        assert_eq!((started, won, bytes), (1, u64::from(winner == 3), 100));
    }
}

#[test]
fn part_that_holds_back_nothing_is_not_hedged() {
    let fixture = fixture(300, 300, 1000);
    assert!(fixture.consider(100), "it may be due later");
    assert_eq!(fixture.store.ranges().len(), 3);
    fixture.store.deliver_all(0);
    assert!(!fixture.consider(100));
    assert_eq!(fixture.store.ranges().get(3), Some(&(100..200)));
}

#[test]
fn part_that_is_in_time_is_not_hedged() {
    let fixture = fixture(300, 300, 1000);
    let asked = fixture.get.lock().parts[0].asked;
    let soon = asked + Duration::from_millis(20);
    assert!(fixture.get.consider(0, soon));
    assert_eq!(fixture.store.ranges().len(), 3);
}

#[test]
fn without_memory_or_credit_nothing_is_hedged() {
    let poor = fixture(300, 300, 1000);
    let permit = poor.budget.try_permit(950);
    assert!(poor.consider(0), "it may fit later");
    assert_eq!(poor.store.ranges().len(), 3);
    drop(permit);
    assert!(!poor.consider(0));

    let stalled = fixture(3000, 3000, 100_000);
    let hedged = (0..30).filter(|part| {
        let asked_again = !stalled.consider(part * PART);
        // The first request wins late, so that only the hedge's cost is left.
        stalled
            .store
            .deliver_all(usize::try_from(*part).expect("small"));
        asked_again
    });
    assert!(hedged.count() >= 8);
    let HedgeCounters { bytes, .. } = stalled.core.counters();
    assert!(bytes <= 30 * PART + 8 * PART);
}

#[test]
fn failed_hedge_changes_nothing() {
    let fixture = fixture(200, 200, 1000);
    let Fixture { store, sink, .. } = &fixture;
    fixture.consider(0);
    store.finish(2, Err(error(ErrorKind::Precondition)));
    assert_eq!(fixture.budget.permitted(), 0);
    assert_eq!(sink.end(), None);
    store.deliver_all(0);
    store.deliver_all(1);
    assert_eq!((sink.received(), sink.end()), (200, Some(Ok(()))));
}

#[test]
fn failed_first_request_leaves_it_to_the_hedge() {
    for hedge_fails in [false, true] {
        let fixture = fixture(100, 100, 1000);
        let Fixture { store, sink, .. } = &fixture;
        fixture.consider(0);
        store.finish(0, Err(error(ErrorKind::Connection)));
        assert_eq!(sink.end(), None);
        if hedge_fails {
            store.finish(1, Err(error(ErrorKind::Throttled)));
            assert_eq!(sink.end(), Some(Err(ErrorKind::Connection)));
        } else {
            store.deliver_all(1);
            assert_eq!((sink.received(), sink.end()), (100, Some(Ok(()))));
        }
        assert_eq!(fixture.budget.permitted(), 0);
    }
}

#[test]
fn failed_part_ends_the_get_after_those_before_it() {
    let fixture = fixture(400, 400, 0);
    let Fixture { store, sink, .. } = &fixture;
    store.finish(2, Err(error(ErrorKind::Timeout)));
    store.deliver_all(0);
    assert_eq!((sink.received(), sink.end()), (100, None));
    store.deliver_all(1);
    assert_eq!(
        (sink.received(), sink.end()),
        (200, Some(Err(ErrorKind::Timeout)))
    );
    assert!(store.is_canceled(3));
    store.deliver_all(3);
}

#[test]
fn bytes_that_were_not_asked_for_fail_the_part() {
    type Deed = fn(&dyn BodySink);
    let deeds: [(Deed, ErrorKind); 5] = [
        (
            |sink| sink.part(1, synthetic(SEED, 1..100)),
            ErrorKind::Protocol,
        ),
        (
            |sink| sink.part(0, synthetic(SEED, 0..101)),
            ErrorKind::Protocol,
        ),
        (
            |sink| {
                sink.part(0, synthetic(SEED, 0..50));
                sink.part(49, synthetic(SEED, 49..100));
            },
            ErrorKind::Protocol,
        ),
        (
            |sink| {
                sink.part(0, synthetic(SEED, 0..99));
                sink.finish(Ok(()));
            },
            ErrorKind::Protocol,
        ),
        (|_| (), ErrorKind::Canceled),
    ];
    for (deed, kind) in deeds {
        let fixture = fixture(100, 100, 0);
        let sink = fixture.store.requests()[0].sink.take().expect("asked");
        deed(&*sink);
        drop(sink);
        assert_eq!(fixture.sink.received(), 0);
        assert_eq!(fixture.sink.end(), Some(Err(kind)));
    }
}

#[test]
fn dropped_get_cancels_everything_and_gives_back_its_memory() {
    let fixture = fixture(300, 300, 1000);
    fixture.consider(0);
    assert_eq!(fixture.budget.permitted(), 100);
    drop(fixture.owner);
    assert_eq!(fixture.budget.permitted(), 0);
    assert!((0..4).all(|index| fixture.store.is_canceled(index)));
    (0..4).for_each(|index| fixture.store.deliver_all(index));
    assert_eq!((fixture.sink.received(), fixture.sink.end()), (0, None));
    assert!(Arc::strong_count(&fixture.get) == 1, "nothing keeps it");
}

#[derive(Debug, Clone)]
enum Event {
    Deliver(prop::sample::Index, u64),
    Fail(prop::sample::Index),
    Extend(u64),
    Consider(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (any::<prop::sample::Index>(), 1..150u64)
            .prop_map(|(index, bytes)| Event::Deliver(index, bytes)),
        1 => any::<prop::sample::Index>().prop_map(Event::Fail),
        2 => (1..300u64).prop_map(Event::Extend),
        4 => (0..10u64).prop_map(|part| Event::Consider(part * PART)),
    ]
}

proptest! {
    #[test]
    fn prop_any_race_gives_every_byte_once_and_in_order(
        end in 1u64..1000,
        window in 0u64..300,
        events in prop::collection::vec(event(), 0..150),
    ) {
        let fixture = fixture(end, window, 250);
        let Fixture { store, sink, .. } = &fixture;
        let mut failed = false;
        for event in events {
            let count = store.ranges().len();
            match event {
                Event::Deliver(index, bytes) if count > 0 => {
                    store.deliver(index.index(count), bytes);
                }
                Event::Fail(index) if count > 0 => {
                    failed = true;
                    store.finish(index.index(count), Err(error(ErrorKind::Connection)));
                }
                Event::Extend(bytes) => fixture.owner.extend_window(bytes),
                Event::Consider(start) => drop(fixture.consider(start)),
                Event::Deliver(..) | Event::Fail(..) => {}
            }
        }
        fixture.owner.extend_window(1000);
        (0..store.ranges().len()).for_each(|index| store.deliver_all(index));
        match sink.end() {
            Some(Ok(())) => prop_assert_eq!(sink.received(), end),
            Some(Err(kind)) => prop_assert!(failed && kind == ErrorKind::Connection),
            None => prop_assert!(false, "no end"),
        }
        prop_assert_eq!(fixture.budget.permitted(), 0);
        let HedgeCounters { started, won, .. } = fixture.core.counters();
        prop_assert!(won <= started);
        drop(fixture.owner);
        prop_assert_eq!(Arc::strong_count(&fixture.get), 1, "nothing keeps it");
    }
}
