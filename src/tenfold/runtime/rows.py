"""Digits found on a page -> numbers and rows: what stands together, and in which order it is read."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SAME = 0.35  # of the smaller of two boxes' areas that they share: both are one digit then
PART, REACH = 0.45, 0.3  # of a digit's size: what is smaller and lies that near to it is a part of its strokes
RISE = 0.5  # of the height, by which neighbours of a row may lie higher or lower
LIKE = 2.2  # by how much neighbours may differ in height
WIDEST = 4.5  # heights between two digits of a row
WORD_GAP = 2.2  # times a row's usual gap, from which on a new number begins
LEAST_GAP = 0.75  # of the height: digits that are nearer belong together in any case


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A digit that was found: its middle and size in pixels, what it may be (10,), and how sure a digit is there."""

    x: float
    y: float
    width: float
    height: float
    shares: Floats
    score: float

    @property
    def left(self) -> float:
        """The left edge."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """The right edge."""
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        """The upper edge."""
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.y + self.height / 2


def bounds(digits: list[Found]) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of the smallest box around digits."""
    left, top = min(each.left for each in digits), min(each.top for each in digits)
    return left, top, max(each.right for each in digits), max(each.bottom for each in digits)


def distinct(found: list[Found]) -> list[Found]:
    """Return each digit once: of those that share much of their area the surest, and no parts of larger ones."""
    kept: list[Found] = []
    boxes = np.zeros((0, 4))
    for each in sorted(found, key=lambda digit: -digit.score):
        box = _edges(each, 0)
        if kept:
            shared = np.clip(np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2]), 0, None).prod(
                axis=1
            )
            areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
            if (shared > SAME * np.minimum(areas, (box[2:] - box[:2]).prod())).any():
                continue
        kept.append(each)
        boxes = np.vstack([boxes, box])
    sizes = np.array([max(each.width, each.height) for each in kept])
    around = np.stack([_edges(each, REACH) for each in kept]) if kept else boxes
    places = np.array([(each.x, each.y) for each in kept]).reshape(-1, 2)
    within = (places[:, None] > around[:, :2]).all(axis=2) & (places[:, None] < around[:, 2:]).all(axis=2)
    part = np.asarray((within & (sizes[:, None] < PART * sizes)).any(axis=1))
    return [each for each, is_part in zip(kept, part.tolist(), strict=True) if not is_part]


def _edges(digit: Found, reach: float) -> NDArray[np.float64]:
    """Return left, top, right and bottom of a digit's box, which reaches further by a share of the digit's size."""
    more = reach * max(digit.width, digit.height)
    half = digit.width / 2 + more, digit.height / 2 + more
    return np.array([digit.x - half[0], digit.y - half[1], digit.x + half[0], digit.y + half[1]])


def rows(found: list[Found]) -> list[list[Found]]:
    """Return the digits of each row from left to right, the rows from top to bottom.

    A digit goes to the nearest row whose end it continues: about as high, about as large, not too far.
    """
    made: list[list[Found]] = []
    for digit in sorted(found, key=lambda each: each.x):
        fits = [(distance, row) for row in made if (distance := _distance(row, digit)) is not None]
        if fits:
            min(fits, key=lambda fit: fit[0])[1].append(digit)
        else:
            made.append([digit])
    return _ordered(made)


def numbers(row: list[Found]) -> list[list[Found]]:
    """Return a row's digits number by number: a gap that is far wider than the others divides them."""
    height = float(np.median([each.height for each in row]))
    gaps = [after.left - before.right for before, after in pairwise(row)]
    usual = max(float(np.median(gaps)) if gaps else 0.0, 0.2 * height)
    parts = [[row[0]]]
    for gap, digit in zip(gaps, row[1:], strict=True):
        if gap > LEAST_GAP * height and gap > WORD_GAP * usual:
            parts.append([])
        parts[-1].append(digit)
    return parts


def _distance(row: list[Found], digit: Found) -> float | None:
    """Return how far a digit lies from a row's end, in its heights; None where it does not continue the row."""
    last = row[-3:]
    height = float(np.median([each.height for each in last]))
    slope = 0.0
    if len(row) > 2:
        x, y = np.array([each.x for each in row]), np.array([each.y for each in row])
        slope = float(np.clip(np.polyfit(x - x.mean(), y, 1)[0], -0.2, 0.2))
    end = row[-1]
    expected = float(np.mean([each.y + slope * (digit.x - each.x) for each in last]))
    gap = (digit.left - end.right) / height
    likeness = max(height, digit.height) / min(height, digit.height)
    rise = abs(digit.y - expected) / max(height, digit.height)
    if likeness > LIKE or rise > RISE or gap > WIDEST or digit.x < end.x:
        return None
    return max(gap, 0.0) + 2 * rise


def _ordered(made: list[list[Found]]) -> list[list[Found]]:
    """Return rows from top to bottom; those at one height, which stand apart, from left to right as one row."""
    made = sorted(made, key=lambda row: float(np.mean([each.y for each in row])))
    joined: list[list[Found]] = []
    for row in made:
        y, height = (float(np.mean([getattr(each, name) for each in row])) for name in ("y", "height"))
        if joined:
            above = joined[-1]
            near = abs(y - float(np.mean([each.y for each in above]))) < RISE * height
            apart = row[0].left > above[-1].right or row[-1].right < above[0].left
            if near and apart and max(height, above[0].height) < LIKE * min(height, above[0].height):
                joined[-1] = sorted([*above, *row], key=lambda each: each.x)
                continue
        joined.append(row)
    return joined
