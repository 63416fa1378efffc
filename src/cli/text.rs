//! Numbers and names, short.

use std::time::Duration;

/// Bytes, in binary units.
pub(super) fn size(bytes: f64) -> String {
    let mut value = bytes;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if value < 1000.0 {
            return match unit {
                "B" => format!("{value:.0} B"),
                unit if value < 100.0 => format!("{value:.1} {unit}"),
                unit => format!("{value:.0} {unit}"),
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1} PiB")
}

/// A count a second.
pub(super) fn rate(count: f64) -> String {
    if count == 0.0 {
        "0".to_owned()
    } else if count < 100.0 {
        format!("{count:.1}")
    } else {
        format!("{count:.0}")
    }
}

/// Microseconds, in the unit that fits.
pub(super) fn latency(micros: f64) -> String {
    if micros < 1000.0 {
        format!("{micros:.0} us")
    } else if micros < 100_000.0 {
        format!("{:.1} ms", micros / 1e3)
    } else if micros < 1e6 {
        format!("{:.0} ms", micros / 1e3)
    } else {
        format!("{:.1} s", micros / 1e6)
    }
}

/// A long time.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// A text that may hold anything, for a terminal.
pub(super) fn printable(text: &str) -> String {
    text.escape_debug()
        .collect::<String>()
        .replace("\\\"", "\"")
        .replace("\\'", "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (bytes, text) in [
            (0.0, "0 B"),
            (999.0, "999 B"),
            (1024.0, "1.0 KiB"),
            (1_500_000.0, "1.4 MiB"),
            (150e9, "140 GiB"),
            (2e18, "1776.4 PiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (micros, text) in [
            (3.0, "3 us"),
            (1500.0, "1.5 ms"),
            (250_000.0, "250 ms"),
            (2_500_000.0, "2.5 s"),
        ] {
            assert_eq!(latency(micros), text);
        }
        assert_eq!([0.0, 0.25, 1234.5].map(rate), ["0", "0.2", "1234"]);
        let times = [5, 65, 3725, 90_000].map(|seconds| duration(Duration::from_secs(seconds)));
        assert_eq!(times, ["5 s", "1 min 5 s", "1 h 2 min", "1 d 1 h"]);
    }

    #[test]
    fn names_hold_no_control_characters() {
        assert_eq!(
            printable("a\u{1b}[2J \"b\" 'c' é"),
            "a\\u{1b}[2J \"b\" 'c' é"
        );
    }
}
