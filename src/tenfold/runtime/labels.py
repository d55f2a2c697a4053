"""Answers on their way into a file: rows are added beside it, and it appears whole at the end, or not at all.

    labels.csv.partial        the rows so far
    labels.csv.partial.json   how many of them count, and what they are answers to; replaced after every chunk

A process that is killed leaves these two, and the next one goes on behind the last whole chunk.
"""

import csv
import io
import json
import os
from pathlib import Path
from typing import IO, Any

import numpy as np

from tenfold.errors import TenfoldError
from tenfold.files import write_atomically
from tenfold.runtime.recogniser import UNKNOWN, Answers
from tenfold.runtime.streams import Chunk

# The arrays of the NPZ, and what the partial file holds for each image.
ROW = np.dtype([("digits", "<i8"), ("confidences", "<f4"), ("abstained", "?"), ("probabilities", "<f4", 10)])


class Labels:
    """The file of answers, `.csv` or `.npz`, while it is being written.

    rows: how many images have their answer; counts: answers of each digit; abstained, unreadable: how many.
    made_of: what decides the answers (images, model, threshold); partial answers to anything else are thrown away.
    """

    def __init__(self, out: Path, made_of: dict[str, Any], names: str) -> None:
        self.out, self.names = out, names
        self.made_of = made_of | {"row": ROW.itemsize}  # another Tenfold may keep other rows
        self.partial = out.with_name(f"{out.name}.partial")
        self.state = out.with_name(f"{out.name}.partial.json")
        self.rows = self.abstained = self.unreadable = 0
        self.counts = [0] * 10
        self._file: IO[bytes] | None = None

    def open(self) -> int:
        """Begin, or go on where an earlier process was stopped, and return how many rows are there already."""
        length = self._resume()
        try:
            self._file = self.partial.open("r+b" if self.rows else "wb")
            self._file.truncate(length)
            self._file.seek(length)
            if not self.rows and self._is_csv:
                self._file.write(f"{self.names},digit,confidence,abstained,reason\n".encode())
        except OSError as error:
            raise self._not_writable(error) from error
        return self.rows

    def add(self, chunk: Chunk, answers: Answers) -> None:
        """Add a chunk's answers, and make them last."""
        assert self._file is not None
        reasons = {row: f"unreadable: {why}" for row, why in chunk.unreadable.items()}
        for row in np.flatnonzero(answers.abstained).tolist():
            reasons.setdefault(row, str(answers.reason(row)))
        self.rows += len(chunk.names)
        self.unreadable += len(chunk.unreadable)
        self.abstained += int(answers.abstained.sum()) - len(chunk.unreadable)
        answered = answers.digits[~answers.abstained]
        self.counts = (np.array(self.counts) + np.bincount(answered, minlength=10)).tolist()
        content = _csv(chunk.names, answers, reasons) if self._is_csv else _records(answers)
        try:
            self._file.write(content)
            self._file.flush()
            os.fsync(self._file.fileno())
            totals = {"rows": self.rows, "abstained": self.abstained, "unreadable": self.unreadable}
            state = {"made_of": self.made_of, "bytes": self._file.tell(), "counts": self.counts, **totals}
            write_atomically(self.state, json.dumps(state).encode())
        except OSError as error:
            raise self._not_writable(error) from error

    def finish(self) -> None:
        """Put the file in its place, and take the partial ones away."""
        self.close()
        try:
            if self._is_csv:
                self.partial.replace(self.out)
            else:
                whole = self.out.with_name(f"{self.out.name}.whole")
                records = np.memmap(self.partial, ROW, mode="r", shape=(self.rows,))
                with whole.open("wb") as file:  # a column at a time goes from the one file to the other, piece by piece
                    np.savez_compressed(file, allow_pickle=False, **{name: records[name] for name in ROW.names or ()})
                    file.flush()
                    os.fsync(file.fileno())
                whole.replace(self.out)
                self.partial.unlink()
            self.state.unlink(missing_ok=True)
        except OSError as error:
            raise self._not_writable(error) from error

    def close(self) -> None:
        """Close the partial file; what is in it stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def _is_csv(self) -> bool:
        return self.out.suffix == ".csv"

    def _resume(self) -> int:
        """Take over what an earlier process counted, if it was at the same work; return how many bytes are good."""
        try:
            state = json.loads(self.state.read_bytes())
            if state["made_of"] != self.made_of or self.partial.stat().st_size < state["bytes"]:
                return 0
            self.rows, self.abstained, self.unreadable = state["rows"], state["abstained"], state["unreadable"]
            self.counts = state["counts"]
            return int(state["bytes"])
        except (OSError, ValueError, KeyError, TypeError):
            self.rows = 0
            return 0

    def _not_writable(self, error: OSError) -> TenfoldError:
        return TenfoldError(
            f"Cannot write '{self.out}' ({error.strerror}). Give --out a file in a folder that you may write to."
        )


def _csv(names: list[str], answers: Answers, reasons: dict[int, str]) -> bytes:
    """Return a line an image: name, digit (empty where there is no guess), confidence, abstained (1 or 0), reason."""
    text = io.StringIO()
    columns = zip(names, answers.digits.tolist(), answers.confidences.tolist(), answers.abstained.tolist(), strict=True)
    csv.writer(text, lineterminator="\n").writerows(
        (name, "" if digit == UNKNOWN else digit, f"{confidence:.6f}", int(abstained), reasons.get(row, ""))
        for row, (name, digit, confidence, abstained) in enumerate(columns)
    )
    return text.getvalue().encode("utf-8", errors="surrogateescape")  # names that are no UTF-8 keep their bytes


def _records(answers: Answers) -> bytes:
    records = np.empty(len(answers.digits), ROW)
    for name in ROW.names or ():
        records[name] = getattr(answers, name)
    return records.tobytes()
