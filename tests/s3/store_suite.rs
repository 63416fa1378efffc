//! What every store has to do. Runs over the local server here, and over the fake store in its
//! unit tests.

use std::ops::Range;
use std::sync::Arc;

use futures::executor::block_on;

use super::api::{
    ETag, ErrorKind, GetRequest, InFlight, Key, ListFrom, ListRequest, ListedObject, Restore,
    StorageClass, Store,
};
use super::collector::Collector;

/// A store with a way to fill it beside S3's.
pub(crate) trait Bucket {
    fn store(&self) -> &dyn Store;
    fn put(&self, key: &str, text: &str);
    fn remove(&self, key: &str);
}

/// One that archives objects.
pub(crate) trait Archive: Bucket {
    fn archive(&self, key: &str, text: &str, restore: Restore);
}

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).expect("a key")
}

pub(crate) fn etag(store: &dyn Store, text: &str) -> ETag {
    block_on(store.head(&key(text))).expect("it exists").etag
}

pub(crate) fn request(text: &str, etag: &ETag, range: Range<u64>, window: u64) -> GetRequest {
    GetRequest {
        key: key(text),
        if_match: etag.clone(),
        size: range.end,
        range,
        window,
        is_hedge: false,
    }
}

/// Starts a GET of the object as it is now.
pub(crate) fn start(
    store: &dyn Store,
    text: &str,
    range: Range<u64>,
    window: u64,
) -> (Arc<Collector>, Box<dyn InFlight>) {
    let sink = Collector::new();
    let request = request(text, &etag(store, text), range, window);
    let body = store.get(request, sink.clone()).expect("it starts");
    (sink, body)
}

/// A range of an object, whole.
pub(crate) fn get(store: &dyn Store, text: &str, range: Range<u64>) -> Result<Vec<u8>, ErrorKind> {
    let (sink, _body) = start(store, text, range, u64::MAX);
    sink.wait().map(|()| sink.body())
}

/// All pages of a listing: its objects and its common prefixes.
pub(crate) fn list(
    store: &dyn Store,
    prefix: &str,
    delimited: bool,
    max_keys: Option<u16>,
) -> (Vec<String>, Vec<String>) {
    let mut request = ListRequest {
        prefix: prefix.to_owned(),
        delimited,
        from: ListFrom::Start,
        max_keys,
    };
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    loop {
        let page = block_on(store.list(&request)).expect("a page");
        if let Some(max_keys) = max_keys {
            let entries = page.objects.len() + page.common_prefixes.len();
            assert!(entries <= usize::from(max_keys), "too many on a page");
        }
        objects.extend(page.objects.into_iter().map(|object| object.key));
        prefixes.extend(page.common_prefixes);
        match page.next {
            Some(next) => request.from = ListFrom::Page(next),
            None => return (objects, prefixes),
        }
    }
}

/// Runs all of it over an empty bucket.
pub(crate) fn run(bucket: &dyn Archive) {
    run_without_archive(bucket);
    list_and_head_agree_on_the_archive(bucket);
    get_of_an_archived_object_is_refused(bucket);
}

/// Runs what needs no archive over an empty bucket.
pub(crate) fn run_without_archive(bucket: &dyn Bucket) {
    list_is_in_byte_order_and_rolls_up(bucket);
    list_pages_have_every_entry_once(bucket);
    list_begins_after_a_text(bucket);
    list_gives_hostile_keys_back(bucket);
    list_and_head_agree(bucket);
    head_of_nothing_is_not_found(bucket);
    get_ranges_are_exact(bucket);
    get_of_another_version_is_a_failed_precondition(bucket);
}

fn list_is_in_byte_order_and_rolls_up(bucket: &dyn Bucket) {
    let keys = [
        "é/x",
        "z//y",
        "a",
        "d/",
        "a/c",
        "a-b",
        "a/b",
        "\u{10000}",
        "\u{ffee}",
    ];
    for key in keys {
        bucket.put(&format!("order/{key}"), "");
    }
    let all = list(bucket.store(), "order/", true, None);
    let expected = ["a", "a-b", "\u{ffee}", "\u{10000}"].map(|key| format!("order/{key}"));
    assert_eq!(all.0, expected);
    let expected = ["a/", "d/", "z/", "é/"].map(|key| format!("order/{key}"));
    assert_eq!(all.1, expected);
    let flat = list(bucket.store(), "order/", false, None);
    let mut expected = keys.map(|key| format!("order/{key}"));
    expected.sort_unstable();
    assert_eq!(flat, (expected.to_vec(), Vec::new()));
    let marker = list(bucket.store(), "order/d/", true, None);
    assert_eq!(marker, (vec!["order/d/".to_owned()], Vec::new()));
    let slashes = list(bucket.store(), "order/z/", true, None);
    assert_eq!(slashes, (Vec::new(), vec!["order/z//".to_owned()]));
    let none = list(bucket.store(), "nowhere/", true, None);
    assert_eq!(none, (Vec::new(), Vec::new()));
}

fn list_pages_have_every_entry_once(bucket: &dyn Bucket) {
    for number in 0..10 {
        bucket.put(&format!("pages/{number}"), "");
        bucket.put(&format!("pages/{number}/x"), "");
    }
    let whole = list(bucket.store(), "pages/", true, None);
    assert_eq!((whole.0.len(), whole.1.len()), (10, 10));
    for max_keys in [1, 3, 7] {
        assert_eq!(list(bucket.store(), "pages/", true, Some(max_keys)), whole);
    }
}

