"""What is at a path, as a list of entries: a file, everything below a folder, everything in a zip; one like the other.

A zip in a folder or in a zip is what a folder of its content would be; a gzipped file is what it holds. All of it is
somebody else's, and nothing is unpacked to disk. Folders and zips are bounded in depth and entries, what is read of an
entry in bytes: sizes that an archive declares are not believed, what comes out is counted while it is decompressed.
Pipes, devices and links that lead nowhere are entries that cannot be read.
"""

import hashlib
import itertools
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tenfold.errors import DataError
from tenfold.files import open_regular

MAX_DEPTH = 12
MAX_ENTRIES = 1_000_000  # 0.5 GB; EMNIST's digits as pictures are 280,000
MAX_ZIP_IN_ZIP = 256 << 20
START = 4096
ZIPS = (".zip", ".npz", ".pt", ".pth", ".xlsx")  # the last three are refused by name
MAX_BYTES = 768 << 20  # a million images as IDX, 440,000 as CSV; nothing larger is read into memory
MAX_RATIO = 100  # decompressed to compressed; MNIST as IDX has 5, Kaggle's train.csv 8.6, a bomb 1,000
RATIO_FROM = 64 << 20  # below this many decompressed bytes no ratio is suspect
OUTPUT_CHUNK, FIRST_CHUNK = 1 << 22, 1 << 16  # what an entry is tells its beginning
GZIP_WINDOW = 31  # zlib's wbits for a gzip stream with a window of 2**15
ZIP_END = 1 << 17  # bytes in which a zip's end lies, comments and all
MAX_DIRECTORY = 32 << 20  # bytes of a zip's list of entries: 300,000 pictures with long names
SHOWN = 60  # characters of a name in a message
SPECIAL = {"d": "a folder", "p": "a pipe", "c": "a device", "b": "a device", "s": "a socket"}  # as `ls -l` has them


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
        start = next(self._raw(), b"")
        with suppress(zlib.error):  # of what is no gzip stream, or a damaged one
            start = zlib.decompressobj(GZIP_WINDOW).decompress(start, START) or start
        return start[:START]

    def chunks(self) -> Iterator[bytes]:
        """Return what it holds, decompressed, piece by piece. DataError where that is damaged, or a bomb."""
        chunks = self._raw()
        first = next(chunks, b"")
        whole = itertools.chain((first,), chunks)
        return gunzipped(whole, self.file) if is_gzip(first) else whole

    def read(self, most: int = MAX_BYTES) -> bytearray:
        """Return what it holds, decompressed. DataError where that is more than `most` bytes."""
        content = bytearray()
        for chunk in self.chunks():
            content += chunk
            if len(content) > most:
                raise fault(self.file, f"holds more than '{most}' bytes. Give less.")
        return content

    def _raw(self) -> Iterator[bytes]:
        """Yield what lies there, piece by piece; DataError as soon as it turns out to be a bomb, or damaged."""
        if self.opened is None or self.info is None:
            yield from file_chunks(self.path)
            return
        with zip_faults(self.path.name), self.opened.open(self.info) as file:
            while part := file.read(OUTPUT_CHUNK if file.tell() else FIRST_CHUNK):
                # The archive's own claim, but no more than this is read from it.
                refuse_bomb(f"{self.path.name}/{self.info.filename}", file.tell(), self.info.compress_size)
                yield part


@contextmanager
def walk(path: Path, *, damaged: bool = False) -> Iterator[list[Entry]]:
    """Yield the entries at a path, folder by folder by name; without what file managers leave behind.

    damaged: a zip in a folder that cannot be opened is an entry too, not a DataError.
    """
    with ExitStack() as stack:
        if path.is_dir():
            found = _folder(path, "", stack, set(), damaged)
        else:
            file_size(path)
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
    with zip_faults(entry.file):
        opened = stack.enter_context(open_zip(source))
    for name, info in sorted(safe_members(opened, entry.file).items()):
        inner = Entry(below + name.replace("\\", "/"), entry.path, opened, info)
        if name.lower().endswith(ZIPS):
            yield from _expanded(inner, f"{inner.name}/", stack, depth + 1)
        else:
            yield Entry(inner.name.removesuffix(".gz"), inner.path, opened, info)


