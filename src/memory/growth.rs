//! Whether a larger window helps: growth on trial.

/// Decides, epoch by epoch, whether a window doubles, and takes back what did not help. Pure.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    trial: Option<Trial>,
    /// Epochs to wait before the next doubling, after one that did not help.
    hold: u32,
}

/// A growth that has to prove itself.
#[derive(Debug)]
struct Trial {
    /// The size before it.
    size: u64,
    /// KiB per second that it must lead to.
    rate: f64,
}

impl Growth {
    /// Ends an epoch in which a window of `size` bytes led to `rate` KiB per second, and says how
    /// many bytes it has from now on: judges the doubling on trial, or else begins the next one.
    /// `room` is how many bytes it may grow by, `None` if it need not.
    pub(crate) fn turn(&mut self, size: u64, rate: f64, room: Option<u64>) -> u64 {
        match (self.trial.take(), room) {
            (Some(trial), _) if rate < trial.rate => {
                self.hold = HOLD;
                return size.min(trial.size);
            }
            _ if self.hold > 0 => self.hold -= 1,
            (_, Some(room)) => {
                // Less than a quarter of growth could not be told from noise.
                let growth = size.min(room);
                if growth >= size / 4 {
                    let share = kib_f64(growth) / kib_f64(size).max(1.0);
                    self.trial = Some(Trial {
                        size,
                        rate: rate * (1.0 + share * GAIN),
                    });
                    return size + growth;
                }
            }
            _ => {}
        }
        size
    }

    /// Gives up the doubling on trial, as the window has another size by now.
    pub(crate) fn forget(&mut self) {
        self.trial = None;
    }
}

/// So many KiB.
pub(crate) fn kib_f64(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX))
}

/// A doubled window must make the transfers faster by this share to be kept, a smaller growth by
/// less. A window that is smaller than the bandwidth-delay product nearly doubles the rate; one
/// that is larger only costs memory.
const GAIN: f64 = 0.2;

/// Epochs to wait after a doubling that did not help.
const HOLD: u32 = 8;
