//! A mount that somebody else has made, and hands over as a file descriptor: `/dev/fd/N`.
//!
//! The node plugin of the Mountpoint CSI driver opens `/dev/fuse`, mounts with that descriptor, and
//! starts the program in an unprivileged pod, which could do neither, with the descriptor as its
//! directory.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::exit::Failure;

/// The number N of `/dev/fd/N`.
pub(super) fn number_of(mount_point: &Path) -> Option<RawFd> {
    let digits = mount_point.to_str()?.strip_prefix("/dev/fd/")?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // A number that is too large for a descriptor is still meant as one, and is none.
    is_number.then(|| digits.parse().unwrap_or(RawFd::MAX))
}

/// Checks that `/dev/fd/N` is what the kernel's FUSE requests are read from and answered to.
///
/// # Errors
/// It is not open, something else, or not open for reading and writing.
pub(super) fn check(number: RawFd) -> Result<(), Failure> {
    let path = format!("/proc/self/fd/{number}");
    let invalid = |error: io::Error| {
        Failure::new(format!(
            "mount point /dev/fd/{number} is not a valid file descriptor"
        ))
        .caused_by(&error)
    };
    let file = fs::metadata(&path).map_err(invalid)?;
    let target = fs::read_link(&path).map_err(invalid)?;
    if file.rdev() != libc::makedev(FUSE_MAJOR, FUSE_MINOR) {
        return Err(Failure::new(format!(
            "expected mount point /dev/fd/{number} to be a /dev/fuse device file descriptor but got {}",
            target.display()
        )));
    }
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).map_err(invalid)?;
    if flags_of(&info).map(|flags| flags & OFlag::O_ACCMODE) != Some(OFlag::O_RDWR) {
        return Err(Failure::new(format!(
            "expected mount point /dev/fd/{number} to have read and write permissions"
        )));
    }
    Ok(())
}

/// A descriptor of our own for what `/dev/fd/N` is.
///
/// It is sent to this process itself, which makes a copy that is owned without trusting a number.
/// `pidfd_getfd` would do the same, but is not allowed in most containers.
///
/// # Errors
/// As [`check`]; or the system refuses.
pub(super) fn take(number: RawFd) -> Result<OwnedFd, Failure> {
    check(number)?;
    copy(number).map_err(|error| {
        Failure::new(format!("mount point /dev/fd/{number} cannot be taken over")).caused_by(&error)
    })
}

fn copy(number: RawFd) -> io::Result<OwnedFd> {
    let (sender, receiver) = UnixStream::pair()?;
    let rights = [number];
    let rights = ControlMessage::ScmRights(&rights);
    // A message without a byte carries no rights.
    let byte = [IoSlice::new(b"1")];
    sendmsg::<()>(
        sender.as_raw_fd(),
        &byte,
        &[rights],
        MsgFlags::empty(),
        None,
    )?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut received = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut byte = [IoSliceMut::new(&mut byte)];
    recvmsg(&receiver, &mut byte, &mut received, RecvFlags::CMSG_CLOEXEC)?;
    received
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        })
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// The flags in `/proc/pid/fdinfo/N` (proc(5)): octal.
fn flags_of(info: &str) -> Option<OFlag> {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
    let flags = i32::from_str_radix(flags.trim(), 8).ok()?;
    Some(OFlag::from_bits_retain(flags))
}

/// Linux, Documentation/admin-guide/devices.txt: 10 is for miscellaneous devices, and 229 is `/dev/fuse`.
const FUSE_MAJOR: u32 = 10;
const FUSE_MINOR: u32 = 229;

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::{Read, Seek, Write};

    use super::*;

    #[test]
    fn number_of_takes_descriptors_only() {
        for (path, number) in [
            ("/dev/fd/3", Some(3)),
            ("/dev/fd/007", Some(7)),
            ("/dev/fd/99999999999999999999", Some(RawFd::MAX)),
            ("/dev/fd/", None),
            ("/dev/fd/x", None),
            ("/dev/fd/-1", None),
            ("/dev/fd/3/a", None),
            ("/mnt", None),
        ] {
            assert_eq!(number_of(Path::new(path)), number, "{path}");
        }
    }

    #[test]
    fn check_names_what_is_wrong() {
        let file = tempfile::tempfile().expect("a file");
        let read_only = File::open("/dev/fuse").expect("/dev/fuse");
        for (number, reason) in [
            (RawFd::MAX, "is not a valid file descriptor".to_owned()),
            (
                file.as_raw_fd(),
                "to be a /dev/fuse device file descriptor but got /".to_owned(),
            ),
            (
                read_only.as_raw_fd(),
                "to have read and write permissions".to_owned(),
            ),
        ] {
            let failure = check(number).expect_err("no device").to_string();
            assert!(failure.contains(&reason), "{failure}");
            assert!(failure.contains(&format!("/dev/fd/{number} ")), "{failure}");
        }
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let device = device.expect("/dev/fuse");
        check(device.as_raw_fd()).expect("the device");
        take(device.as_raw_fd()).expect("a copy");
    }

    #[test]
    fn copy_is_of_the_same_file() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"text").expect("written");
        let mut copied = File::from(copy(file.as_raw_fd()).expect("copied"));
        copied.rewind().expect("the position is common");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("read");
        assert_eq!(text, "text");
        assert!(copy(RawFd::MAX).is_err());
    }
}
