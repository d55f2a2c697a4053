"""Formats of other programs are named, with the Python that makes an NPZ of them, and that Python works."""

import gzip
import pickle
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tenfold.data import formats
from tenfold.errors import DataError

IMAGES, LABELS = np.arange(4 * 784).reshape(4, 784) % 256, np.array([1, 2, 3, 4])
STARTS = {
    "Parquet": b"PAR1" + bytes(64) + b"PAR1",
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(99),
    "MATLAB": b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(99),
    "MATLAB 7.3": b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(99),
    "libsvm (svmlight) text": b"7 1:-1 2:-0.813 3:0.671\n6 1:-1 2:-1\n",
    "ARFF": b"% a comment\n@RELATION mnist\n@ATTRIBUTE pixel1 REAL\n",
    "Excel": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99),
    "a 7z archive": b"7z\xbc\xaf\x27\x1c" + bytes(99),
    "a rar archive": b"Rar!\x1a\x07\x00" + bytes(99),
    "JSON": b'{"images": [[0, 0]]}',
    "Arrow (Feather)": b"ARROW1\0\0",
    "a pickle": b"(lp0\nI1\na.",
    "'UTF-16' text": "label,pixel0".encode("utf-16"),
}


@pytest.mark.parametrize(("name", "start"), STARTS.items())
@pytest.mark.parametrize("packed", [False, True])
def test_formats_are_named(tmp_path: Path, name: str, start: bytes, packed: bool) -> None:
    """Each is refused in one line by its name, gzipped or not, alone, in a folder and in a zip."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "digits.bin").write_bytes(gzip.compress(start) if packed else start)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(folder / "digits.bin", "digits.bin")
    for path in (folder / "digits.bin", folder, tmp_path / "a.zip"):
        with pytest.raises(DataError) as error:
            formats.read(path, "train")
        message = str(error.value)
        assert f"digits.bin' is {name}" in message
        assert "\n" not in message and len(message) < 400
        assert "archive" in name or "Turn it into what is, in Python: " in message


def test_zips_of_other_programs(tmp_path: Path) -> None:
    """What PyTorch and Excel write are zips, and are named all the same."""
    for member, name in (("archive/data.pkl", "PyTorch's"), ("xl/workbook.xml", "Excel")):
        with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
            archive.writestr(member, pickle.dumps(1))
        with pytest.raises(DataError, match=f"'a.pt' is {name}"):
            formats.read(tmp_path / "a.pt", "train")


def test_the_advice_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python in the message, run as it is, makes an NPZ that is read."""
    monkeypatch.chdir(tmp_path)
    Path("mnist.pkl.gz").write_bytes(gzip.compress(pickle.dumps(((IMAGES, LABELS), (IMAGES, LABELS)), 2)))
    Path("d.json").write_text(str({"X": IMAGES.tolist(), "y": LABELS.tolist()}).replace("'", '"'))
    for name in ("mnist.pkl.gz", "d.json"):
        with pytest.raises(DataError) as error:
            formats.read(Path(name), "train")
        exec(str(error.value).partition("in Python: ")[2], {})
        digits = formats.read(Path("digits.npz"), "train")
        np.testing.assert_array_equal(digits.images.reshape(4, 784), IMAGES)
        np.testing.assert_array_equal(digits.labels, LABELS)


@pytest.mark.parametrize(
    "start", [b" " * 4096, b"%\n" * 2048, b"\n %" * 1365, b"1 " * 2048, b"1 1:1" * 800, b"[" * 4096]
)
def test_no_start_takes_long(tmp_path: Path, start: bytes) -> None:
    """Bytes that begin as a format does and go on otherwise are told apart in one pass."""
    (tmp_path / "a").write_bytes(start)
    with pytest.raises(DataError):
        formats.read(tmp_path / "a", "explore")


def test_tar_and_sqlite(tmp_path: Path) -> None:
    """Archives and databases as their own libraries write them are named."""
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(__file__, "a.py")
    connection = sqlite3.connect(tmp_path / "a.db")
    connection.execute("CREATE TABLE digits (label INTEGER)")
    connection.commit()
    connection.close()
    for name, what in {"a.tar.gz": "a tar archive", "a.db": "SQLite"}.items():
        with pytest.raises(DataError, match=f"'{name}' is {what}"):
            formats.read(tmp_path / name, "explore")
