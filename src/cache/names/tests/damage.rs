//! Files that are damaged.

use std::path::Path;

use proptest::prelude::*;

use super::*;

/// What is done to a file.
#[derive(Debug, Clone)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Zeros(prop::sample::Index),
    Replace(Vec<u8>),
    Remove,
}

fn damage() -> impl Strategy<Value = Damage> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        4 => (any::<prop::sample::Index>(), 0u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        2 => any::<prop::sample::Index>().prop_map(Damage::Cut),
        1 => (any::<prop::sample::Index>(), bytes()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => any::<prop::sample::Index>().prop_map(Damage::Zeros),
        1 => bytes().prop_map(Damage::Replace),
        1 => Just(Damage::Remove),
    ]
}

impl Damage {
    fn apply(&self, path: &Path) {
        let Ok(mut bytes) = fs::read(path) else {
            return;
        };
        let len = bytes.len();
        match self {
            Self::Flip(at, bit) if len > 0 => bytes[at.index(len)] ^= 1 << bit,
            Self::Cut(at) if len > 0 => bytes.truncate(at.index(len)),
            Self::Insert(at, more) => {
                let at = at.index(len + 1);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Zeros(at) if len > 0 => bytes[at.index(len)..].fill(0),
            Self::Replace(other) => bytes.clone_from(other),
            Self::Remove => return fs::remove_file(path).expect("removed"),
            Self::Flip(..) | Self::Cut(_) | Self::Zeros(_) => {}
        }
        fs::write(path, bytes).expect("written");
    }
}

proptest! {
    /// Names that were not changed are known as they were, or not; those that were are not known.
    #[test]
    fn prop_damage_is_never_believed(
        is_log: bool,
        damages in prop::collection::vec(damage(), 1..4),
        is_before: bool,
    ) {
        let place = Place::new();
        let names = place.names();
        for number in 0..20 {
            note(&names, &number.to_string(), object(number));
            if number == 10 {
                names.save();
            }
        }
        for number in 0..5 {
            Change::put(&names, &key(&number.to_string())).end();
        }
        names.save();
        let running = is_before.then(|| place.names());
        for damage in &damages {
            damage.apply(&place.file(if is_log { "changes" } else { "known" }));
        }
        for names in running.into_iter().chain([place.names(), place.names()]) {
            for number in 0..20 {
                let known = recall(&names, &number.to_string());
                if let Some(known) = known {
                    prop_assert!(number >= 5, "{} was changed", number);
                    prop_assert_eq!(Some(known), object(number));
                }
            }
        }
        // And it goes on.
        let names = place.names();
        note(&names, "new", object(99));
        names.save();
        prop_assert_eq!(recall(&place.names(), "new"), object(99));
    }
}
