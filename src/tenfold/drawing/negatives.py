"""Pictures that a recogniser of digits must refuse, made here from nothing, from fonts and from labelled digits.

Which picture comes is a function of (kind, index, seed), the labelled digits and the fonts: the same words give the
same pixels, one by one or in thousands. For training they are drawn in MNIST's frame, as they will be seen in use; for
the benchmark of refusal as pictures, with fonts held out and digits that no training saw.

What a reader could take for a digit is left out on purpose: see `glyphs.LOOKALIKES`, `fragments.PARTS`, and the
checks for a lone upright stroke and for a ring. Digits that are struck out, and handwriting of other people than
MNIST's, are not among the kinds.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold.drawing import fragments, glyphs, scrawls
from tenfold.drawing.fragments import Materials
from tenfold.drawing.glyphs import InkMap
from tenfold.errors import DataError, nearest
from tenfold.imaging.frame import to_frame

SIDE = 28
SIDES = (28, 56)  # of the pictures, in pixels, smallest and largest; framing takes most of the time and grows with them
RAW_SHARE = 0.4  # of the training frames: put into 28x28 as they are, neither fitted nor centred
TRIES = 100  # draws until one is surely no digit; most kinds need one or two, `overlap` more
LEAST_INK = 8  # pixels of a frame; less is a speck

LabelledImages = tuple[NDArray[np.uint8], NDArray[np.int64]]
Draw = Callable[[Materials, int, np.random.Generator], InkMap | None]


class Kind(NamedTuple):
    """How a kind of negative is drawn, and what its picture may be."""

    draw: Draw
    margin: bool = True  # whether paper is left around the ink; otherwise the ink's place in the picture matters
    checked: bool = True  # whether a lone upright stroke may come out, which would be a 1
    empty: bool = False  # whether nothing at all may be left in the frame
    wide: bool = False  # whether the frame must be wider than high: two parts, of which framing may drop one


class Negative(NamedTuple):
    """What is no digit: the name of its kind, a picture of it, (H, W) uint8, and its frame, (28, 28) uint8."""

    kind: str
    picture: NDArray[np.uint8]
    frame: NDArray[np.uint8]


def make_negatives(
    count: int,
    seed: int,
    digits: LabelledImages,
    kinds: Sequence[str] | None = None,
    fonts: Sequence[Path] | None = None,
    sides: tuple[int, int] = SIDES,
    raw_share: float = 0.0,
) -> Iterator[Negative]:
    """Give pictures as a camera, a scanner or a drawing box gives them, none of them a digit, and their frames.

    digits: images (N, 28, 28) uint8 in MNIST's frame and their labels (N,). kinds: names from KINDS, which take turns;
    all by default. fonts: font files, those for training by default; `glyphs.font_files(held_out=True)` for a test.
    sides: the least and the greatest height in pixels, before paper is left around. raw_share: of the frames, light
    ink laid into 28x28 neither fitted nor centred, as a recogniser is given it where the caller does the framing.
    Raises DataError for an unknown kind or digits of another form, MissingExtraError where no font is installed.
    """
    images, labels = digits
    good = images.shape[1:] == (SIDE, SIDE) and images.dtype == np.uint8
    if not good or labels.shape != images.shape[:1] or not len(labels):
        raise DataError(f"Digits have shapes '{images.shape}' and '{labels.shape}'. Give (N, 28, 28) uint8 and (N,).")
    if count < 0 or seed < 0:
        raise DataError(f"The count is '{count}' and the seed '{seed}'. Give 0 or more.")
    names = tuple(kinds or KINDS)
    for kind in names:
        if kind not in KINDS:
            raise DataError(f"There is no kind of negative '{kind}'.{nearest(kind, KINDS)} Known: {', '.join(KINDS)}.")
    materials = Materials(images, labels, fonts or glyphs.font_files())
    for i in range(count):
        kind = names[i % len(names)]
        yield Negative(kind, *_make(kind, i // len(names), seed, materials, sides, raw_share))


def _make(
    name: str, index: int, seed: int, materials: Materials, sides: tuple[int, int], raw_share: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a picture, (H, W) uint8, and its frame, (28, 28) uint8."""
    kind = KINDS[name]
    generator = np.random.default_rng([seed, zlib.crc32(name.encode()), index])
    raw = bool(generator.random() < raw_share)
    for _ in range(TRIES):
        ink = kind.draw(materials, int(generator.integers(sides[0], sides[1] + 1)), generator)
        if ink is None or not (kind.empty or _shows(ink)):
            continue
        if kind.margin:
            ink = _with_margin(ink, generator)
        picture = _laid_raw(ink, generator) if raw else _on_paper(ink, generator)
        frame = picture if raw else to_frame(picture)
        if not _shows(frame):
            good = kind.empty
        else:
            is_one = kind.checked and fragments.is_upright_stroke(frame)
            good = not (is_one or (kind.wide and fragments.is_upright(frame)))
        if good:
            return picture, frame
    # Reached by digits that lend themselves to nothing, such as blank ones: paper is never a digit.
    return np.full((SIDE, SIDE), 255, dtype=np.uint8), np.zeros((SIDE, SIDE), dtype=np.uint8)


def _shows(ink: InkMap) -> bool:
    return int((ink >= fragments.SOLID).sum()) >= LEAST_INK


