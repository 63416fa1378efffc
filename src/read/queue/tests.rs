//! Parts, readers and endings of one fetch.

use super::*;
use crate::s3::ErrorKind;

fn queue(range: Range<u64>, tail: u64) -> Queue {
    let window = Window::whole(&range, Instant::now());
    Queue::new(range, window, Funds::whole(None), tail)
}

fn bytes(len: usize) -> Bytes {
    Bytes::from(vec![0; len])
}

fn poll(queue: &Queue, id: ReaderId) -> Poll<Result<usize, ErrorKind>> {
    let mut reply = Pieces::default();
    let context = Context::from_waker(Waker::noop());
    let polled = queue.poll(id, &context, &mut reply);
    polled.map(|result| result.map(|()| reply.len()).map_err(|error| error.kind()))
}

fn join(queue: &Queue, need: Range<u64>) -> ReaderId {
    match queue.join(need.clone(), Instant::now()) {
        Join::Joined { id, end, .. } => {
            assert_eq!(end, need.end);
            id
        }
        refused => panic!("{refused:?}"),
    }
}

#[test]
fn serves_readers_in_the_order_of_the_bytes() {
    let queue = queue(0..100, 0);
    let late = join(&queue, 50..90);
    let early = join(&queue, 5..15);
    queue.push(0, 0, bytes(10));
    assert_eq!(poll(&queue, early), Poll::Pending);
    queue.push(0, 10, bytes(40));
    assert_eq!(poll(&queue, early), Poll::Ready(Ok(10)));
    assert_eq!(poll(&queue, late), Poll::Pending);
    queue.push(0, 50, bytes(50));
    assert_eq!(poll(&queue, late), Poll::Ready(Ok(40)));
}

#[test]
fn keeps_what_readers_need_and_the_tail_only() {
    let queue = queue(0..100, 20);
    let slow = join(&queue, 15..25);
    let fast = join(&queue, 80..90);
    for part in 0..10 {
        queue.push(0, part * 10, bytes(10));
    }
    assert_eq!(queue.extent().kept, 10);
    queue.leave(fast);
    queue.leave(slow);
    assert_eq!(queue.extent().kept, 70);
    assert_eq!(queue.join(69..70, Instant::now()), Join::Gone);
}

#[test]
fn fails_when_bytes_are_missing_repeated_or_too_many() {
    for (offset, len) in [(11, 5), (9, 5), (10, 91)] {
        let queue = queue(0..100, 0);
        let reader = join(&queue, 10..20);
        queue.push(0, 0, bytes(10));
        queue.push(0, offset, bytes(len));
        assert_eq!(poll(&queue, reader), Poll::Ready(Err(ErrorKind::Protocol)));
    }
}

#[test]
fn fails_when_the_body_ends_early() {
    let queue = queue(0..100, 0);
    let (here, missing) = (join(&queue, 0..10), join(&queue, 5..15));
    queue.push(0, 0, bytes(10));
    queue.finish(0, Ok(()));
    assert_eq!(poll(&queue, here), Poll::Ready(Ok(10)));
    assert_eq!(poll(&queue, missing), Poll::Ready(Err(ErrorKind::Protocol)));
}

#[test]
fn ignores_a_request_that_was_replaced() {
    let queue = queue(0..100, 0);
    let reader = join(&queue, 0..20);
    queue.push(0, 0, bytes(10));
    queue.finish(0, Ok(()));
    let Revival::Restart(rest) = queue.revive() else {
        panic!("a short body is fetched again");
    };
    assert_eq!((rest.range, rest.granted), (10..100, 100));
    queue.push(0, 10, bytes(10));
    queue.finish(0, Ok(()));
    assert_eq!(poll(&queue, reader), Poll::Pending);
    queue.push(rest.generation, 10, bytes(10));
    assert_eq!(poll(&queue, reader), Poll::Ready(Ok(20)));
}

#[test]
fn gives_up_when_restarts_bring_nothing() {
    let queue = queue(0..100, 0);
    join(&queue, 0..20);
    queue.push(0, 0, bytes(10));
    for generation in 0..3 {
        queue.finish(generation, Ok(()));
        let restarted = matches!(queue.revive(), Revival::Restart(_));
        assert_eq!(restarted, generation < 2);
    }
}
