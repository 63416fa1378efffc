//! Inodes against a model, and what they take.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::super::expiry::Moment;
use super::super::super::inode::Content;
use super::*;

fn inode(parent: InodeNo, name: &str) -> Inode {
    Inode {
        parent,
        name: Name::from(name),
        lookups: 1,
        named: None,
        checked: Moment::OLDEST,
        opened: false,
        retired: false,
        content: Content::Directory(Box::default()),
    }
}

fn with_root() -> Inodes {
    Inodes::new(ROOT, inode(ROOT, ""))
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Insert,
    Remove,
    Bind,
    Unbind,
    Rename,
}

/// What [`Inodes`] does, without slots and indices.
#[derive(Debug, Default)]
struct Model {
    inodes: BTreeMap<InodeNo, (InodeNo, String)>,
    bound: BTreeMap<(InodeNo, String), InodeNo>,
}

impl Model {
    fn bind(&mut self, number: InodeNo) {
        if let Some(name) = self.inodes.get(&number) {
            self.bound.insert(name.clone(), number);
        }
    }

    fn unbind(&mut self, number: InodeNo) {
        self.bound.retain(|_, bound| *bound != number);
    }

    fn below(&self, top: InodeNo) -> Vec<InodeNo> {
        let children = self.bound.iter().filter(|((parent, _), _)| *parent == top);
        let mut below: Vec<_> = children.map(|(_, number)| *number).collect();
        for child in below.clone() {
            below.extend(self.below(child));
        }
        below.sort_unstable();
        below
    }
}

fn step() -> impl Strategy<Value = (Step, u64, u64, &'static str)> {
    let step = prop_oneof![
        3 => Just(Step::Insert),
        1 => Just(Step::Remove),
        3 => Just(Step::Bind),
        1 => Just(Step::Unbind),
        1 => Just(Step::Rename),
    ];
    let names = prop_oneof![Just("a"), Just("b"), Just("a name of more than 22 bytes")];
    (step, 2..20u64, 1..20u64, names)
}

proptest! {
    #[test]
    fn prop_inodes_are_found_by_number_and_by_bound_name(
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut inodes = with_root();
        let mut model = Model::default();
        for (step, number, parent, name) in steps {
            // A directory has a lower number than what is in it, so that none is in itself.
            let (number, parent) = (InodeNo(number), InodeNo(parent.min(number - 1)));
            match step {
                Step::Insert if !model.inodes.contains_key(&number) => {
                    prop_assert!(inodes.insert(number, inode(parent, name)).is_ok());
                    model.inodes.insert(number, (parent, name.to_owned()));
                }
                Step::Insert => {}
                Step::Remove => {
                    let removed = inodes.remove(number).is_some();
                    model.unbind(number);
                    prop_assert_eq!(removed, model.inodes.remove(&number).is_some());
                }
                Step::Bind => {
                    inodes.bind(number);
                    model.bind(number);
                }
                Step::Unbind => {
                    inodes.unbind(number);
                    model.unbind(number);
                }
                Step::Rename => {
                    inodes.rename(number, parent, name);
                    model.unbind(number);
                    if let Some(inode) = model.inodes.get_mut(&number) {
                        *inode = (parent, name.to_owned());
                    }
                    model.bind(number);
                }
            }
            prop_assert_eq!(inodes.len(), model.inodes.len() + 1);
            for number in (2..20).map(InodeNo) {
                let found = inodes.get(number).map(|i| (i.parent, i.name.to_string()));
                prop_assert_eq!(found.as_ref(), model.inodes.get(&number));
                for name in ["a", "b", "a name of more than 22 bytes"] {
                    let expected = model.bound.get(&(number, name.to_owned())).copied();
                    prop_assert_eq!(inodes.bound(number, name), expected);
                }
                let mut below = inodes.below(number);
                below.sort_unstable();
                prop_assert_eq!(below, model.below(number));
            }
        }
    }
}

fn bytes(inodes: &Inodes) -> usize {
    let indices = inodes.by_number.bytes() + inodes.by_name.bytes();
    // Room that is not used yet is not there yet: nobody has touched it.
    inodes.slots.len() * size_of::<Slot>() + indices
}

#[test]
fn inode_takes_less_than_180_bytes_beside_what_is_in_it_and_gives_them_back() {
    const MOST: u64 = 100_000;
    let mut inodes = with_root();
    for number in (2..MOST).map(InodeNo) {
        let name = format!("{number:07}.jpg");
        inodes.insert(number, inode(ROOT, &name)).expect("room");
        inodes.bind(number);
        let known = inodes.len();
        if known > LEAST_ROOM {
            assert!(bytes(&inodes) < known * 180, "{known}: {}", bytes(&inodes));
        }
    }
    for number in (100..MOST).map(InodeNo) {
        assert!(inodes.remove(number).is_some());
    }
    assert!(inodes.slots.capacity() <= LEAST_ROOM);
    assert!(bytes(&inodes) < LEAST_ROOM * 180, "{}", bytes(&inodes));
    for number in (2..100).map(InodeNo) {
        assert_eq!(
            inodes.bound(ROOT, &format!("{number:07}.jpg")),
            Some(number)
        );
    }
}
