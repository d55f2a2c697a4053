"""Files that are written whole or not at all, and our own archives of arrays read without trusting them."""

import errno
import io
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import RunError


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` under a temporary name beside `path`, force it to the disk, and rename it.

    Whatever happens, `path` holds the old content or the new one, never half of it. Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold `path`, a file or folder that is being written, for this process alone; one that ends, killed too, lets go.

    Raises RunError where another process holds it, or where its lock, `.NAME.lock` beside it, cannot be made.
    """
    lock = path.with_name(f".{path.name}.lock")
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        file = os.fdopen(os.open(lock, flags, 0o600), "r+b", buffering=0)
    except OSError as error:
        raise RunError(f"'{path}' cannot be written: {error.strerror}. Free space or rights.") from error
    with file:
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(lock.stat(), os.fstat(file.fileno())):
                raise FileNotFoundError  # another process has just let go of this one, and a third may hold the next
        except (BlockingIOError, FileNotFoundError, PermissionError):
            raise RunError(f"'{path}' is being written by another process. Wait for it, or end it.") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):  # some network drives have no locks
                raise RunError(f"'{path}' cannot be locked: {error.strerror}. Give another place.") from error
        try:
            yield
        finally:
            with suppress(OSError):  # Windows removes no file that is open
                lock.unlink()


def npz(arrays: Mapping[str, NDArray[Any]], *, compress: bool = True) -> bytes:
    """Return the bytes of a .npz file that holds the arrays by name, none of them pickled."""
    buffer = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a .npz file that `npz` made, by name; nothing is ever unpickled.

    Raises OSError where the file cannot be opened, and ValueError, with the reason, for whatever is broken in it.
    """
    with path.open("rb") as file:  # of our own: where the zip is broken, np.load would leave its own open
        try:
            with np.load(file, allow_pickle=False) as content:
                arrays = dict(content)
        except Exception as error:  # zipfile, zlib and numpy fail on broken bytes in more ways than can be listed
            raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):  # another member's bytes
        raise ValueError("it holds what is no array")
    return arrays
