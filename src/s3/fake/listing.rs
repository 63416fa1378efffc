//! ListObjectsV2 over a map of objects.

use std::collections::{BTreeMap, BTreeSet};

use super::Object;
use crate::s3::{ListFrom, ListPage, ListRequest, ListedObject, PageToken};

/// The order in which a bucket lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// By the bytes of the keys, as general purpose buckets list.
    Utf8,
    /// In no order that a caller could rely on, as directory buckets list. Still the same order
    /// on every call.
    Scrambled,
}

/// The page that `request` asks for. Objects and common prefixes count alike towards its size.
pub(super) fn page(
    objects: &BTreeMap<String, Object>,
    request: &ListRequest,
    order: Order,
    page_size: usize,
) -> ListPage {
    let asked = request.max_keys.map_or(MAX_PAGE, usize::from);
    let limit = asked.min(page_size).min(MAX_PAGE);
    let place = |text: &str| (rank(order, text), text.to_owned());
    let (first, after) = match &request.from {
        ListFrom::Start => ("", None),
        // Where the order is another one, nobody can say what it would mean.
        ListFrom::After(text) if order == Order::Utf8 => (text.as_str(), None),
        ListFrom::After(_) => ("", None),
        ListFrom::Page(token) => {
            let last = token.as_str().strip_prefix(TOKEN);
            let last = last.expect("the token came from this store");
            // Nothing before it is looked at again.
            let first = if order == Order::Utf8 { last } else { "" };
            (first, Some(place(last)))
        }
    };

    let entries = objects
        .range(request.prefix.as_str().max(first).to_owned()..)
        .map(|(key, _)| key)
        .take_while(|key| key.starts_with(&request.prefix))
        .filter(|key| first.is_empty() || key.as_str() > first)
        .map(|key| place(roll_up(key, request)))
        .filter(|entry| after.as_ref().is_none_or(|after| entry > after));
    let entries: BTreeSet<(u64, String)> = if order == Order::Utf8 {
        first_of(entries, limit + 1)
    } else {
        entries.collect()
    };
    let mut rest = entries.into_iter().map(|(_, text)| text);

    let mut page = ListPage::default();
    let mut last = String::new();
    for text in rest.by_ref().take(limit) {
        last.clone_from(&text);
        if is_common_prefix(&text, request) {
            page.common_prefixes.push(text);
        } else {
            let info = objects[&text].info.clone();
            page.objects.push(ListedObject { key: text, info });
        }
    }
    if rest.next().is_some() {
        page.next = Some(PageToken::new(format!("{TOKEN}{last}")));
    }
    page
}

/// The first `most` different ones of what comes in order.
fn first_of<T: Ord>(entries: impl Iterator<Item = T>, most: usize) -> BTreeSet<T> {
    let mut first = BTreeSet::new();
    for entry in entries {
        if first.len() == most {
            break;
        }
        first.insert(entry);
    }
    first
}

/// The entry that stands for `key`: its common prefix, or the key itself.
fn roll_up<'a>(key: &'a str, request: &ListRequest) -> &'a str {
    if !request.delimited {
        return key;
    }
    let start = request.prefix.len();
    match key[start..].find('/') {
        Some(slash) => &key[..=start + slash],
        None => key,
    }
}

fn is_common_prefix(entry: &str, request: &ListRequest) -> bool {
    request.delimited && entry[request.prefix.len()..].ends_with('/')
}

fn rank(order: Order, text: &str) -> u64 {
    match order {
        Order::Utf8 => 0,
        // FNV-1a: any fixed function that has nothing to do with the order of the bytes.
        Order::Scrambled => text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }),
    }
}

const MAX_PAGE: usize = 1000;
const TOKEN: &str = "after:";
