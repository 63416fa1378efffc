//! Which objects are meant: by a URI, a list, or both.

use std::path::{Path, PathBuf};

use super::stop::Stop;
use crate::cli::exit::Failure;
use crate::cli::lines::read_lines;
use crate::cli::values::ObjectsUri;
use crate::index::crawl;
use crate::s3::{BucketName, Key, ListedObject, Prefix, Store};

/// Objects of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) bucket: BucketName,
    /// All of them begin with this.
    pub(super) root: Prefix,
    pub(super) objects: Objects,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Objects {
    /// All that begin with the root.
    All,
    /// These, and where they are named.
    Named(Vec<(Origin, Key)>),
}

/// Where a key is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// On the command line.
    Typed,
    /// In this line of the list.
    Line(PathBuf, usize),
}

impl Selection {
    /// What `source` and the file `list` name, of which one is there.
    ///
    /// # Errors
    /// The list cannot be read, or names what cannot be meant.
    pub(super) fn read(source: Option<ObjectsUri>, list: Option<&Path>) -> Result<Self, Failure> {
        match (source, list) {
            (Some(ObjectsUri::Below(bucket, root)), None) => Ok(Self {
                bucket,
                root,
                objects: Objects::All,
            }),
            (Some(ObjectsUri::One(bucket, key)), None) => Ok(Self {
                bucket,
                root: common_root(std::iter::once(key.as_str())),
                objects: Objects::Named(vec![(Origin::Typed, key)]),
            }),
            (Some(ObjectsUri::Below(bucket, root)), Some(list)) => {
                Self::of_list(list, Some(bucket), Some(root))
            }
            (Some(ObjectsUri::One(..)), Some(_)) => {
                let failure =
                    Failure::new("a list has the keys behind a prefix, which ends in '/'");
                Err(failure
                    .with_remedy("end S3_URI in '/', or leave it out and list s3://bucket/key"))
            }
            (None, Some(list)) => Self::of_list(list, None, None),
            (None, None) => Err(Failure::new("no objects are named")),
        }
    }

    fn of_list(
        list: &Path,
        mut bucket: Option<BucketName>,
        root: Option<Prefix>,
    ) -> Result<Self, Failure> {
        let lines = read_lines(list, usize::MAX, |line| {
            if !line.starts_with("s3://") {
                let root = root
                    .as_ref()
                    .ok_or("must be s3://bucket/key without S3_URI")?;
                let key = format!("{}{line}", root.as_str());
                return Key::new(key).map_err(|error| format!("{line}: {error}"));
            }
            let ObjectsUri::One(its, key) = ObjectsUri::parse(line)? else {
                return Err(format!("{line} is no object: a key does not end in '/'"));
            };
            let known = bucket.get_or_insert_with(|| its.clone());
            if *known != its {
                return Err(format!(
                    "{line} is not in s3://{known}/: list one bucket at a time"
                ));
            }
            match &root {
                Some(root) if !key.as_str().starts_with(root.as_str()) => Err(format!(
                    "{line} does not begin with s3://{its}/{}",
                    root.as_str()
                )),
                _ => Ok(key),
            }
        })?;
        let Some(bucket) = bucket.filter(|_| !lines.is_empty()) else {
            return Err(Failure::new(format!("{} names no object", list.display())));
        };
        let named = |(number, key)| (Origin::Line(list.to_owned(), number), key);
        let named: Vec<(Origin, Key)> = lines.into_iter().map(named).collect();
        Ok(Self {
            bucket,
            root: common_root(named.iter().map(|(_, key)| key.as_str())),
            objects: Objects::Named(named),
        })
    }

