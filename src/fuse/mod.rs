//! The kernel's edge: FUSE.
//!
//! [`Session`] mounts an [`Fs`](crate::fs::Fs) and answers the kernel until it is unmounted.
//! Its adapter turns requests into calls of [`Fs`](crate::fs::Fs), and results into replies;
//! nothing else knows of FUSE.

mod adapter;
mod answer;
mod background;
mod beside;
mod change;
mod config;
mod convert;
mod directory;
mod error;
mod executor;
mod figures;
mod negotiation;
mod readahead;
mod revealed;
mod served;
mod session;
#[cfg(test)]
mod tests;
mod unmount;
mod watched;

pub use background::Background;
pub use config::{Access, MountConfig};
pub use error::MountError;
pub use figures::Figures;
pub use session::Session;
pub use unmount::Unmounter;
