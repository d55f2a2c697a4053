"""Ink that labelled digits leave when they are no single digit: two in a box, two on top of each other, cut-off parts.

Each function draws from `generator` alone and gives an ink map, or None where what came out might be read as one digit;
the caller draws again then.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.drawing.glyphs import InkMap
from tenfold.imaging.frame import crop

SOLID = 64  # of 255: where a stroke's ink begins
OWN_SHARE = 0.62  # of each of two digits on top of each other must lie off the other
NARROW = 8  # pixels in MNIST's frame: a 1, which in touch with another digit becomes a part of it
# What is left when a side of a digit is cut away, by digit: only the pairs of which no part is a digit of its own. The
# upper half of a 2 or 3 is a 7, the right half of a 4 a 1, the left half of an 8 a thin 5, the lower half of a 3 a 2,
# and a half of a 6, 8 or 9 a 0.
PARTS = {"upper": (0, 4, 5, 6), "lower": (0, 5), "left": (2, 3, 7), "right": (6,)}


class Materials:
    """What negatives are made of: labelled digits, of which any image or one of a digit is drawn, and font files."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64], fonts: Sequence[Path] = ()) -> None:
        self.images, self.labels, self.fonts = images, labels, fonts
        self._places = {digit: np.flatnonzero(labels == digit) for digit in range(10)}

    def some(self, generator: np.random.Generator) -> tuple[InkMap, int]:
        """Return one image cropped to its ink, and its label."""
        place = int(generator.integers(len(self.images)))
        return cropped(self.images[place]), int(self.labels[place])

    def of(self, digits: tuple[int, ...], generator: np.random.Generator) -> InkMap:
        """Return an image of one of these digits, cropped to its ink; of any where the data hold none of them."""
        places = self._places[digits[int(generator.integers(len(digits)))]]
        if not len(places):
            return self.some(generator)[0]
        return cropped(self.images[places[generator.integers(len(places))]])


def cropped(image: InkMap) -> InkMap:
    """Return the smallest part of the image that holds its ink, (h, w); all of it where there is none."""
    found = crop(image, SOLID)
    return found if found.size else image


def two_digits(materials: Materials, side: int, generator: np.random.Generator) -> InkMap | None:
    """Return two digits side by side: apart, touching, or overlapping by up to a quarter of the narrower one."""
    pair = [_resized(materials.some(generator)[0], side, generator.uniform(0.8, 1.1), generator) for _ in range(2)]
    narrower = min(ink.shape[1] for ink in pair)
    share = generator.uniform(-0.5, 0.25)
    if narrower < NARROW * side / 28:
        share = min(share, -0.15)
    width = pair[0].shape[1] + pair[1].shape[1] - round(share * narrower)
    height = max(ink.shape[0] for ink in pair)
    height += round(generator.uniform(0, 0.2) * height)
    ink = np.zeros((height, width), dtype=np.uint8)
    for each, column in zip(pair, (0, width - pair[1].shape[1]), strict=True):
        _lay(ink, each, int(generator.integers(0, height - each.shape[0] + 1)), column)
    return ink


def overlap(materials: Materials, side: int, generator: np.random.Generator) -> InkMap | None:
    """Return two different digits written over each other, neither of them hidden nor the heavier by far."""
    import cv2

    (first, label), (second, other) = materials.some(generator), materials.some(generator)
    if label == other or 1 in (label, other):
        return None  # a digit twice is that digit; a 1 is a stroke through the other
    first, second = (_resized(each, side, generator.uniform(0.9, 1.1), generator) for each in (first, second))
    height = max(first.shape[0], second.shape[0]) + round(side * generator.uniform(0.05, 0.25))
    width = max(first.shape[1], second.shape[1]) + round(side * generator.uniform(0.1, 0.3))
    layers = [np.zeros((height, width), dtype=np.uint8) for _ in range(2)]
    _lay(layers[0], first, 0, 0)
    _lay(layers[1], second, height - second.shape[0], width - second.shape[1])
    if generator.random() < 0.5:
        layers = [layers[0], layers[1][:, ::-1][::-1]]  # the second upside down
    near = [cv2.dilate(layer, np.ones((3, 3), np.uint8)) >= SOLID for layer in layers]
    own = [float(((layers[i] >= SOLID) & ~near[1 - i]).sum()) / max(1, int((layers[i] >= SOLID).sum())) for i in (0, 1)]
    return np.maximum(*layers) if min(own) >= OWN_SHARE else None


