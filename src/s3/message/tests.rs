use percent_encoding::percent_decode_str;
use proptest::prelude::*;

use super::{Common, Draft};
use crate::s3::{ETag, Key, ListFrom, ListRequest, PageToken};

fn common() -> Common {
    Common {
        user_agent: "mount-s3/1".to_owned(),
        has_archive: true,
        has_order: true,
        ..Common::default()
    }
}

fn header<'a>(draft: &'a Draft, name: &str) -> Option<&'a str> {
    let mut found = draft.headers.iter().filter(|(other, _)| *other == name);
    let value = found.next().map(|(_, value)| value.as_str());
    assert!(found.next().is_none(), "{name} twice");
    value
}

#[test]
fn head_encodes_all_of_a_key_but_slashes() {
    let key = Key::new("a b/+&=?#%/../ü\n~.x//").unwrap();
    let draft = common().head(&key);
    assert_eq!(draft.method, "HEAD");
    let path = "/a%20b/%2B%26%3D%3F%23%25/../%C3%BC%0A~.x//";
    assert_eq!(draft.path_and_query, path);
    let headers = [("User-Agent".into(), "mount-s3/1".to_owned())];
    assert_eq!(draft.headers, headers);
}

#[test]
fn get_asks_for_an_inclusive_range_of_one_version() {
    let common = Common {
        path: "/bkt".to_owned(),
        requester_pays: true,
        expected_bucket_owner: Some("123456789012".to_owned()),
        ..common()
    };
    let draft = common.get(&Key::new("k").unwrap(), &(5..10), &ETag::new("\"e\""));
    assert_eq!(
        (draft.method, draft.path_and_query.as_str()),
        ("GET", "/bkt/k")
    );
    assert_eq!(header(&draft, "Range"), Some("bytes=5-9"));
    assert_eq!(header(&draft, "If-Match"), Some("\"e\""));
    assert_eq!(header(&draft, "x-amz-request-payer"), Some("requester"));
    let owner = header(&draft, "x-amz-expected-bucket-owner");
    assert_eq!(owner, Some("123456789012"));
}

#[test]
fn list_has_only_the_parameters_it_needs() {
    let draft = common().list(&ListRequest::default());
    assert_eq!(draft.path_and_query, "/?list-type=2&encoding-type=url");
    let attributes = header(&draft, "x-amz-optional-object-attributes");
    assert_eq!(attributes, Some("RestoreStatus"));
    let directory = Common {
        has_archive: false,
        has_order: false,
        ..common()
    };
    let draft = directory.list(&ListRequest {
        from: ListFrom::After("k".to_owned()),
        ..ListRequest::default()
    });
    assert_eq!(draft.path_and_query, "/?list-type=2&encoding-type=url");
    assert_eq!(header(&draft, "x-amz-optional-object-attributes"), None);
    let draft = common().list(&ListRequest {
        prefix: "a b/&".to_owned(),
        delimited: true,
        from: ListFrom::Page(PageToken::new("1+/=")),
        max_keys: Some(1),
    });
    let expected = "/?list-type=2&encoding-type=url&delimiter=%2F&max-keys=1\
                    &prefix=a%20b%2F%26&continuation-token=1%2B%2F%3D";
    assert_eq!(draft.path_and_query, expected);
    let draft = common().list(&ListRequest {
        from: ListFrom::After("a b/ü&".to_owned()),
        ..ListRequest::default()
    });
    let expected = "/?list-type=2&encoding-type=url&start-after=a%20b%2F%C3%BC%26";
    assert_eq!(draft.path_and_query, expected);
}

proptest! {
    #[test]
    fn prop_object_path_is_clean_and_decodes_to_the_key(text in "\\PC{1,40}|[\\x00-\\x7f]{1,40}") {
        let draft = common().head(&Key::new(text.as_str()).unwrap());
        let path = draft.path_and_query.strip_prefix('/').unwrap();
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%/".contains(&byte);
        prop_assert!(path.bytes().all(unreserved));
        prop_assert_eq!(percent_decode_str(path).decode_utf8().unwrap(), text);
    }
}
