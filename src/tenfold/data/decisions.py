"""What people decide about suspect labels: a CSV file, a row an image, that is found again in any data by its pixels.

    image,given,suggested,confidence,decision,label,hash
    59916,4,7,0.9995,relabel,,x89ed655ff674acbb

decision: `keep`; `relabel`, to what `label` says, or to `suggested` where that is empty; or `drop`, leave it out. A row
stands for the images of this hash (of `image_hashes`, after an x, so that no spreadsheet takes it for a number) that
are labelled `given`. image and confidence are for people.
"""

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from tenfold.data.digits import Digits, image_hashes
from tenfold.data.walk import fault, sha256
from tenfold.files import MOST_TEXT, parse_json, read_bytes

KEEP, RELABEL, DROP = "keep", "relabel", "drop"
ADVICE = "Mend that, or let `tenfold audit` write another file."
Digit = Annotated[int, Field(ge=0, le=9)]
Word = Literal["keep", "relabel", "drop"]


@dataclass(frozen=True)
class Decision:
    """A row; None where a cell is empty."""

    image: str | None
    given: Digit
    suggested: Digit | None
    confidence: str | None
    decision: Word
    label: Digit | None
    hash: Annotated[str, Field(pattern="^x[0-9a-f]{16}$")]

    @property
    def key(self) -> tuple[str, int]:
        """Which images it is about."""
        return self.hash, self.given

    @property
    def target(self) -> int | None:
        """Their label from now on; None where they are left out, or where the row does not say as what to relabel."""
        said = self.suggested if self.label is None else self.label
        return {KEEP: self.given, RELABEL: said}.get(self.decision)


COLUMNS = tuple(field.name for field in fields(Decision))


def read(path: Path) -> bytes:
    """Return what a file of decisions holds, to be parsed; DataError where it cannot be read."""
    try:
        return read_bytes(path.resolve(), MOST_TEXT)
    except OSError as error:
        raise fault(path, f"cannot be read: {error.strerror}. Give what `tenfold audit` wrote.") from None


def parse(content: bytes, name: str | Path) -> list[Decision]:
    """Return the rows, in order, those that repeat another but once; commas, semicolons or tabs are between cells.

    Raises DataError, which names the line, for what is no such table, and where it contradicts itself.
    """
    try:
        text = content.decode("utf-8-sig")
        separator = max(",;\t", key=text.partition("\n")[0].count)
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True, restval="", restkey="")
        if sorted(table.fieldnames or ()) != sorted(COLUMNS):
            raise ValueError(f"its columns are '{','.join(table.fieldnames or ())[:99]}', not {','.join(COLUMNS)}")
        lines = {}
        for cells in table:
            if "" in cells:
                raise ValueError(f"line '{table.line_num}' has too many cells")
            if any(cells.values()):
                lines[table.line_num] = {key: cell.strip().lower() or None for key, cell in cells.items()}
        rows = parse_json(json.dumps(lines), dict[int, Decision])
    except (ValueError, csv.Error) as error:
        raise fault(name, f"is no table of decisions: {error}. {ADVICE}") from None
    known: dict[tuple[str, int], Decision] = {}
    for line, row in rows.items():
        first = known.setdefault(row.key, row)
        sound = row.target not in (None, row.given) if row.decision == RELABEL else row.label in (None, row.given)
        if not sound or (first.decision, first.target) != (row.decision, row.target):
            said = f"{row.decision}, label '{row.label}'"
            raise fault(name, f"disagrees with itself in line {line}, of image '{row.image}': {said}. {ADVICE}")
    return list(known.values())


def render(rows: Iterable[Decision]) -> str:
    """Return the file with these rows, which `parse` takes back."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([COLUMNS, *map(astuple, rows)])
    return stream.getvalue()


def hashes_of(digits: Digits) -> list[str]:
    """Return the hash of each image, as a row has it."""
    return [f"x{each:016x}" for each in image_hashes(digits.images).tolist()]


def apply(
    sets: list[tuple[str, Digits]], file: str | Path | None
) -> tuple[list[tuple[str, Digits]], dict[str, Any] | None]:
    """Return the sets with labels changed and images left out as a file decides, the number of both, and its SHA-256.

    Raises DataError where a row is about an image that is in none of the sets, or is labelled otherwise there.
    """
    if file is None:
        return sets, None
    path = Path(file)
    content = read(path)
    rows = parse(content, path)
    decided, hashes = {row.key: row for row in rows}, {row.hash for row in rows}
    met: set[tuple[str, int]] = set()
    applied: list[tuple[str, Digits]] = []
    counts: dict[str, Any] = {"sha256": sha256([content]), "changed": 0, "left_out": 0}
    for spec, digits in sets:
        assert digits.labels is not None
        labels, kept = digits.labels.copy(), np.ones(len(digits), bool)
        for index, key in enumerate(zip(hashes_of(digits), digits.labels.tolist(), strict=True)):
            if key[0] in hashes:
                met.add(key)
            if (row := decided.get(key)) is not None:
                kept[index] = row.target is not None
                labels[index] = row.given if row.target is None else row.target
        counts["changed"] += int((labels != digits.labels).sum())
        counts["left_out"] += int((~kept).sum())
        applied.append((spec, replace(digits, labels=labels).take(np.flatnonzero(kept))))
    where = " + ".join(spec for spec, _ in sets)
    for row in (row for row in rows if row.key not in met):
        what = f"names an image that is not there, '{row.image}',"
        if row.hash in {each for each, _ in met}:
            what = f"says that image '{row.image}' is labelled {row.given}, and it is labelled otherwise"
        elif not met:
            what = f"was made for other data: none of its '{len(rows)}' images is"
        raise fault(path, f"{what} in '{where}'. {ADVICE}")
    if not any(len(digits) for _, digits in applied):
        raise fault(path, f"leaves out all '{counts['left_out']}' images. {ADVICE}")
    return applied, counts


def described(counts: dict[str, Any]) -> str:
    """Return what was applied, in words."""
    return f"labels changed: {counts['changed']:,}, images left out: {counts['left_out']:,}"
