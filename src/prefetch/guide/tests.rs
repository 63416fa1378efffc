use super::super::tests::{file, page};
use super::*;
use crate::s3::{Context, ErrorKind, ListFrom};

const SIZE: u64 = 100 << 10;

/// A guide, the files of a bucket, and what was fetched and not read.
struct Scene {
    guide: Guide,
    names: Vec<String>,
    fetched: Vec<Key>,
    pages: usize,
}

impl Scene {
    fn new(names: impl IntoIterator<Item = String>) -> Self {
        let mut names: Vec<String> = names.into_iter().collect();
        names.sort();
        Self {
            guide: Guide::new(String::new(), 8 << 20),
            names,
            fetched: Vec::new(),
            pages: 0,
        }
    }

    /// Reads a file, and lists and fetches what the guide wants. Returns whether it was there.
    fn read(&mut self, name: &str) -> bool {
        let file = file(name, SIZE);
        let count = self.fetched.len();
        self.fetched.retain(|key| *key != file.key);
        let was_fetched = self.fetched.len() < count;
        let gone = self.guide.note_read(&file);
        self.give_up(&gone);
        for (set, request) in self.guide.list() {
            let answer = self.answer(&request);
            let gone = self.guide.absorb(set, Ok(answer));
            self.give_up(&gone);
        }
        while let Some(wanted) = self.guide.next(0, 0, |key| self.fetched.contains(key)) {
            self.fetched.push(wanted.file.key);
        }
        was_fetched
    }

    fn answer(&mut self, request: &ListRequest) -> ListPage {
        self.pages += 1;
        let after = match &request.from {
            ListFrom::Start => "",
            ListFrom::After(text) => text,
            ListFrom::Page(token) => token.as_str(),
        };
        let names = self.names.iter().map(String::as_str);
        let names = names.filter(|name| {
            let rest = name.strip_prefix(&*request.prefix);
            rest.is_some_and(|rest| !request.delimited || !rest.contains('/')) && *name > after
        });
        let names: Vec<&str> = names.take(1001).collect();
        let next = names.get(1000).and_then(|_| names.get(999)).copied();
        page(&names[..names.len().min(1000)], next)
    }

    /// There is no memory for a file.
    fn run_short(&mut self) {
        let wanted = Wanted {
            file: file("none", SIZE),
            set: SetNo(0),
            place: 0,
        };
        let gone = self.guide.put_back(&wanted);
        self.give_up(&gone);
    }

    fn give_up(&mut self, gone: &[Key]) {
        self.fetched.retain(|key| !gone.contains(key));
    }

    fn hits<'a>(&mut self, names: impl IntoIterator<Item = &'a String>) -> usize {
        names.into_iter().filter(|name| self.read(name)).count()
    }
}

fn mixed(names: &[String], step: usize) -> Vec<String> {
    let index = |i: usize| i * step % names.len();
    (0..names.len()).map(|i| names[index(i)].clone()).collect()
}

#[test]
fn directory_read_in_order_is_fetched_ahead() {
    let mut scene = Scene::new((0..2500).map(|i| format!("d/{i:04}")));
    let names = scene.names.clone();
    let hits = scene.hits(&names);
    assert!(hits >= 2490, "{hits}");
    assert_eq!(scene.pages, 3);
    assert_eq!(scene.fetched, []);
}

#[test]
fn directories_read_in_order_are_fetched_ahead() {
    let mut scene = Scene::new((0..2000).map(|i| format!("set/{:03}/{i:04}", i / 10)));
    let names = scene.names.clone();
    let hits = scene.hits(&names);
    assert!(hits >= 1900, "{hits}");
}

#[test]
fn data_set_read_in_no_order_is_fetched_whole() {
    for folder in [1, 100] {
        let names = (0..2000).map(|i| format!("set/{:03}/{i:04}", i % folder));
        let mut scene = Scene::new(names);
        let order = mixed(&scene.names.clone(), 777);
        let hits = scene.hits(&order);
        assert!(hits >= 1600, "{folder}: {hits}");
        assert_eq!(scene.fetched, [], "{folder}");
    }
}

