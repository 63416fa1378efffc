//! How old what was noted is, also after a restart of the machine.

use std::fmt;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::{ClockId, clock_gettime};

/// The clocks of the machine.
pub(super) struct Clocks(Box<dyn Fn() -> Now + Send + Sync>);

/// What they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Now {
    /// Since when the machine runs.
    pub(super) boot: Boot,
    /// Microseconds since 1970, as far as somebody has set the clock.
    pub(super) wall: u64,
    /// Microseconds since the machine was started, sleep included: nobody sets that.
    pub(super) running: u64,
}

/// One time that the machine was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Boot(pub(super) [u8; 16]);

impl Clocks {
    pub(super) fn system() -> Self {
        let boot = Boot::current();
        Self::new(move || Now {
            boot,
            wall: micros(
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default(),
            ),
            running: micros(running()),
        })
    }

    /// Clocks of the caller's own.
    pub(super) fn new(read: impl Fn() -> Now + Send + Sync + 'static) -> Self {
        Self(Box::new(read))
    }

    pub(super) fn now(&self) -> Now {
        (self.0)()
    }
}

impl Now {
    /// How old is what was asked for at `asked`, in microseconds, when the machine ran for as many and
    /// the clocks said `written` later. `None` when a clock was set back meanwhile, so that nobody knows.
    ///
    /// As long as the machine runs the clock that nobody sets has a say, too.
    pub(super) fn age_of(&self, asked: u64, written: &Self) -> Option<u64> {
        let until_written = written.running.checked_sub(asked)?;
        let since_written = self.wall.checked_sub(written.wall)?;
        let by_wall = until_written.checked_add(since_written)?;
        if self.boot != written.boot {
            return Some(by_wall);
        }
        Some(by_wall.max(self.running.checked_sub(asked)?))
    }

    /// The moment `age` microseconds ago. Moments are later the greater they are, and also before the
    /// start of the machine.
    pub(super) fn ago(&self, age: u64) -> u64 {
        (START + self.running).saturating_sub(age)
    }
}

impl Boot {
    /// Where the system does not say, each process has one of its own.
    fn current() -> Self {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = id.chars().filter(char::is_ascii_hexdigit).collect();
        match u128::from_str_radix(&digits, 16) {
            Ok(number) => Self(number.to_be_bytes()),
            Err(_) => Self(random()),
        }
    }
}

/// Bytes that nobody else has, or nobody knows.
pub(super) fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    // It fails only where the system has no such call.
    _ = getrandom(&mut bytes, GetRandomFlags::empty());
    bytes
}

impl fmt::Debug for Clocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clocks").field(&self.now()).finish()
    }
}

fn running() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::try_from(time).unwrap_or_default()
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The moment when the machine was started: an age of 100 years is far less.
const START: u64 = 1 << 62;

#[cfg(test)]
mod tests {
    use super::*;

    const fn now(boot: u8, wall: u64, running: u64) -> Now {
        Now {
            boot: Boot([boot; 16]),
            wall,
            running,
        }
    }

    #[test]
    fn age_is_the_greater_one_of_two_clocks_and_nothing_when_one_was_set_back() {
        let written = now(1, 1000, 100);
        for (later, age) in [
            (now(1, 1050, 150), Some(60)),
            (now(1, 1020, 150), Some(60)),
            (now(1, 1080, 150), Some(90)),
            (now(1, 999, 150), None),
            (now(1, 1050, 89), None),
            (now(2, 1050, 7), Some(60)),
            (now(2, 999, 150), None),
        ] {
            assert_eq!(later.age_of(90, &written), age, "{later:?}");
        }
        assert_eq!(
            now(1, 1050, 150).age_of(101, &written),
            None,
            "not asked yet"
        );
        assert_eq!(now(1, 1050, 150).age_of(90, &now(1, 0, u64::MAX)), None);
    }

    #[test]
    fn system_goes_forward_in_one_start_of_the_machine() {
        let clocks = Clocks::system();
        let (one, two) = (clocks.now(), Clocks::system().now());
        assert_eq!(one.boot, two.boot);
        assert!(one.running <= two.running && two.running > 0);
        let age = two.age_of(one.running, &one).expect("known");
        assert!(age < 600_000_000, "{age}");
        assert!(two.ago(5) < two.ago(0) && one.ago(0) <= two.ago(0));
    }
}