    /// All objects of the bucket that begin with the root, in the order of their keys; `None` when a
    /// signal ends it.
    ///
    /// # Errors
    /// They cannot be listed.
    pub(super) async fn list(
        &self,
        store: &dyn Store,
        stop: &mut Stop,
        page: &mut dyn FnMut(usize),
    ) -> Result<Option<Vec<ListedObject>>, Failure> {
        let mut found = Vec::new();
        let mut take = |objects: Vec<ListedObject>| {
            page(objects.len());
            found.extend(objects);
            Ok(())
        };
        let listing = crawl(store, self.root.as_str(), &mut take);
        let Some(listed) = stop.or_stop(listing).await else {
            return Ok(None);
        };
        listed.map_err(|error| Failure::new("Failed to list the bucket").caused_by(&error))?;
        found.sort_unstable_by(|one, two| one.key.cmp(&two.key));
        // Some may come twice.
        found.dedup_by(|one, two| one.key == two.key);
        Ok(Some(found))
    }
}

/// The longest text that ends in '/' and that all keys begin with.
fn common_root<'a>(mut keys: impl Iterator<Item = &'a str>) -> Prefix {
    let directory = |key: &str| key.rfind('/').map_or(0, |end| end + 1);
    let first = keys.next().unwrap_or_default();
    let mut root = &first[..directory(first)];
    for key in keys {
        while !key.starts_with(root) {
            // Without its last '/'.
            let above = root.strip_suffix('/').unwrap_or_default();
            root = &root[..directory(above)];
        }
    }
    Prefix::new(root).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(source: Option<&str>, list: Option<&str>) -> Result<Selection, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("list");
        fs::write(&path, list.unwrap_or_default()).expect("written");
        let source = source.map(|text| ObjectsUri::parse(text).expect("valid"));
        let path = list.map(|_| path.as_path());
        Selection::read(source, path).map_err(|failure| failure.to_string())
    }

    fn keys(selection: &Selection) -> Vec<&str> {
        match &selection.objects {
            Objects::All => vec!["*"],
            Objects::Named(named) => named.iter().map(|(_, key)| key.as_str()).collect(),
        }
    }

    #[test]
    fn objects_are_named_by_uri_or_list_or_both() {
        for (source, list, root, expected) in [
            (Some("s3://bucket"), None, "", vec!["*"]),
            (Some("s3://bucket/a/"), None, "a/", vec!["*"]),
            (Some("s3://bucket/a/b/c"), None, "a/b/", vec!["a/b/c"]),
            (Some("s3://bucket/c"), None, "", vec!["c"]),
            (
                Some("s3://bucket/a/"),
                Some("b/1\n\nb/2\ns3://bucket/a/b/3"),
                "a/b/",
                vec!["a/b/1", "a/b/2", "a/b/3"],
            ),
            (
                None,
                Some("s3://bucket/x/y/1\ns3://bucket/x/z\n"),
                "x/",
                vec!["x/y/1", "x/z"],
            ),
            (
                None,
                Some("s3://bucket/xy/1\ns3://bucket/x/1"),
                "",
                vec!["xy/1", "x/1"],
            ),
        ] {
            let selection = read(source, list).expect("valid");
            assert_eq!(selection.bucket.to_string(), "bucket");
            assert_eq!(selection.root.as_str(), root, "{source:?} {list:?}");
            assert_eq!(keys(&selection), expected);
        }
    }

    #[test]
    fn lines_that_cannot_be_meant_are_refused_by_their_number() {
        for (source, list, reason) in [
            (None, "a", "list:1: must be s3://bucket/key"),
            (None, "s3://bucket/a\nb/c", "list:2: "),
            (
                None,
                "s3://bucket/a/",
                "list:1: s3://bucket/a/ is no object",
            ),
            (
                None,
                "s3://bucket/a\ns3://other/a",
                "list:2: s3://other/a is not in s3://bucket/",
            ),
            (
                Some("s3://bucket/a/"),
                "x\ns3://bucket/b/x",
                "list:2: s3://bucket/b/x does not begin",
            ),
            (Some("s3://bucket/a"), "x", "ends in '/'"),
            (None, "\n\n", "names no object"),
        ] {
            let error = read(source, Some(list)).expect_err(list);
            assert!(error.contains(reason), "{list:?}: {error}");
        }
    }
}
