//! The command as its users see it: arguments, messages, exit statuses, processes.

mod background;
mod channel;
mod connecting;
mod credentials;
mod descriptor;
mod doctor;
mod ending;
mod failures;
mod flags;
mod fstab;
mod generate;
mod index;
mod metadata;
mod metrics;
mod otlp;
mod process;
mod proxies;
#[path = "../support/proxy.rs"]
mod proxy;
mod renewal;
mod secrets;
mod signing;
#[path = "../support/starting.rs"]
mod starting;
mod store;
mod support;
mod top;
#[path = "../support/umount.rs"]
mod umount;
mod usage;
#[path = "../support/wait.rs"]
mod wait;
