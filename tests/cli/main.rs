//! The command as its users see it: arguments, messages, exit statuses, processes.

mod background;
mod connecting;
mod failures;
mod index;
mod metrics;
mod otlp;
mod store;
mod support;
mod usage;
#[path = "../support/wait.rs"]
mod wait;
