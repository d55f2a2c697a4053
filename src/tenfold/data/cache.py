"""Images and labels that took long to read or to make, kept in the cache folder under a hash of what they came from.

Nothing here can make a reading fail: without the cache it is only slower.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold import settings
from tenfold.data.digits import Digits
from tenfold.data.walk import file_chunks, quoted, sha256
from tenfold.errors import DataError
from tenfold.files import npz, read_npz, write_atomically

READER_VERSION = 3  # raise it when any reader, or the frame, gives other images for the same bytes
MAX_KEPT = 256 << 20  # bytes of images: 340,000; packing more would take too much memory
PARTS = ("images", "labels", "ids", "notes")

log = logging.getLogger(__name__)


def parsed(files: Mapping[str, Path], read: Callable[[], Digits]) -> Digits:
    """Return `read()`, or what it returned before for files of the same roles and the same content.

    files: role -> path. The role is part of the key: `csv`, `train.csv` in a zip, `3/a.png` in class folders.
    """
    key = _key(files)  # 9 ms for Kaggle's zip, 44 ms for its train.csv unpacked
    if found := load("parsed", key, PARTS):
        images, labels, ids, notes = found
        return Digits(images, labels if len(labels) else None, ids, tuple(notes.tolist()))
    digits = read()
    if _key(files) != key:  # images and labels may not belong together
        raise DataError(f"{quoted(next(iter(files.values())))} changed while it was read. Try again when it is whole.")
    if digits.images.nbytes <= MAX_KEPT:
        labels = np.array([], np.int64) if digits.labels is None else digits.labels
        parts = digits.images, labels, digits.ids, np.array(digits.notes, str)
        store("parsed", key, dict(zip(PARTS, parts, strict=True)))
    return digits


def load(folder: str, key: str, names: Sequence[str]) -> list[NDArray[Any]] | None:
    """Return the arrays that were stored under a key, by name, or None where there are none or they are damaged."""
    path = _path(folder, key)
    try:
        content = read_npz(path)
        return [content[name] for name in names]
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("The cached '%s' cannot be read and is made anew: %s", path, error)
    except (ValueError, KeyError):
        log.warning("The cached '%s' is damaged and is made anew.", path)
    return None


def store(folder: str, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Keep arrays under a key; a cache that cannot be written is only reported."""
    path = _path(folder, key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, npz(arrays, compress=False))
    except OSError as error:
        log.info("The cache '%s' cannot be written: %s", path, error)


def _path(folder: str, key: str) -> Path:
    return settings.cache_folder() / folder / f"{key}.npz"


def _key(files: Mapping[str, Path]) -> str:
    """Return the SHA-256 (hex) over the readers' version, the roles and the files' bytes."""
    hashes = {path: sha256(file_chunks(path)) for path in set(files.values())}  # a zip has many roles
    roles = [(role, hashes[path]) for role, path in files.items()]
    return hashlib.sha256(json.dumps([READER_VERSION, roles]).encode()).hexdigest()
