//! `mount-s3 doctor`: what it finds, and what it says to change.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use s3_test_server::{CA_FILE, Config, Fault, Model, ObjectSpec, Rule, Server, Stub, TlsConfig};
use serde_json::Value;

use crate::proxy::{Proxy, Rules};
use crate::store::{BUCKET, store};
use crate::support::{Outcome, mount_s3, run};

const LIMIT: Duration = Duration::from_secs(120);

const SHORTEST_PATIENCE: Duration = Duration::from_secs(1);

const MOST_TRIES: usize = 5;

/// What it says. It gives up what has no answer within a few seconds, in a cache within one: a machine
/// that stands still for that long has it asked again.
fn doctor(args: &[&str], prepare: impl Fn(&mut Command)) -> Outcome {
    let ask = || {
        let mut command = mount_s3(&[&["doctor"], args].concat());
        prepare(&mut command);
        let began = Instant::now();
        let outcome = run(&mut command, LIMIT);
        (outcome, began.elapsed() < SHORTEST_PATIENCE)
    };
    for _ in 1..MOST_TRIES {
        if let (outcome, true) = ask() {
            return outcome;
        }
    }
    ask().0
}

fn with_key(command: &mut Command) {
    let (key, secret) = store().key();
    command
        .env("AWS_ACCESS_KEY_ID", key)
        .env("AWS_SECRET_ACCESS_KEY", secret);
}

/// The lines of a step.
fn lines<'a>(outcome: &'a Outcome, step: &str) -> Vec<&'a str> {
    let of_step = |line: &&str| line.get(5..).is_some_and(|rest| rest.starts_with(step));
    outcome.stdout.lines().filter(of_step).collect()
}

/// The step must have failed, with this text and this remedy.
fn expect_failure(outcome: &Outcome, step: &str, text: &str, remedy: &str) {
    assert_eq!(outcome.status, Some(1), "{outcome:?}");
    let line = lines(outcome, step)
        .into_iter()
        .find(|line| line.starts_with("FAIL"));
    let line = line.unwrap_or_else(|| panic!("{step} has not failed: {}", outcome.stdout));
    assert!(line.contains(text), "{line}");
    let (_, after) = outcome.stdout.split_once(line).expect("it is there");
    let next = after.lines().nth(1).unwrap_or_default();
    assert!(
        next.contains("to fix it: ") && next.contains(remedy),
        "{next}"
    );
}

/// A server of the test's own that takes the store's key, and has one object.
fn server(config: Config) -> Server {
    let (key, secret) = store().key();
    let server = Server::start(Config {
        keys: vec![(key.to_owned(), secret.to_owned())],
        ..config
    });
    let server = server.expect("the server starts");
    server.put_object(&ObjectSpec::text(BUCKET, "a/hello.txt", "hello"));
    server
}

#[test]
fn bucket_that_can_be_mounted_is_well() {
    let endpoint = store().https_endpoint();
    let ca = store().ca_bundle();
    let args = [BUCKET, "--endpoint-url", &endpoint, "--region", "us-east-1"];
    let prepare = |command: &mut Command| {
        with_key(command);
        command.env("AWS_CA_BUNDLE", &ca);
    };
    let outcome = doctor(&args, prepare);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    for step in [
        "fuse",
        "kernel",
        "open files",
        "memory",
        "credentials",
        "endpoint",
        "dns",
        "tcp",
        "tls",
        "clock",
        "region",
        "list",
        "get",
    ] {
        let found = lines(&outcome, step);
        let is_ok = found.len() == 1 && found[0].starts_with("ok ");
        assert!(is_ok, "{step}: {}", outcome.stdout);
    }
    assert!(lines(&outcome, "environment")[0].contains("AWS_ACCESS_KEY_ID"));
    assert!(
        lines(&outcome, "credentials")[0].contains("key AKID…SKEY"),
        "{}",
        outcome.stdout
    );
    let (key, secret) = store().key();
    assert!(!outcome.stdout.contains(key) && !outcome.stdout.contains(secret));
    assert!(lines(&outcome, "put, delete")[0].starts_with("- "));

    let outcome = doctor(&[&args[..], &["--json"]].concat(), prepare);
    let report: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert_eq!(report["ok"], true);
    let steps = report["steps"].as_array().expect("steps");
    let list = steps
        .iter()
        .find(|step| step["name"] == "list")
        .expect("listed");
    assert_eq!(list["status"], "ok");
}

