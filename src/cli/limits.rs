//! Limits of the process.

use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets this process have as many files open as the system allows it to: connections, and two for
/// each staged file. The usual limit of 1,024 is for programs that use `select`.
pub(super) fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_soft, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    match raised {
        Ok(most) => log::debug!("up to {most} files may be open"),
        Err(error) => log::warn!("the number of open files stays limited: {error}"),
    }
}

/// Keeps the memory of this process, which holds credentials and the contents of objects, from being
/// written to the disk when it fails, and from other processes of its user (prctl(2),
/// `PR_SET_DUMPABLE`). A limit on core files would not do: a core that is piped to a program has none.
pub(super) fn forbid_core_dumps() {
    if let Err(error) = set_dumpable(false) {
        log::warn!("core dumps are not forbidden: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raise_open_files_reaches_the_hard_limit() {
        raise_open_files();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
        assert_eq!(soft, hard);
    }
}
