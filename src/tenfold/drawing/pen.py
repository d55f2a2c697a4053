"""A pen: lines of points, straight or smooth, drawn as ink. What every other module here draws with."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

InkMap = NDArray[np.uint8]  # (H, W), 255 where the pen was
Line = NDArray[np.float64]  # (M, 2), points (x to the right, y down) in the unit square
FRACTION = 4  # binary places of OpenCV's coordinates: strokes lie between pixels


def draw(lines: Sequence[Line], side: int, pen: float) -> InkMap:
    """Return lines drawn with a round pen `pen` pixels wide, (side, side) uint8."""
    import cv2

    ink = np.zeros((side, side), dtype=np.uint8)
    for line in lines:
        points = np.rint(line * side * 2**FRACTION).astype(np.int32)
        cv2.polylines(ink, [points], False, (255,), max(1, round(pen)), cv2.LINE_AA, FRACTION)
    return ink


def width(side: int, generator: np.random.Generator) -> float:
    """Return a pen's width in pixels: 4% to 12% of the picture's side, at least 1."""
    return max(1.0, side * float(generator.uniform(0.04, 0.12)))


def curve(points: Line, steps: int = 6) -> Line:
    """Return a smooth line through the points, (M, 2): a Catmull-Rom spline, each span in `steps` straight pieces."""
    before, after = 2 * points[:1] - points[1:2], 2 * points[-1:] - points[-2:-1]
    padded = np.concatenate([before, points, after])
    first, second, third, fourth = (padded[i : len(points) - 1 + i, None] for i in range(4))
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    spans = second + 0.5 * t * (
        third - first + t * (2 * first - 5 * second + 4 * third - fourth + t * (3 * (second - third) + fourth - first))
    )
    return np.concatenate([spans.reshape(-1, 2), points[-1:]])


def turned(line: Line, degrees: float, generator: np.random.Generator) -> Line:
    """Return the line turned about the picture's middle by up to so many degrees either way, kept inside it."""
    angle = math.radians(degrees) * generator.uniform(-1, 1)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.asarray(np.clip(0.5 + (line - 0.5) @ turn.T, 0.03, 0.97))


def choose(options: Sequence[str], generator: np.random.Generator) -> str:
    """Return one of the options, all equally likely."""
    return options[int(generator.integers(len(options)))]