def file_size(path: Path) -> int:
    """Return the bytes of a regular file. DataError where it is none, is empty, or has more than `MAX_BYTES`."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        kind = SPECIAL.get(stat.filemode(status.st_mode)[0], "no file")
        raise fault(path, f"is {kind}. Give a file or a folder with digits.")
    if not status.st_size:  # so is what the kernel writes at the moment it is read, such as /proc/kmsg
        raise fault(path, "is empty: '0' bytes. Give a file with digits.")
    if status.st_size > MAX_BYTES:
        raise fault(path, f"has '{status.st_size}' bytes. Give at most {MAX_BYTES}: split the file.")
    return status.st_size


def file_chunks(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a regular file, piece by piece. DataError as `file_size`; also where it grows meanwhile."""
    left = file_size(path)
    try:
        real = path.resolve() if path.is_symlink() else path  # people link their data; a pipe is never waited for
        with open_regular(real, MAX_BYTES) as file:
            while left >= 0 and (chunk := file.read(min(OUTPUT_CHUNK, left + 1))):
                left -= len(chunk)
                yield chunk
    except OSError as error:
        raise unreadable(path, error) from error
    if left:
        raise fault(path, "changed while it was read. Try again when it is whole.")


def sha256(chunks: Iterable[bytes | memoryview]) -> str:
    """Return the SHA-256 (hex) of bytes that come in pieces."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def is_gzip(start: bytes) -> bool:
    """Return True where a file's first bytes are those of a gzip stream."""
    return start[:2] == b"\x1f\x8b"


def unreadable(path: Path, error: Exception) -> DataError:
    """Return the DataError for a file that the operating system does not hand over."""
    reason = getattr(error, "strerror", None) or error
    return fault(path, f"cannot be read: {reason}. Check the path and its permissions.")


