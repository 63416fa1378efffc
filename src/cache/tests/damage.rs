//! Files that were damaged anywhere: never a wrong byte.

use rustix::fs::{XattrFlags, getxattr, removexattr, setxattr};

use super::*;
use crate::cache::notes::ATTRIBUTE_NAME;
use crate::cache::record::ATTRIBUTE;

/// Damage to a file of the cache.
#[derive(Debug, Clone)]
enum Damage {
    /// A bit is another one.
    Flip { place: f64, bit: u8 },
    /// The end is gone.
    Cut { place: f64 },
    /// A stretch holds zeros.
    Clear { place: f64, len: u64 },
    /// It has become longer.
    Grow { by: u64 },
    /// It has the contents of another file of its kind.
    Swap,
    /// It is gone.
    Remove,
    /// Its notes are those of another file.
    SwapNotes,
    /// A bit of its notes is another one.
    FlipNotes { place: usize, bit: u8 },
    /// Its notes are gone.
    RemoveNotes,
}

fn damage_of_a_file() -> impl Strategy<Value = Damage> {
    prop_oneof![
        8 => (0.0..1.0, 0u8..8).prop_map(|(place, bit)| Damage::Flip { place, bit }),
        2 => (0.0..1.0).prop_map(|place| Damage::Cut { place }),
        2 => (0.0..1.0, 1u64..200_000).prop_map(|(place, len)| Damage::Clear { place, len }),
        1 => (1u64..200_000).prop_map(|by| Damage::Grow { by }),
        1 => Just(Damage::Swap),
        1 => Just(Damage::Remove),
        1 => Just(Damage::SwapNotes),
        2 => (0..ATTRIBUTE, 0u8..8).prop_map(|(place, bit)| Damage::FlipNotes { place, bit }),
        1 => Just(Damage::RemoveNotes),
    ]
}

impl Damage {
    fn apply(&self, path: &Path, other: &Path) {
        let file = File::options().read(true).write(true).open(path);
        let Ok(file) = file else { return };
        let len = file.metadata().expect("metadata").len();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "any place will do"
        )]
        let at = |place: f64| (place * len as f64) as u64;
        match *self {
            Self::Flip { place, bit } if len > 0 => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, at(place)).expect("read");
                file.write_all_at(&[byte[0] ^ (1 << bit)], at(place))
                    .expect("written");
            }
            Self::Flip { .. } => {}
            Self::Cut { place } => file.set_len(at(place)).expect("cut"),
            Self::Clear { place, len: zeros } => {
                let zeros = zeros.min(len - at(place));
                let zeros = vec![0; usize::try_from(zeros).expect("small")];
                file.write_all_at(&zeros, at(place)).expect("written");
            }
            Self::Grow { by } => file.set_len(len + by).expect("grown"),
            Self::Swap => {
                _ = fs::copy(other, path);
            }
            Self::Remove => fs::remove_file(path).expect("removed"),
            Self::SwapNotes => {
                if let Some(notes) = notes(other) {
                    note(path, &notes);
                }
            }
            Self::FlipNotes { place, bit } => {
                if let Some(mut notes) = notes(path) {
                    notes[place] ^= 1 << bit;
                    note(path, &notes);
                }
            }
            Self::RemoveNotes => _ = removexattr(path, ATTRIBUTE_NAME),
        }
    }
}

/// What is noted in the attribute of a file, if it has one.
fn notes(path: &Path) -> Option<[u8; ATTRIBUTE]> {
    let mut notes = [0; ATTRIBUTE];
    getxattr(path, ATTRIBUTE_NAME, &mut notes).ok()?;
    Some(notes)
}

fn note(path: &Path, notes: &[u8]) {
    setxattr(path, ATTRIBUTE_NAME, notes, XattrFlags::empty()).expect("noted");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn prop_damage_is_never_read(
        damages in prop::collection::vec((any::<bool>(), any::<bool>(), damage_of_a_file()), 1..6),
        restarts: bool,
        // Of one block, and of several.
        size in prop_oneof![Just(MIB + 77), Just(100_000), Just(BLOCK)],
    ) {
        let mut fixture = Fixture::new();
        let etags = [SEED, SEED + 1].map(|seed| {
            let etag = fixture.fake.put_synthetic("k", size, seed);
            fixture.read(&etag, size, 0..size).expect("read");
            etag
        });
        let endings = if size > BLOCK { ["data", "map"] } else { ["block"; 2] };
        let [data, maps] = endings.map(|ending| fixture.files(ending));
        prop_assert_eq!((data.len(), maps.len()), (2, 2));
        if restarts {
            fixture.restart();
        }
        for (is_map, second, damage) in damages {
            let files = if is_map { &maps } else { &data };
            damage.apply(&files[usize::from(second)], &files[usize::from(!second)]);
        }
        for _ in 0..2 {
            let newest = fixture.read(&etags[1], size, 0..size).expect("read");
            prop_assert!(newest == synthetic(SEED + 1, 0..size));
            // The store does not have this one any more.
            match fixture.read(&etags[0], size, 0..size) {
                Ok(older) => prop_assert!(older == synthetic(SEED, 0..size)),
                Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Precondition),
            }
        }
    }
}
