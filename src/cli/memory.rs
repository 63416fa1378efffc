//! How much memory to use: what was asked for, or what there is.

use std::fs;
use std::path::{Path, PathBuf};

use super::exit::Failure;
use crate::memory::MemoryPlan;
use crate::read::ReadConfig;

/// The memory of the process, and what had to be adapted to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) plan: MemoryPlan,
    pub(super) part_bytes: u64,
    pub(super) write_part_bytes: u64,
    /// What to tell about parts that were made smaller, once there is a log.
    pub(super) warning: Option<String>,
}

impl Memory {
    /// Divides `target_mib`, or what is available and useful, and fits parts for reading of
    /// `part_bytes` bytes into it, and parts for writing of `write_part_bytes`.
    ///
    /// # Errors
    /// A part does not fit into the memory that was explicitly asked for.
    pub(super) fn new(
        target_mib: Option<u64>,
        throughput_gbps: f64,
        part_bytes: u64,
        write_part_bytes: u64,
    ) -> Result<Self, Failure> {
        let target = target_mib.map_or_else(
            || {
                let window = ReadConfig::window_for_throughput(throughput_gbps);
                MemoryPlan::default_target(available(Path::new("/")), window)
            },
            |mib| mib << 20,
        );
        let plan = MemoryPlan::new(target);
        let mut warnings = Vec::new();
        let mut fit = |kind: &str, bytes: u64| {
            let most = plan.largest_part();
            if bytes <= most {
                return Ok(bytes);
            }
            let message = format!(
                "{kind} part size ({} MiB) exceeds the memory available for data buffers ({} MiB)",
                bytes.div_ceil(1 << 20),
                most >> 20
            );
            if target_mib.is_some() {
                return Err(Failure::new(message).with_remedy(format!(
                    "choose smaller parts (--{kind}-part-size) or a larger --memory-target"
                )));
            }
            warnings.push(format!("{message}: parts of that size are used instead"));
            Ok(most)
        };
        let part_bytes = fit("read", part_bytes)?;
        let write_part_bytes = fit("write", write_part_bytes)?;
        Ok(Self {
            plan,
            part_bytes,
            write_part_bytes,
            warning: (!warnings.is_empty()).then(|| warnings.join("; ")),
        })
    }
}

/// Bytes of memory that this process may use: the machine's, or less if its control group has less.
/// Without any limit to be found there is no limit.
fn available(root: &Path) -> u64 {
    machine_bytes(root)
        .into_iter()
        .chain(control_group_bytes(root))
        .min()
        .unwrap_or(u64::MAX)
}

/// proc(5), `/proc/meminfo`: `MemTotal:       24683648 kB`.
fn machine_bytes(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The smallest limit of this process's control group and those around it. cgroups(7),
/// `/proc/pid/cgroup`: `hierarchy:controllers:path`, of which version 2 is hierarchy 0.
fn control_group_bytes(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let groups = text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (hierarchy, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let (mount, file) = if hierarchy == "0" && controllers.is_empty() {
            ("sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            return None;
        };
        let path = path.trim_start_matches('/').to_owned();
        Some((root.join(mount), PathBuf::from(path), file))
    });
    let limits = groups.flat_map(|(mount, path, file)| {
        let files: Vec<_> = path
            .ancestors()
            .map(|group| mount.join(group).join(file))
            .collect();
        files.into_iter().filter_map(|file| {
            // "max" is no limit.
            fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()
        })
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        }
        root
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemFree: 1 kB\nMemTotal:  4194304 kB\n");

    #[test]
    fn available_is_the_least_of_machine_and_control_groups() {
        let machine = root(&[MACHINE, ("proc/self/cgroup", "0::/a/b\n")]);
        assert_eq!(available(machine.path()), 4096 * MIB);
        let second = root(&[
            MACHINE,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.max", "1073741824\n"),
        ]);
        assert_eq!(available(second.path()), 1024 * MIB);
        let first = root(&[
            MACHINE,
            ("proc/self/cgroup", "5:cpu:/x\n4:hugetlb,memory:/a\n"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            (
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                "536870912\n",
            ),
        ]);
        assert_eq!(available(first.path()), 512 * MIB);
        assert_eq!(available(root(&[]).path()), u64::MAX);
    }

    #[test]
    fn parts_that_do_not_fit_are_refused_or_made_smaller() {
        let fits = Memory::new(Some(512), 10.0, 8 * MIB, 8 * MIB).expect("fits");
        assert_eq!((fits.part_bytes, fits.warning), (8 * MIB, None));

        let failure = Memory::new(Some(512), 10.0, 1024 * MIB, MIB).expect_err("too large");
        let text = "read part size (1024 MiB) exceeds the memory available for data buffers (320";
        assert!(failure.to_string().contains(text), "{failure}");

        let clamped = Memory::new(None, 1.0, 5 << 30, 8 * MIB).expect("clamped");
        assert_eq!(clamped.part_bytes, clamped.plan.largest_part());
        let warning = clamped.warning.expect("told");
        assert!(
            warning.starts_with("read part size (5120 MiB)"),
            "{warning}"
        );
        let failure = Memory::new(Some(512), 10.0, MIB, 1024 * MIB).expect_err("too large");
        let text = failure.to_string();
        assert!(text.starts_with("write part size (1024 MiB)"), "{text}");
        let clamped = Memory::new(None, 1.0, MIB, 5 << 30).expect("clamped");
        assert_eq!(clamped.write_part_bytes, clamped.plan.largest_part());
    }
}
