//! Start, shutdown, and what stands in its way.

use std::num::NonZeroU16;
use std::thread;
use std::time::{Duration, Instant};

use mount_s3::crt::{
    CredentialsProvider, ErrorKind, InstanceMetadata, Runtime, RuntimeConfig, ShutdownStage,
    TlsContext, Trust,
};

use crate::server::{Answer, Server};
use crate::support::{
    Event, Fixture, MIB, PATIENCE, Recorder, in_subprocess, run_in_subprocess, start_get,
};
use crate::wait::once_in_five;

#[test]
fn start_and_shutdown_twice_in_one_process_work() {
    for _ in 0..2 {
        let fixture = Fixture::start();
        let server = Server::start(2 * MIB, |_| Answer::Object);
        let recorder = Recorder::new();
        let (client, request) = fixture.get(&server, 0..2 * MIB, recorder.clone());
        recorder.expect_bytes(0..2 * MIB);
        drop((client, request));
        fixture.end();
    }
}

#[test]
fn shutdown_of_everything_unused_leaves_no_bytes() {
    let fixture = Fixture::start();
    let runtime = fixture.runtime();
    let tls = TlsContext::new(runtime, Trust::System).expect("the system's trust store");
    let instance = CredentialsProvider::instance(runtime).unwrap();
    let instance = CredentialsProvider::refreshed(runtime, instance, None).unwrap();
    let metadata = InstanceMetadata::new(runtime).unwrap();
    let client = fixture.client_with_tls(Some(&tls), |_| ());
    let message = client.message("GET", "/").unwrap();
    let uri = fixture.uri("https://example.com/path");
    assert_eq!(uri.scheme(), "https");
    assert_eq!(uri.authority(), "example.com");
    assert_eq!(uri.port(), None);
    assert_eq!(uri.path(), "/path");
    drop((
        tls,
        instance,
        metadata,
        client.clone(),
        client,
        message,
        uri,
    ));
    fixture.end();
}

#[test]
fn shutdown_with_requests_in_flight_cancels_them_within_the_deadline() {
    let fixture = Fixture::start();
    let server = Server::start(64 * MIB, |incoming| match incoming.number % 4 {
        0 => Answer::Object,
        1 => Answer::Silent,
        2 => Answer::Stalled(1000),
        _ => Answer::Slow(10_000),
    });
    let client = fixture.client(|_| ());
    let uri = fixture.uri(&server.endpoint());
    let running: Vec<_> = (0..12)
        .map(|_| {
            let recorder = Recorder::new();
            let request = start_get(&client, &uri, 0..64 * MIB, 0, recorder.clone());
            (recorder, request)
        })
        .collect();
    let deadline = Instant::now() + PATIENCE;
    while server.seen().len() < 12 {
        assert!(Instant::now() < deadline, "requests did not arrive");
        thread::sleep(Duration::from_millis(5));
    }
    let (recorders, requests): (Vec<_>, Vec<_>) = running.into_iter().unzip();
    // The handles go while the shutdown waits, as those of a file system's readers do.
    let holder = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        drop((requests, uri, client));
    });
    let begin = Instant::now();
    fixture.end();
    assert!(
        begin.elapsed() < Duration::from_secs(50),
        "{:?}",
        begin.elapsed()
    );
    holder.join().unwrap();
    for recorder in recorders {
        let error = recorder.outcome().expect_err("canceled");
        assert_eq!(error.kind(), ErrorKind::Canceled);
    }
}

#[test]
fn shutdown_past_its_deadline_names_what_is_held() {
    run_in_subprocess("lifecycle::hold_things_over_the_deadline", &[]);
}

/// The body of the test above; alone in its process, because the libraries stay initialised.
#[test]
fn hold_things_over_the_deadline() {
    if !in_subprocess() {
        return;
    }
    let shortly = Duration::from_secs(3);
    let start = || Runtime::start(RuntimeConfig::default()).unwrap();

    let runtime = start();
    let anonymous = CredentialsProvider::anonymous(&runtime).unwrap();
    let error = runtime.shutdown(shortly).expect_err("held");
    assert_eq!(error.stage, ShutdownStage::Credentials);
    drop(anonymous);

    let runtime = start();
    let anonymous = CredentialsProvider::anonymous(&runtime).unwrap();
    let config = mount_s3::crt::s3::ClientConfig::new("us-east-1", &anonymous);
    let client = mount_s3::crt::s3::Client::new(&runtime, &config).unwrap();
    drop(anonymous);
    let error = runtime.shutdown(shortly).expect_err("held");
    assert_eq!(error.stage, ShutdownStage::Clients);
    assert!(client.message("GET", "/").is_ok());
    drop(client);

    // Here threads have to end before, which are given the same time.
    once_in_five(|_| {
        let runtime = start();
        let uri = mount_s3::crt::Uri::parse(&runtime, "http://a").unwrap();
        let error = runtime.shutdown(shortly).expect_err("held");
        drop(uri);
        match error.stage {
            ShutdownStage::Wrappers => Ok(()),
            earlier => Err(format!("{earlier:?}")),
        }
    });

    // The libraries could not be cleaned up, so bytes cannot be counted any more.
    assert!(Runtime::start_traced(RuntimeConfig::default()).is_err());
    // But work goes on.
    start().shutdown(PATIENCE).expect("nothing is held");
}

#[test]
fn drop_without_shutdown_does_not_block() {
    run_in_subprocess("lifecycle::drop_a_runtime_in_use", &[]);
}

