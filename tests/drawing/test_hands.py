"""Hands: digits' middle lines, one pixel wide and whole, written at any size with any pen."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tenfold.data import load
from tenfold.drawing.glyphs import font_files
from tenfold.drawing.hands import HEIGHT, MARGIN, STYLES, WIDTH, Hands, thinned, write
from tenfold.drawing.numbers import Desk

Map = NDArray[np.bool_]


def pieces(shape: Map) -> int:
    """Return how many pieces a shape has, whose pixels may touch at corners."""
    return int(cv2.connectedComponents(shape.astype(np.uint8), connectivity=8)[0]) - 1


def strokes(seed: int, count: int, width: int) -> Map:
    """Return thick lines between random points, which cross and meet, on a canvas with a free edge."""
    generator = np.random.default_rng(seed)
    canvas = np.zeros((40, 56), np.uint8)
    for ends in generator.integers((8, 8), (48, 32), (count, 2, 2)):
        cv2.line(canvas, ends[0].tolist(), ends[1].tolist(), (1,), width)
    return canvas > 0


@given(seed=st.integers(0, 10**6), count=st.integers(1, 5), width=st.integers(3, 9))
def test_thinned_shapes_stay_in_one_piece_and_are_a_pixel_wide(seed: int, count: int, width: int) -> None:
    """A middle line lies in its shape, has as many pieces as it, no thick place, and is its own middle line."""
    shape = strokes(seed, count, width)
    line = thinned(shape[None])[0]
    assert not (line & ~shape).any()
    assert pieces(line) == pieces(shape)
    thick = cv2.erode(line.astype(np.uint8), np.ones((3, 3), np.uint8))
    assert thick.sum() == 0
    assert line.sum() < 0.75 * shape.sum()
    assert np.array_equal(thinned(line[None])[0], line)


def test_shapes_are_thinned_each_for_itself() -> None:
    """Thinned together shapes come out as thinned alone, those that take long and those that are done at once."""
    shapes = np.stack([strokes(seed, 3, 1 + 2 * seed) for seed in range(5)])
    before = shapes.copy()
    assert np.array_equal(thinned(shapes), np.concatenate([thinned(shape[None]) for shape in shapes]))
    assert np.array_equal(shapes, before)


def test_a_bar_is_thinned_to_its_middle() -> None:
    """The middle line of a bar is the row in its middle, a little shorter than the bar."""
    bar = np.zeros((1, 15, 40), np.bool_)
    bar[0, 5:10, 5:35] = True
    rows, columns = np.nonzero(thinned(bar)[0])
    assert set(rows) == {7}
    assert len(columns) >= 24


def test_hands_know_what_each_map_shows(desk: Desk) -> None:
    """A pick is a map of the digit asked for, of the data or drawn as was asked; maps have a line and room around."""
    hands = desk.hands
    generator = np.random.default_rng(0)
    assert hands.maps.shape[1:] == (HEIGHT, WIDTH) and len(hands.maps) == len(hands.labels)
    assert all((field == 0).any() and field[:2].min() > 0 and field[-2:].min() > 0 for field in hands.maps)
    for digit in range(10):
        known, drawn = ({hands.pick(digit, each, generator) for _ in range(50)} for each in (False, True))
        assert all(hands.labels[at] == digit for at in known | drawn)
        assert max(known) < 200 <= min(drawn)


def test_hands_without_a_digit_take_the_other_kind(desk: Desk) -> None:
    """Where no digit is drawn, or none in the data, a pick is of those that there are."""
    maps, labels = desk.hands.maps[:20], np.arange(20) % 10
    for drawn in (0, 20):
        hands = Hands(maps, labels, drawn)
        assert {labels[hands.pick(7, each, np.random.default_rng(0))] for each in (False, True)} == {7}


def test_hands_are_a_function_of_the_seed() -> None:
    """The same seed makes the same maps and words; another one the same of the data, and others of the drawn."""
    known = load("uci:train")
    assert known.labels is not None
    images, labels = known.images[:30], known.labels[:30]
    first, again, other = (Hands.of(images, labels, 20, seed, font_files()) for seed in (1, 1, 2))
    assert np.array_equal(first.maps, again.maps) and np.array_equal(first.labels, again.labels)
    assert len(first.words) == 5
    assert all(np.array_equal(a, b) for a, b in zip(first.words, again.words, strict=True))
    assert np.array_equal(first.maps[:30], other.maps[:30])
    assert not np.array_equal(first.maps[30:50], other.maps[30:50])
    assert Hands.of(images, labels, 20, 1).words == []


@pytest.mark.parametrize("shape", STYLES, ids=lambda shape: shape[2].__name__)
def test_every_style_is_drawn_as_its_digit(shape: tuple[int, float, object]) -> None:
    """Every style's name begins with its digit, and each of its strokes is a line near the unit square."""
    digit, share, draw = shape
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    assert draw.__name__.startswith(names[digit])  # type: ignore[attr-defined]
    assert 0 < share < 1
    for seed in range(50):
        made = draw(np.random.default_rng(seed))  # type: ignore[operator]
        assert all(len(stroke.points) >= 2 for stroke in made)
        points = np.concatenate([stroke.points for stroke in made])
        assert points.min() > -0.7 and points.max() < 1.7
        assert np.ptp(points[:, 1]) > 0.6


@pytest.mark.parametrize("height", [12, 30, 120])
def test_what_is_written_is_as_high_and_as_thick_as_asked(desk: Desk, height: float) -> None:
    """Ink is from 0 to 1 and about `height` and a pen high; a wider pen leaves more ink, wherever a thinner one did."""
    at = int(np.flatnonzero(desk.hands.labels[:200] == 8)[0])
    field = desk.hands.maps[at]
    tall = (HEIGHT - 2 * MARGIN - 1) * height / (HEIGHT - 2 * MARGIN)
    thin, thick = (write(field, height, pen, 0.0, np.random.default_rng(3)) for pen in (height / 12, height / 5))
    assert thin.dtype == np.float32 and thin.min() == 0 and thin.max() <= 1
    rows = np.flatnonzero((thick > 0.5).any(axis=1))
    assert 0.7 * tall < rows[-1] - rows[0] < 1.35 * tall + height / 5
    assert (thick >= thin).all() and thick.sum() > 1.4 * thin.sum()


def test_slant_leans_to_the_right(desk: Desk) -> None:
    """Written with a slant the upper half lies farther to the right of the lower one than without."""
    field = desk.hands.maps[int(np.flatnonzero(desk.hands.labels[:200] == 1)[0])]

    def lean(slant: float) -> float:
        ink = write(field, 40, 4, slant, np.random.default_rng(0))
        rows, columns = np.nonzero(ink > 0.5)
        upper = rows < np.median(rows)
        return float(columns[upper].mean() - columns[~upper].mean())

    assert lean(-0.3) + 3 < lean(0.0) < lean(0.3) - 3


def test_writing_is_a_function_of_its_generator(desk: Desk) -> None:
    """The same state of the generator writes a digit the same, another one otherwise; a word is no exception."""
    for field in (desk.hands.maps[0], desk.hands.words[0]):
        first, again, other = (write(field, 30, 3, 0.1, np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)
