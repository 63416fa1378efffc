//! What the metadata service of EC2 instances (IMDS) says of this machine.

use std::fs;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use futures::executor::block_on;

use super::mount::FRAGMENT_BYTES;
use crate::crt::{Error, InstanceInfo, InstanceMetadata, Runtime, RuntimeConfig};

/// What this machine says of itself. Takes no longer than a second.
pub(super) fn ask() -> Option<InstanceInfo> {
    let (answer, answered) = mpsc::channel();
    // The CRT gives up later than a mount can wait; what it still does then ends by itself.
    let started = thread::Builder::new()
        .name("metadata".to_owned())
        .spawn(move || {
            // Nobody may be waiting any more.
            let _unheard = answer.send(ask_with_runtime());
        });
    if let Err(error) = started {
        log::debug!("the instance's metadata: {error}");
        return None;
    }
    match answered.recv_timeout(DEADLINE) {
        Ok(Ok(info)) => Some(info),
        Ok(Err(error)) => {
            log::debug!("no metadata of an EC2 instance: {error}");
            None
        }
        Err(_) => {
            log::debug!("no metadata of an EC2 instance within {DEADLINE:?}");
            None
        }
    }
}

fn ask_with_runtime() -> Result<InstanceInfo, Error> {
    let runtime = Runtime::start(RuntimeConfig {
        event_loop_threads: Some(NonZeroU16::MIN),
        // The runtime of the mount may start while this one lives, and gets the value of this one.
        max_fragment_bytes: Some(FRAGMENT_BYTES),
    })?;
    let info = InstanceMetadata::new(&runtime).and_then(|client| block_on(client.info()));
    // What does not end in time ends with the process.
    if let Err(error) = runtime.shutdown(SHUTDOWN_DEADLINE) {
        log::debug!("{error}");
    }
    info
}

/// Whether this machine may be an EC2 instance, as the firmware or the hypervisor says. Others are
/// not asked, as nobody answers there. `root` is where to look for `/sys`.
///
/// AWS: [Identify EC2 instances](https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/identify_ec2_instances.html).
pub(super) fn may_be_instance(root: &Path) -> bool {
    let begins = |path: &str, text: &str| {
        let read = fs::read_to_string(root.join("sys").join(path));
        read.is_ok_and(|read| read.trim().to_ascii_lowercase().starts_with(text))
    };
    begins("devices/virtual/dmi/id/sys_vendor", "amazon ec2")
        || begins("devices/virtual/dmi/id/bios_vendor", "amazon ec2")
        || begins("devices/virtual/dmi/id/product_uuid", "ec2")
        || begins("hypervisor/uuid", "ec2")
}

const DEADLINE: Duration = Duration::from_secs(1);

const SHUTDOWN_DEADLINE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn instances_are_known_by_firmware_or_hypervisor() {
        for (path, content, expected) in [
            ("devices/virtual/dmi/id/sys_vendor", "Amazon EC2\n", true),
            (
                "devices/virtual/dmi/id/product_uuid",
                "EC2E1916-9099\n",
                true,
            ),
            ("hypervisor/uuid", "ec2e1916-9099\n", true),
            ("devices/virtual/dmi/id/sys_vendor", "QEMU\n", false),
            ("hypervisor/uuid", "0ec2\n", false),
        ] {
            let root = TempDir::new().expect("temporary directory");
            let file = root.path().join("sys").join(path);
            fs::create_dir_all(file.parent().expect("parent")).expect("directory");
            fs::write(file, content).expect("file");
            assert_eq!(may_be_instance(root.path()), expected, "{path}: {content}");
        }
        assert!(!may_be_instance(Path::new("/nonexistent")));
    }
}
