//! The versions of files whose names are given.

use std::collections::HashMap;
use std::sync::Arc;

use super::File;
use crate::s3::{Error, ErrorKind, Key, ListFrom, ListRequest, ObjectInfo, Store};

/// Finds the newest versions of `keys`, in the order of `keys`; `None` for what is not there, or
/// cannot be read. One request finds all that lie within a page of a listing, and never is more
/// than two requests made for one file.
///
/// # Errors
/// Those of the store.
pub(super) async fn find(
    store: &Arc<dyn Store>,
    keys: &[Key],
    root: &str,
) -> Result<Vec<Option<File>>, Error> {
    let mut wanted: Vec<&Key> = keys.iter().collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut found: HashMap<&Key, File> = HashMap::new();
    let mut rest = wanted.as_slice();
    while let Some((first, others)) = rest.split_first() {
        let request = ListRequest {
            prefix: root.to_owned(),
            delimited: false,
            from: just_before(first),
            max_keys: None,
        };
        let page = store.list(&request).await?;
        let is_ordered = page.objects.is_sorted_by(|a, b| a.key < b.key);
        let last = page.objects.last().map(|object| object.key.as_str());
        let listed: HashMap<&str, &ObjectInfo> = page
            .objects
            .iter()
            .map(|object| (object.key.as_str(), &object.info))
            .collect();
        // What is not on a page that reaches beyond it is not there.
        let is_settled = |key: &Key| {
            let is_passed = last.is_some_and(|last| key.as_str() <= last) || page.next.is_none();
            listed.contains_key(key.as_str()) || (is_ordered && is_passed)
        };
        let settled = rest.iter().take_while(|key| is_settled(key)).count();
        for key in rest.iter().take(settled) {
            if let Some(info) = listed.get(key.as_str()) {
                found.extend(file(key, info).map(|file| (*key, file)));
            }
        }
        rest = if settled == 0 {
            match store.head(first).await {
                Ok(info) => found.extend(file(first, &info).map(|file| (*first, file))),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            others
        } else {
            rest.get(settled..).unwrap_or_default()
        };
    }
    Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
}

fn file(key: &Key, info: &ObjectInfo) -> Option<File> {
    info.is_readable().then(|| File {
        key: key.clone(),
        etag: info.etag.clone(),
        size: info.size,
    })
}

/// A place in a listing that few keys lie between and `key`.
fn just_before(key: &Key) -> ListFrom {
    let mut text = key.as_str().to_owned();
    text.pop();
    if text.is_empty() {
        ListFrom::Start
    } else {
        ListFrom::After(text)
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::super::tests::file;
    use super::*;
    use crate::s3::fake::{FakeStore, Op, Order};

    fn check(store: &FakeStore, wanted: &[&str], present: &[bool]) {
        let keys: Vec<Key> = wanted.iter().map(|key| file(key, 1).key).collect();
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        let found = block_on(find(&shared, &keys, "")).expect("an answer");
        let found: Vec<_> = found.into_iter().map(|file| file.map(|f| f.key)).collect();
        let expected = keys.iter().zip(present);
        let expected: Vec<_> = expected.map(|(key, is)| is.then(|| key.clone())).collect();
        assert_eq!(found, expected);
    }

    fn bucket() -> FakeStore {
        let store = FakeStore::new();
        for i in 0..2500 {
            store.put(&format!("d/{i:04}"), "x");
        }
        store.put("z", "x");
        store
    }

    #[test]
    fn names_in_any_order_are_found_by_few_listings() {
        let store = bucket();
        let wanted = ["z", "d/2400", "d/0007", "d/none", "d/0007", "0", "d/1200"];
        check(
            &store,
            &wanted,
            &[true, true, true, false, true, false, true],
        );
        assert!(store.log().len() <= 6, "{:?}", store.log());
    }

    #[test]
    fn store_in_no_order_is_asked_for_each_name() {
        let store = bucket();
        store.set_order(Order::Scrambled);
        let wanted = ["d/2400", "d/0007", "d/none"];
        check(&store, &wanted, &[true, true, false]);
        assert!(store.count(Op::Head) <= 3);
    }
}
