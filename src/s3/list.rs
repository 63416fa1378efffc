//! ListObjectsV2: checks that a page answers what was asked.

use super::classify::Subject;
use super::xml::list_page;
use super::{Context, Error, ErrorKind, ListPage, ListRequest};

/// Reads the page in `body`, and refuses one that would lead a caller astray or around in circles.
pub(super) fn page(
    body: &[u8],
    request: &ListRequest,
    subject: &Subject,
) -> Result<ListPage, Error> {
    let mut page = list_page(body).map_err(|bad| {
        let context = Context {
            message: Some(bad.to_string()),
            ..subject.context()
        };
        Error::with_source(ErrorKind::Protocol, context, bad)
    })?;
    let prefix = request.prefix.as_str();
    let strange_key = page
        .objects
        .iter()
        .any(|object| object.key.is_empty() || !object.key.starts_with(prefix));
    if strange_key {
        return Err(subject.protocol("the listing has a key that was not asked for"));
    }
    let strange_prefix = page.common_prefixes.iter().any(|group| {
        let rest = group.strip_prefix(prefix);
        !request.delimited || !rest.is_some_and(|rest| rest.ends_with('/'))
    });
    if strange_prefix {
        return Err(subject.protocol("the listing has a prefix that was not asked for"));
    }
    let followed = request.from.follow(&mut page);
    followed.map_err(|endless| subject.protocol(endless.reason()))?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::page;
    use crate::s3::classify::{LIST, Subject};
    use crate::s3::{ErrorKind, ListFrom, ListRequest, PageToken};

    fn kind_of(inner: &str, delimited: bool) -> Result<usize, ErrorKind> {
        let request = ListRequest {
            prefix: "a/".to_owned(),
            delimited,
            from: ListFrom::Page(PageToken::new("here")),
            max_keys: None,
        };
        let body = format!("<ListBucketResult>{inner}</ListBucketResult>");
        page(body.as_bytes(), &request, &Subject::test(LIST))
            .map(|page| page.objects.len() + page.common_prefixes.len())
            .map_err(|error| error.kind())
    }

    #[test]
    fn page_with_what_was_asked_for_is_taken() {
        let group = "<CommonPrefixes><Prefix>a/b/</Prefix></CommonPrefixes>";
        let object = "<Contents><Key>a/</Key><Size>1</Size><ETag>\"e\"</ETag>\
                      <LastModified>2024-01-01T00:00:00Z</LastModified></Contents>";
        assert_eq!(kind_of(&format!("{group}{object}"), true), Ok(2));
        let next = "<NextContinuationToken>on</NextContinuationToken>";
        assert_eq!(kind_of(next, true), Ok(0));
    }

    #[test]
    fn page_with_something_else_is_refused() {
        let group = "<CommonPrefixes><Prefix>a/b/</Prefix></CommonPrefixes>";
        assert_eq!(kind_of(group, false), Err(ErrorKind::Protocol));
        for wrong in ["b/", "a/", "a/b", ""] {
            let group = group.replace("a/b/", wrong);
            assert_eq!(kind_of(&group, true), Err(ErrorKind::Protocol), "{wrong}");
        }
        let object = "<Contents><Key>b/c</Key><Size>1</Size><ETag>\"e\"</ETag>\
                      <LastModified>2024-01-01T00:00:00Z</LastModified></Contents>";
        assert_eq!(kind_of(object, true), Err(ErrorKind::Protocol));
        let again = "<NextContinuationToken>here</NextContinuationToken>";
        assert_eq!(kind_of(again, true), Err(ErrorKind::Protocol));
        assert_eq!(kind_of("<", true), Err(ErrorKind::Protocol));
    }

    #[test]
    fn listing_without_an_end_is_refused() {
        // Two tokens in turn; and new ones, with nothing or always the same behind them.
        let group = "<CommonPrefixes><Prefix>a/b/</Prefix></CommonPrefixes>";
        for (tokens, entries) in [(2, ""), (2, group), (u32::MAX, ""), (u32::MAX, group)] {
            let mut request = ListRequest {
                prefix: "a/".to_owned(),
                delimited: true,
                ..ListRequest::default()
            };
            let end = (0..2000).find_map(|number| {
                let next = number % tokens;
                let body = format!(
                    "<ListBucketResult>{entries}<NextContinuationToken>{next}\
                     </NextContinuationToken></ListBucketResult>"
                );
                match page(body.as_bytes(), &request, &Subject::test(LIST)) {
                    Ok(page) => {
                        request.from = ListFrom::Page(page.next.expect("a token"));
                        None
                    }
                    Err(error) => Some(error.kind()),
                }
            });
            assert_eq!(end, Some(ErrorKind::Protocol), "{tokens} {entries}");
        }
    }
}
