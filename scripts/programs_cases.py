"""The programs that programs.py runs: what a shell, an archiver or an editor does to files."""

from errno import EEXIST

from programs_place import PLAIN, RENAMES, STAGED, Cases, Place

CASES = Cases()
MIB = 1 << 20

# Without a terminal, a swap file (which is not written in order) and anybody's settings; with backups of
# what is under /tmp, too.
VIM = ["vim", "-Nesn", "-u", "NONE", "-c", "set backupskip="]


@CASES.case(PLAIN, RENAMES, STAGED)
def cp(at: Place) -> None:
    tree, other = at.tree(), at.make("other", 3 * MIB)
    at.run("cp", "-r", tree, at.path)
    at.run("cp", "-p", other, at.path / "kept")
    at.run("cp", other, at.path / "tree/one")
    at.run("cp", at.path / "kept", at.path / "inside")
    at.holds_tree("tree", tree)
    for name in ("kept", "inside", "tree/one"):
        at.holds(name, other)
    # Complains of the directories, whose times cannot be set.
    at.run("cp", "-a", tree, at.path / "all", status=(0, 1))
    at.holds_tree("all", tree)


@CASES.case()
def cp_of_holes(at: Place) -> None:
    """cp skips the holes of a file by seeking, which is no writing in order."""
    sparse = at.sparse()
    at.run("cp", "--sparse=always", sparse, at.path / "f", status=1, says="Invalid argument")
    at.run("cp", "--sparse=never", sparse, at.path / "whole")
    at.holds("whole", sparse)


@CASES.case()
def mv(at: Place) -> None:
    """In and out, which is a copy and a removal."""
    first, second = at.make("first", 9 * MIB), at.make("second", 1000)
    contents = first.read_bytes(), second.read_bytes()
    at.run("mv", first, at.path / "in")
    at.run("mv", second, at.path / "back")
    at.run("mv", at.path / "back", at.scratch / "out")
    assert (at.scratch / "out").read_bytes() == contents[1] and not first.exists()
    at.holds("in", contents[0])


@CASES.case()
def mv_within(at: Place) -> None:
    """Without --allow-rename: refused, and everything stays as it is."""
    source = at.make("source", 1000)
    at.run("cp", source, at.path / "a")
    at.run("mv", at.path / "a", at.path / "b", status=1, says="Function not implemented")
    at.holds("a", source)


@CASES.case(RENAMES, STAGED)
def mv_renames(at: Place) -> None:
    small, large = at.make("small", 1000), at.make("large", 20 * MIB)
    at.run("cp", small, large, at.path)
    at.run("mv", at.path / "small", at.path / "moved")
    at.run("mkdir", at.path / "sub")
    at.run("mv", at.path / "large", at.path / "sub/large")
    at.run("cp", small, at.path / "again")
    at.run("mv", at.path / "again", at.path / "moved")
    at.run("cp", large, at.path / "kept")
    at.run("mv", "-n", at.path / "moved", at.path / "kept")
    at.holds("moved", small)
    at.holds("sub/large", large)
    at.holds("kept", large)


@CASES.case(PLAIN, RENAMES, STAGED)
def rm(at: Place) -> None:
    """A directory that is in S3 goes with its last file, before rm or find come to remove it: that
    they may complain of."""
    tree = at.tree()
    at.run("cp", "-r", tree, at.path / "a")
    at.run("cp", "-r", tree, at.path / "b")
    at.run("rm", at.path / "a/one")
    at.run("rm", "-r", at.path / "a", status=(0, 1))
    at.run("find", at.path / "b", "-type", "f", "-delete")
    at.run("mkdir", "-p", at.path / "new/er")
    at.run("rm", "-r", at.path / "new")
    at.run("cp", tree / "one", at.path / "kept")
    at.run("rmdir", at.path, status=1, says="Operation not permitted")
    at.holds("kept", tree / "one")


