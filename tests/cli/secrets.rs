//! No secret shows anywhere, however much is logged: not in logs, in what is printed, or in what others
//! see of the process.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use s3_test_server::{Config, Fault, Model, ObjectSpec, Rule, Server};
use tempfile::TempDir;

use crate::store::{BUCKET, MountPoint};
use crate::support::{end_of, kill, mount_s3, run};
use crate::wait::{LONG, wait_for};

const ACCESS_KEY: &str = "AKIDOFTHESECRETS";
const SECRET: &str = "SECRET-KEY-THAT-NOTHING-MAY-SHOW";
const TOKEN: &str = "SESSION-TOKEN-THAT-NOTHING-MAY-SHOW";
const WEB_TOKEN: &str = "WEB-IDENTITY-TOKEN-THAT-NOTHING-MAY-SHOW";
const CONTAINER_TOKEN: &str = "CONTAINER-TOKEN-THAT-NOTHING-MAY-SHOW";

/// What must not show; the last ones are how the CRT and HTTP begin a signature.
const SECRETS: [&str; 7] = [
    SECRET,
    TOKEN,
    WEB_TOKEN,
    CONTAINER_TOKEN,
    "AWS4-HMAC-SHA256",
    "Signature=",
    "x-amz-security-token:",
];

/// Where credentials come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Environment,
    Profile,
    Process,
    Container,
    /// Of a service that cannot be reached.
    WebIdentity,
}

impl Source {
    fn give(self, command: &mut Command, place: &Path) {
        let file = |name: &str, text: &str| {
            let path = place.join(name);
            fs::write(&path, text).expect("written");
            path
        };
        let keys = format!(
            "aws_access_key_id={ACCESS_KEY}\naws_secret_access_key={SECRET}\naws_session_token={TOKEN}\n"
        );
        match self {
            Self::Environment => {
                command
                    .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
                    .env("AWS_SECRET_ACCESS_KEY", SECRET)
                    .env("AWS_SESSION_TOKEN", TOKEN);
            }
            Self::Profile => {
                let credentials = file("credentials", &format!("[dev]\n{keys}"));
                let config = file("config", &format!("[profile dev]\n{keys}"));
                command
                    .args(["--profile", "dev"])
                    .env("AWS_SHARED_CREDENTIALS_FILE", credentials)
                    .env("AWS_CONFIG_FILE", config);
            }
            Self::Process => {
                let answer = file("answer", &answer("SessionToken"));
                let process = format!("[default]\ncredential_process = cat {}\n", answer.display());
                command.env("AWS_CONFIG_FILE", file("config", &process));
            }
            Self::Container => {
                command
                    .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", container())
                    .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", CONTAINER_TOKEN);
            }
            Self::WebIdentity => {
                command
                    .env("AWS_WEB_IDENTITY_TOKEN_FILE", file("token", WEB_TOKEN))
                    .env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader")
                    .env("AWS_ROLE_SESSION_NAME", "session")
                    .env("AWS_REGION", "us-east-1")
                    // Where the service is looked for: nobody is there.
                    .env("HTTPS_PROXY", "http://127.0.0.1:1");
            }
        }
    }
}

/// Credentials as programs and services give them.
fn answer(token: &str) -> String {
    format!(
        r#"{{"Version":1,"AccessKeyId":"{ACCESS_KEY}","SecretAccessKey":"{SECRET}","{token}":"{TOKEN}","Expiration":"2099-01-01T00:00:00Z"}}"#
    )
}

/// The URL of a service that gives credentials to who has the token.
fn container() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let length = client.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]);
            let body = answer("Token");
            let answer = if request.contains(CONTAINER_TOKEN) {
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
            } else {
                "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned()
            };
            // A client that has gone is no concern of this server.
            _ = client.write_all(answer.as_bytes());
        }
    });
    format!("http://{address}/credentials")
}

fn server() -> Server {
    let server = Server::start(Config {
        keys: vec![(ACCESS_KEY.to_owned(), SECRET.to_owned())],
        ..Config::default()
    });
    let server = server.expect("the server starts");
    server.put_object(&ObjectSpec::text(BUCKET, "hello.txt", "hello"));
    server
}

/// Reads, lists, writes, deletes, and is refused.
fn work(server: &Server, mount: &Path) {
    assert_eq!(
        fs::read_to_string(mount.join("hello.txt")).expect("read"),
        "hello"
    );
    assert_eq!(fs::read_dir(mount).expect("listed").count(), 1);
    fs::write(mount.join("small"), "text").expect("written");
    fs::write(mount.join("large"), vec![1; 17 << 20]).expect("written");
    fs::remove_file(mount.join("small")).expect("deleted");
    let rule = |fault: Fault, key: &str| Rule::new(fault).under(key);
    server.set_model(Model {
        rules: vec![
            rule(Fault::Deny, "denied"),
            rule(Fault::SlowDown, "large").times(1),
        ],
        ..Model::default()
    });
    fs::read(mount.join("denied")).expect_err("denied");
    fs::write(mount.join("denied"), "text").expect_err("denied");
    fs::read(mount.join("large")).expect("read again");
}

