//! Limits of the process.

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
