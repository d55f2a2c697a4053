"""Handwritten digits at any size and with any pen: the middle lines of labelled digits and of drawn ones.

MNIST's strokes are a seventh of a digit wide and 28 pixels high; a pen on a page is thinner and sharper. So of every
digit its middle line is kept, as the distance of each place to it, and where that is less than half of a pen there is
ink. Thinning: Zhang, Suen, "A fast parallel algorithm for thinning digital patterns", Communications of the ACM 27
(1984).
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.drawing import glyphs, variants
from tenfold.drawing.variants import Stroke, ring
from tenfold.imaging.frame import crop

HEIGHT, WIDTH, MARGIN = 40, 56, 6  # of a map; the digit's middle line is HEIGHT - 2 MARGIN high at most
STEPS = 12.0  # of a map's values for one of its pixels; 255 stands for 21 pixels and more
DRAWN_SHARE = 0.35  # of the digits that a hand writes in a style of its own are drawn ones
WHITE_SPACE = 64  # of 255: less ink than this is none

Ink = NDArray[np.float32]  # (H, W), 1 where the pen was
Rng = np.random.Generator


class Hands:
    """What digits are written from.

    maps: (N, HEIGHT, WIDTH) uint8, distances to the middle line; labels: (N,) int64, of each map. words: maps of
    letters side by side, (HEIGHT, any) uint8.
    """

    def __init__(
        self, maps: NDArray[np.uint8], labels: NDArray[np.int64], drawn: int, words: Sequence[NDArray[np.uint8]] = ()
    ) -> None:
        self.maps, self.labels, self.words = maps, labels, words
        known = np.arange(len(labels)) < len(labels) - drawn
        self.places = [[np.flatnonzero((labels == digit) & part) for digit in range(10)] for part in (known, ~known)]

    @classmethod
    def of(
        cls, images: NDArray[np.uint8], labels: NDArray[np.int64], drawn: int, seed: int, fonts: Sequence[Path] = ()
    ) -> "Hands":
        """Return hands that write as images in the frame, (N, 28, 28) uint8, and with `drawn` digits of our shapes.

        fonts: whose digits are written as often as a tenth of the drawn ones, and words as many as `drawn` / 4.
        """
        generator = np.random.default_rng(seed)
        shapes = [*variants.SHAPES, *STYLES]
        shares = np.array([share for _, share, _ in shapes])
        chosen = generator.choice(len(shapes), drawn, p=shares / shares.sum())
        lines = [_strokes(shapes[index][2](generator), generator) for index in chosen]
        own = np.array([shapes[index][0] for index in chosen], np.int64)
        printed = [(digit, glyphs.printed(str(digit), font, 60)) for font in fonts for digit in range(10)]
        typed = [(digit, image) for digit, image in printed if image.size and image.max(initial=0) > WHITE_SPACE]
        shapes_of = thinned(np.stack([_scaled(image) for image in [*images, *(image for _, image in typed)]]))
        again = max(1, drawn // (10 * max(1, len(typed))))  # each so often
        maps = [_distances(each) for each in [*shapes_of[: len(images)], *lines, *shapes_of[len(images) :]]]
        maps += maps[len(images) + drawn :] * (again - 1)
        numbers = np.array([digit for digit, _ in typed] * again, np.int64)
        words = [_word(fonts, generator) for _ in range(drawn // 4 if fonts else 0)]
        return cls(np.stack(maps), np.concatenate([labels, own, numbers]), drawn + len(numbers), words)

    def pick(self, digit: int, drawn: bool, generator: Rng) -> int:
        """Return the number of a map of a digit: of a drawn one, or of those of the data."""
        places = self.places[drawn][digit]
        if not len(places):
            places = self.places[not drawn][digit]
        return int(places[generator.integers(len(places))])


def write(field: NDArray[np.uint8], height: float, pen: float, slant: float, generator: Rng) -> Ink:
    """Return a digit or a word from its map, `height` pixels high, written with a pen `pen` pixels wide.

    slant: pixels to the right for a pixel up. The digit is turned, widened and bent a little, and the pen's pressure
    changes, as `generator` says.
    """
    import cv2

    scale = height / (HEIGHT - 2 * MARGIN)
    inner = field.shape[1]
    rows, columns = math.ceil(HEIGHT * scale), math.ceil((inner * 1.2 + abs(slant) * HEIGHT) * scale)
    wide, turn = generator.uniform(0.8, 1.25), generator.normal(0, 0.06)
    down, right = np.mgrid[0:rows, 0:columns].astype(np.float32)
    down, right = (down - rows / 2) / scale, (right - columns / 2) / scale
    source_x = (right + (slant + turn) * down) / wide + inner / 2
    source_y = down - turn * right + HEIGHT / 2
    grid = 3, 3 + (inner - WIDTH) // 20 if inner > WIDTH else 3
    bend = cv2.resize(generator.normal(0, 1.1, (2, *grid)).transpose(1, 2, 0), (columns, rows), interpolation=2)
    moved = cv2.remap(field, source_x + bend[..., 0].astype(np.float32), source_y + bend[..., 1].astype(np.float32),
                      cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(255,))  # fmt: skip
    pressure = cv2.resize(generator.uniform(0.8, 1.2, (3, 3)).astype(np.float32), (columns, rows), interpolation=2)
    distance = moved.astype(np.float32) * (scale / STEPS)
    return np.asarray(np.clip(pen / 2 * pressure + 0.5 - distance, 0, 1), np.float32)


def thinned(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the middle lines, one pixel wide, of shapes (N, H, W), whose edges are free of ink."""
    ink = ink.copy()
    at = np.arange(len(ink))  # what still changes
    while len(at):
        part = ink[at]
        before = part.copy()
        for first in (True, False):
            p = np.pad(part, ((0, 0), (1, 1), (1, 1)))
            around = [p[:, 1 + dy : p.shape[1] - 1 + dy, 1 + dx : p.shape[2] - 1 + dx] for dy, dx in
                      ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))]  # fmt: skip
            north, _, east, _, south, _, west, _ = around
            count = np.sum(around, axis=0, dtype=np.int8)
            turns = np.sum([~a & b for a, b in zip(around, [*around[1:], around[0]], strict=True)], 0, dtype=np.int8)
            one, other = (east & south, north | west) if first else (north & west, east | south)
            part &= ~((count >= 2) & (count <= 6) & (turns == 1) & ~(one & other))
        ink[at] = part
        at = at[(part != before).any(axis=(1, 2))]
    return ink


