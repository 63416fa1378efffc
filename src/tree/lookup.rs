//! From names and numbers to nodes: lookup, attributes, the version of a file.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use super::error::Error;
use super::expiry::Moment;
use super::inode::{Belief, Content, Doubt, FileVersion, Found, InodeNo, Node, ROOT};
use super::table::{Answer, Standing, Table};
use super::{Core, Freshness, name};
use crate::s3::{self, ErrorKind, Key, ObjectInfo};

impl Core {
    /// See [`super::Tree::lookup`].
    pub(super) async fn lookup(
        self: &Arc<Self>,
        parent: InodeNo,
        name: &OsStr,
    ) -> Result<Node, Error> {
        let name = Arc::<str>::from(name::parse(name)?);
        let now = self.clock.now();
        let (prefix, key) = {
            let mut table = self.table();
            let prefix = table.directory_prefix(parent, &self.config.prefix)?;
            let key = Key::new(format!("{prefix}{name}")).map_err(|_| Error::NameTooLong)?;
            if let Some(known) = self.recall(&mut table, parent, &name, now)? {
                self.lookups.known.add(1);
                return known;
            }
            (prefix, key)
        };
        let Said { found, asked, by } = self.find(parent, &name, &prefix, &key, now).await?;
        if by != By::Memory {
            self.remember(&key, found.clone(), asked);
        }
        let mut table = self.table();
        let Some(found) = found else {
            table.learn_absence(parent, &name, asked);
            // What is local is there though S3 does not know it.
            return match table.child(parent, &name)? {
                Some(ino) if table.is_local(ino) => {
                    table.reference(ino)?;
                    let inode = table.get(ino)?;
                    Ok(self.node(ino, inode, self.ttl_of(&inode.content)))
                }
                _ => Err(Error::NotFound),
            };
        };
        let ino = table.learn(parent, &name, found, asked)?;
        let inode = table.get(ino)?;
        // From here on the kernel believes it as long as if S3 had answered just now.
        let ttl = self.ttl_of(&inode.content);
        let valid_for = match by {
            By::Page => self.listed_valid_for(asked, now, ttl),
            By::Asking | By::Memory => asked.remaining(ttl, now).unwrap_or_default(),
        };
        Ok(self.node(ino, inode, valid_for))
    }

    /// What `name` in `parent`, which is `key` and whose siblings start with `prefix`, leads to: by
    /// a page that is at hand, by what was known before this mount, by the page around it, or by itself.
    async fn find(
        self: &Arc<Self>,
        parent: InodeNo,
        name: &Arc<str>,
        prefix: &str,
        key: &Key,
        now: Moment,
    ) -> Result<Said, Error> {
        let said = |by| move |(found, asked)| Said { found, asked, by };
        if let Some(on_page) = self.recall_page(parent, name, now) {
            self.pages().note_hit(parent);
            self.lookups.page.add(1);
            return Ok(said(By::Page)(on_page));
        }
        if let Some((found, asked)) = self.recall_from_before(parent, name, key, now)? {
            self.lookups.known.add(1);
            return Ok(said(By::Memory)((Some(found), asked)));
        }
        self.lookups.asked.add(1);
        match self.ask_around(parent, name, prefix, now).await? {
            Some(on_page) => Ok(said(By::Page)(on_page)),
            None => {
                let answer = self.ask_for(parent, name, key.clone(), now).await?;
                Ok(said(By::Asking)(answer))
            }
        }
    }

    /// What S3 says that `name` in `parent`, which is `key`, leads to, and when it was asked. It
    /// is asked again if this mount has changed the name meanwhile, or that of a directory above.
    async fn ask_for(
        self: &Arc<Self>,
        parent: InodeNo,
        name: &Arc<str>,
        key: Key,
        now: Moment,
    ) -> Result<(Option<Found>, Moment), Error> {
        let id = (parent, Arc::clone(name));
        let mut passenger = self.board(id.clone(), key.clone(), now, self.config.ttl.of_file());
        let mut found = passenger.wait().await;
        let asked_before = passenger.asked < now;
        if asked_before && matches!(found, Ok(None)) && !self.is_absent(passenger.asked, now) {
            // The object may have been made between that question and this one.
            passenger = self.board(id.clone(), key.clone(), now, Duration::ZERO);
            found = passenger.wait().await;
        }
        while self.table().is_outdated(parent, name, passenger.asked) {
            // First the moment, then the key: the directory may have got another name.
            let now = self.clock.now();
            let key = self.key_of(parent, OsStr::new(&**name))?;
            passenger = self.board(id.clone(), key, now, Duration::ZERO);
            found = passenger.wait().await;
        }
        Ok((found?, passenger.asked))
    }

