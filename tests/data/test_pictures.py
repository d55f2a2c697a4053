"""Class folders: pictures in a fixed order with their folder's label, and clear words about all else."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tenfold import settings
from tenfold.data import formats
from tenfold.errors import DataError


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
    """A file that is not a picture is named with its class."""
    (folder / "7" / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="'7/notes.txt' is not a picture"):
        formats.read(folder, "train")


@pytest.mark.parametrize("name", ["10", "seven", "07", "-1"])
def test_other_classes(folder: Path, name: str) -> None:
    """A folder that is not a digit is named."""
    (folder / name).mkdir()
    with pytest.raises(DataError, match=f"holds '{name}'. Give folders named 0 to 9"):
        formats.read(folder, "train")


def test_nested_and_empty(folder: Path, tmp_path: Path) -> None:
    """A folder in a class is named; class folders without a picture are an error."""
    (folder / "1" / "more").mkdir()
    with pytest.raises(DataError, match="'1/more' is not a picture file"):
        formats.read(folder, "train")
    (tmp_path / "none" / "0").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no pictures"):
        formats.read(tmp_path / "none", "train")


def test_parts(folder: Path, tmp_path: Path) -> None:
    """Of `training` and `testing` folders, train takes the first and evaluate the second."""
    both = tmp_path / "both"
    (both / "testing" / "5").mkdir(parents=True)
    bar(40, 0, 255).save(both / "testing" / "5" / "a.png")
    folder.rename(both / "training")
    assert len(formats.read(both, "train")) == 4
    assert len(formats.read(both, "evaluate")) == 1


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
