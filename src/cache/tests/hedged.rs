//! A part that is asked for again, as the first request for it is late.

use super::*;
use crate::cache::follow;
use crate::s3::fake::receive;
use crate::s3::{GetRequest, Key};
use crate::wait::{once_in_five, wait_for, within};

/// How long a hedge takes while the request that it is for stands still.
fn hedge() -> Duration {
    let fixture = Fixture::new();
    let etag = fixture.fake.put_synthetic("k", MIB, 1);
    let request = |is_hedge| GetRequest {
        key: Key::new("k").expect("valid"),
        if_match: etag.clone(),
        size: MIB,
        range: 0..MIB,
        window: MIB,
        is_hedge,
    };
    fixture.fake.stall_get_after("k", 0);
    let store = fixture.store.as_ref();
    thread::scope(|scope| {
        let late = scope.spawn(|| receive(store, request(false)));
        wait_for("it stands still", LONG, || {
            (fixture.fake.waiting() == 1).then_some(())
        });
        let start = Instant::now();
        let (body, _request) = receive(store, request(true)).expect("read");
        let took = start.elapsed();
        assert_eq!(body, synthetic(1, 0..MIB));
        assert_eq!((fixture.gets(), fixture.fake.waiting()), (2, 1));
        fixture.fake.release();
        let (body, _request) = late.join().expect("no panic").expect("read");
        assert_eq!(body, synthetic(1, 0..MIB));
        took
    })
}

#[test]
fn hedge_does_not_wait_for_the_request_that_is_late() {
    once_in_five(|_| within(hedge(), follow::PATIENCE));
}
