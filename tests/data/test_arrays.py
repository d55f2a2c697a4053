"""Files of arrays: what is read equals what was packed or saved; pickles, lies and wrong bytes are named."""

import gzip
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tenfold import settings
from tenfold.data import formats
from tenfold.data.arrays import parse_idx
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
    with pytest.raises(DataError, match=r"'train-labels-idx1-ubyte' has the label '10' at \[4\] \(image 5\)"):
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


IMAGES = np.random.default_rng(0).integers(0, 256, (6, 28, 28)).astype(np.uint8)
LABELS = np.array([0, 1, 2, 3, 4, 9])


@pytest.mark.parametrize("keys", [("X", "y"), ("images", "labels"), ("x_train", "y_train")])
@pytest.mark.parametrize(
    "images",
    [
        IMAGES,
        IMAGES.reshape(6, 784),
        IMAGES[..., None],
        IMAGES[:, None],
        IMAGES.astype(np.float64),
        IMAGES.astype(">i4"),
        np.asfortranarray(IMAGES),
    ],
)
def test_saved_arrays_come_back(tmp_path: Path, keys: tuple[str, str], images: Any) -> None:
    """Whole numbers of any dtype, order and usual shape are the same digits."""
    np.savez_compressed(tmp_path / "a.npz", **{keys[0]: images, keys[1]: LABELS.astype(np.int16)})
    digits = formats.read(tmp_path / "a.npz", "train")
    np.testing.assert_array_equal(digits.images, IMAGES)
    np.testing.assert_array_equal(digits.labels, LABELS)


def test_two_parts(tmp_path: Path) -> None:
    """An archive with both parts gives the training part to train, the test part to evaluate."""
    np.savez(tmp_path / "a", x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:2], y_test=LABELS[:2])
    assert len(formats.read(tmp_path / "a.npz", "train")) == 6
    assert len(formats.read(tmp_path / "a.npz", "evaluate")) == 2


def changed(index: Any, value: float) -> Any:
    """Return the images as floats with one value changed."""
    images = IMAGES.astype(np.float64)
    images[index] = value
    return images


@pytest.mark.parametrize(
    ("images", "labels", "fault"),
    [
        (changed((2, 0, 1), -1), LABELS, "value '-1.0' at [2, 0, 1] (image 3)"),
        (changed((2, 0, 1), 256), LABELS, "value '256.0'"),
        (changed((2, 0, 1), np.nan), LABELS, "value 'nan'"),
        (IMAGES, LABELS[:-1], "has 6 images, but labels of the shape '(5,)'"),
        (IMAGES, np.array([0, 1, 2, 3, 4, 10]), "label '10' at [5] (image 6)"),
        (IMAGES, np.eye(10)[LABELS], "labels of the shape '(6, 10)'. The labels are one-hot: give y.argmax(1)"),
        (IMAGES.reshape(-1), LABELS, "has the shape '(4704,)'"),
        (IMAGES.astype(str), LABELS, "has dtype '<U3'"),
        (IMAGES.reshape(6, 28, 14, 2), LABELS, "has the shape"),
        (IMAGES[:0], LABELS[:0], "Give at least one image"),
        (np.array([{"a": 1}], dtype=object), LABELS, "never unpickled"),
        (IMAGES * 1j, LABELS, "has dtype 'complex128'"),
    ],
)
def test_bad_arrays(tmp_path: Path, images: Any, labels: Any, fault: str) -> None:
    """Values that are no pixels or digits, shapes that do not fit, and objects are refused, and the place is named."""
    np.savez(tmp_path / "a.npz", X=images, y=labels)
    with pytest.raises(DataError) as error:
        formats.read(tmp_path / "a.npz", "train")
    assert fault in str(error.value)


@pytest.mark.parametrize(
    ("images", "labels"),
    [("X_TRAIN", "Y_TRAIN"), ("train_images", "train_labels"), ("xtrain", "ytrain"), ("trainX", "trainY"),
     ("data", "target"), ("arr_0", "arr_1"), ("pictures", "digits"), ("features", "classes")],
)  # fmt: skip
def test_other_keys(tmp_path: Path, images: str, labels: str) -> None:
    """Arrays are known by any usual name in any case, and where the names say nothing, by their shapes."""
    np.savez(tmp_path / "a.npz", **{labels: LABELS, images: IMAGES})
    digits = formats.read(tmp_path / "a.npz", "train")
    np.testing.assert_array_equal(digits.images, IMAGES)
    np.testing.assert_array_equal(digits.labels, LABELS)


@pytest.mark.parametrize("names", [("X.npy", "y.npy"), ("X_train.npy", "y_train.npy"), ("images.npy", "labels.npy")])
def test_npy(tmp_path: Path, names: tuple[str, str]) -> None:
    """A plain .npy is read, with the labels in the .npy beside it, given alone or as a folder."""
    folder = tmp_path / "arrays"
    folder.mkdir()
    np.save(folder / names[0], IMAGES)
    assert formats.read(folder / names[0], "submit").labels is None
    np.save(folder / names[1], LABELS)
    for path in (folder, folder / names[0]):
        digits = formats.read(path, "train")
        np.testing.assert_array_equal(digits.images, IMAGES)
        np.testing.assert_array_equal(digits.labels, LABELS)


def write_member(path: Path, data: bytes) -> None:
    """Write a zip with one entry, X.npy, of these bytes."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("X.npy", data)


def test_header_lies(tmp_path: Path) -> None:
    """A header that promises more than there is allocates nothing and is refused."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"shape": (10**12, 28, 28), "fortran_order": False, "descr": "|u1"})
    write_member(tmp_path / "a.npz", buffer.getvalue())
    with pytest.raises(DataError, match="header promises 784000000000"):
        formats.read(tmp_path / "a.npz", "submit")


@given(st.binary(max_size=200), st.integers(0, 130))
def test_random_bytes_are_no_npz(tmp_path_factory: pytest.TempPathFactory, noise: bytes, kept: int) -> None:
    """Whatever an entry holds, with a good beginning or without: Digits or a DataError."""
    buffer = io.BytesIO()
    np.save(buffer, IMAGES[:1])
    path = tmp_path_factory.getbasetemp() / "noise.npz"
    write_member(path, buffer.getvalue()[:kept] + noise)
    try:
        formats.read(path, "submit")
    except DataError as error:
        assert "\n" not in str(error)
