//! What the test binaries share: stores to test against, and mounts that clean up after themselves.

pub mod local;
pub mod mount;
pub mod seaweed;
pub mod store;
pub mod wait;
