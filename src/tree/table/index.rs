//! An index of slots: from a hash to where in a vector it is.

use hashbrown::HashTable;

/// Slots by the hash of what is in them, 8 bytes each: what is hashed is in the slot and not here.
/// The hash is kept so that growing the index does not visit the slots.
#[derive(Debug, Default)]
pub(super) struct Index(HashTable<Entry>);

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u32,
    slot: u32,
}

impl Index {
    /// The first slot entered under `hash` of which `is` is true.
    pub(super) fn find(&self, hash: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        let entry = self
            .0
            .find(spread(hash), |entry| entry.hash == hash && is(entry.slot))?;
        Some(entry.slot)
    }

    /// Enters `slot`, which is not here yet.
    pub(super) fn insert(&mut self, hash: u32, slot: u32) {
        let entry = Entry { hash, slot };
        self.0.insert_unique(spread(hash), entry, Entry::spread);
    }

    /// Takes out `slot`, if it is here.
    pub(super) fn remove(&mut self, hash: u32, slot: u32) {
        let entry = self.0.find_entry(spread(hash), |entry| entry.slot == slot);
        if let Ok(entry) = entry {
            entry.remove();
        }
    }

    /// Notes that what was in the slot `from` is in the slot `to` now, if it is here.
    pub(super) fn note_moved(&mut self, hash: u32, from: u32, to: u32) {
        let entry = self.0.find_mut(spread(hash), |entry| entry.slot == from);
        if let Some(entry) = entry {
            entry.slot = to;
        }
    }

    /// What it takes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.0.allocation_size()
    }

    /// Gives memory back, but for `room` entries.
    pub(super) fn shrink_to(&mut self, room: usize) {
        self.0.shrink_to(room, Entry::spread);
    }
}

impl Entry {
    fn spread(&self) -> u64 {
        spread(self.hash)
    }
}

/// A table looks at the highest bits and at the lowest ones.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}
