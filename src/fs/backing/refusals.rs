//! When the kernel is asked again, after it has refused a file.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

/// The refusals of the kernel to read files by itself. Any thread may use it.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// It takes no file, ever.
    is_final: bool,
    /// Refusals since it took a file.
    in_a_row: u32,
    /// It is not asked before.
    pause_until: Option<Instant>,
    /// Whether a refusal that is not final was told.
    is_told: bool,
}

impl Refusals {
    /// Whether it is of use to ask at `now`.
    pub(super) fn may_ask(&self, now: Instant) -> bool {
        let state = self.lock();
        !state.is_final && !state.is_paused(now)
    }

    /// Notes that the kernel has taken a file.
    pub(super) fn taken(&self) {
        let mut state = self.lock();
        (state.in_a_row, state.pause_until) = (0, None);
    }

    /// Notes that the kernel has refused a file at `now`.
    pub(super) fn refused(&self, error: &io::Error, now: Instant) {
        let mut state = self.lock();
        let is_final = is_of_all_files(error);
        let is_told = match is_final {
            true => std::mem::replace(&mut state.is_final, true),
            false => std::mem::replace(&mut state.is_told, true),
        };
        // Those that were asked for at the same time are one.
        if !is_final && !state.is_paused(now) {
            state.in_a_row += 1;
            state.pause_until = pause(state.in_a_row).map(|pause| now + pause);
        }
        drop(state);
        if is_told {
            log::debug!("the kernel does not read a file of the cache by itself: {error}");
        } else if is_final {
            log::info!("the kernel does not read files of the cache by itself: {error}");
        } else {
            log::info!(
                "the kernel does not read a file of the cache by itself: {error}; it will be asked \
                 again, and more of this is logged as debug"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_paused(&self, now: Instant) -> bool {
        self.pause_until.is_some_and(|until| now < until)
    }
}

/// Whether the kernel refuses all files for this reason: it knows nothing of them (`ENOTTY`, `EINVAL`,
/// `ENOSYS`, `EOPNOTSUPP`), or this process may not ask (`EPERM`, `EACCES`).
fn is_of_all_files(error: &io::Error) -> bool {
    let reasons = [
        Errno::NOTTY,
        Errno::INVAL,
        Errno::NOSYS,
        Errno::OPNOTSUPP,
        Errno::PERM,
        Errno::ACCESS,
    ];
    Errno::from_io_error(error).is_some_and(|errno| reasons.contains(&errno))
}

/// How long nothing is asked after so many refusals in a row: not at all after the first one, which may
/// be of that file alone.
fn pause(in_a_row: u32) -> Option<Duration> {
    let doublings = in_a_row.checked_sub(2)?;
    Some(LONGEST_PAUSE.min(FIRST_PAUSE * 2u32.saturating_pow(doublings)))
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);

const LONGEST_PAUSE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_of_all_files_is_final() {
        let now = Instant::now();
        for errno in [
            Errno::PERM,
            Errno::ACCESS,
            Errno::NOTTY,
            Errno::INVAL,
            Errno::NOSYS,
            Errno::OPNOTSUPP,
        ] {
            let refusals = Refusals::default();
            refusals.refused(&errno.into(), now);
            assert!(!refusals.may_ask(now + LONGEST_PAUSE * 1000), "{errno}");
            // A file that was asked for before.
            refusals.taken();
            assert!(!refusals.may_ask(now), "{errno}");
        }
    }

    #[test]
    fn refusal_of_one_file_leaves_the_others_and_several_pause_longer_and_longer() {
        for errno in [
            Errno::NOMEM,
            Errno::MFILE,
            Errno::NFILE,
            Errno::IO,
            Errno::NOSPC,
            Errno::LOOP,
            Errno::BADF,
        ] {
            let refusals = Refusals::default();
            let mut now = Instant::now();
            refusals.refused(&errno.into(), now);
            assert!(refusals.may_ask(now), "{errno}");
            for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
                // Others were asked for at the same time.
                for _ in 0..3 {
                    refusals.refused(&errno.into(), now);
                }
                let pause = Duration::from_secs(seconds);
                let before = now + pause - Duration::from_millis(1);
                assert!(!refusals.may_ask(before), "{errno}, {seconds}");
                now += pause;
                assert!(refusals.may_ask(now), "{errno}, {seconds}");
            }
            refusals.taken();
            refusals.refused(&errno.into(), now);
            assert!(refusals.may_ask(now), "{errno}: the first one again");
        }
    }
}
