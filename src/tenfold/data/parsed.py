"""Parsed digits kept in the cache folder, keyed by the content of the files they came from.

`parsed/<key>.npy` holds the images, the labels (none: length 0) and a CRC-32 of all that. `parsed/seen/` remembers,
by size, times and inode, the SHA-256 of files hashed before, so that 77 MB need not be hashed again at each start.
Nothing here can make a reading fail: without the cache it is only slower.
"""

import hashlib
import json
import logging
import math
import re
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold import settings
from tenfold.data.archive import unreadable
from tenfold.data.digits import Digits
from tenfold.data.npz import MAX_HEADER_BYTES, read_header

READER_VERSION = 1  # raise it when any reader, or the frame, gives other images for the same bytes
SETTLED_SECONDS = 2.0  # a file changed this recently may change again without its time stamp showing it
CRC_BYTES = 4

log = logging.getLogger(__name__)

Signature = list[tuple[str, int, int, int, int, int]]


def cached(files: Mapping[str, Path], read: Callable[[], Digits]) -> Digits:
    """Return `read()`, or what it returned before for files of the same roles and the same content.

    files: role -> path. The role is part of the key: `csv`, `train.csv` in a zip, `3/a.png` in class folders.
    """
    before = _signature(files)
    key = hashlib.sha256(json.dumps([READER_VERSION, _content(files, before)]).encode()).hexdigest()
    path = settings.cache_folder() / "parsed" / f"{key}.npy"
    digits = _load(path)
    if digits is None:
        digits = read()
        if _signature(files) == before:  # else it is not the content that was hashed
            _store(path, digits)
    return digits


def _signature(files: Mapping[str, Path]) -> Signature:
    """Return what changes when a file does; on POSIX no program can set the change time (st_ctime) back."""
    signature = []
    for role, path in files.items():
        try:
            stat = path.stat()
        except OSError as error:
            raise unreadable(path, error) from error
        signature.append((role, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return signature


def _content(files: Mapping[str, Path], signature: Signature) -> str:
    """Return the SHA-256 over the roles and the files' bytes."""
    now = time.time_ns()
    seen = settings.cache_folder() / "parsed" / "seen" / hashlib.sha256(json.dumps(signature).encode()).hexdigest()
    try:
        known = seen.read_text()
        if re.fullmatch("[0-9a-f]{64}", known):
            return known
    except (OSError, ValueError):
        pass  # not seen yet
    pairs = []
    for role, path in files.items():
        try:
            with path.open("rb") as file:
                pairs.append((role, hashlib.file_digest(file, "sha256").hexdigest()))
        except OSError as error:
            raise unreadable(path, error) from error
    content = hashlib.sha256(json.dumps(pairs).encode()).hexdigest()
    newest = max(max(entry[-2:]) for entry in signature)
    if newest < now - SETTLED_SECONDS * 1e9 and _signature(files) == signature:
        _write(seen, lambda temporary: temporary.write_text(content))
    return content


def _load(path: Path) -> Digits | None:
    """Return the digits of a cache file, or None where there is none or it is damaged."""
    try:
        payload = np.fromfile(path, np.uint8)
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            log.warning("The cached '%s' cannot be read and is made anew: %s", path, error)
        return None
    body, crc = payload[:-CRC_BYTES], payload[-CRC_BYTES:]
    if zlib.crc32(body.data) != int.from_bytes(crc.tobytes(), "little") or not len(body):
        log.warning("The cached '%s' is damaged and is made anew.", path)
        return None
    images, rest = _first_array(body)
    labels, _ = _first_array(rest)
    return Digits.of(images, labels if len(labels) else None)


def _first_array(data: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the first array of a file of them as a view, without a copy, and what follows it."""
    shape, _, _, start = read_header(data[: MAX_HEADER_BYTES + 12].tobytes())
    end = start + math.prod(shape)
    return data[start:end].reshape(shape), data[end:]


def _store(path: Path, digits: Digits) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("w+b") as file:
            np.save(file, digits.images, allow_pickle=False)
            np.save(file, np.array([] if digits.labels is None else digits.labels, np.uint8), allow_pickle=False)
            file.seek(0)
            crc = zlib.crc32(file.read())
            file.write(crc.to_bytes(CRC_BYTES, "little"))

    _write(path, write)


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Write a cache file under a temporary name, then rename it; a cache that cannot be written is only reported."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            temporary = Path(file.name)
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        log.info("The cache '%s' cannot be written: %s", path, error)
        if temporary is not None:
            temporary.unlink(missing_ok=True)
