"""IDX: what is read equals what was packed, and what is wrong is named by its byte."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tenfold import settings
from tenfold.data import formats
from tenfold.data.idx import parse_idx
from tenfold.errors import DataError


def pack(array: NDArray[np.uint8]) -> bytes:
    """Return an array as IDX, written with struct by the format's definition."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the path of 20 random images with their labels beside it, and both arrays."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (20, 28, 28)).astype(np.uint8)
    labels = random.integers(0, 10, 20).astype(np.uint8)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(pack(images))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(pack(labels))
    return tmp_path / "train-images-idx3-ubyte", images, labels


@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9))
def test_round_trip(count: int, height: int, width: int) -> None:
    """Images of any size come back as packed."""
    images = np.random.default_rng(count).integers(0, 256, (count, height, width)).astype(np.uint8)
    data = pack(images)
    np.testing.assert_array_equal(parse_idx(bytearray(data), "a"), images)


@pytest.mark.parametrize(("images_gz", "labels_gz"), [(False, False), (True, True), (True, False), (False, True)])
def test_labels_are_found(
    pair: tuple[Path, NDArray[np.uint8], NDArray[np.uint8]], images_gz: bool, labels_gz: bool
) -> None:
    """The labels file beside the images is found, whichever of the two is gzipped."""
    path, images, labels = pair
    for name, zipped in ((path.name, images_gz), ("train-labels-idx1-ubyte", labels_gz)):
        if zipped:
            plain = path.with_name(name)
            path.with_name(name + ".gz").write_bytes(gzip.compress(plain.read_bytes()))
            plain.unlink()
    digits = formats.read(path.with_name(path.name + ".gz") if images_gz else path, "train")
    np.testing.assert_array_equal(digits.images, images)
    np.testing.assert_array_equal(digits.labels, labels)


def test_kind_by_content(pair: tuple[Path, NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    """IDX under another file's name is read all the same, here without labels; train then says that it needs them."""
    path, images, _ = pair
    other = path.with_name("digits.csv")
    path.rename(other)
    np.testing.assert_array_equal(formats.read(other, "submit").images, images)
    with pytest.raises(DataError, match="has no labels, and train needs them"):
        formats.read(other, "train")


def test_counts_disagree(pair: tuple[Path, NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    """Fewer labels than images is an error that names both counts."""
    path, _, labels = pair
    path.with_name("train-labels-idx1-ubyte").write_bytes(pack(labels[:-1]))
    with pytest.raises(DataError, match=r"has 20 images, but labels of the shape '\(19,\)'"):
        formats.read(path, "train")


def test_label_out_of_range(pair: tuple[Path, NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    """A label above 9 is named by its image."""
    path, _, labels = pair
    labels[4] = 10
    path.with_name("train-labels-idx1-ubyte").write_bytes(pack(labels))
    with pytest.raises(DataError, match=r"label '10' at \[4\] \(image 5\)"):
        formats.read(path, "train")


GOOD = pack(np.zeros((2, 28, 28), np.uint8))


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "is not IDX"),
        (GOOD[:5], "breaks off in its header at byte '5' of 16"),
        (GOOD[:11], "breaks off in its header at byte '11' of 16"),
        (GOOD[:-1], "has '1583' bytes, but its header promises 1584"),
        (GOOD + b"\0\0", "has '1586' bytes, but its header promises 1584"),
        (pack(np.zeros((0, 28, 28), np.uint8)), "holds '0' items"),
        (struct.pack(">4I", 0x803, 1, 0, 28), "images of '0' pixels a side at byte 8"),
        (struct.pack(">4I", 0x803, 1, 28, 99999), "images of '99999' pixels a side at byte 12"),
        (struct.pack(">4I", 0x803, 2**32 - 1, 28, 28), "header promises 3367254359296"),
        (struct.pack("<4I", 0x803, 1, 28, 28), "is not IDX"),
        (struct.pack(">4I", 0xD03, 1, 28, 28), "header promises 3152"),
        (struct.pack(">5I", 0x804, 1, 28, 28, 1), "header promises 804"),
    ],
)
def test_bad_bytes(data: bytes, fault: str) -> None:
    """A file that is cut, too long, empty, of another byte order, or with mad sizes is refused."""
    with pytest.raises(DataError) as error:
        parse_idx(bytearray(data), "a")
    assert fault in str(error.value)


@given(st.binary(max_size=200))
def test_random_bytes(noise: bytes) -> None:
    """Whatever the bytes, with a good header or without: an array or a DataError."""
    for data in (noise, GOOD[:4] + noise, GOOD[:16] + noise):
        try:
            assert parse_idx(bytearray(data), "a").size
        except DataError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i4", ">i2"])
def test_other_types(tmp_path: Path, dtype: str) -> None:
    """IDX of other types than bytes, with labels of eight columns as QMNIST's, are the same digits."""
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (20, 28, 28)).astype(np.uint8), np.arange(20) % 10
    code = {">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}
    header = struct.pack(">BBBB3I", 0, 0, code[dtype], 3, *images.shape)
    (tmp_path / "a-test-images-idx3-ubyte").write_bytes(header + images.astype(dtype).tobytes())
    columns = np.stack([labels] + [np.full(20, 4095)] * 7, axis=1).astype(">i4")
    (tmp_path / "a-test-labels-idx2-int").write_bytes(struct.pack(">BBBB2I", 0, 0, 0x0C, 2, 20, 8) + columns.tobytes())
    for path in (tmp_path, tmp_path / "a-test-images-idx3-ubyte"):
        digits = formats.read(path, "evaluate")
        np.testing.assert_array_equal(digits.images, images)
        np.testing.assert_array_equal(digits.labels, labels)


def test_labels_alone(pair: tuple[Path, NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    """Given the labels, people are told to give the images."""
    with pytest.raises(DataError, match="'train-labels-idx1-ubyte' holds labels alone. Give the images"):
        formats.read(pair[0].with_name("train-labels-idx1-ubyte"), "train")


def test_dark_on_light_is_turned(tmp_path: Path) -> None:
    """A set drawn dark on light comes back light on dark."""
    images = np.full((3, 28, 28), 255, np.uint8)
    images[:, 6:22, 12:16] = 0
    (tmp_path / "images").write_bytes(pack(images))
    read = formats.read(tmp_path / "images", "explore").images
    assert (read[:, 0] == 0).all()
    assert read.max() == 255


@pytest.mark.data
def test_mnist() -> None:
    """MNIST's folder gives 60,000 to train and 10,000 to evaluate, with the class counts that are published."""
    folder = settings.data_folder()
    assert folder is not None
    train, test = formats.read(folder / "mnist", "train"), formats.read(folder / "mnist", "evaluate")
    assert train.labels is not None and test.labels is not None
    assert np.bincount(train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
