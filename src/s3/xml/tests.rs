use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::{Answered, BadDocument, ErrorBody, answer, copied_part, error_body, etag, list_page};
use crate::s3::{PageToken, Restore, StorageClass};

const PAGE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
  <Name>bucket</Name>
  <Prefix>a%2F</Prefix>
  <KeyCount>3</KeyCount>
  <MaxKeys>1000</MaxKeys>
  <Delimiter>/</Delimiter>
  <EncodingType>url</EncodingType>
  <IsTruncated>true</IsTruncated>
  <NextContinuationToken>1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=&amp;</NextContinuationToken>
  <Contents>
    <Key>a/b+c%2B%26%0A%C3%BC</Key>
    <LastModified>2009-10-12T17:50:30.000Z</LastModified>
    <ETag>&quot;fba9dede5f27731c9771645a39863328&quot;</ETag>
    <ChecksumAlgorithm>CRC32C</ChecksumAlgorithm>
    <ChecksumAlgorithm>SHA256</ChecksumAlgorithm>
    <Owner><ID>75aa57f09aa0c8ca</ID><DisplayName>x</DisplayName></Owner>
    <Size>434234</Size>
    <StorageClass>STANDARD</StorageClass>
  </Contents>
  <CommonPrefixes><Prefix>a/photos/</Prefix></CommonPrefixes>
  <Contents>
    <Key>a/z</Key><LastModified>2024-02-29T00:00:00+01:00</LastModified><ETag>plain</ETag>
    <Size>0</Size><StorageClass>GLACIER</StorageClass>
    <RestoreStatus>
      <IsRestoreInProgress>false</IsRestoreInProgress>
      <RestoreExpiryDate>2030-12-12T00:00:00.000Z</RestoreExpiryDate>
    </RestoreStatus>
  </Contents>
  <CommonPrefixes><Prefix>a/v+w/</Prefix></CommonPrefixes>
</ListBucketResult>"#;

fn contents(key: &str) -> String {
    format!(
        "<Contents><Key>{key}</Key><Size>1</Size><ETag>\"e\"</ETag>\
         <LastModified>2024-01-01T00:00:00Z</LastModified></Contents>"
    )
}

fn page_of(inner: &str) -> Result<crate::s3::ListPage, BadDocument> {
    list_page(format!("<ListBucketResult>{inner}</ListBucketResult>").as_bytes())
}

#[test]
fn list_page_reads_entries_in_any_order() {
    let page = list_page(PAGE.as_bytes()).unwrap();
    assert_eq!(page.common_prefixes, ["a/photos/", "a/v w/"]);
    let token = "1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=&";
    assert_eq!(page.next.as_ref().map(PageToken::as_str), Some(token));
    let [first, second] = &page.objects[..] else {
        panic!("two objects");
    };
    assert_eq!(first.key, "a/b c+&\nü");
    assert_eq!(
        first.info.etag.text(),
        "\"fba9dede5f27731c9771645a39863328\""
    );
    assert_eq!(first.info.size, 434_234);
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_255_369_830);
    assert_eq!(first.info.last_modified, modified);
    assert_eq!(first.info.storage_class, StorageClass::Readable);
    assert_eq!(second.key, "a/z");
    assert_eq!(second.info.etag, etag("\"plain\""));
    assert_eq!(second.info.storage_class, StorageClass::Archived);
    assert_eq!(second.info.restore, Restore::Done);
}

#[test]
fn list_page_keeps_keys_as_they_are_without_url_encoding() {
    let page = page_of(&contents(" a+b%20&amp;\u{a0}&#x41; ")).unwrap();
    assert_eq!(page.objects[0].key, " a+b%20&\u{a0}A ");
}