#[test]
fn writing_is_tried_when_asked_for_and_leaves_nothing() {
    let server = server(Config::default());
    let endpoint = server.endpoint();
    let uri = format!("s3://{BUCKET}/a/");
    let args = [&uri, "--endpoint-url", &endpoint, "--write"];
    let outcome = doctor(&args, with_key);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    let put = lines(&outcome, "put")[0];
    assert!(
        put.starts_with("ok") && put.contains("a/mount-s3-doctor-"),
        "{put}"
    );
    assert!(
        lines(&outcome, "delete")[0].starts_with("ok"),
        "{}",
        outcome.stdout
    );
    assert!(
        lines(&outcome, "tls")[0].starts_with("warn"),
        "{}",
        outcome.stdout
    );
    assert_eq!(server.keys(BUCKET), ["a/hello.txt"]);

    server.set_model(Model {
        rules: vec![Rule {
            operation: Some("PutObject".to_owned()),
            ..Rule::new(Fault::Deny)
        }],
        ..Model::default()
    });
    let outcome = doctor(&args, with_key);
    expect_failure(&outcome, "put", "AccessDenied", "s3:PutObject");
}

#[test]
fn bucket_that_refuses_is_told_with_the_permission() {
    let server = server(Config::default());
    server.set_model(Model {
        rules: vec![Rule::new(Fault::Deny)],
        ..Model::default()
    });
    let endpoint = server.endpoint();
    let outcome = doctor(&[BUCKET, "--endpoint-url", &endpoint], with_key);
    expect_failure(&outcome, "list", "AccessDenied", "s3:ListBucket");
    server.set_model(Model {
        rules: vec![Rule {
            operation: Some("GetObject".to_owned()),
            ..Rule::new(Fault::Deny)
        }],
        ..Model::default()
    });
    let outcome = doctor(&[BUCKET, "--endpoint-url", &endpoint], with_key);
    expect_failure(&outcome, "get", "AccessDenied", "s3:GetObject");
}

#[test]
fn bucket_of_a_shared_cache_is_examined_when_it_is_named() {
    const CACHE: &str = "cache-of-doctor";
    let server = server(Config {
        buckets: vec![CACHE.to_owned()],
        ..Config::default()
    });
    let endpoint = server.endpoint();
    let doctor = |cache| {
        let args = [BUCKET, "--endpoint-url", &endpoint, "--cache-xz", cache];
        doctor(&args, with_key)
    };
    let outcome = doctor(CACHE);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    let line = lines(&outcome, "cache-xz")[0];
    assert!(
        line.starts_with("ok") && line.contains("us-east-1"),
        "{line}"
    );
    assert_eq!(server.keys(CACHE), ["mount-s3-cache/about.txt"]);
    assert_eq!(server.keys(BUCKET), ["a/hello.txt"]);

    expect_failure(
        &doctor("no-such-cache"),
        "cache-xz",
        "NoSuchBucket",
        "check the name of the bucket",
    );
    expect_failure(
        &doctor(BUCKET),
        "cache-xz",
        "another bucket",
        "name another",
    );
    for (operation, permission) in [
        ("ListObjectsV2", "s3:ListBucket"),
        ("PutObject", "s3:PutObject for mount-s3-cache/*"),
        ("GetObject", "s3:GetObject and s3:PutObject"),
    ] {
        server.set_model(Model {
            rules: vec![Rule {
                operation: Some(operation.to_owned()),
                key_prefix: Some("mount-s3-cache/".to_owned()),
                ..Rule::new(Fault::Deny)
            }],
            ..Model::default()
        });
        expect_failure(&doctor(CACHE), "cache-xz", "AccessDenied", permission);
    }
}

#[test]
fn wrong_region_is_told_with_the_right_one() {
    let server = server(Config {
        region: "eu-central-1".to_owned(),
        ..Config::default()
    });
    server.set_model(Model {
        enforce_region: true,
        ..Model::default()
    });
    let endpoint = server.endpoint();
    let args = [BUCKET, "--endpoint-url", &endpoint];
    let outcome = doctor(&[&args[..], &["--region", "us-west-2"]].concat(), with_key);
    expect_failure(
        &outcome,
        "region",
        "eu-central-1",
        "use --region eu-central-1",
    );
    let outcome = doctor(&args, with_key);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
}

#[test]
fn wrong_clock_is_told() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 403 Forbidden\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\n\
                        Content-Length: 0\r\nConnection: close\r\n\r\n";
            // A client that has gone is no concern of this server.
            _ = stream.write_all(head.as_bytes());
        }
    });
    let outcome = doctor(&[BUCKET, "--endpoint-url", &endpoint], with_key);
    expect_failure(
        &outcome,
        "clock",
        "ahead of that of the endpoint",
        "set the clock",
    );
}