    /// See [`super::Tree::getattr`].
    pub(super) async fn getattr(&self, ino: InodeNo) -> Result<Node, Error> {
        let now = self.clock.now();
        let (key, is_directory) = {
            let table = self.table();
            let inode = table.get(ino)?;
            let ttl = self.ttl_of(&inode.content);
            if ino == ROOT {
                return Ok(self.node(ino, inode, ttl));
            }
            if let Content::Local(_) = inode.content {
                table.local(ino)?;
                return Ok(self.node(ino, inode, ttl));
            }
            let standing = self.check_standing(&table, ino, now)?;
            if let Some(left) = inode.checked.remaining(ttl, now)
                && standing == Standing::Named
                && self.is_described(&inode.content)
            {
                return Ok(self.node(ino, inode, left));
            }
            let is_directory = matches!(inode.content, Content::Directory(_));
            (self.object_key(&table, ino)?, is_directory)
        };
        let found = if is_directory {
            let exists = self.directory_exists(&key).await?;
            exists.then_some(Found::Directory)
        } else {
            self.head(&key).await?.map(Found::File)
        };
        self.take_in(ino, &found.map_or(Answer::Gone, Answer::Is), now)?;
        let table = self.table();
        let inode = table.get(ino)?;
        Ok(self.node(ino, inode, self.ttl_of(&inode.content)))
    }

    /// See [`super::Tree::believe`].
    pub(super) fn believe(&self, ino: InodeNo, freshness: Freshness) -> Result<Belief, Error> {
        let now = self.clock.now();
        let mut table = self.table();
        let inode = table.get(ino)?;
        let info = match &inode.content {
            Content::File(info) => info,
            Content::Directory(_) => return Err(Error::IsDirectory),
            Content::Local(_) => return Err(Error::Stale),
        };
        let key = self.object_key(&table, ino)?;
        let is_sure = match freshness {
            Freshness::Newest if table.standing(ino)? == Standing::Replaced => {
                return Err(Error::Stale);
            }
            Freshness::Newest => false,
            Freshness::Cached => {
                let standing = self.check_standing(&table, ino, now)?;
                let ttl = self.config.ttl.of_version();
                let is_fresh = inode.checked.remaining(ttl, now).is_some();
                standing == Standing::Named && is_fresh
            }
        };
        let info = info.clone();
        let doubt = Doubt {
            ino,
            since: now,
            is_cold: !inode.opened || freshness == Freshness::Newest,
        };
        table.note_opened(ino);
        Ok(Belief {
            version: FileVersion { key, info },
            doubt: (!is_sure).then_some(doubt),
        })
    }

    /// See [`super::Tree::known`].
    pub(super) fn known(&self, ino: InodeNo) -> Result<Option<ObjectInfo>, Error> {
        let now = self.clock.now();
        let table = self.table();
        let inode = table.get(ino)?;
        let Content::File(info) = &inode.content else {
            return Ok(None);
        };
        let ttl = self.config.ttl.of_file().max(DETAILS_BELIEVED);
        let mut info = info.clone();
        if inode.checked.remaining(ttl, now).is_none() {
            info.details = None;
        }
        Ok(Some(info))
    }

    /// See [`super::Tree::describe`].
    pub(super) async fn describe(
        &self,
        ino: InodeNo,
        freshness: Freshness,
    ) -> Result<Option<ObjectInfo>, Error> {
        let Some(info) = self.known(ino)? else {
            return Ok(None);
        };
        let since = self.clock.now();
        let key = {
            let table = self.table();
            let standing = self.check_standing(&table, ino, since)?;
            let is_enough = standing == Standing::Named && freshness == Freshness::Cached;
            if is_enough && info.details.is_some() {
                return Ok(Some(info));
            }
            self.object_key(&table, ino)?
        };
        let doubt = Doubt {
            ino,
            since,
            is_cold: false,
        };
        self.ask(&key, doubt).await.map(Some)
    }

