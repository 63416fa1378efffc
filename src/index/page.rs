//! Pages of listings out of an index, as S3 would list it.

use super::order::{after_group, after_key};
use super::{Error, Index};
use crate::s3::{ListFrom, ListPage, ListRequest, PageToken};

/// The page that `request` asks for. A page names the last of its entries as the place where the
/// next one goes on.
pub(super) fn page(index: &Index, request: &ListRequest) -> Result<ListPage, Error> {
    let prefix = request.prefix.as_bytes();
    let limit = usize::from(
        request
            .max_keys
            .unwrap_or(MOST_ENTRIES)
            .clamp(1, MOST_ENTRIES),
    );
    let from = match &request.from {
        ListFrom::Start => Vec::new(),
        ListFrom::After(text) => after_key(text.as_bytes()),
        ListFrom::Page(last) => match group_of(last.as_str().as_bytes(), request) {
            Some(group) => after_group(group),
            None => after_key(last.as_str().as_bytes()),
        },
    };
    let mut cursor = index.seek(prefix.max(&from))?;
    let mut page = ListPage::default();
    let mut last = String::new();
    while let Some(key) = cursor.key()
        && key.starts_with(prefix)
    {
        if page.objects.len() + page.common_prefixes.len() >= limit {
            page.next = Some(PageToken::new(last));
            break;
        }
        let Some(group) = group_of(key, request) else {
            let object = cursor.object()?;
            last.clone_from(&object.key);
            page.objects.push(object);
            cursor.advance()?;
            continue;
        };
        last = String::from_utf8(group.to_vec()).map_err(|_| index.damaged("a key is no text"))?;
        cursor.leave(last.as_bytes())?;
        page.common_prefixes.push(last.clone());
    }
    Ok(page)
}

/// The common prefix that stands for `key` in the listing.
fn group_of<'k>(key: &'k [u8], request: &ListRequest) -> Option<&'k [u8]> {
    let rest = key.strip_prefix(request.prefix.as_bytes())?;
    let slash = rest.iter().position(|byte| *byte == b'/')?;
    request
        .delimited
        .then(|| key.get(..=request.prefix.len() + slash))
        .flatten()
}

/// As many as S3 has in a page.
const MOST_ENTRIES: u16 = 1000;
