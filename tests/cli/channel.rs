//! The socket of a mount.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::metrics::{Mounted, start_store};
use crate::support::{mount_s3, run};
use crate::wait::{LONG, wait_for};

/// Hundredths of a second that the processors have worked for a process.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("there");
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let fields: Vec<_> = fields.split_whitespace().collect();
    let times = [fields[11], fields[12]].map(|time| time.parse::<u64>().expect("a number"));
    times.iter().sum()
}

fn limit_descriptors(pid: u32, most: &str) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &pid.to_string(), &format!("--nofile={most}:")]);
    assert!(prlimit.status().expect("it runs").success());
}

#[test]
fn client_is_waited_for_while_no_descriptor_is_left() {
    const TOLD: &str = "no client of this mount can be served";
    let server = start_store();
    let mounted = Mounted::start(&server, &[], &[]);
    let pid = mounted.pid();
    limit_descriptors(pid, "3");
    let directory = mounted.mount_point.text().to_owned();
    let client = thread::spawn(move || {
        let mut top = mount_s3(&["top", &directory, "--once", "--interval", "0.1"]);
        run(&mut top, LONG)
    });
    wait_for("it is told", LONG, || {
        mounted.log().contains(TOLD).then_some(())
    });
    let before = ticks(pid);
    thread::sleep(Duration::from_secs(2));
    let worked = ticks(pid) - before;
    limit_descriptors(pid, "1024");
    let outcome = client.join().expect("no panic");
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert!(
        worked < 60,
        "it has worked {worked} of 200 hundredths of a second"
    );
    assert_eq!(mounted.log().matches(TOLD).count(), 1);
}
