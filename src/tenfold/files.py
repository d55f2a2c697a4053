"""Files that are written whole or not at all, and our own files read without trusting them."""

import errno
import io
import json
import os
import secrets
import stat
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import RunError, TenfoldError, unwritten

MOST_BYTES = 2**30  # of a file with weights or arrays, unpacked
MOST_TEXT = 2**25  # bytes of a file of JSON or TOML
SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
Kind = TypeVar("Kind")
# By the name of an array: the kind of its numbers, as numpy calls it, and its shape; equal letters are equal sizes.
Layout = Mapping[str, tuple[str, tuple[str | int, ...]]]


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` under a temporary name beside `path`, force it to the disk, and rename it.

    Whatever happens, `path` holds the old content or the new one, never half of it. Raises OSError, which names `path`.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")  # a name that nobody can have laid a link under
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def open_regular(path: Path, most: int = MOST_BYTES, flags: int = os.O_RDONLY, mode: str = "rb") -> BinaryIO:
    """Return a file of at most so many bytes, opened; no link is followed, no pipe waited for.

    Raises OSError, with the reason as `strerror`, also for what is no file.
    """
    try:
        file = os.fdopen(os.open(path, flags | SAFE, 0o666), mode, buffering=-1 if mode == "rb" else 0)
    except OSError as error:
        if path.is_symlink():
            raise OSError(errno.ELOOP, "it is a link", str(path)) from None
        raise OSError(error.errno, error.strerror, str(path)) from None
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode) and status.st_size <= most:
        return file  # type: ignore[return-value]  # that of "a+b" can be read, too
    file.close()
    reason = f"it has '{status.st_size}' bytes, more than {most}" if stat.S_ISREG(status.st_mode) else "it is no file"
    raise OSError(errno.EFBIG, reason, str(path))


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return what a file holds, see `open_regular`; OSError."""
    with open_regular(path, most) as file:
        return file.read()


def parse_json(content: bytes | str, schema: type[Kind]) -> Kind:
    """Return what JSON holds, as `schema`, a dataclass or a model of pydantic's; ValueError says why it isn't."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(schema).validate_python(json.loads(content))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its beginning"
        raise ValueError(f"at '{place}': {first['msg'][0].lower()}{first['msg'][1:]}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def refuse_odd(folder: Path) -> None:
    """Raise RunError for a link, a pipe or a device in a folder that may be a stranger's, or in a folder in it."""
    try:
        folders = [each for each in folder.iterdir() if each.is_dir() and not each.is_symlink()]
        for path in (each for part in (folder, *folders) for each in part.iterdir()):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                what = "a link" if path.is_symlink() else "no file"
                raise RunError(f"'{path}' is {what}, and a run has files alone. Delete it, or copy the file there.")
    except OSError as error:
        raise RunError(f"'{folder}' cannot be read: {error.strerror}. Give a folder that you may read.") from None


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold `path`, a file or folder that is being written, for this process alone; one that ends, killed too, lets go.

    Raises RunError where another process holds it, or where its lock, `.NAME.lock` beside it, cannot be made.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        file = os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT | SAFE, 0o600), "r+b", buffering=0)
    except OSError as error:
        raise RunError(unwritten(path, error, "Give another place.")) from error
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


def read_npz(path: Path, layout: Layout | None = None, optional: Iterable[str] = ()) -> dict[str, NDArray[Any]]:
    """Return the arrays of a .npz file that `npz` made, by name; nothing is ever unpickled.

    layout: what there has to be, but for what is `optional`; nothing else is read. None: whatever there is, a file of
    this user's own.
    Raises OSError where the file cannot be opened, and ValueError, with the reason, for whatever is broken in it.
    """
    most = sys.maxsize if layout is None else MOST_BYTES
    with open_regular(path, most) as file:  # of our own: where the zip is broken, np.load would leave its own open
        try:
            with zipfile.ZipFile(file) as archive:
                if (size := sum(member.file_size for member in archive.infolist())) > most:
                    raise ValueError(f"it has '{size}' bytes unpacked, more than {most}")
            file.seek(0)
            with np.load(file, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content if layout is None or name in layout}
        except MemoryError:
            raise
        except Exception as error:  # zipfile, zlib and numpy fail on broken bytes in more ways than can be listed
            raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):  # another member's bytes
        raise ValueError("it holds what is no array")
    sizes: dict[str | int, int] = {}
    for name, (kind, shape) in (layout or {}).items():
        if name not in arrays and name not in optional:
            raise ValueError(f"it has no '{name}'")
        found = arrays.get(name)
        if found is not None and (
            found.dtype.kind != kind
            or found.ndim != len(shape)
            or any(has != (want if isinstance(want, int) else sizes.setdefault(want, has))
                   for has, want in zip(found.shape, shape, strict=True))
        ):  # fmt: skip
            what = f"its '{name}' is {found.dtype} of shape '{found.shape}',"
            raise ValueError(f"{what} not ({', '.join(map(str, shape))})")
    return arrays


def refuse_inputs(out: Path, inputs: Iterable["str | Path | None"], option: str = "--out") -> None:
    """Raise TenfoldError where `out` is, or holds, one of the inputs, by whatever name or link; None is none.

    In a folder that is read, what is there already is an input, and a new file is none.
    """
    whole = out.resolve()
    known = os.stat(whole) if whole.is_file() else None
    for each in inputs:
        if each is None or not (source := Path(os.path.expanduser(each))).exists():
            continue
        place = source.resolve()
        same = whole == place or whole in place.parents
        if known is not None and not same:
            files = [place] if place.is_file() else (file for file in place.rglob("*") if known.st_nlink > 1)
            same = place in whole.parents or any(os.path.samestat(known, file.stat()) for file in files)
        if same:
            raise TenfoldError(f"'{out}' is among what is read, '{each}'. Give {option} another file.")
