//! S3's listing: keys in UTF-8 byte order, rolled up at a delimiter, a page at a time.

use std::collections::BTreeMap;
use std::ops::Bound;

/// What to list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) prefix: &'a str,
    /// Empty for none.
    pub(crate) delimiter: &'a str,
    /// Only keys and common prefixes after this one.
    pub(crate) after: &'a str,
    pub(crate) max: usize,
}

/// One page, both lists in order.
#[derive(Debug)]
pub(crate) struct Page<'a, V> {
    pub(crate) objects: Vec<(&'a str, &'a V)>,
    pub(crate) prefixes: Vec<String>,
    /// The last key or common prefix of the page when more follow it.
    pub(crate) next: Option<String>,
}

/// Lists `keys`, whose keys are UTF-8.
pub(crate) fn list<'a, V>(keys: &'a BTreeMap<Box<[u8]>, V>, query: Query<'_>) -> Page<'a, V> {
    let mut page = Page {
        objects: Vec::new(),
        prefixes: Vec::new(),
        next: None,
    };
    let mut last = String::new();
    let prefix = query.prefix.as_bytes();
    let mut begin = if query.after.as_bytes() < prefix {
        Bound::Included(prefix.to_vec())
    } else {
        Bound::Excluded(query.after.as_bytes().to_vec())
    };
    if query.max == 0 {
        return page;
    }
    'range: loop {
        let bounds = (begin.as_ref().map(Vec::as_slice), Bound::Unbounded);
        for (key, value) in keys.range::<[u8], _>(bounds) {
            if !key.starts_with(prefix) {
                return page;
            }
            let name = std::str::from_utf8(key).expect("keys are UTF-8");
            let common = common_prefix(name, query);
            if let Some(common) = common.filter(|common| *common <= query.after) {
                let Some(after) = successor(common) else {
                    return page;
                };
                begin = Bound::Included(after);
                continue 'range;
            }
            if page.objects.len() + page.prefixes.len() == query.max {
                page.next = Some(last);
                return page;
            }
            last = common.unwrap_or(name).to_owned();
            let Some(common) = common else {
                page.objects.push((name, value));
                continue;
            };
            page.prefixes.push(common.to_owned());
            let Some(after) = successor(common) else {
                return page;
            };
            begin = Bound::Included(after);
            continue 'range;
        }
        return page;
    }
}

fn common_prefix<'k>(key: &'k str, query: Query<'_>) -> Option<&'k str> {
    if query.delimiter.is_empty() {
        return None;
    }
    let from = query.prefix.len();
    let at = key[from..].find(query.delimiter)?;
    Some(&key[..from + at + query.delimiter.len()])
}

/// The least byte string after every string that begins with `prefix`.
fn successor(prefix: &str) -> Option<Vec<u8>> {
    let mut bytes = prefix.as_bytes().to_vec();
    let last = bytes.last_mut()?;
    *last = last.checked_add(1)?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// S3's documented rules, one key at a time.
    fn naive(keys: &BTreeMap<Box<[u8]>, ()>, query: Query<'_>) -> Vec<String> {
        let mut entries = std::collections::BTreeSet::new();
        for key in keys.keys() {
            let key = std::str::from_utf8(key).unwrap();
            let Some(rest) = key.strip_prefix(query.prefix) else {
                continue;
            };
            let entry = match rest.split_once(query.delimiter) {
                Some((head, _)) if !query.delimiter.is_empty() => {
                    format!("{}{head}{}", query.prefix, query.delimiter)
                }
                _ => key.to_owned(),
            };
            if entry.as_str() > query.after {
                entries.insert(entry);
            }
        }
        entries.into_iter().collect()
    }

    fn text() -> impl Strategy<Value = String> {
        prop::collection::vec(
            prop::sample::select(vec![
                "a",
                "b",
                "/",
                ".",
                "é",
                "\u{ffff}",
                "\u{10000}",
                "-",
                "0",
                "\u{1}",
            ]),
            0..6,
        )
        .prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn pages_equal_the_naive_listing(
            keys in prop::collection::vec(text(), 0..60),
            prefix in text(),
            after in text(),
            delimiter in prop::sample::select(vec!["", "/", "a", "é", "//"]),
            max in 1_usize..5,
        ) {
            let keys: BTreeMap<Box<[u8]>, ()> =
                keys.into_iter().filter(|k| !k.is_empty()).map(|k| (k.into_bytes().into(), ())).collect();
            for prefix in ["", &prefix] {
                for after in ["", &after] {
                    let query = Query { prefix, delimiter, after, max };
                    let mut listed = Vec::new();
                    let mut from = after.to_owned();
                    loop {
                        let page = list(&keys, Query { after: &from, ..query });
                        let mut entries: Vec<String> =
                            page.objects.iter().map(|(key, ())| (*key).to_owned()).collect();
                        entries.extend(page.prefixes);
                        entries.sort();
                        prop_assert!(entries.len() <= max);
                        listed.extend(entries);
                        let Some(next) = page.next else { break };
                        prop_assert_eq!(Some(&next), listed.last());
                        from = next;
                    }
                    prop_assert_eq!(listed, naive(&keys, query));
                }
            }
        }
    }
}