/// All that was printed and logged.
fn texts(place: &TempDir) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    let logs = fs::read_dir(place.path().join("logs"))
        .into_iter()
        .flatten();
    let logs = logs.map(|entry| entry.expect("a file").path());
    let printed = ["stdout", "stderr", "seen", "scraped"].map(|name| place.path().join(name));
    for path in printed.into_iter().chain(logs) {
        let text = fs::read(&path).unwrap_or_default();
        texts.push((
            path.display().to_string(),
            String::from_utf8_lossy(&text).into_owned(),
        ));
    }
    texts
}

fn check(source: Source, to_directory: bool) {
    let server = server();
    let place = tempfile::tempdir().expect("a directory");
    let mount_point = MountPoint::new();
    let create = |name: &str| File::create(place.path().join(name)).expect("a file");
    let logs = place.path().join("logs");
    let mut args = vec![BUCKET, mount_point.text(), "--foreground", "--allow-delete"];
    args.extend(["--debug", "--debug-crt", "--log-metrics"]);
    let metrics = place.path().join("metrics");
    let listen = format!("unix:{}", metrics.display());
    args.extend(["--metrics-listen", &listen]);
    if to_directory {
        args.extend(["--log-directory", logs.to_str().expect("UTF-8")]);
    }
    let mut command = mount_s3(&args);
    command
        .env("AWS_ENDPOINT_URL", server.endpoint())
        .env("MOUNTPOINT_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(create("stderr"));
    source.give(&mut command, place.path());
    let mut child = command.spawn().expect("it starts");
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    stdout.read_line(&mut line).expect("read");
    let is_mounted = line.contains("is mounted at");
    assert_eq!(
        is_mounted,
        source != Source::WebIdentity,
        "{source:?}: {:?}",
        texts(&place)
    );
    if is_mounted {
        let shown = fs::read(format!("/proc/{}/cmdline", child.id())).expect("it runs");
        create("seen").write_all(&shown).expect("written");
        work(&server, mount_point.path());
        let mut listener = UnixStream::connect(&metrics).expect("it serves metrics");
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        listener.write_all(request).expect("asked");
        io::copy(&mut listener, &mut create("scraped")).expect("answered");
        kill("TERM", child.id());
    }
    let status = end_of(&mut child);
    assert_eq!(status.success(), is_mounted, "{source:?}");
    stdout.read_to_string(&mut line).expect("the rest");
    create("stdout")
        .write_all(line.as_bytes())
        .expect("written");

    let texts = texts(&place);
    let log = texts.iter().any(|(_, text)| text.contains("TRACE"));
    assert!(log, "{source:?}: nothing was logged");
    for (path, text) in &texts {
        for secret in SECRETS {
            let found = text.lines().find(|line| line.contains(secret));
            assert_eq!(found, None, "{source:?}, {path}: {secret}");
        }
    }
}

#[test]
fn nothing_shows_a_secret() {
    for source in [
        Source::Environment,
        Source::Profile,
        Source::Process,
        Source::Container,
        Source::WebIdentity,
    ] {
        for to_directory in [true, false] {
            check(source, to_directory);
        }
    }
}

#[test]
fn doctor_tells_no_secret() {
    let server = server();
    let place = tempfile::tempdir().expect("a directory");
    for source in [Source::Environment, Source::Profile, Source::Process] {
        let mut command = mount_s3(&["doctor", BUCKET]);
        command
            .env("AWS_ENDPOINT_URL", server.endpoint())
            .env("MOUNTPOINT_LOG", "trace");
        source.give(&mut command, place.path());
        let outcome = run(&mut command, LONG);
        assert!(outcome.stdout.contains("; key "), "{outcome:?}");
        for secret in SECRETS {
            assert!(!outcome.stdout.contains(secret), "{source:?}: {secret}");
            assert!(!outcome.stderr.contains(secret), "{source:?}: {secret}");
        }
    }
}

#[test]
fn background_process_gets_no_secret_in_its_words() {
    let server = server();
    let mount_point = MountPoint::new();
    let mut command = mount_s3(&[BUCKET, mount_point.text(), "--no-log"]);
    command.env("AWS_ENDPOINT_URL", server.endpoint());
    Source::Environment.give(&mut command, Path::new("/nonexistent"));
    assert!(command.status().expect("it runs").success());
    wait_for("the mount", LONG, || mount_point.is_mounted().then_some(()));
    let lines = fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|process| fs::read(process.ok()?.path().join("cmdline")).ok());
    for line in lines {
        let line = String::from_utf8_lossy(&line);
        assert!(!line.contains(SECRET) && !line.contains(TOKEN), "{line}");
    }
}
