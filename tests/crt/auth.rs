//! Credentials, and the signatures that they make.

use std::fs;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use futures::executor::block_on;
use mount_s3::crt::s3::{Client, ClientConfig, RequestKind, RequestOptions};
use mount_s3::crt::{
    CredentialsProvider, ErrorKind, InstanceInfo, InstanceMetadata, ProfileOptions, Profiles,
    Runtime, RuntimeConfig, TlsContext, Trust, Uri,
};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::server::{Answer, Incoming, Server};
use crate::support::{Fixture, PATIENCE, in_subprocess, run_in_subprocess, try_in_subprocess};
use crate::wait::once_in_five;

/// The request that arrives when `credentials` are used.
pub(crate) fn request_with(runtime: &Runtime, credentials: &CredentialsProvider) -> Incoming {
    let server = Server::start(1, |_| Answer::Plain(200, Vec::new(), Vec::new()));
    let config = ClientConfig::new("eu-test-7", credentials);
    let client = Client::new(runtime, &config).expect("a client");
    let uri = Uri::parse(runtime, &server.endpoint()).expect("a URI");
    let operation = "HeadObject";
    let options = RequestOptions::new(RequestKind::Default { operation }, &uri);
    let message = client.message("HEAD", "/bucket/a//b/../c%20d").unwrap();
    block_on(client.send(message, &options).expect("start")).expect("success");
    server.seen().remove(0)
}

#[test]
fn fixed_key_signs_for_its_region() {
    let fixture = Fixture::start();
    let fixed =
        CredentialsProvider::fixed(fixture.runtime(), "AKIDTEST", "secret", Some("token")).unwrap();
    let request = request_with(fixture.runtime(), &fixed);
    let authorization = request.header("authorization").expect("signed");
    assert!(
        authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDTEST/"),
        "{authorization}"
    );
    assert!(
        authorization.contains("/eu-test-7/s3/aws4_request"),
        "{authorization}"
    );
    assert_eq!(request.header("x-amz-security-token"), Some("token"));
    assert_eq!(
        request.header("x-amz-content-sha256"),
        Some("UNSIGNED-PAYLOAD")
    );
    assert_eq!(request.path, "/bucket/a//b/../c%20d", "sent as it is");
    drop(fixed);
    fixture.end();
}

#[test]
fn anonymous_does_not_sign() {
    let fixture = Fixture::start();
    let anonymous = CredentialsProvider::anonymous(fixture.runtime()).unwrap();
    let request = request_with(fixture.runtime(), &anonymous);
    assert_eq!(request.header("authorization"), None);
    let loaded = block_on(anonymous.load()).expect("nothing to load");
    assert_eq!(loaded.access_key_id, "");
    drop(anonymous);
    fixture.end();
}

#[test]
fn profile_reads_the_files_that_it_is_given() {
    let fixture = Fixture::start();
    let directory = tempfile::tempdir().unwrap();
    let config_file = directory.path().join("config");
    let credentials_file = directory.path().join("credentials");
    fs::write(&config_file, "[profile other]\nregion=x\n").unwrap();
    let credentials = "[default]\naws_access_key_id=AKIDDEFAULT\naws_secret_access_key=s\n\
         [other]\naws_access_key_id=AKIDOTHER\naws_secret_access_key=s\n";
    fs::write(&credentials_file, credentials).unwrap();
    let tls = TlsContext::new(fixture.runtime(), Trust::System).unwrap();
    let with_name = |name| {
        let options = ProfileOptions {
            name: Some(name),
            config_file: config_file.to_str(),
            credentials_file: credentials_file.to_str(),
        };
        CredentialsProvider::profile(fixture.runtime(), &tls, &options)
            .and_then(|provider| block_on(provider.load()))
    };
    assert_eq!(with_name("default").unwrap().access_key_id, "AKIDDEFAULT");
    let other = with_name("other").unwrap();
    assert_eq!(other.access_key_id, "AKIDOTHER");
    assert_eq!(other.expires, None);
    assert!(!format!("{other:?}").contains("secret"));
    let error = with_name("missing").expect_err("no such profile");
    assert_eq!(error.kind(), ErrorKind::Credentials, "{error}");
    drop(tls);
    fixture.end();
}

