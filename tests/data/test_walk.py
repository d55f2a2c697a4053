"""The walk lists the same entries whatever the container, and no container leads it astray."""

import gzip
import os
import zipfile
from pathlib import Path

import pytest

from tenfold.data import walk as walking
from tenfold.data.walk import walk
from tenfold.errors import DataError

FILES = {"a/one.txt": b"1", "b.csv.gz": gzip.compress(b"2" * 9000), "a/[b] d\udce4/two": b"3"}


def packed(path: Path, files: dict[str, bytes]) -> Path:
    """Return the path of a zip with these files."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def listed(path: Path) -> dict[str, bytes]:
    """Return the content of each entry by its name."""
    with walk(path) as entries:
        assert all(entry.start == bytes(entry.read())[:4096] for entry in entries)
        return {entry.name: bytes(entry.read()) for entry in entries}


def test_a_folder_a_zip_and_a_zip_in_each_are_alike(tmp_path: Path) -> None:
    """A folder, its zip, and both with a zip in them list the same files, unpacked; clutter is left out."""
    folder = tmp_path / "folder"
    for name, content in {**FILES, ".DS_Store": b"x", "__MACOSX/._x": b"x"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    expected = {"a/one.txt": b"1", "b.csv": b"2" * 9000, "a/[b] d\udce4/two": b"3"}
    assert listed(folder) == expected
    plain = {name: content for name, content in FILES.items() if name.isascii()}
    archive = packed(tmp_path / "some.zip", plain)
    del expected["a/[b] d\udce4/two"]
    assert listed(archive) == expected
    (tmp_path / "outer").mkdir()
    archive.rename(tmp_path / "outer" / "some.zip")
    inside = {f"some.zip/{name}": content for name, content in expected.items()}
    assert listed(tmp_path / "outer") == inside
    both = packed(tmp_path / "both.zip", {"some.zip": (tmp_path / "outer" / "some.zip").read_bytes()})
    assert listed(both) == inside


def test_links(tmp_path: Path) -> None:
    """Links to files and folders are followed, once round; links to nothing, to themselves and devices are empty."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_bytes(b"1")
    folder = tmp_path / "links"
    folder.mkdir()
    targets = {"data": "../data", "file.csv": "../data/a.csv", "up": "..", "self": "self", "none": "nowhere"}
    for name, target in {**targets, "zero": "/dev/zero"}.items():
        os.symlink(target, folder / name)
    os.mkfifo(folder / "pipe")
    with walk(folder) as entries:
        found = {entry.name: entry.start for entry in entries if not entry.name.startswith("up/")}
    assert found == {"data/a.csv": b"1", "file.csv": b"1", "self": b"", "none": b"", "zero": b"", "pipe": b""}


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More entries than anyone has are refused, deeper folders are not entered, and an entry's bytes are bounded."""
    deep = tmp_path / "deep"
    (deep / "/".join("x" * walking.MAX_DEPTH)).mkdir(parents=True)
    (deep / "/".join("x" * walking.MAX_DEPTH) / "a.csv").write_bytes(b"1")
    assert listed(deep) == {}
    archive = packed(tmp_path / "a.zip", {f"{number}.txt": b"1234" for number in range(9)})
    with walk(archive) as entries, pytest.raises(DataError, match="'a.zip/0.txt' holds more than '3' bytes"):
        entries[0].read(3)
    monkeypatch.setattr(walking, "MAX_ENTRIES", 8)
    with pytest.raises(DataError, match="a.zip' holds more than '8' files"):
        listed(archive)
