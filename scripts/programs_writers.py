"""What programs.py does with system calls and with the libraries that write models and data sets."""

import io
import multiprocessing
import os
import zipfile
from errno import EBADF, EEXIST, EINVAL, EIO, EPERM

import h5py
import numpy
import safetensors.numpy

from mounts import LONG, Wrong
from programs_place import PLAIN, STAGED, Cases, Place

CASES = Cases()
MIB = 1 << 20


@CASES.case(PLAIN, STAGED)
def sizes(at: Place) -> None:
    """Around the sizes at which something else happens: blocks, one part, two parts."""
    for size in (0, 1, 4095, 4097, MIB, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 16 * MIB, 16 * MIB + 1):
        data = at.bytes(size)
        (at.path / f"{size}").write_bytes(data)
        at.holds(f"{size}", data)


@CASES.case(PLAIN, STAGED)
def uneven_writes(at: Place) -> None:
    """Writes of every length from 1 byte to 3 MiB, by turns."""
    data = at.bytes(21 * MIB)
    lengths = [1, 3 * MIB, 5, 4096, 131_071, 1_048_577, 17, 700_000]
    with open(at.path / "f", "wb", buffering=0) as file:
        begin = index = 0
        while begin < len(data):
            length = lengths[index % len(lengths)]
            os.writev(file.fileno(), [data[begin : begin + length // 2], data[begin + length // 2 : begin + length]])
            begin, index = begin + length, index + 1
    at.holds("f", data)


@CASES.case()
def seek_back(at: Place) -> None:
    """As ffmpeg does, to fill in a header: refused, and nothing is left, however long the file."""
    for size in (1000, 20 * MIB):
        file = os.open(at.path / "video.mp4", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        write_all(file, at.bytes(size))
        os.lseek(file, 0, os.SEEK_SET)
        with at.fails(EINVAL):
            os.write(file, b"header")
        with at.fails(EINVAL):
            os.pwrite(file, b"more", size)
        with at.fails(EINVAL):
            os.close(file)


@CASES.case()
def write_ahead(at: Place) -> None:
    """A hole."""
    file = os.open(at.path / "f", os.O_WRONLY | os.O_CREAT)
    with at.fails(EINVAL):
        os.pwrite(file, b"data", 1)
    with at.fails(EINVAL):
        os.close(file)


@CASES.case(PLAIN, STAGED)
def killed(at: Place) -> None:
    """A writer that is killed has closed its file: what it wrote is there, as with any file system."""
    child = os.fork()
    if child == 0:
        file = os.open(at.path / "f", os.O_WRONLY | os.O_CREAT)
        os.write(file, b"some")
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    at.holds("f", b"some")


@CASES.case(PLAIN, STAGED)
def fork_and_close(at: Place) -> None:
    """A child that closes a descriptor of its parent does not end the file."""
    file = os.open(at.path / "f", os.O_WRONLY | os.O_CREAT)
    for text in (b"", b"one ", b"two "):
        os.write(file, text)
        if os.fork() == 0:
            os.close(file)
            os._exit(0)
        os.wait()
    if os.fork() == 0:
        os.write(file, b"from the child ")
        os._exit(0)
    os.wait()
    os.lseek(file, 0, os.SEEK_END)
    os.write(file, b"end")
    os.close(file)
    at.holds("f", b"one two from the child end")


@CASES.case()
def one_writer(at: Place) -> None:
    """Nobody else opens a file while it is written; after the close everybody sees it, whole."""
    path = at.path / "f"
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.write(file, b"first")
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY | os.O_TRUNC):
        with at.fails(EPERM):
            os.open(path, flags)
    with at.fails(EBADF):
        os.read(file, 1)
    with at.fails(EPERM):
        os.unlink(path)
    os.close(file)
    assert path.read_bytes() == b"first"
    with open(path, "rb") as reader, at.fails(EPERM):
        os.open(path, os.O_WRONLY | os.O_TRUNC)
        reader.read()
    with at.fails(EPERM):
        os.open(path, os.O_WRONLY)
    with at.fails(EEXIST):
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    at.holds("f", b"first")


@CASES.case()
def fsync(at: Place) -> None:
    """Stores the file, which cannot be written on then."""
    file = os.open(at.path / "f", os.O_WRONLY | os.O_CREAT)
    os.write(file, b"data")
    os.fsync(file)
    assert (at.path / "f").stat().st_size == 4
    with at.fails(EIO):
        os.write(file, b"more")
    os.close(file)
    at.holds("f", b"data")


@CASES.case(PLAIN, STAGED)
def torch_save(at: Place) -> None:
    """A zip archive of stored tensors, each at a multiple of 64 bytes, written from its start to its
    end: what `torch.save` does."""
    tensors = {f"data/{i}": at.bytes(3 * MIB + i) for i in range(6)}
    with open(at.path / "model.pt", "wb") as file, zipfile.ZipFile(Stream(file), "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
        for name, data in tensors.items():
            archive.writestr(f"archive/{name}", data)
        archive.writestr("archive/version", b"3\n")
    data = (at.path / "model.pt").read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert all(archive.read(f"archive/{name}") == tensor for name, tensor in tensors.items())
    at.holds("model.pt", data)


@CASES.case(PLAIN, STAGED)
def safetensors_save(at: Place) -> None:
    tensors = {f"layer.{i}": numpy.frombuffer(at.bytes(2 * MIB), dtype=numpy.float32) for i in range(6)}
    safetensors.numpy.save_file(tensors, at.path / "model.safetensors")
    with open(at.path / "stream.safetensors", "wb") as file:
        file.write(safetensors.numpy.save(tensors))
    safetensors.numpy.save_file(tensors, at.scratch / "model")
    at.holds("model.safetensors", at.scratch / "model")
    at.holds("stream.safetensors", at.scratch / "model")


@CASES.case()
def numpy_save(at: Place) -> None:
    array = numpy.frombuffer(at.bytes(20 * MIB), dtype=numpy.int16).reshape(-1, 512)
    numpy.save(at.path / "a.npy", array)
    numpy.save(at.path / "transposed.npy", array.T[:, :100])
    array.tofile(at.path / "raw")
    numpy.save(at.scratch / "a.npy", array)
    numpy.save(at.scratch / "transposed.npy", array.T[:, :100])
    at.holds("a.npy", at.scratch / "a.npy")
    at.holds("transposed.npy", at.scratch / "transposed.npy")
    at.holds("raw", array.tobytes())
    # Seeks back to fill in the archive's headers.
    with at.fails(EINVAL):
        numpy.savez(at.path / "many.npz", a=array, b=array)
    with open(at.path / "many.npz", "wb") as file:
        numpy.savez(Stream(file), a=array[:10], b=array[:20])
    at.holds("many.npz", (at.path / "many.npz").read_bytes())
    with numpy.load(at.path / "many.npz") as many:
        assert (many["b"] == array[:20]).all()


@CASES.case()
def hdf5(at: Place) -> None:
    """h5py writes here and there: refused. A file made in memory is written in one go."""
    array = numpy.frombuffer(at.bytes(2 * MIB), dtype=numpy.int32)
    # It has its own texts for errors, some of which are no OSError.
    try:
        with h5py.File(at.path / "direct.h5", "w") as file:
            file.create_dataset("a", data=array)
        raise Wrong("h5py writes in order")
    except (OSError, RuntimeError) as error:
        if "Invalid argument" not in str(error):
            raise
    with h5py.File("memory.h5", "w", driver="core", backing_store=False) as file:
        file.create_dataset("a", data=array, chunks=(1024,))
        file.flush()
        image = file.id.get_file_image()
    (at.path / "image.h5").write_bytes(image)
    with h5py.File(at.path / "image.h5", "r") as file:
        assert (file["a"][:] == array).all()
    at.holds("image.h5", image)


@CASES.case(PLAIN, STAGED)
def checkpoint(at: Place) -> None:
    """256 MiB by 4 processes, each its own file, each synced."""
    each = [at.bytes(MIB) for _ in range(4)]
    workers = [multiprocessing.Process(target=write_shard, args=(at.path / f"step-1/shard-{i}", data, 64))
               for i, data in enumerate(each)]
    (at.path / "step-1").mkdir()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(LONG)
        if worker.exitcode != 0:
            raise Wrong(f"a writer ended with {worker.exitcode}")
    for i, data in enumerate(each):
        at.holds(f"step-1/shard-{i}", data * 64)


@CASES.case(PLAIN, STAGED)
def many_small_files(at: Place) -> None:
    """By 4 processes in one directory."""
    names = [f"{i:03}" for i in range(100)]
    data = at.bytes(10_000)
    workers = [multiprocessing.Process(target=write_files, args=(at.path, names[i::4], data)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(LONG)
    for name in names:
        at.holds(name, data + name.encode())
    assert sorted(os.listdir(at.path)) == names


class Stream:
    """A file that cannot seek, which is what a writer in order has to take it for."""

    def __init__(self, file) -> None:
        self.file = file

    def read(self, _size: int = -1) -> bytes:
        raise io.UnsupportedOperation("read")

    def write(self, data) -> int:
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def write_all(file: int, data: bytes) -> None:
    """Writes all of `data`, a MiB at a time."""
    for begin in range(0, len(data), MIB):
        os.write(file, data[begin : begin + MIB])


def write_shard(path, data: bytes, times: int) -> None:
    """Writes `data` so many times, in uneven pieces, and syncs."""
    with open(path, "wb") as file:
        for _ in range(times):
            file.write(data[:300_001])
            file.write(data[300_001:])
        file.flush()
        os.fsync(file.fileno())


def write_files(directory, names: list[str], data: bytes) -> None:
    """Writes files, one after the other."""
    for name in names:
        (directory / name).write_bytes(data + name.encode())
