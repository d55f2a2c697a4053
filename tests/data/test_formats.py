"""The kind of a file or folder is found by its content, and each purpose gets its part."""

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold import settings
from tenfold.data import formats
from tenfold.data.csv_format import HEADERS
from tenfold.errors import DataError

HEADER = ",".join(HEADERS[0])
TRAIN = f"label,{HEADER}\n" + "".join(f"{label},{','.join(['9'] * 784)}\n" for label in (3, 1, 4))
TEST = f"{HEADER}\n" + f"{','.join(['8'] * 784)}\n" * 2
SAMPLE = "ImageId,Label\n1,0\n2,0\n"
KAGGLE = {"sample_submission.csv": SAMPLE, "test.csv": TEST, "train.csv": TRAIN}


def kaggle_zip(path: Path, files: dict[str, str], prefix: str = "") -> Path:
    """Return the path of a zip with these files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(prefix + name, text)
    return path


@pytest.fixture(params=["zip", "nested zip", "folder"])
def kaggle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return Kaggle's three files as a zip (its name says nothing), a zip with a folder in it, and a folder."""
    if request.param != "folder":
        return kaggle_zip(tmp_path / "download", KAGGLE, "digits/" if request.param == "nested zip" else "")
    for name, text in KAGGLE.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_kaggle_purposes(kaggle: Path) -> None:
    """train, evaluate and explore get train.csv, submit gets test.csv, and the sample's ids are found."""
    for purpose in ("train", "evaluate", "explore"):
        labels = formats.read(kaggle, purpose).labels
        assert labels is not None
        assert labels.tolist() == [3, 1, 4]
    test = formats.read(kaggle, "submit")
    assert test.labels is None
    assert (test.images == 8).all() and len(test) == 2
    ids = formats.sample_submission_ids(kaggle)
    assert ids is not None
    assert ids.tolist() == [1, 2]


def test_single_csv(tmp_path: Path) -> None:
    """A CSV alone is read whatever its name, gzipped or zipped; test.csv has its sample beside it."""
    (tmp_path / "digits").write_text(TRAIN)
    (tmp_path / "digits.gz").write_bytes(gzip.compress(TRAIN.encode()))
    kaggle_zip(tmp_path / "digits.zip", {"digits.csv": TRAIN})
    for name in ("digits", "digits.gz", "digits.zip"):
        assert len(formats.read(tmp_path / name, "train")) == 3
    (tmp_path / "test.csv").write_text(TEST)
    assert formats.sample_submission_ids(tmp_path / "test.csv") is None
    (tmp_path / "sample_submission.csv").write_text(SAMPLE)
    assert formats.sample_submission_ids(tmp_path / "test.csv") is not None


def test_missing_labels(tmp_path: Path) -> None:
    """A CSV without the label column is refused by train and evaluate, read by explore and submit."""
    (tmp_path / "a.csv").write_text(TEST)
    for purpose in ("train", "evaluate"):
        with pytest.raises(DataError, match=f"has no labels, and {purpose} needs them"):
            formats.read(tmp_path / "a.csv", purpose)
    assert len(formats.read(tmp_path / "a.csv", "explore")) == len(formats.read(tmp_path / "a.csv", "submit")) == 2


@pytest.mark.parametrize(
    ("files", "purpose", "fault"),
    [
        ({"test.csv": TEST}, "train", "holds 'test.csv' but no 'train.csv', which train needs"),
        ({"train.csv": TRAIN}, "submit", "holds 'train.csv' but no 'test.csv', which submit needs"),
        ({"a.csv": TRAIN, "b.csv": TRAIN}, "train", "holds 'a.csv, b.csv' but no 'train.csv'"),
        ({"a/train.csv": TRAIN, "b/train.csv": TRAIN}, "train", "Leave one 'train.csv' in it"),
        ({"readme.txt": "x"}, "train", "holds 'readme.txt'. Give Kaggle's zip or an NPZ"),
        ({}, "train", "holds 'nothing'"),
        ({"train.csv": ""}, "train", "'train.csv' is empty"),
    ],
)
def test_zip_without_the_part(tmp_path: Path, files: dict[str, str], purpose: str, fault: str) -> None:
    """A zip that lacks what the purpose needs, or has it twice, says what it holds."""
    with pytest.raises(DataError) as error:
        formats.read(kaggle_zip(tmp_path / "a.zip", files), purpose)
    assert fault in str(error.value)


def test_what_is_no_data(tmp_path: Path) -> None:
    """A missing path, an empty file and folder, other binary files and UTF-16 text are each told apart."""
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "binary").write_bytes(b"\x7fELF\0\0\0\0")
    (tmp_path / "utf16").write_bytes(TRAIN.encode("utf-16"))
    (tmp_path / "broken.gz").write_bytes(gzip.compress(TRAIN.encode())[:15])
    (tmp_path / "folder").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("x")
    for name, fault in {
        "missing": "does not exist",
        "empty": "is empty",
        "binary": "begins with '7f454c46'",
        "utf16": "'UTF-16'",
        "broken.gz": "truncated: its gzip data breaks off at byte '15'",
        "folder": "holds no pictures",
        "texts": "holds 'a.txt'. Give IDX",
        "nul\0byte": "exist|cannot be read",
    }.items():
        with pytest.raises(DataError, match=fault):
            formats.read(tmp_path / name, "train")


def test_unclear_idx_folder(tmp_path: Path) -> None:
    """Several IDX sets of which none is called train or test are listed."""
    for name in ("a-images", "b-images"):
        (tmp_path / name).write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 7]))
    with pytest.raises(DataError, match="holds 'a-images, b-images', and which one evaluate needs is not clear"):
        formats.read(tmp_path, "evaluate")


@given(
    st.sampled_from([b"", b"PK\3\4", b"\x1f\x8b\x08", b"\0\0\x08\3", b"label,", b"\x89PNG"]), st.binary(max_size=200)
)
def test_random_bytes(tmp_path_factory: pytest.TempPathFactory, start: bytes, noise: bytes) -> None:
    """Whatever a file holds, whatever kind it seems to be: Digits or a DataError of one line."""
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(start + noise)
    for purpose in ("explore", "submit"):
        try:
            formats.read(path, purpose)
        except DataError as error:
            assert "\n" not in str(error)


@pytest.mark.data
def test_kaggle_download() -> None:
    """The competition's zip gives 42,000 labelled images, and 28,000 with ids 1 to 28,000 to submit."""
    data = settings.data_folder()
    assert data is not None
    path = data / "kaggle" / "digit-recognizer.zip"
    train, test = formats.read(path, "train"), formats.read(path, "submit")
    assert train.images.shape == (42_000, 28, 28) and train.labels is not None
    assert test.images.shape == (28_000, 28, 28) and test.labels is None
    np.testing.assert_array_equal(formats.sample_submission_ids(path), test.ids)
    again = formats.read(path, "train")
    assert again.content_hash() == train.content_hash()
