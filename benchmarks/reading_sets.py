"""Pictures with the digits that they show, of each kind that `reading.py` measures; and pictures of the generator.

What is found under `TENFOLD_DATA` (cheque amounts, photographs, pictures without digits) and what our own generator
draws, by hands that no training saw: MNIST's test digits, and shapes of another seed. Every picture is written upright
as a PNG, so that all readers read the same file.
"""

import csv
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data import load
from tenfold.drawing import numbers
from tenfold.drawing.glyphs import font_files, handwriting
from tenfold.drawing.hands import Hands, Ink, Rng
from tenfold.drawing.numbers import Desk, Style
from tenfold.drawing.paper import photograph
from tenfold.errors import DataError
from tenfold.imaging.decode import decode
from tenfold.runtime import annotated
from tenfold.runtime.reader import Reader

Pixels = NDArray[np.uint8]

AMOUNTS, SINGLES, SHEETS = "cheque amounts", "single digits", "sheets of numbers"
ROWS, PAGES, LARGE = "drawn rows", "drawn pages", "12 megapixels, two threads"
WORDS, NEGATIVES, BOXES = "drawn words alone", "photographs without digits", "printed digits in boxes"
HALVES = ("even", "odd")
DRAWN = {WORDS: 200, ROWS: 500, PAGES: 100}  # pictures of each
TEST_DIGITS, SHAPES = 4000, 2000  # what the hands write from
LARGE_PIXELS = 12_000_000
PICTURE = 5  # which page the annotated picture shows: bright paper, words and numbers


@dataclass(frozen=True)
class Sample:
    """A picture and its digits in reading order; any_order: they have none. line: it shows one number alone."""

    group: str
    condition: str
    name: str
    path: Path
    truth: str
    line: bool = False
    any_order: bool = False


def gather(
    data: Path | None, folder: Path, seed: int, limit: int | None = None, only: Sequence[str] | None = None
) -> list[Sample]:
    """Return the samples of every kind that there is; their pictures are written into `folder`.

    data: with strings/, photos/ and negatives/, each left out where it is not there. limit: of pictures a condition.
    only: these kinds. Raises DataError where there is none.
    """
    known = (AMOUNTS, SINGLES, SHEETS, ROWS, PAGES, LARGE, WORDS, NEGATIVES, BOXES)
    if unknown := [each for each in only or () if each not in known]:
        raise DataError(f"'{unknown[0]}' is no kind of picture. Give some of: {', '.join(known)}.")
    made: list[Sample] = []
    count: Counter[tuple[str, str]] = Counter()
    for group, condition, name, pixels, truth, line, any_order in _every(data, seed, limit, only or known):
        if group not in (only or known):
            continue
        count[group, condition] += 1
        if limit is None or count[group, condition] <= limit:
            path = folder / f"{len(made):05d}.png"
            save(path, pixels)
            made.append(Sample(group, condition, name, path, truth, line, any_order))
    if not made:
        raise DataError(
            f"There is none of the pictures '{', '.join(only or known)}'. Set TENFOLD_DATA to their folder."
        )
    return made


def save(path: Path, pixels: Pixels) -> None:
    """Write a picture as a PNG."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, optimize=path.suffix == ".png" and pixels.size < 1 << 20)


Item = tuple[str, str, str, Pixels, str, bool, bool]


def _every(data: Path | None, seed: int, limit: int | None, wanted: Sequence[str]) -> Iterator[Item]:
    for folder, give in (("strings", _strings), ("photos", _photos), ("negatives", _negatives)):
        if data is not None and (data / folder).is_dir():
            yield from give(data / folder)
    some = {group: count for group, count in DRAWN.items() if group in wanted}
    desk = held_out_desk() if some else None
    for group, count in some.items():
        assert desk is not None
        for number in range(count if limit is None else min(count, limit)):
            pixels, truth = drawn(desk, group, seed, number)
            yield group, "", f"{group} {number}", pixels, truth, group == ROWS, False


def table_of(folder: Path) -> list[dict[str, str]]:
    """Return the lines of a folder's labels.csv."""
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _strings(folder: Path) -> Iterator[Item]:
    for number, row in enumerate(table_of(folder)):
        pixels = decode((folder / row["file"]).read_bytes(), row["file"])
        yield AMOUNTS, f"{HALVES[number % 2]} rows", row["file"], pixels, row["truth"], True, False


