//! The newest versions of objects whose keys are given.

use std::collections::HashMap;

use super::{Error, ErrorKind, Key, ListFrom, ListRequest, ObjectInfo, Store};

/// Finds the newest versions of `keys`, which all begin with `root`, in the order of `keys`; `None` for
/// what is not there. One request finds all that lie within a page of a listing, and never are more
/// than two requests made for one object.
///
/// # Errors
/// Those of the store.
///
/// # Cancel safety
/// Dropping the future cancels the request that is under way.
pub async fn find(
    store: &dyn Store,
    keys: &[Key],
    root: &str,
) -> Result<Vec<Option<ObjectInfo>>, Error> {
    let mut wanted: Vec<&Key> = keys.iter().collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut found: HashMap<&Key, ObjectInfo> = HashMap::new();
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
                found.insert(*key, (*info).clone());
            }
        }
        rest = if settled == 0 {
            match store.head(first).await {
                Ok(info) => {
                    found.insert(*first, info);
                }
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

    use super::super::fake::{FakeStore, Order};
    use super::*;

    /// Finds these, and gives the number of requests.
    fn check(store: &FakeStore, wanted: &[&str], present: &[bool]) -> usize {
        let key = |key: &&str| Key::new(*key).expect("valid");
        let keys: Vec<Key> = wanted.iter().map(key).collect();
        let found = block_on(find(store, &keys, "")).expect("an answer");
        let requests = store.log().len();
        let is_found: Vec<_> = found.iter().map(Option::is_some).collect();
        assert_eq!(is_found, present);
        for (key, found) in keys.iter().zip(found) {
            let newest = block_on(store.head(key)).ok();
            assert_eq!(found.map(|info| info.etag), newest.map(|info| info.etag));
        }
        requests
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
        let present = [true, true, true, false, true, false, true];
        let requests = check(&store, &wanted, &present);
        assert!(requests <= 6, "{:?}", store.log());
    }

    #[test]
    fn store_in_no_order_is_asked_for_each_name() {
        let store = bucket();
        store.set_order(Order::Scrambled);
        let wanted = ["d/2400", "d/0007", "d/none"];
        let requests = check(&store, &wanted, &[true, true, false]);
        assert!(requests <= 6, "{:?}", store.log());
    }
}
