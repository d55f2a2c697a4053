"""Pictures of handwritten numbers, and of what is none beside them: rows to read, and parts of pages to search.

All is drawn from a generator of random numbers: which digits and signs, whose hand and pen, which paper, which camera.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tenfold.drawing import glyphs
from tenfold.drawing.hands import DRAWN_SHARE, Hands, Ink, Rng, write
from tenfold.drawing.paper import Grey, lines, photograph
from tenfold.imaging.frame import crop

LINE_HEIGHT, LONGEST_LINE = 32, 320  # pixels of a row that is read
PAGE = 256  # pixels a side of a part of a page
LEAST, MOST = 13.0, 42.0  # pixels: how high a digit is that a page's network is to find
INK_BEGINS = 0.35
BYTE = np.float32(1 / 255)
SORTS = {"rows": 0.22, "scattered": 0.12, "sparse": 0.12, "words": 0.28, "mixed": 0.2, "blank": 0.06}  # of pages
SIGNS = {"#": "hash", "+": "plus", "%": "percent", "e": "euro"}


class Box(NamedTuple):
    """Where a digit stands: its left upper corner, its size in pixels, and which it is."""

    x: float
    y: float
    width: float
    height: float
    digit: int


@dataclass
class Style:
    """How somebody writes numbers."""

    height: float
    pen: float
    slant: float
    space: float  # between digits, as a share of their height; below 0 they touch
    joined: bool  # strokes run from one digit into the next
    small_end: float  # how large the digits behind a mark are
    wobble: float  # of the height, by which digits leave the line and differ in size
    drawn: "np.ndarray[tuple[int], np.dtype[np.bool_]]"  # (10,), of which digits the shapes are drawn ones

    @classmethod
    def random(cls, height: float, generator: Rng) -> "Style":
        """Return somebody's style."""
        pen = max(1.0, height * generator.uniform(0.035, 0.17))
        space = generator.choice([generator.uniform(-0.22, 0.08), generator.uniform(0.05, 0.4),
                                  generator.uniform(0.3, 1.6)], p=[0.4, 0.45, 0.15])  # fmt: skip
        slant = generator.normal(0.12, 0.17)
        joined = bool(generator.random() < 0.25)
        small = generator.uniform(0.5, 0.9) if generator.random() < 0.18 else 1.0
        wobble = generator.uniform(0, 0.1)
        return cls(height, pen, slant, float(space), joined, small, wobble, generator.random(10) < DRAWN_SHARE)


class Writing(NamedTuple):
    """Ink, (H, W) from 0 to 1, and its digits, from left to right."""

    ink: Ink
    boxes: list[Box]