def _scaled(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return an image of the frame as a map's ink, as large as its middle line leaves it room."""
    import cv2

    strokes = crop(image, WHITE_SPACE)
    stroke = 3  # pixels of the frame, of which half on each side lie off the middle line
    scale = (HEIGHT - 2 * MARGIN) / max(1, max(strokes.shape) - stroke)
    size = tuple(max(2, round(side * scale)) for side in strokes.shape[::-1])
    large = cv2.resize(strokes, size, interpolation=cv2.INTER_CUBIC)[:HEIGHT, :WIDTH]
    canvas = np.zeros((HEIGHT, WIDTH), np.bool_)
    top, left = (HEIGHT - large.shape[0]) // 2, (WIDTH - large.shape[1]) // 2
    canvas[top : top + large.shape[0], left : left + large.shape[1]] = large > 110
    return canvas


def _word(fonts: Sequence[Path], generator: Rng) -> NDArray[np.uint8]:
    """Return the map of a word in a font: what a hand makes of it depends on the pen, its slant and its haste."""
    import cv2

    font = fonts[int(generator.integers(len(fonts)))]
    ink = crop(glyphs.printed(glyphs.word(generator), font, 72), WHITE_SPACE)
    inner = HEIGHT - 2 * MARGIN
    size = max(4, min(6 * inner, round(ink.shape[1] * inner / max(1, ink.shape[0])))), inner
    canvas = np.zeros((HEIGHT, size[0] + 2 * MARGIN), np.bool_)
    if ink.size:
        canvas[MARGIN:-MARGIN, MARGIN:-MARGIN] = cv2.resize(ink, size, interpolation=cv2.INTER_AREA) > 80
    return _distances(thinned(canvas[None])[0])


def _strokes(strokes: Sequence[Stroke], generator: Rng) -> NDArray[np.bool_]:
    """Return a drawn digit's lines in a map."""
    import cv2

    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    inner, narrow = HEIGHT - 2 * MARGIN, generator.uniform(0.55, 1.0)
    for line in variants.lines_of(strokes, generator):
        points = (line - 0.5) * (inner * narrow, inner) + (WIDTH / 2, HEIGHT / 2)
        fine = np.rint(points * 2**glyphs.FRACTION).astype(np.int32)
        cv2.polylines(canvas, [fine], False, (255,), 1, cv2.LINE_8, glyphs.FRACTION)
    return canvas > 0


def _distances(line: NDArray[np.bool_]) -> NDArray[np.uint8]:
    import cv2

    far = cv2.distanceTransform((~line).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(np.clip(far * STEPS, 0, 255), np.uint8)


def zero_open(generator: Rng) -> list[Stroke]:
    """A ring whose end misses its beginning, or runs past it into a tail."""
    points = ring((0.5, 0.5), generator.uniform(0.3, 0.5), 0.5, start=-math.pi / 2 + generator.uniform(-0.6, 0.6))
    cut = int(generator.integers(7, 10))
    tail = [(generator.uniform(0.6, 1.0), generator.uniform(-0.1, 0.1))] if generator.random() < 0.3 else []
    return [Stroke([*points[:cut], *tail], True)]


def one_bare(generator: Rng) -> list[Stroke]:
    """A single stroke, or one with an upstroke that begins as low as it ends."""
    lean = generator.uniform(-0.1, 0.35)
    if generator.random() < 0.3:
        return [Stroke([(generator.uniform(-0.1, 0.25), generator.uniform(0.6, 1)), (0.5 + lean, 0), (0.5, 1)])]
    return [Stroke([(0.5 + lean, 0), (0.5, 1)])]


def one_looped(generator: Rng) -> list[Stroke]:
    """An upstroke that turns into the downstroke in a narrow loop, like a written l; perhaps with a tail."""
    wide, low = generator.uniform(0.12, 0.3), generator.uniform(0.45, 0.8)
    tail = [(0.75, generator.uniform(0.85, 0.98))] if generator.random() < 0.3 else []
    return [Stroke([(0.3, low), (0.5 + wide, 0.2), (0.55, 0.0), (0.45, 0.2), (0.42, 0.95), *tail], True)]


def two_with_loop(generator: Rng) -> list[Stroke]:
    """A two whose foot begins in a loop, or that has no loop and a straight neck, like a z."""
    if generator.random() < 0.4:
        return [Stroke([(0.1, generator.uniform(0, 0.2)), (0.5, -0.02), (0.9, 0.15), (0.7, 0.5), (0.05, 1)], True),
                Stroke([(0.05, 1), (0.95, generator.uniform(0.92, 1.02))])]  # fmt: skip
    neck = [(0.1, 0.22), (0.4, 0), (0.85, 0.2), (0.6, 0.6), (0.25, 0.95)]
    return [Stroke([*neck, (0.05, 0.95), (0.12, 0.8), (0.45, 0.9), (1.0, generator.uniform(0.88, 1.0))], True)]


def two_like_a_nine(generator: Rng) -> list[Stroke]:
    """A closed loop at the top, a slanting neck, and a foot: flat, or a loop of its own."""
    size = generator.uniform(0.14, 0.24)
    loop = ring((generator.uniform(0.35, 0.5), size), 0.3, size, start=math.pi * generator.uniform(0.4, 1.0))
    foot = [(0.05, 1.0)] if generator.random() < 0.5 else [(0.05, 0.98), (0.05, 0.82), (0.3, 0.85)]
    end = (generator.uniform(0.8, 1.1), generator.uniform(0.88, 1.02))
    return [Stroke([*loop, (0.8, 0.25), (0.65, 0.55), (0.25, 0.9), *foot, end], True)]


def three_round(generator: Rng) -> list[Stroke]:
    """Two bellies, with a loop or a corner between them."""
    upper = [(0.1, 0.1), (0.5, 0), (0.85, 0.18), (0.55, 0.45)]
    knot = [(0.3, 0.5), (0.4, 0.42)] if generator.random() < 0.4 else [(0.35, generator.uniform(0.43, 0.5))]
    lower = [(0.6, 0.5), (0.95, 0.72), (0.55, 1.0), (0.05, generator.uniform(0.82, 1.0))]
    return [Stroke([*upper, *knot, *lower], True)]


def four_like_an_h(generator: Rng) -> list[Stroke]:
    """A long first stroke, low down a short shoulder, and a short second stroke, or one that hangs below."""
    left, knee = generator.uniform(0.1, 0.45), generator.uniform(0.45, 0.68)
    end, top = generator.uniform(0.7, 1.0), generator.uniform(0.15, 0.5)
    first = Stroke(
        [(left, 0), (left - generator.uniform(0, 0.2), knee), (end + 0.05, knee - generator.uniform(0, 0.12))]
    )
    return [first, Stroke([(end, top), (end - generator.uniform(0, 0.2), 1)])]


def four_closed(generator: Rng) -> list[Stroke]:
    """A triangle with a stem."""
    stem, bar = generator.uniform(0.6, 0.75), generator.uniform(0.6, 0.75)
    return [Stroke([(stem, 0), (0, bar), (1, bar)]), Stroke([(stem, 0), (stem - generator.uniform(0, 0.1), 1)])]


def five_with_dash(generator: Rng) -> list[Stroke]:
    """A neck and a belly, and the roof as a stroke of its own, that may float, reach far right, or be missing."""
    neck = generator.uniform(0.25, 0.5)
    left = generator.uniform(0.1, 0.35)
    belly = [(left, neck), (0.55, neck - 0.06), (0.85, 0.7), (0.5, 1.0), (0.02, generator.uniform(0.85, 0.98))]
    smooth = [Stroke([(left + generator.uniform(0, 0.2), 0.04), (left, neck)]), Stroke(belly, True)]
    reach, lift = generator.uniform(0.7, 1.3), generator.uniform(-0.12, 0.06)
    return [*smooth, Stroke([(left + generator.uniform(0, 0.3), 0.04), (reach, lift)])]


def five_like_a_root(generator: Rng) -> list[Stroke]:
    """A hook at the left, hardly a belly, and a long roof: like the sign of a square root, or an S."""
    if generator.random() < 0.4:
        return [Stroke([(0.95, generator.uniform(-0.02, 0.1)), (0.4, 0.05), (0.2, 0.35), (0.65, 0.55), (0.65, 0.9),
                        (0.3, 1.0), (0.0, 0.88)], True)]  # fmt: skip
    if generator.random() < 0.5:  # no belly at all
        low, roof = (generator.uniform(0.15, 0.4), 1.0), generator.uniform(0.9, 1.5)
        return [
            Stroke(
                [(0.0, generator.uniform(0.5, 0.8)), low, (low[0] + 0.25, 0.05), (roof, generator.uniform(-0.1, 0.1))]
            )
        ]
    start = [(0.0, generator.uniform(0.55, 0.75)), (0.3, 1.0), (0.45, 0.85), (0.4, 0.5), (0.25, 0.4)]
    return [Stroke([*start, (0.3, 0.1), (generator.uniform(0.9, 1.3), 0.0)], generator.random() < 0.6)]


def six_round(generator: Rng) -> list[Stroke]:
    """A bent stem that closes into a loop, or leaves it open."""
    size = generator.uniform(0.2, 0.3)
    end = [(0.15, 0.72)] if generator.random() < 0.7 else [(0.35, 0.62)]
    return [Stroke([(generator.uniform(0.5, 0.9), 0), (0.2, 0.4), (0.1, 0.75), (0.4, 1), (0.85, 0.8),
                    (0.6, 1 - 2 * size), *end], True)]  # fmt: skip


def seven_like_a_t(generator: Rng) -> list[Stroke]:
    """A short or wavy roof with a hook at its beginning, a stem, and a bar as long as the roof, or longer."""
    hook = [(generator.uniform(-0.05, 0.15), generator.uniform(0.1, 0.35))] if generator.random() < 0.7 else []
    roof = [(generator.uniform(0.0, 0.45), generator.uniform(0, 0.1)), (generator.uniform(0.55, 1.0), 0.0)]
    foot, height = generator.uniform(0.15, 0.5), generator.uniform(0.38, 0.6)
    middle = roof[1][0] + (foot - roof[1][0]) * height
    left, right = generator.uniform(0.2, 0.5, 2)
    stem = Stroke([*hook, *roof, (middle, height), (foot, 1)], generator.random() < 0.4)
    return [stem, Stroke([(middle - left, height + generator.uniform(-0.03, 0.1)), (middle + right, height)])]


def seven_plain(generator: Rng) -> list[Stroke]:
    """A roof, perhaps with a hook, and a stem, straight or bent."""
    hook = [(0.02, generator.uniform(0.12, 0.3))] if generator.random() < 0.5 else []
    foot = generator.uniform(0.15, 0.6)
    bent = [(generator.uniform(0.55, 0.75), 0.45)] if generator.random() < 0.5 else []
    return [Stroke([*hook, (0.05, 0.02), (generator.uniform(0.75, 1), 0), *bent, (foot, 1)])]


def eight_of_two_rings(generator: Rng) -> list[Stroke]:
    """Two rings on top of each other, or one line that leaves a gap at the top."""
    if generator.random() < 0.35:
        upper, lower = generator.uniform(0.2, 0.26), generator.uniform(0.24, 0.3)
        rings = (ring((0.5, upper), 0.28, upper), ring((0.5, 1 - lower), 0.35, lower))
        return [Stroke(each, True) for each in rings]
    start = (generator.uniform(0.7, 1.0), generator.uniform(0.0, 0.2))
    loop = [(0.45, 0.0), (0.12, 0.22), (0.5, 0.5), (0.85, 0.75), (0.45, 1.0), (0.1, 0.78), (0.5, 0.45)]
    return [Stroke([start, *loop, (generator.uniform(0.7, 0.95), generator.uniform(0.05, 0.25))], True)]


def nine_like_a_p(generator: Rng) -> list[Stroke]:
    """A loop whose stem hangs from its left or its middle."""
    stem = generator.uniform(0.1, 0.45)
    size = generator.uniform(0.2, 0.28)
    loop = ring((stem + 0.32, size), 0.34, size, start=math.pi * generator.uniform(0.8, 1.3))
    return [Stroke(loop, True), Stroke([(stem + generator.uniform(0, 0.12), generator.uniform(0.0, 0.3)), (stem, 1)])]


def nine_open(generator: Rng) -> list[Stroke]:
    """A bowl that is not closed, and a stem, straight or bent."""
    right, bowl = generator.uniform(0.7, 0.95), generator.uniform(0.38, 0.52)
    start = (right - generator.uniform(0.1, 0.35), generator.uniform(0.0, 0.08))
    bowls = [start, (0.1, 0.12), (0.1, bowl - 0.08), (0.4, bowl), (right, generator.uniform(0.1, 0.3))]
    top = generator.uniform(-0.05, 0.15)
    return [Stroke(bowls, True), Stroke([(right + 0.03, top), (right - generator.uniform(0, 0.3), 1)])]


STYLES: list[tuple[int, float, Callable[[Rng], list[Stroke]]]] = [
    (0, 0.12, zero_open),
    (1, 0.12, one_bare),
    (1, 0.10, one_looped),
    (2, 0.16, two_with_loop),
    (2, 0.22, two_like_a_nine),
    (3, 0.14, three_round),
    (4, 0.16, four_like_an_h),
    (4, 0.08, four_closed),
    (5, 0.14, five_with_dash),
    (5, 0.12, five_like_a_root),
    (6, 0.14, six_round),
    (7, 0.20, seven_like_a_t),
    (7, 0.10, seven_plain),
    (8, 0.16, eight_of_two_rings),
    (9, 0.12, nine_like_a_p),
    (9, 0.12, nine_open),
]