#[test]
fn environment_is_read() {
    let environment = [
        ("AWS_ACCESS_KEY_ID", "AKIDENV"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    run_in_subprocess("auth::load_from_environment", &environment);
}

/// The body of the test above.
#[test]
fn load_from_environment() {
    if !in_subprocess() {
        return;
    }
    let fixture = Fixture::start();
    let environment = CredentialsProvider::environment(fixture.runtime()).unwrap();
    let loaded = block_on(environment.load()).expect("set");
    assert_eq!(loaded.access_key_id, "AKIDENV");
    let refreshed = CredentialsProvider::refreshed(fixture.runtime(), environment, None).unwrap();
    assert_eq!(refreshed.held(), None);
    let request = request_with(fixture.runtime(), &refreshed);
    assert!(request.header("authorization").unwrap().contains("AKIDENV"));
    assert_eq!(refreshed.held().unwrap().access_key_id, "AKIDENV");
    drop(refreshed);
    fixture.end();
}

#[test]
fn profile_is_the_one_that_the_environment_names() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    let text = "[profile work]\naws_access_key_id=AKIDWORK\naws_secret_access_key=s\n";
    fs::write(&file, text).unwrap();
    let environment = [
        ("AWS_CONFIG_FILE", file.to_str().unwrap()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
        ("AWS_PROFILE", "work"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    run_in_subprocess("auth::load_from_profile_of_environment", &environment);
}

/// The body of the test above.
#[test]
fn load_from_profile_of_environment() {
    if !in_subprocess() {
        return;
    }
    let fixture = Fixture::start();
    let tls = TlsContext::new(fixture.runtime(), Trust::System).unwrap();
    let options = ProfileOptions::default();
    let profiles = Profiles::read(fixture.runtime(), &options).unwrap();
    assert_eq!(profiles.selected(), "work");
    assert!(profiles.has("work") && !profiles.has("default"));
    let key = profiles.property("work", "aws_access_key_id");
    assert_eq!(key.as_deref(), Some("AKIDWORK"));
    assert_eq!(profiles.property("work", "role_arn"), None);
    assert_eq!(profiles.property("default", "role_arn"), None);
    assert_eq!(profiles.config_file().failure, None);
    assert_eq!(profiles.credentials_file().path, "/nonexistent");
    assert!(profiles.credentials_file().failure.is_some());
    let profile = CredentialsProvider::profile(fixture.runtime(), &tls, &options).unwrap();
    assert_eq!(block_on(profile.load()).unwrap().access_key_id, "AKIDWORK");
    drop((tls, profiles, profile));
    fixture.end();
}

#[test]
fn container_endpoint_is_read() {
    let expires = "2999-01-01T00:00:00Z";
    let body = format!(
        r#"{{"AccessKeyId":"AKIDBOX","SecretAccessKey":"s","Token":"t","Expiration":"{expires}"}}"#
    );
    let server = Server::start(1, move |_| {
        let headers = vec![("Content-Type", "application/json".to_owned())];
        Answer::Plain(200, headers, body.clone().into_bytes())
    });
    let endpoint = format!("{}/creds", server.endpoint());
    let environment = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint.as_str()),
        ("AWS_CONFIG_FILE", "/nonexistent"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
    ];
    // The provider does not wait for long.
    once_in_five(|_| try_in_subprocess("auth::load_from_container", &environment));
    assert_eq!(server.seen()[0].path, "/creds");
}

/// The body of the test above.
#[test]
fn load_from_container() {
    if !in_subprocess() {
        return;
    }
    let fixture = Fixture::start();
    let tls = TlsContext::new(fixture.runtime(), Trust::System).unwrap();
    let container = CredentialsProvider::container(fixture.runtime(), &tls).unwrap();
    let loaded = block_on(container.load()).unwrap();
    assert_eq!(loaded.access_key_id, "AKIDBOX");
    assert!(loaded.expires.is_some());
    drop((tls, container));
    fixture.end();
}

#[test]
fn environment_without_keys_is_a_credentials_error() {
    run_in_subprocess("auth::load_from_nowhere", &[]);
}

/// The body of the test above.
#[test]
fn load_from_nowhere() {
    if !in_subprocess() {
        return;
    }
    let fixture = Fixture::start();
    let none = CredentialsProvider::environment(fixture.runtime()).unwrap();
    let none = CredentialsProvider::refreshed(fixture.runtime(), none, None).unwrap();
    let begin = Instant::now();
    let error = block_on(none.load()).expect_err("no source");
    assert_eq!(error.kind(), ErrorKind::Credentials, "{error}");
    assert!(begin.elapsed() < PATIENCE);

    // A request that cannot be signed says so, too.
    let server = Server::start(1, |_| Answer::Object);
    let config = ClientConfig::new("us-east-1", &none);
    let client = Client::new(fixture.runtime(), &config).unwrap();
    let uri = fixture.uri(&server.endpoint());
    let operation = "HeadObject";
    let options = RequestOptions::new(RequestKind::Default { operation }, &uri);
    let message = client.message("HEAD", "/bucket/key").unwrap();
    let error = block_on(client.send(message, &options).unwrap()).expect_err("unsigned");
    assert_eq!(error.kind(), ErrorKind::Credentials, "{error}");
    assert!(server.seen().is_empty());
    drop((uri, client, none));
    fixture.end();
}

/// Answers as the container's credentials endpoint: with keys that end after so many seconds, or,
/// from the request of this number on, with an error.
fn container(lifetime: Duration, fails_from: usize) -> Server {
    Server::start(1, move |request| {
        if request.number >= fails_from {
            return Answer::Plain(403, Vec::new(), Vec::new());
        }
        let expires = OffsetDateTime::from(SystemTime::now() + lifetime);
        let expires = expires
            .replace_nanosecond(0)
            .unwrap()
            .format(&Rfc3339)
            .unwrap();
        let body = format!(
            r#"{{"AccessKeyId":"AKID{}","SecretAccessKey":"s","Token":"t","Expiration":"{expires}"}}"#,
            request.number
        );
        Answer::Plain(200, Vec::new(), body.into_bytes())
    })
}

/// Runs the test of this name with the credentials of such a server, which then was asked as often as
/// `is_enough` says. They end in the midst of it where the machine stands still for a while.
fn in_container(container: impl Fn() -> Server, test: &str, is_enough: impl Fn(usize) -> bool) {
    once_in_five(|_| {
        let server = container();
        let endpoint = format!("{}/creds", server.endpoint());
        try_in_subprocess(test, &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &endpoint)])?;
        match server.seen().len() {
            asked if is_enough(asked) => Ok(()),
            asked => Err(format!("asked {asked} times")),
        }
    });
}

#[test]
fn credentials_are_refreshed_before_they_end() {
    let server = || container(Duration::from_secs(8), usize::MAX);
    in_container(server, "auth::load_before_the_end", |asked| asked == 2);
}

/// The body of the test above.
#[test]
fn load_before_the_end() {
    with_refreshed_container(|refreshed| {
        let keys = || block_on(refreshed.load()).unwrap().access_key_id;
        assert_eq!(
            [keys(), keys()],
            ["AKID0", "AKID0"],
            "one request serves both"
        );
        // A quarter of their time before they end.
        wait_for_key(refreshed, "AKID1", Duration::from_secs(7));
    });
}

#[test]
fn credentials_are_used_to_their_end_when_the_source_fails() {
    let server = || container(Duration::from_secs(8), 1);
    in_container(server, "auth::load_with_failing_source", |asked| asked > 1);
}

/// The body of the test above.
#[test]
fn load_with_failing_source() {
    with_refreshed_container(|refreshed| {
        let begin = Instant::now();
        let end = loop {
            match block_on(refreshed.load()) {
                Ok(loaded) => assert_eq!(loaded.access_key_id, "AKID0"),
                Err(error) => break error,
            }
            thread::sleep(Duration::from_millis(50));
        };
        assert_eq!(end.kind(), ErrorKind::Credentials, "{end}");
        // Times have whole seconds.
        let lived = begin.elapsed();
        assert!(
            lived > Duration::from_secs(6) && lived < Duration::from_secs(60),
            "{lived:?}"
        );
    });
}

#[test]
fn credentials_that_are_doubted_are_fetched_again() {
    let server = || container(Duration::from_secs(3600), usize::MAX);
    in_container(server, "auth::load_in_doubt", |asked| asked == 2);
}

/// The body of the test above.
#[test]
fn load_in_doubt() {
    with_refreshed_container(|refreshed| {
        assert_eq!(block_on(refreshed.load()).unwrap().access_key_id, "AKID0");
        refreshed.doubt();
        thread::sleep(Duration::from_secs(11));
        assert_eq!(
            block_on(refreshed.load()).unwrap().access_key_id,
            "AKID0",
            "too early"
        );
        refreshed.doubt();
        wait_for_key(refreshed, "AKID1", Duration::from_secs(60));
    });
}

fn with_refreshed_container(body: impl FnOnce(&CredentialsProvider)) {
    if !in_subprocess() {
        return;
    }
    let fixture = Fixture::start();
    let tls = TlsContext::new(fixture.runtime(), Trust::System).unwrap();
    let container = CredentialsProvider::container(fixture.runtime(), &tls).unwrap();
    let refreshed = CredentialsProvider::refreshed(fixture.runtime(), container, None).unwrap();
    body(&refreshed);
    drop((tls, refreshed));
    fixture.end();
}

fn wait_for_key(provider: &CredentialsProvider, key: &str, limit: Duration) {
    let begin = Instant::now();
    while block_on(provider.load()).unwrap().access_key_id != key {
        assert!(begin.elapsed() < limit, "{key} did not come");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn instance_tells_type_and_region() {
    let server = Server::start(1, |request| match (&*request.method, &*request.path) {
        ("PUT", "/latest/api/token") => Answer::Plain(200, Vec::new(), b"token".to_vec()),
        ("GET", "/latest/dynamic/instance-identity/document")
            if request.header("x-aws-ec2-metadata-token") == Some("token") =>
        {
            Answer::Plain(200, Vec::new(), DOCUMENT.into())
        }
        _ => Answer::Plain(404, Vec::new(), Vec::new()),
    });
    let endpoint = server.endpoint();
    let environment = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str())];
    // The CRT waits for a second.
    once_in_five(|_| try_in_subprocess("auth::load_instance_info", &environment));
}

/// The body of the test above.
#[test]
fn load_instance_info() {
    if !in_subprocess() {
        return;
    }
    let fixture = Fixture::start();
    let client = InstanceMetadata::new(fixture.runtime()).unwrap();
    let expected = InstanceInfo {
        instance_type: "c5n.18xlarge".to_owned(),
        region: "eu-test-7".to_owned(),
    };
    assert_eq!(block_on(client.info()), Ok(expected));
    drop(client.info());
    drop(client);
    fixture.end();
}

#[test]
fn load_dropped_early_leaves_nothing() {
    let fixture = Fixture::start();
    for _ in 0..10 {
        let fixed = CredentialsProvider::fixed(fixture.runtime(), "A", "s", None).unwrap();
        drop(fixed.load());
    }
    // A runtime of its own is not needed to see that nothing of it is left: `end` counts.
    assert!(
        Runtime::start(RuntimeConfig::default()).is_err(),
        "this one is traced"
    );
    fixture.end();
}

/// What an instance says of itself.
const DOCUMENT: &str = r#"{"accountId":"1",
    "architecture":"x86_64",
    "availabilityZone":"eu-test-7a",
    "billingProducts":null,
    "imageId":"ami-1",
    "instanceId":"i-1",
    "instanceType":"c5n.18xlarge",
    "kernelId":null,
    "marketplaceProductCodes":null,
    "pendingTime":"2026-01-01T00:00:00Z",
    "privateIp":"10.0.0.1",
    "ramdiskId":null,
    "region":"eu-test-7",
    "version":"2017-09-30"}"#;
