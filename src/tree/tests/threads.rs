//! Many threads on one tree.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::*;

/// A small generator of numbers, so that a run can be repeated from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// What one thread, as a kernel would, remembers of its references.
struct Kernel<'a> {
    tree: &'a Tree,
    held: Vec<Node>,
}

impl Kernel<'_> {
    fn step(&mut self, random: &mut Random) {
        let directory = self.directory(random);
        match random.below(8) {
            0..=2 => {
                let name = format!("{}", random.below(6));
                match block_on(self.tree.lookup(directory, OsStr::new(&name))) {
                    Ok(node) => self.held.push(node),
                    Err(Error::NotFound | Error::Stale) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            3 => {
                let handle = block_on(self.tree.open_dir(directory)).unwrap();
                let room = usize::try_from(random.below(7)).unwrap() + 3;
                self.held.extend(
                    read_all(&handle, true, room)
                        .unwrap()
                        .into_iter()
                        .map(|e| e.node),
                );
            }
            4 => {
                let handle = block_on(self.tree.open_dir(directory)).unwrap();
                read_all(&handle, false, 9).unwrap();
            }
            5 => match block_on(self.tree.getattr(directory)) {
                Ok(node) => assert_eq!(node.ino, directory),
                Err(Error::NotFound | Error::Stale) => {}
                Err(error) => panic!("{error}"),
            },
            _ => {
                for _ in 0..random.below(12) {
                    self.forget_one(random);
                }
            }
        }
    }

    /// A directory that this thread holds a reference to, or the root.
    fn directory(&self, random: &mut Random) -> InodeNo {
        if self.held.is_empty() || random.below(4) == 0 {
            return ROOT;
        }
        let node = &self.held[self.pick(random)];
        if is_directory(node) { node.ino } else { ROOT }
    }

    fn pick(&self, random: &mut Random) -> usize {
        usize::try_from(random.below(self.held.len() as u64)).unwrap()
    }

    fn forget_one(&mut self, random: &mut Random) {
        if !self.held.is_empty() {
            let node = self.held.swap_remove(self.pick(random));
            self.tree.forget(node.ino, 1);
        }
    }
}

fn run(ttl: Ttl, seed: u64) {
    let store = FakeStore::deterministic();
    store.set_page_size(3);
    for (a, b, c) in (0..216).map(|i| (i / 36, i / 6 % 6, i % 6)) {
        store.put(&format!("{a}/{b}/{c}"), "");
    }
    let config = TreeConfig {
        prefix: Prefix::default(),
        ttl,
        negative_ttl: ttl,
        details: false,
        pages: true,
        ordered: true,
    };
    let micros = Arc::new(AtomicU64::new(0));
    let (start, ticks) = (Instant::now(), Arc::clone(&micros));
    // Each look at the clock moves it on: answers expire in the middle of everything.
    let clock =
        Clock::new(move || start + Duration::from_micros(ticks.fetch_add(500, Ordering::Relaxed)));
    let tree = Tree::with_clock(Arc::new(store.clone()), config, clock);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let changes = scope.spawn(|| {
            let mut random = Random(seed | 1);
            while !over.load(Ordering::Relaxed) {
                let depth = random.below(3) + 1;
                let names: Vec<String> = (0..depth).map(|_| random.below(6).to_string()).collect();
                let key = names.join("/");
                if random.below(3) == 0 {
                    store.remove(&key);
                } else {
                    store.put(&key, key.clone());
                }
                // Requests that take their time: lookups of one name meet.
                let op = if random.below(2) == 0 {
                    Op::Head
                } else {
                    Op::List
                };
                store.hold_next(op, None, 1);
                thread::sleep(Duration::from_micros(100));
                store.release();
            }
        });
        let kernels: Vec<_> = (0..THREADS)
            .map(|thread| {
                let tree = &tree;
                scope.spawn(move || {
                    let mut random = Random(seed.wrapping_mul(31) + thread + 1);
                    let mut kernel = Kernel {
                        tree,
                        held: Vec::new(),
                    };
                    for _ in 0..STEPS {
                        kernel.step(&mut random);
                        for node in &kernel.held {
                            let known =
                                tree.core().expect("a bucket").table().get(node.ino).is_ok();
                            assert!(known, "{node:?} was dropped with a reference to it");
                        }
                    }
                    while !kernel.held.is_empty() {
                        kernel.forget_one(&mut random);
                    }
                })
            })
            .collect();
        let results: Vec<_> = kernels.into_iter().map(|kernel| kernel.join()).collect();
        over.store(true, Ordering::Relaxed);
        changes.join().unwrap();
        for result in results {
            result.unwrap();
        }
    });
    let table = tree.core().expect("a bucket").table();
    assert_eq!(table.len(), 1, "all references were given back");
    for name in 0..6 {
        assert_eq!(table.child(ROOT, &name.to_string()).unwrap(), None);
    }
    drop(table);
    assert_eq!(
        format!("{:?}", tree.core().expect("a bucket").flights),
        "[]"
    );
}

#[test]
fn sixteen_threads_lose_no_reference_minimal() {
    run(Ttl::Minimal, 1);
}

#[test]
fn sixteen_threads_lose_no_reference_with_ttl() {
    run(Ttl::For(Duration::from_millis(20)), 2);
}

const THREADS: u64 = 16;
const STEPS: usize = 1_000;