fn list_begins_after_a_text(bucket: &dyn Bucket) {
    for key in ["a", "b", "b-c", "b/x", "c"] {
        bucket.put(&format!("after/{key}"), "");
    }
    for (after, objects, prefixes) in [
        ("after/", vec!["a", "b", "b-c", "c"], vec!["b/"]),
        ("after/b", vec!["b-c", "c"], vec!["b/"]),
        ("after/b-", vec!["b-c", "c"], vec!["b/"]),
        ("after/bb", vec!["c"], vec![]),
        ("after/c", vec![], vec![]),
    ] {
        let request = ListRequest {
            prefix: "after/".to_owned(),
            delimited: true,
            from: ListFrom::After(after.to_owned()),
            max_keys: None,
        };
        let page = block_on(bucket.store().list(&request)).expect("a page");
        let found: Vec<_> = page.objects.iter().map(|object| &object.key).collect();
        let expected: Vec<_> = objects.iter().map(|name| format!("after/{name}")).collect();
        assert!(found.iter().copied().eq(&expected), "{after}: {found:?}");
        let expected: Vec<_> = prefixes
            .iter()
            .map(|name| format!("after/{name}"))
            .collect();
        assert_eq!(page.common_prefixes, expected, "{after}");
    }
}

fn list_gives_hostile_keys_back(bucket: &dyn Bucket) {
    let mut keys = HOSTILE.map(|key| format!("hostile/{key}")).to_vec();
    for key in &keys {
        bucket.put(key, key);
    }
    keys.sort_unstable();
    let listed = list(bucket.store(), "hostile/", false, Some(4)).0;
    assert_eq!(listed, keys);
    for key in &keys {
        let length = key.len() as u64;
        let body = get(bucket.store(), key, 0..length);
        assert_eq!(body.as_deref(), Ok(key.as_bytes()), "{key:?}");
    }
}

fn list_and_head_agree(bucket: &dyn Bucket) {
    bucket.put("agree/k", "12345");
    bucket.put("agree/none", "");
    for (object, size) in listed_as_head_says(bucket, "agree/").iter().zip([5, 0]) {
        assert_eq!(object.info.size, size);
        assert!(object.info.is_readable());
    }
}

fn list_and_head_agree_on_the_archive(bucket: &dyn Archive) {
    bucket.put("archive/k", "12345");
    bucket.archive("archive/old", "12345", Restore::InProgress);
    bucket.archive("archive/back", "12345", Restore::Done);
    let listed = listed_as_head_says(bucket, "archive/");
    assert_eq!(listed.len(), 3);
    for ListedObject { key, info } in listed {
        let class = if key == "archive/k" {
            StorageClass::Readable
        } else {
            StorageClass::Archived
        };
        assert_eq!(info.storage_class, class);
        assert_eq!(info.is_readable(), key != "archive/old");
    }
}

/// The objects of a listing, of each of which HEAD says the same.
fn listed_as_head_says(bucket: &dyn Bucket, prefix: &str) -> Vec<ListedObject> {
    let request = ListRequest {
        prefix: prefix.to_owned(),
        ..ListRequest::default()
    };
    let objects = block_on(bucket.store().list(&request))
        .expect("a page")
        .objects;
    for object in &objects {
        let info = block_on(bucket.store().head(&key(&object.key))).expect("it exists");
        assert_eq!(info.size, object.info.size);
        assert_eq!(info.etag, object.info.etag);
        assert_eq!(info.storage_class, object.info.storage_class);
        assert_eq!(info.restore, object.info.restore, "{}", object.key);
    }
    objects
}

fn head_of_nothing_is_not_found(bucket: &dyn Bucket) {
    let error = block_on(bucket.store().head(&key("nothing"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.context().key, "nothing");
    assert_eq!(error.context().operation, "HeadObject");
    bucket.put("there", "");
    bucket.remove("there");
    let error = block_on(bucket.store().head(&key("there"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

fn get_ranges_are_exact(bucket: &dyn Bucket) {
    let text: String = ('!'..='~').cycle().take(1000).collect();
    bucket.put("ranges", &text);
    for range in [0..1000, 0..1, 999..1000, 1..999, 500..501] {
        let indices = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        let body = get(bucket.store(), "ranges", range);
        assert_eq!(body.as_deref(), Ok(&text.as_bytes()[indices]));
    }
}

fn get_of_another_version_is_a_failed_precondition(bucket: &dyn Bucket) {
    bucket.put("replaced", "old");
    let old = etag(bucket.store(), "replaced");
    bucket.put("replaced", "new");
    assert_ne!(old, etag(bucket.store(), "replaced"));
    let end = |etag| {
        let sink = Collector::new();
        let request = request("replaced", etag, 0..3, u64::MAX);
        let _body = bucket
            .store()
            .get(request, sink.clone())
            .expect("it starts");
        let result = sink.wait();
        assert_eq!(sink.received(), 0);
        result
    };
    assert_eq!(end(&old), Err(ErrorKind::Precondition));
    bucket.remove("replaced");
    assert_eq!(end(&old), Err(ErrorKind::NotFound));
}

fn get_of_an_archived_object_is_refused(bucket: &dyn Archive) {
    bucket.archive("archived", "cold", Restore::None);
    assert_eq!(
        get(bucket.store(), "archived", 0..4),
        Err(ErrorKind::Archived)
    );
    bucket.archive("archived", "cold", Restore::Done);
    let body = get(bucket.store(), "archived", 0..4);
    assert_eq!(body.as_deref(), Ok(&b"cold"[..]));
}

/// Without `NUL` and control characters: XML cannot hold them, encoded or not, in every store.
const HOSTILE: [&str; 18] = [
    " ",
    "a b",
    "+",
    "a+b%20c%2B",
    "%",
    "%2F",
    "&amp;<>\"'",
    "?x=y#z",
    "..",
    "../x",
    "./x",
    "//",
    "é",
    "日本語",
    "\u{1f600}",
    "a\u{300}",
    "=&;:@$,!*()~",
    "\\back\\",
];
