"""Digits of shapes that MNIST hardly has, drawn by rule: ones with flags and feet, fours like lightning, barred sevens.

Half of the world learns to write a one with a long upstroke, a seven with a bar, a nine with a foot; MNIST was written
by American clerks and pupils. Each shape is a few strokes in a unit square whose points, slant, width and pen vary at
random. What is drawn is brought into the frame like any other picture.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold.imaging.frame import to_frame

Point = tuple[float, float]  # x to the right, y down, in the unit square
Random = np.random.Generator

PICTURE = 96  # pixels a side, of which a digit takes up about two thirds
POINTS = 12  # along a curve, between two of its control points


class Stroke(NamedTuple):
    """One line of the pen through these points, round or with corners."""

    points: Sequence[Point]
    smooth: bool = False


def one_with_flag(random: Random) -> list[Stroke]:
    """An upstroke that is up to three quarters as long as the downstroke; perhaps a foot."""
    low = random.uniform(0.2, 0.75)
    top = random.uniform(0.45, 0.75)
    bottom = top + random.uniform(-0.1, 0.1)
    start = (top - random.uniform(0.25, 0.6), low)
    strokes = [Stroke([start, (top, 0), (bottom, 1)])]
    if random.random() < 0.35:
        reach = random.uniform(0.2, 0.4)
        strokes.append(Stroke([(bottom - reach, 1), (bottom + reach, 1 + random.uniform(-0.05, 0.05))]))
    return strokes


def one_with_foot(random: Random) -> list[Stroke]:
    """A short flag and a foot."""
    flag = random.uniform(0.08, 0.25)
    reach = random.uniform(0.2, 0.45)
    return [Stroke([(0.5 - flag, flag), (0.5, 0), (0.5, 1)]), Stroke([(0.5 - reach, 1), (0.5 + reach, 1)])]


def four_like_lightning(random: Random) -> list[Stroke]:
    """A slanting stroke, a bar, and a downstroke that crosses the bar, or hangs from it, far from the top."""
    top = random.uniform(0.4, 0.75)
    bar = random.uniform(0.5, 0.75)
    end = random.uniform(0.75, 1.0)
    crossing = random.uniform(0.55, end)
    start = bar - random.uniform(-0.02, 0.3)
    slant = random.uniform(-0.15, 0.1)
    rise = random.uniform(-0.12, 0.08)
    if random.random() < 0.3:  # in one line, without lifting the pen
        return [Stroke([(top, 0), (0, bar), (end, bar + rise), (end + slant, 1)])]
    return [
        Stroke([(top, 0), (0, bar), (end, bar + rise)], random.random() < 0.15),
        Stroke([(crossing, start), (crossing + slant, 1)]),
    ]


def four_with_round_back(random: Random) -> list[Stroke]:
    """A round stroke down to the bar, the bar, and a downstroke that hangs from its end or crosses it, in one line."""
    top = random.uniform(0.5, 0.85)
    bar = random.uniform(0.5, 0.7)
    end = random.uniform(0.75, 0.95)
    back = [(top, 0), (random.uniform(0.12, 0.3), 0.25), (0.02, bar - 0.08), (0.2, bar + 0.04)]
    if random.random() < 0.5:
        down = (end + random.uniform(-0.15, 0.1), 1)
        return [Stroke([*back, (end, bar - random.uniform(0.0, 0.12))], True), Stroke([(end, bar - 0.06), down])]
    above = bar - random.uniform(0.1, 0.35)
    return [Stroke([*back, (end, bar)], True), Stroke([(end - 0.05, above), (end - 0.05, 1)])]


def seven_with_bar(random: Random) -> list[Stroke]:
    """A crossed seven, perhaps with a serif at its beginning or a wave in its roof."""
    bottom = random.uniform(0.15, 0.55)
    roof = [(0, random.uniform(0, 0.08)), (random.uniform(0.85, 1), 0), (bottom, 1)]
    if random.random() < 0.4:
        roof.insert(0, (random.uniform(-0.05, 0.05), random.uniform(0.12, 0.3)))
    middle = (roof[-2][0] + bottom) / 2 + random.uniform(-0.05, 0.05)
    height = random.uniform(0.4, 0.6)
    reach = random.uniform(0.18, 0.45)
    return [Stroke(roof), Stroke([(middle - reach, height + random.uniform(-0.05, 0.08)), (middle + reach, height)])]


def nine_with_foot(random: Random) -> list[Stroke]:
    """A loop, closed or nearly so, a stem, and a foot that runs to the left, flat or round."""
    right = random.uniform(0.75, 0.95)
    waist = random.uniform(0.4, 0.55)
    opening = random.uniform(0, 0.12)
    loop = [
        (right, 0.15 + opening),
        (right - 0.25, 0),
        (0.25, 0.04),
        (0.05, waist / 2),
        (0.2, waist),
        (right - 0.25, waist),
        (right, 0.2),
    ]
    if random.random() < 0.5:  # round
        stem = [(right, 0.2), (right - 0.02, 0.6), (right - 0.12, 0.88), (0.45, 1.0), (0.05, random.uniform(0.85, 1.0))]
        return [Stroke([*loop, *stem[1:]], True)]
    corner = (right - random.uniform(0, 0.15), random.uniform(0.9, 1.0))
    return [Stroke(loop, True), Stroke([(right, 0.2), corner, (random.uniform(0, 0.25), 1.0)])]


def nine_like_a_g(random: Random) -> list[Stroke]:
    """A small closed loop, a tail that leaves it on the right or from below, and a foot that runs far to the left."""
    wide, tall = random.uniform(0.24, 0.36), random.uniform(0.17, 0.25)
    middle = random.uniform(0.4, 0.55)
    foot = random.uniform(0.9, 1.0)
    end = (random.uniform(0.0, 0.15), foot + random.uniform(-0.06, 0.03))
    elbow = (random.uniform(0.7, 0.95), random.uniform(0.62, 0.8))
    if random.random() < 0.5:  # from the right
        loop = _ring((middle, tall), wide, tall, start=0)
        return [Stroke(loop, True), Stroke([(middle + wide, tall), elbow, (elbow[0] - 0.1, foot), end])]
    loop = _ring((middle, tall), wide, tall, start=math.pi / 2)
    tail = [(middle + 0.1, 2 * tall + 0.03), elbow, (elbow[0] - 0.15, foot), end]
    return [Stroke(loop, True), Stroke([(middle - 0.05, 2 * tall), *tail], True)]


def three_with_flat_top(random: Random) -> list[Stroke]:
    """A roof, a slanting stroke, and a belly."""
    knee = (random.uniform(0.3, 0.5), random.uniform(0.35, 0.45))
    belly = [knee, (0.75, 0.45), (0.9, 0.7), (0.6, 1.0), (0.05, random.uniform(0.85, 1.0))]
    return [Stroke([(0.05, 0.02), (random.uniform(0.75, 0.95), 0), knee]), Stroke(belly, True)]


def six_with_small_loop(random: Random) -> list[Stroke]:
    """A long stem, nearly straight, and a small loop at its foot."""
    size = random.uniform(0.2, 0.32)
    centre = (random.uniform(0.35, 0.5), 1 - size)
    ring = _ring(centre, size, size, start=math.pi)
    return [Stroke([(random.uniform(0.4, 0.8), 0), (0.35, 0.35), *ring], True)]


def zero_with_stroke(random: Random) -> list[Stroke]:
    """A ring with a stroke through it."""
    wide = random.uniform(0.3, 0.45)
    reach = random.uniform(0.75, 1.3)
    ends = [(0.5 - wide * 0.7 * reach, 0.5 + 0.4 * reach), (0.5 + wide * 0.7 * reach, 0.5 - 0.4 * reach)]
    return [Stroke(_ring((0.5, 0.5), wide, 0.5), True), Stroke(ends)]


SHAPES: list[tuple[int, float, Callable[[Random], list[Stroke]]]] = [
    (1, 0.22, one_with_flag),
    (1, 0.08, one_with_foot),
    (4, 0.20, four_like_lightning),
    (4, 0.10, four_with_round_back),
    (7, 0.15, seven_with_bar),
    (9, 0.12, nine_with_foot),
    (9, 0.16, nine_like_a_g),
    (3, 0.05, three_with_flat_top),
    (6, 0.05, six_with_small_loop),
    (0, 0.04, zero_with_stroke),
]


def make_variants(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return `count` drawn digits in the frame, (N, 28, 28) uint8, and their labels, (N,) int64."""
    images = np.zeros((count, 28, 28), np.uint8)
    labels = np.zeros(count, np.int64)
    shares = np.array([share for _, share, _ in SHAPES])
    for index in range(count):
        random = np.random.default_rng((seed, index))
        labels[index], _, shape = SHAPES[random.choice(len(SHAPES), p=shares / shares.sum())]
        images[index] = to_frame(draw(shape(random), random), "light")
    return images, labels


