//! The command as its users see it: arguments, messages, exit statuses, processes.

mod background;
mod connecting;
mod credentials;
mod doctor;
mod failures;
mod index;
mod metadata;
mod proxies;
#[path = "../support/proxy.rs"]
mod proxy;
mod signing;
mod store;
mod support;
mod usage;
#[path = "../support/wait.rs"]
mod wait;
