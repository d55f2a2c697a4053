"""The frame: any picture of a digit comes out as MNIST has it."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import ndimage

from tenfold import settings as places
from tenfold.data import formats
from tenfold.errors import DataError
from tenfold.imaging.frame import is_dark, is_framed, steps, to_frame


def seven(side: int, left: int = 0, top: int = 0, stroke: float = 0.09) -> NDArray[np.uint8]:
    """Return a 7 drawn in light ink on dark, anti-aliased, 0.6 of the side high."""
    canvas = np.zeros((side, side), np.uint8)
    corners = np.array([[0.3, 0.2], [0.7, 0.2], [0.45, 0.8]]) * side + [left, top]
    cv2.polylines(canvas, [np.rint(corners).astype(np.int32)], False, 255, max(1, round(side * stroke)), cv2.LINE_AA)
    return canvas


def distance(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Return the mean absolute difference of two images, one moved by at most a pixel: the centre is rounded."""
    moves = [np.roll(first, (rows, columns), (0, 1)) for rows in (-1, 0, 1) for columns in (-1, 0, 1)]
    return min(float(np.abs(moved.astype(int) - second).mean()) for moved in moves)


@pytest.mark.parametrize("side", [60, 100, 333, 1500])
@pytest.mark.parametrize("polarity", ["light", "dark"])
def test_geometry(side: int, polarity: str) -> None:
    """From any size and polarity: longer side 19 or 20, centre of mass at (14, 14) to half a pixel, ink 255 on 0."""
    image = seven(side, left=side // 8)
    framed = to_frame(255 - image if polarity == "dark" else image)
    assert framed.shape == (28, 28) and framed.dtype == np.uint8
    rows, columns = np.flatnonzero(framed.any(axis=1)), np.flatnonzero(framed.any(axis=0))
    assert 19 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 20
    assert np.abs(np.array(ndimage.center_of_mass(framed)) - 14).max() <= 0.51
    assert framed.max() == 255
    assert (framed[0] == 0).all() and (framed[:, 0] == 0).all()


def test_place_size_polarity_and_light_do_not_matter() -> None:
    """A digit elsewhere, three times as large, dark on light, pale, coloured or under uneven light is framed alike."""
    plain = to_frame(seven(300))
    dark = 255 - seven(300)
    slope = np.linspace(0, 60, 300)[:, None]
    noise = np.random.default_rng(0).normal(0, 3, (300, 300))
    pale = np.clip(170 + noise - 0.3 * seven(300), 0, 255).astype(np.uint8)
    red = np.stack([np.full_like(dark, 250), dark, dark], axis=-1)
    for name, picture in {
        "moved": seven(300, left=-60, top=40),
        "large": seven(900),
        "dark": dark,
        "uneven": (dark * 0.7 + slope).astype(np.uint8),
        "pale": pale,
        "red": red,
        "transparent": np.dstack([np.zeros((300, 300, 3), np.uint8), seven(300)]),
    }.items():
        assert distance(to_frame(picture), plain) < 6, name
    assert distance(np.zeros((28, 28), np.uint8), plain) > 20  # what the bound above is worth


def test_thin_pen() -> None:
    """A pen of one pixel on a large canvas neither fades nor breaks: its strokes are widened."""
    framed = to_frame(255 - seven(400, stroke=0.003))
    ordinary = to_frame(255 - seven(400))
    assert framed.sum() > 0.4 * ordinary.sum()
    assert ndimage.label(framed > 100)[1] == 1


def test_broad_pen() -> None:
    """A pen so broad that a digit is hardly more than a blob is narrowed, and the longer side stays at 20."""
    blob = np.zeros((100, 100), np.uint8)
    blob[10:90, 30:70] = 255  # 80 high, 40 broad: 10 pixels of the frame, where MNIST's strokes have 2 to 4
    framed = to_frame(blob, "light")
    rows, columns = np.flatnonzero(framed.any(1)), np.flatnonzero(framed.any(0))
    assert rows[-1] - rows[0] + 1 == 20
    assert columns[-1] - columns[0] + 1 <= 8


def test_steps_lead_to_the_frame() -> None:
    """The steps come in their order, each with a picture, and the last is what `to_frame` gives."""
    names, arrays = zip(*steps(seven(200)), strict=True)
    expected = "grey", "ink", "without specks", "cropped", "stroke width", "20 pixels long", "centre of mass"
    assert names == expected
    assert max(arrays[-2].shape) == 20
    np.testing.assert_array_equal(arrays[-1], to_frame(seven(200)))
    assert [name for name, _ in steps(arrays[-1])] == ["grey", "as it was"]
    assert [name for name, _ in steps(np.full((9, 9), 7, np.uint8))][-1] == "blank"


def test_specks_are_left_out() -> None:
    """Dirt far from the digit does not make it smaller."""
    image = seven(200)
    dirty = image.copy()
    dirty[190:193, 5:8] = 255
    dirty[4:6, 190:192] = 255
    np.testing.assert_array_equal(to_frame(dirty), to_frame(image))


@pytest.mark.parametrize("level", [0, 128, 255])
def test_blank(level: int) -> None:
    """Blank paper, also grainy or with light from one side, is an empty frame."""
    paper = np.full((120, 90), level, np.uint8)
    grain = np.random.default_rng(1).normal(0, 3, paper.shape)
    slope = np.linspace(0, 50, 90)
    for picture in (paper, np.clip(paper + grain, 0, 255), np.clip(paper // 2 + 60 + slope + grain, 0, 255)):
        assert not to_frame(picture.astype(np.uint8)).any()
    assert not to_frame(np.full((28, 28), level, np.uint8)).any()


def test_framed_is_left_alone() -> None:
    """An image that is in the frame comes back as it is, as a copy; shifted by three pixels it is moved back."""
    framed = to_frame(seven(300))
    assert is_framed(framed)
    again = to_frame(framed)
    np.testing.assert_array_equal(again, framed)
    assert again is not framed
    assert distance(to_frame(np.roll(framed, 3, axis=1)), framed) < 4


@given(
    st.integers(14, 22), st.integers(1, 22), st.integers(0, 10), st.integers(0, 10), st.integers(0, 255), st.booleans()
)
@settings(max_examples=300, deadline=None)
def test_framed_by_other_means(height: int, width: int, top: int, left: int, value: int, noisy: bool) -> None:
    """What is taken for framed is what SciPy's boxes and centres of mass say, in any order of memory."""
    image = np.zeros((28, 28), np.uint8)
    image[top : top + height, left : left + width] = value
    if noisy:
        image[::3] = np.maximum(image[::3], 20)
        image[top, left] = 255
    strokes = np.where(image >= 32, image, 0)
    expected = image.max() >= 128
    if expected:
        rows, columns = ndimage.find_objects((strokes > 0).astype(int))[0]
        centre = np.array(ndimage.center_of_mass(strokes))
        expected = 17 <= max(rows.stop - rows.start, columns.stop - columns.start) <= 20
        expected = expected and np.abs(centre - 14).max() <= 0.6
    assert is_framed(image) == is_framed(np.asfortranarray(image)) == expected


@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=40)))
@settings(max_examples=200, deadline=None)
def test_any_pixels(image: NDArray[np.uint8]) -> None:
    """Whatever the pixels and the shape, an image of the frame's shape comes out, and nothing is changed in place."""
    before = image.copy()
    framed = to_frame(image)
    assert framed.shape == (28, 28) and framed.dtype == np.uint8
    np.testing.assert_array_equal(image, before)


