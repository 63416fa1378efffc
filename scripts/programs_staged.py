"""What programs.py does where files are staged: programs that write here and there, and files that are
changed in place."""

import mmap
import os
import sqlite3
import zipfile
from errno import ENOENT

import h5py
import numpy

from programs_place import STAGED, Cases, Place

CASES = Cases()
MIB = 1 << 20


@CASES.case(STAGED)
def git(at: Place) -> None:
    """A repository that lives on the mount: cloned, changed, packed, checked."""
    source = at.scratch / "source"
    # By itself a commit may leave a process behind, which has a file there while it looks for work.
    who = ["-c", "user.name=tests", "-c", "user.email=tests@example.com", "-c", "maintenance.auto=false"]
    at.run("git", "init", "-q", source)
    for name in ("one", "two"):
        at.make(f"source/{name}", 100_000)
        at.run("git", "-C", source, "add", name)
        at.run("git", "-C", source, *who, "commit", "-qm", name)
    clone = at.path / "clone"
    at.run("git", "clone", "-q", f"file://{source}", clone)
    three = at.make("three", 5000)
    at.run("cp", three, clone)
    at.run("git", "-C", clone, "add", "three")
    at.run("git", "-C", clone, *who, "commit", "-qm", "three")
    at.run("git", "-C", clone, "checkout", "-q", "HEAD~1")
    assert not (clone / "three").exists()
    at.run("git", "-C", clone, "checkout", "-q", "-")
    at.run("git", "-C", clone, "gc", "-q")
    at.run("git", "-C", clone, "fsck", "--strict")
    assert at.run("git", "-C", clone, "status", "--porcelain") == ""
    assert (clone / "three").read_bytes() == three.read_bytes()
    # What it keeps for itself is its own business: what the mount shows must be in the bucket.
    at.holds_shown()


@CASES.case(STAGED)
def sqlite(at: Place) -> None:
    """With each kind of journal, one of which maps a file into memory; two connections."""
    for journal in ("delete", "truncate", "persist", "wal"):
        path = at.path / f"{journal}.db"
        first = sqlite3.connect(path)
        first.execute(f"PRAGMA journal_mode = {journal}")
        first.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
        for _ in range(5):
            first.executemany("INSERT INTO t (b) VALUES (?)", [(str(i) * 50,) for i in range(300)])
            first.commit()
        second = sqlite3.connect(path)
        assert second.execute("SELECT count(*) FROM t").fetchall() == [(1500,)]
        first.execute("DELETE FROM t WHERE a % 3 = 0")
        first.rollback()
        second.execute("DELETE FROM t WHERE a % 5 = 0")
        second.commit()
        second.close()
        first.execute("VACUUM")
        assert first.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        first.close()
        again = sqlite3.connect(path)
        assert again.execute("SELECT count(*) FROM t").fetchall() == [(1200,)]
        again.close()
    at.holds_shown()


@CASES.case(STAGED)
def hdf5_in_place(at: Place) -> None:
    """h5py writes here and there, and changes a file that is there."""
    array = numpy.frombuffer(at.bytes(12 * MIB), dtype=numpy.int32)
    with h5py.File(at.path / "f.h5", "w") as file:
        file.create_dataset("a", data=array, chunks=(4096,))
    with h5py.File(at.path / "f.h5", "r+") as file:
        file["a"][1000:2000] = 7
        file.create_dataset("b", data=array[:100])
    with h5py.File(at.path / "f.h5", "r") as file:
        assert (file["a"][1000:2000] == 7).all() and (file["a"][2000:] == array[2000:]).all()
        assert (file["b"][:] == array[:100]).all()
    at.holds_shown()


@CASES.case(STAGED)
def zip_archive(at: Place) -> None:
    """zip seeks back, and writes an archive anew to change it; zipfile adds to one in place."""
    tree = at.tree()
    at.run("zip", "-qr", at.path / "a.zip", ".", cwd=tree)
    at.make("tree/added", 100_000)
    at.run("zip", "-q", at.path / "a.zip", "added", cwd=tree)
    with zipfile.ZipFile(at.path / "a.zip", "a") as archive:
        archive.writestr("text", "by zipfile")
    at.run("unzip", "-q", at.path / "a.zip", "-d", at.scratch / "back")
    (tree / "text").write_text("by zipfile")
    at.run("diff", "-r", tree, at.scratch / "back")
    at.holds_shown()


