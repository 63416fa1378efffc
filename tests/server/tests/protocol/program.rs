//! The server as a program.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::client::{Client, control};
use crate::wait::{LONG, wait_for};

/// Is killed when the test ends before it.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[test]
fn program_tells_its_addresses_and_ends_with_its_input() {
    let child = Command::new(env!("CARGO_BIN_EXE_s3-test-server"))
        .args([
            "--watch-stdin",
            "--bucket",
            "first",
            "--bucket",
            "second",
            "--secret-key",
            "other",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Program(child.unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    let addr = |name: &str| told[name].as_str().unwrap().parse().unwrap();
    let signer = Some((
        "test".to_owned(),
        "other".to_owned(),
        "us-east-1".to_owned(),
    ));
    let client = Client {
        signer,
        ..Client::new(addr("addr"))
    };
    assert_eq!(client.get("/", &[]).elements("Name"), ["first", "second"]);
    assert!(
        control(addr("control"), "GET", "/stats", "")
            .text()
            .contains("\"ListBuckets\"")
    );
    drop(child.0.stdin.take());
    let status = wait_for("the program ends", LONG, || child.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
}
