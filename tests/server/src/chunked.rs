//! The aws-chunked encoding of unsigned requests (those signed are decoded with their signatures).

use http::{HeaderMap, HeaderName, HeaderValue, header};
use s3s::{S3Error, S3Result, s3_error};

/// A decoded body.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) data: Vec<u8>,
    pub(crate) trailers: HeaderMap,
}

/// Whether the body with these headers is encoded.
pub(crate) fn is_chunked(headers: &HeaderMap) -> bool {
    let has = |name: &HeaderName, text: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.contains(text))
    };
    has(&header::CONTENT_ENCODING, "aws-chunked")
        || has(
            &HeaderName::from_static("x-amz-content-sha256"),
            "STREAMING-",
        )
}

/// Decodes a whole body.
pub(crate) fn decode(mut body: &[u8]) -> S3Result<Decoded> {
    let mut data = Vec::with_capacity(body.len());
    loop {
        let line = take_line(&mut body)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| incomplete())?;
        if size == 0 {
            break;
        }
        let (chunk, rest) = body.split_at_checked(size).ok_or_else(incomplete)?;
        data.extend_from_slice(chunk);
        body = rest.strip_prefix(b"\r\n").ok_or_else(incomplete)?;
    }
    let mut trailers = HeaderMap::new();
    while !body.is_empty() {
        let line = take_line(&mut body)?;
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let name = HeaderName::try_from(name.trim()).map_err(|_| incomplete())?;
        let value = HeaderValue::from_str(value.trim()).map_err(|_| incomplete())?;
        trailers.insert(name, value);
    }
    Ok(Decoded { data, trailers })
}

fn take_line<'b>(body: &mut &'b [u8]) -> S3Result<&'b str> {
    let end = body
        .windows(2)
        .position(|pair| pair == b"\r\n")
        .ok_or_else(incomplete)?;
    let (line, rest) = body.split_at(end);
    *body = &rest[2..];
    std::str::from_utf8(line).map_err(|_| incomplete())
}

fn incomplete() -> S3Error {
    s3_error!(IncompleteBody)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_returns_the_data_and_the_trailers() {
        let decoded =
            decode(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nx-amz-checksum-crc32:AA==\r\n\r\n").unwrap();
        assert_eq!(decoded.data, b"abcde");
        assert_eq!(decoded.trailers["x-amz-checksum-crc32"], "AA==");
    }

    #[test]
    fn decode_refuses_what_breaks_off() {
        for body in [&b"3\r\nab"[..], b"", b"zz\r\n", b"3\r\nabcX\r\n0\r\n\r\n"] {
            assert!(decode(body).is_err(), "{body:?}");
        }
    }
}