def gunzipped(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Yield what a gzip stream of one or more members holds, at most 4 MB at a time.

    DataError, naming the compressed byte, where the stream is damaged, ends early or has other bytes after its end.
    """
    total = position = 0
    stream = zlib.decompressobj(GZIP_WINDOW)
    part = b""
    for each in chunks:
        chunk = each
        while chunk or len(part) == OUTPUT_CHUNK:
            if stream.eof:
                if not chunk.strip(b"\0"):  # tape padding, which gzip itself ignores
                    position, part = position + len(chunk), b""
                    break
                if chunk[:1] != b"\x1f":
                    raise fault(name, f"goes on after its gzip data ended at byte '{position}'. Get the file again.")
                stream = zlib.decompressobj(GZIP_WINDOW)
            before = stream.copy()
            try:
                part = stream.decompress(chunk, OUTPUT_CHUNK)
            except zlib.error as error:
                wrong = position + _first_bad_byte(before, chunk)
                raise fault(name, f"is damaged: its gzip data breaks at byte '{wrong}'. Get the file again.") from error
            rest = stream.unused_data or stream.unconsumed_tail
            position, total = position + len(chunk) - len(rest), total + len(part)
            refuse_bomb(name, total, position)
            yield part
            chunk = rest
    if not stream.eof:
        where = f"at byte '{position}', after {total} decompressed bytes"
        raise fault(name, f"is truncated: its gzip data breaks off {where}. Get the file again.")


def open_zip(source: Path | BinaryIO) -> zipfile.ZipFile:
    """Return a zip archive, whose directory zipfile holds in memory. BadZipFile where that would be too much."""
    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - ZIP_END))
        end = file.read()
    for signature, layout, offset in ((b"PK\5\6", "<I", 12), (b"PK\6\6", "<Q", 40)):  # APPNOTE.TXT, 4.3.16, 4.3.14
        at = end.rfind(signature)
        field = end[at + offset : at + offset + struct.calcsize(layout)]
        if at >= 0 and field.strip(b"\xff") and struct.unpack(layout, field)[0] > MAX_DIRECTORY:
            raise zipfile.BadZipFile("its list of entries is too long")
    return zipfile.ZipFile(source)


@contextmanager
def zip_faults(name: str) -> Iterator[None]:
    """Make a DataError of whatever zipfile finds wrong with an archive."""
    try:
        yield
    except zipfile.BadZipFile as error:
        raise fault(name, f"is a damaged zip: {_one_line(error)}. Get the file again.") from error
    except (zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError) as error:
        raise fault(name, f"cannot be unpacked: {_one_line(error)}. Get the file again.") from error
    except OSError as error:
        raise unreadable(Path(name), error) from error


def safe_members(archive: zipfile.ZipFile, name: str) -> dict[str, zipfile.ZipInfo]:
    """Return the files in a zip by their path, without folders and what macOS and Windows leave behind.

    DataError where any entry points outside the archive (absolute, `..`, a link), is encrypted, stands there twice,
    or is compressed by a method other than deflate (the others cannot be decompressed in bounded memory).
    """
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        raw = info.orig_filename
        parts = re.split(r"[/\\]", raw)
        outside = ".." in parts or parts[0] == "" or re.match(r"[A-Za-z]:", raw) or "\0" in raw
        if outside or stat.S_ISLNK(info.external_attr >> 16):
            how = "points outside it" if outside else "is a link"
            raise fault(name, f"holds the entry {quoted(raw)}, which {how}. Don't trust this file.")
        if info.flag_bits & 1:
            raise fault(name, f"holds the encrypted entry {quoted(raw)}. Unpack it and give the folder.")
        if info.is_dir() or is_clutter(PurePosixPath(raw)):
            continue
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            how = f"by method '{info.compress_type}'"
            raise fault(name, f"compresses {quoted(raw)} {how}. Zip it again with deflate.")
        if raw in members:
            raise fault(name, f"holds the entry {quoted(raw)} twice. Zip it again with one of them.")
        members[raw] = info
    return members


def is_clutter(path: PurePosixPath | Path) -> bool:
    """Return True for what file managers leave behind: hidden files, Thumbs.db, desktop.ini, __MACOSX."""
    return path.name.startswith(".") or path.name in ("Thumbs.db", "desktop.ini") or "__MACOSX" in path.parts


def fault(file: str | Path, what: str) -> DataError:
    """Return the DataError that says of a file, in quotes, what is wrong with it."""
    return DataError(f"{quoted(file)} {what}")


def quoted(text: str | Path) -> str:
    """Return text in quotes and on one line, unprintable characters escaped, cut to 60: of a path, the end is kept."""
    shown = str(text) if str(text).isprintable() else ascii(str(text))[1:-1]
    if isinstance(text, Path) and len(shown) > SHOWN:
        shown = "..." + shown[3 - SHOWN :]
    return f"'{shown[:SHOWN]}'"


def _first_bad_byte(stream: "zlib._Decompress", chunk: bytes) -> int:
    """Return the index of the byte in `chunk` at which the stream breaks."""
    for index in range(len(chunk)):
        try:
            stream.decompress(chunk[index : index + 1])
        except zlib.error:
            return index
    return len(chunk)


def refuse_bomb(name: str, total: int, compressed: int) -> None:
    """Raise DataError where so many bytes can't honestly come of so many compressed ones."""
    if total > MAX_BYTES or (total > RATIO_FROM and total > MAX_RATIO * compressed):
        what = f"unpacks to more than '{total}' bytes from {compressed}: a decompression bomb"
        raise fault(name, f"{what}. Don't trust this file.")


def _one_line(error: Exception) -> str:
    return quoted(" ".join(str(error).split()) or type(error).__name__)
