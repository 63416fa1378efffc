//! The flags that say how much is transferred at a time.

use clap::{Args, value_parser};

use super::args::CLIENT;
use crate::memory::MemoryPlan;

/// How much is read at a time.
#[derive(Debug, Clone, Args)]
pub(super) struct ReadingArgs {
    /// Throughput that the network allows, in gigabits per second: what to aim at, not a limit
    /// [default: that of the EC2 instance type, else of the network interface, else 10]
    #[arg(long, help_heading = CLIENT, value_name = "N")]
    #[arg(value_parser = value_parser!(u32).range(1..=100_000))]
    pub(super) maximum_throughput_gbps: Option<u32>,

    /// Memory to use, in MiB: a target, of which 1/8, but at least 128 MiB, is not for buffers
    /// [default: what the throughput needs, at most 95 % of the memory there is]
    #[arg(long, help_heading = CLIENT, value_name = "MiB")]
    #[arg(value_parser = value_parser!(u64).range(SMALLEST_TARGET_MIB..=MAX_TARGET_MIB))]
    pub(super) memory_target: Option<u64>,

    /// Size of the parts in which objects are read, in bytes [default: 8388608]
    #[arg(long, help_heading = CLIENT, value_name = "SIZE")]
    #[arg(value_parser = value_parser!(u64).range(1..=MAX_PART_BYTES))]
    pub(super) read_part_size: Option<u64>,
}

/// How much is transferred at a time.
#[derive(Debug, Clone, Args)]
pub(super) struct TransferArgs {
    #[command(flatten)]
    pub(super) reading: ReadingArgs,

    /// Threads that answer the kernel, at most
    #[arg(long, help_heading = CLIENT, value_name = "N", default_value_t = 16)]
    #[arg(value_parser = value_parser!(u16).range(1..=1024))]
    pub(super) max_threads: u16,

    /// Size of the parts in which objects are transferred, in bytes [default: 8388608]
    #[arg(long, help_heading = CLIENT, value_name = "SIZE")]
    #[arg(conflicts_with_all = ["read_part_size", "write_part_size"])]
    #[arg(value_parser = value_parser!(u64).range(1..=MAX_PART_BYTES))]
    pub(super) part_size: Option<u64>,

    /// Size of the parts in which objects are written, in bytes [default: 8388608]
    #[arg(long, help_heading = CLIENT, value_name = "SIZE")]
    #[arg(value_parser = value_parser!(u64).range(1..=MAX_PART_BYTES))]
    pub(super) write_part_size: Option<u64>,
}

impl TransferArgs {
    pub(super) fn read_part_bytes(&self) -> u64 {
        let size = self.reading.read_part_size.or(self.part_size);
        size.unwrap_or(DEFAULT_PART_BYTES)
    }

    pub(super) fn write_part_bytes(&self) -> u64 {
        let size = self.write_part_size.or(self.part_size);
        size.unwrap_or(DEFAULT_PART_BYTES)
    }
}

impl ReadingArgs {
    pub(super) fn part_bytes(&self) -> u64 {
        self.read_part_size.unwrap_or(DEFAULT_PART_BYTES)
    }
}

const DEFAULT_PART_BYTES: u64 = 8 << 20;

/// The largest part that S3 takes: 5 GiB.
const MAX_PART_BYTES: u64 = 5 << 30;

const SMALLEST_TARGET_MIB: u64 = MemoryPlan::SMALLEST_TARGET >> 20;

/// 1 PiB, which is far from overflow.
const MAX_TARGET_MIB: u64 = 1 << 30;
