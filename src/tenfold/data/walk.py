"""What is at a path, as a list of entries: a file, everything below a folder, everything in a zip; one like the other.

A zip in a folder or in a zip is what a folder of its content would be; a gzipped file is what it holds. Folders and
zips are bounded in depth and entries, what is read of an entry in bytes. Pipes, devices and links that lead nowhere
are entries that cannot be read.
"""

import itertools
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path, PurePosixPath

from tenfold.data import archive
from tenfold.data.archive import MAX_BYTES, fault, is_clutter, safe_members, unreadable
from tenfold.errors import DataError

MAX_DEPTH = 12
MAX_ENTRIES = 1_000_000  # 0.5 GB; EMNIST's digits as pictures are 280,000
MAX_ZIP_IN_ZIP = 256 << 20
START = 4096
ZIPS = (".zip", ".npz", ".pt", ".pth", ".xlsx")  # the last three are refused by name


@dataclass(frozen=True, eq=False)
class Entry:
    """A file somewhere below what was given.

    name: its path below that, with "/" between, without `.gz`. path: on the disk, of the zip for what is in one.
    opened, info: the zip and the entry's place in it, or None.
    """

    name: str
    path: Path
    opened: zipfile.ZipFile | None = None
    info: zipfile.ZipInfo | None = None

    @property
    def file(self) -> str:
        """What messages call it."""
        return self.path.name if self.info is None else f"{self.path.name}/{PurePosixPath(self.name).name}"

    @cached_property
    def start(self) -> bytes:
        """The first 4,096 bytes of what it holds, decompressed; b"" for what is empty, or no regular file."""
        if self.info is None and (not self.path.is_file() or not self.path.stat().st_size):
            return b""
        return archive.gunzip_start(next(self._raw(), b""))[:START]

    def chunks(self) -> Iterator[bytes]:
        """Return what it holds, decompressed, piece by piece. DataError where that is damaged, or a bomb."""
        chunks = self._raw()
        first = next(chunks, b"")
        whole = itertools.chain((first,), chunks)
        return archive.gunzipped(whole, self.file) if archive.is_gzip(first) else whole

    def read(self, most: int = MAX_BYTES) -> bytearray:
        """Return what it holds, decompressed. DataError where that is more than `most` bytes."""
        content = bytearray()
        for chunk in self.chunks():
            content += chunk
            if len(content) > most:
                raise fault(self.file, f"holds more than '{most}' bytes. Give less.")
        return content

    def _raw(self) -> Iterator[bytes]:
        if self.opened is None or self.info is None:
            return archive.file_chunks(self.path)
        return archive.member_chunks(self.opened, self.info, self.path.name)


@contextmanager
def walk(path: Path, *, damaged: bool = False) -> Iterator[list[Entry]]:
    """Yield the entries at a path, folder by folder by name; without what file managers leave behind.

    damaged: a zip in a folder that cannot be opened is an entry too, not a DataError.
    """
    with ExitStack() as stack:
        if path.is_dir():
            found = _folder(path, "", stack, set(), damaged)
        else:
            archive.file_size(path)
            found = _expanded(Entry(path.name, path), "", stack, 0)
        entries = list(itertools.islice(found, MAX_ENTRIES + 1))
        if len(entries) > MAX_ENTRIES:
            raise fault(path, f"holds more than '{MAX_ENTRIES}' files. Give the folder with the digits.")
        yield entries


def _folder(folder: Path, below: str, stack: ExitStack, above: set[tuple[int, int]], damaged: bool) -> Iterator[Entry]:
    """Yield what is below a folder; above: the folders that it is in, so that no link leads round in circles."""
    try:
        status = folder.stat()
        with os.scandir(folder) as scan:
            inside = (each for each in scan if not is_clutter(Path(each.name)))
            kinds = sorted((each.name, _is(each.is_dir), _is(each.is_file)) for each in inside)
    except OSError as error:
        raise unreadable(folder, error) from error
    here = (status.st_dev, status.st_ino)
    if here in above or len(above) >= MAX_DEPTH:
        return
    for name, is_folder, is_file in kinds:
        if is_folder:
            yield from _folder(folder / name, f"{below}{name}/", stack, above | {here}, damaged)
        elif is_file and name.lower().endswith(ZIPS):
            entry = Entry(f"{below}{name}", folder / name)
            try:
                yield from _expanded(entry, f"{entry.name}/", stack, 0)
            except DataError:
                if not damaged:
                    raise
                yield entry
        else:
            yield Entry(below + name.removesuffix(".gz"), folder / name)


def _is(test: Callable[[], bool]) -> bool:
    try:
        return test()
    except OSError:  # a link to itself
        return False


def _expanded(entry: Entry, below: str, stack: ExitStack, depth: int) -> Iterator[Entry]:
    """Yield what is in an entry where it is a zip, else the entry itself."""
    if entry.start[:4] not in (b"PK\3\4", b"PK\5\6") or depth > 1:
        yield Entry(entry.name.removesuffix(".gz"), entry.path, entry.opened, entry.info)
        return
    source = entry.path if entry.opened is None else BytesIO(entry.read(MAX_ZIP_IN_ZIP))
    with archive.zip_faults(entry.file):
        opened = stack.enter_context(archive.opened(source))
    for name, info in sorted(safe_members(opened, entry.file).items()):
        inner = Entry(below + name.replace("\\", "/"), entry.path, opened, info)
        if name.lower().endswith(ZIPS):
            yield from _expanded(inner, f"{inner.name}/", stack, depth + 1)
        else:
            yield Entry(inner.name.removesuffix(".gz"), inner.path, opened, info)
