//! What the system says of this process.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::{SysconfVar, sysconf};

use crate::metrics::{Label, Snapshot, names};

/// Adds memory and processor time of this process to `snapshot`; what the system does not tell is
/// left out.
pub fn report(snapshot: &mut Snapshot) {
    if let Some(bytes) = resident_bytes() {
        snapshot.gauge(&names::PROCESS_MEMORY_USAGE, [], bytes);
    }
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        for (mode, time) in [("user", usage.user_time()), ("system", usage.system_time())] {
            let labels = [Label::new("mode", mode)];
            snapshot.counter(&names::PROCESS_CPU_TIME, labels, micros(time));
        }
    }
}

/// proc(5), `/proc/pid/statm`: sizes in pages, the second one is what is resident.
fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    pages.checked_mul(u64::try_from(page).ok()?)
}

fn micros(time: TimeVal) -> u64 {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
    let micros = u64::try_from(time.tv_usec()).unwrap_or_default();
    let time = Duration::from_secs(seconds) + Duration::from_micros(micros);
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Value;

    #[test]
    fn report_knows_memory_and_time() {
        let mut snapshot = Snapshot::default();
        report(&mut snapshot);
        let is_large = |value: &Value| matches!(value, Value::Number(bytes) if *bytes > 1 << 20);
        let memory = snapshot.of(&names::PROCESS_MEMORY_USAGE).next();
        assert!(
            memory.is_some_and(|sample| is_large(&sample.value)),
            "{memory:?}"
        );
        assert_eq!(snapshot.of(&names::PROCESS_CPU_TIME).count(), 2);
    }
}
