//! What this machine has: FUSE, the kernel, limits, memory, throughput.

use std::fs::{self, OpenOptions};
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::geteuid;

use super::report::{Report, Step};
use crate::cli::machine::Throughput;
use crate::cli::memory::Memory;

/// Looks at everything. `root` is where to look for `/dev`, `/etc`, `/proc`, `/sys` and `/usr`.
pub(super) fn examine(report: &mut Report, root: &Path, throughput: &Throughput) {
    let is_root = geteuid().is_root();
    report.add(device(root));
    if !is_root {
        report.add(helper(root));
        report.add(others(root));
    }
    report.add(kernel(root));
    report.add(requests(root));
    report.add(read_ahead(is_root));
    report.add(files());
    report.add(memory(throughput));
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let loops = throughput.event_loops(cores);
    report.add(Step::info(
        "throughput",
        format!("aimed at: {throughput}; {loops} event loops on {cores} cores"),
    ));
}

fn device(root: &Path) -> Step {
    let path = root.join("dev/fuse");
    match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(_) => Step::ok("fuse", "/dev/fuse can be opened"),
        Err(error) => Step::fail("fuse", format!("/dev/fuse: {error}")).remedy(
            "load the kernel's module (modprobe fuse); in a container give it the device \
             (--device /dev/fuse) and CAP_SYS_ADMIN",
        ),
    }
}

/// Who mounts for users other than root.
fn helper(root: &Path) -> Step {
    let places = ["usr/bin", "bin", "usr/local/bin", "usr/sbin"];
    let found = places
        .iter()
        .map(|place| root.join(place).join("fusermount3"))
        .find(|path| path.exists());
    match found {
        Some(path) => Step::ok("fusermount3", path.display().to_string()),
        None => Step::fail(
            "fusermount3",
            "is missing, and only root can mount without it",
        )
        .remedy("install the package fuse3"),
    }
}

/// Whether users other than root may let others in.
fn others(root: &Path) -> Step {
    let read = fs::read_to_string(root.join("etc/fuse.conf")).unwrap_or_default();
    if read.lines().any(|line| line.trim() == "user_allow_other") {
        Step::ok("others", "/etc/fuse.conf has user_allow_other")
    } else {
        Step::info("others", "--allow-other and --allow-root are for root only")
            .remedy("where they are needed, add a line user_allow_other to /etc/fuse.conf")
    }
}

fn kernel(root: &Path) -> Step {
    let read = fs::read_to_string(root.join("proc/sys/kernel/osrelease")).unwrap_or_default();
    let release = read.trim();
    let Some(version) = version(release) else {
        return Step::warn("kernel", format!("the version {release:?} is not known"));
    };
    let text = format!("Linux {release}");
    if version < OLDEST {
        return Step::warn("kernel", text).remedy("Linux 5.4 or newer is what is tested");
    }
    let passthrough = if version >= PASSTHROUGH {
        "has"
    } else {
        "lacks"
    };
    let ring = fs::read_to_string(root.join("sys/module/fuse/parameters/enable_uring"));
    let ring = match ring.as_deref().map(str::trim) {
        Ok("Y") => "is on",
        Ok(_) => "is off",
        Err(_) => "is not there",
    };
    Step::ok(
        "kernel",
        format!("{text}: {passthrough} passthrough of files (6.9), FUSE over io_uring {ring}"),
    )
}

/// The leading numbers of a release: `6.18.5-arch1`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// How much the kernel asks for at a time.
fn requests(root: &Path) -> Step {
    let read = fs::read_to_string(root.join("proc/sys/fs/fuse/max_pages_limit"));
    match read.ok().and_then(|read| read.trim().parse::<u64>().ok()) {
        Some(pages) => Step::ok(
            "request size",
            format!(
                "up to {} KiB (fs.fuse.max_pages_limit = {pages})",
                pages * 4
            ),
        ),
        None => Step::ok("request size", "up to 1024 KiB, as the kernel has it"),
    }
}

fn read_ahead(is_root: bool) -> Step {
    if is_root {
        Step::ok("read-ahead", "is raised for each mount, as root may do")
    } else {
        Step::warn(
            "read-ahead",
            "stays at the kernel's 128 KiB: sequential reads take more CPU time",
        )
        .remedy("mount as root, or let root raise /sys/class/bdi/MAJOR:MINOR/read_ahead_kb")
    }
}

fn files() -> Step {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard < FEW_FILES => Step::warn(
            "open files",
            format!("at most {hard}: connections and staged files take one or two each"),
        )
        .remedy("raise the limit: ulimit -Hn, or LimitNOFILE= of a unit"),
        Ok((_, hard)) => Step::ok("open files", format!("up to {hard}")),
        Err(error) => Step::warn("open files", error.desc()),
    }
}

fn memory(throughput: &Throughput) -> Step {
    match Memory::new(None, throughput.gbps, PART_BYTES, PART_BYTES) {
        Ok(memory) => {
            let text = format!("{} MiB for buffers by default", memory.plan.buffers() >> 20);
            match memory.warning {
                Some(warning) => Step::warn("memory", format!("{text}; {warning}"))
                    .remedy("give the machine or its control group more memory"),
                None => Step::ok("memory", text),
            }
        }
        Err(failure) => Step::fail("memory", failure.to_string()),
    }
}

/// The oldest kernel that is tested.
const OLDEST: (u32, u32) = (5, 4);

/// The first kernel that reads a file on a local disk without asking the mount.
const PASSTHROUGH: (u32, u32) = (6, 9);

/// Below this a busy mount may run out of files.
const FEW_FILES: u64 = 4096;

const PART_BYTES: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::super::report::Status;
    use super::*;

    #[test]
    fn version_is_that_of_the_release() {
        assert_eq!(version("6.18.5-arch1-1"), Some((6, 18)));
        assert_eq!(version("5.4.0"), Some((5, 4)));
        assert_eq!(version("6.1+"), Some((6, 1)));
        assert_eq!(version(""), None);
        assert_eq!(version("Linux"), None);
    }

    #[test]
    fn missing_parts_are_told_with_remedies() {
        let root = tempfile::tempdir().expect("a directory");
        for (step, status) in [
            (device(root.path()), Status::Fail),
            (helper(root.path()), Status::Fail),
            (others(root.path()), Status::Info),
        ] {
            assert_eq!(step.status, status, "{step}");
            assert!(step.remedy.is_some(), "{step}");
        }
        let etc = root.path().join("etc");
        fs::create_dir(&etc).expect("made");
        fs::write(etc.join("fuse.conf"), "# user_allow_other\n").expect("written");
        assert_eq!(others(root.path()).status, Status::Info);
        fs::write(etc.join("fuse.conf"), " user_allow_other \n").expect("written");
        assert_eq!(others(root.path()).status, Status::Ok);
    }
}