@CASES.case()
def rsync_in_place(at: Place) -> None:
    """New files only: rsync opens those that are there without O_TRUNC. With -t, and so with -a, it
    complains that it cannot set the times of what is in S3."""
    tree = at.tree()
    at.run("rsync", "-a", "--inplace", f"{tree}/", at.path / "all", status=(0, 23))
    at.holds_tree("all", tree)
    line = ["rsync", "-rlpgoD", "--inplace", "--size-only", f"{tree}/", at.path / "copy"]
    at.run(*line)
    at.make("tree/added", 10 * MIB)
    at.run(*line)
    at.holds_tree("copy", tree)
    at.make("tree/one", 5000)
    at.run(*line, status=23, says="Operation not permitted")


@CASES.case()
def rsync_default(at: Place) -> None:
    """Without --allow-rename, what it wrote under another name is removed again."""
    tree = at.tree()
    at.run("rsync", "-a", f"{tree}/", at.path / "copy", status=23, says="Function not implemented")


@CASES.case(RENAMES, STAGED)
def rsync_renames(at: Place) -> None:
    tree = at.tree()
    at.run("rsync", "-r", f"{tree}/", at.path / "copy")
    at.make("tree/one", 5000)
    at.run("rsync", "-r", f"{tree}/", at.path / "copy")
    at.holds_tree("copy", tree)


@CASES.case(PLAIN, RENAMES, STAGED)
def tar(at: Place) -> None:
    """Packs to the mount, and unpacks there from there."""
    tree = at.tree()
    at.run("tar", "-cf", at.path / "a.tar", "-C", tree, ".")
    at.run("tar", "-czf", at.path / "a.tar.gz", "-C", tree, ".")
    at.run("mkdir", at.path / "all", at.path / "plain", at.path / "packed")
    # Complains of the directories, whose owner, mode and times cannot be set.
    at.run("tar", "-C", at.path / "all", "-xf", at.path / "a.tar", status=(0, 2))
    line = ["tar", "--touch", "--no-same-owner", "--no-same-permissions", "-C"]
    at.run(*line, at.path / "plain", "-xf", at.path / "a.tar")
    at.run(*line, at.path / "packed", "-xzf", at.path / "a.tar.gz")
    at.run("tar", "-cf", at.scratch / "a.tar", "-C", tree, ".")
    at.holds("a.tar", at.scratch / "a.tar")
    at.holds("a.tar.gz", (at.path / "a.tar.gz").read_bytes())
    at.run("tar", "-dzf", at.path / "a.tar.gz", "-C", tree)
    for name in ("all", "plain", "packed"):
        at.holds_tree(name, tree)


@CASES.case()
def dd(at: Place) -> None:
    source = at.make("source", 30 * MIB + 123)
    small = at.make("small", 3 * MIB + 77)
    at.run("dd", f"if={source}", f"of={at.path}/large", "bs=1M")
    at.run("dd", f"if={source}", f"of={at.path}/synced", "bs=256K", "conv=fsync")
    at.run("dd", f"if={small}", f"of={at.path}/bytes", "bs=777")
    at.run("dd", f"if={source}", f"of={at.path}/direct", "bs=1M", "oflag=direct")
    at.run("dd", f"if={small}", f"of={at.path}/direct", "bs=4K")
    at.run("dd", f"if={small}", f"of={at.path}/kept", "conv=notrunc", "bs=64K")
    at.run("dd", f"if={small}", f"of={at.path}/kept", "conv=notrunc", status=1, says="Operation not permitted")
    at.run("dd", f"if={small}", f"of={at.path}/hole", "seek=1", "bs=4K", "conv=notrunc", status=1,
           says="Invalid argument")
    at.holds("large", source)
    at.holds("synced", source)
    for name in ("bytes", "direct", "kept"):
        at.holds(name, small)


@CASES.case(PLAIN, RENAMES)
def vim(at: Place) -> None:
    """As it is set up at first: it renames the old file, or copies it if it cannot be renamed, writes
    a new one and removes the old one. Without backups it opens the file without O_TRUNC."""
    at.run(*VIM, "-c", "normal ifirst", "-c", "wq", at.path / "f")
    for word, backup in (("second", "backupcopy=auto"), ("third", "backupcopy=no")):
        at.run(*VIM, "-c", f"set writebackup {backup}", "-c", f"normal o{word}", "-c", "wq", at.path / "f")
    at.run(*VIM, "-c", "set nowritebackup", "-c", "normal olost", "-c", "wq", at.path / "f", status=1)
    at.holds("f", b"first\nsecond\nthird\n")