@CASES.case(STAGED)
def numpy_archive(at: Place) -> None:
    """savez seeks back, and a mapped array is changed in place."""
    array = numpy.frombuffer(at.bytes(10 * MIB), dtype=numpy.int16).reshape(-1, 512)
    numpy.savez(at.path / "many.npz", a=array, b=array[:10])
    with numpy.load(at.path / "many.npz") as many:
        assert (many["a"] == array).all() and (many["b"] == array[:10]).all()
    numpy.save(at.path / "a.npy", array)
    mapped = numpy.lib.format.open_memmap(at.path / "a.npy", mode="r+")
    mapped[100] = 5
    mapped.flush()
    del mapped
    array = array.copy()
    array[100] = 5
    assert (numpy.load(at.path / "a.npy") == array).all()
    at.holds_shown()


@CASES.case(STAGED)
def seek_back_to_a_header(at: Place) -> None:
    """As ffmpeg does, at the end of a long file."""
    for size in (1000, 20 * MIB):
        data = at.bytes(size)
        with open(at.path / f"video-{size}", "wb") as file:
            file.write(b"------")
            file.write(data)
            file.seek(0)
            file.write(b"header")
        at.holds(f"video-{size}", b"header" + data)


@CASES.case(STAGED)
def mapped_memory(at: Place) -> None:
    """Written through memory, seen through the file."""
    data = bytearray(at.bytes(9 * MIB))
    (at.path / "f").write_bytes(data)
    with open(at.path / "f", "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[5:10] = data[5:10] = b"first"
        memory[9 * MIB - 4 :] = data[9 * MIB - 4 :] = b"last"
        memory.flush()
        assert (at.path / "f").read_bytes() == data
    at.holds("f", bytes(data))


@CASES.case(STAGED)
def changes_in_place(at: Place) -> None:
    """Appending, cutting off, writing into the middle, by the shell and by system calls."""
    at.shell(
        """
        echo one > f; echo two >> f; printf X | dd of=f bs=1 seek=1 conv=notrunc status=none
        truncate -s 20M sparse; printf end >> sparse; printf mid | dd of=sparse bs=1 seek=9000000 conv=notrunc status=none
        seq 1000 > cut; truncate -s 10 cut
        exec 3> held; echo first >&3; echo second >&3; exec 3>&-
        sed -i s/two/three/ f
        """
    )
    at.holds("f", b"oXe\nthree\n")
    sparse = bytearray(20 * MIB) + b"end"
    sparse[9_000_000:9_000_003] = b"mid"
    at.holds("sparse", bytes(sparse))
    at.holds("cut", b"1\n2\n3\n4\n5\n")
    at.holds("held", b"first\nsecond\n")


@CASES.case(STAGED)
def vim_in_place(at: Place) -> None:
    """With backups, without, and by opening the file for writing."""
    vim = ["vim", "-N", "-u", "NONE", "-i", "NONE", "-n", "-es"]
    at.run(*vim, "-c", "normal ifirst", "-c", "wq", at.path / "f")
    for word, how in (("second", "backupcopy=auto"), ("third", "backupcopy=yes"), ("fourth", "nowritebackup")):
        at.run(*vim, "-c", f"set {how}", "-c", f"normal Go{word}", "-c", "wq", at.path / "f")
    at.holds("f", b"first\nsecond\nthird\nfourth\n")


@CASES.case(STAGED)
def rsync_in_place_changes(at: Place) -> None:
    """Of a file that changed, what changed."""
    tree = at.tree()
    line = ["rsync", "-rI", "--inplace", "--no-whole-file", f"{tree}/", at.path / "copy"]
    at.run(*line)
    with open(tree / "more/9M", "r+b") as file:
        file.seek(5 * MIB)
        file.write(b"changed")
    at.run(*line)
    at.holds_tree("copy", tree)


@CASES.case(STAGED)
def holes(at: Place) -> None:
    """cp skips the holes of a file by seeking."""
    sparse = at.sparse()
    at.run("cp", "--sparse=always", sparse, at.path / "f")
    at.holds("f", sparse)


@CASES.case(STAGED)
def removed_while_open(at: Place) -> None:
    """A file without a name lives as long as somebody has it open, and is gone then."""
    with open(at.path / "f", "w+b") as file:
        file.write(b"some data")
        file.flush()
        os.fsync(file.fileno())
        os.unlink(at.path / "f")
        file.write(b", and more")
        file.seek(0)
        assert file.read() == b"some data, and more"
    with at.fails(ENOENT):
        os.stat(at.path / "f")
