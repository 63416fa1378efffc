//! The command as its users see it: arguments, messages, exit statuses, processes.

mod background;
mod connecting;
mod credentials;
mod descriptor;
mod ending;
mod failures;
mod flags;
mod fstab;
mod generate;
mod index;
mod process;
mod secrets;
mod store;
mod support;
mod usage;
#[path = "../support/wait.rs"]
mod wait;
