//! Credentials that end while a mount works.

use std::fs::{self, File};
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use s3_test_server::Stub;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::local::Local;
use crate::support::mount::{Mount, Mounting};
use crate::support::store::TestStore;
use crate::support::wait::once_in_five;

const BUCKET: &str = "lasting";

/// Longer than two lives of the credentials.
const TIME: Duration = Duration::from_secs(20);

/// A machine that stands still for longer than this while they are to be renewed may let them end.
const STANDSTILL: Duration = Duration::from_secs(1);

/// Between two turns of the work.
const NAP: Duration = Duration::from_millis(100);

#[test]
fn reads_and_writes_go_on_while_credentials_end_and_are_renewed() {
    once_in_five(|_| go_on());
}

fn go_on() -> Result<(), String> {
    let store = Local::start();
    store.create_bucket(BUCKET);
    store.plant_many(BUCKET, "small/", 1000, 1000);
    let asked = AtomicUsize::new(0);
    let container = Stub::http(move |_| {
        // The first renewal fails; it is tried again while the credentials last.
        if asked.fetch_add(1, Ordering::Relaxed) == 1 {
            return (403, String::new());
        }
        let end = OffsetDateTime::from(SystemTime::now() + Duration::from_secs(16));
        let end = end.replace_nanosecond(0).expect("zero is valid");
        let end = end.format(&Rfc3339).expect("a time");
        let keys = r#""AccessKeyId":"test","SecretAccessKey":"test","Token":"t""#;
        (200, format!(r#"{{{keys},"Expiration":"{end}"}}"#))
    })
    .expect("a server");
    let url = format!("http://{}/", container.addr());
    let mut mounting = Mounting::new(BUCKET, &store.endpoint(), "", "");
    // The environment would come first.
    mounting = mounting.within(&[
        "env",
        "--unset=AWS_ACCESS_KEY_ID",
        "--unset=AWS_SECRET_ACCESS_KEY",
    ]);
    let variable = "AWS_CONTAINER_CREDENTIALS_FULL_URI".to_owned();
    mounting.environment.push((variable, url));
    let mount = mounting.mount();
    let begin = Instant::now();
    let (mut turn, mut longest) = (begin, Duration::ZERO);
    let worked = work(&mount, || {
        longest = longest.max(turn.elapsed().saturating_sub(NAP));
        turn = Instant::now();
        begin.elapsed() < TIME
    });
    longest = longest.max(turn.elapsed().saturating_sub(NAP));
    let asked = container.requests().len();
    let failure = match worked {
        Err(error) => format!("after {:?}: {error}", begin.elapsed()),
        Ok(_) if asked < 3 => format!("credentials were asked for {asked} times"),
        Ok(size) => {
            let written = store.body(BUCKET, "written").expect("it is there");
            assert_eq!(written.len(), size);
            assert!(mount.unmount().success());
            return Ok(());
        }
    };
    assert!(longest > STANDSTILL, "{failure}");
    Err(failure)
}

/// Reads and writes as long as `goes_on` says, which is asked before each turn, and gives the size of what
/// was written.
fn work(mount: &Mount, mut goes_on: impl FnMut() -> bool) -> io::Result<usize> {
    let block = vec![7; 1 << 18];
    let mut writer = File::create(mount.join("written"))?;
    let mut number = 0;
    while goes_on() {
        let read = fs::read(mount.join(&format!("small/{number:07}")))?;
        assert_eq!(read.len(), 1000);
        writer.write_all(&block)?;
        number += 1;
        thread::sleep(NAP);
    }
    nix::unistd::close(writer)?;
    Ok(number * block.len())
}
