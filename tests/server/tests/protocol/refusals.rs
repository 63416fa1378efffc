//! Who is let in, and how others are turned away.

use s3_test_server::{Config, Model, ObjectSpec};

use crate::client::{Client, Request};
use crate::{start, start_with};

#[test]
fn wrong_credentials_are_refused_as_s3_words_it() {
    let (server, client) = start();
    server.put_object(&ObjectSpec::text("bucket", "k", "v"));
    let signer = |key: &str, secret: &str| Client {
        signer: Some((key.to_owned(), secret.to_owned(), "us-east-1".to_owned())),
        ..client.clone()
    };
    let cases = [
        (signer("test", "wrong"), "SignatureDoesNotMatch"),
        (signer("nobody", "test"), "InvalidAccessKeyId"),
        (
            Client {
                signer: None,
                ..client.clone()
            },
            "AccessDenied",
        ),
    ];
    for (client, code) in cases {
        let answer = client.get("/bucket/k", &[]);
        assert_eq!(
            (answer.status, answer.element("Code").as_str()),
            (403, code)
        );
        assert_eq!(
            answer.header("x-amz-request-id"),
            answer.element("RequestId")
        );
        assert!(!answer.element("Message").is_empty());
    }
    assert_eq!(client.get("/bucket/k", &[]).status, 200);
    let missing = client.get("/bucket/none", &[]);
    assert_eq!(
        missing.element("Message"),
        "The specified key does not exist."
    );
    assert_eq!(
        (
            missing.element("Key").as_str(),
            missing.header("content-type")
        ),
        ("none", "application/xml")
    );
    let head = client.head("/bucket/none", &[]);
    assert_eq!((head.status, head.body.len()), (404, 0));
    assert_eq!(
        client.get("/nobucket/k", &[]).element("Code"),
        "NoSuchBucket"
    );
}

#[test]
fn payload_other_than_signed_is_refused() {
    let (server, client) = start();
    let answer = client.send(&Request {
        method: "PUT",
        path: "/bucket/k",
        body: b"tampered".to_vec(),
        payload: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ..Request::default()
    });
    assert_eq!(
        (answer.status, answer.element("Code").as_str()),
        (400, "XAmzContentSHA256Mismatch")
    );
    assert!(server.keys("bucket").is_empty());
}

#[test]
fn wrong_region_is_told_the_right_one_when_enforced() {
    let (server, client) = start_with(Config {
        region: "eu-west-3".to_owned(),
        ..Config::default()
    });
    assert_eq!(client.list("/bucket", &[]).status, 200);
    server.set_model(Model {
        enforce_region: true,
        ..Model::default()
    });
    let refused = client.list("/bucket", &[]);
    assert_eq!(
        (refused.status, refused.element("Code").as_str()),
        (400, "AuthorizationHeaderMalformed")
    );
    assert_eq!(refused.element("Region"), "eu-west-3");
    let right = Client {
        signer: Some(("test".into(), "test".into(), "eu-west-3".into())),
        ..client
    };
    let list = right.list("/bucket", &[]);
    assert_eq!(
        (list.status, list.header("x-amz-bucket-region")),
        (200, "eu-west-3")
    );
    assert_eq!(
        right.head("/bucket", &[]).header("x-amz-bucket-region"),
        "eu-west-3"
    );
    let location = Request {
        method: "GET",
        path: "/bucket",
        query: vec![("location", "")],
        ..Request::default()
    };
    let location = right.send(&location).text();
    assert!(
        location.ends_with(">eu-west-3</LocationConstraint>"),
        "{location}"
    );
}

#[test]
fn buckets_are_made_listed_and_addressed_in_both_styles() {
    let (server, client) = start_with(Config {
        domain: Some("s3.test".to_owned()),
        anonymous: true,
        ..Config::default()
    });
    assert_eq!(
        (
            client.put("/other", b"", &[]).status,
            client.put("/other", b"", &[]).status
        ),
        (200, 409)
    );
    assert_eq!(client.get("/", &[]).elements("Name"), ["bucket", "other"]);
    server.put_object(&ObjectSpec::text("bucket", "other/k", "v"));
    let virtual_host = Client {
        host: format!("bucket.s3.test:{}", client.addr.port()),
        ..client.clone()
    };
    assert_eq!(virtual_host.get("/other/k", &[]).text(), "v");
    let anonymous = Client {
        signer: None,
        ..client
    };
    assert_eq!(anonymous.get("/bucket/other/k", &[]).text(), "v");
}

#[test]
fn only_loopback_is_served() {
    let error = s3_test_server::Server::start(Config {
        addr: ([0, 0, 0, 0], 0).into(),
        ..Config::default()
    });
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("not a loopback address")
    );
}
