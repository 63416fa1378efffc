//! Servers that do not do what S3 does: no wrong byte and no panic come of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::executor::block_on;
use mount_s3::s3::{ETag, ErrorKind, ListRequest, S3Config, S3Store, Store};

use super::collector::Collector;
use super::rogue::{self, Asked, empty_list, response};
use super::store_suite::{key, request};
use super::support::{Crt, MIB, with_key};

const DATE: (&str, &str) = ("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT");

fn connect(crt: &Crt, addr: SocketAddr) -> S3Store {
    let config = S3Config {
        endpoint_url: Some(format!("http://{addr}")),
        part_bytes: MIB,
        max_attempts: 2.try_into().unwrap(),
        ..with_key("a", "b")
    };
    crt.connect(config).expect("it connects")
}

/// The right answer to a GET of an object of 8 MiB of `byte`.
fn part(asked: &Asked, etag: &str, byte: u8) -> Vec<u8> {
    let (first, last) = asked.range.expect("a range");
    let range = format!("bytes {first}-{last}/{}", 8 * MIB);
    let body = vec![byte; usize::try_from(last - first + 1).unwrap()];
    response(
        206,
        &[("ETag", etag), ("Content-Range", &range), DATE],
        &body,
    )
}

/// Reads 8 MiB and gives what came and how it ended.
fn read(
    answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static,
) -> (Vec<u8>, Result<(), ErrorKind>) {
    let addr = rogue::start(move |asked| match asked.is_list() {
        true => empty_list(),
        false => answer(asked),
    });
    let crt = Crt::start();
    let store = connect(&crt, addr);
    let sink = Collector::new();
    let request = request("k", &ETag::new("\"v1\""), 0..8 * MIB, u64::MAX);
    let body = store.get(request, sink.clone()).unwrap();
    let result = sink.wait();
    drop(body);
    (sink.body(), result)
}

#[test]
fn get_from_an_honest_server_ends_well() {
    let (body, result) = read(|asked| part(asked, "\"v1\"", b'1'));
    assert_eq!(result, Ok(()));
    assert!(body.len() as u64 == 8 * MIB && body.iter().all(|byte| *byte == b'1'));
}

#[test]
fn get_from_a_server_that_ignores_if_match_never_mixes_versions() {
    for good in 0..8 {
        let answered = AtomicUsize::new(0);
        let (body, result) = read(move |asked| {
            if answered.fetch_add(1, Ordering::Relaxed) < good {
                part(asked, "\"v1\"", b'1')
            } else {
                part(asked, "\"v2\"", b'2')
            }
        });
        assert_eq!(result, Err(ErrorKind::Precondition), "after {good}");
        assert!(body.iter().all(|byte| *byte == b'1'), "after {good}");
    }
}

#[test]
fn get_of_bytes_that_do_not_match_their_checksum_is_an_integrity_error() {
    let (body, result) = read(|asked| {
        let range = format!("bytes 0-1048575/{}", 8 * MIB);
        assert!(asked.range.is_some());
        let headers = [
            ("ETag", "\"v1\""),
            ("Content-Range", &range),
            ("x-amz-checksum-crc32c", "AAAAAA=="),
        ];
        response(206, &headers, &vec![b'1'; usize::try_from(MIB).unwrap()])
    });
    assert_eq!(result, Err(ErrorKind::Integrity));
    assert_eq!(body, b"");
}

#[test]
fn get_with_answers_that_do_not_fit_ends_with_an_error() {
    let tag = ("ETag", "\"v1\"");
    let bytes = vec![b'1'; usize::try_from(MIB).unwrap()];
    let answers: Vec<(&str, Vec<u8>)> = vec![
        ("no range", response(200, &[tag, DATE], &bytes)),
        (
            "another range",
            response(
                206,
                &[tag, ("Content-Range", "bytes 1-1048576/8388608")],
                &bytes,
            ),
        ),
        (
            "a shorter body",
            response(
                206,
                &[tag, ("Content-Range", "bytes 0-1048575/8388608")],
                &bytes[1..],
            ),
        ),
        ("a longer body", {
            let range = ("Content-Range", "bytes 0-1048575/8388608");
            response(206, &[tag, range], &[&bytes[..], b"x"].concat())
        }),
        (
            "a smaller object",
            response(
                206,
                &[tag, ("Content-Range", "bytes 0-1048575/1048576")],
                &bytes,
            ),
        ),
        (
            "no ETag",
            response(206, &[("Content-Range", "bytes 0-1048575/8388608")], &bytes),
        ),
        (
            "nonsense",
            response(206, &[tag, ("Content-Range", "bytes what/ever")], &bytes),
        ),
        ("no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
    ];
    for (name, answer) in answers {
        let (body, result) = read(move |_| answer.clone());
        assert!(result.is_err(), "{name}");
        let whole = usize::try_from(MIB).unwrap();
        assert!(
            body.len() <= whole && body.iter().all(|byte| *byte == b'1'),
            "{name}"
        );
    }
}

#[test]
fn get_of_other_bytes_is_refused_however_their_range_is_spelled() {
    let read = |name: &'static str, moved: u64| {
        read(move |asked| {
            let (first, last) = asked.range.expect("a range");
            let (by, byte) = match first == 2 * MIB {
                true => (moved, b'2'),
                false => (0, b'1'),
            };
            let name = if by == 0 { "content-range" } else { name };
            let range = format!("bytes {}-{}/{}", first + by, last + by, 8 * MIB);
            let body = vec![byte; usize::try_from(last - first + 1).unwrap()];
            response(206, &[("ETag", "\"v1\""), (name, &range), DATE], &body)
        })
    };
    let (body, result) = read("content-range", 0);
    assert_eq!(result, Ok(()));
    assert_eq!(body.len() as u64, 8 * MIB);
    for name in [
        "Content-Range",
        "content-range",
        "CONTENT-RANGE",
        "X-Nothing",
    ] {
        let (body, result) = read(name, 7);
        assert!(result.is_err(), "{name}");
        assert!(body.iter().all(|byte| *byte == b'1'), "{name}");
    }
}

#[test]
fn head_and_list_with_strange_answers_are_protocol_errors() {
    let addr = rogue::start(|asked| {
        if asked.path.contains("prefix=bad") {
            response(200, &[], b"<html>Welcome to the hotel</html>")
        } else if asked.is_list() {
            empty_list()
        } else if asked.path.contains("/teapot") {
            response(418, &[], &[0xff; 100])
        } else {
            assert_eq!(asked.method, "HEAD");
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec()
        }
    });
    let crt = Crt::start();
    let store = connect(&crt, addr);
    let error = block_on(store.head(&key("k"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    let error = block_on(store.head(&key("teapot"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
    assert_eq!(error.context().status, Some(418));
    let request = ListRequest {
        prefix: "bad".to_owned(),
        ..ListRequest::default()
    };
    let error = block_on(store.list(&request)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
}
