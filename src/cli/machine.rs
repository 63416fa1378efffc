//! What this machine's network can do, and how many event loops that takes.

use std::fmt;
use std::fs;
use std::num::NonZeroU16;
use std::path::Path;

use super::instances;

/// The throughput to aim at.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Throughput {
    /// In Gbit/s, above zero.
    pub(super) gbps: f64,
    source: Source,
}

/// Where a throughput comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Flag,
    InstanceType(String),
    Interface(String),
    Nowhere,
}

impl Throughput {
    /// What was asked for; else what the EC2 instance type has, as the firmware or its metadata
    /// service tells it; else the speed of the fastest network interface; else 10 Gbit/s. `root` is
    /// where to look for `/sys`.
    pub(super) fn choose(
        asked_gbps: Option<u32>,
        instance_type: Option<&str>,
        root: &Path,
    ) -> Self {
        let (gbps, source) = asked_gbps
            .map(|gbps| (f64::from(gbps), Source::Flag))
            .or_else(|| instance(root))
            .or_else(|| of_type(instance_type?))
            .or_else(|| interface(root))
            .unwrap_or((DEFAULT_GBPS, Source::Nowhere));
        Self { gbps, source }
    }

    /// Event loops for this throughput on a machine of so many `cores`. The cores that they leave
    /// are for the threads that answer the kernel: those copy as many bytes.
    pub(super) fn event_loops(&self, cores: usize) -> NonZeroU16 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the conversion saturates, and a throughput is positive"
        )]
        let wanted = (self.gbps / LOOP_GBPS).ceil() as u16;
        let most = u16::try_from(cores / 2).unwrap_or(u16::MAX);
        NonZeroU16::new(wanted.min(most)).unwrap_or(NonZeroU16::MIN)
    }
}

impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} Gbit/s", self.gbps)?;
        match &self.source {
            Source::Flag => f.write_str(", as --maximum-throughput-gbps says"),
            Source::InstanceType(name) => write!(f, ", as an EC2 instance {name} has"),
            Source::Interface(name) => write!(f, ", the speed of network interface {name}"),
            Source::Nowhere => f.write_str(" by default, as the network is unknown"),
        }
    }
}

/// The instance type as the firmware tells it: the same as the metadata service would say, without a
/// request. Instances of the older Xen generation tell none.
fn instance(root: &Path) -> Option<(f64, Source)> {
    let read = |name| fs::read_to_string(root.join("sys/devices/virtual/dmi/id").join(name)).ok();
    if read("sys_vendor")?.trim() != "Amazon EC2" {
        return None;
    }
    of_type(read("product_name")?.trim())
}

fn of_type(name: &str) -> Option<(f64, Source)> {
    let gbps = instances::network_gbps(name)?;
    Some((gbps, Source::InstanceType(name.to_owned())))
}

/// Whether the firmware tells the throughput of this machine. `root` is where to look for `/sys`.
pub(super) fn knows_instance(root: &Path) -> bool {
    instance(root).is_some()
}

/// The fastest interface that is up and belongs to a device, which bridges, tunnels and the loopback
/// don't. Linux, Documentation/ABI/testing/sysfs-class-net: `speed` is in Mbit/s, and -1 or an error
/// where the driver does not know.
fn interface(root: &Path) -> Option<(f64, Source)> {
    let up = fs::read_dir(root.join("sys/class/net")).ok()?.flatten();
    let speeds = up.filter_map(|entry| {
        let path = entry.path();
        let read = |name| fs::read_to_string(path.join(name)).ok();
        if !path.join("device").exists() || read("operstate")?.trim() != "up" {
            return None;
        }
        let mbps: u32 = read("speed")?.trim().parse().ok()?;
        // Some drivers tell the unknown, -1, as an unsigned number.
        let known = (1..=MAX_MBPS).contains(&mbps);
        known.then(|| (mbps, entry.file_name().to_string_lossy().into_owned()))
    });
    let (mbps, name) = speeds.max()?;
    Some((f64::from(mbps) / 1000.0, Source::Interface(name)))
}

/// What Mountpoint for Amazon S3 assumes of an unknown network.
const DEFAULT_GBPS: f64 = 10.0;

/// What one event loop receives and decrypts with ease.
const LOOP_GBPS: f64 = 5.0;

