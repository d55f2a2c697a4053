"""A million small images, a chunk at a time: a folder of pictures, or the array in an NPZ file."""

import hashlib
import itertools
import math
import os
import zipfile
from collections.abc import Iterator
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
        names = itertools.islice((name for name, _ in _files(self.path, "")), start, None)
        with ThreadPoolExecutor(threads, thread_name_prefix="tenfold-read") as pool:
            while some := list(itertools.islice(names, ROWS)):
                chunk = Chunk(some, np.zeros((len(some), *FRAME), np.uint8))
                for row, read in enumerate(pool.map(self._read, some)):
                    if isinstance(read, DataError):
                        chunk.unreadable[row] = str(read)
                    else:
                        chunk.frames[row] = read
                yield chunk

    def _read(self, name: str) -> NDArray[np.uint8] | DataError:
        try:
            return read_frame(self.path / name, name)
        except DataError as error:
            return error


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
            size = math.prod(self.shape[1:])
            framed = self.shape[1:] in (FRAME, (PIXELS,))
            step = ROWS if framed else max(1, (1 << 22) // size)  # 4 MB at a time, whatever size the images have
            self._skip(file, self.offset + start * size)
            for first in range(start, self.count, ROWS):
                last = min(first + ROWS, self.count)
                frames = np.empty((last - first, *FRAME), np.uint8)
                for row in range(0, last - first, step):
                    some = frames[row : row + step]
                    pixels = np.frombuffer(self._read(file, size * len(some)), np.uint8)
                    if framed:
                        some[:] = pixels.reshape(-1, *FRAME)
                    else:
                        some[:] = list(pool.map(to_frame, pixels.reshape(-1, *self.shape[1:])))
                yield Chunk([str(index) for index in range(first, last)], frames)

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
