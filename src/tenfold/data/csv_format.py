"""Tables of pixels as text, one image a line, as Kaggle, R, pandas, spreadsheets and books write them.

Columns are told apart by their names, where there are some, and by what is in them: pixels (`pixel0`, `1x1`, `V1`, `0`
or nothing; put in their numbers' order), a label (the one column that is no pixel and holds 0 to 9), an id, an index
that only counts. Rows are read a block at a time by numpy's `loadtxt`, into uint8 while whole numbers of 0 to 255
come (42,000 x 785 in 0.5 s on one core), else into floats. Only when it has refused are lines searched one by one.
"""

import io
import math
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.digits import Digits
from tenfold.data.meaning import digits_of
from tenfold.data.walk import fault, quoted
from tenfold.errors import DataError

LEAST_PIXELS = 49  # of 7x7; a table of fewer columns is none of images
MOST_EXTRA = 8  # columns beside the pixels
MAX_ROW_BYTES = 1 << 17  # 784 values of 17 digits and quotes are 16,000
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SEPARATORS = b",;\t|"
LABELS = ("label", "labels", "digit", "class", "target", "y", "number", "category")
IDS = ("id", "imageid", "image_id", "rowid", "row_id")
INDICES = ("", "index", "idx", "row", "unnamed: 0", "unnamed: 0.1", "x")  # R's write.csv and pandas' to_csv
ADVICE = "Give one image a row: 784 pixel columns, and a label column or none"


@dataclass(frozen=True)
class Layout:
    """What the columns of a table are.

    separator: None for blanks. names: of all columns; empty where there is no header. pixels: their places, and those
    of columns that look like them (`over` of them), in the order of the image. extra: the places of the others.
    """

    separator: str | None
    names: tuple[str, ...]
    columns: int
    pixels: tuple[int, ...]
    extra: tuple[int, ...] = ()

    @property
    def over(self) -> int:
        """How many of the columns that look like pixels are none: V1 of V1 to V785, or one of 785 without names."""
        return len(self.pixels) - math.isqrt(len(self.pixels)) ** 2

    @property
    def may_have_labels(self) -> bool:
        """False where every column but the pixels is surely an id or an index."""
        return bool(self.over) or any(self.name(each).lower() not in (*IDS, *INDICES) for each in self.extra)

    def name(self, column: int) -> str:
        """Return what messages call a column."""
        return self.names[column] if self.names else f"column {column + 1}"


def read_csv(chunks: Iterable[bytes], name: str) -> Digits:
    """Return the digits in a table of text that comes in pieces, with ids from 1 or those of its id column.

    LF, CRLF and CR, quotes, a missing last newline and a byte order mark are all fine. DataError names the row (and
    line) and the column of the first value that is no number, and the first row of another length.
    """
    blocks = _blocks(chunks, name)
    first = next(blocks, b"")
    layout, start = _layout(first, name)
    first = first[start:]
    cells = _cells(first.partition(b"\n")[0], layout.separator)
    # A column of text, such as a file's name, is left out; a label of text is named as a fault.
    text = [at for at in layout.extra if at < len(cells) and not _is_number(cells[at])]
    text = [at for at in text if layout.name(at).lower() not in LABELS]
    used = [at for at in range(layout.columns) if at not in text]
    parts, extras, rows = [], [], 0
    for block in chain([first] if first else [], blocks):
        table = _load_table(block, layout, used, name, rows)
        if not rows:
            layout = _without_over(layout, table[:, np.searchsorted(used, layout.pixels)], name)
            pixels = np.searchsorted(used, _ordered(layout, name))
            kept = [at for at in layout.extra if at in used]
            in_order = bool((np.diff(pixels) == 1).all())
        images = table[:, pixels[0] : pixels[-1] + 1] if in_order else table[:, pixels]
        if images.dtype != np.uint8:
            with np.errstate(invalid="ignore"):
                small = images.astype(np.uint8)
            images = small if (small == images).all() else images.astype(np.float32)
        parts.append(np.ascontiguousarray(images))
        extras.append(table[:, np.searchsorted(used, kept)].astype(np.float64))
        rows += len(table)
    if not rows:
        raise fault(name, "has a header but no row. Give at least one image.")
    labels, ids, notes = _judge(layout, kept, np.concatenate(extras), name)
    if text:
        notes.append(f"left out {quoted(', '.join(map(layout.name, text)))}, which holds no numbers")
    whole = np.empty((rows, len(pixels)), np.result_type(*parts))
    while parts:  # each is let go when it is copied: half the memory
        part = parts.pop()
        whole[rows - len(part) : rows] = part
        rows -= len(part)
    digits = digits_of(whole, labels, name=name, ids=ids)
    return replace(digits, notes=(*notes, *digits.notes))


