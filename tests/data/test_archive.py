"""Compressed files from strangers: damage is named by its byte, tricks and bombs are refused."""

import gzip
import io
import os
import re
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.data import walk as archive
from tenfold.data.walk import Entry, file_chunks, gunzipped, open_zip, quoted, safe_members, zip_faults
from tenfold.errors import DataError


def gunzip(data: bytes, name: str, step: int = 7) -> bytes:
    """Return what a gzip stream holds that comes in pieces."""
    return b"".join(gunzipped([data[at : at + step] for at in range(0, len(data), step)], name))


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=3))
def test_gunzip_members(parts: list[bytes]) -> None:
    """A stream of several members gives them one after the other, as gzip itself does."""
    data = b"".join(gzip.compress(part) for part in parts)
    assert gunzip(data, "a.gz") == gzip.decompress(data)


@given(st.integers(0, 10_000))
def test_truncated_gzip(cut: int) -> None:
    """A stream cut anywhere is refused, and the byte at which it ends is named."""
    data = gzip.compress(bytes(range(256)) * 8)
    cut %= len(data) - 1
    with pytest.raises(DataError, match=f"is truncated: its gzip data breaks off at byte '{cut + 1}'"):
        gunzip(data[: cut + 1], "a.gz")


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_damaged_gzip(place: int, flip: int) -> None:
    """A flipped byte is either harmless (in the header's time stamp) or refused; never other bytes."""
    good = bytes(range(256)) * 8
    data = bytearray(gzip.compress(good))
    data[place % len(data)] ^= flip
    try:
        assert gunzip(bytes(data), "a.gz") == good
    except DataError as error:
        position = re.search(r"byte '(\d+)'", str(error))
        assert position is not None and int(position[1]) <= len(data)


def test_byte_of_damage() -> None:
    """Where deflate data has an invalid block type, exactly that byte is named, also far into the file."""
    first = gzip.compress(bytes(200_000), compresslevel=0)  # stored, 200,041 bytes or so
    header = gzip.compress(b"")[:10]
    with pytest.raises(DataError, match=f"breaks at byte '{len(first) + 10}'"):
        gunzip(first + header + b"\xff" * 20, "a.gz", 1 << 16)


def test_bytes_after_gzip() -> None:
    """Bytes after the end are refused by their place; zeros, with which tapes are padded, are not."""
    data = gzip.compress(b"abc")
    assert gunzip(data + b"\0" * 100, "a.gz") == b"abc"
    with pytest.raises(DataError, match=f"ended at byte '{len(data)}'"):
        gunzip(data + b"more", "a.gz")


def test_gzip_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that expands a thousandfold is refused while it is decompressed."""
    monkeypatch.setattr(archive, "RATIO_FROM", 1 << 20)
    with pytest.raises(DataError, match="decompression bomb"):
        gunzip(gzip.compress(bytes(8 << 20)), "a.gz", 1 << 16)


def zip_of(tmp_path: Path, *entries: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    """Return the path of a deflated zip with these entries."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for entry, data in entries:
            file.writestr(entry, data)
    return path


def members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return what `safe_members` finds."""
    with zip_faults(path.name), open_zip(path) as file:
        return safe_members(file, path.name)


@pytest.mark.parametrize(
    "name", ["../train.csv", "a/../../train.csv", "/train.csv", "..\\train.csv", "C:\\train.csv", "\\\\host\\train.csv"]
)
def test_path_tricks(tmp_path: Path, name: str) -> None:
    """An entry that points outside the archive makes the whole archive untrusted."""
    path = zip_of(tmp_path, (zipfile.ZipInfo(name), b"x"), ("train.csv", b"x"))
    with pytest.raises(DataError, match="which points outside it"):
        members(path)


def test_link(tmp_path: Path) -> None:
    """A symbolic link in an archive is refused."""
    link = zipfile.ZipInfo("train.csv")
    link.external_attr = 0o120777 << 16
    with pytest.raises(DataError, match="'train.csv', which is a link"):
        members(zip_of(tmp_path, (link, b"/etc/passwd")))


def test_encrypted(tmp_path: Path) -> None:
    """An encrypted entry is named; no password is asked for."""
    path = zip_of(tmp_path, ("train.csv", b"x"))
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="encrypted entry 'train.csv'"):
        members(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_twice(tmp_path: Path) -> None:
    """Two entries of one name are refused: programs differ in which one they see."""
    with pytest.raises(DataError, match="'train.csv' twice"):
        members(zip_of(tmp_path, ("train.csv", b"x"), ("train.csv", b"y")))


def test_other_compression(tmp_path: Path) -> None:
    """Methods that zipfile cannot decompress in bounded memory are refused."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as file:
        file.writestr("train.csv", b"x")
    with pytest.raises(DataError, match="by method '12'"):
        members(path)