class Desk:
    """Hands and fonts, ready to write."""

    def __init__(self, hands: Hands, fonts: Sequence[Path]) -> None:
        self.hands, self.fonts = hands, tuple(fonts)

    @cached_property
    def letters(self) -> list[str]:
        """The strokes of letters that no font writes."""
        return list(glyphs.HAND_LETTERS.values())

    def number(self, text: str, style: Style, generator: Rng) -> Writing:
        """Return a number: digits, and `. , - = / # + % e` (a euro sign) and spaces between them."""
        height = style.height
        canvas = np.zeros(
            (round(height * 3.6), round(height * (1.9 + max(0.0, style.space)) * (len(text) + 2))), np.float32
        )
        boxes: list[Box] = []
        base, cursor = height * 2.3, height * 0.5
        mark, lift = False, generator.uniform(0, 1)
        drift = generator.normal(0, 0.04)  # up or down along the row, by no more than half of the height
        for sign in text:
            line = (
                base
                + float(np.clip(drift * cursor, -height / 2, height / 2))
                + generator.normal(0, style.wobble) * height
            )
            size = style.small_end if boxes and mark else 1.0
            mark = mark or sign in ".,"
            ink = self._sign(sign, style, size, generator)
            if ink is None:
                cursor += height * generator.uniform(0.5, 1.5)
                continue
            rows, columns = ink.shape
            raised = {"-": 0.45, "=": 0.4}.get(sign, (1 - size) * lift) * height
            top, left = round(line - raised - rows), round(cursor)
            place = canvas[max(0, top) : top + rows, left : left + columns]
            part = ink[max(0, -top) :][: place.shape[0], : place.shape[1]]
            np.maximum(place, part, out=place)
            if sign.isdigit():
                if style.joined and boxes and generator.random() < 0.75:
                    _join(canvas, boxes[-1], Box(left, top, columns, rows, 0), style.pen, generator)
                boxes.append(Box(left, top, columns, rows, int(sign)))
            cursor += columns + height * (style.space + generator.normal(0, 0.04))
        return _cropped(canvas, boxes)

    def _sign(self, sign: str, style: Style, size: float, generator: Rng) -> Ink | None:
        """Return one sign cropped to its ink; None for a space."""
        height, pen = style.height * size * max(0.4, 1 + generator.normal(0, style.wobble)), style.pen
        if sign == " ":
            return None
        if sign.isdigit():
            drawn = bool(style.drawn[int(sign)]) ^ (generator.random() < 0.1)
            field = self.hands.maps[self.hands.pick(int(sign), drawn, generator)]
            lean = style.slant if drawn else style.slant * 0.7
            return _inked(write(field, height, pen * generator.uniform(0.9, 1.1), lean, generator))
        if sign in SIGNS:
            strokes = glyphs.written(glyphs.HAND_SIGNS[SIGNS[sign]], generator)
            side = max(8, round(height))
            return _inked(glyphs.draw([0.1 + 0.8 * each for each in strokes], side, pen).astype(np.float32) * BYTE)
        low = generator.uniform(0.02, 0.25, 2) * height
        wide = generator.uniform(0.3, 0.9) * height
        tilt = generator.normal(0, 0.06) * height
        margin = pen + 2 + abs(tilt)
        if sign == "/":
            places = [(margin + height * 0.35, margin, margin, margin + height)]
        elif sign in "-=":
            gap = generator.uniform(0.15, 0.3) * height
            places = [
                (margin, margin + n * gap, margin + wide, margin + n * gap + tilt) for n in range(1 + (sign == "="))
            ]
        else:  # a point, or a comma that hangs below the line
            slip = low[0] if sign == "," else generator.uniform(0, 0.03) * height
            places = [(margin + slip * 0.5, margin, margin, margin + slip)]
        size = round(2 * margin + max(wide, height))
        return _inked(lines(size, size, places, pen * generator.uniform(0.9, 1.3)))

    def word(self, height: float, generator: Rng) -> Writing:
        """Return letters that make no number, in a font or in strokes; capitals are `height` pixels high."""
        sort = generator.random()
        if self.hands.words and sort < 0.6:
            field = self.hands.words[int(generator.integers(len(self.hands.words)))]
            pen = max(1.0, height * generator.uniform(0.03, 0.15))
            ink = write(field, height * generator.uniform(0.8, 1.3), pen, generator.normal(0.12, 0.2), generator)
            return Writing(_inked(ink), [])
        if self.fonts and sort < 0.85:
            font = self.fonts[generator.integers(len(self.fonts))]
            text = glyphs.word(generator)
            return Writing(glyphs.printed(text, font, max(8, round(height * 1.4))).astype(np.float32) * BYTE, [])
        count = int(generator.integers(2, 9))
        pen, side = max(1.0, height * generator.uniform(0.05, 0.13)), max(8, round(height))
        parts = []
        for _ in range(count):
            strokes = glyphs.written(self.letters[generator.integers(len(self.letters))], generator)
            ink = glyphs.draw([0.1 + 0.7 * each for each in strokes], side, pen).astype(np.float32) * BYTE
            parts.append(np.pad(_inked(ink), ((0, 0), (0, round(height * generator.uniform(0.05, 0.25))))))
        tall = max(each.shape[0] for each in parts)
        return Writing(np.hstack([np.pad(each, ((tall - each.shape[0], 0), (0, 0))) for each in parts]), [])


