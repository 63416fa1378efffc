//! The figures of a mount: right, and to be had in every way that is offered.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use s3_test_server::{Config, Fault, Model, Rule, Server};
use tempfile::TempDir;

use crate::store::{BUCKET, MountPoint};
use crate::support::{mount_s3, run, start};
use crate::umount::umount;
use crate::wait::{once_in_five, wait_for};

pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// How long the mount lets somebody who asks for figures take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A store of one test's own.
pub(crate) fn start_store() -> Server {
    let server = Server::start(Config {
        buckets: vec![BUCKET.to_owned()],
        anonymous: true,
        ..Config::default()
    });
    server.expect("the server starts")
}

/// A mount in the foreground, with metrics at a Unix socket.
pub(crate) struct Mounted {
    child: Child,
    pub(crate) mount_point: MountPoint,
    place: TempDir,
}

impl Mounted {
    pub(crate) fn start(server: &Server, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let (mount_point, place) = (MountPoint::new(), tempfile::tempdir().expect("a directory"));
        let listen = format!("unix:{}/socket", place.path().display());
        let endpoint = server.endpoint();
        let fixed = [
            BUCKET,
            mount_point.text(),
            "-f",
            "--no-sign-request",
            "--endpoint-url",
            &endpoint,
            "--metrics-listen",
            &listen,
        ];
        let log = File::create(place.path().join("log")).expect("a file");
        let mut command = mount_s3(&[&fixed, flags].concat());
        command
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stderr(log);
        let mut mounted = Self {
            child: start(&mut command),
            mount_point,
            place,
        };
        // Somebody may listen at the socket a moment later.
        wait_for("metrics to be served", LIMIT, || {
            let ended = mounted.child.try_wait().expect("ours");
            assert!(ended.is_none(), "{ended:?}: {}", mounted.log());
            mounted.connect().ok()
        });
        mounted
    }

    fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(self.place.path().join("socket"))
    }

    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.mount_point.text())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.place.path().join("log")).expect("text")
    }

    /// All figures: series, and value.
    fn scrape(&self) -> Scrape {
        Scrape::parse(&self.get("*/*", "text/plain; version=0.0.4"))
    }

    /// All figures, as somebody gets them who accepts this; they must be of this type.
    fn get(&self, accept: &str, media: &str) -> String {
        let answer = wait_for("an answer", LIMIT, || {
            let began = Instant::now();
            let answer = self.ask(accept);
            let is_over = answer.as_deref().is_ok_and(is_whole) || began.elapsed() < PATIENCE;
            is_over.then(|| answer.expect("answered"))
        });
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains(media), "{head}");
        body.to_owned()
    }

    fn ask(&self, accept: &str) -> io::Result<String> {
        let mut stream = self.connect()?;
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Unmounts, and waits for the end.
    pub(crate) fn end(&mut self) {
        umount(self.mount_point.path());
        wait_for("the process to end", LIMIT, || {
            self.child.try_wait().expect("ours")
        });
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Whether nothing of an answer is missing.
fn is_whole(answer: &str) -> bool {
    let parts = answer.split_once("\r\n\r\n");
    parts.is_some_and(|(head, body)| {
        let length = format!("\r\nContent-Length: {}\r\n", body.len());
        head.contains(&length)
    })
}

/// Figures in the text format of Prometheus, each of which was checked to be well formed.
pub(crate) struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    fn parse(text: &str) -> Self {
        let mut series = BTreeMap::new();
        let (mut family, mut kind) = ("", "");
        let mut families = Vec::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family = help.split(' ').next().expect("a name");
                assert!(!families.contains(&family), "{family} is in one place");
                families.push(family);
                continue;
            }
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                let (name, declared) = declared.split_once(' ').expect("a name and a type");
                assert_eq!(name, family);
                kind = declared;
                continue;
            }
            let (name, value) = line.rsplit_once(' ').expect("a value");
            let bare = name.split('{').next().expect("a name");
            let suffixes: &[&str] = match kind {
                "histogram" => &["_bucket", "_sum", "_count"],
                "counter" | "gauge" => &[""],
                other => panic!("{other}"),
            };
            assert_eq!(kind == "counter", bare.ends_with("_total"), "{line}");
            let is_of_family = |suffix: &&str| bare.strip_suffix(*suffix) == Some(family);
            assert!(suffixes.iter().any(is_of_family), "{line} under {family}");
            let value = value.parse::<f64>().expect("a number");
            assert!(value >= 0.0, "{line}");
            assert!(
                series.insert(name.to_owned(), value).is_none(),
                "{line} twice"
            );
        }
        let scrape = Self(series);
        scrape.check_histograms();
        scrape
    }

    /// Buckets only grow, and the last one has all.
    fn check_histograms(&self) {
        let mut counts = BTreeMap::<String, Vec<(f64, f64)>>::new();
        for (name, value) in &self.0 {
            let Some((rest, bound)) = name.split_once(",le=\"") else {
                continue;
            };
            let bound = bound.trim_end_matches("\"}").replace("+Inf", "inf");
            let bound = bound.parse().expect("a bound");
            let all = rest.replacen("_bucket{", "_count{", 1) + "}";
            counts.entry(all).or_default().push((bound, *value));
        }
        assert!(!counts.is_empty());
        for (all, mut buckets) in counts {
            buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
            assert!(buckets.is_sorted_by_key(|(_, count)| *count), "{all}");
            let last = buckets.last().map(|(_, count)| *count);
            assert_eq!(last, self.0.get(&all).copied(), "{all}");
        }
    }

    /// The sum of the series of `name` that have all of `labels`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "they are counts"
    )]
    fn sum(&self, name: &str, labels: &[&str]) -> u64 {
        let series = self.0.iter().filter(|(series, _)| {
            let (bare, rest) = series.split_once('{').expect("labels");
            bare == name && labels.iter().all(|label| rest.contains(label))
        });
        series.map(|(_, value)| value).sum::<f64>() as u64
    }

    fn requests(&self, operation: &str) -> u64 {
        let label = format!("s3_request=\"{operation}\"");
        self.sum("mount_s3_s3_requests_total", &[&label])
    }
}

