//! The inodes of a table, found by number and by name.
//!
//! There may be millions: they are one vector without gaps, of which memory goes back to the system
//! when many are removed, and neither numbers nor names are kept a second time to find them.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::super::error::Error;
use super::super::inode::{Inode, InodeNo, ROOT};
use super::super::short::Name;
use super::index::Index;

/// Inodes by number. The name of an inode is bound, so that it leads there, or it is not; of one
/// name in one directory, only one inode is bound.
#[derive(Debug)]
pub(super) struct Inodes {
    slots: Vec<Slot>,
    by_number: Index,
    /// The bound ones, by directory and name.
    by_name: Index,
    hasher: RandomState,
}

#[derive(Debug)]
struct Slot {
    number: InodeNo,
    inode: Inode,
}

// What is known of a million objects is mostly this, twice 9 to 19 bytes of indices, and long names.
const _: () = assert!(size_of::<Slot>() <= 136);

impl Inodes {
    /// One inode, whose name is not bound.
    pub(super) fn new(number: InodeNo, inode: Inode) -> Self {
        let mut inodes = Self {
            slots: vec![Slot { number, inode }],
            by_number: Index::default(),
            by_name: Index::default(),
            hasher: RandomState::new(),
        };
        inodes.by_number.insert(inodes.hash(number), 0);
        inodes
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The inode with this number.
    pub(super) fn get(&self, number: InodeNo) -> Option<&Inode> {
        let slot = self.slots.get(self.find(number)? as usize)?;
        Some(&slot.inode)
    }

    /// The inode with this number, to be changed. Its directory and its name are changed by
    /// [`Self::rename`] only.
    pub(super) fn get_mut(&mut self, number: InodeNo) -> Option<&mut Inode> {
        let slot = self.find(number)?;
        let slot = self.slots.get_mut(slot as usize)?;
        Some(&mut slot.inode)
    }

    /// Whether there is an inode with this number.
    pub(super) fn contains(&self, number: InodeNo) -> bool {
        self.find(number).is_some()
    }

    /// Adds an inode, whose name is not bound yet, under a number that is free.
    ///
    /// # Errors
    /// [`Error::Stale`] when there are four billion already.
    pub(super) fn insert(&mut self, number: InodeNo, inode: Inode) -> Result<(), Error> {
        let slot = u32::try_from(self.slots.len()).map_err(|_| Error::Stale)?;
        self.by_number.insert(self.hash(number), slot);
        self.slots.push(Slot { number, inode });
        Ok(())
    }

    /// Takes out the inode with this number, and its name with it.
    pub(super) fn remove(&mut self, number: InodeNo) -> Option<Inode> {
        self.unbind(number);
        let slot = self.find(number)?;
        self.by_number.remove(self.hash(number), slot);
        let removed = self.slots.swap_remove(slot as usize);
        // The last one is in its place now, unless it was the last one.
        if let Some(moved) = self.slots.get(slot as usize)
            && let Ok(from) = u32::try_from(self.slots.len())
        {
            let number = self.hash(moved.number);
            let name = self.hash_name(moved.inode.parent, &moved.inode.name);
            self.by_number.note_moved(number, from, slot);
            self.by_name.note_moved(name, from, slot);
        }
        self.shrink();
        Some(removed.inode)
    }

    /// The inode to which `name` in `parent` is bound.
    pub(super) fn bound(&self, parent: InodeNo, name: &str) -> Option<InodeNo> {
        let slot = self.find_bound(parent, name)?;
        Some(self.slots.get(slot as usize)?.number)
    }

    /// Binds the name of an inode to it, and to no other one any more.
    pub(super) fn bind(&mut self, number: InodeNo) {
        let Some(slot) = self.find(number) else {
            return;
        };
        let Some(Slot { inode, .. }) = self.slots.get(slot as usize) else {
            return;
        };
        let hash = self.hash_name(inode.parent, &inode.name);
        if let Some(before) = self.find_bound(inode.parent, &inode.name) {
            self.by_name.remove(hash, before);
        }
        self.by_name.insert(hash, slot);
    }

    /// Lets the name of an inode lead nowhere, if it is bound to that inode.
    pub(super) fn unbind(&mut self, number: InodeNo) {
        if let Some(slot) = self.find(number)
            && let Some(Slot { inode, .. }) = self.slots.get(slot as usize)
        {
            let hash = self.hash_name(inode.parent, &inode.name);
            self.by_name.remove(hash, slot);
        }
    }

    /// Gives an inode another name, which is bound to it and to no other one any more.
    pub(super) fn rename(&mut self, number: InodeNo, parent: InodeNo, name: &str) {
        self.unbind(number);
        if let Some(inode) = self.get_mut(number) {
            inode.parent = parent;
            inode.name = Name::from(name);
        }
        self.bind(number);
    }

    /// Everything that bound names lead to from `top` downwards, without `top`. Visits all inodes.
    pub(super) fn below(&self, top: InodeNo) -> Vec<InodeNo> {
        let mut known = HashMap::from([(ROOT, false), (top, true)]);
        let slots = self.slots.iter();
        let below = slots.filter(|slot| {
            self.is_in(slot.inode.parent, &mut known) && self.is_bound(slot.number, &slot.inode)
        });
        below.map(|slot| slot.number).collect()
    }

    /// Whether bound names lead to `directory` from `top`. What is found out on the way is kept in
    /// `known`, which says it of `top` and of the root at first.
    fn is_in(&self, mut directory: InodeNo, known: &mut HashMap<InodeNo, bool>) -> bool {
        let mut path = Vec::new();
        let is_in = loop {
            if let Some(is_in) = known.get(&directory) {
                break *is_in;
            }
            path.push(directory);
            match self.get(directory) {
                Some(inode) if self.is_bound(directory, inode) => directory = inode.parent,
                _ => break false,
            }
        };
        known.extend(path.into_iter().map(|directory| (directory, is_in)));
        is_in
    }

    fn is_bound(&self, number: InodeNo, inode: &Inode) -> bool {
        self.bound(inode.parent, &inode.name) == Some(number)
    }

    fn find(&self, number: InodeNo) -> Option<u32> {
        self.by_number.find(self.hash(number), |slot| {
            let slot = self.slots.get(slot as usize);
            slot.is_some_and(|slot| slot.number == number)
        })
    }

    fn find_bound(&self, parent: InodeNo, name: &str) -> Option<u32> {
        self.by_name.find(self.hash_name(parent, name), |slot| {
            let slot = self.slots.get(slot as usize);
            slot.is_some_and(|Slot { inode, .. }| inode.parent == parent && *inode.name == *name)
        })
    }

    fn hash(&self, number: InodeNo) -> u32 {
        (self.hasher.hash_one(number) >> 32) as u32
    }

    fn hash_name(&self, parent: InodeNo, name: &str) -> u32 {
        (self.hasher.hash_one((parent, name)) >> 32) as u32
    }

    /// Gives memory back when most of it is not needed, and keeps as much again as is.
    fn shrink(&mut self) {
        if self.slots.capacity() > LEAST_ROOM && self.slots.len() < self.slots.capacity() / 4 {
            let room = self.slots.len() * 2;
            self.slots.shrink_to(room);
            self.by_number.shrink_to(room);
            self.by_name.shrink_to(room);
        }
    }
}

/// Inodes for which there is room in any case.
const LEAST_ROOM: usize = 1024;

#[cfg(test)]
mod tests;