def line(desk: Desk, generator: Rng) -> tuple[Grey, str]:
    """Return the picture of one number, (LINE_HEIGHT, up to LONGEST_LINE) uint8, and its digits."""
    import cv2

    text = amount(generator)
    style = Style.random(generator.uniform(20, 38), generator)
    ink, boxes = desk.number(text, style, generator)
    tall = max(1.0, max(box.y + box.height for box in boxes) - min(box.y for box in boxes))
    middle = (min(box.y for box in boxes) + max(box.y + box.height for box in boxes)) / 2
    # The picture is cut around the digits: closely, or with up to their height again above and below.
    rows = tall * (generator.uniform(0.98, 1.25) if generator.random() < 0.6 else generator.uniform(1.2, 2.2))
    shift = generator.uniform(-0.5, 0.5) * max(0.0, rows - tall)
    # At its ends too, where now and then the edge of a digit is lost.
    pads = [round(generator.uniform(-0.04, 0.3 if generator.random() < 0.8 else 2.0) * style.height) for _ in range(2)]
    reach = round(style.height * 2)
    ink = np.pad(ink, ((reach, reach), (max(0, pads[0]), max(0, pads[1]))))
    ink = ink[:, max(0, -pads[0]) : ink.shape[1] - max(0, -pads[1])]
    top = round(middle + shift - rows / 2) + reach
    ink = _with_clutter(ink, top, round(rows), boxes, style, desk, generator)
    ink = _sheared(ink, generator)[max(0, top) : top + round(rows)]
    behind = np.ascontiguousarray(ink[::-1, ::-1]) if generator.random() < 0.1 else None
    picture = photograph(ink, generator, behind)
    width = min(
        LONGEST_LINE, max(12, round(picture.shape[1] * LINE_HEIGHT / picture.shape[0] * generator.uniform(0.85, 1.2)))
    )
    grey = cv2.resize(picture, (width, LINE_HEIGHT), interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.uint8), "".join(sign for sign in text if sign.isdigit())


def amount(generator: Rng) -> str:
    """Return the text of a number: digits alone, or an amount with marks before, in and behind it."""
    count = int(
        generator.choice(range(1, 13), p=[0.1, 0.1, 0.13, 0.17, 0.17, 0.12, 0.08, 0.05, 0.03, 0.02, 0.02, 0.01])
    )
    digits = "".join(str(each) for each in generator.integers(0, 10, count))
    if generator.random() < 0.25:  # round amounts
        zeros = int(generator.integers(0, count))
        digits = digits[: count - zeros] + "0" * zeros
    if generator.random() < 0.45:
        return digits
    mark = generator.choice([".", ",", " ", "."])
    if generator.random() < 0.7:
        groups = [digits[max(0, end - 3) : end] for end in range(len(digits), 0, -3)][::-1]
        digits = str(mark).join(groups)
    before = generator.choice(["", "", "", "", "", "#", "=", "-", "e", "+"])  # no slash, which would be a 1
    after = generator.choice(["", "", ".", ".", ",", "-", ".-", "=", "--", " -", "#", ".=", "%", "."])
    return f"{before}{digits}{after}"


