//! Which of the formats an HTTP client asks for.

use super::prometheus::Format;

/// The format for a client whose header `Accept` is `accept`: OpenMetrics if it is named and nothing is
/// liked better. A client that takes neither gets the older one.
/// RFC 9110, [12.5.1](https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1).
pub(super) fn format(accept: &str) -> Format {
    let ranges: Vec<_> = accept.split(',').map(Range::parse).collect();
    let quality = |is_meant: &dyn Fn(&Range<'_>) -> bool| {
        let meant = ranges.iter().filter(|range| is_meant(range));
        meant.map(|range| range.quality).max_by(f32::total_cmp)
    };
    let open_metrics = quality(&|range| {
        let is_version = range
            .version
            .is_none_or(|version| version.starts_with("1."));
        range.is("application/openmetrics-text") && is_version
    });
    let text = quality(&|range| range.is("text/plain"))
        .or_else(|| quality(&|range| range.is("text/*")))
        .or_else(|| quality(&|range| range.is("*/*")));
    match open_metrics {
        Some(quality) if quality > 0.0 && quality >= text.unwrap_or(0.0) => Format::OpenMetrics,
        _ => Format::Text,
    }
}

/// One of the types that a client takes.
struct Range<'a> {
    name: &'a str,
    version: Option<&'a str>,
    /// 0, not at all, to 1.
    quality: f32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let mut range = Self {
            name: parts.next().unwrap_or_default(),
            version: None,
            quality: 1.0,
        };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim_matches('"');
            if name.eq_ignore_ascii_case("q") {
                // What is no number is no preference.
                range.quality = value.parse().unwrap_or(0.0);
            } else if name.eq_ignore_ascii_case("version") {
                range.version = Some(value);
            }
        }
        range
    }

    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_is_the_one_that_is_liked_best() {
        for accept in [
            // Of Prometheus 2.50, and of 3.0.
            "application/openmetrics-text;version=1.0.0;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; Version=\"1.0.0\", text/plain",
        ] {
            assert_eq!(format(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/plain;version=0.0.4",
            "application/openmetrics-text;q=0.3, text/plain;q=0.4",
            "application/openmetrics-text;q=0.3, text/*;q=0.4",
            "application/openmetrics-text;q=0.3, */*",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=x",
            "application/json",
            ";,=;q",
        ] {
            assert_eq!(format(accept), Format::Text, "{accept}");
        }
    }
}
