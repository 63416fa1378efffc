//! The command as its users see it: arguments, messages, exit statuses, processes.

mod failures;
mod support;
mod usage;
