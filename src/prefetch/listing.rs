//! The order of a listing, page by page. No I/O here.

use super::File;
use super::order::{Order, State};
use crate::s3::{Key, ListFrom, ListPage, ListRequest, ObjectInfo};

/// What is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// The files in a directory, whose keys start with this.
    Directory(String),
    /// All files below a directory.
    Below(String),
}

impl Scope {
    /// Whether the object `key` is in it.
    pub(super) fn covers(&self, key: &Key) -> bool {
        match self {
            Self::Directory(prefix) => {
                let rest = key.as_str().strip_prefix(&**prefix);
                rest.is_some_and(|name| !name.contains('/'))
            }
            Self::Below(prefix) => key.as_str().starts_with(&**prefix),
        }
    }
}

/// A listing that goes on as it is needed.
#[derive(Debug)]
pub(super) struct Listing {
    scope: Scope,
    /// Where the next page begins; `None` after the last one.
    next: Option<ListFrom>,
    under_way: bool,
    pages: u64,
}

impl Listing {
    /// A listing of `scope` that begins at `from`.
    pub(super) fn new(scope: Scope, from: ListFrom) -> Self {
        Self {
            scope,
            next: Some(from),
            under_way: false,
            pages: 0,
        }
    }

    /// What is listed.
    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Pages that have come.
    pub(super) fn pages(&self) -> u64 {
        self.pages
    }

    /// Whether a page is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// The request for the next page, if there is one and none is under way.
    pub(super) fn request(&mut self) -> Option<ListRequest> {
        let from = self.next.clone().filter(|_| !self.under_way)?;
        self.under_way = true;
        let (Scope::Directory(prefix) | Scope::Below(prefix)) = &self.scope;
        Some(ListRequest {
            prefix: prefix.clone(),
            delimited: matches!(self.scope, Scope::Directory(_)),
            from,
            max_keys: None,
        })
    }

    /// Adds the files of the next page to `order`, in the `state` that is known by key and size. What
    /// cannot be read is skipped.
    pub(super) fn absorb(
        &mut self,
        page: ListPage,
        order: &mut Order,
        state: impl Fn(&Key, u64) -> State,
    ) {
        self.under_way = false;
        self.pages += 1;
        self.next = page.next.map(ListFrom::Page);
        for object in page.objects {
            let is_readable = object.info.is_readable();
            let ObjectInfo { etag, size, .. } = object.info;
            if let Ok(key) = Key::new(object.key)
                && self.scope.covers(&key)
            {
                let state = if is_readable {
                    state(&key, size)
                } else {
                    State::Skipped
                };
                order.push(File { key, etag, size }, state);
            }
        }
    }

    /// Ends the listing.
    pub(super) fn end(&mut self) {
        self.under_way = false;
        self.next = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{names, page};
    use super::*;
    use crate::s3::PageToken;

    const UNREAD: fn(&Key, u64) -> State = |_, _| State::Unread;

    #[test]
    fn pages_follow_each_other_and_end() {
        let scope = Scope::Directory("d/".to_owned());
        let mut listing = Listing::new(scope, ListFrom::After("d/a".to_owned()));
        let mut order = Order::default();
        let request = listing.request().expect("a first page");
        assert_eq!(request.from, ListFrom::After("d/a".to_owned()));
        assert!(request.delimited && request.prefix == "d/");
        assert_eq!(listing.request(), None, "one at a time");
        listing.absorb(page(&["d/b", "d/c"], Some("2")), &mut order, UNREAD);
        let request = listing.request().expect("a second page");
        assert_eq!(request.from, ListFrom::Page(PageToken::new("2")));
        listing.absorb(page(&["d/", "d/x/y", "e", "d/e"], None), &mut order, UNREAD);
        assert_eq!(listing.request(), None);
        assert_eq!(names(&order), ["d/b", "d/c", "d/", "d/e"]);
    }

    #[test]
    fn files_that_are_skipped_have_their_places() {
        let mut listing = Listing::new(Scope::Below(String::new()), ListFrom::Start);
        let mut order = Order::default();
        _ = listing.request();
        listing.absorb(page(&["a"], None), &mut order, |_, _| State::Skipped);
        assert_eq!((order.len(), order.unread()), (1, 0));
    }
}
