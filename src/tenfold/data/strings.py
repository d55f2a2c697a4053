"""Pictures of rows of digits, and what they say: a folder with a table of both."""

import csv
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data.walk import quoted
from tenfold.errors import DataError
from tenfold.files import MOST_TEXT, read_bytes
from tenfold.imaging.decode import MAX_BYTES, decode

TABLE, FILE, TRUTH = "labels.csv", "file", "truth"
LONGEST = 40  # digits

Row = tuple[NDArray[np.uint8], str]


def load_strings(folder: Path) -> list[Row]:
    """Return the pictures, (H, W) or (H, W, 3) uint8, and digits that `labels.csv` in a folder names.

    Its columns `file` and `truth` count. Raises DataError for a table that cannot be read or lacks them, names a
    picture that is not in the folder, or holds what is no digit.
    """
    table = folder / TABLE
    try:
        reader = csv.DictReader(io.StringIO(read_bytes(table, MOST_TEXT).decode("utf-8-sig")))
        lines = [(reader.line_num, fields) for fields in reader]
    except OSError as error:
        raise DataError(
            f"{quoted(table)} cannot be read ({error.strerror}). "
            f"Give a folder of pictures with a {TABLE}, of the columns {FILE} and {TRUTH}."
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{quoted(table)} is no table: {error}. Write it as CSV in UTF-8.") from None
    if not lines or not {FILE, TRUTH} <= set(lines[0][1]):
        raise DataError(f"{quoted(table)} lacks the columns '{FILE}' and '{TRUTH}', or any row. Add them.")
    return [_row(folder, fields, number) for number, fields in lines]


def _row(folder: Path, fields: dict[str, str], number: int) -> Row:
    name, text = fields[FILE] or "", (fields[TRUTH] or "").strip()
    where = f"Line {number} of {quoted(folder / TABLE)}"
    if not text or len(text) > LONGEST or not (text.isascii() and text.isdigit()):
        raise DataError(f"{where} says {quoted(text)}. Give 1 to {LONGEST} digits alone.")
    path = folder / name
    if "\0" in name:
        raise DataError(f"{where} names {quoted(name)}, which no file is called. Mend it.")
    if not name or Path(name).is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{where} names {quoted(name)}, which lies outside the folder. Give a path within it.")
    try:
        content = read_bytes(path, MAX_BYTES)
    except OSError as error:
        raise DataError(f"{where} names {quoted(name)}, which cannot be read ({error.strerror}). Add it.") from None
    return decode(content, str(path)), text
