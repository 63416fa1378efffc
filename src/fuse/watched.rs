//! The file that dies last, for the helper of `auto_unmount`.

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

/// Copies the device of a mount that a helper unmounts when this process is killed: it waits for the end of a
/// socket, and looks only once whether the mount is dead then.
///
/// Of the files of a killed process, the kernel closes the one with the highest number first. The copy has
/// a higher number than all that is open, so than the socket, and makes the mount die before.
///
/// # Errors
/// The system has no descriptor left, or there is no `/proc`.
pub(super) fn copy_above_all(device: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let numbers = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok());
    let highest = numbers.max().unwrap_or_default();
    Ok(rustix::io::fcntl_dupfd_cloexec(device, highest + 1)?)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::{AsFd, AsRawFd};

    use super::*;

    #[test]
    fn copy_is_above_what_is_open_though_lower_numbers_are_free() {
        let open = || File::open("/dev/null").expect("a file");
        let lower = [(); 8].map(|()| open());
        let socket = open();
        let device = open();
        drop(lower);
        let copy = copy_above_all(device.as_fd()).expect("a copy");
        assert!(copy.as_raw_fd() > socket.as_raw_fd().max(device.as_raw_fd()));
    }
}