/// Waits until the mount and the store have counted the same requests, and nothing is open any more: the
/// mount counts a request when its telemetry comes, a moment after its answer, and the kernel tells of
/// the end of a file a moment after it was closed.
pub(crate) fn settle(mounted: &Mounted, server: &Server) -> Scrape {
    wait_for("the same counts of requests", LIMIT, || {
        let (scrape, stats) = (mounted.scrape(), server.stats());
        let is_same = |(operation, stats): (&String, &s3_test_server::OperationStats)| {
            scrape.requests(operation) == stats.count
        };
        let all = scrape.sum("mount_s3_s3_requests_total", &[]);
        // Of what is counted of a request, its time is the last; those that were canceled have none.
        let timed = scrape.sum("mount_s3_s3_request_latency_seconds_count", &[]);
        let canceled = scrape.sum("mount_s3_s3_requests_canceled_total", &[]);
        let is_settled = stats.operations.iter().all(is_same)
            && all == stats.requests()
            && all == timed + canceled
            && scrape.sum("mount_s3_open_handles", &[]) == 0;
        is_settled.then_some(())
    });
    mounted.scrape()
}

#[test]
fn counts_are_those_of_the_store() {
    const SMALL: usize = 300_000;
    const LARGE: usize = 20 << 20;
    let server = start_store();
    let flags = ["--allow-delete", "--metrics-label", "team=a \"b\""];
    let mounted = Mounted::start(&server, &flags, &[]);
    fs::create_dir(mounted.path("d")).expect("made");
    for name in ["d/one", "d/two", "three"] {
        fs::write(mounted.path(name), vec![1; SMALL]).expect("written");
    }
    fs::write(mounted.path("large"), vec![2; LARGE]).expect("written");
    for name in ["d/one", "d/two", "three", "large"] {
        assert!(!fs::read(mounted.path(name)).expect("read").is_empty());
    }
    assert!(fs::read(mounted.path("missing")).is_err());
    assert_eq!(fs::read_dir(mounted.path("d")).expect("read").count(), 2);
    fs::remove_file(mounted.path("three")).expect("deleted");

    let scrape = settle(&mounted, &server);
    let stats = server.stats();
    assert!(
        stats.count("UploadPart") >= 3 && stats.count("PutObject") == 3,
        "{stats:?}"
    );
    for operation in stats.operations.keys() {
        let label = format!("s3_request=\"{operation}\"");
        let received = scrape.sum("mount_s3_s3_received_bytes_total", &[&label]);
        // The store counts them after they were sent.
        wait_for(&format!("{received} bytes of {operation}"), LIMIT, || {
            let sent = server.stats().operations[operation].body_bytes_sent;
            (sent == received).then_some(())
        });
    }
    let sent = |operation: &str| {
        let label = format!("s3_request=\"{operation}\"");
        scrape.sum("mount_s3_s3_sent_bytes_total", &[&label])
    };
    assert_eq!(sent("PutObject"), 3 * SMALL as u64);
    assert_eq!(sent("UploadPart"), LARGE as u64);
    let bytes = (3 * SMALL + LARGE) as u64;
    for request in ["read", "write"] {
        let label = format!("fuse_request=\"{request}\"");
        assert_eq!(
            scrape.sum("mount_s3_fuse_io_size_bytes_sum", &[&label]),
            bytes
        );
    }
    let errors = ["fuse_request=\"lookup\"", "errno=\"ENOENT\""];
    assert!(scrape.sum("mount_s3_fuse_request_errors_total", &errors) >= 1);
    let failed: u64 = stats.statuses.range(300..).map(|(_, count)| count).sum();
    assert_eq!(scrape.sum("mount_s3_s3_request_errors_total", &[]), failed);
    assert_eq!(scrape.sum("mount_s3_open_handles", &[]), 0);
    let labels = ["bucket=\"some-bucket\"", "prefix=\"\"", r#"team="a \"b\"""#];
    assert!(scrape.sum("mount_s3_inodes", &labels) >= 1);

    let open = File::open(mounted.path("large")).expect("opened");
    let scrape = mounted.scrape();
    assert_eq!(scrape.sum("mount_s3_open_handles", &["kind=\"read\""]), 1);
    drop(open);
}

/// Reads figures by the library of Prometheus, in a program of its own: a line for each, its name and
/// labels in order and its value.
fn read_by_prometheus(parser: &str, text: &str) -> BTreeMap<String, f64> {
    let program = format!(
        "import sys\n\
         from {parser} import text_string_to_metric_families as parse\n\
         for family in parse(sys.stdin.read()):\n\
         \x20   for sample in family.samples:\n\
         \x20       labels = {{**sample.labels}}\n\
         \x20       if 'le' in labels: labels['le'] = float(labels['le'])\n\
         \x20       print(family.type, sample.name, sorted(labels.items()), sample.value, sep='\\t')\n"
    );
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/bin/python3");
    let mut child = Command::new(python)
        .args(["-c", &program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("scripts/tools.sh installs it");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).expect("written");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{parser} refuses:\n{text}");
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    let split = |line: &str| {
        let (name, value) = line.rsplit_once('\t').expect("a value");
        (name.to_owned(), value.parse().expect("a number"))
    };
    lines.lines().map(split).collect()
}

#[test]
fn openmetrics_has_the_same_figures_by_the_library_of_prometheus() {
    let server = start_store();
    server.put_bytes(BUCKET, "f", &[1; 100_000]);
    let mounted = Mounted::start(&server, &["--metrics-label", "team=a \"b\""], &[]);
    fs::read(mounted.path("f")).expect("read");
    assert!(fs::read(mounted.path("missing")).is_err());
    settle(&mounted, &server);
    let text = || mounted.get("text/plain", "text/plain; version=0.0.4");
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    // Time, memory and processor time go on.
    let stays = |line: &&str| {
        let own = ["mount_s3_process_", "mount_s3_uptime_"];
        !own.iter().any(|own| line.contains(own))
    };
    // What the kernel tells the mount between two answers is in one of them only.
    let (text, open) = wait_for("figures that stay", LIMIT, || {
        let before = text();
        let open = mounted.get(accept, "application/openmetrics-text; version=1.0.0");
        let after = text();
        let lines = before.lines().filter(stays);
        let is_same = lines.eq(after.lines().filter(stays));
        is_same.then_some((after, open))
    });
    let text = read_by_prometheus("prometheus_client.parser", &text);
    let open = read_by_prometheus("prometheus_client.openmetrics.parser", &open);
    let names = |figures: &BTreeMap<String, f64>| figures.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&open), names(&text));
    assert!(
        open.keys()
            .any(|name| name.contains("[('bucket', 'some-bucket'), "))
    );
    assert!(
        open.keys()
            .any(|name| name.contains(r#"('team', 'a "b"')"#))
    );
    for (name, value) in &open {
        if stays(&name.as_str()) {
            assert_eq!(text.get(name), Some(value), "{name}");
        }
    }
}

#[test]
fn failures_and_retries_are_counted_by_status() {
    let server = start_store();
    server.put_bytes(BUCKET, "f", &[1; 100_000]);
    let mounted = Mounted::start(&server, &[], &[]);
    server.set_model(Model {
        rules: vec![
            Rule::new(Fault::SlowDown).on("GetObject").times(2),
            Rule::new(Fault::Deny).on("GetObject").under("denied"),
        ],
        ..Model::default()
    });
    server.put_bytes(BUCKET, "denied", &[1; 100_000]);
    assert_eq!(fs::read(mounted.path("f")).expect("read").len(), 100_000);
    assert!(fs::read(mounted.path("denied")).is_err());
    let scrape = settle(&mounted, &server);
    let get = "s3_request=\"GetObject\"";
    let errors = |status: &str| {
        let status = format!("http_status=\"{status}\"");
        scrape.sum("mount_s3_s3_request_errors_total", &[get, &status])
    };
    assert_eq!(errors("503"), 2);
    assert!(errors("403") >= 1);
    assert_eq!(scrape.sum("mount_s3_s3_request_retries_total", &[get]), 2);
    let errors = ["errno=\"EACCES\""];
    assert!(scrape.sum("mount_s3_fuse_request_errors_total", &errors) >= 1);
}

#[test]
fn log_has_what_has_changed_and_the_last_of_it() {
    const RECEIVED: &str =
        "INFO  metrics] s3.received_bytes{s3_request=GetObject}: 100000 (+100000, ";
    once_in_five(|_| {
        let server = start_store();
        server.put_bytes(BUCKET, "f", &[1; 100_000]);
        let mut mounted = Mounted::start(&server, &["--log-metrics"], &[]);
        fs::read(mounted.path("f")).expect("read");
        settle(&mounted, &server);
        mounted.end();
        let log = mounted.log();
        for line in [
            "INFO  metrics] fuse.io_size{fuse_request=read}: n=",
            "INFO  metrics] process.memory_usage: ",
        ] {
            assert!(log.contains(line), "{line}\n{log}");
        }
        assert!(!log.contains("s3_request=PutObject"), "{log}");
        // Lines are written each 5 seconds, too, perhaps while the answer arrives.
        log.contains(RECEIVED).then_some(()).ok_or(log)
    });
}

#[test]
fn address_that_is_in_use_is_named() {
    let server = start_store();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("bound").to_string();
    let mount_point = MountPoint::new();
    let endpoint = server.endpoint();
    let words = [
        BUCKET,
        mount_point.text(),
        "--no-sign-request",
        "--endpoint-url",
        &endpoint,
        "--metrics-listen",
        &address,
    ];
    for mode in ["--foreground", "--no-log"] {
        let outcome = run(&mut mount_s3(&[&words[..], &[mode]].concat()), LIMIT);
        assert_eq!(outcome.status, Some(1), "{outcome:?}");
        let error = &outcome.stderr;
        assert!(
            error.contains(&format!("Failed to serve metrics at {address}")),
            "{error}"
        );
        assert!(
            error.contains("in use") && error.contains("--metrics-listen"),
            "{error}"
        );
        assert!(!mount_point.is_mounted());
    }
}

/// The lines of a request of HTTP, and its body.
pub(crate) fn read_request(stream: impl Read) -> Option<(Vec<String>, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader
            .read_line(&mut line)
            .ok()
            .filter(|length| *length > 0)?;
        if line == "\r\n" {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let length = lines
        .iter()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some((lines, body))
}
