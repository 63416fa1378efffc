//! HeadObject: an object's metadata from the headers of the answer.

use std::sync::Arc;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::classify::Subject;
use super::metadata;
use super::xml::etag;
use super::{Error, ObjectDetails, ObjectInfo, Restore, StorageClass};
use crate::crt::Headers;

/// Reads what the headers of the answer say of an object.
pub(super) fn object_info(headers: &Headers, subject: &Subject) -> Result<ObjectInfo, Error> {
    let wrong = |name: &str| subject.protocol(&format!("the answer has no usable {name}"));
    let tag = headers.get("ETag").ok_or_else(|| wrong("ETag"))?;
    let size = headers.get("Content-Length");
    let size = size.and_then(|text| text.parse().ok());
    let modified = headers.get("Last-Modified").and_then(date);
    let text = |name| headers.get(name).map(str::to_owned);
    let details = ObjectDetails {
        content_type: text("Content-Type"),
        storage_class: text("x-amz-storage-class"),
        version_id: text("x-amz-version-id"),
        metadata: metadata::read(headers),
    };
    Ok(ObjectInfo {
        etag: etag(tag),
        size: size.ok_or_else(|| wrong("Content-Length"))?,
        last_modified: modified.ok_or_else(|| wrong("Last-Modified"))?,
        storage_class: StorageClass::from_name(details.storage_class.as_deref()),
        restore: headers.get("x-amz-restore").map_or(Restore::None, restore),
        details: Some(Arc::new(details)),
    })
}

/// HTTP's dates are RFC 2822's, always in GMT.
fn date(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc2822)
        .ok()
        .map(SystemTime::from)
}

/// As in `ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"`.
fn restore(text: &str) -> Restore {
    if text.contains("ongoing-request=\"true\"") {
        Restore::InProgress
    } else if text.contains("ongoing-request=\"false\"") {
        Restore::Done
    } else {
        Restore::None
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::object_info;
    use crate::s3::classify::{HEAD, Subject};
    use crate::s3::{Error, ErrorKind, ObjectInfo, Restore, StorageClass};

    const HEADERS: [(&str, &str); 3] = [
        ("ETag", "\"e\""),
        ("Content-Length", "18446744073709551615"),
        ("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT"),
    ];

    fn read(headers: &[(&str, &'static str)]) -> Result<ObjectInfo, Error> {
        let headers = headers.iter().rev();
        let headers = headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        object_info(&headers.collect(), &Subject::test(HEAD))
    }

    #[test]
    fn object_info_reads_the_headers() {
        let info = read(&HEADERS).unwrap();
        assert_eq!((&*info.etag.text(), info.size), ("\"e\"", u64::MAX));
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_480);
        assert_eq!(info.last_modified, modified);
        assert_eq!(info.storage_class, StorageClass::Readable);
        assert_eq!(info.restore, Restore::None);
    }

    #[test]
    fn object_info_reads_the_state_of_a_restore() {
        let restore = |text| {
            let headers = [&HEADERS[..], &[("x-amz-restore", text)]].concat();
            read(&headers).unwrap().restore
        };
        assert_eq!(restore("ongoing-request=\"true\""), Restore::InProgress);
        let done = "ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\"";
        assert_eq!(restore(done), Restore::Done);
        assert_eq!(restore("?"), Restore::None);
    }

    #[test]
    fn object_info_without_what_it_needs_is_a_protocol_error() {
        for missing in 0..HEADERS.len() {
            let mut headers = HEADERS.to_vec();
            headers.remove(missing);
            assert_eq!(read(&headers).unwrap_err().kind(), ErrorKind::Protocol);
        }
        for (name, value) in [("Content-Length", "-1"), ("Last-Modified", "today")] {
            let headers = [&HEADERS[..], &[(name, value)]].concat();
            assert_eq!(read(&headers).unwrap_err().kind(), ErrorKind::Protocol);
        }
    }
}
