"""What speaks against a number: letters beside it, or that the page's others are larger or darker."""

import numpy as np
import pytest

from tenfold.runtime.doubts import LETTERS, doubts
from tenfold.runtime.rows import Found

SHARES = np.full(10, 0.1, np.float32)


def page(*strokes: tuple[int, int, int, int], ink: int = 20) -> np.ndarray:
    """Return white paper with filled rectangles (left, top, right, bottom)."""
    grey = np.full((300, 500), 255, np.uint8)
    for left, top, right, bottom in strokes:
        grey[top:bottom, left:right] = ink
    return grey


def found(left: int, top: int, right: int, bottom: int, score: float = 0.95) -> Found:
    """Return a digit with these edges."""
    return Found((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, SHARES, score)


def test_alone() -> None:
    """Nothing speaks against two numbers that stand apart on clean paper."""
    grey = page((100, 100, 106, 140), (300, 100, 306, 140))
    assert doubts(grey, [[found(95, 98, 112, 142)], [found(295, 98, 312, 142)]]) == [None, None]


@pytest.mark.parametrize("gap", [-24, 16])
def test_letters(gap: int) -> None:
    """Ink as high as a letter close by, on either side, that is no digit itself, makes a number a part of a word."""
    beside = (120, 105, 128, 140) if gap > 0 else (82, 105, 90, 140)
    grey = page((100, 100, 106, 140), beside)
    digit = [found(95, 98, 112, 142)]
    assert doubts(grey, [digit]) == [LETTERS]
    own = found(beside[0] - 3, 103, beside[2] + 3, 142)
    assert doubts(grey, [digit, [own]]) == [None, None]  # the next number's digit is no letter


def test_low_marks_and_rules() -> None:
    """A dash, a full stop and a form's frame are no letters."""
    grey = page((100, 100, 106, 140), (116, 118, 132, 122), (115, 136, 119, 140), (85, 60, 87, 200))
    assert doubts(grey, [[found(95, 98, 112, 142)]]) == [None]


def test_lone_digit_in_a_line_of_words() -> None:
    """A single digit in the same line as what is beside letters is doubted too; a number of two digits is not."""
    grey = page(
        (100, 100, 106, 140), (120, 105, 128, 140), (300, 100, 306, 140), (400, 100, 406, 140), (420, 100, 426, 140)
    )
    single, pair = [found(295, 98, 312, 142)], [found(395, 98, 411, 142), found(414, 98, 431, 142)]
    assert doubts(grey, [[found(95, 98, 112, 142)], single, pair]) == [LETTERS, LETTERS, None]


def test_fainter_and_smaller() -> None:
    """What shines through is fainter than the rest, a speck is smaller; alone on a page, neither is doubted."""
    grey = page((100, 100, 106, 140))
    grey[100:140, 300:306] = 225
    grey[250:256, 400:402] = 20
    strong, faint, small = [found(95, 98, 112, 142)], [found(295, 98, 312, 142)], [found(398, 249, 404, 257)]
    assert doubts(grey, [strong, faint, small]) == [None, "far fainter than the others", "far smaller than the others"]
    assert doubts(grey, [faint]) == [None]
    assert doubts(grey, [small]) == [None]


def test_at_the_edges() -> None:
    """Digits at a picture's edges, and beyond them, are looked at without an error."""
    grey = page((0, 0, 6, 40), (494, 270, 500, 300))
    groups = [[found(-4, -2, 9, 42)], [found(490, 266, 504, 304)]]
    assert doubts(grey, groups) == [None, None]
    assert doubts(grey, []) == []
