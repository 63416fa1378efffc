//! Proxies of the environment: what goes through them, and what is said of one that does not work.

use std::fs;
use std::process::Command;

use crate::failures::fail_both_ways;
use crate::proxy::{Proxy, Rules};
use crate::store::{BUCKET, MountPoint, store};
use crate::support::{FAILURE_LIMIT, mount_s3, run};

/// Mounts and reads a file; gives the log.
fn mounts(endpoint: &str, prepare: impl FnOnce(&mut Command)) {
    let mount_point = MountPoint::new();
    let ca = store().ca_bundle();
    let flags = ["--endpoint-url", endpoint, "--force-path-style", "--no-log"];
    let args = [&[BUCKET, mount_point.text()], &flags[..]].concat();
    let mut command = mount_s3(&args);
    store().credentials(&mut command);
    command.env("AWS_CA_BUNDLE", ca);
    prepare(&mut command);
    let outcome = run(&mut command, FAILURE_LIMIT);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    let text = fs::read_to_string(mount_point.path().join("hello.txt"));
    assert_eq!(text.expect("the mount answers"), "hello");
}

#[test]
fn tls_goes_through_a_tunnel_and_the_rest_is_forwarded() {
    for (variable, other, tls) in [
        ("HTTPS_PROXY", "HTTP_PROXY", true),
        ("https_proxy", "HTTPS_PROXY", true),
        ("HTTP_PROXY", "HTTPS_PROXY", false),
        ("http_proxy", "HTTP_PROXY", false),
    ] {
        let proxy = Proxy::start(Rules::default());
        let endpoint = if tls {
            store().https_endpoint()
        } else {
            store().endpoint()
        };
        mounts(&endpoint, |command| {
            command
                .env(other, "http://127.0.0.1:1")
                .env(variable, proxy.url());
        });
        let begin = if tls {
            "CONNECT 127.0.0.1:"
        } else {
            "GET http://127.0.0.1:"
        };
        let seen = proxy.seen();
        assert!(!seen.is_empty(), "{variable}");
        assert!(
            seen.iter().all(|line| line.starts_with(begin)),
            "{variable}: {seen:?}"
        );
    }
}

#[test]
fn hosts_of_no_proxy_are_reached_without() {
    for (variable, hosts) in [
        ("NO_PROXY", "127.0.0.1"),
        ("no_proxy", "example.com, 127.0.0.0/8"),
        ("NO_PROXY", "*"),
    ] {
        mounts(&store().https_endpoint(), |command| {
            command
                .env("HTTPS_PROXY", "http://127.0.0.1:1")
                .env(variable, hosts);
        });
    }
}

#[test]
fn proxy_gets_the_user_and_password_of_its_url() {
    let proxy = Proxy::start(Rules {
        // user:pass
        authorization: Some("Basic dXNlcjpwYXNz".to_owned()),
        ..Rules::default()
    });
    let url = format!("http://user:pass@{}", proxy.addr());
    mounts(&store().https_endpoint(), |command| {
        command.env("HTTPS_PROXY", &url);
    });
    mounts(&store().endpoint(), |command| {
        command.env("HTTP_PROXY", &url);
    });
}

#[test]
fn proxy_that_does_not_work_is_named_and_its_password_is_not() {
    let refusing = Proxy::start(Rules {
        refuse: Some(403),
        ..Rules::default()
    });
    let unauthorized = Proxy::start(Rules {
        authorization: Some("Basic dXNlcjpwYXNz".to_owned()),
        ..Rules::default()
    });
    for addr in [
        refusing.addr(),
        unauthorized.addr(),
        "127.0.0.1:1".parse().expect("an address"),
    ] {
        let mount_point = MountPoint::new();
        let endpoint = store().https_endpoint();
        let args = [BUCKET, mount_point.text(), "--endpoint-url", &endpoint];
        let error = fail_both_ways(&args, |command| {
            store().credentials(command);
            let url = format!("http://someone:hush@{addr}");
            command.env("HTTPS_PROXY", url);
        });
        let text = format!("check the proxy http://{addr} that HTTPS_PROXY names");
        assert!(error.contains(&text), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
}

#[test]
fn password_of_a_proxy_is_in_no_log() {
    let proxy = Proxy::start(Rules::default());
    let mount_point = MountPoint::new();
    let logs = tempfile::tempdir().expect("a directory");
    let endpoint = store().https_endpoint();
    let directory = logs.path().to_str().expect("UTF-8");
    let flags = ["--endpoint-url", &endpoint, "--log-directory", directory];
    let mut command = mount_s3(&[&[BUCKET, mount_point.text()], &flags[..]].concat());
    store().credentials(&mut command);
    command
        .env("AWS_CA_BUNDLE", store().ca_bundle())
        .env("MOUNTPOINT_LOG", "trace")
        .env(
            "HTTPS_PROXY",
            format!("http://someone:hush-hush@{}", proxy.addr()),
        );
    let outcome = run(&mut command, FAILURE_LIMIT);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    fs::read(mount_point.path().join("hello.txt")).expect("the mount answers");
    let log = fs::read_dir(logs.path()).expect("listed").flatten().next();
    let log = fs::read_to_string(log.expect("a log").path()).expect("read");
    assert!(log.contains("proxy"), "it tells of the proxy");
    // c29tZW9uZTpodXNoLWh1c2g= is what the two are in a header.
    for secret in ["hush-hush", "c29tZW9uZTpodXNoLWh1c2g"] {
        assert!(!log.contains(secret), "{secret}");
    }
}