#[test]
fn order_of_the_epoch_before_is_followed() {
    // In 50 directories that have each a directory of its own: nothing but what was learned
    // tells what comes next.
    let mut scene = Scene::new((0..2000).map(|i| format!("{}/{}/{i}", i % 50, i % 40)));
    let order = mixed(&scene.names.clone(), 777);
    let first = scene.hits(&order);
    assert!(first < 100, "{first}");
    let second = scene.hits(&order);
    assert!(second >= 1980, "{second}");
}

#[test]
fn names_that_cannot_be_listed_change_nothing() {
    let mut guide = Guide::new(String::new(), 8 << 20);
    let mut asked = 0;
    for i in 0..100 {
        guide.note_read(&file(&format!("d/{i:03}"), SIZE));
        for (set, _) in guide.list() {
            asked += 1;
            let error = Error::new(ErrorKind::Denied, Context::default());
            guide.absorb(set, Err(error));
        }
        assert_eq!(guide.next(0, 0, |_| false), None);
    }
    assert!((1..15).contains(&asked), "{asked}");
}

#[test]
fn large_files_and_empty_ones_are_left_alone() {
    let mut guide = Guide::new(String::new(), 8 << 20);
    for i in 0..100 {
        let size = if i % 2 == 0 { 0 } else { 1 << 30 };
        guide.note_read(&file(&format!("d/{i:03}"), size));
        assert_eq!(guide.list(), []);
    }
}

#[test]
fn nothing_is_fetched_once_too_much_was_wasted() {
    let mut scene = Scene::new((0..500).map(|i| format!("d/{i:04}")));
    for i in 0..10 {
        scene.read(&format!("d/{i:04}"));
    }
    scene.guide.note_read(&file("d/0010", SIZE));
    let (wasted, read) = (40 << 20, 100 << 20);
    assert_eq!(scene.guide.next(wasted, read, |_| false), None);
    assert!(scene.guide.next(wasted, 400 << 20, |_| false).is_some());
}

#[test]
fn changed_files_and_those_below_changed_directories_are_fetched_no_more() {
    let mut scene = Scene::new((0..100).map(|i| format!("d/{i:04}")));
    for i in 0..5 {
        scene.read(&format!("d/{i:04}"));
    }
    scene.guide.forget(&file("d/0050", 1).key);
    for i in 5..50 {
        scene.read(&format!("d/{i:04}"));
    }
    assert!(!scene.fetched.contains(&file("d/0050", 1).key));
    assert!(scene.fetched.contains(&file("d/0051", 1).key));
    scene.guide.forget_below(&file("d", 1).key);
    scene.fetched.clear();
    scene.read("d/0052");
    assert_eq!(scene.fetched, []);
}

#[test]
fn sets_and_files_are_bounded() {
    let names = |directory: usize| (0..40).map(move |i| format!("{directory}/x/{i:04}"));
    let mut scene = Scene::new((0..100).flat_map(names));
    for directory in 0..100 {
        for name in names(directory) {
            scene.read(&name);
        }
        assert!(scene.guide.sets.len() <= MOST_SETS);
    }
    assert_eq!(scene.fetched, []);
}

#[test]
fn sets_that_nobody_reads_any_more_make_room() {
    let names = |set: &'static str| (0..3000).map(move |i| format!("{set}/{i:04}"));
    let mut scene = Scene::new(names("a").chain(names("b")));
    for i in 0..40 {
        scene.read(&format!("a/{:04}", i * 777 % 3000));
    }
    let of_a = |scene: &Scene| {
        scene
            .fetched
            .iter()
            .any(|key| key.as_str().starts_with("a/"))
    };
    assert!(of_a(&scene));
    for i in 0..SOON {
        scene.read(&format!("b/{i:04}"));
        scene.run_short();
        assert!(of_a(&scene), "{i}");
    }
    for i in SOON..SOON + 2 {
        scene.read(&format!("b/{i:04}"));
    }
    scene.run_short();
    assert!(!of_a(&scene));
    assert!(!scene.fetched.is_empty(), "those of b stay");
}

#[test]
fn key_is_below_a_path_only_after_a_slash() {
    let key = |text: &str| Key::new(text).expect("a key");
    assert!(is_below(&key("a/b/c"), &key("a/b")));
    assert!(!is_below(&key("a/b"), &key("a/b")));
    assert!(!is_below(&key("a/bc"), &key("a/b")));
    assert!(!is_below(&key("a"), &key("a/b")));
}
