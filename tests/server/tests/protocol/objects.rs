//! Objects and lists.

use std::time::{Duration, Instant};

use s3_test_server::{BulkSpec, ObjectSpec, RestoreSpec, synthetic};

use crate::client::{Request, control};
use crate::start;
use crate::wait::{once_in_five, within};

const HOSTILE_KEYS: [&str; 18] = [
    "a",
    "a/b",
    "a//b",
    "a/",
    "/lead",
    ".",
    "..",
    "a/../b",
    "a/./b",
    "dir/",
    "dir//",
    "tab\tkey",
    "\u{1}x",
    "sp ace+plus&amp<>\"'",
    "é/ü",
    "\u{ffff}z",
    "\u{10000}z",
    "%2F%",
];

#[test]
fn put_of_any_key_reads_back_the_same() {
    let (server, client) = start();
    for (number, key) in HOSTILE_KEYS.iter().enumerate() {
        let path = format!("/bucket/{key}");
        let body = format!("body {number}");
        assert_eq!(
            client.put(&path, body.as_bytes(), &[]).status,
            200,
            "{key:?}"
        );
        let answer = client.get(&path, &[]);
        assert_eq!((answer.status, answer.text()), (200, body), "{key:?}");
        assert_eq!(
            client.head(&path, &[]).header("content-length"),
            answer.body.len().to_string()
        );
    }
    let mut sorted: Vec<String> = HOSTILE_KEYS.iter().map(|key| (*key).to_owned()).collect();
    sorted.sort();
    assert_eq!(server.keys("bucket"), sorted);
    let listed = client
        .list("/bucket", &[("encoding-type", "url")])
        .elements("Key");
    let decoded: Vec<String> = listed
        .iter()
        .map(|key| {
            percent_encoding::percent_decode_str(&key.replace('+', " "))
                .decode_utf8_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(decoded, sorted);
}

#[test]
fn list_pages_by_prefix_delimiter_and_token() {
    let (server, client) = start();
    server
        .put_objects(&BulkSpec {
            bucket: "bucket".into(),
            key: "p/{i:03}/x".into(),
            count: 25,
            size: 7,
            ..BulkSpec::default()
        })
        .unwrap();
    server.put_object(&ObjectSpec::text("bucket", "p/000", "marker"));
    server.put_object(&ObjectSpec::text("bucket", "q", "other"));
    let mut token = String::new();
    let (mut keys, mut prefixes, mut pages) = (Vec::new(), Vec::new(), 0);
    loop {
        let mut query = vec![("prefix", "p/"), ("delimiter", "/"), ("max-keys", "4")];
        if !token.is_empty() {
            query.push(("continuation-token", &token));
        }
        let page = client.list("/bucket", &query);
        assert_eq!(page.status, 200);
        pages += 1;
        keys.extend(page.elements("Key"));
        let all = page.elements("Prefix");
        prefixes.extend(all[1..].to_vec());
        if page.element("IsTruncated") == "false" {
            break;
        }
        assert_eq!(page.element("KeyCount"), "4");
        token = page.element("NextContinuationToken");
    }
    assert_eq!(keys, ["p/000"]);
    assert_eq!(
        prefixes,
        (0..25).map(|i| format!("p/{i:03}/")).collect::<Vec<_>>()
    );
    assert_eq!(pages, 7);
    let after = client.list("/bucket", &[("start-after", "p/023/x")]);
    assert_eq!(after.elements("Key"), ["p/024/x", "q"]);
    assert_eq!(
        client
            .list("/bucket", &[("max-keys", "0")])
            .element("KeyCount"),
        "0"
    );
    assert_eq!(
        client
            .list("/bucket", &[("continuation-token", "nonsense!")])
            .status,
        400
    );
    assert!(
        client
            .list("/bucket", &[("fetch-owner", "true")])
            .text()
            .contains("<Owner>")
    );
    let old = client.send(&Request {
        method: "GET",
        path: "/bucket",
        query: vec![("prefix", "p/"), ("delimiter", "/"), ("max-keys", "2")],
        ..Request::default()
    });
    assert_eq!(old.element("NextMarker"), "p/000/");
}

#[test]
fn get_of_a_range_returns_just_that_range() {
    let (server, client) = start();
    server.put_object(&ObjectSpec::synthetic("bucket", "big", 9, 100 << 30));
    let whole: u64 = 100 << 30;
    let cases = [
        ("bytes=0-0".to_owned(), 0, 1),
        (
            format!(
                "bytes={}-{}",
                synthetic::PERIOD - 10,
                synthetic::PERIOD + 2_000_000
            ),
            synthetic::PERIOD - 10,
            2_000_011,
        ),
        (format!("bytes={}-", whole - 5), whole - 5, 5),
        ("bytes=-1000".to_owned(), whole - 1000, 1000),
        (format!("bytes={}-{}", whole - 5, whole * 2), whole - 5, 5),
    ];
    for (range, offset, length) in cases {
        let answer = client.get("/bucket/big", &[("range", &range)]);
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.body.len(), length, "{range}");
        assert_eq!(
            synthetic::first_difference(9, offset, &answer.body),
            None,
            "{range}"
        );
        let last = offset + length as u64 - 1;
        assert_eq!(
            answer.header("content-range"),
            format!("bytes {offset}-{last}/{whole}")
        );
    }
    let beyond = client.get("/bucket/big", &[("range", &format!("bytes={whole}-"))]);
    assert_eq!(
        (beyond.status, beyond.element("Code").as_str()),
        (416, "InvalidRange")
    );
    server.put_object(&ObjectSpec::synthetic("bucket", "empty", 1, 0));
    assert_eq!(
        client
            .get("/bucket/empty", &[("range", "bytes=0-9")])
            .status,
        416
    );
    assert_eq!(
        client.get("/bucket/empty", &[("range", "bytes=-9")]).status,
        416
    );
    assert_eq!(client.get("/bucket/empty", &[]).status, 200);
}

#[test]
fn conditions_decide_what_is_read_and_written() {
    let (_server, client) = start();
    let etag = client
        .put("/bucket/k", b"one", &[])
        .header("etag")
        .to_owned();
    assert_eq!(etag, "\"f97c5d29941bfb1b2fdab0874906ab82\"");
    let modified = client
        .head("/bucket/k", &[])
        .header("last-modified")
        .to_owned();
    let long_ago = "Mon, 01 Jan 2001 00:00:00 GMT";
    for (header, value, status) in [
        ("if-match", etag.as_str(), 200),
        ("if-match", "\"other\"", 412),
        ("if-none-match", etag.as_str(), 304),
        ("if-none-match", "\"other\"", 200),
        ("if-modified-since", modified.as_str(), 304),
        ("if-modified-since", long_ago, 200),
        ("if-unmodified-since", modified.as_str(), 200),
        ("if-unmodified-since", long_ago, 412),
    ] {
        assert_eq!(
            client.get("/bucket/k", &[(header, value)]).status,
            status,
            "GET {header}: {value}"
        );
        assert_eq!(
            client.head("/bucket/k", &[(header, value)]).status,
            status,
            "HEAD {header}: {value}"
        );
    }
    assert_eq!(
        client
            .put("/bucket/k", b"two", &[("if-none-match", "*")])
            .status,
        412
    );
    assert_eq!(
        client
            .put("/bucket/new", b"two", &[("if-none-match", "*")])
            .status,
        200
    );
    assert_eq!(
        client
            .put("/bucket/k", b"two", &[("if-match", "\"other\"")])
            .status,
        412
    );
    assert_eq!(
        client
            .put("/bucket/none", b"two", &[("if-match", &etag)])
            .status,
        404
    );
    assert_eq!(
        client
            .put("/bucket/k", b"two", &[("if-match", &etag)])
            .status,
        200
    );
    assert_eq!(client.get("/bucket/k", &[]).text(), "two");
    assert_eq!(
        client
            .get("/bucket/k", &[("if-match", &etag)])
            .element("Code"),
        "PreconditionFailed"
    );
}

#[test]
fn archived_object_is_refused_until_restored() {
    let (server, client) = start();
    let attributes = Request {
        method: "GET",
        path: "/bucket",
        query: vec![("list-type", "2")],
        headers: vec![(
            "x-amz-optional-object-attributes",
            "RestoreStatus".to_owned(),
        )],
        ..Request::default()
    };
    let spec = |restore| ObjectSpec {
        storage_class: Some("DEEP_ARCHIVE".to_owned()),
        restore,
        ..ObjectSpec::text("bucket", "cold", "ice")
    };
    server.put_object(&spec(RestoreSpec::None));
    let refused = client.get("/bucket/cold", &[]);
    assert_eq!(
        (refused.status, refused.element("Code").as_str()),
        (403, "InvalidObjectState")
    );
    assert_eq!(
        client
            .head("/bucket/cold", &[])
            .header("x-amz-storage-class"),
        "DEEP_ARCHIVE"
    );
    assert!(!client.send(&attributes).text().contains("RestoreStatus"));
    server.put_object(&spec(RestoreSpec::InProgress));
    assert_eq!(client.get("/bucket/cold", &[]).status, 403);
    assert_eq!(
        client.head("/bucket/cold", &[]).header("x-amz-restore"),
        "ongoing-request=\"true\""
    );
    assert_eq!(
        client.send(&attributes).element("IsRestoreInProgress"),
        "true"
    );
    server.put_object(&spec(RestoreSpec::Restored));
    assert_eq!(client.get("/bucket/cold", &[]).text(), "ice");
    assert!(
        client
            .head("/bucket/cold", &[])
            .header("x-amz-restore")
            .starts_with("ongoing-request=\"false\", expiry")
    );
    assert_eq!(
        client.send(&attributes).element("IsRestoreInProgress"),
        "false"
    );
    assert!(!client.list("/bucket", &[]).text().contains("RestoreStatus"));
}

#[test]
fn metadata_and_copies_are_kept() {
    let (_server, client) = start();
    let sent = [
        ("content-type", "text/plain"),
        ("x-amz-meta-color", "blue"),
        ("x-amz-storage-class", "STANDARD_IA"),
    ];
    assert_eq!(client.put("/bucket/a", b"data", &sent).status, 200);
    let copied = client.put("/bucket/b", b"", &[("x-amz-copy-source", "bucket/a")]);
    assert_eq!(
        (copied.status, copied.element("ETag")),
        (200, client.head("/bucket/a", &[]).header("etag").to_owned())
    );
    let head = client.head("/bucket/a", &[]);
    assert_eq!(head.header("x-amz-storage-class"), "STANDARD_IA");
    for path in ["/bucket/a", "/bucket/b"] {
        let head = client.head(path, &[]);
        assert_eq!(
            (head.header("content-type"), head.header("x-amz-meta-color")),
            ("text/plain", "blue")
        );
    }
    let replaced = [
        ("x-amz-copy-source", "bucket/a"),
        ("x-amz-metadata-directive", "REPLACE"),
        ("x-amz-meta-color", "red"),
    ];
    assert_eq!(client.put("/bucket/a", b"", &replaced).status, 200);
    assert_eq!(
        client.head("/bucket/a", &[]).header("x-amz-meta-color"),
        "red"
    );
    assert_eq!(
        client
            .put("/bucket/a", b"", &[("x-amz-copy-source", "bucket/a")])
            .status,
        400
    );
    assert_eq!(
        client
            .put("/bucket/c", b"", &[("x-amz-copy-source", "bucket/none")])
            .status,
        404
    );
}

#[test]
fn delete_removes_and_does_not_mind_absence() {
    let (server, client) = start();
    for key in ["a", "b", "c"] {
        server.put_object(&ObjectSpec::text("bucket", key, key));
    }
    let delete = |path| {
        client
            .send(&Request {
                method: "DELETE",
                path,
                ..Request::default()
            })
            .status
    };
    assert_eq!(
        (delete("/bucket/a"), delete("/bucket/a"), delete("/none/a")),
        (204, 204, 404)
    );
    let answer = client.send(&Request {
        method: "POST",
        path: "/bucket",
        query: vec![("delete", "")],
        body: b"<Delete><Object><Key>b</Key></Object><Object><Key>zz</Key></Object></Delete>"
            .to_vec(),
        ..Request::default()
    });
    assert_eq!(
        (answer.status, answer.elements("Key")),
        (200, vec!["b".to_owned(), "zz".to_owned()])
    );
    assert_eq!(server.keys("bucket"), ["c"]);
    assert_eq!(delete("/bucket"), 409);
    assert_eq!((delete("/bucket/c"), delete("/bucket")), (204, 204));
    assert_eq!(client.list("/bucket", &[]).element("Code"), "NoSuchBucket");
}

#[test]
fn a_million_objects_are_planted_and_listed_in_little_time() {
    once_in_five(|_| {
        let (server, client) = start();
        let begin = Instant::now();
        let body = r#"{"bucket":"many","key":"p/{i:07}","count":1000000,"size":1048576,"seed":3}"#;
        assert_eq!(
            control(server.control_addr(), "PUT", "/objects", body).status,
            200
        );
        let last = client.list("/many", &[("start-after", "p/0999997")]);
        assert_eq!(last.elements("Key"), ["p/0999998", "p/0999999"]);
        let rolled = client.list("/many", &[("delimiter", "/")]);
        assert_eq!(rolled.elements("Prefix")[1..], ["p/"]);
        let body = client.get("/many/p/0000042", &[]).body;
        assert_eq!(
            (body.len(), synthetic::first_difference(45, 0, &body)),
            (1 << 20, None)
        );
        within(begin.elapsed(), Duration::from_secs(20))
    });
}
