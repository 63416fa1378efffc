//! Figures for OpenTelemetry: what arrives, decoded by its own library.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, number_data_point};
use prost::Message;
use s3_test_server::{CA_FILE, Config, Server, Stub};

use crate::metrics::{Mounted, read_request, settle};
use crate::proxy::{Proxy, Rules};
use crate::store::BUCKET;
use crate::wait::{once_in_five, within};

const LIMIT: Duration = Duration::from_secs(120);

/// A receiver that only a proxy knows.
const HOST: &str = "collector.invalid";

/// The lines of a request, its message, and when it was there.
type Arrived = (Vec<String>, ExportMetricsServiceRequest, Instant);

/// Answers with these statuses, the last one again and again, and hands on what has come.
fn receiver(answers: &'static [(&'static str, &'static str)]) -> (String, Receiver<Arrived>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    let (send, arrived) = mpsc::channel();
    thread::spawn(move || {
        let last = answers.last().expect("one");
        let answers = answers.iter().chain(std::iter::repeat(last));
        for (stream, (status, header)) in listener.incoming().zip(answers) {
            let Ok(mut stream) = stream else { return };
            let Some((lines, body)) = read_request(&stream) else {
                continue;
            };
            let at = Instant::now();
            let request = ExportMetricsServiceRequest::decode(&*body).expect("a message");
            let answer = format!("HTTP/1.1 {status}\r\n{header}Content-Length: 0\r\n\r\n");
            // A client that has gone is no concern of this server.
            _ = stream.write_all(answer.as_bytes());
            if send.send((lines, request, at)).is_err() {
                return;
            }
        }
    });
    (endpoint, arrived)
}

