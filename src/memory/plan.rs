//! How the memory of the process is divided.

use std::sync::Arc;

use super::Budget;

/// A target for the memory of the process, divided. All sizes are in bytes.
///
/// | share | size |
/// |---|---|
/// | everything but buffers | 128 MiB, or an eighth of the target if that is more |
/// | the reserve for single reads | 64 MiB, or a quarter of the buffers if that is less |
/// | what open files may hold | the rest |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    target: u64,
    buffers: u64,
    reserve: u64,
}

impl MemoryPlan {
    /// The smallest target.
    pub const SMALLEST_TARGET: u64 = 512 << 20;

    /// Divides `target`; less than [`Self::SMALLEST_TARGET`] counts as that.
    pub fn new(target: u64) -> Self {
        let target = target.max(Self::SMALLEST_TARGET);
        let buffers = target - (128 * MIB).max(target / 8);
        // Whole MiB, as the pool of buffers has them.
        let buffers = buffers - buffers % MIB;
        Self {
            target,
            buffers,
            reserve: (64 * MIB).min(buffers / 4),
        }
    }

    /// The target when none is given: 95 % of the memory that is `available`, but no more than is
    /// useful, which is room for eight streams that each keep a `window` of bytes in flight, and
    /// never less than [`Self::SMALLEST_TARGET`].
    pub fn default_target(available: u64, window: u64) -> u64 {
        let most = available / 100 * 95;
        let useful = window.saturating_mul(USEFUL_STREAMS);
        most.min(useful).max(Self::SMALLEST_TARGET)
    }

    /// What is divided.
    pub fn target(&self) -> u64 {
        self.target
    }

    /// The budget of open files.
    pub fn budget(&self) -> Arc<Budget> {
        Budget::new(self.largest_part(), self.reserve)
    }

    /// The memory for all buffers of data: the limit of the pool that they come from. Everything
    /// that the budget pays for fits into it, so that a GET that was paid for always gets them.
    pub fn buffers(&self) -> u64 {
        self.buffers
    }

    /// The largest part that a stream can be made of: what open files may hold.
    pub fn largest_part(&self) -> u64 {
        self.buffers - self.reserve
    }

    /// How many files may be open for writing at once, if each may hold a part of `write_part`
    /// bytes, and a read of `read_part` bytes is to be possible beside them; at least one.
    pub fn writers(&self, read_part: u64, write_part: u64) -> usize {
        let writers = self.buffers.saturating_sub(read_part) / write_part.max(1);
        usize::try_from(writers.max(1)).unwrap_or(usize::MAX)
    }
}

const MIB: u64 = 1 << 20;

/// Streams of full speed beyond which nothing gets faster: each of them alone fills the network.
const USEFUL_STREAMS: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn smallest_target_leaves_384_mib_for_buffers() {
        let plan = MemoryPlan::new(512 * MIB);
        assert_eq!(plan.buffers(), 384 * MIB);
        assert_eq!(plan.largest_part(), 320 * MIB);
    }

    #[test]
    fn s19_writers_are_as_many_as_parts_fit_beside_a_read() {
        let part = 8 * MIB;
        assert_eq!(MemoryPlan::new(512 * MIB).writers(part, part), 47);
        assert_eq!(MemoryPlan::new(4096 * MIB).writers(part, part), 447);
        assert_eq!(MemoryPlan::new(512 * MIB).writers(part, 1 << 40), 1);
    }

    #[test]
    fn default_target_is_bounded_by_memory_and_by_use() {
        let gib = 1024 * MIB;
        assert_eq!(
            MemoryPlan::default_target(16 * gib, 238 * MIB),
            8 * 238 * MIB
        );
        assert_eq!(MemoryPlan::default_target(1000 * MIB, gib), 950 * MIB);
        assert_eq!(MemoryPlan::default_target(100 * MIB, gib), 512 * MIB);
        assert_eq!(MemoryPlan::default_target(16 * gib, MIB), 512 * MIB);
    }

    proptest! {
        #[test]
        fn everything_fits_into_the_pool_and_the_target(target in 0u64..1 << 50) {
            let plan = MemoryPlan::new(target);
            let target = target.max(MemoryPlan::SMALLEST_TARGET);
            prop_assert!(plan.buffers() <= target * 7 / 8);
            prop_assert!(plan.buffers() + 128 * MIB <= target);
            prop_assert_eq!(plan.largest_part() + plan.reserve, plan.buffers());
            prop_assert!(plan.largest_part() >= plan.buffers() / 4 * 3);
        }
    }
}
