"""Ink on level ground: shadows and polarity make no difference."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold.errors import DataError
from tenfold.imaging.level import dark, levelled

Grey = NDArray[np.uint8]


@pytest.fixture
def written() -> Grey:
    """Return dark figures on light paper, (80, 240) uint8."""
    paper = np.full((80, 240), 230, np.uint8)
    cv2.putText(paper, "4711", (20, 60), cv2.FONT_HERSHEY_SIMPLEX, 2, (40,), 4, cv2.LINE_AA)
    return paper


def test_a_shadow_changes_nothing(written: Grey) -> None:
    """Under a light that falls off to a half across the page ink is what it was, to a sixth."""
    across, down = np.linspace(1, 0.5, 240)[None], np.linspace(1, 0.8, 80)[:, None]
    shaded = np.uint8(np.rint(written * across * down))
    bright, dim = levelled(written, 12), levelled(shaded, 12)
    assert np.abs(bright - dim).max() < 1 / 6
    plain = 1 - written / 255, 1 - shaded / 255
    assert np.abs(plain[0] - plain[1]).max() > 0.4


def test_paper_is_0_and_ink_1(written: Grey) -> None:
    """Paper is 0, full ink about 1, pale ink as well; what comes out lies within its bounds."""
    for strength in (1.0, 0.3):
        pale = np.uint8(230 - (230 - written.astype(float)) * strength)
        ink = levelled(pale, 12)
        assert ink.dtype == np.float32 and ink.shape == pale.shape
        assert ink.min() >= -0.5 and ink.max() <= 1.5
        assert np.abs(ink[written == 230]).max() < 0.15
        assert ink[written == 40] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("value", [0, 7, 128, 255])
@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (40, 40)])
def test_an_empty_sheet_has_no_ink(shape: tuple[int, int], value: int) -> None:
    """Sheets of one grey, black ones too, of any size, come out finite and as paper, where they are not darkest."""
    ink = levelled(np.full(shape, value, np.uint8), 24)
    assert ink.shape == shape and np.isfinite(ink).all()
    if value >= 8:
        assert (ink == 0).all()


def test_faint_grain_is_no_ink() -> None:
    """Grain of a hundredth of the paper's brightness stays far from full ink."""
    grain = np.random.default_rng(0).normal(200, 2, (64, 64)).clip(0, 255).astype(np.uint8)
    assert levelled(grain, 12).max() < 0.9


def test_light_on_dark_becomes_dark_on_light(written: Grey) -> None:
    """A negative is turned into the picture itself, the picture is left as it is, and colours are made grey."""
    assert np.array_equal(dark(written), written)
    assert np.array_equal(dark(255 - written), written)
    coloured = np.dstack([written, written, written])
    assert np.abs(dark(coloured).astype(int) - written).max() <= 1
    assert np.abs(dark(255 - coloured).astype(int) - written).max() <= 1


def test_polarity_of_a_shaded_or_large_picture(written: Grey) -> None:
    """Half of the sheet in shadow, and ten times as many pixels, are judged alike."""
    half = np.where(np.arange(240) < 120, 1.0, 0.55)
    assert np.array_equal(dark(np.uint8(written * half)), np.uint8(written * half))
    large = cv2.resize(written, None, fx=10, fy=10, interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(dark(large), large)
    assert np.array_equal(dark(255 - large), large)


def test_a_picture_of_one_pixel_is_taken() -> None:
    """The smallest picture is no exception."""
    assert dark(np.full((1, 1), 9, np.uint8)).tolist() == [[9]]


def test_what_is_transparent_is_paper(written: Grey) -> None:
    """Black ink on a transparent ground that is black as well, as a drawing box gives it, is ink on white."""
    clear = np.dstack([np.zeros((*written.shape, 3), np.uint8), 255 - written])
    found = dark(clear)
    assert found[written < 60].max() < 80
    assert found[written == 230].min() > 200


@pytest.mark.parametrize("shape", [(4,), (4, 4, 2), (4, 4, 5), (2, 4, 4, 3), (0, 4)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    """What has no rows and columns, or no known channels, is no picture."""
    with pytest.raises(DataError, match="A picture has shape"):
        dark(np.zeros(shape, np.uint8))
