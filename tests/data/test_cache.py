"""The cache: it never changes an answer, whatever happens to it."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tenfold import files, settings
from tenfold.data import cache
from tenfold.data.digits import Digits
from tenfold.errors import DataError


class Reader:
    """A reader that counts how often it was called."""

    def __init__(self, path: Path, labelled: bool = True) -> None:
        self.path, self.labelled, self.calls = path, labelled, 0

    def __call__(self) -> Digits:
        self.calls += 1
        value = len(self.path.read_bytes())
        images = np.full((2, 28, 28), value, np.uint8)
        return Digits.of(images, np.array([value % 10, 3]) if self.labelled else None)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a file of three bytes."""
    path = tmp_path / "source"
    path.write_bytes(b"abc")
    return path


def entries() -> list[Path]:
    """Return the cached sets."""
    return sorted((settings.cache_folder() / "parsed").glob("*.npz"))


@pytest.mark.parametrize("labelled", [True, False])
def test_second_time_from_cache(source: Path, labelled: bool) -> None:
    """The second time the same digits come without the reader, writable, labels or none."""
    reader = Reader(source, labelled)
    first, second = (cache.parsed({"csv": source}, reader) for _ in range(2))
    assert reader.calls == 1
    np.testing.assert_array_equal(first.images, second.images)
    assert second.images.flags.writeable
    assert (first.labels is None) == (second.labels is None) == (not labelled)
    if first.labels is not None:
        np.testing.assert_array_equal(first.labels, second.labels)


def test_key_is_the_content(source: Path, tmp_path: Path) -> None:
    """The same bytes elsewhere are the same entry; other bytes, or another role, are another."""
    reader = Reader(source)
    copy = tmp_path / "copy"
    copy.write_bytes(b"abc")
    for path in (source, copy):
        cache.parsed({"csv": path}, reader)
    assert reader.calls == 1
    cache.parsed({"images": source}, reader)
    assert reader.calls == 2


def test_changed_at_once(source: Path) -> None:
    """A file changed to other bytes of the same length, its time stamp set back, is read anew."""
    reader = Reader(source)
    for content in (b"abc", b"xyz", b"abc", b"pqr"):
        before = source.stat()
        source.write_bytes(content)
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
        cache.parsed({"csv": source}, reader)
    assert reader.calls == 3
    assert len(entries()) == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:100],
        lambda data: b"",
        lambda data: data[:500] + bytes([data[500] ^ 1]) + data[501:],
        lambda data: bytes(len(data)),
        lambda data: b"\x93NUMPY\x01\x00" + b"\xff" * 100,
        lambda data: files.npz({"images": np.zeros((2, 28, 28), np.uint8)}),
    ],
)
def test_damaged_entry(source: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture) -> None:
    """An entry with any damage is noticed, said, and made anew."""
    reader = Reader(source)
    first = cache.parsed({"csv": source}, reader)
    (entry,) = entries()
    good = entry.read_bytes()
    entry.write_bytes(damage(good))
    second = cache.parsed({"csv": source}, reader)
    assert reader.calls == 2
    assert "made anew" in caplog.text
    np.testing.assert_array_equal(first.images, second.images)
    assert entry.read_bytes() == good


def test_no_cache_to_be_had(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the cache folder cannot be made, digits are read each time and nothing fails."""
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "file" / "cache"))
    reader = Reader(source)
    for _ in range(2):
        assert len(cache.parsed({"csv": source}, reader)) == 2
    assert reader.calls == 2


def test_full_disk(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where writing breaks off half-way, the digits are returned and no half file is left."""

    def fail(*given: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    assert len(cache.parsed({"csv": source}, Reader(source))) == 2
    assert not [path for path in (settings.cache_folder() / "parsed").iterdir() if path.is_file()]


def test_a_zip_of_many_is_hashed_once(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file that has many roles, as a zip of pictures, the bytes are read once before and once after."""
    read: list[Path] = []
    monkeypatch.setattr(cache, "file_chunks", lambda path: read.append(path) or [b""])
    cache.parsed({f"{number}.png": source for number in range(99)}, Reader(source))
    assert read == [source, source]


def test_large_sets_are_not_kept(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set that would take much memory to pack is read each time."""
    monkeypatch.setattr(cache, "MAX_KEPT", 100)
    cache.parsed({"csv": source}, Reader(source))
    assert entries() == []


def test_changed_while_read(source: Path) -> None:
    """What was read from a file that changed meanwhile is refused, and not kept under the hash from before."""

    def read() -> Digits:
        source.write_bytes(b"longer than before")
        return Reader(source)()

    with pytest.raises(DataError, match="source' changed while it was read"):
        cache.parsed({"csv": source}, read)
    assert entries() == []
