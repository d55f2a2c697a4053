"""Ink that is neither digit nor letter: paper, noise, scribbles, ticks, printed dots and lines, empty boxes.

Each function draws from `generator` alone and gives an ink map, (side, side) uint8. What a reader would call a digit is
left out by construction: a lone upright stroke (1), a ring (0), a lone top right corner (7).
"""

import math

import numpy as np
from numpy.typing import NDArray

from tenfold.drawing import glyphs
from tenfold.drawing.glyphs import InkMap, choose, curve, turned

# Of an empty box: top, right, bottom, left. Not the top right corner alone, which is a 7, nor one side: a 1 or a dash.
SIDES = ("trbl", "trbl", "rbl", "tbl", "trl", "tl", "bl", "rb", "tb", "rl")


def blank(side: int, generator: np.random.Generator) -> InkMap:
    """Return nothing, or the grain, stains or fibres of paper: faint, and never lines that a pen makes."""
    import cv2

    texture = choose(("none", "grain", "stains", "fibres"), generator)
    strength = float(generator.uniform(15, 90))
    if texture == "none":
        return np.zeros((side, side), dtype=np.uint8)
    sigma = {"grain": (0.0, 0.0), "stains": (0.08, 0.2), "fibres": (0.06, 0.2)}[texture]
    across = side * float(generator.uniform(*sigma))
    field = generator.standard_normal((side, side), dtype=np.float32)
    if across:
        field = np.asarray(cv2.GaussianBlur(field, (0, 0), across, sigmaY=0.5 if texture == "fibres" else across))
    return np.asarray(np.clip(field / field.std() * strength * 0.5, 0, strength * 1.5), dtype=np.uint8)


def noise(side: int, generator: np.random.Generator) -> InkMap:
    """Return noise without an object: single pixels, grey static, or blotches."""
    import cv2

    if (sort := choose(("pixels", "static", "blotches"), generator)) == "pixels":
        return np.where(generator.random((side, side)) < generator.uniform(0.02, 0.5), 255, 0).astype(np.uint8)
    if sort == "static":
        return generator.integers(0, 256, (side, side)).astype(np.uint8)
    field = generator.standard_normal((side, side), dtype=np.float32)
    field = np.asarray(cv2.GaussianBlur(field, (0, 0), side * float(generator.uniform(0.03, 0.06))))
    return np.where(field > float(field.std()) * generator.uniform(-0.3, 0.9), 255, 0).astype(np.uint8)


def scribble(side: int, generator: np.random.Generator) -> InkMap:
    """Return one long line with too many turns for any digit: tangle, zigzag, coil, spiral, or crossed-out heap."""
    sort = choose(("tangle", "zigzag", "coil", "spiral", "heap"), generator)
    if sort == "tangle":
        lines = [curve(generator.uniform(0.08, 0.92, (int(generator.integers(9, 18)), 2)))]
    elif sort == "zigzag":
        count = int(generator.integers(7, 16))
        across = np.linspace(0.1, 0.9, count) + generator.normal(0, 0.03, count)
        down = np.where(np.arange(count) % 2, 0.85, 0.15) + generator.normal(0, 0.07, count)
        lines = [turned(curve(np.stack([across, down], 1), 3), 180, generator)]
    elif sort == "coil":
        angle = np.linspace(0, 2 * math.pi * generator.uniform(3, 6), 70)
        reach = generator.uniform(0.15, 0.3)
        x = np.linspace(0.25, 0.75, 70) + reach * 0.6 * np.cos(angle)
        lines = [turned(np.stack([x, 0.5 + reach * np.sin(angle)], 1), 180, generator)]
    elif sort == "spiral":
        angle = np.linspace(0, 2 * math.pi * generator.uniform(2.2, 4), 70)
        radius = np.linspace(0.04, 0.42, 70)
        start = generator.uniform(0, 2 * math.pi)
        lines = [0.5 + radius[:, None] * np.stack([np.cos(angle + start), np.sin(angle + start)], 1)]
    else:
        lines = list(generator.uniform(0.05, 0.95, (int(generator.integers(6, 14)), 2, 2)))
    return glyphs.draw(lines, side, min(glyphs.width(side, generator), side * 0.05))