    /// See [`super::Tree::ask`].
    pub(super) async fn ask(&self, key: &Key, doubt: Doubt) -> Result<ObjectInfo, Error> {
        let found = self.head(key).await?.map(Found::File);
        let Doubt { ino, since, .. } = doubt;
        self.take_in(ino, &found.map_or(Answer::Gone, Answer::Is), since)?;
        match &self.table().get(ino)?.content {
            Content::File(info) => Ok(info.clone()),
            Content::Directory(_) => Err(Error::IsDirectory),
            Content::Local(_) => Err(Error::Stale),
        }
    }

    /// See [`super::Tree::settle`].
    pub(super) fn settle(
        &self,
        info: &ObjectInfo,
        doubt: Doubt,
        outcome: Result<(), s3::Error>,
    ) -> Result<(), Error> {
        let Doubt { ino, since, .. } = doubt;
        let (answer, otherwise) = match outcome {
            Ok(()) => (Answer::Is(Found::File(info.clone())), None),
            Err(error) => match error.kind() {
                ErrorKind::Precondition => (Answer::Other, Some(Error::Stale)),
                ErrorKind::NotFound => (Answer::Gone, Some(Error::NotFound)),
                _ => return Err(error.into()),
            },
        };
        self.take_in(ino, &answer, since)?;
        // A later answer outweighs this one in the table, but not for who asked.
        otherwise.map_or(Ok(()), Err)
    }

    /// Takes in what S3 says about the key of `ino`; as [`Table::settle`]. What was said before is
    /// older than every question that is asked from here on.
    pub(super) fn take_in(
        &self,
        ino: InodeNo,
        answer: &Answer,
        asked: Moment,
    ) -> Result<(), Error> {
        let mut table = self.table();
        let settled = table.settle(ino, answer, asked);
        if settled.is_err() {
            self.clock.tick();
            drop(table);
            self.forget_for_others(ino);
        }
        settled
    }

    /// See [`super::Tree::note_replaced`].
    pub(super) fn note_replaced(&self, ino: InodeNo) {
        let now = self.clock.tick();
        self.table().note_other(ino, now);
        self.forget_for_others(ino);
    }

    /// What is known of `name` in `parent` and still counts. Counts a reference if it is an inode.
    fn recall(
        &self,
        table: &mut Table,
        parent: InodeNo,
        name: &Arc<str>,
        now: Moment,
    ) -> Result<Option<Result<Node, Error>>, Error> {
        let Some(ino) = table.child(parent, name)? else {
            let absent = table.absent_since(parent, name);
            let absent = absent.is_some_and(|asked| self.is_absent(asked, now));
            return Ok(absent.then_some(Err(Error::NotFound)));
        };
        let inode = table.get(ino)?;
        let ttl = self.ttl_of(&inode.content);
        let Some(left) = inode.named.and_then(|asked| asked.remaining(ttl, now)) else {
            return Ok(None);
        };
        if !self.is_described(&inode.content) {
            return Ok(None);
        }
        let node = self.node(ino, inode, left);
        table.reference(ino)?;
        Ok(Some(Ok(node)))
    }

    /// How `ino` stands to its name. Refuses an inode that is known to have lost it.
    fn check_standing(&self, table: &Table, ino: InodeNo, now: Moment) -> Result<Standing, Error> {
        let standing = table.standing(ino)?;
        match standing {
            Standing::Named => {}
            Standing::Replaced => return Err(Error::Stale),
            Standing::Unknown => {
                let inode = table.get(ino)?;
                let absent = table.absent_since(inode.parent, &Arc::from(&inode.name));
                if absent.is_some_and(|asked| self.is_absent(asked, now)) {
                    return Err(Error::NotFound);
                }
            }
        }
        Ok(standing)
    }

    /// The key of an inode that is not the root. It was a valid key when the inode was made.
    pub(super) fn object_key(&self, table: &Table, ino: InodeNo) -> Result<Key, Error> {
        let key = table.key(ino, &self.config.prefix)?;
        Key::new(key).map_err(|_| Error::NameTooLong)
    }
}

/// What S3 said of a name.
struct Said {
    found: Option<Found>,
    asked: Moment,
    by: By,
}

/// What it was said by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// A page of a listing.
    Page,
    /// What was known before this mount.
    Memory,
    /// The answer to a question of its own.
    Asking,
}

/// How long details are repeated without asking again, at least: whoever lists extended attributes
/// asks for the value of each of them next.
const DETAILS_BELIEVED: Duration = Duration::from_secs(1);