def page(desk: Desk, generator: Rng, sort: str = "") -> tuple[Grey, list[Box]]:
    """Return a part of a page, (PAGE, PAGE) uint8, and all digits on it whose middle is in it.

    sort: what is on it, any of SORTS where not given; "words" and "blank" are pages without digits.
    """
    ink: Ink = np.zeros((PAGE, PAGE), np.float32)
    boxes: list[Box] = []
    sort = sort or str(generator.choice(list(SORTS), p=list(SORTS.values())))
    most = 250 if generator.random() < 0.2 else 75 if generator.random() < 0.4 else 40
    height = float(np.exp(generator.uniform(np.log(9), np.log(most))))
    style = Style.random(height, generator)
    gap = height * generator.uniform(1.15, 2.5)
    row = generator.uniform(-0.5, 1.5) * height
    alone = False
    while sort != "blank" and row < PAGE:
        column = generator.uniform(-1, 2) * height
        while column < PAGE:
            is_word = sort == "words" or (sort == "mixed" and generator.random() < 0.6)
            if generator.random() < {"scattered": 0.5, "sparse": 0.93}.get(sort, 0.0):
                column += height * generator.uniform(1, 4)
                continue
            alone = sort == "scattered" or (sort == "sparse" and generator.random() < 0.5)
            text = str(generator.integers(10)) if alone else amount(generator)
            made = (
                desk.word(height * generator.uniform(0.8, 1.2), generator)
                if is_word
                else desk.number(text, style, generator)
            )
            lift = height * generator.normal(0, 0.5 if alone else 0.04)
            _lay(ink, boxes, made, round(column), round(row + height - made.ink.shape[0] + lift))
            column += made.ink.shape[1] + height * generator.uniform(*((0.2, 0.9) if is_word else (0.4, 3)))
        row += gap
    if generator.random() < 0.25:
        ink = np.maximum(ink, _litter(generator))
    behind = None
    if generator.random() < 0.15:
        behind = np.ascontiguousarray(ink[:, ::-1] if generator.random() < 0.7 else ink[::-1, ::-1])
    if generator.random() < 0.25:
        ink = np.maximum(ink, _frames(boxes, height, generator))
    return photograph(ink, generator, behind), boxes


def _lay(ink: Ink, boxes: list[Box], made: Writing, left: int, top: int) -> None:
    """Lay writing on a page, as far as it reaches into it."""
    rows, columns = made.ink.shape
    part = made.ink[max(0, -top) : max(0, PAGE - top), max(0, -left) : max(0, PAGE - left)]
    if not part.size:
        return
    place = ink[max(0, top) : top + rows, max(0, left) : left + columns]
    np.maximum(place, part, out=place)
    for box in made.boxes:
        moved = box._replace(x=box.x + left, y=box.y + top)
        if 0 <= moved.x + moved.width / 2 < PAGE and 0 <= moved.y + moved.height / 2 < PAGE:
            boxes.append(moved)


def _join(canvas: Ink, before: Box, after: Box, pen: float, generator: Rng) -> None:
    """Draw a stroke from one digit into the next, high or low."""
    if not 0 <= after.x - before.x - before.width < before.height / 2:
        return
    share = generator.uniform(0.05, 0.35) if generator.random() < 0.7 else generator.uniform(0.7, 0.95)
    start = before.x + before.width * generator.uniform(0.5, 0.9), before.y + before.height * share
    end = after.x + after.width * generator.uniform(0.1, 0.4), after.y + after.height * generator.uniform(0.05, 0.35)
    height, width = canvas.shape
    np.maximum(canvas, lines(height, width, [(*start, *end)], pen), out=canvas)


def _litter(generator: Rng) -> Ink:
    """Return specks and strokes that are smaller than any digit that is to be found, and a few scribbles."""
    canvas = np.zeros((PAGE, PAGE), np.float32)
    for _ in range(int(generator.integers(1, 20))):
        x, y = generator.uniform(0, PAGE, 2)
        dx, dy = generator.normal(0, LEAST / 4, 2).clip(-LEAST / 2, LEAST / 2)
        speck = lines(PAGE, PAGE, [(x, y, x + dx, y + dy)], generator.uniform(0.7, 4))
        canvas = np.maximum(canvas, speck * np.float32(generator.uniform(0.2, 1)))
    for _ in range(int(generator.integers(0, 2))):
        size = generator.uniform(20, 120)
        points = generator.uniform(0, size, (int(generator.integers(6, 12)), 2)) + generator.uniform(-20, PAGE, 2)
        scribble = glyphs.draw([glyphs.curve(points / PAGE)], PAGE, generator.uniform(1, 5)).astype(np.float32) * BYTE
        canvas = np.maximum(canvas, scribble * np.float32(generator.uniform(0.3, 1)))
    return canvas


