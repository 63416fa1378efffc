//! The network bandwidth of EC2 instance types: a table, `instances.txt`.

/// Bandwidth of an instance type like `c5n.18xlarge` in Gbit/s; `None` for a type that the table
/// lacks.
pub(super) fn network_gbps(instance_type: &str) -> Option<f64> {
    TABLE
        .lines()
        .filter_map(entry)
        .find_map(|(name, gbps)| (name == instance_type).then_some(gbps))
}

/// A line's type and bandwidth; `None` for a comment.
fn entry(line: &str) -> Option<(&str, f64)> {
    let (name, gbps) = line.split_once(' ')?;
    Some((name, gbps.parse().ok()?))
}

const TABLE: &str = include_str!("instances.txt");

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> impl Iterator<Item = &'static str> {
        TABLE.lines().filter(|line| !line.starts_with('#'))
    }

    #[test]
    fn every_line_is_a_type_and_a_bandwidth() {
        for line in lines() {
            let (name, gbps) = entry(line).expect(line);
            let (family, size) = name.split_once('.').expect(line);
            let plain = |text: &str| {
                let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                !text.is_empty() && text.chars().all(allowed)
            };
            assert!(plain(family) && plain(size), "{line}");
            assert!((1.0..=10_000.0).contains(&gbps), "{line}");
        }
    }

    #[test]
    fn lines_are_sorted_and_name_no_type_twice() {
        let names: Vec<_> = lines().filter_map(entry).map(|(name, _)| name).collect();
        assert!(names.len() > 100);
        for pair in names.windows(2) {
            assert!(pair[0] < pair[1], "{pair:?}");
        }
    }

    #[test]
    fn network_gbps_finds_known_types_only() {
        for (name, gbps) in [
            ("c5n.18xlarge", Some(100.0)),
            ("p4d.24xlarge", Some(400.0)),
            ("p5.48xlarge", Some(3200.0)),
            ("trn1.32xlarge", Some(800.0)),
            ("trn1n.32xlarge", Some(1600.0)),
            ("m6i.large", Some(12.5)),
            ("c5n", None),
            ("c5n.18xlarg", None),
            ("", None),
            ("#", None),
            ("HVM domU", None),
        ] {
            assert_eq!(network_gbps(name), gbps, "{name}");
        }
    }
}