def read_layout(chunks: Iterable[bytes], name: str) -> Layout | None:
    """Return what the columns of a table are by its first line; None for a table of something else."""
    try:
        return _layout(next(_blocks(chunks, name), b""), name)[0]
    except DataError:
        return None


def parse_sample_submission(data: bytes, name: str) -> NDArray[np.int64]:
    """Return the ImageId column of a sample submission, (N,) int64. DataError names the row where it is wrong."""
    header, *lines = data.removeprefix(BYTE_ORDER_MARK).rstrip().splitlines() or [b""]
    if [cell.strip(b' "').lower() for cell in header.split(b",")] != [b"imageid", b"label"]:
        raise fault(name, f"has the header {quoted(header.decode('latin-1'))}. Give 'ImageId,Label'.")
    ids = np.empty(len(lines), dtype=np.int64)
    for row, line in enumerate(lines):
        if not (match := re.fullmatch(rb' *"?(\d{1,18})"? *,[^,]*', line)):
            shown = quoted(line.decode("latin-1"))
            raise fault(name, f"row {row + 1} is {shown}. Give an id and a label.")
        ids[row] = int(match[1])
    return ids


def _blocks(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Yield whole lines, some megabytes at a time, that end in LF and hold no quotes. DataError for an endless one.

    Blank lines come with what follows them, those at the end of the file not at all.
    """
    rest = b""
    for chunk in chunks:
        block = rest + chunk
        held = block[-1:] == b"\r"  # half a CRLF, perhaps
        if b"\r" in block:
            block = (block[:-1] if held else block).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        block = block.translate(None, b"\"'") if b'"' in block or b"'" in block else block
        end = block.rfind(b"\n") + 1
        if len(block) - end > MAX_ROW_BYTES:
            raise fault(name, f"has a line of over '{MAX_ROW_BYTES}' bytes. {ADVICE}.")
        lines = block[:end].rstrip(b"\n")
        rest = block[len(lines) + bool(lines) :] + b"\r" * held
        if lines:
            yield lines + b"\n"
    if rest.strip(b"\r\n"):
        yield rest.strip(b"\r") + b"\n"


def _cells(line: bytes, separator: str | None) -> list[str]:
    return line.decode("latin-1").replace('"', "").split(separator)


def _is_number(cell: str) -> bool:
    return bool(re.fullmatch(r"\s*[-+]?(\d+[.,]?\d*|[.,]\d+)([eE][-+]?\d+)?\s*", cell))


def _layout(start: bytes, name: str) -> tuple[Layout, int]:
    """Return what the columns of a table are by its first line, and the byte where its first row begins."""
    text = start.removeprefix(BYTE_ORDER_MARK)
    while text[:4] == b"sep=" or text[:1] == b"#":  # Excel's own line about what separates; a comment
        text = text[text.find(b"\n") + 1 :]
    line = text.partition(b"\n")[0]
    if not line.decode("latin-1").strip() or b"\0" in line:
        what = "holds bytes that are no text" if b"\0" in line else "is empty, or begins with a blank line"
        raise fault(name, f"{what}. {ADVICE}.")
    counts = {separator: line.count(separator) for separator in SEPARATORS}
    best = max(counts, key=lambda each: counts[each])
    separator = chr(best) if counts[best] >= LEAST_PIXELS - 1 else None
    cells = [cell.strip() for cell in _cells(line, separator)]
    numbers = [float(cell.replace(",", ".")) for cell in cells if _is_number(cell)]
    # A header's cells are mostly no numbers, or numbers that count.
    names = tuple(cells) if len(numbers) < len(cells) / 2 or (np.diff(numbers) == 1).all() else ()
    if names and len(_cells(text.split(b"\n", 2)[1], separator)) == len(names) + 1:
        names = ("", *names)  # R's write.table gives the rows' names no name
        cells = list(names)
    # What all pixels' names share: `pixel12` and `pixel13` are `pixel#`, `3x7` is `#x#`.
    stems = [re.sub(r"\d+", "#", each.lower()) for each in names] or ["" if each else "blank" for each in cells]
    stem, times = Counter(stems).most_common(1)[0]
    pixels = tuple(at for at, each in enumerate(stems) if each == stem)
    extra = tuple(at for at, each in enumerate(stems) if each != stem)
    layout = Layout(separator, names, len(cells), pixels, extra)
    if times < LEAST_PIXELS or len(layout.extra) + layout.over > MOST_EXTRA:
        what = f"{len(cells)} columns, of which '{times}' look like pixels"
        raise fault(name, f"has {what}; it begins with {quoted(line.decode('latin-1'))}. {ADVICE}.")
    begins = len(start) - len(text) + (len(line) + 1 if names else 0)
    return layout, min(begins, len(start))


def _without_over(layout: Layout, sample: NDArray[Any], name: str) -> Layout:
    """Return the layout after what looked like pixels was judged by what is in it: an index first, a label at an end.

    sample: (n, columns that look like pixels), the first rows.
    """
    while over := layout.over:
        if _counts(sample[:, 0]) and (over > 1 or sample[:, 0].max() > 9):
            ends = [0]
        else:
            ends = [at for at in (0, -1) if over == 1 and _is_label(sample[:, at])]
        if not ends:
            what = f"has '{len(layout.pixels)}' columns that look like pixels"
            raise fault(name, f"{what}, and neither the first nor the last holds a label, 0 to 9. {ADVICE}.")
        end = max(ends, key=lambda at: len(np.unique(sample[:, at])))
        rest = slice(1, None) if end == 0 else slice(None, -1)
        layout = replace(layout, pixels=layout.pixels[rest], extra=(*layout.extra, layout.pixels[end]))
        sample = sample[:, rest]
    return replace(layout, extra=tuple(sorted(layout.extra)))


def _ordered(layout: Layout, name: str) -> list[int]:
    """Return the pixels' places in the order of the numbers in their names. DataError where one lacks or is twice."""
    places = list(layout.pixels)
    numbers = [tuple(map(int, re.findall(r"\d{1,9}", layout.names[at]))) for at in places] if layout.names else []
    if not any(numbers):
        return places
    numbers = list(zip(*(each for each in zip(*numbers, strict=True) if len(set(each)) > 1), strict=True))
    ordered, side = sorted(numbers), math.isqrt(len(places))
    low = min(ordered[0][0], 3)  # V3 is the first pixel where V1 is an index and V2 the label
    expected: list[tuple[int, ...]] = [(low + at,) for at in range(len(places))]
    if len(ordered[0]) == 2:
        expected = [(low + row, low + column) for row in range(side) for column in range(side)]
    if ordered != expected:
        at = next(at for at, (one, other) in enumerate(zip(ordered, expected, strict=True)) if one != other)
        shown, where = quoted(layout.names[places[numbers.index(ordered[at])]]), f"pixel {at + 1} of {len(places)}"
        raise fault(name, f"has the column {shown} where {where} belongs: one is missing or there twice. {ADVICE}.")
    return [at for _, at in sorted(zip(numbers, places, strict=True))]


def _judge(
    layout: Layout, extra: list[int], values: NDArray[np.float64], name: str
) -> tuple[NDArray[Any] | None, NDArray[np.int64] | None, list[str]]:
    """Return the labels and ids among the columns that are no pixels, (N, columns), and what was assumed of them."""
    notes: list[str] = []
    labels: dict[int, NDArray[Any]] = {}
    ids = None
    named = [at for at in extra if layout.name(at).lower() in LABELS]
    for at, column in zip(extra, values.T, strict=True):
        word, shown = layout.name(at).lower(), quoted(layout.name(at))
        if word in IDS and ids is None and (column == np.floor(column)).all() and np.abs(column).max() < 2**53:
            ids = column.astype(np.int64)
        elif at in named or (not named and word not in INDICES and _is_label(column)):
            labels[at] = column.astype(np.int64) if (column == np.floor(column)).all() else column
        else:
            why = "only counts" if _counts(column) else "is neither pixel nor label"
            notes.append(f"left out {shown}, which {why}")
    if len(labels) > 1:
        shown = quoted(", ".join(map(layout.name, labels)))
        raise fault(name, f"has the columns {shown}, each of which may be the label. Leave one.")
    notes += [f"took {quoted(layout.name(at))} as the label" for at in labels if layout.name(at).lower() != "label"]
    return next(iter(labels.values()), None), ids, notes


def _is_label(column: NDArray[Any]) -> bool:
    return bool(((column >= 0) & (column <= 9) & (column == np.floor(column))).all())


def _counts(column: NDArray[Any]) -> bool:
    return len(column) > 1 and bool((np.diff(column.astype(np.float64)) == 1).all())


def _load_table(block: bytes, layout: Layout, used: list[int], name: str, before: int) -> NDArray[Any]:
    """Return a block of rows, (n, used columns), uint8 where all values are, else float64. DataError names a fault."""
    separator = layout.separator
    if separator != ",":
        block = block.replace(b",", b".")  # the decimal comma of half of Europe
    n = block.count(b"\n")
    columns = None if len(used) == layout.columns else used  # of all numpy itself says where a row has another length
    if columns is None or separator is None or block.count(separator.encode()) == n * (layout.columns - 1):
        for dtype in (np.uint8, np.float64):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")  # some versions of numpy only warn about a float
                    table: NDArray[Any] = np.loadtxt(
                        io.BytesIO(block), dtype, delimiter=separator, comments=None, ndmin=2, encoding="latin-1",
                        usecols=columns,
                    )  # fmt: skip
            except (ValueError, Warning):
                continue
            if table.shape == (n, len(used)) and (dtype == np.uint8 or np.isfinite(table).all()):
                return table
    raise DataError(_find_fault(block, layout, used, name, before))


def _find_fault(block: bytes, layout: Layout, used: list[int], name: str, before: int) -> str:
    """Return the message that names the first row that is wrong; before: how many rows came before the block."""
    for row, line in enumerate(io.BytesIO(block), before):
        cells = _cells(line.rstrip(b"\n"), layout.separator)
        where = f"{quoted(name)} row {row + 1} (line {row + 1 + bool(layout.names)})"
        if not line.strip():
            return f"{where} is blank: ''. Take the line out."
        if len(cells) != layout.columns:
            return f"{where} has '{len(cells)}' values. Give {layout.columns}, as many as the first line has."
        for at in used:
            if not _is_number(cells[at]) or not math.isfinite(float(cells[at])):
                reason = "is blank" if not cells[at].strip() else "is no number that can be read"
                return f"{where}, column {quoted(layout.name(at))}: {quoted(cells[at])} {reason}. Give 0 to 255."
    return f"{quoted(name)} is not a table of numbers that can be read. {ADVICE}."
