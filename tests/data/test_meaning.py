"""What arrays mean: the same digits in another range, shape, polarity or position are the same images."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold.data import load
from tenfold.data.digits import Digits
from tenfold.data.meaning import POSITIONS, Meaning, as_labels, as_stack, digits_of, upright
from tenfold.data.merge import merge
from tenfold.errors import DataError
from tenfold.imaging.frame import is_framed, to_frame

Images = NDArray[np.uint8]
BINARY = "the values are 0 and 1: taken as 0 and 255"
DARK = "dark ink on a light ground: turned to light on dark"


@pytest.fixture(scope="module")
def uci() -> Digits:
    """Return UCI's digits, in MNIST's frame."""
    return load("uci", "explore")


@pytest.fixture(scope="module")
def images(uci: Digits) -> Images:
    """Return 60 of their images."""
    return uci.images[:60]


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda x: x.astype(np.int64), None),
        (lambda x: x.astype(np.float32), None),
        (lambda x: x.astype(np.float64) + 0.25, "the values are not whole: rounded"),
        (lambda x: (x / 255).astype(np.float32), "the values are 0 to 1: taken as 0 to 255"),
        (lambda x: np.round(x / 255, 6), "the values are 0 to 1: taken as 0 to 255"),
        (lambda x: x / 127.5 - 1, "the values are -1 to 1: taken as 0 to 255"),
        (lambda x: (x / 255 - 0.1307) / 0.3081, "the values are -0.424213 to 2.82149: taken as 0 to 255"),
        (lambda x: x.astype(np.uint16) * 257, "the values are 0 to 65535: taken as 0 to 255"),
        (lambda x: x * (100 / 255), "the values are 0 to 100: taken as 0 to 255"),
        (lambda x: x.astype(">i4"), None),
    ],
)
def test_any_range(images: Images, change: Callable[[Any], Any], note: str | None) -> None:
    """Values in any range and dtype come back bit for bit, and what was assumed is said."""
    images = images.copy()
    images[:, 0, 0] = np.where(np.arange(60) % 2, 255, 0)  # so that most images reach both ends
    images[images == 255] = 254 if note and "rounded" in note else 255
    found = digits_of(change(images))
    np.testing.assert_array_equal(found.images, images)
    assert found.notes == (() if note is None else (note,))


def test_digits_are_writable(images: Images) -> None:
    """Bytes that are only to be read, as of a file, become digits that PyTorch takes without a warning."""
    assert digits_of(np.frombuffer(images.tobytes(), np.uint8).reshape(-1, 784)).images.flags.writeable


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_two_values(images: Images, dtype: type) -> None:
    """Images of 0 and 1 are those of 0 and 255, whatever their dtype."""
    found = digits_of((images > 127).astype(dtype))
    np.testing.assert_array_equal(found.images, np.where(images > 127, 255, 0))
    assert found.notes == (BINARY,)


def test_ranges_of_few_levels() -> None:
    """8x8 images of 0 to 16, flat or not, are stretched to 255 before they are framed; blank ones stay blank."""
    eight = np.zeros((4, 8, 8))
    eight[:, 1:7, 3:5] = 16
    for array in (eight, eight.reshape(4, 64)):
        found = digits_of(array)
        assert found.images.max() > 200
        assert found.notes == ("the values are 0 to 16: taken as 0 to 255",)
    assert not digits_of(np.zeros((3, 28, 28))).images.any()


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (np.nan, "value 'nan' at [2, 0, 1] (image 3). Give finite"),
        (np.inf, "value 'inf' at [2, 0, 1] (image 3)"),
        (-1, "value '-1.0' at [2, 0, 1] (image 3). Most images lie within 0 to 255"),
        (1e6, "value '1000000.0'"),
    ],
)
def test_values_that_stand_out(images: Images, value: float, fault: str) -> None:
    """A value that is no number, or far from the range of all others, is refused with its place."""
    changed = np.maximum(images, 1).astype(float)
    changed[:, 0, 0], changed[:, 0, 2] = 0, 255
    changed[2, 0, 1] = value
    with pytest.raises(DataError) as error:
        digits_of(changed, name="a.npz")
    assert str(error.value).startswith(f"'a.npz' has the {fault}")


@pytest.mark.parametrize(
    "shape",
    [(6, 784), (6, 28, 28, 1), (6, 1, 28, 28), (6, 1, 784), (6, 784, 1), (6, 28, 28)],
)
def test_axes_of_length_one(shape: tuple[int, ...]) -> None:
    """Rows of pixels and axes of length 1 are (N, 28, 28); a single image is one."""
    values = np.random.default_rng(0).integers(0, 256, (6, 28, 28)).astype(np.uint8)
    np.testing.assert_array_equal(as_stack(values.reshape(shape), "X"), values)
    for one in (values[0], values[0][..., None], values[0][None], values[0].reshape(-1)):
        np.testing.assert_array_equal(as_stack(one, "X"), values[:1])


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (np.zeros((2, 27)), r"shape '\(2, 27\)'"),
        (np.zeros((0, 28, 28)), r"shape '\(0, 28, 28\)'"),
        (np.zeros((2, 28, 28, 3)), "shape"),
        (np.zeros((2, 28, 28), complex), "dtype 'complex128'"),
        (np.full((2, 784), "0"), "dtype '<U1'"),
        (np.full((2, 784), None), "dtype 'object'"),
        ([[1, 2], [3]], "The images: 'setting an array"),
    ],
)
def test_no_images(values: Any, fault: str) -> None:
    """Other shapes, and what are no real numbers, are refused."""
    with pytest.raises(DataError, match=fault):
        as_stack(values, "The images")


@pytest.mark.parametrize(
    "labels",
    [
        [3.0, 0.0, 9.0],
        [[3], [0], [9]],
        [[3, 0, 9]],
        ["3", "0", "9"],
        [b"3", b"0", b"9"],
        np.array(["3", "0", "9"], object),
        np.array([3, 0, 9], np.uint8),
    ],
)
def test_labels_of_any_kind(labels: Any) -> None:
    """Whole numbers of any dtype, their text, and an axis of length 1 are labels."""
    found = as_labels(labels, 3, "y")
    assert (found.tolist(), found.dtype) == ([3, 0, 9], np.int64)


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        ([3, 10, 9], "y has the label '10' at [1] (image 2). Give digits, 0 to 9."),
        ([3, 0.5, 9], "label '0.5' at [1]"),
        ([3, np.nan, 9], "label 'nan'"),
        (["3", "seven", "9"], "label 'seven' at [1]"),
        ([1, 2], "y has 3 images, but labels of the shape '(2,)'. Give (N,)"),
        (np.eye(10)[[3, 0, 9]], "shape '(3, 10)'. The labels are one-hot: give y.argmax(1)."),
        (np.zeros((3, 2)), "shape '(3, 2)'. Give (N,)"),
    ],
)
def test_no_labels(labels: Any, fault: str) -> None:
    """What is no digit, one-hot rows and other counts are refused with the way on."""
    with pytest.raises(DataError) as error:
        as_labels(labels, 3, "y")
    assert fault in str(error.value)


def test_dark_on_light(images: Images) -> None:
    """A set in the frame that is dark on light is turned and else untouched; any other is framed, by one polarity."""
    found = digits_of(255 - images)
    np.testing.assert_array_equal(found.images, images)
    assert found.notes == (DARK,)
    large = np.stack([np.pad(image, 10) for image in images[:5]])
    for values in (large, 255 - large):
        framed = digits_of(values).images
        np.testing.assert_array_equal(framed, [to_frame(image, "light") for image in large])
    aside = digits_of(255 - np.roll(images, 4, axis=2))
    assert all(is_framed(image) for image in aside.images)
    np.testing.assert_array_equal(digits_of(np.roll(images, 4, axis=2)).images, np.roll(images, 4, axis=2))


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("position", range(8))
def test_put_upright(uci: Digits, labelled: bool, position: int) -> None:
    """A set that lies on its side, head or face is put upright, bit for bit, with labels and without."""
    inverse = (0, 3, 2, 1, 4, 5, 6, 7)[position]
    found = digits_of(upright(uci.images, inverse), uci.labels if labelled else None)
    np.testing.assert_array_equal(found.images, uci.images)
    assert found.notes == ((f"the digits were {POSITIONS[position]}: put upright",) if position else ())


def test_left_as_they_are(uci: Digits, digits: Digits) -> None:
    """Bars that no model knows, noise, few images, and upright ones with wrong labels are not turned."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8)
    assert uci.labels is not None
    aside = uci.images.transpose(0, 2, 1)
    for images, labels in (
        (digits.images, digits.labels),
        (digits.images.transpose(0, 2, 1), None),
        (noise, None),
        (aside[:49], None),
        (uci.images, (uci.labels + 1) % 10),
        (aside, (uci.labels + 1) % 10),
    ):
        np.testing.assert_array_equal(digits_of(images, labels).images, images)