@CASES.case()
def zip_stream(at: Place) -> None:
    """To a pipe zip needs no seeking; to a file it fails and leaves nothing."""
    tree = at.tree()
    at.shell('cd "$1" && zip -qr - . | cat > "$2"', tree, at.path / "a.zip")
    at.run("unzip", "-q", at.path / "a.zip", "-d", at.scratch / "back")
    at.run("diff", "-r", tree, at.scratch / "back")
    at.holds("a.zip", (at.path / "a.zip").read_bytes())
    at.run("zip", "-qr", at.path / "direct.zip", ".", status=(11, 14), says="Invalid argument", cwd=tree)


@CASES.case()
def unzip(at: Place) -> None:
    """Directories in S3 have no permissions and times of their own, which unzip warns of."""
    tree = at.tree()
    at.run("zip", "-qr", at.scratch / "a.zip", ".", cwd=tree)
    at.run("unzip", "-q", "-DD", at.scratch / "a.zip", "-d", at.path / "out", status=(0, 1))
    at.holds_tree("out", tree)


@CASES.case(PLAIN, RENAMES, STAGED)
def shell(at: Place) -> None:
    at.shell(
        """
        echo one > f
        echo two > f                    # replaces it
        : > empty
        { echo a; (echo b); echo c; } > nested
        seq 100000 | tee t1 t2 > t3
        seq 100000 | split -l 40000 - part-
        seq 100000 | gzip -n > z.gz
        echo new >> appended            # of a new file all is written
        printf x > x; test "$(cat x)" = x
        """
    )
    (at.scratch / "lines").write_bytes(b"".join(b"%d\n" % i for i in range(1, 100_001)))
    at.run("gzip", "-n", at.scratch / "lines")
    lines = "".join(f"{i}\n" for i in range(1, 100_001)).encode()
    at.holds("f", b"two\n")
    at.holds("empty", b"")
    at.holds("nested", b"a\nb\nc\n")
    for name in ("t1", "t2", "t3"):
        at.holds(name, lines)
    for index, name in enumerate(("part-aa", "part-ab", "part-ac")):
        at.holds(name, b"".join(lines.splitlines(keepends=True)[index * 40_000 : (index + 1) * 40_000]))
    at.holds("z.gz", at.scratch / "lines.gz")
    at.holds("appended", b"new\n")
    at.holds("x", b"x")


@CASES.case()
def refusals_of_the_shell(at: Place) -> None:
    """What a store cannot do is refused, and changes nothing."""
    (at.path / "f").write_text("here\n")
    at.shell("echo more >> f", status=1, says="Operation not permitted")
    at.shell("truncate -s 2 f", status=1, says="Operation not permitted")
    at.shell("ln f g", status=1, says="Operation not permitted")
    at.shell("ln -s f g", status=1, says="Operation not permitted")
    at.shell("set -C; echo x > f", status=1, says="cannot overwrite existing file")
    at.shell("sed -i s/here/there/ f", status=4, says="cannot rename")
    at.shell("mkdir f", status=1, says="File exists")
    at.shell("mkdir f/g", status=1, says="Not a directory")
    at.holds("f", b"here\n")
    # The shell duplicates the descriptor, and closes that after each command: the file is stored.
    at.shell("exec 3> held; echo first >&3; echo second >&3", status=1, says="Input/output error")
    at.holds("held", b"first\n")


@CASES.case(RENAMES, STAGED)
def sed_in_place(at: Place) -> None:
    (at.path / "f").write_text("here\n")
    at.shell("sed -i s/here/there/ f")
    at.holds("f", b"there\n")


@CASES.case(PLAIN, STAGED)
def touch(at: Place) -> None:
    at.shell("touch a b; touch -c missing")
    with at.fails(EEXIST):
        open(at.path / "a", "xb").close()
    at.holds("a", b"")
    at.holds("b", b"")
