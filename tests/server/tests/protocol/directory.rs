//! Directory buckets: appending and renaming; and servers that know nothing of it.

use s3_test_server::{Config, Fault, Model, Rule};

use crate::client::{Answer, Client, Request};
use crate::start_with;

fn start() -> (s3_test_server::Server, Client) {
    start_with(Config {
        directory: true,
        ..Config::default()
    })
}

fn rename(client: &Client, from: &str, to: &str, headers: &[(&'static str, &str)]) -> Answer {
    let headers = headers
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .chain([("x-amz-rename-source", from.to_owned())]);
    client.send(&Request {
        method: "PUT",
        path: to,
        query: vec![("renameObject", "")],
        headers: headers.collect(),
        ..Request::default()
    })
}

#[test]
fn objects_are_appended_to_at_their_end() {
    let (server, client) = start();
    assert_eq!(client.put("/bucket/k", b"one", &[]).status, 200);
    let answer = client.put("/bucket/k", b" two", &[("x-amz-write-offset-bytes", "3")]);
    assert_eq!(
        (answer.status, answer.header("x-amz-object-size")),
        (200, "7")
    );
    let wrong = client.put("/bucket/k", b"!", &[("x-amz-write-offset-bytes", "3")]);
    assert_eq!(
        (wrong.status, wrong.element("Code").as_str()),
        (400, "InvalidWriteOffset")
    );
    let content = server.read_object("bucket", "k");
    assert_eq!(content.as_deref(), Some(&b"one two"[..]));
    assert_eq!(
        client.head("/bucket/k", &[]).header("etag"),
        answer.header("etag")
    );
}

#[test]
fn objects_are_renamed_if_the_conditions_hold() {
    let (server, client) = start();
    let etag = client
        .put("/bucket/a b", b"x", &[])
        .header("etag")
        .to_owned();
    client.put("/bucket/c", b"y", &[]);
    let refused = rename(&client, "a%20b", "/bucket/c", &[("if-none-match", "*")]);
    assert_eq!(refused.status, 412);
    let wrong = [("x-amz-rename-source-if-match", "\"no\"")];
    assert_eq!(rename(&client, "a%20b", "/bucket/c", &wrong).status, 412);
    let right = [("x-amz-rename-source-if-match", etag.as_str())];
    assert_eq!(rename(&client, "a%20b", "/bucket/c", &right).status, 200);
    assert_eq!(server.keys("bucket"), ["c"]);
    assert_eq!(
        server.read_object("bucket", "c").as_deref(),
        Some(&b"x"[..])
    );
    let missing = rename(&client, "a%20b", "/bucket/c", &[]);
    assert_eq!(
        (missing.status, missing.element("Code").as_str()),
        (404, "NoSuchKey")
    );
    assert_eq!(server.stats().operations["RenameObject"].count, 4);
}

#[test]
fn other_buckets_refuse_both() {
    let (_server, client) = crate::start();
    client.put("/bucket/k", b"one", &[]);
    let append = client.put("/bucket/k", b"!", &[("x-amz-write-offset-bytes", "3")]);
    assert_eq!(append.status, 501);
    assert_eq!(rename(&client, "k", "/bucket/c", &[]).status, 501);
    let stranger = Client {
        signer: None,
        ..client
    };
    assert_eq!(rename(&stranger, "k", "/bucket/c", &[]).status, 403);
}

#[test]
fn an_unaware_server_answers_and_does_something_else() {
    let (server, client) = crate::start();
    client.put("/bucket/k", b"one", &[]);
    server.set_model(Model {
        rules: vec![Rule::new(Fault::Unaware)],
        ..Model::default()
    });
    let encryption = ("x-amz-server-side-encryption", "AES256");
    let offset = ("x-amz-write-offset-bytes", "3");
    let append = client.put("/bucket/k", b"!", &[offset, encryption]);
    assert_eq!(append.status, 200);
    assert_eq!(append.header("x-amz-server-side-encryption"), "");
    assert_eq!(
        server.read_object("bucket", "k").as_deref(),
        Some(&b"!"[..])
    );
    assert_eq!(rename(&client, "k", "/bucket/c", &[]).status, 200);
    assert_eq!(server.keys("bucket"), ["c", "k"]);
    let renamed = server.read_object("bucket", "c");
    assert_eq!(renamed.as_deref(), Some(&b""[..]));
    let absent = [("if-none-match", "*")];
    assert_eq!(rename(&client, "c", "/bucket/k", &absent).status, 412);
}

#[test]
fn encryption_is_told_of() {
    let (_server, client) = crate::start();
    let headers = [
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "key"),
    ];
    let put = client.put("/bucket/k", b"x", &headers);
    let head = client.head("/bucket/k", &[]);
    for (name, value) in headers {
        assert_eq!((put.header(name), head.header(name)), (value, value));
    }
}

#[test]
fn faults_strike_uploads_and_their_answers() {
    let (server, client) = crate::start();
    let checksum = ("x-amz-checksum-crc32c", "AAAAAA==");
    let put = |fault: Fault| {
        server.set_model(Model {
            rules: vec![Rule::new(fault)],
            ..Model::default()
        });
        client.put("/bucket/k", b"", &[checksum])
    };
    let answer = put(Fault::WrongChecksum);
    assert_eq!(answer.status, 200);
    assert_ne!(answer.header("x-amz-checksum-crc32c"), "AAAAAA==");
    server.set_model(Model {
        rules: vec![Rule::new(Fault::CorruptUpload { offset: 1 })],
        ..Model::default()
    });
    client.put("/bucket/k", b"abc", &[]);
    assert_eq!(
        server.read_object("bucket", "k").as_deref(),
        Some(&b"acc"[..])
    );
}