def _on_paper(ink: InkMap, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return the ink on paper or on a screen, (H, W) uint8: dark on light or the reverse, lit, blurred, with noise."""
    import cv2

    strength = ink.astype(np.float32) / 255
    if generator.random() < 0.3:
        strength = np.asarray(cv2.GaussianBlur(strength, (0, 0), float(generator.uniform(0.4, 1.0))), dtype=np.float32)
    light = generator.random() < 0.3
    paper = float(generator.uniform(*((0, 60) if light else (170, 255))))
    stroke = float(generator.uniform(*((170, 255) if light else (0, 80))))
    if generator.random() < 0.4:  # a screen or a clean scan: no noise, no light
        paper, stroke = (0.0, 255.0) if light else (255.0, 0.0)
        return np.asarray(np.rint(paper + (stroke - paper) * strength), dtype=np.uint8)
    picture = paper + (stroke - paper) * strength
    slope = generator.uniform(-20, 20, 2)
    picture += slope[0] * np.linspace(-1, 1, ink.shape[0], dtype=np.float32)[:, None]
    picture += slope[1] * np.linspace(-1, 1, ink.shape[1], dtype=np.float32)
    picture += generator.standard_normal(ink.shape, dtype=np.float32) * float(generator.uniform(0, 6))
    return np.asarray(np.clip(np.rint(picture), 0, 255), dtype=np.uint8)


def _laid_raw(ink: InkMap, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return the ink shrunk into 28x28, light on dark, in a square of its own; some fainter, some with noise."""
    import cv2

    spare = [max(ink.shape) - length for length in ink.shape]
    ink = np.pad(ink, [(each // 2, each - each // 2) for each in spare])
    small = cv2.resize(ink, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    small *= float(generator.uniform(0.6, 1.0)) if generator.random() < 0.4 else 1.0
    if generator.random() < 0.3:
        small += np.abs(generator.standard_normal(small.shape, dtype=np.float32)) * float(generator.uniform(4, 25))
    return np.asarray(np.clip(np.rint(small), 0, 255), dtype=np.uint8)


def _with_margin(ink: InkMap, generator: np.random.Generator) -> InkMap:
    """Return the ink with paper around it: 4% to 20% of its height on each side."""
    top, bottom, left, right = np.rint(generator.uniform(0.04, 0.2, 4) * len(ink)).astype(int) + 1
    return np.pad(ink, ((top, bottom), (left, right)))


def _letter(characters: str) -> Draw:
    def draw(materials: Materials, side: int, generator: np.random.Generator) -> InkMap:
        character = glyphs.choose(characters, generator)
        font = materials.fonts[int(generator.integers(len(materials.fonts)))]
        return _bent(glyphs.printed(character, font, side), side, generator)

    return draw


def _written(alphabet: dict[str, str]) -> Draw:
    strokes = tuple(alphabet.values())

    def draw(materials: Materials, side: int, generator: np.random.Generator) -> InkMap:
        letter = glyphs.written(glyphs.choose(strokes, generator), generator)
        lines = [0.12 + 0.7 * line * [generator.uniform(0.7, 1.1), 1] for line in letter]
        return _bent(fragments.cropped(glyphs.draw(lines, side, glyphs.width(side, generator))), side, generator)

    return draw


def _bent(glyph: InkMap, side: int, generator: np.random.Generator) -> InkMap:
    """Return a glyph turned, slanted and bent a little, its strokes thinner or thicker, (H, W) uint8."""
    import cv2

    glyph = np.pad(glyph, side // 6 + 1)
    height, width = glyph.shape
    turn, slant = np.radians(generator.uniform(-12, 12)), generator.uniform(-0.2, 0.2)  # more would make an N of a Z
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = columns - width / 2, rows - height / 2
    bend = generator.normal(0, 0.03 * side, (2, 4, 4)).astype(np.float32)
    across, down = (cv2.resize(each, (width, height), interpolation=cv2.INTER_CUBIC) for each in bend)
    map_x = (np.cos(turn) * x - np.sin(turn) * y + slant * y + width / 2 + across).astype(np.float32)
    map_y = (np.sin(turn) * x + np.cos(turn) * y + height / 2 + down).astype(np.float32)
    bent = cv2.remap(glyph, map_x, map_y, cv2.INTER_LINEAR)
    if generator.random() < 0.3:
        bent = cv2.dilate(bent, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    return fragments.cropped(np.asarray(bent, dtype=np.uint8))


def _scrawl(draw: Callable[[int, np.random.Generator], InkMap]) -> Draw:
    return lambda materials, side, generator: draw(side, generator)


KINDS: dict[str, Kind] = {
    "blank": Kind(_scrawl(scrawls.blank), margin=False, empty=True),
    "noise": Kind(_scrawl(scrawls.noise), margin=False, empty=True),
    "scribble": Kind(_scrawl(scrawls.scribble)),
    "strokes": Kind(_scrawl(scrawls.strokes)),
    "lines": Kind(_scrawl(scrawls.printed_lines), margin=False),
    "box": Kind(_scrawl(scrawls.box), margin=False),
    "printed letter": Kind(_letter(glyphs.LETTERS)),
    "written letter": Kind(_written(glyphs.HAND_LETTERS)),
    "printed sign": Kind(_letter(glyphs.SIGNS)),
    "written sign": Kind(_written(glyphs.HAND_SIGNS)),
    "two digits": Kind(fragments.two_digits, checked=False),
    "overlap": Kind(fragments.overlap),
    "cut off": Kind(fragments.cut_off),
    "fragment": Kind(fragments.fragment, margin=False, wide=True),
}
"""What is drawn, by name. A new kind comes last: the others' pictures stay as they are."""