def _photos(folder: Path) -> Iterator[Item]:
    largest: tuple[Pixels, str] | None = None
    for row in table_of(folder):
        pixels = decode((folder / row["file"]).read_bytes(), row["file"])
        pixels = np.ascontiguousarray(np.rot90(pixels, int(row["rotate_ccw_deg"] or 0) // 90))
        group, condition = (SINGLES, row["notes"].partition(";")[0]) if row["kind"] == "single" else _sheet(row)
        yield group, condition, row["file"], pixels, row["truth"], False, "multiset" in row["notes"]
        if largest is None or pixels.size > largest[0].size:
            largest = pixels, row["truth"]
    if largest is not None:
        yield LARGE, "", "the largest photograph, enlarged", enlarged(largest[0]), largest[1], False, False


def _sheet(row: dict[str, str]) -> tuple[str, str]:
    where = "drawn on a screen" if "mouse" in row["notes"] else "scanned" if "scan" in row["notes"] else "photographed"
    return SHEETS, where


def enlarged(pixels: Pixels) -> Pixels:
    """Return a picture of LARGE_PIXELS, of the same proportions."""
    import cv2

    scale = (LARGE_PIXELS / (pixels.shape[0] * pixels.shape[1])) ** 0.5
    return np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)


def _negatives(folder: Path) -> Iterator[Item]:
    for path in sorted(folder.iterdir()):
        if path.suffix in (".jpg", ".png"):
            group = BOXES if path.stem == "printed_boxes" else NEGATIVES
            yield group, "", path.name, decode(path.read_bytes(), path.name), "", False, False


def drawn(desk: Desk, group: str, seed: int, number: int) -> tuple[Pixels, str]:
    """Return the picture of one of DRAWN's groups, and its digits."""
    generator = np.random.default_rng((seed, list(DRAWN).index(group), number))
    if group == ROWS:
        return numbers.line(desk, generator)
    if group == WORDS:
        return numbers.page(desk, generator, "words")[0], ""
    truth = ""
    while not truth:
        height = float(np.exp(generator.uniform(np.log(16), np.log(60))))
        pixels, truth = note(desk, generator, Style.random(height, generator))
    return pixels, truth


def held_out_desk() -> Desk:
    """Return hands that no training wrote with: MNIST's test digits, shapes of another seed, and held-out fonts."""
    test = load("mnist:test", "evaluate")
    assert test.labels is not None
    fonts = font_files(held_out=True)
    return Desk(Hands.of(test.images[:TEST_DIGITS], test.labels[:TEST_DIGITS], SHAPES, 1, fonts), fonts)


def training_desk() -> Desk:
    """Return hands of MNIST's training digits, as a training's are, but fewer."""
    known = load("mnist:train")
    assert known.labels is not None
    fonts = handwriting()
    return Desk(Hands.of(known.images[:TEST_DIGITS], known.labels[:TEST_DIGITS], SHAPES, 0, fonts), fonts)


def write_rows(folder: Path, samples: Sequence[Sample]) -> None:
    """Write pictures of rows as `tenfold train lines --data FOLDER` takes them."""
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table_file = csv.writer(file)
        table_file.writerow(["file", "truth"])
        for sample in samples:
            (folder / sample.path.name).write_bytes(sample.path.read_bytes())
            table_file.writerow([sample.path.name, sample.truth])


def write_sheet(path: Path, seed: int) -> None:
    """Write a picture of the generator's rows and, below them, of its parts of pages."""
    desk, gap, width = training_desk(), 8, 4 * 256 + 3 * 8
    generator = np.random.default_rng((seed, 9))
    bands = []
    for _ in range(8):
        band, left = np.full((numbers.LINE_HEIGHT, width), 255, np.uint8), 0
        while left < width - 40:
            row = numbers.line(desk, generator)[0][:, : width - left]
            band[:, left : left + row.shape[1]] = row
            left += row.shape[1] + gap
        bands.append(band)
    sorts = ("rows", "scattered", "sparse", "words", "mixed", "rows", "mixed", "words")
    pages = [numbers.page(desk, generator, sort)[0] for sort in sorts]
    for first in range(0, len(pages), 4):
        bands.append(beside(pages[first : first + 4], gap))
    sheet = np.vstack([np.pad(band, ((0, gap), (0, 0)), constant_values=255) for band in bands])
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).quantize(16, dither=Image.Dither.NONE).save(path, optimize=True)


def beside(pictures: Sequence[Pixels], gap: int) -> Pixels:
    """Return pictures of one height side by side."""
    parts = [np.pad(each, ((0, 0), (0, gap)), constant_values=255) for each in pictures]
    return np.hstack(parts)[:, :-gap]


def note(
    desk: Desk,
    generator: Rng,
    style: Style,
    size: tuple[int, int] = (480, 640),
    leading: tuple[float, float] = (1.7, 2.6),
) -> tuple[Pixels, str]:
    """Return a page of rows of words and numbers, of which none is cut off, and its digits in reading order.

    size: height and width in pixels. leading: from row to row, in heights of a digit, at least and at most.
    """
    tall, (height, width) = style.height, size
    ink: Ink = np.zeros(size, np.float32)
    base, truth = tall * generator.uniform(1.8, 2.5), ""
    while base < height - tall:
        left = round(tall * generator.uniform(0.6, 2))
        for _ in range(int(generator.integers(1, 6))):
            text = numbers.amount(generator) if generator.random() < 0.5 else ""
            made = desk.number(text, style, generator) if text else desk.word(0.8 * tall, generator)
            rows, columns = made.ink.shape
            top = round(base - rows)
            if top < 0 or left + columns > width - tall / 2:
                break
            place = ink[top : top + rows, left : left + columns]
            np.maximum(place, made.ink, out=place)
            left += columns + round(tall * generator.uniform(0.9, 2))
            truth += "".join(each for each in text if each.isdigit())
        base += tall * generator.uniform(*leading)
    return photograph(ink, generator), truth


def write_picture(path: Path, reader: Reader) -> None:
    """Write a page of the generator with what the reader finds on it, as `tenfold read --annotated` does."""
    import cv2
    from PIL import Image

    generator = np.random.default_rng((PICTURE, 8))
    style = replace(Style.random(36.0, generator), pen=3.0, space=0.25, small_end=1.0, joined=False, slant=0.15)
    pixels, _ = note(training_desk(), generator, style, (600, 1000), (3.1, 3.3))
    pixels = np.asarray(cv2.medianBlur(pixels, 3), np.uint8)  # grain, which a PNG keeps every grain of
    with tempfile.TemporaryDirectory() as folder:
        drawn_on = Path(folder) / "page.jpg"
        annotated.write(drawn_on, pixels, reader.read(pixels))
        image = Image.open(drawn_on).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.quantize(48, dither=Image.Dither.NONE).save(path, optimize=True)
