//! The metadata service of EC2 instances: region, throughput, and a start without it.

use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use s3_test_server::Stub;

use crate::store::{BUCKET, MountPoint, store};
use crate::support::mount_s3;
use crate::wait::{LONG, once_in_five, within};

/// What a mount says until it answers, and how long that takes.
fn start(flags: &[&str], endpoint: &str, prepare: impl FnOnce(&mut Command)) -> (String, Duration) {
    let mount_point = MountPoint::new();
    let args = [&[BUCKET, mount_point.text(), "--foreground"], flags].concat();
    let mut command = mount_s3(&args);
    store().credentials(&mut command);
    command
        .env_remove("AWS_EC2_METADATA_DISABLED")
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)
        .env("MOUNTPOINT_LOG", "debug,crt=off")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    prepare(&mut command);
    let begin = Instant::now();
    let mut child = command.spawn().expect("the command starts");
    while !mount_point.is_mounted() {
        assert!(begin.elapsed() < LONG, "it does not mount");
        thread::sleep(Duration::from_millis(5));
    }
    let took = begin.elapsed();
    drop(mount_point);
    let mut log = String::new();
    let mut stderr = child.stderr.take().expect("piped");
    stderr.read_to_string(&mut log).expect("text");
    child.wait().expect("the child is ours");
    (log, took)
}

#[test]
fn instance_type_is_told_by_the_metadata_service() {
    let serve = || {
        Stub::http(|request| match (&*request.method, &*request.target) {
            ("PUT", "/latest/api/token") => (200, "t".to_owned()),
            ("GET", "/latest/dynamic/instance-identity/document") => (200, DOCUMENT.to_owned()),
            _ => (404, String::new()),
        })
        .expect("a server")
    };
    let mut metadata = serve();
    // An answer has a second to come.
    once_in_five(|_| {
        metadata = serve();
        let (log, _) = start(&[], &format!("http://{}", metadata.addr()), |_| ());
        let text = "aiming at 100 Gbit/s, as an EC2 instance c5n.18xlarge has";
        log.contains(text).then_some(()).ok_or(log)
    });
    let endpoint = format!("http://{}", metadata.addr());
    let asked = metadata.requests().len();

    // Nobody is asked for what is known already.
    let known = ["--region", "us-east-1", "--maximum-throughput-gbps", "7"];
    let (log, _) = start(&known, &endpoint, |_| ());
    assert!(log.contains("aiming at 7 Gbit/s"), "{log}");
    start(&[], &endpoint, |command| {
        command.env("AWS_EC2_METADATA_DISABLED", "true");
    });
    assert_eq!(metadata.requests().len(), asked);
}

#[test]
fn silent_metadata_service_holds_a_start_up_for_a_second() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", silent.local_addr().expect("bound"));
    once_in_five(|_| {
        let (log, took) = start(&[], &endpoint, |_| ());
        assert!(log.contains("default, as the network is unknown") || log.contains("aiming at"));
        within(took, Duration::from_secs(3))
    });
    let refused = "http://127.0.0.1:1";
    once_in_five(|_| {
        let (_, took) = start(&[], refused, |_| ());
        within(took, Duration::from_secs(2))
    });
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
    "region":"us-east-1",
    "version":"2017-09-30"}"#;