/// 100 Tbit/s, the most that can be asked for.
const MAX_MBPS: u32 = 100_000_000;

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A `/sys` of these files.
    fn machine(files: &[(&str, &str)]) -> TempDir {
        let root = TempDir::new().expect("temporary directory");
        for (path, content) in files {
            let path = root.path().join("sys").join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("directory");
            fs::write(path, content).expect("file");
        }
        root
    }

    fn chosen(files: &[(&str, &str)]) -> (f64, Source) {
        let Throughput { gbps, source } = Throughput::choose(None, None, machine(files).path());
        (gbps, source)
    }

    const EC2: (&str, &str) = ("devices/virtual/dmi/id/sys_vendor", "Amazon EC2\n");
    const C5N: (&str, &str) = ("devices/virtual/dmi/id/product_name", "c5n.18xlarge\n");
    const ETH0: [(&str, &str); 3] = [
        ("class/net/eth0/device/vendor", "0x8086\n"),
        ("class/net/eth0/operstate", "up\n"),
        ("class/net/eth0/speed", "25000\n"),
    ];

    fn interface_named(name: &str) -> Source {
        Source::Interface(name.to_owned())
    }

    #[test]
    fn choose_prefers_flag_then_instance_then_interface_then_default() {
        let files = [&[EC2, C5N][..], &ETH0].concat();
        let root = machine(&files);
        let flag = Throughput::choose(Some(7), None, root.path());
        assert_eq!((flag.gbps, flag.source), (7.0, Source::Flag));
        let instance = Source::InstanceType("c5n.18xlarge".to_owned());
        assert_eq!(chosen(&files), (100.0, instance));
        assert_eq!(chosen(&ETH0), (25.0, interface_named("eth0")));
        assert_eq!(chosen(&[]), (10.0, Source::Nowhere));
    }

    #[test]
    fn choose_takes_the_type_that_the_metadata_service_tells() {
        let chosen = |files: &[_], told| {
            let Throughput { gbps, source } =
                Throughput::choose(None, Some(told), machine(files).path());
            (gbps, source)
        };
        let named = |name: &str| Source::InstanceType(name.to_owned());
        assert_eq!(chosen(&ETH0, "m6i.large"), (12.5, named("m6i.large")));
        assert_eq!(
            chosen(&[EC2, C5N], "m6i.large"),
            (100.0, named("c5n.18xlarge"))
        );
        assert_eq!(chosen(&ETH0, "x99.huge"), (25.0, interface_named("eth0")));
        assert_eq!(chosen(&[], ""), (10.0, Source::Nowhere));
    }

    #[test]
    fn choose_takes_no_instance_type_of_others_or_unknown() {
        let vendor = ("devices/virtual/dmi/id/sys_vendor", "QEMU\n");
        assert_eq!(chosen(&[vendor, C5N]).1, Source::Nowhere);
        assert_eq!(chosen(&[C5N]).1, Source::Nowhere);
        assert_eq!(chosen(&[EC2]).1, Source::Nowhere);
        let unknown = ("devices/virtual/dmi/id/product_name", "x99.huge\n");
        let files = [&[EC2, unknown][..], &ETH0].concat();
        assert_eq!(chosen(&files), (25.0, interface_named("eth0")));
    }

    #[test]
    fn choose_takes_the_fastest_interface_that_is_up_and_real() {
        let others = [
            ("class/net/eth1/device/vendor", "0x8086\n"),
            ("class/net/eth1/operstate", "up\n"),
            ("class/net/eth1/speed", "100000\n"),
            ("class/net/eth2/device/vendor", "0x8086\n"),
            ("class/net/eth2/operstate", "down\n"),
            ("class/net/eth2/speed", "400000\n"),
            ("class/net/bond0/operstate", "up\n"),
            ("class/net/bond0/speed", "200000\n"),
        ];
        let files = [&ETH0[..], &others].concat();
        assert_eq!(chosen(&files), (100.0, interface_named("eth1")));
    }

    #[test]
    fn choose_ignores_an_interface_without_a_speed() {
        for speed in ["-1\n", "0\n", "4294967295\n", "", "fast\n"] {
            let files = [ETH0[0], ETH0[1], ("class/net/eth0/speed", speed)];
            assert_eq!(chosen(&files), (10.0, Source::Nowhere), "{speed:?}");
        }
        assert_eq!(chosen(&ETH0[..2]), (10.0, Source::Nowhere));
    }

    #[test]
    fn display_tells_where_the_throughput_comes_from() {
        let text =
            |asked, files: &[_]| Throughput::choose(asked, None, machine(files).path()).to_string();
        assert_eq!(
            text(Some(40), &[]),
            "40 Gbit/s, as --maximum-throughput-gbps says"
        );
        assert_eq!(
            text(None, &[EC2, C5N]),
            "100 Gbit/s, as an EC2 instance c5n.18xlarge has"
        );
        assert_eq!(
            text(None, &ETH0),
            "25 Gbit/s, the speed of network interface eth0"
        );
        assert_eq!(
            text(None, &[]),
            "10 Gbit/s by default, as the network is unknown"
        );
    }

    #[test]
    fn event_loops_follow_the_throughput_up_to_half_the_cores() {
        let loops = |gbps, cores| {
            let asked = Throughput::choose(Some(gbps), None, Path::new("/nowhere"));
            asked.event_loops(cores).get()
        };
        assert_eq!(loops(10, 1), 1);
        assert_eq!(loops(10, 2), 1);
        assert_eq!(loops(10, 4), 2);
        assert_eq!(loops(10, 96), 2);
        assert_eq!(loops(1, 96), 1);
        assert_eq!(loops(100, 72), 20);
        assert_eq!(loops(3200, 192), 96);
        assert_eq!(loops(100_000, 1_000_000), 20_000);
    }
}