/// What else a mount that has ended has sent to a [`receiver`].
fn rest(endpoint: &str, arrived: &Receiver<Arrived>) -> Vec<ExportMetricsServiceRequest> {
    const LAST: &str = "POST /last HTTP/1.1";
    let mut stream = TcpStream::connect(endpoint.trim_start_matches("http://")).expect("there");
    let request = format!("{LAST}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let messages = std::iter::from_fn(|| Some(arrived.recv_timeout(LIMIT).expect("the last one")));
    let messages = messages.take_while(|(lines, ..)| lines[0] != LAST);
    messages.map(|(_, message, _)| message).collect()
}

fn start_store() -> Server {
    let server = Server::start(Config {
        buckets: vec![BUCKET.to_owned()],
        anonymous: true,
        ..Config::default()
    });
    let server = server.expect("the server starts");
    server.put_bytes(BUCKET, "f", &[1; 100_000]);
    server
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| {
        let value = attribute
            .value
            .as_ref()
            .and_then(|value| value.value.clone());
        match value {
            Some(Value::StringValue(text)) => (attribute.key.clone(), text),
            other => panic!("{other:?}"),
        }
    };
    attributes.iter().map(text).collect()
}

/// What one message says of a metric: its number or its count, by the values of its attributes.
fn figures(
    request: &ExportMetricsServiceRequest,
    name: &str,
    temporality: AggregationTemporality,
) -> BTreeMap<Vec<String>, u64> {
    let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
    let mut figures = BTreeMap::new();
    for metric in metrics.iter().filter(|metric| metric.name == name) {
        match metric.data.as_ref().expect("data") {
            Data::Sum(sum) => {
                assert!(sum.is_monotonic);
                assert_eq!(sum.aggregation_temporality(), temporality);
                for point in &sum.data_points {
                    assert!(point.start_time_unix_nano < point.time_unix_nano);
                    let Some(number_data_point::Value::AsInt(number)) = point.value else {
                        panic!("{point:?}")
                    };
                    let of = texts(&point.attributes).into_values().collect();
                    figures.insert(of, u64::try_from(number).expect("positive"));
                }
            }
            Data::ExponentialHistogram(histogram) => {
                assert_eq!(histogram.aggregation_temporality(), temporality);
                for point in &histogram.data_points {
                    let buckets = point.positive.as_ref();
                    let counts = buckets.map_or(0, |buckets| buckets.bucket_counts.iter().sum());
                    assert_eq!(point.count, point.zero_count + counts, "{point:?}");
                    assert_eq!(point.scale, 2);
                    let of = texts(&point.attributes).into_values().collect();
                    figures.insert(of, point.count);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    figures
}

#[test]
fn deltas_add_up_though_a_message_is_lost() {
    once_in_five(|_| lose_a_message());
}

/// A message is lost, and the others add up. Not so on a machine that stands still: then the last message is
/// given up, or one is sent once more, from the same time on, as nothing was heard of its having come.
fn lose_a_message() -> Result<(), String> {
    let (endpoint, arrived) = receiver(&[
        ("503 Service Unavailable", "Retry-After: 2\r\n"),
        ("200 OK", ""),
    ]);
    let server = start_store();
    let flags = [
        "--otlp-endpoint",
        &endpoint,
        "--otlp-export-interval",
        "1",
        "--metrics-label",
        "team=x",
        "--debug",
    ];
    let environment = [("OTEL_RESOURCE_ATTRIBUTES", "service.name=mine,room=a%20b")];
    let mut mounted = Mounted::start(&server, &flags, &environment);
    let file = format!("{}/f", mounted.mount_point.text());
    fs::read(&file).expect("read");
    let (lines, refused, first) = arrived.recv_timeout(LIMIT).expect("a message");
    assert_eq!(lines[0], "POST /v1/metrics HTTP/1.1");
    for line in [
        "Content-Type: application/x-protobuf",
        "User-Agent: mount-s3/",
    ] {
        assert!(
            lines.iter().any(|found| found.starts_with(line)),
            "{lines:?}"
        );
    }
    let resource = refused.resource_metrics[0]
        .resource
        .as_ref()
        .expect("a resource");
    let resource = texts(&resource.attributes);
    for (name, value) in [
        ("service.name", "mine"),
        ("room", "a b"),
        ("team", "x"),
        ("bucket", BUCKET),
        ("mount_point", mounted.mount_point.text()),
    ] {
        assert_eq!(
            resource.get(name).map(String::as_str),
            Some(value),
            "{resource:?}"
        );
    }
    let (_, accepted, second) = arrived.recv_timeout(LIMIT).expect("another message");
    if second - first < Duration::from_millis(1900) {
        return Err(format!("Retry-After: {:?}", second - first));
    }
    fs::read(&file).expect("read");
    settle(&mounted, &server);
    mounted.end();
    let mut accepted = vec![accepted];
    accepted.extend(rest(&endpoint, &arrived));
    let log = mounted.log();
    if log.rfind("metrics cannot be sent to") > log.rfind("metrics are sent to") {
        return Err(log);
    }
    assert!(accepted.len() > 1, "the last one comes at the unmount");
    let came = accepted.len();
    accepted.reverse();
    accepted.dedup_by_key(|request| start_of(request));
    let mut totals = BTreeMap::<Vec<String>, u64>::new();
    for request in &accepted {
        let delta = AggregationTemporality::Delta;
        for (of, count) in figures(request, "s3.request_count", delta) {
            *totals.entry(of).or_default() += count;
        }
    }
    for (operation, stats) in server.stats().operations {
        let total = totals.get(&vec![operation.clone()]);
        assert_eq!(total, Some(&stats.count), "{operation}: {totals:?}");
    }
    match came - accepted.len() {
        0 => Ok(()),
        again => Err(format!("{again} messages were sent once more")),
    }
}

/// When that began which a message counts.
fn start_of(request: &ExportMetricsServiceRequest) -> u64 {
    let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
    let points = metrics.iter().find_map(|metric| match &metric.data {
        Some(Data::Sum(sum)) => Some(&sum.data_points),
        _ => None,
    });
    points.expect("a counter")[0].start_time_unix_nano
}

#[test]
fn cumulative_messages_have_the_totals_of_the_store() {
    let (endpoint, arrived) = receiver(&[("200 OK", "")]);
    let variable = "EXPERIMENTAL_MOUNTPOINT_OTLP_METRICS_TEMPORALITY_PREFERENCE";
    let (mut server, mut last) = (None, None);
    // At its end, a mount does not wait for long until a message is sent.
    once_in_five(|_| {
        let store = server.insert(start_store());
        let flags = ["--otlp-endpoint", &endpoint];
        let mut mounted = Mounted::start(store, &flags, &[(variable, "cumulative")]);
        fs::read(format!("{}/f", mounted.mount_point.text())).expect("read");
        settle(&mounted, store);
        mounted.end();
        // Long before the interval is over.
        last = rest(&endpoint, &arrived).pop();
        if last.is_none() {
            return Err(mounted.log());
        }
        Ok(())
    });
    let (server, request) = (server.expect("started"), last.expect("sent"));
    let cumulative = AggregationTemporality::Cumulative;
    let counts = figures(&request, "s3.request_count", cumulative);
    for (operation, stats) in server.stats().operations {
        let found = counts.get(&vec![operation.clone()]);
        assert_eq!(found, Some(&stats.count), "{operation}: {counts:?}");
    }
    let sizes = figures(&request, "fuse.io_size", cumulative);
    assert!(sizes.contains_key(&vec!["read".to_owned()]), "{sizes:?}");
    let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
    let latency = metrics
        .iter()
        .find(|metric| metric.name == "fuse.request_latency");
    assert_eq!(latency.map(|metric| &*metric.unit), Some("us"));
}

/// Reads a file of a mount that sends figures to this endpoint, with these variables.
fn send_by(endpoint: &str, flags: &[&str], environment: &[(&str, &str)]) {
    // At the end, an answer has 2 seconds to come.
    once_in_five(|_| {
        let server = start_store();
        let own = ["--otlp-endpoint", endpoint, "--otlp-export-interval", "1"];
        let mut mounted = Mounted::start(&server, &[&own[..], flags].concat(), environment);
        fs::read(format!("{}/f", mounted.mount_point.text())).expect("read");
        // The last figures are sent then.
        mounted.end();
        let log = mounted.log();
        if log.contains("metrics cannot be sent") {
            return Err(log);
        }
        Ok(())
    });
}

#[test]
fn proxies_of_the_environment_carry_messages_as_they_carry_s3() {
    let (endpoint, arrived) = receiver(&[("200 OK", "")]);
    let addr = endpoint.trim_start_matches("http://").parse();
    let proxy = Proxy::start(Rules {
        hosts: HashMap::from([(format!("{HOST}:4318"), addr.expect("an address"))]),
        ..Rules::default()
    });
    let named = format!("http://{HOST}:4318");
    send_by(&named, &[], &[("HTTP_PROXY", &proxy.url())]);
    arrived.recv_timeout(LIMIT).expect("a message");
    let line = format!("POST {named}/v1/metrics HTTP/1.1");
    assert!(proxy.seen().contains(&line), "{:?}", proxy.seen());

    // The host is an exception, so that a proxy that is not there matters to nobody.
    let nobody = [
        ("HTTP_PROXY", "http://127.0.0.1:1"),
        ("NO_PROXY", "127.0.0.1"),
    ];
    while arrived.try_recv().is_ok() {}
    send_by(&endpoint, &[], &nobody);
    arrived.recv_timeout(LIMIT).expect("a message");
}

#[test]
fn messages_over_tls_go_through_a_tunnel() {
    let directory = tempfile::tempdir().expect("a directory");
    let stub = Stub::https(directory.path(), &[HOST], |_| (200, String::new()));
    let stub = stub.expect("a server");
    let proxy = Proxy::start(Rules {
        hosts: HashMap::from([(format!("{HOST}:443"), stub.addr())]),
        ..Rules::default()
    });
    let ca = directory.path().join(CA_FILE);
    let flags = ["--ca-bundle", ca.to_str().expect("UTF-8")];
    let tunnel = [("HTTPS_PROXY", &*proxy.url())];
    send_by(&format!("https://{HOST}"), &flags, &tunnel);
    let requests = stub.requests();
    assert!(!requests.is_empty());
    assert!(
        requests
            .iter()
            .all(|request| request.target == "/v1/metrics")
    );
    let seen = proxy.seen();
    let begin = format!("CONNECT {HOST}:443");
    assert!(seen.iter().all(|line| line.starts_with(&begin)), "{seen:?}");
}

#[test]
fn receiver_that_is_away_is_told_of_once_and_holds_up_nothing() {
    // A port that no other test is given.
    let endpoint = "http://127.0.0.1:1";
    once_in_five(|_| {
        let server = start_store();
        let flags = ["--otlp-endpoint", endpoint, "--otlp-export-interval", "1"];
        let mut mounted = Mounted::start(&server, &flags, &[]);
        fs::read(format!("{}/f", mounted.mount_point.text())).expect("read");
        thread::sleep(Duration::from_millis(3500));
        let began = Instant::now();
        mounted.end();
        within(began.elapsed(), Duration::from_secs(20))?;
        let log = mounted.log();
        assert_eq!(log.matches("metrics cannot be sent to").count(), 1, "{log}");
        // What has no answer in time is told of as that.
        log.contains("refused").then_some(()).ok_or(log)
    });
}