def _frames(boxes: Sequence[Box], height: float, generator: Rng) -> Ink:
    """Return a form's boxes around digits, or lines below them."""
    places = []
    below = generator.random() < 0.5
    for box in boxes:
        margin = height * generator.uniform(0.08, 0.25)
        left, top = box.x - margin, box.y - margin
        right, bottom = box.x + box.width + margin, box.y + box.height + margin
        places.append((left, bottom, right, bottom))
        if not below:
            places += [(left, top, right, top), (left, top, left, bottom), (right, top, right, bottom)]
    return lines(PAGE, PAGE, places, generator.uniform(0.7, 2)) * np.float32(generator.uniform(0.3, 1))


def _with_clutter(ink: Ink, top: int, rows: int, boxes: Sequence[Box], style: Style, desk: Desk, generator: Rng) -> Ink:
    """Return the ink of a row with what a cut leaves around it: rules, a box's sides, parts of other rows."""
    height, width = ink.shape
    places: list[tuple[float, float, float, float]] = []
    if generator.random() < 0.35:
        places += [(0, y, width, y + generator.normal(0, 1.5)) for y in top + rows * generator.uniform(0.75, 1.02, 1)]
    if generator.random() < 0.15:
        places += [(0, y, width, y + generator.normal(0, 1.5)) for y in top + rows * generator.uniform(-0.02, 0.15, 1)]
    if generator.random() < 0.08:
        places += [(x, 0, x + generator.normal(0, 1), height) for x in (1, width - 2)]
    if places:
        strength = generator.uniform(0.3, 1)
        ink = np.maximum(ink, lines(height, width, places, generator.uniform(0.6, 2.2)) * np.float32(strength))
    if generator.random() < 0.15:
        other = (
            desk.number(amount(generator), style, generator)
            if generator.random() < 0.5
            else desk.word(style.height, generator)
        )
        sunk = max(0, round(rows * generator.uniform(0.0, 0.12)))
        upper = generator.random() < 0.5
        part = other.ink[:, :width]
        start = max(0, top + sunk - part.shape[0]) if upper else min(height - 1, top + rows - sunk)
        place = ink[start : start + part.shape[0], : part.shape[1]]
        first = part.shape[0] - place.shape[0] if upper else 0
        np.maximum(place, part[first : first + place.shape[0]], out=place)
    return ink


def _sheared(ink: Ink, generator: Rng) -> Ink:
    """Return a row a little turned, as a photograph has it."""
    import cv2

    rise = generator.normal(0, 0.025)
    turn = np.array([[1, 0, 0], [rise, 1, -rise * ink.shape[1] / 2]], np.float32)
    return np.asarray(cv2.warpAffine(ink, turn, ink.shape[::-1], flags=cv2.INTER_LINEAR), np.float32)


def _inked(ink: Ink) -> Ink:
    """Return ink cropped to what is dark, and no less than a pixel."""
    found = crop((ink * 255).astype(np.uint8), INK_BEGINS)
    return found.astype(np.float32) * BYTE if found.size else np.zeros((1, 1), np.float32)


def _cropped(canvas: Ink, boxes: list[Box]) -> Writing:
    """Return a writing cropped to its ink."""
    rows, columns = np.flatnonzero(canvas.max(axis=1) > 0.05), np.flatnonzero(canvas.max(axis=0) > 0.05)
    top, left = rows[0], columns[0]
    moved = [box._replace(x=box.x - left, y=box.y - top) for box in boxes]
    return Writing(canvas[top : rows[-1] + 1, left : columns[-1] + 1], moved)
