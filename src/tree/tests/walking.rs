//! Walks: directories that are opened one after the other.

use super::*;

/// A bucket of `count` directories with two files each.
fn directories(count: usize) -> Fixture {
    let keys: Vec<String> = (0..count)
        .flat_map(|i| ["a", "b"].map(|name| format!("d{i:03}/{name}")))
        .collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    Fixture::new(&keys)
}

/// Looks up and opens one of them, and reads it.
fn visit(f: &Fixture, i: usize) -> Vec<String> {
    let node = f.lookup(ROOT, &format!("d{i:03}")).unwrap();
    let names = f.names(node.ino);
    f.tree.forget(node.ino, 1);
    names
}

/// The LISTs so far.
fn listed(f: &Fixture) -> usize {
    f.store.count(Op::List)
}

/// Reads the root with references, so that nothing has to be looked up.
fn enter(f: &Fixture) -> Vec<DirEntry> {
    let entries = read_all(&f.open_dir(ROOT), true, usize::MAX).unwrap();
    f.store.clear_log();
    entries
}

#[test]
fn walk_is_listed_ahead_of_and_makes_no_request_twice() {
    let f = directories(60);
    let entries = enter(&f);
    let mut most = 0;
    for (i, entry) in entries.iter().enumerate() {
        assert_eq!(f.names(entry.node.ino), ["a", "b"]);
        most = most.max(listed(&f) - i);
    }
    assert_eq!(listed(&f), 60, "each directory was listed once");
    assert!(most > 5, "{most} at once");
}

#[test]
fn walk_that_stops_has_wasted_a_fifth_at_most() {
    for visited in 1..60 {
        let f = directories(60);
        let entries = enter(&f);
        for entry in entries.iter().take(visited) {
            f.names(entry.node.ino);
        }
        // The listing of the root is one of them.
        let (needed, made) = (visited + 1, listed(&f) + 1);
        assert!(made * 5 <= needed * 6, "{made} instead of {needed}");
    }
}

#[test]
fn other_orders_are_not_listed_ahead_of() {
    let f = directories(60);
    let entries = enter(&f);
    for entry in entries[1..].iter().rev() {
        f.names(entry.node.ino);
    }
    assert_eq!(listed(&f), 59);
}

#[test]
fn what_is_made_here_is_listed_though_the_walk_was_ahead() {
    let f = directories(60);
    let entries = enter(&f);
    for entry in &entries[..40] {
        f.names(entry.node.ino);
    }
    assert!(listed(&f) > 41, "some are listed ahead");
    let directory = entries[40].node.ino;
    let file = block_on(f.tree.create(directory, OsStr::new("new"))).unwrap();
    let key = Key::new("d040/new").unwrap();
    f.tree.start_writing(file.ino, &key, 0).unwrap();
    f.store.put("d040/new", "");
    f.tree.end_writing(file.ino, true);
    assert_eq!(f.names(directory), ["a", "b", "new"]);
}

#[test]
fn pages_listed_ahead_are_kept_for_a_second() {
    let f = directories(60);
    let entries = enter(&f);
    for entry in &entries[..40] {
        f.names(entry.node.ino);
    }
    let ahead = listed(&f) - 40;
    assert!(ahead > 1);
    f.store.put("d040/new", "");
    f.advance(Duration::from_millis(999));
    assert_eq!(f.names(entries[40].node.ino), ["a", "b"], "asked before");
    f.store.put("d041/new", "");
    f.advance(Duration::from_millis(1));
    assert_eq!(f.names(entries[41].node.ino), ["a", "b", "new"]);
    let before = listed(&f);
    for entry in &entries[42..] {
        f.names(entry.node.ino);
    }
    assert_eq!(listed(&f), before + 18, "a wrong guess is the last one");
}

#[test]
fn rewinding_lists_anew() {
    let f = directories(60);
    let entries = enter(&f);
    for entry in &entries[..40] {
        f.names(entry.node.ino);
    }
    let directory = f.open_dir(entries[40].node.ino);
    assert_eq!(read_all(&directory, false, 9).unwrap().len(), 2);
    f.store.put("d040/new", "");
    assert_eq!(read_all(&directory, false, 9).unwrap().len(), 3);
}

#[test]
fn walk_without_references_is_listed_ahead_of() {
    let f = directories(30);
    assert_eq!(f.names(ROOT).len(), 30);
    let mut counts = Vec::new();
    for i in 0..30 {
        f.store.clear_log();
        assert_eq!(visit(&f, i), ["a", "b"]);
        // One listing tells that the directory is there.
        counts.push(listed(&f) - 1);
    }
    assert_eq!(counts.iter().sum::<usize>(), 30, "{counts:?}");
    assert!(counts.contains(&0), "{counts:?}");
}

#[test]
fn nothing_is_left_of_a_tree_that_was_ahead_of_a_walk() {
    let f = directories(60);
    let entries = enter(&f);
    for entry in &entries[..40] {
        f.names(entry.node.ino);
    }
    assert!(listed(&f) > 40);
    let core = Arc::downgrade(f.core());
    drop(f);
    assert!(core.upgrade().is_none());
}
