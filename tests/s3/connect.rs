//! Connecting, and everything that can be wrong with it.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use mount_s3::s3::{Addressing, Auth, BucketName, Error, ErrorKind, Prefix, S3Config};
use s3_test_server::{CA_FILE, Config, Fault, Model, Rule, TlsConfig};

use super::rogue;
use super::stores::wait::{LONG, once_in_five, within};
use super::support::{BUCKET, Crt, config, server, with_key};

fn refusal(config: S3Config) -> Error {
    let crt = Crt::start();
    let start = Instant::now();
    let error = crt.connect(config).expect_err("it is refused");
    let took = start.elapsed();
    assert!(took < LONG, "{took:?}");
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

fn at(url: &str) -> S3Config {
    S3Config {
        endpoint_url: Some(url.to_owned()),
        ..with_key("test", "test")
    }
}

#[test]
fn connect_lists_one_entry_below_the_prefix() {
    let server = server(Config::default());
    let crt = Crt::start();
    let mut config = config(&server);
    config.prefix = Prefix::new("a b/").unwrap();
    once_in_five(|_| {
        server.reset_stats();
        let store = crt.connect(config.clone()).unwrap();
        assert_eq!((store.bucket(), store.region()), (BUCKET, "us-east-1"));
        let stats = server.stats();
        assert_eq!(stats.log[0].key, "a b/");
        assert!(stats.log[0].query.contains("max-keys=1"));
        let asked: Vec<_> = stats.log.iter().map(|entry| &entry.operation).collect();
        match *asked {
            [operation] if operation == "ListObjectsV2" => Ok(()),
            _ => Err(format!("{asked:?}")),
        }
    });
}

#[test]
fn connect_to_a_missing_bucket_says_so() {
    let server = server(Config::default());
    let mut config = config(&server);
    config.bucket = BucketName::new("missing").unwrap();
    let error = refusal(config);
    assert_eq!(error.kind(), ErrorKind::NoSuchBucket);
    assert!(error.to_string().contains("missing"), "{error}");
}

#[test]
fn connect_with_wrong_credentials_says_so() {
    let server = server(Config::default());
    for auth in [with_key("test", "wrong").auth, with_key("nobody", "x").auth] {
        let mut config = config(&server);
        config.auth = auth;
        let error = refusal(config);
        assert_eq!(error.kind(), ErrorKind::BadCredentials, "{error}");
    }
}

#[test]
fn connect_without_permission_says_so() {
    let server = server(Config::default());
    server.set_model(Model {
        rules: vec![Rule::new(Fault::Deny)],
        ..Model::default()
    });
    let error = refusal(config(&server));
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("AccessDenied"), "{error}");
}

#[test]
fn connect_with_a_missing_profile_says_so() {
    let server = server(Config::default());
    let mut config = config(&server);
    config.auth = Auth::Profile("no-such-profile".to_owned());
    assert_eq!(refusal(config).kind(), ErrorKind::NoCredentials);
}

#[test]
fn connect_anonymously_works_where_that_is_allowed() {
    let open = server(Config {
        anonymous: true,
        ..Config::default()
    });
    let crt = Crt::start();
    let mut open_config = config(&open);
    open_config.auth = Auth::Anonymous;
    assert!(crt.connect(open_config).is_ok());
    let closed = server(Config::default());
    let mut closed_config = config(&closed);
    closed_config.auth = Auth::Anonymous;
    assert_eq!(refusal(closed_config).kind(), ErrorKind::Denied);
}

#[test]
fn connect_without_a_region_finds_it() {
    let server = server(Config {
        region: "eu-central-1".to_owned(),
        ..Config::default()
    });
    server.set_model(Model {
        enforce_region: true,
        ..Model::default()
    });
    let crt = Crt::start();
    let mut unknown = config(&server);
    unknown.region = None;
    let store = crt.connect(unknown).unwrap();
    assert_eq!(store.region(), "eu-central-1");
    let mut wrong = config(&server);
    wrong.region = Some("us-west-2".to_owned());
    let error = refusal(wrong);
    assert_eq!(error.kind(), ErrorKind::WrongRegion);
    assert_eq!(error.context().region.as_deref(), Some("eu-central-1"));
    assert!(
        error.to_string().contains("is in region eu-central-1"),
        "{error}"
    );
}

