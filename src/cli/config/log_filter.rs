//! `MOUNTPOINT_LOG`: what is logged, in the words of Mountpoint for Amazon S3 or in those of here.
//!
//! Mountpoint takes directives of the `tracing` crate: `LEVEL`, `TARGET=LEVEL`, and ones of spans, which
//! do not exist here. Its targets are its crates; ours are modules of `mount_s3`, and `crt`.

/// Makes directives in the syntax of `env_logger` of them.
///
/// # Errors
/// A directive cannot be meant; the text names it.
pub(super) fn translate(directives: &str) -> Result<String, String> {
    let directives: Vec<_> = directives
        .split(',')
        .map(str::trim)
        .filter(|directive| !directive.is_empty())
        .map(directive)
        .collect::<Result<_, _>>()?;
    Ok(directives.join(","))
}

fn directive(text: &str) -> Result<String, String> {
    if text.contains(['[', ']', '{', '}', '/']) {
        return Err(format!(
            "'{text}' is a directive on spans, fields or texts, which is not supported: \
             write LEVEL or TARGET=LEVEL"
        ));
    }
    let (target, level) = match text.split_once('=') {
        None => match level_of(text) {
            Some(level) => return Ok(level.to_owned()),
            None => (text, "trace"),
        },
        Some((target, level)) => {
            let known = level_of(level).ok_or_else(|| {
                format!(
                    "'{level}' in '{text}' is not a level: error, warn, info, debug, trace and off are"
                )
            })?;
            (target, known)
        }
    };
    if target.is_empty() || target.contains(char::is_whitespace) {
        return Err(format!("'{text}' names no target: write TARGET=LEVEL"));
    }
    Ok(format!("{}={level}", target_of(target)))
}

/// `tracing` takes numbers, too, and levels in any case.
fn level_of(text: &str) -> Option<&'static str> {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let number: Option<usize> = text.parse().ok();
    match number {
        Some(number) => levels.get(number).copied(),
        None => levels
            .into_iter()
            .find(|level| level.eq_ignore_ascii_case(text)),
    }
}

fn target_of(target: &str) -> &str {
    let of = target.split_once("::").map_or(target, |(of, _below)| of);
    if of == "awscrt" {
        "crt"
    } else if of == "mountpoint_s3" || of.starts_with("mountpoint_s3_") {
        "mount_s3"
    } else {
        target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn translate_knows_the_words_of_both() {
        for (text, expected) in [
            ("", ""),
            ("trace", "trace"),
            ("WARN", "warn"),
            ("4", "debug"),
            ("debug,awscrt=off", "debug,crt=off"),
            ("info, awscrt::S3Client=trace", "info,crt=trace"),
            ("mountpoint_s3=debug", "mount_s3=debug"),
            (
                "mountpoint_s3_client::s3_crt_client=TRACE,",
                "mount_s3=trace",
            ),
            (
                "mount_s3::read=debug,crt::http=info",
                "mount_s3::read=debug,crt::http=info",
            ),
            ("fuser", "fuser=trace"),
            ("fuser=off", "fuser=off"),
        ] {
            assert_eq!(translate(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn translate_names_what_it_cannot_do() {
        for (text, reason) in [
            ("warn,[read{id=3}]=debug", "'[read{id=3}]=debug'"),
            ("mountpoint_s3[write]=debug", "on spans"),
            ("info/text", "on spans, fields or texts"),
            ("mountpoint_s3=loud", "'loud'"),
            ("=debug", "names no target"),
            ("a b", "names no target"),
            ("info,awscrt=6", "'6'"),
        ] {
            let error = translate(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