/// The body of the test above.
#[test]
fn drop_a_runtime_in_use() {
    if !in_subprocess() {
        return;
    }
    let server = Server::start(MIB, |_| Answer::Silent);
    let runtime = Runtime::start(RuntimeConfig::default()).unwrap();
    let anonymous = CredentialsProvider::anonymous(&runtime).unwrap();
    let config = mount_s3::crt::s3::ClientConfig::new("us-east-1", &anonymous);
    let client = mount_s3::crt::s3::Client::new(&runtime, &config).unwrap();
    let uri = mount_s3::crt::Uri::parse(&runtime, &server.endpoint()).unwrap();
    let recorder = Recorder::new();
    let request = start_get(&client, &uri, 0..MIB, 0, recorder.clone());
    let begin = Instant::now();
    drop(runtime);
    assert!(begin.elapsed() < Duration::from_secs(30));
    // What was made of it still works, and ends.
    drop(request);
    let error = recorder.outcome().expect_err("canceled");
    assert_eq!(error.kind(), ErrorKind::Canceled);
}

#[test]
fn shutdown_in_a_callback_is_refused() {
    run_in_subprocess("lifecycle::shut_down_in_a_callback", &[]);
}

/// The body of the test above.
#[test]
fn shut_down_in_a_callback() {
    if !in_subprocess() {
        return;
    }
    let server = Server::start(MIB, |_| Answer::Object);
    let runtime = Runtime::start(RuntimeConfig::default()).unwrap();
    let other = std::sync::Mutex::new(Some(Runtime::start(RuntimeConfig::default()).unwrap()));
    let anonymous = CredentialsProvider::anonymous(&runtime).unwrap();
    let config = mount_s3::crt::s3::ClientConfig::new("us-east-1", &anonymous);
    let client = mount_s3::crt::s3::Client::new(&runtime, &config).unwrap();
    let uri = mount_s3::crt::Uri::parse(&runtime, &server.endpoint()).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let recorder = Recorder::with_hook(move |event| {
        if event == Event::Finish
            && let Some(other) = other.lock().unwrap().take()
        {
            let _ = sender.send(other.shutdown(PATIENCE));
        }
        mount_s3::crt::s3::Flow::Continue
    });
    let _request = start_get(&client, &uri, 0..MIB, 0, recorder.clone());
    let error = receiver
        .recv_timeout(PATIENCE)
        .unwrap()
        .expect_err("refused");
    assert_eq!(error.stage, ShutdownStage::Refused);
    recorder.outcome().expect("the request goes on");
}

#[test]
fn requests_after_the_shutdown_began_are_refused() {
    let fixture = Fixture::start();
    let client = fixture.client(|_| ());
    let uri = fixture.uri("http://127.0.0.1:1");
    let late = thread::spawn(move || {
        let options =
            mount_s3::crt::s3::RequestOptions::new(mount_s3::crt::s3::RequestKind::GetObject, &uri);
        // The client keeps the shutdown waiting, but nobody sees that it has begun.
        let begin = Instant::now();
        loop {
            thread::sleep(Duration::from_millis(200));
            let message = client.message("GET", "/").unwrap();
            match client.start(message, &options, Recorder::new()) {
                Err(error) => return error,
                Ok(request) => drop(request),
            }
            assert!(begin.elapsed() < PATIENCE, "it is not refused");
        }
    });
    fixture.end();
    let error = late.join().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn traced_runtime_is_alone() {
    let fixture = Fixture::start();
    let bytes = fixture.runtime().traced_bytes().expect("traced");
    assert!(bytes > 1000, "{bytes}");
    let config = RuntimeConfig {
        event_loop_threads: NonZeroU16::new(1),
        ..RuntimeConfig::default()
    };
    let error = Runtime::start(config).expect_err("one is traced");
    assert_eq!(error.name(), "AWS_ERROR_INVALID_STATE");
    fixture.end();
}

#[test]
fn several_runtimes_live_and_end_side_by_side() {
    run_in_subprocess("lifecycle::run_two_runtimes", &[]);
}

/// The body of the test above.
#[test]
fn run_two_runtimes() {
    if !in_subprocess() {
        return;
    }
    let config = RuntimeConfig {
        event_loop_threads: NonZeroU16::new(2),
        max_fragment_bytes: Some(1 << 20),
    };
    let first = Runtime::start(config.clone()).unwrap();
    let second = Runtime::start(config).unwrap();
    first.shutdown(PATIENCE).expect("the first ends");
    let anonymous = CredentialsProvider::anonymous(&second).unwrap();
    let config = mount_s3::crt::s3::ClientConfig::new("us-east-1", &anonymous);
    let client = mount_s3::crt::s3::Client::new(&second, &config).unwrap();
    let server = Server::start(20 * MIB, |_| Answer::Object);
    let uri = mount_s3::crt::Uri::parse(&second, &server.endpoint()).unwrap();
    let recorder = Recorder::new();
    let request = start_get(&client, &uri, 0..20 * MIB, 0, recorder.clone());
    recorder.expect_bytes(0..20 * MIB);
    drop((request, uri, client, anonymous));
    second.shutdown(PATIENCE).expect("the second ends");
    // Both gone: bytes can be counted again.
    let traced = Runtime::start_traced(RuntimeConfig::default()).expect("alone");
    traced.shutdown(PATIENCE).expect("no leak");
}
