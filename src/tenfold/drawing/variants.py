"""Digits of shapes that MNIST hardly has, drawn by rule: ones with flags and feet, fours like lightning, barred sevens.

Half of the world learns to write a one with a long upstroke, a seven with a bar, a nine with a foot; MNIST was written
by American clerks and pupils. Each shape is a few strokes in a unit square whose points, slant, width and pen vary at
random. What is drawn is brought into the frame like any other picture.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold.drawing import glyphs
from tenfold.drawing.glyphs import InkMap, Line
from tenfold.imaging.frame import to_frame

Point = tuple[float, float]  # x to the right, y down, in the unit square

PICTURE = 96  # pixels a side, of which a digit takes up about two thirds
POINTS = 12  # along a curve, between two of its control points


class Stroke(NamedTuple):
    """One line of the pen through these points, round or with corners."""

    points: Sequence[Point]
    smooth: bool = False


def one_with_flag(generator: np.random.Generator) -> list[Stroke]:
    """An upstroke that is up to three quarters as long as the downstroke; perhaps a foot."""
    low, top = generator.uniform(0.2, 0.75), generator.uniform(0.45, 0.75)
    bottom = top + generator.uniform(-0.1, 0.1)
    strokes = [Stroke([(top - generator.uniform(0.25, 0.6), low), (top, 0), (bottom, 1)])]
    if generator.random() < 0.35:
        reach = generator.uniform(0.2, 0.4)
        strokes.append(Stroke([(bottom - reach, 1), (bottom + reach, 1 + generator.uniform(-0.05, 0.05))]))
    return strokes


def one_with_foot(generator: np.random.Generator) -> list[Stroke]:
    """A short flag and a foot."""
    flag, reach = generator.uniform(0.08, 0.25), generator.uniform(0.2, 0.45)
    return [Stroke([(0.5 - flag, flag), (0.5, 0), (0.5, 1)]), Stroke([(0.5 - reach, 1), (0.5 + reach, 1)])]


def four_like_lightning(generator: np.random.Generator) -> list[Stroke]:
    """A slanting stroke, a bar, and a downstroke that crosses the bar, or hangs from it, far from the top."""
    top, bar = generator.uniform(0.4, 0.75), generator.uniform(0.5, 0.75)
    end = generator.uniform(0.75, 1.0)
    crossing = generator.uniform(0.55, end)
    start = bar - generator.uniform(-0.02, 0.3)
    slant, rise = generator.uniform(-0.15, 0.1), generator.uniform(-0.12, 0.08)
    upper = [(top, 0), (0, bar), (end, bar + rise)]
    if generator.random() < 0.3:  # in one line, without lifting the pen
        return [Stroke([*upper, (end + slant, 1)])]
    return [Stroke(upper, generator.random() < 0.15), Stroke([(crossing, start), (crossing + slant, 1)])]


def four_with_round_back(generator: np.random.Generator) -> list[Stroke]:
    """A round stroke down to the bar, the bar, and a downstroke that hangs from its end or crosses it, in one line."""
    top = generator.uniform(0.5, 0.85)
    bar = generator.uniform(0.5, 0.7)
    end = generator.uniform(0.75, 0.95)
    back = [(top, 0), (generator.uniform(0.12, 0.3), 0.25), (0.02, bar - 0.08), (0.2, bar + 0.04)]
    if generator.random() < 0.5:
        down = (end + generator.uniform(-0.15, 0.1), 1)
        return [Stroke([*back, (end, bar - generator.uniform(0.0, 0.12))], True), Stroke([(end, bar - 0.06), down])]
    above = bar - generator.uniform(0.1, 0.35)
    return [Stroke([*back, (end, bar)], True), Stroke([(end - 0.05, above), (end - 0.05, 1)])]


def seven_with_bar(generator: np.random.Generator) -> list[Stroke]:
    """A crossed seven, perhaps with a serif at its beginning or a wave in its roof."""
    bottom = generator.uniform(0.15, 0.55)
    roof = [(0, generator.uniform(0, 0.08)), (generator.uniform(0.85, 1), 0), (bottom, 1)]
    if generator.random() < 0.4:
        roof.insert(0, (generator.uniform(-0.05, 0.05), generator.uniform(0.12, 0.3)))
    middle = (roof[-2][0] + bottom) / 2 + generator.uniform(-0.05, 0.05)
    height = generator.uniform(0.4, 0.6)
    reach = generator.uniform(0.18, 0.45)
    return [Stroke(roof), Stroke([(middle - reach, height + generator.uniform(-0.05, 0.08)), (middle + reach, height)])]


def nine_with_foot(generator: np.random.Generator) -> list[Stroke]:
    """A loop, closed or nearly so, a stem, and a foot that runs to the left, flat or round."""
    right, waist = generator.uniform(0.75, 0.95), generator.uniform(0.4, 0.55)
    upper = [(right, 0.15 + generator.uniform(0, 0.12)), (right - 0.25, 0), (0.25, 0.04)]
    loop = [*upper, (0.05, waist / 2), (0.2, waist), (right - 0.25, waist), (right, 0.2)]
    if generator.random() < 0.5:  # round
        stem = [(right - 0.02, 0.6), (right - 0.12, 0.88), (0.45, 1.0), (0.05, generator.uniform(0.85, 1.0))]
        return [Stroke([*loop, *stem], True)]
    corner = (right - generator.uniform(0, 0.15), generator.uniform(0.9, 1.0))
    return [Stroke(loop, True), Stroke([(right, 0.2), corner, (generator.uniform(0, 0.25), 1.0)])]


def nine_like_a_g(generator: np.random.Generator) -> list[Stroke]:
    """A small closed loop, a tail that leaves it on the right or from below, and a foot that runs far to the left."""
    wide, tall = generator.uniform(0.24, 0.36), generator.uniform(0.17, 0.25)
    middle, foot = generator.uniform(0.4, 0.55), generator.uniform(0.9, 1.0)
    end = (generator.uniform(0.0, 0.15), foot + generator.uniform(-0.06, 0.03))
    elbow = (generator.uniform(0.7, 0.95), generator.uniform(0.62, 0.8))
    if generator.random() < 0.5:  # from the right
        loop = ring((middle, tall), wide, tall, start=0)
        return [Stroke(loop, True), Stroke([(middle + wide, tall), elbow, (elbow[0] - 0.1, foot), end])]
    loop = ring((middle, tall), wide, tall, start=math.pi / 2)
    tail = [(middle + 0.1, 2 * tall + 0.03), elbow, (elbow[0] - 0.15, foot), end]
    return [Stroke(loop, True), Stroke([(middle - 0.05, 2 * tall), *tail], True)]


def three_with_flat_top(generator: np.random.Generator) -> list[Stroke]:
    """A roof, a slanting stroke, and a belly."""
    knee = (generator.uniform(0.3, 0.5), generator.uniform(0.35, 0.45))
    belly = [knee, (0.75, 0.45), (0.9, 0.7), (0.6, 1.0), (0.05, generator.uniform(0.85, 1.0))]
    return [Stroke([(0.05, 0.02), (generator.uniform(0.75, 0.95), 0), knee]), Stroke(belly, True)]


def six_with_small_loop(generator: np.random.Generator) -> list[Stroke]:
    """A long stem, nearly straight, and a small loop at its foot."""
    size = generator.uniform(0.2, 0.32)
    loop = ring((generator.uniform(0.35, 0.5), 1 - size), size, size, start=math.pi)
    return [Stroke([(generator.uniform(0.4, 0.8), 0), (0.35, 0.35), *loop], True)]


def zero_with_stroke(generator: np.random.Generator) -> list[Stroke]:
    """A ring with a stroke through it."""
    wide, reach = generator.uniform(0.3, 0.45), generator.uniform(0.75, 1.3)
    ends = [(0.5 - wide * 0.7 * reach, 0.5 + 0.4 * reach), (0.5 + wide * 0.7 * reach, 0.5 - 0.4 * reach)]
    return [Stroke(ring((0.5, 0.5), wide, 0.5), True), Stroke(ends)]


SHAPES: list[tuple[int, float, Callable[[np.random.Generator], list[Stroke]]]] = [
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
    images, labels = np.zeros((count, 28, 28), np.uint8), np.zeros(count, np.int64)
    shares = np.array([share for _, share, _ in SHAPES])
    for index in range(count):
        generator = np.random.default_rng((seed, index))
        labels[index], _, shape = SHAPES[generator.choice(len(SHAPES), p=shares / shares.sum())]
        images[index] = to_frame(draw(shape(generator), generator), "light")
    return images, labels


def draw(strokes: Sequence[Stroke], generator: np.random.Generator) -> InkMap:
    """Return a picture of the strokes, (PICTURE, PICTURE) uint8, light on dark, with a hand's deviations."""
    size = PICTURE * 2 / 3
    slant, narrow = generator.normal(0, 0.15), generator.uniform(0.55, 1.1)
    width = size * generator.uniform(0.06, 0.17)
    lines = []
    for line in lines_of(strokes, generator):
        x = (line[:, 0] - 0.5) * narrow + (0.5 - line[:, 1]) * slant
        lines.append(0.5 + np.stack([x, line[:, 1] - 0.5], 1) * size / PICTURE)
    return glyphs.draw(lines, PICTURE, width)


