//! Credentials, and the signatures that they make.

use std::fs;
use std::time::Instant;

use futures::executor::block_on;
use mount_s3::crt::s3::{Client, ClientConfig, RequestKind, RequestOptions};
use mount_s3::crt::{
    CredentialsProvider, ErrorKind, ProfileOptions, Runtime, RuntimeConfig, TlsContext, Trust, Uri,
};

use crate::server::{Answer, Incoming, Server};
use crate::support::{Fixture, PATIENCE, in_subprocess, run_in_subprocess};

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
    let tls = TlsContext::new(fixture.runtime(), Trust::System).unwrap();
    let chain = CredentialsProvider::default_chain(fixture.runtime(), &tls, None).unwrap();
    assert_eq!(block_on(chain.load()).unwrap().access_key_id, "AKIDENV");
    let request = request_with(fixture.runtime(), &chain);
    assert!(request.header("authorization").unwrap().contains("AKIDENV"));
    drop((environment, tls, chain));
    fixture.end();
}

#[test]
fn chain_reads_the_profile_that_the_environment_names() {
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
    let chain = CredentialsProvider::default_chain(fixture.runtime(), &tls, None).unwrap();
    assert_eq!(block_on(chain.load()).unwrap().access_key_id, "AKIDWORK");
    let options = ProfileOptions::default();
    let profile = CredentialsProvider::profile(fixture.runtime(), &tls, &options).unwrap();
    assert_eq!(block_on(profile.load()).unwrap().access_key_id, "AKIDWORK");
    drop((tls, chain, profile));
    fixture.end();
}

#[test]
fn chain_reads_the_container_endpoint() {
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
    run_in_subprocess("auth::load_from_container", &environment);
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
    let chain = CredentialsProvider::default_chain(fixture.runtime(), &tls, None).unwrap();
    let loaded = block_on(chain.load()).unwrap();
    assert_eq!(loaded.access_key_id, "AKIDBOX");
    assert!(loaded.expires.is_some());
    drop((tls, chain));
    fixture.end();
}

#[test]
fn chain_without_any_source_is_a_credentials_error() {
    let environment = [
        ("AWS_CONFIG_FILE", "/nonexistent"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    run_in_subprocess("auth::load_from_nowhere", &environment);
}

/// The body of the test above.
#[test]
fn load_from_nowhere() {
    if !in_subprocess() {
        return;
    }
    let fixture = Fixture::start();
    let tls = TlsContext::new(fixture.runtime(), Trust::System).unwrap();
    let chain = CredentialsProvider::default_chain(fixture.runtime(), &tls, None).unwrap();
    let begin = Instant::now();
    let error = block_on(chain.load()).expect_err("no source");
    assert_eq!(error.kind(), ErrorKind::Credentials, "{error}");
    assert!(begin.elapsed() < PATIENCE);

    // A request that cannot be signed says so, too.
    let server = Server::start(1, |_| Answer::Object);
    let config = ClientConfig::new("us-east-1", &chain);
    let client = Client::new(fixture.runtime(), &config).unwrap();
    let uri = fixture.uri(&server.endpoint());
    let operation = "HeadObject";
    let options = RequestOptions::new(RequestKind::Default { operation }, &uri);
    let message = client.message("HEAD", "/bucket/key").unwrap();
    let error = block_on(client.send(message, &options).unwrap()).expect_err("unsigned");
    assert_eq!(error.kind(), ErrorKind::Credentials, "{error}");
    assert!(server.seen().is_empty());
    drop((uri, client, tls, chain));
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
