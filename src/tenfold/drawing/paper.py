"""What ink is written on, and what a camera or a scanner makes of both: ink -> a grey picture."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tenfold.drawing.hands import Ink, Rng

Grey = NDArray[np.uint8]  # (H, W)


def photograph(ink: Ink, generator: Rng, behind: Ink | None = None) -> Grey:
    """Return a picture of ink, (H, W) from 0 to 1, on paper. behind: what is written on its other side."""
    height, width = ink.shape
    tone, contrast = generator.uniform(0.4, 1.0), generator.uniform(0.25, 1.0) ** 0.7
    if generator.random() < 0.25:  # a pencil, a pen that dries, an overexposed picture
        contrast *= generator.uniform(0.4, 0.8)
    if generator.random() < 0.3:  # a pencil's grain
        ink = ink * np.clip(_smooth(ink.shape, 0.7, generator) * 0.3 + 0.85, 0.3, 1)
    dark = ink * contrast
    if generator.random() < 0.55:
        strength = contrast * generator.uniform(0.1, 0.55)
        dark = np.maximum(dark, _pattern(height, width, generator) * strength)
    if behind is not None:
        dark = np.maximum(dark, _blurred(behind, generator.uniform(0.5, 1.5)) * contrast * generator.uniform(0.1, 0.4))
    paper = np.full(ink.shape, tone, np.float32)
    for across in (generator.uniform(1, 3), generator.uniform(2, 15)):  # grain and fibres; folds and stains
        if generator.random() < 0.5:
            paper += _smooth(ink.shape, across, generator) * generator.uniform(0, 0.22) ** 2
    picture = paper * (1 - dark)
    if generator.random() < 0.6:
        picture *= _light(height, width, generator)
    if generator.random() < 0.12:  # the edge of the sheet, and the table behind it
        picture = _laid_on_table(picture, generator)
    if generator.random() < 0.7:
        picture = _blurred(picture, generator.uniform(0.3, 1.1))
    picture += generator.normal(0, 1, ink.shape).astype(np.float32) * generator.uniform(0, 0.22) ** 2
    return _compressed(np.clip(picture * 255, 0, 255).astype(np.uint8), generator)


def lines(height: int, width: int, places: Sequence[tuple[float, float, float, float]], pen: float) -> Ink:
    """Return straight lines from (x, y) to (x, y), `pen` pixels wide."""
    import cv2

    canvas = np.zeros((height, width), np.uint8)
    for left, top, right, bottom in places:
        ends = [(round(x * 16), round(y * 16)) for x, y in ((left, top), (right, bottom))]
        cv2.line(canvas, ends[0], ends[1], (255,), max(1, round(pen)), cv2.LINE_AA, 4)
    return canvas.astype(np.float32) * np.float32(min(1.0, pen) / 255)


def _pattern(height: int, width: int, generator: Rng) -> Ink:
    """Return what paper has printed on it: rules, squares, the waves of a cheque, dots, weave."""
    down, right = np.mgrid[0:height, 0:width].astype(np.float32)
    sort = generator.integers(6)
    gap = generator.uniform(5, 40)
    if sort <= 1:
        rules: list[tuple[float, float, float, float]] = [
            (0, y, width, y + generator.normal(0, 1)) for y in np.arange(generator.uniform(0, gap), height, gap)
        ]
        if sort == 1:
            rules += [(x, 0, x, height) for x in np.arange(generator.uniform(0, gap), width, gap)]
        return lines(height, width, rules, generator.uniform(0.6, 1.6))
    angle = generator.uniform(0, math.pi)
    along = right * math.cos(angle) + down * math.sin(angle)
    across = down * math.cos(angle) - right * math.sin(angle)
    period = generator.uniform(3, 9)
    if sort <= 3:  # one or two families of waves, as banks print them
        waves = np.zeros((height, width), np.float32)
        for _ in range(int(generator.integers(1, 3))):
            bend = generator.uniform(0, 8) * np.sin(along / generator.uniform(10, 60) + generator.uniform(0, 6))
            waves = np.maximum(waves, np.sin((across + bend) * (2 * math.pi / period)) ** 3)
            along, across = across, along
        return np.asarray(np.clip(waves, 0, 1), np.float32)
    if sort == 4:
        dots = np.sin(along * (2 * math.pi / period)) * np.sin(across * (2 * math.pi / period))
        return np.asarray(np.clip(dots * 2 - 0.6, 0, 1), np.float32)
    weave = _smooth((height, width), generator.uniform(0.6, 2), generator) * 0.5
    return np.asarray(np.clip(weave, 0, 1), np.float32)


def _light(height: int, width: int, generator: Rng) -> Ink:
    """Return what light falls where: uneven, darker towards the corners, with a shadow's edge."""
    import cv2

    coarse = generator.uniform(1 - generator.uniform(0, 0.5), 1, (3, 3)).astype(np.float32)
    light = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
    if generator.random() < 0.3:
        side = _half_plane(height, width, generator)
        edge = _blurred(side, generator.uniform(0.6, 12))
        light = light * (1 - edge * generator.uniform(0.1, 0.5))
    return np.clip(light, 0.1, 1.2)


def _laid_on_table(picture: Ink, generator: Rng) -> Ink:
    height, width = picture.shape
    off = _blurred(_half_plane(height, width, generator, 0.42), 0.7)
    table = generator.uniform(0.1, 0.9) + _smooth(picture.shape, generator.uniform(1, 4), generator) * 0.05
    return np.asarray(picture * (1 - off) + table * off, np.float32)


def _half_plane(height: int, width: int, generator: Rng, offset: float = 0.0) -> Ink:
    """Return 1 on one side of a line, which lies `offset` of the picture from its middle at least."""
    down, right = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j].astype(np.float32)
    angle = generator.uniform(0, 2 * math.pi)
    side = right * math.cos(angle) + down * math.sin(angle) > generator.uniform(offset, 0.48)
    return np.asarray(side, np.float32)


def _smooth(shape: tuple[int, ...], across: float, generator: Rng) -> Ink:
    """Return noise of deviation 1 whose spots are `across` pixels wide."""
    import cv2

    small = tuple(max(2, math.ceil(side / max(1.0, across))) for side in shape)
    field = generator.standard_normal(small, dtype=np.float32)
    return np.asarray(cv2.resize(field, shape[::-1], interpolation=cv2.INTER_LINEAR))


def _blurred(picture: Ink, sigma: float) -> Ink:
    import cv2

    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32)


def _compressed(picture: Grey, generator: Rng) -> Grey:
    """Return the picture as it comes out of a JPEG, or as it is."""
    import cv2

    if generator.random() < 0.5:
        return picture
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(generator.integers(25, 95))]
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", picture, quality)[1], cv2.IMREAD_GRAYSCALE), np.uint8)
