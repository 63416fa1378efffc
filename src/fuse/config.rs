//! How to mount, and what the kernel and the helper that mounts are told of it.

use std::path::PathBuf;

use fuser::{MountOption, SessionACL};

use super::background::Background;

/// How to mount.
#[derive(Debug, Clone)]
pub struct MountConfig {
    /// Where: an existing directory. For [`Session::take_over`](super::Session::take_over), a name for it.
    pub directory: PathBuf,
    /// What is mounted, as the table of mounts is to name it; without, it is `mountpoint-s3`. What the
    /// helper could not read, a name with a comma or a backslash, is as good as none.
    pub source: Option<String>,
    /// Whether the kernel refuses every change by itself.
    pub read_only: bool,
    /// Who may use the mount.
    pub access: Access,
    /// Whether a helper process unmounts when this process dies.
    pub auto_unmount: bool,
    /// Threads that take requests from the kernel; at least 1. Each keeps a buffer of 16 MiB of
    /// address space, of which it touches as much as the largest request it has seen.
    pub max_threads: usize,
    /// What the kernel may have under way.
    pub background: Background,
}

/// Who may use a mount. What they may do there is decided by the modes of files and directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The user who mounts. With [`MountConfig::auto_unmount`] also root, as that needs a mount
    /// that is open to more than one user.
    Owner,
    /// The user who mounts, and root.
    Root,
    /// Everybody.
    Other,
}

/// What the session and the helper that mounts are told.
pub(super) fn session_config(config: &MountConfig) -> fuser::Config {
    // The helper reads these two as a part of its own syntax.
    let is_plain = |name: &&str| !name.contains([',', '\\']);
    let name = config.source.as_deref().filter(is_plain);
    let mut options = vec![
        MountOption::FSName(name.unwrap_or(FILE_SYSTEM_NAME).to_owned()),
        MountOption::DefaultPermissions,
        MountOption::NoAtime,
        MountOption::NoDev,
        MountOption::NoSuid,
    ];
    if config.read_only {
        options.push(MountOption::RO);
    }
    if config.auto_unmount {
        options.push(MountOption::AutoUnmount);
    }
    let mut session = fuser::Config::default();
    session.mount_options = options;
    session.acl = match config.access {
        Access::Owner if config.auto_unmount => SessionACL::RootAndOwner,
        Access::Owner => SessionACL::Owner,
        Access::Root => SessionACL::RootAndOwner,
        Access::Other => SessionACL::All,
    };
    session.n_threads = Some(config.max_threads.max(1));
    // Each thread gets a queue of its own in the kernel. Every kernel since 4.5 can. Not when the
    // helper of `auto_unmount` waits for the end of one file.
    session.clone_fd = !config.auto_unmount;
    session
}

/// The source of a mount in `/proc/mounts` that is not told another. Scripts look for this name.
const FILE_SYSTEM_NAME: &str = "mountpoint-s3";

#[cfg(test)]
mod tests {
    use super::*;

    fn config(access: Access, auto_unmount: bool, read_only: bool) -> fuser::Config {
        session_config(&MountConfig {
            directory: "/".into(),
            source: None,
            read_only,
            access,
            auto_unmount,
            max_threads: 3,
            background: Background::default(),
        })
    }

    #[test]
    fn options_are_those_that_scripts_know() {
        let options = config(Access::Owner, false, false).mount_options;
        for option in [
            MountOption::FSName("mountpoint-s3".into()),
            MountOption::DefaultPermissions,
            MountOption::NoAtime,
            MountOption::NoDev,
            MountOption::NoSuid,
        ] {
            assert!(options.contains(&option), "{option:?}");
        }
        assert!(!options.contains(&MountOption::RO));
        assert!(
            config(Access::Owner, false, true)
                .mount_options
                .contains(&MountOption::RO)
        );
    }

    #[test]
    fn source_is_what_is_told_if_the_helper_can_read_it() {
        let named = |source: Option<&str>| {
            let options = session_config(&MountConfig {
                directory: "/".into(),
                source: source.map(str::to_owned),
                read_only: false,
                access: Access::Owner,
                auto_unmount: false,
                max_threads: 1,
                background: Background::default(),
            })
            .mount_options;
            let name = options.into_iter().find_map(|option| match option {
                MountOption::FSName(name) => Some(name),
                _ => None,
            });
            name.expect("a name")
        };
        assert_eq!(named(Some("s3://bucket/a b/")), "s3://bucket/a b/");
        for other in [None, Some("s3://bucket/a,b/"), Some(r"s3://bucket/a\b/")] {
            assert_eq!(named(other), "mountpoint-s3", "{other:?}");
        }
    }

    #[test]
    fn auto_unmount_opens_the_mount_to_root() {
        assert_eq!(config(Access::Owner, false, false).acl, SessionACL::Owner);
        assert_eq!(
            config(Access::Owner, true, false).acl,
            SessionACL::RootAndOwner
        );
        assert_eq!(config(Access::Other, true, false).acl, SessionACL::All);
    }
}