#[test]
fn connect_corrects_a_region_that_was_not_given_once() {
    for (status, code, in_header) in [
        (301, "PermanentRedirect", true),
        (307, "TemporaryRedirect", true),
        (400, "AuthorizationHeaderMalformed", true),
        (400, "AuthorizationHeaderMalformed", false),
        (400, "IllegalLocationConstraintException", true),
    ] {
        let addr = rogue::start(move |asked| {
            if asked
                .authorization
                .contains("/eu-central-1/s3/aws4_request")
            {
                return rogue::empty_list();
            }
            let header = [("x-amz-bucket-region", "eu-central-1")];
            let (headers, element) = if in_header {
                (&header[..], "")
            } else {
                (&[][..], "<Region>eu-central-1</Region>")
            };
            let body = format!("<Error><Code>{code}</Code>{element}</Error>");
            rogue::response(status, headers, body.as_bytes())
        });
        let crt = Crt::start();
        let mut config = at(&format!("http://{addr}"));
        let store = crt.connect(config.clone());
        let store = store.unwrap_or_else(|error| panic!("{status} {code}: {error}"));
        assert_eq!(store.region(), "eu-central-1", "{status} {code}");
        drop(store);
        config.likely_region = Some("eu-central-1".to_owned());
        assert!(crt.connect(config.clone()).is_ok(), "{status} {code}");
        config.region = Some("us-west-2".to_owned());
        let error = crt
            .connect(config)
            .expect_err("what was given is not corrected");
        assert_eq!(error.kind(), ErrorKind::WrongRegion, "{status} {code}");
    }
}

#[test]
fn connect_to_a_dead_endpoint_ends_soon() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Nobody else can listen where a connection begins.
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let addr = connection.local_addr().unwrap();
    assert_eq!(
        refusal(at(&format!("http://{addr}"))).kind(),
        ErrorKind::Connection
    );
}

#[test]
fn connect_to_a_silent_endpoint_ends_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    once_in_five(|_| {
        let crt = Crt::start();
        let start = Instant::now();
        let connected = crt.connect_once(at(&format!("http://{addr}")));
        let took = start.elapsed();
        let error = connected.expect_err("nobody answers");
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
        within(took, Duration::from_secs(10))
    });
}

#[test]
fn connect_to_an_unknown_host_says_so() {
    let error = refusal(at("http://no-such-host.invalid"));
    assert_eq!(error.kind(), ErrorKind::Dns, "{error}");
}

#[test]
fn connect_through_throttling_works() {
    let server = server(Config::default());
    server.set_model(Model {
        rules: vec![Rule::new(Fault::SlowDown).times(2)],
        ..Model::default()
    });
    assert!(Crt::start().connect(config(&server)).is_ok());
}

#[test]
fn connect_with_settings_that_do_not_fit_says_so() {
    let mut settings = at("http://127.0.0.1:1");
    settings.addressing = Addressing {
        accelerate: true,
        ..Addressing::default()
    };
    let error = refusal(settings);
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.to_string().contains("S3 Accelerate"), "{error}");
}

#[test]
fn connect_over_tls_to_a_port_without_it_says_so() {
    let addr = rogue::start(|_| unreachable!("no request is made"));
    let url = format!("https://{addr}");
    let start = Instant::now();
    let error = refusal(at(&url));
    let took = start.elapsed();
    let text = format!("no answer from {url} over TLS");
    assert!(error.to_string().contains(&text), "{took:?}: {error}");
}

#[test]
fn connect_over_tls_trusts_the_bundle_only() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(Config {
        tls: Some(TlsConfig {
            addr: "127.0.0.1:0".parse().unwrap(),
            dir: dir.path().to_owned(),
        }),
        ..Config::default()
    });
    let url = format!("https://{}", server.tls_addr().unwrap());
    let crt = Crt::start();
    let mut trusting = at(&url);
    trusting.ca_bundle = Some(dir.path().join(CA_FILE));
    assert!(crt.connect(trusting).is_ok());
    once_in_five(|_| {
        let start = Instant::now();
        let error = crt.connect_once(at(&url)).expect_err("nobody is trusted");
        within(start.elapsed(), Duration::from_secs(3))?;
        assert_eq!(error.kind(), ErrorKind::Tls);
        let text = format!("no TLS connection to {url}: Certificate is untrusted");
        assert!(error.to_string().contains(&text), "{error}");
        Ok(())
    });
    let mut lost = at(&url);
    lost.ca_bundle = Some(dir.path().join("missing.pem"));
    let error = refusal(lost);
    assert_eq!(error.kind(), ErrorKind::Tls);
    assert!(error.to_string().contains("missing.pem"), "{error}");
}
