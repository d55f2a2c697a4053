"""The kind of a file or folder is found by its content, and each purpose gets its part."""

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tenfold import settings
from tenfold.data import formats
from tenfold.errors import DataError

HEADER = ",".join(f"pixel{index}" for index in range(784))
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
        ({"test.csv": TEST}, "train", "has no labels, and train needs them"),
        (
            {"a.csv": TRAIN, "b.csv": TRAIN.replace("9", "8")},
            "train",
            "holds 'a.csv', 'b.csv', and which one train needs",
        ),
        ({"readme.txt": "x"}, "train", "'a.zip/readme.txt' is text that begins with 'x', and no table"),
        ({}, "train", "holds 'nothing'"),
        ({"train.csv": ""}, "train", "'a.zip/train.csv' is empty"),
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
        "missing": "No such file",
        "empty": "is empty",
        "binary": "is of a kind that no reader knows",
        "utf16": "'UTF-16'",
        "broken.gz": "truncated: its gzip data breaks off at byte '15'",
        "folder": "holds 'nothing', and no digits",
        "texts": "holds 'a.txt', and no digits. Give a CSV",
        "nul\0byte": "null byte",
    }.items():
        with pytest.raises(DataError, match=fault):
            formats.read(tmp_path / name, "train")


def test_unclear_idx_folder(tmp_path: Path) -> None:
    """Several IDX sets of which none is called train or test are listed."""
    for name in ("a-images", "b-images"):
        (tmp_path / name).write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, ord(name[0])]))
    with pytest.raises(DataError, match="holds 'a-images', 'b-images', and which one evaluate needs is not clear"):
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


def bar(side: int, ink: int, paper: int) -> Image.Image:
    """Return a square picture with an upright bar in it."""
    pixels = np.full((side, side), paper, np.uint8)
    pixels[side // 5 : -side // 5, side * 2 // 5 : side * 3 // 5] = ink
    return Image.fromarray(pixels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with pictures of several sizes, polarities and formats in classes 1 and 7."""
    root = tmp_path / "digits"
    for name, picture in {
        "7/b.png": bar(50, 0, 255),
        "7/a.jpg": bar(200, 20, 230),
        "1/x.bmp": bar(28, 255, 0),
        "1/w.gif": bar(100, 255, 0),
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return root


def test_order_labels_and_polarity(folder: Path) -> None:
    """Pictures come by class, then name; all have ink 255 on background 0 whatever they were; clutter is skipped."""
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "7" / "Thumbs.db").write_bytes(b"x")
    (folder / "3").mkdir()
    digits = formats.read(folder, "train")
    assert digits.labels is not None
    assert digits.labels.tolist() == [1, 1, 7, 7]
    assert (digits.images[:, 0] == 0).all()
    assert (digits.images[:, 14, 14] > 200).all()


def test_other_files(folder: Path) -> None:
    """What is no picture is left out and counted, in a class and beside them; a broken picture is named."""
    (folder / "7" / "notes.txt").write_text("hello")
    (folder / "README.md").write_text("hello")
    (folder / "docs").mkdir()
    bar(28, 0, 255).save(folder / "docs" / "screen.png")
    digits = formats.read(folder, "train")
    assert len(digits) == 4
    assert digits.notes == ("left out 3 other files: '7/notes.txt', 'README.md', 'docs/screen.png'",)
    (folder / "7" / "c.png").write_text("hello")
    with pytest.raises(DataError, match="'7/c.png' is not a picture"):
        formats.read(folder, "train")


@pytest.mark.parametrize("name", ["10", "seven", "07", "-1"])
def test_other_classes(folder: Path, name: str) -> None:
    """A folder with pictures that is meant as a digit and is none is named."""
    (folder / name).mkdir()
    assert len(formats.read(folder, "train")) == 4
    bar(28, 0, 255).save(folder / name / "a.png")
    with pytest.raises(DataError, match=f"holds '{name}'. Give folders named 0 to 9"):
        formats.read(folder, "train")


def test_parts(folder: Path, tmp_path: Path) -> None:
    """Of `training` and `testing` folders, train takes the first and evaluate the second."""
    both = tmp_path / "both"
    (both / "testing" / "5").mkdir(parents=True)
    bar(40, 0, 255).save(both / "testing" / "5" / "a.png")
    folder.rename(both / "training")
    assert len(formats.read(both, "train")) == 4
    assert len(formats.read(both, "evaluate")) == 1
    notes = formats.read(both, "train").notes
    assert notes == ("took 'training' (4 pictures), left out 'testing' (1 pictures)",)


@pytest.mark.data
def test_mnist_pictures_come_back_identical(tmp_path: Path) -> None:
    """MNIST images saved as PNG in class folders are the same bytes when read, in the same cache or a new one."""
    data = settings.data_folder()
    assert data is not None
    digits = formats.read(data / "mnist", "evaluate").take(np.arange(300))
    assert digits.labels is not None
    for index, (image, label) in enumerate(zip(digits.images, digits.labels, strict=True)):
        (tmp_path / "png" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "png" / str(label) / f"{index:04}.png")
    order = np.argsort(digits.labels, kind="stable")
    for _ in range(2):
        read = formats.read(tmp_path / "png", "train")
        np.testing.assert_array_equal(read.images, digits.images[order])
        np.testing.assert_array_equal(read.labels, digits.labels[order])


def test_picture_given_alone(tmp_path: Path) -> None:
    """One picture instead of a folder gets the advice to make folders."""
    buffer = io.BytesIO()
    bar(28, 0, 255).save(buffer, "PNG")
    (tmp_path / "train.csv").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="is one picture"):
        formats.read(tmp_path / "train.csv", "train")