#[test]
fn missing_credentials_are_told_source_by_source() {
    let endpoint = store().endpoint();
    let outcome = doctor(&[BUCKET, "--endpoint-url", &endpoint], |_| ());
    expect_failure(&outcome, "credentials", "no source has any", "AWS_PROFILE");
    let found = lines(&outcome, "credentials");
    assert_eq!(found.len(), 5, "{found:?}");
    assert!(found[3].contains("AWS_EC2_METADATA_DISABLED"), "{found:?}");
    // The rest is looked at all the same.
    assert!(
        lines(&outcome, "tcp")[0].starts_with("ok"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn endpoint_that_is_not_trusted_or_not_there_is_told() {
    let endpoint = store().https_endpoint();
    let outcome = doctor(&[BUCKET, "--endpoint-url", &endpoint], with_key);
    expect_failure(&outcome, "tls", "Certificate is untrusted", "--ca-bundle");

    let args = [
        BUCKET,
        "--endpoint-url",
        &endpoint,
        "--ca-bundle",
        "/nonexistent.pem",
    ];
    let outcome = doctor(&args, with_key);
    expect_failure(&outcome, "tls", "/nonexistent.pem", "PEM");

    let outcome = doctor(&[BUCKET, "--endpoint-url", "http://127.0.0.1:1"], with_key);
    expect_failure(&outcome, "tcp", "refused", "firewalls");

    let unknown = "http://no-such-host.invalid";
    let outcome = doctor(
        &[BUCKET, "--endpoint-url", unknown, "--force-path-style"],
        with_key,
    );
    expect_failure(&outcome, "dns", "no-such-host.invalid", "--endpoint-url");

    let proxied = |command: &mut Command| {
        with_key(command);
        command.env("HTTPS_PROXY", "http://user:hush@127.0.0.1:1");
    };
    let outcome = doctor(&[BUCKET, "--endpoint-url", &endpoint], proxied);
    let proxy = lines(&outcome, "proxy")[0];
    assert!(
        proxy.starts_with("warn") && proxy.contains("http://127.0.0.1:1"),
        "{proxy}"
    );
    assert!(!outcome.stdout.contains("hush"), "{}", outcome.stdout);
}

#[test]
fn identity_is_that_which_sts_tells() {
    const REGION: &str = "eu-test-7";
    let directory = tempfile::tempdir().expect("a directory");
    let [s3, sts] = ["s3", "sts"].map(|name| directory.path().join(name));
    let domain = format!("s3.{REGION}.amazonaws.com");
    let server = server(Config {
        region: REGION.to_owned(),
        domain: Some(domain.clone()),
        tls: Some(TlsConfig {
            addr: (Ipv4Addr::LOCALHOST, 0).into(),
            dir: s3.clone(),
        }),
        ..Config::default()
    });
    let host = format!("sts.{REGION}.amazonaws.com");
    let stub = Stub::https(&sts, &[&host], |request| {
        let signature = request.header("authorization").unwrap_or_default();
        let is_right = request.body.contains("Action=GetCallerIdentity")
            && signature.contains(&format!("/{REGION}/sts/aws4_request"));
        let arn = "<R><Arn>arn:aws:iam::123456789012:user/me</Arn></R>";
        let refusal = "<E><Code>AccessDenied</Code></E>";
        if is_right {
            (200, arn.to_owned())
        } else {
            (403, refusal.to_owned())
        }
    })
    .expect("a server");
    let bundle =
        [&s3, &sts].map(|dir| fs::read_to_string(dir.join(CA_FILE)).expect("a certificate"));
    let ca = directory.path().join("bundle.pem");
    fs::write(&ca, bundle.concat()).expect("written");
    let s3_addr = server.tls_addr().expect("it serves TLS");
    let proxy = Proxy::start(Rules {
        hosts: HashMap::from([
            (format!("{BUCKET}.{domain}:443"), s3_addr),
            (format!("{host}:443"), stub.addr()),
        ]),
        ..Rules::default()
    });
    let outcome = doctor(&[BUCKET, "--region", REGION], |command| {
        with_key(command);
        command
            .env("AWS_CA_BUNDLE", &ca)
            .env("HTTPS_PROXY", proxy.url());
    });
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    let identity = lines(&outcome, "identity")[0];
    assert!(
        identity.contains("arn:aws:iam::123456789012:user/me"),
        "{identity}"
    );
    let endpoint = lines(&outcome, "endpoint")[0];
    assert!(
        endpoint.contains(&format!("https://{BUCKET}.{domain}")),
        "{endpoint}"
    );
    assert!(
        lines(&outcome, "proxy")[0].starts_with("ok"),
        "{}",
        outcome.stdout
    );
}
