//! Which process asks.

use std::fs;

/// The number of the thread that an operation is done for, in the namespace of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pid(pub u32);

impl Pid {
    /// A thread that cannot be seen from here, one of any number.
    pub(super) const UNKNOWN: Self = Self(0);

    /// Whether both threads are of one process. Unknown ones are taken for others.
    pub(super) fn is_same_process(self, other: Self) -> bool {
        self == other
            || self
                .process()
                .is_some_and(|process| Some(process) == other.process())
    }

    /// proc(5), `/proc/pid/status`: `Tgid:   4321`.
    fn process(self) -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
        line.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::{process, thread};

    use super::*;

    #[test]
    fn threads_of_one_process_are_the_same_and_others_are_not() {
        let here = Pid(process::id());
        let (send, receive) = mpsc::channel();
        let (end, wait) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            let tid = nix::unistd::gettid().as_raw().unsigned_abs();
            send.send(Pid(tid)).expect("a listener");
            wait.recv().expect_err("the test ends");
        });
        let there = receive.recv().expect("a thread");
        assert_ne!(here, there);
        assert!(here.is_same_process(there) && there.is_same_process(here));
        assert!(!here.is_same_process(Pid(1)));
        assert!(!Pid(u32::MAX).is_same_process(Pid(u32::MAX - 1)));
        assert!(Pid(0).is_same_process(Pid(0)));
        drop(end);
        thread.join().expect("no panic");
    }
}