@pytest.mark.data
@pytest.mark.parametrize("spec", ["mnist:train", "mnist:test", "kaggle:train", "kaggle:test"])
def test_nothing_is_assumed_of_the_real_sets(spec: str) -> None:
    """Of MNIST and Kaggle's sets a part is taken, and its images are read as they are."""
    assert all(note.startswith("took ") for note in load(spec, "submit" if spec == "kaggle:test" else "explore").notes)


def test_few_images_by_the_range_seen(images: Images) -> None:
    """One faint image is read by the range that was seen before; many, or values beyond it, by their own."""
    seen = Meaning.of(images, "X")
    faint = images // 3
    np.testing.assert_array_equal(Meaning.of(faint[:1], "X", seen=seen).frames(faint[:1]), faint[:1])
    assert Meaning.of(faint, "X", seen=seen).high == faint.max()
    assert Meaning.of(faint[:1] / 255, "X", seen=seen).high == 1
    assert Meaning.of(faint[:1] * 9.0, "X", seen=seen).high == faint[0].max() * 9.0


def test_notes_are_said_once_and_kept(tmp_path: Path, images: Images, caplog: pytest.LogCaptureFixture) -> None:
    """What was assumed is logged at the first reading, comes from the cache too, and goes along with part and whole."""
    path, labels = tmp_path / "two.csv", np.arange(60) % 10
    rows = np.column_stack([labels, (images > 127).reshape(60, 784)]).astype(int)
    header = ",".join(["label", *(f"pixel{index}" for index in range(784))])
    np.savetxt(path, rows, fmt="%d", delimiter=",", header=header, comments="")
    with caplog.at_level(logging.WARNING, "tenfold"):
        first, second = (load(str(path), "train") for _ in range(2))
    assert [record.getMessage() for record in caplog.records] == [f"'{path}': {BINARY}."]
    assert first.notes == second.notes == second.take(np.arange(3)).notes == (BINARY,)
    merged = merge([("a", first), ("b", second)], look=False).digits
    assert merged.notes == (f"'a': {BINARY}", f"'b': {BINARY}")