def test_bad_shapes() -> None:
    """An empty picture, other numbers of channels and other dtypes are refused."""
    for shape, dtype in (((0, 5), np.uint8), ((5, 5, 2), np.uint8), ((5,), np.uint8), ((5, 5), np.float32)):
        with pytest.raises(DataError, match="A picture has shape"):
            to_frame(np.zeros(shape, dtype))  # type: ignore[arg-type]


def test_two_values() -> None:
    """A picture of nothing but 0 and 1 is one of black and white."""
    two = (seven(60) > 127).astype(np.uint8)
    np.testing.assert_array_equal(to_frame(two), to_frame(two * 255))
    np.testing.assert_array_equal(to_frame(1 - two), to_frame(255 - two * 255))


def test_sets_share_a_polarity() -> None:
    """Most borders decide for all: a grey ground counts as light where the ink is darker, noise as neither."""
    light = np.stack([seven(28, left=3), np.full((28, 28), 255, np.uint8), seven(28)])
    assert not is_dark(light)
    assert is_dark(255 - light)
    assert is_dark(150 - light // 2)
    assert not is_dark(np.random.default_rng(0).integers(0, 256, (50, 28, 28), dtype=np.uint8))


@pytest.mark.data
def test_mnist_is_in_the_frame() -> None:
    """Every MNIST test image is recognised as framed, and brought anew from its negative it changes little."""
    data = places.data_folder()
    assert data is not None
    images = formats.read(data / "mnist", "evaluate").images
    assert all(is_framed(image) for image in images)
    distances = [distance(to_frame(255 - image), image) for image in images[:300]]
    assert np.median(distances) < 1
    assert np.percentile(distances, 95) < 8