def cut_off(materials: Materials, side: int, generator: np.random.Generator) -> InkMap | None:
    """Return what a crop has left of a digit, 28% to 45% of its height or width, where that names no digit."""
    import cv2

    part = tuple(PARTS)[int(generator.choice(len(PARTS), p=[0.35, 0.35, 0.25, 0.05]))]
    ink = _resized(materials.of(PARTS[part], generator), side, 1.0, generator)
    height, width = ink.shape
    keep = generator.uniform(0.28, 0.45)
    rows, columns = max(2, round(keep * height)), max(2, round(keep * width))
    left = {"upper": ink[:rows], "lower": ink[-rows:], "left": ink[:, :columns], "right": ink[:, -columns:]}[part]
    left = cropped(left)
    # Halves cut level are wider than high, as no digit is; a loop that is whole, or as good as whole, would be a 0.
    if (part in ("upper", "lower") and left.shape[1] < 1.1 * left.shape[0]) or has_hole(
        np.asarray(cv2.dilate(left, np.ones((3, 3), np.uint8)))
    ):
        return None
    return left


def fragment(materials: Materials, side: int, generator: np.random.Generator) -> InkMap | None:
    """Return an empty place between two digits: less than half of each, coming in from the left and the right."""
    ink = np.zeros((side, side), dtype=np.uint8)
    amounts = []
    for far in (False, True):
        neighbour = _resized(materials.some(generator)[0], side, generator.uniform(0.7, 1.0), generator)[: side - 1]
        depth = max(2, round(min(side * generator.uniform(0.08, 0.25), 0.45 * neighbour.shape[1])))
        piece = neighbour[:, :depth] if far else neighbour[:, -depth:]
        _lay(ink, piece, int(generator.integers(0, side - len(piece) + 1)), side - depth if far else 0)
        amounts.append(int(piece.sum(dtype=np.int64)))
    # Beside a speck, the other would be all that is seen: one digit that is cut off, and maybe still read.
    return ink if min(amounts) >= 0.35 * max(amounts) else None


def has_hole(ink: InkMap) -> bool:
    """Return True where the ink encloses background, as a 0, 6, 8 or 9 does, a faint one too."""
    import cv2

    for threshold in (SOLID, 2 * SOLID):
        paper = np.pad((ink < threshold).astype(np.uint8), 1, constant_values=1)
        if cv2.connectedComponents(paper, connectivity=4)[0] > 2:  # the ink, the outside, and more
            return True
    return False


def is_upright(ink: InkMap) -> bool:
    """Return True where the ink's extent is higher than wide, as all digits are but a few: of two parts one is gone."""
    height, width = cropped(ink).shape
    return bool(height > width)


def is_upright_stroke(ink: InkMap) -> bool:
    """Return True where all ink is one stroke, long, thin and within 55 degrees of upright: what a 1 looks like."""
    rows, columns = np.nonzero(ink >= SOLID)
    if len(rows) < 4:
        return False
    down, across = rows - rows.mean(), columns - columns.mean()
    along, mixed, wide = float(down @ down), float(down @ across), float(across @ across)
    spread = np.hypot((along - wide) / 2, mixed)
    middle = (along + wide) / 2
    # The angle of the longer axis to the vertical is half of atan2(2 mixed, along - wide).
    angle = abs(np.degrees(np.arctan2(2 * mixed, along - wide)) / 2)
    return bool(angle <= 55 and max(middle - spread, 0) < 0.33**2 * (middle + spread))


def _resized(ink: InkMap, side: int, scale: float, generator: np.random.Generator) -> InkMap:
    """Return a digit of MNIST's frame at the size it has in a picture of `side`, its width changed by up to 15%."""
    import cv2

    factor = scale * side / 28
    height = max(3, round(ink.shape[0] * factor))
    width = max(3, round(ink.shape[1] * factor * float(generator.uniform(0.87, 1.15))))
    return np.asarray(cv2.resize(ink, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _lay(canvas: InkMap, ink: InkMap, row: int, column: int) -> None:
    """Lay the ink on the canvas, the darker of both at each pixel."""
    place = canvas[row : row + ink.shape[0], column : column + ink.shape[1]]
    np.maximum(place, ink[: place.shape[0], : place.shape[1]], out=place)