def lines_of(strokes: Sequence[Stroke], generator: np.random.Generator) -> Iterator[Line]:
    """Give the line of each stroke, its points moved a little, round or with corners."""
    for stroke in strokes:
        points = np.array(stroke.points, np.float64) + generator.normal(0, 0.025, (len(stroke.points), 2))
        yield glyphs.curve(points, POINTS) if stroke.smooth else _bent(points, generator)


def ring(centre: Point, across: float, down: float, start: float = -math.pi / 2) -> list[Point]:
    """Return points around an ellipse, a little more than once, from the angle `start` (0: right, pi / 2: below)."""
    angles = [start + 2 * math.pi * step / 8 for step in range(10)]
    return [(centre[0] + across * math.cos(angle), centre[1] + down * math.sin(angle)) for angle in angles]


def _bent(points: Line, generator: np.random.Generator) -> Line:
    """Return points along straight lines through `points`, each line a little bent."""
    t = np.linspace(0, 1, POINTS, endpoint=False)[:, None]
    parts = []
    for start, end in pairwise(points):
        normal = np.array([start[1] - end[1], end[0] - start[0]])
        parts.append(start + (end - start) * t + normal * generator.normal(0, 0.05) * 4 * t * (1 - t))
    return np.concatenate([*parts, points[-1:]])