#[test]
fn list_page_takes_the_token_only_when_more_follows() {
    let next = |inner: &str| page_of(inner).unwrap().next;
    let token = "<NextContinuationToken>t</NextContinuationToken>";
    assert_eq!(next(""), None);
    assert_eq!(next("<IsTruncated>false</IsTruncated>"), None);
    assert_eq!(
        next(&format!("<IsTruncated>false</IsTruncated>{token}")),
        None
    );
    assert_eq!(next(token).as_ref().map(PageToken::as_str), Some("t"));
    let endless = page_of("<IsTruncated>true</IsTruncated>");
    assert!(matches!(endless, Err(BadDocument::NoToken)));
}

#[test]
fn list_page_reads_every_state_of_a_restore() {
    let restore = |inner: &str| {
        let status = format!("<RestoreStatus>{inner}</RestoreStatus></Contents>");
        let entry = contents("k").replace("</Contents>", &status);
        page_of(&entry).unwrap().objects[0].info.restore
    };
    assert_eq!(restore(""), Restore::None);
    let under_way = "<IsRestoreInProgress>true</IsRestoreInProgress>";
    assert_eq!(restore(under_way), Restore::InProgress);
    let done = "<RestoreExpiryDate>2030-01-01T00:00:00Z</RestoreExpiryDate>";
    assert_eq!(restore(done), Restore::Done);
}

#[test]
fn list_page_refuses_what_is_no_listing() {
    for document in [
        "",
        "plain text",
        "<html><body>Sign in</body></html>",
        "<ListBucketResult>",
        "<ListBucketResult><Contents></ListBucketResult>",
        "<ListBucketResult><IsTruncated>maybe</IsTruncated></ListBucketResult>",
    ] {
        let refused = list_page(document.as_bytes());
        assert!(
            matches!(refused, Err(BadDocument::Xml(_))),
            "{document}: {refused:?}"
        );
    }
    let refused = list_page(b"<Error><Code>SlowDown</Code></Error>");
    assert!(matches!(refused, Err(BadDocument::NotExpected)));
    assert!(matches!(
        list_page(b"<a>\xff</a>"),
        Err(BadDocument::Utf8(_))
    ));
}

#[test]
fn copied_part_has_an_etag_and_perhaps_a_checksum() {
    let read = |inside: &str| {
        let document = format!("<CopyPartResult>{inside}</CopyPartResult>");
        copied_part(document.as_bytes())
    };
    let plain = read("<Other/><ETag>&quot;e&quot;</ETag>").unwrap();
    assert_eq!((&*plain.etag, plain.checksum), ("\"e\"", None));
    let summed = read("<ETag>e</ETag><ChecksumCRC32C>AAAAAA==</ChecksumCRC32C>").unwrap();
    let checksum = summed.checksum.expect("a checksum");
    assert_eq!(checksum.value, "AAAAAA==");
    assert_eq!(checksum.element, "ChecksumCRC32C");
    for nothing in ["", "<ETag/>", "<ETag></ETag>"] {
        assert!(matches!(read(nothing), Err(BadDocument::NoAnswer)));
    }
    let other = copied_part(b"<CopyObjectResult><ETag>e</ETag></CopyObjectResult>");
    assert!(matches!(other, Err(BadDocument::NotExpected)));
}

#[test]
fn answer_reads_the_one_thing_wanted() {
    let namespace = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";
    let created = format!(
        "<InitiateMultipartUploadResult {namespace}><Bucket>b</Bucket><Key>k</Key>\
         <UploadId>i&amp;d</UploadId></InitiateMultipartUploadResult>"
    );
    let read = answer(created.as_bytes(), Answered::UploadId).unwrap();
    assert_eq!(read, "i&d");
    for (root, wanted) in [
        ("CompleteMultipartUploadResult", Answered::ObjectETag),
        ("CopyObjectResult", Answered::CopyETag),
    ] {
        let made = format!("<{root} {namespace}><Other/><ETag>&quot;e&quot;</ETag></{root}>");
        assert_eq!(answer(made.as_bytes(), wanted).unwrap(), "\"e\"");
        let refused = answer(created.as_bytes(), wanted);
        assert!(matches!(refused, Err(BadDocument::NotExpected)));
        let refused = answer(made.as_bytes(), Answered::UploadId);
        assert!(matches!(refused, Err(BadDocument::NotExpected)));
        for nothing in ["", "<ETag/>", "<ETag></ETag>"] {
            let document = format!("<{root}>{nothing}</{root}>");
            let refused = answer(document.as_bytes(), wanted);
            assert!(matches!(refused, Err(BadDocument::NoAnswer)), "{document}");
        }
    }
}

