"""A million small images, a chunk at a time: a folder of pictures, or the array in an NPZ file."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from tenfold.data.archive import is_clutter, open_zip, quoted, safe_members, unreadable
from tenfold.data.npz import KEYS, MAX_HEADER_BYTES, MAX_SIDE, read_header
from tenfold.errors import DataError
from tenfold.imaging.frame import to_frame
from tenfold.runtime.frames import FRAME, read_frame

ROWS = 4096  # images a chunk: 3 MB of frames. The same after an interruption, so that the answers are too
PIXELS = FRAME[0] * FRAME[1]


@dataclass(eq=False)
class Chunk:
    """Images in the frame, (n, 28, 28) uint8, their names, and why a row could not be read (its frame is blank)."""

    names: list[str]
    frames: NDArray[np.uint8]
    unreadable: dict[int, str] = field(default_factory=dict)


class ImageStream(Protocol):
    """Images to be read. count: how many; names: what a name is; fingerprint: other where the images are others."""

    count: int
    names: str
    fingerprint: str

    def chunks(self, start: int, threads: int) -> Iterator[Chunk]:
        """Yield the images from number `start` (a multiple of `ROWS`) on, `ROWS` at a time."""


def open_stream(path: Path) -> ImageStream:
    """Return the images of a folder or an NPZ file. DataError for anything else, and where there are none."""
    if path.is_dir():
        return FolderStream(path)
    if path.is_file() and zipfile.is_zipfile(path):
        return ArchiveStream(path)
    raise DataError(f"'{path}' is neither a folder of pictures nor an NPZ file. Give one of them.")


class FolderStream:
    """Every file below a folder but what file managers leave behind, sorted by name, folder by folder."""

    names = "file"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        digest = hashlib.sha256()
        for name, size in _files(path, ""):
            digest.update(os.fsencode(f"{name}\0{size}\0"))
            self.count += 1
        if not self.count:
            raise DataError(f"'{path}' holds no pictures. Give a folder with some.")
        self.fingerprint = digest.hexdigest()

    def chunks(self, start: int, threads: int) -> Iterator[Chunk]:
        """Yield chunks whose names are paths below the folder."""
        with ThreadPoolExecutor(threads, thread_name_prefix="tenfold-read") as pool:
            names: list[str] = []
            for number, (name, _) in enumerate(_files(self.path, "")):
                if number >= start:
                    names.append(name)
                if len(names) == ROWS:
                    yield self._read(names, pool)
                    names = []
            if names:
                yield self._read(names, pool)

    def _read(self, names: list[str], pool: ThreadPoolExecutor) -> Chunk:
        jobs = [_picture(self.path / name, name) for name in names]
        return _chunk(names, jobs, pool)


class ArchiveStream:
    """The array `X` or `images` of an NPZ file: (N, 28, 28) or (N, 784) uint8 in the frame; or (N, H, W), framed."""

    names = "index"

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_zip(path) as archive:
            members = safe_members(archive, path.name)
            found = [key for key, _ in KEYS if f"{key}.npy" in members]
            if not found:
                raise DataError(f"'{path.name}' holds {quoted(', '.join(members))}. Give an array 'X' or 'images'.")
            self.member = f"{found[0]}.npy"
            info = members[self.member]
            with archive.open(info) as file:
                self.shape, self.offset = self._header(file.read(12 + MAX_HEADER_BYTES))
        self.count = self.shape[0]
        self.fingerprint = hashlib.sha256(
            f"{self.member} {self.shape} {info.CRC} {info.file_size}".encode()
        ).hexdigest()

    def chunks(self, start: int, threads: int) -> Iterator[Chunk]:
        """Yield chunks whose names are the images' indices, read from the zip as they are needed."""
        with ExitStack() as stack:
            archive = stack.enter_context(open_zip(self.path))
            pool = stack.enter_context(ThreadPoolExecutor(threads, thread_name_prefix="tenfold-read"))
            file = stack.enter_context(archive.open(self.member))
            size = int(np.prod(self.shape[1:]))
            self._skip(file, self.offset + start * size)
            for first in range(start, self.count, ROWS):
                names = [str(index) for index in range(first, min(first + ROWS, self.count))]
                if self.shape[1:] in (FRAME, (PIXELS,)):
                    pixels = np.frombuffer(self._read(file, size * len(names)), np.uint8)
                    yield Chunk(names, pixels.reshape(-1, *FRAME))
                    continue
                frames = np.empty((len(names), *FRAME), np.uint8)
                step = max(1, (1 << 22) // size)  # 4 MB at a time, whatever size the images have
                for row in range(0, len(names), step):
                    some = range(row, min(row + step, len(names)))
                    pixels = np.frombuffer(self._read(file, size * len(some)), np.uint8)
                    frames[some.start : some.stop] = list(pool.map(to_frame, pixels.reshape(-1, *self.shape[1:])))
                yield Chunk(names, frames)

    def _header(self, start: bytes) -> tuple[tuple[int, ...], int]:
        """Return the array's shape and the byte where its pixels begin."""
        where = f"{self.path.name}/{self.member}"
        shape, fortran_order, dtype, offset = read_header(start, where)
        if dtype != np.uint8 or fortran_order:
            order = ", Fortran order" if fortran_order else ""
            raise DataError(f"'{where}' has dtype '{dtype}{order}'. Give uint8 in C order.")
        good = len(shape) == 3 or shape[1:] == (PIXELS,)
        if not good or min(shape) < 1 or max(shape[1:]) > MAX_SIDE:
            raise DataError(f"'{where}' has the shape '{shape}'. Give (N, 28, 28), or (N, H, W).")
        return shape, offset

    def _read(self, file: IO[bytes], count: int) -> bytes:
        content = file.read(count)
        if len(content) != count:
            raise DataError(f"'{self.path.name}/{self.member}' breaks off. Its header promises '{self.shape}'.")
        return content

    def _skip(self, file: IO[bytes], count: int) -> None:
        while count:
            count -= len(self._read(file, min(count, 1 << 20)))


def _files(folder: Path, below: str) -> Iterator[tuple[str, int]]:
    """Yield (path below the first folder, bytes) of every file, in the order of the names in each folder."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(
                (entry.name, entry.is_dir(follow_symlinks=False), _size(entry))
                for entry in entries
                if not is_clutter(Path(entry.name))
            )
    except OSError as error:
        raise unreadable(folder, error) from error
    for name, is_folder, size in found:
        if is_folder:
            yield from _files(folder / name, f"{below}{name}/")
        else:
            yield f"{below}{name}", size


def _size(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return -1  # a link that leads nowhere: it is among the unreadable


def _picture(path: Path, name: str) -> Callable[[], NDArray[np.uint8]]:
    return lambda: read_frame(path, name)


def _chunk(names: list[str], jobs: list[Callable[[], NDArray[np.uint8]]], pool: ThreadPoolExecutor) -> Chunk:
    """Return what the jobs read, side by side; a job that raises DataError leaves its reason and a blank frame."""
    chunk = Chunk(names, np.zeros((len(names), *FRAME), np.uint8))

    def run(row: int) -> None:
        try:
            chunk.frames[row] = jobs[row]()
        except DataError as error:
            chunk.unreadable[row] = str(error)

    for _ in pool.map(run, range(len(jobs))):
        pass
    return chunk
