"""NPZ: arrays come back as saved, pickles and lies are refused."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.data import formats
from tenfold.errors import DataError

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
def test_round_trip(tmp_path: Path, keys: tuple[str, str], images: Any) -> None:
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
def test_random_bytes(tmp_path_factory: pytest.TempPathFactory, noise: bytes, kept: int) -> None:
    """Whatever an entry holds, with a good beginning or without: Digits or a DataError."""
    buffer = io.BytesIO()
    np.save(buffer, IMAGES[:1])
    path = tmp_path_factory.getbasetemp() / "noise.npz"
    write_member(path, buffer.getvalue()[:kept] + noise)
    try:
        formats.read(path, "submit")
    except DataError as error:
        assert "\n" not in str(error)