def test_clutter_is_skipped(tmp_path: Path) -> None:
    """What macOS adds to an archive is not seen."""
    path = zip_of(tmp_path, ("__MACOSX/._train.csv", b"x"), (".DS_Store", b"x"), ("train.csv", b"x"), ("folder/", b""))
    assert list(members(path)) == ["train.csv"]


@pytest.mark.parametrize("declared", [None, 5])
def test_zip_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, declared: int | None) -> None:
    """A bomb is refused while it is decompressed; one that declares a small size gives an error, not its content."""
    monkeypatch.setattr(archive, "RATIO_FROM", 1 << 20)
    path = zip_of(tmp_path, ("train.csv", bytes(32 << 20)))
    if declared is not None:
        data = bytearray(path.read_bytes())
        for signature, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
            struct.pack_into("<I", data, data.index(signature) + offset, declared)
        path.write_bytes(data)
    with pytest.raises(DataError, match="bomb|damaged zip"), zip_faults(path.name), open_zip(path) as file:
        Entry("train.csv", path, file, safe_members(file, path.name)["train.csv"]).read()


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4), st.integers(0, 10_000))
def test_mutated_zip(tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]], cut: int) -> None:
    """A zip with any bytes changed and any tail cut off is read or refused with a DataError, and nothing else."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("train.csv", b"label,pixel0\n" * 9)
        file.writestr("test.csv", b"pixel0\n")
    data = bytearray(buffer.getvalue())
    for place, value in edits:
        data[place % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "mutated.zip"
    path.write_bytes(data[: len(data) - cut % len(data)] if cut % 3 == 0 else data)
    try:
        with zip_faults(path.name), open_zip(path) as file:
            for info in safe_members(file, path.name).values():
                Entry(info.filename, path, file, info).read()
    except DataError as error:
        assert "\n" not in str(error)


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file, a folder, a pipe, a device and a file that is empty or too large are refused before reading."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(bytes(100))
    monkeypatch.setattr(archive, "MAX_BYTES", 99)
    for path, fault in {
        tmp_path / "missing": "No such file",
        tmp_path: "is a folder",
        tmp_path / "pipe": "is a pipe",
        Path("/dev/zero"): "is a device",
        tmp_path / "empty": "is empty: '0' bytes",
        tmp_path / "large": "has '100' bytes. Give at most 99",
    }.items():
        with pytest.raises(DataError, match=fault):
            list(file_chunks(path))


@pytest.mark.parametrize("change", [b"more", None])
def test_changed_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: bytes | None) -> None:
    """A file that grows or shrinks while it is read is refused, and no more of it is read than it had."""
    monkeypatch.setattr(archive, "OUTPUT_CHUNK", 1 << 16)
    path = tmp_path / "log.csv"
    path.write_bytes(bytes(1 << 18))
    with pytest.raises(DataError, match="changed while it was read"):
        for _ in file_chunks(path):
            if change is None:
                os.truncate(path, 1 << 16)
            else:
                path.write_bytes(path.read_bytes() + change)


def test_bomb_in_a_row_of_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a bomb makes is weighed against what was read of it, not against its whole length."""
    monkeypatch.setattr(archive, "RATIO_FROM", 1 << 20)
    bomb = gzip.compress(bytes(4 << 20)) + os.urandom(1 << 20)
    with pytest.raises(DataError, match="a decompression bomb"):
        gunzip(bomb, "a.gz", 1 << 12)


def test_many_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zip whose list of entries would fill the memory is refused before it is read."""
    path = zip_of(tmp_path, *((f"{number}.txt", b"x") for number in range(100)))
    monkeypatch.setattr(archive, "MAX_DIRECTORY", 1000)
    with pytest.raises(DataError, match="list of entries is too long"):
        members(path)


def test_names_in_messages() -> None:
    """A name in a message has at most 60 characters on one line; of a path, its end is kept."""
    assert quoted("x" * 91_000) == f"'{'x' * 60}'"
    assert quoted(Path("a" * 4000) / "train.csv") == f"'...{'a' * 47}/train.csv'"
    assert quoted("d\udce4ta\n\x1b[1m.csv") == r"'d\udce4ta\n\x1b[1m.csv'"