#[test]
fn list_page_refuses_incomplete_entries() {
    for (element, name) in [
        ("<Key>k</Key>", "Key"),
        ("<Size>1</Size>", "Size"),
        ("<ETag>\"e\"</ETag>", "ETag"),
        (
            "<LastModified>2024-01-01T00:00:00Z</LastModified>",
            "LastModified",
        ),
    ] {
        let refused = page_of(&contents("k").replace(element, ""));
        assert!(matches!(refused, Err(BadDocument::Missing(missing)) if missing == name));
    }
    let negative = page_of(&contents("k").replace("<Size>1", "<Size>-1"));
    assert!(matches!(negative, Err(BadDocument::Xml(_))));
    let undated = page_of(&contents("k").replace("2024-01-01T", "yesterday"));
    assert!(matches!(undated, Err(BadDocument::Date)));
    let encoded = format!("<EncodingType>url</EncodingType>{}", contents("%FF"));
    assert!(matches!(page_of(&encoded), Err(BadDocument::Key)));
}

#[test]
fn error_body_reads_what_is_there() {
    let document = b"<?xml version=\"1.0\"?>\n<Error>\n <Code>PermanentRedirect</Code>\
        <Message>Use &lt;it&gt;</Message><Endpoint>x</Endpoint><Region>eu-west-1</Region>\
        <RequestId>4442587FB7D0A2F9</RequestId><HostId>h</HostId></Error>";
    let expected = ErrorBody {
        code: Some("PermanentRedirect".to_owned()),
        message: Some("Use <it>".to_owned()),
        request_id: Some("4442587FB7D0A2F9".to_owned()),
        region: Some("eu-west-1".to_owned()),
    };
    assert_eq!(error_body(document), expected);
}

#[test]
fn error_body_of_anything_else_is_empty() {
    for document in ["", "<html/>", "503 Service Unavailable", "<Error><Code>"] {
        assert_eq!(error_body(document.as_bytes()), ErrorBody::default());
    }
}

proptest! {
    #[test]
    fn prop_random_bytes_never_panic(document in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(list_page(&document).is_err());
        prop_assert_eq!(error_body(&document), ErrorBody::default());
        prop_assert!(answer(&document, Answered::UploadId).is_err());
    }

    #[test]
    fn prop_mutated_documents_never_panic(
        at in 0..PAGE.len(), len in 0usize..40, with in "[<>/&;a-zA-Z0-9\"!\\[\\]%+-]{0,10}",
    ) {
        let mut document = PAGE.as_bytes().to_vec();
        let end = (at + len).min(document.len());
        document.splice(at..end, with.bytes());
        // Either outcome is right, depending on what was hit.
        let _outcome = list_page(&document);
        let _outcome = error_body(&document);
    }

    #[test]
    fn prop_truncated_documents_are_refused(end in 0..PAGE.len()) {
        let end = (0..=end).rev().find(|end| PAGE.is_char_boundary(*end)).unwrap();
        prop_assert!(list_page(&PAGE.as_bytes()[..end]).is_err());
    }

    #[test]
    fn prop_encoded_keys_come_back(key in "\\PC{1,30}|[\\x00-\\x7f]{1,30}") {
        let encoded: String = percent_encoding::percent_encode(
            key.as_bytes(), percent_encoding::NON_ALPHANUMERIC,
        ).to_string().replace("%20", "+");
        let document = format!("<EncodingType>url</EncodingType>{}", contents(&encoded));
        prop_assert_eq!(&page_of(&document).unwrap().objects[0].key, &key);
    }
}