def strokes(side: int, generator: np.random.Generator) -> InkMap:
    """Return marks that people make and that name no number: crosses, ticks, dashes, waves, arrows, stray strokes."""
    sort = choose(("cross", "check", "dash", "wave", "asterisk", "stray", "stray"), generator)
    if sort == "cross":
        reach = generator.uniform(0.2, 0.42, 2)
        lines = [0.5 + reach * [[-1, -1], [1, 1]], 0.5 + reach * [[1, -1], [-1, 1]]]
    elif sort == "check":
        lines = [np.array([[0.12, 0.55], [0.35, 0.85], [0.9, 0.12]])]
    elif sort == "dash":
        lines = [turned(np.array([[0.1, 0.5], [0.5, generator.uniform(0.45, 0.55)], [0.9, 0.5]]), 18, generator)]
    elif sort == "wave":
        x = np.linspace(0.08, 0.92, 40)
        turns = generator.uniform(1.5, 4)
        y = 0.5 + generator.uniform(0.06, 0.2) * np.sin(2 * math.pi * turns * x + generator.uniform(0, 6))
        lines = [turned(np.stack([x, y], 1), 20, generator)]
    elif sort == "asterisk":
        angles = np.arange(count := int(generator.integers(3, 6))) * math.pi / count + generator.normal(0, 0.1, count)
        ends = generator.uniform(0.25, 0.42) * np.stack([np.cos(angles), np.sin(angles)], 1)
        lines = [np.stack([0.5 - end, 0.5 + end]) for end in ends]
    else:
        lines = list(_stray(generator))
    return glyphs.draw(
        [line + generator.normal(0, 0.02, line.shape) for line in lines], side, glyphs.width(side, generator)
    )


def _stray(generator: np.random.Generator) -> NDArray[np.float64]:
    """Return 4 to 8 short straight strokes, each in a cell of its own of a 3x3 grid, (M, 2, 2)."""
    cells = generator.permutation(9)[: int(generator.integers(4, 9))]
    centres = (np.stack([cells % 3, cells // 3], 1) + 0.5) / 3
    angles = generator.uniform(0, math.pi, len(cells))
    ends = 0.12 * np.stack([np.cos(angles), np.sin(angles)], 1)
    return np.stack([centres - ends, centres + ends], 1)


def printed_lines(side: int, generator: np.random.Generator) -> InkMap:
    """Return what forms and paper have printed on them: rules, dots, grids, bars, blots."""
    import cv2

    ink = np.zeros((side, side), dtype=np.uint8)
    thick = max(1, round(side * generator.uniform(0.02, 0.08)))
    gap = max(2 * thick, round(side * generator.uniform(0.12, 0.35)))
    start = int(generator.integers(0, gap))
    sort = choose(("rules", "dots", "grid", "bars", "dotted rule", "blot", "few dots"), generator)
    dots = []
    if sort in ("rules", "grid"):
        for row in range(start, side, gap):
            ink[row : row + thick] = 255
    if sort in ("bars", "grid"):
        step = gap if sort == "grid" else max(3 * thick, side // 8)
        for column in range(int(generator.integers(0, gap)), side, step):
            ink[:, column : column + thick] = 255
    elif sort == "dots":
        dots = [(column, row) for row in range(start, side, gap) for column in range(start, side, gap)]
    elif sort == "dotted rule":
        row = int(side * generator.uniform(0.3, 0.8))
        dots = [(column, row) for column in range(thick, side, 4 * thick)]
    elif sort == "blot":
        axes = (side * generator.uniform(0.18, 0.42, 2)).astype(int)
        axes[1] = min(axes[1], int(axes[0] * 1.4))  # an upright blot would be a 1
        cv2.ellipse(ink, (side // 2, side // 2), axes.tolist(), 0, 0, 360, (255,), -1, cv2.LINE_AA)
    elif sort == "few dots":
        dots = (generator.uniform(0.1, 0.9, (int(generator.integers(4, 12)), 2)) * side).astype(int).tolist()
    for dot in dots:
        cv2.circle(ink, dot, thick, (255,), -1, cv2.LINE_AA)
    return ink


def box(side: int, generator: np.random.Generator) -> InkMap:
    """Return the printed box of a form without a digit in it, or those of its sides that a crop has kept."""
    # Nine in ten are wider than high: upright, a box is a square 0.
    left, right = generator.uniform(0.02, 0.2), generator.uniform(0.8, 0.98)
    top, bottom = generator.uniform(0.1, 0.25), generator.uniform(0.75, 0.9)
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    ends = {"t": (0, 1), "r": (1, 2), "b": (2, 3), "l": (3, 0)}
    lines = [corners[list(ends[each])] for each in choose(SIDES, generator)]
    if generator.random() < 0.3:  # what divides the box from the next one; a level line through it would make an 8
        place = generator.uniform(0.35, 0.65)
        lines.append(np.array([[place, top], [place, bottom]]))
    return glyphs.draw(lines, side, side * generator.uniform(0.02, 0.06))
