//! What the test binaries share: stores to test against, and mounts that clean up after themselves.

pub(crate) mod alone;
pub(crate) mod anonymous;
pub(crate) mod local;
pub(crate) mod mount;
pub(crate) mod ports;
pub(crate) mod rgw;
pub(crate) mod seaweed;
pub(crate) mod starting;
pub(crate) mod store;
pub(crate) mod umount;
pub(crate) mod wait;