def draw(strokes: Sequence[Stroke], random: Random) -> NDArray[np.uint8]:
    """Return a picture of the strokes, (PICTURE, PICTURE) uint8, light on dark, with a hand's deviations."""
    import cv2

    size = PICTURE * 2 / 3
    slant, narrow = random.normal(0, 0.15), random.uniform(0.55, 1.1)
    width = max(1, round(size * random.uniform(0.06, 0.17)))
    picture = np.zeros((PICTURE, PICTURE), np.uint8)
    for stroke in strokes:
        points = np.array(stroke.points, np.float64) + random.normal(0, 0.025, (len(stroke.points), 2))
        line = _curve(points) if stroke.smooth else _bent(points, random)
        x = (line[:, 0] - 0.5) * narrow + (0.5 - line[:, 1]) * slant
        place = np.stack([x, line[:, 1] - 0.5], 1) * size + PICTURE / 2
        cv2.polylines(picture, [np.rint(place * 16).astype(np.int32)], False, (255,), width, cv2.LINE_AA, shift=4)
    return picture


def _ring(centre: Point, across: float, down: float, start: float = -math.pi / 2) -> list[Point]:
    """Return points around an ellipse, a little more than once, from the angle `start` (0: right, pi / 2: below)."""
    angles = [start + 2 * math.pi * step / 8 for step in range(10)]
    return [(centre[0] + across * math.cos(angle), centre[1] + down * math.sin(angle)) for angle in angles]


def _curve(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points along a smooth curve through `points`, (N, 2) (Catmull and Rom, 1974)."""
    padded = np.concatenate([points[:1], points, points[-1:]])
    t = np.linspace(0, 1, POINTS, endpoint=False)[:, None]
    parts = []
    for before, start, end, after in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        slope = 2 * before - 5 * start + 4 * end - after
        bend = 3 * start - before - 3 * end + after
        parts.append(0.5 * (2 * start + (end - before) * t + slope * t**2 + bend * t**3))
    return np.concatenate([*parts, points[-1:]])


def _bent(points: NDArray[np.float64], random: Random) -> NDArray[np.float64]:
    """Return points along straight lines through `points`, each line a little bent."""
    t = np.linspace(0, 1, POINTS, endpoint=False)[:, None]
    parts = []
    for start, end in pairwise(points):
        normal = np.array([start[1] - end[1], end[0] - start[0]])
        parts.append(start + (end - start) * t + normal * random.normal(0, 0.05) * 4 * t * (1 - t))
    return np.concatenate([*parts, points[-1:]])
