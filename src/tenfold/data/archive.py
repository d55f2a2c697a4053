"""Files, gzip streams and zip archives that somebody else made, as bytes: bounded, checked, never unpacked to disk.

Sizes that an archive declares are not believed: what comes out is counted while it is decompressed.
"""

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from tenfold.errors import DataError

MAX_BYTES = 2 << 30  # 1.1 million images as CSV; nothing larger is read into memory
MAX_RATIO = 100  # decompressed to compressed; MNIST as IDX has 5, Kaggle's train.csv 8.6, a bomb 1,000
RATIO_FROM = 64 << 20  # below this many decompressed bytes no ratio is suspect
INPUT_CHUNK = 1 << 16  # deflate expands at most 1,032 times, so a chunk gives at most 68 MB
OUTPUT_CHUNK = 1 << 22
GZIP_WINDOW = 31  # zlib's wbits for a gzip stream with a window of 2**15


def read_file(path: Path) -> bytes:
    """Return the bytes of a regular file. DataError where it is missing, unreadable or larger than `MAX_BYTES`."""
    try:
        if not path.is_file():
            raise DataError(f"'{path}' is not a file. Give a file or a folder with digits.")
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"'{path}' has '{path.stat().st_size}' bytes. Give at most {MAX_BYTES}: split the file.")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def read_unpacked(path: Path) -> bytes:
    """Return the bytes of a regular file, those that it holds where it is gzipped. DataError as the two functions."""
    data = read_file(path)
    return gunzip(data, path.name) if is_gzip(data) else data


def is_gzip(start: bytes) -> bool:
    """Return True where a file's first bytes are those of a gzip stream."""
    return start[:2] == b"\x1f\x8b"


def unreadable(path: Path, error: Exception) -> DataError:
    """Return the DataError for a file that the operating system does not hand over."""
    reason = getattr(error, "strerror", None) or error
    return DataError(f"'{path}' cannot be read: {reason}. Check the path and its permissions.")


def gunzip(data: bytes, name: str) -> bytes:
    """Return what a gzip stream of one or more members holds.

    DataError, naming the compressed byte, where the stream is damaged, ends early or has other bytes after its end.
    """
    parts: list[bytes] = []
    total = position = 0
    stream = zlib.decompressobj(GZIP_WINDOW)
    while position < len(data):
        chunk = data[position : position + INPUT_CHUNK]
        before = stream.copy()
        try:
            parts.append(stream.decompress(chunk))
        except zlib.error as error:
            wrong = position + _first_bad_byte(before, chunk)
            raise DataError(
                f"'{name}' is damaged: its gzip data breaks at byte '{wrong}' of {len(data)}. Get the file again."
            ) from error
        total += len(parts[-1])
        _refuse_bomb(name, total, len(data))
        position += len(chunk) - len(stream.unused_data)
        if stream.eof:
            if not data[position:].strip(b"\0"):  # tape padding, which gzip itself ignores
                return b"".join(parts)
            if not is_gzip(data[position:]):
                raise DataError(
                    f"'{name}' goes on after its gzip data ended at byte '{position}' of {len(data)}. "
                    "Get the file again."
                )
            stream = zlib.decompressobj(GZIP_WINDOW)
    raise DataError(
        f"'{name}' is truncated: its gzip data breaks off at byte '{len(data)}', after {total} decompressed bytes. "
        "Get the file again."
    )


def gunzip_start(start: bytes) -> bytes:
    """Return the first bytes (at most 4,096) of what a file with these first bytes holds; b"" where it is damaged."""
    if not is_gzip(start):
        return start
    try:
        return zlib.decompressobj(GZIP_WINDOW).decompress(start, 4096)
    except zlib.error:
        return b""


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Yield a zip archive, closed afterwards; whatever zipfile finds wrong with it meanwhile becomes a DataError."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except zipfile.BadZipFile as error:
        raise DataError(f"'{path.name}' is a damaged zip: {_one_line(error)}. Get the file again.") from error
    except (zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError) as error:
        raise DataError(f"'{path.name}' cannot be unpacked: {_one_line(error)}. Get the file again.") from error
    except OSError as error:
        raise unreadable(path, error) from error


def safe_members(archive: zipfile.ZipFile, name: str) -> dict[str, zipfile.ZipInfo]:
    """Return the files in a zip by their path, without folders and what macOS and Windows leave behind.

    DataError where any entry points outside the archive (absolute, `..`, a link), is encrypted, stands there twice,
    or is compressed by a method other than deflate (the others cannot be decompressed in bounded memory).
    """
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        raw = info.orig_filename
        parts = re.split(r"[/\\]", raw)
        if ".." in parts or parts[0] == "" or re.match(r"[A-Za-z]:", raw) or "\0" in raw:
            raise DataError(f"'{name}' holds the entry {quoted(raw)}, which points outside it. Don't trust this file.")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DataError(f"'{name}' holds the entry {quoted(raw)}, which is a link. Don't trust this file.")
        if info.flag_bits & 1:
            raise DataError(f"'{name}' holds the encrypted entry {quoted(raw)}. Unpack it and give the folder.")
        if info.is_dir() or is_clutter(PurePosixPath(raw)):
            continue
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(
                f"'{name}' compresses {quoted(raw)} by method '{info.compress_type}'. Zip it again with deflate."
            )
        if raw in members:
            raise DataError(f"'{name}' holds the entry {quoted(raw)} twice. Zip it again with one of them.")
        members[raw] = info
    return members


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> bytes:
    """Return one decompressed entry; DataError as soon as it turns out to be a bomb."""
    size = info.compress_size  # the archive's own claim, but no more than this is read from it
    parts: list[bytes] = []
    total = 0
    with archive.open(info) as file:
        while part := file.read(OUTPUT_CHUNK):
            parts.append(part)
            total += len(part)
            _refuse_bomb(f"{name}/{info.filename}", total, size)
    return b"".join(parts)


def is_clutter(path: PurePosixPath | Path) -> bool:
    """Return True for what file managers leave behind: hidden files, Thumbs.db, desktop.ini, __MACOSX."""
    return path.name.startswith(".") or path.name in ("Thumbs.db", "desktop.ini") or "__MACOSX" in path.parts


def entries(folder: Path) -> list[Path]:
    """Return what is in a folder, but clutter, by name. DataError where it cannot be read."""
    try:
        return sorted((entry for entry in folder.iterdir() if not is_clutter(Path(entry.name))), key=lambda p: p.name)
    except OSError as error:
        raise unreadable(folder, error) from error


def quoted(text: str) -> str:
    """Return text in quotes and on one line, cut after 60 characters, with unprintable characters escaped."""
    return "'" + (text if text.isprintable() else ascii(text)[1:-1])[:60] + "'"


def _first_bad_byte(stream: "zlib._Decompress", chunk: bytes) -> int:
    """Return the index of the byte in `chunk` at which the stream breaks."""
    for index in range(len(chunk)):
        try:
            stream.decompress(chunk[index : index + 1])
        except zlib.error:
            return index
    return len(chunk)


def _refuse_bomb(name: str, total: int, compressed: int) -> None:
    if total > MAX_BYTES or (total > RATIO_FROM and total > MAX_RATIO * compressed):
        raise DataError(
            f"'{name}' unpacks to more than '{total}' bytes from {compressed}: a decompression bomb. "
            "Don't trust this file."
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
