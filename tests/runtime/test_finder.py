"""The shipped network of pages: digits are found where they are, large and small."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold.drawing.numbers import Desk, Style
from tenfold.runtime.finder import find
from tenfold.runtime.model_file import PRETRAINED, open_reading
from tenfold.runtime.rows import Found, distinct

Truth = tuple[float, float, float, int]  # a middle, a height, a digit


@pytest.fixture(scope="module")
def session() -> object:
    """Return the shipped network of pages."""
    return open_reading(PRETRAINED / "page.onnx", "page").session


@pytest.fixture(scope="module")
def sheet(neat: Desk) -> tuple[NDArray[np.uint8], list[Truth]]:
    """Return a clean sheet, (300, 480) uint8, with rows of digits 30 pixels high, and where each of them is."""
    paper = np.full((300, 480), 235, np.uint8)
    truth: list[Truth] = []
    for row, text in enumerate(("01234", "56789", "27182")):
        style = Style(30, 3.0, 0.1, 0.4, False, 1.0, 0.02, np.zeros(10, np.bool_))
        ink, boxes = neat.number(text, style, np.random.default_rng(row))
        left, top = 40, 30 + 85 * row
        place = paper[top : top + ink.shape[0], left : left + ink.shape[1]]
        place[:] = place * (1 - 0.8 * ink)
        truth += [(left + b.x + b.width / 2, top + b.y + b.height / 2, b.height, b.digit) for b in boxes]
    return paper, truth


def matched(found: list[Found], truth: list[Truth], scale: float = 1.0) -> tuple[int, int]:
    """Return how many digits were found within a third of their height of where they are, and how many read right."""
    there = right = 0
    for x, y, height, digit in truth:
        near = [each for each in found if np.hypot(each.x - x * scale, each.y - y * scale) < height * scale / 3]
        there += len(near) == 1
        right += len(near) == 1 and int(near[0].shares.argmax()) == digit
    return there, right


@pytest.mark.parametrize("scale", [0.6, 1.0, 2.5])
def test_digits_are_found_where_they_are(
    session: object, sheet: tuple[NDArray[np.uint8], list[Truth]], scale: float
) -> None:
    """Most digits of a clean sheet are found once, at their place, about as high, and read right, in any size."""
    paper, truth = sheet
    found = find(session, cv2.resize(paper, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    there, right = matched(found, truth, scale)
    assert there >= 0.85 * len(truth)
    assert right >= 0.7 * len(truth)
    assert len(found) <= len(truth) + 3
    assert 0.7 < np.median([each.height for each in found]) / (np.median([each[2] for each in truth]) * scale) < 1.4
    assert all(each.shares.sum() == pytest.approx(1, abs=1e-3) and 0 < each.score <= 1 + 1e-6 for each in found)
    assert len(distinct(found)) == len(found)


def test_a_large_margin_moves_digits_along(session: object, sheet: tuple[NDArray[np.uint8], list[Truth]]) -> None:
    """Digits on a part of a larger sheet are found where that part lies."""
    paper, truth = sheet
    wide = cv2.copyMakeBorder(paper, 100, 40, 60, 200, cv2.BORDER_REPLICATE)
    there, _ = matched(find(session, wide), [(x + 60, y + 100, *rest) for x, y, *rest in truth])
    assert there >= 0.85 * len(truth)


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (24, 24), (17, 33), (2000, 30)])
def test_nothing_is_found_on_blank_paper(session: object, shape: tuple[int, int]) -> None:
    """Blank paper of any size and shape has no digit on it."""
    assert find(session, np.full(shape, 200, np.uint8)) == []
