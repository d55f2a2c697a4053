"""Paper and camera: ink stays darker than paper, and the same seed gives the same picture."""

import numpy as np
import pytest

from tenfold.drawing.paper import lines, photograph


@pytest.fixture(scope="module")
def ink() -> np.ndarray:
    """Return a few strokes."""
    return lines(64, 96, [(10, 10, 80, 50), (20, 50, 70, 12)], 4)


def test_ink_is_darker_than_the_paper_around_it(ink: np.ndarray) -> None:
    """On nearly every sheet strokes are darker than the paper beside them, though light, pattern and grain differ."""
    near = (lines(64, 96, [(10, 10, 80, 50), (20, 50, 70, 12)], 16) > 0) & (ink == 0)
    darker = []
    for seed in range(100):
        picture = photograph(ink, np.random.default_rng(seed)).astype(float)
        assert picture.shape == ink.shape
        darker.append(picture[ink > 0.9].mean() < picture[near].mean() - 2)
    assert np.mean(darker) > 0.9


def test_photographs_are_a_function_of_the_seed(ink: np.ndarray) -> None:
    """The same seed gives the same picture, another another, and the ink handed in stays as it was."""
    before = ink.copy()
    for seed in range(20):
        behind = np.ascontiguousarray(ink[:, ::-1]) if seed % 2 else None
        first, again, other = (photograph(ink, np.random.default_rng(each), behind) for each in (seed, seed, seed + 99))
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)
    assert np.array_equal(ink, before)


def test_the_other_side_shines_through() -> None:
    """What is written behind darkens an empty sheet, less than ink would."""
    empty, behind = np.zeros((64, 64), np.float32), np.zeros((64, 64), np.float32)
    behind[16:48, 16:48] = 1
    bare, through = (
        np.mean([photograph(empty, np.random.default_rng(seed), each)[20:44, 20:44].mean() for seed in range(40)])
        for each in (None, behind)
    )
    inked = np.mean([photograph(behind, np.random.default_rng(seed))[20:44, 20:44].mean() for seed in range(40)])
    assert inked < through < bare - 3


def test_lines_are_as_wide_as_the_pen() -> None:
    """A line has a pen's width of ink all along it, with two pixels of OpenCV's soft edges at most, and no more."""
    widths = []
    for pen in (0.5, 1, 3, 5):
        drawn = lines(20, 60, [(10, 10, 50, 10)], pen)
        assert drawn.max() <= 1
        assert np.ptp(drawn[:, 20:40].sum(axis=0)) < 0.01
        assert drawn[:, :5].sum() == drawn[:4].sum() == 0
        widths.append(float(drawn[:, 30].sum()))
        assert pen <= widths[-1] <= pen + 2.5
    assert widths == sorted(widths) and len(set(widths)) == 4
