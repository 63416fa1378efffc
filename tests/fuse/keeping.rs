//! `--posix-metadata` and extended attributes with the programs that use them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::local::Local;
use crate::support::mount::Mount;
use crate::support::seaweed::SeaweedFs;
use crate::support::store::TestStore;

const KEEPING: [&str; 4] = [
    "--posix-metadata",
    "--xattrs",
    "--allow-delete",
    "--allow-overwrite",
];

/// Runs a program and gives what it printed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    String::from_utf8(output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn after(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A directory with files of different modes and times, and a symbolic link.
fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("sub")).unwrap();
    for (index, (name, mode)) in [("a", 0o644), ("b.sh", 0o755), ("sub/c", 0o600)]
        .into_iter()
        .enumerate()
    {
        let path = root.path().join(name);
        fs::write(&path, name.repeat(1000)).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        let time = after(1_000_000_000 + index as u64) + Duration::from_nanos(123_456_789);
        fs::File::open(&path).unwrap().set_modified(time).unwrap();
    }
    symlink("sub/c", root.path().join("link")).unwrap();
    root
}

/// Whether `copy` has what [`tree`] has.
fn assert_is_tree(copy: &Path, tree: &Path) {
    for name in ["a", "b.sh", "sub/c"] {
        let (copy, original) = (copy.join(name), tree.join(name));
        assert_eq!(fs::read(&copy).unwrap(), fs::read(&original).unwrap());
        let (copy, original) = (fs::metadata(copy).unwrap(), fs::metadata(original).unwrap());
        assert_eq!(copy.mode(), original.mode(), "{name}");
        assert_eq!(copy.mtime(), original.mtime(), "{name}");
        assert_eq!(copy.uid(), original.uid(), "{name}");
    }
    let target = fs::read_link(copy.join("link")).unwrap();
    assert_eq!(target, Path::new("sub/c"));
}

fn programs_keep_attributes(store: &impl TestStore) {
    let bucket = store.fresh_bucket();
    let tree = tree();
    let mounting = store.mounting(&bucket).with(&KEEPING);
    let mount = mounting.mount();

    let archive = tree.path().with_extension("tar");
    run(
        "tar",
        &["-C", text(tree.path()), "-cf", text(&archive), "."],
    );
    fs::create_dir(mount.join("tar")).unwrap();
    run(
        "tar",
        &["-C", text(&mount.join("tar")), "-xpf", text(&archive)],
    );
    fs::remove_file(&archive).unwrap();
    let from = format!("{}/.", text(tree.path()));
    run("cp", &["-a", &from, text(&mount.join("cp"))]);
    assert_eq!(mount.unmount().code(), Some(0));

    // Only what the store keeps is left.
    let mount = mounting.mount();
    assert_is_tree(&mount.join("tar"), tree.path());
    assert_is_tree(&mount.join("cp"), tree.path());
    changes_are_kept(&mount);
}

fn changes_are_kept(mount: &Mount) {
    let path = mount.join("cp/a");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o440)).unwrap();
    fs::File::open(&path)
        .unwrap()
        .set_modified(after(77))
        .unwrap();
    let file = fs::metadata(&path).unwrap();
    assert_eq!((file.mode(), file.mtime()), (0o100_440, 77));
    assert_eq!(fs::read(&path).unwrap(), "a".repeat(1000).into_bytes());
    let shown = run("getfattr", &["-d", "--absolute-names", text(&path)]);
    for line in [
        "user.s3.meta.mode=\"33056\"",
        "user.s3.meta.mtime=\"77.000000000\"",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
}

#[test]
fn programs_keep_attributes_on_the_local_server() {
    programs_keep_attributes(Local::shared());
}

#[test]
fn programs_keep_attributes_on_seaweedfs() {
    programs_keep_attributes(SeaweedFs::shared());
}

#[test]
fn rsync_transfers_nothing_the_second_time() {
    let store = Local::shared();
    let bucket = store.fresh_bucket();
    let tree = tree();
    let mount = store.mounting(&bucket).with(&KEEPING).mount();
    let from = format!("{}/", text(tree.path()));
    let rsync = || {
        run(
            "rsync",
            &[
                "-a",
                "--inplace",
                "--itemize-changes",
                &from,
                text(mount.path()),
            ],
        )
    };
    let first = rsync();
    assert!(first.contains(">f+++++++++ a"), "{first}");
    assert_is_tree(mount.path(), tree.path());
    let second = rsync();
    let files: Vec<_> = second
        .lines()
        .filter(|line| !line.starts_with(".d"))
        .collect();
    assert_eq!(files, [""; 0], "{second}");
}

#[test]
fn extended_attributes_are_shown_and_listing_costs_none() {
    let store = Local::start();
    let bucket = store.fresh_bucket();
    store.plant_many(&bucket, "many/", 100, 10);
    let mount = store
        .mounting(&bucket)
        .with(&["--metadata-ttl", "60", "--xattrs"])
        .mount();
    let directory = mount.join("many");
    let before = store.requests();
    run("ls", &["-l", text(&directory)]);
    let listing = store.requests() - before;
    assert!(listing <= 4, "{listing} requests for ls");
    let before = store.requests();
    for index in 0..100 {
        let path = directory.join(format!("{index:07}"));
        let mut buffer = [0; 1024];
        let asked = rustix::fs::getxattr(&path, "security.capability", &mut buffer);
        assert_eq!(asked, Err(rustix::io::Errno::NODATA));
        assert!(rustix::fs::listxattr(&path, &mut buffer).unwrap() > 0);
    }
    assert_eq!(store.requests(), before);
    let path = directory.join("0000000");
    let etag = run(
        "getfattr",
        &["--only-values", "-n", "user.s3.etag", text(&path)],
    );
    assert_eq!(etag.len(), 32, "{etag}");
    assert_eq!(store.requests(), before);
    let class = ["--only-values", "-n", "user.s3.storage-class", text(&path)];
    assert_eq!(run("getfattr", &class), "STANDARD");
    assert_eq!(store.requests(), before + 1);
}
