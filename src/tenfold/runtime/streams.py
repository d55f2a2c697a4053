"""A million small images, a chunk at a time, and the file of their answers, resumed where a process was stopped.

The images are the pictures in a folder or zip, or whatever else is read as digits.
"""

import csv
import hashlib
import io
import json
import logging
import os
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data import load, say
from tenfold.data.digits import Digits
from tenfold.data.formats import PICTURE_ENDINGS
from tenfold.data.meaning import FEW, SAMPLE, Meaning, upright
from tenfold.data.walk import Entry, walk
from tenfold.errors import DataError, TenfoldError, printable, remedy
from tenfold.files import npz, write_atomically
from tenfold.imaging.decode import MAX_BYTES
from tenfold.runtime.frames import FRAME, decoded_frame, read_frame
from tenfold.runtime.recogniser import UNKNOWN, Answers

log = logging.getLogger(__name__)

# The arrays of the NPZ that is written, and what the partial file holds for each image.
ROW = np.dtype([("digits", "<i8"), ("confidences", "<f4"), ("abstained", "?"), ("probabilities", "<f4", 10)])
TOTALS = ("rows", "abstained", "unreadable", "counts")  # what `Labels` counts
ROWS = 4096  # images a chunk: 3 MB of frames. The same after an interruption, so that the answers are too
TEXT_ENDS = (".md", ".txt", ".csv", ".json", ".html", ".xml", ".rst")  # lists and notes beside pictures
DATA_ENDS = (".csv", ".npz", ".npy", ".zip", ".gz", "-ubyte")


@dataclass(eq=False)
class Chunk:
    """Images in the frame, (n, 28, 28) uint8, their names, and why a row could not be read (its frame is blank)."""

    names: list[str]
    frames: NDArray[np.uint8]
    unreadable: dict[int, str] = field(default_factory=dict)


class PictureStream:
    """Pictures in files, in the order given.

    path: the folder or zip that they are of one origin from; without it each is read as it lies. opened: what has to
    stay open for that. count: how many images; names: what a name is; fingerprint: other where the images are others.
    """

    names = "file"

    def __init__(self, entries: Sequence[Entry], path: Path | None = None, opened: object = None) -> None:
        self.entries, self.path, self.opened, self.count = entries, path, opened, len(entries)
        digest = hashlib.sha256()
        for entry in entries:
            digest.update(os.fsencode(f"{entry.name}\0{_state(entry)}\0"))
        self.fingerprint = digest.hexdigest()

    def chunks(self, start: int, threads: int) -> Iterator[Chunk]:
        """Yield chunks of `ROWS` from image number `start` (a multiple of it) on; names are paths below the folder."""
        with ThreadPoolExecutor(threads, thread_name_prefix="tenfold-read") as pool:
            position = self._position(pool)
            for first in range(start, self.count, ROWS):
                some = self.entries[first : first + ROWS]
                read = list(pool.map(_frame, some))
                faults = {row: str(each) for row, each in enumerate(read) if isinstance(each, DataError)}
                frames = [np.zeros(FRAME, np.uint8) if isinstance(each, DataError) else each for each in read]
                yield Chunk([entry.name for entry in some], upright(np.stack(frames), position), faults)

    def _position(self, pool: ThreadPoolExecutor) -> int:
        """Return how the pictures lie, by some from everywhere: those of one folder are of one origin."""
        if self.path is None:
            return 0
        some = self.entries[:: max(1, self.count // SAMPLE)]
        frames = [read for read in pool.map(_frame, some) if not isinstance(read, DataError)]
        meaning = Meaning.of(np.stack(frames), "") if len(frames) >= FEW else Meaning()
        for note in meaning.notes:
            say(str(self.path), note)
        return meaning.position


class DigitsStream:
    """Digits that are in memory, whatever they were read from. Attributes as PictureStream's."""

    names = "index"

    def __init__(self, digits: Digits) -> None:
        self.images, self.count, self.fingerprint = digits.images, len(digits), digits.content_hash()

    def chunks(self, start: int, threads: int) -> Iterator[Chunk]:
        """Yield chunks as PictureStream does; names are the images' indices."""
        for first in range(start, self.count, ROWS):
            frames = self.images[first : first + ROWS]
            yield Chunk([str(index) for index in range(first, first + len(frames))], frames)


ImageStream = PictureStream | DigitsStream


def open_pictures(names: Sequence[str]) -> PictureStream:
    """Return the pictures of these files; one that cannot be read is among the unreadable."""
    return PictureStream([Entry(name, Path(name)) for name in names])


def open_stream(spec: str | Path) -> ImageStream:
    """Return the images of a folder, of a file of pictures or data, or of a name. DataError where there are none.

    Of a folder or zip with pictures these are all its files but text, sorted by name, folder by folder.
    """
    path = Path(spec)
    if path.is_file() and path.name.lower().endswith(PICTURE_ENDINGS):
        return open_pictures([str(path)])
    if path.is_dir() or (path.is_file() and zipfile.is_zipfile(path)):
        opened = walk(path, damaged=True)  # which is a row then, and ends no reading
        entries = opened.__enter__()  # until nobody has `opened` any more
        images = [entry for entry in entries if not _ends(entry, TEXT_ENDS)]
        pictured = any(_ends(entry, PICTURE_ENDINGS) for entry in images)
        data = any(_ends(entry, DATA_ENDS) for entry in entries)
        if not images and not data:
            raise DataError(f"'{path}' holds no pictures. Give a folder with some.")
        if pictured or (path.is_dir() and not data):
            if left_out := len(entries) - len(images):
                log.warning("'%s': left out %d files that are text.", printable(str(spec)), left_out)
            return PictureStream(images, path, opened)
    return DigitsStream(load(str(spec), "submit"))


def _ends(entry: Entry, endings: tuple[str, ...]) -> bool:
    return entry.name.lower().endswith(endings)


def _state(entry: Entry) -> str:
    """Return what is another where a file was written or replaced since, also by one of its size and time."""
    if entry.info is not None:
        return f"{entry.info.CRC} {entry.info.file_size}"
    try:
        found = entry.path.stat()
    except (OSError, ValueError):
        return ""  # a link that leads nowhere: it is among the unreadable
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"


def _frame(entry: Entry) -> NDArray[np.uint8] | DataError:
    try:
        if entry.info is None:
            return read_frame(entry.path, entry.name)
        return decoded_frame(bytes(entry.read(MAX_BYTES)), entry.name)
    except DataError as error:
        return error


class Labels:
    """The file of answers, `.csv` or `.npz`, while it is being written.

    rows: how many images have their answer; counts: answers of each digit; abstained, unreadable: how many.
    made_of: what decides the answers (images, model, threshold); partial answers to anything else are thrown away.
    probabilities: write those of the ten digits into a CSV too. One process at a time: see `files.claimed`.
    """

    def __init__(self, out: Path, made_of: dict[str, Any], names: str, probabilities: bool = False) -> None:
        self.out, self.names, self.probabilities = out, names, probabilities
        # Another Tenfold may keep other rows.
        self.made_of = made_of | {"row": ROW.itemsize, "probabilities": probabilities}
        self.partial = out.with_name(f"{out.name}.partial")
        self.state = out.with_name(f"{out.name}.partial.json")
        self.rows = self.abstained = self.unreadable = 0
        self.counts = [0] * 10
        self._file: IO[bytes] | None = None

    def open(self) -> int:
        """Begin, or resume where an earlier process was stopped, and return how many rows are there already."""
        length = self._resume()
        try:
            self._file = self.partial.open("r+b" if self.rows else "wb")
            self._file.truncate(length)
            self._file.seek(length)
            if not self.rows and self._is_csv:
                more = "".join(f",p{digit}" for digit in range(10)) if self.probabilities else ""
                self._file.write(f"{self.names},digit,confidence,abstained,reason{more}\n".encode())
        except OSError as error:
            raise self._not_writable(error) from error
        return self.rows

    def add(self, chunk: Chunk, answers: Answers) -> None:
        """Add a chunk's answers, and make them last."""
        assert self._file is not None
        self.rows += len(chunk.names)
        self.unreadable += len(chunk.unreadable)
        self.abstained += int(answers.abstained.sum()) - len(chunk.unreadable)
        answered = answers.digits[~answers.abstained]
        self.counts = (np.array(self.counts) + np.bincount(answered, minlength=10)).tolist()
        if self._is_csv:
            content = _csv(chunk, answers, self.probabilities)
        else:
            content = np.rec.fromarrays([getattr(answers, name) for name in ROW.names or ()], ROW).tobytes()
        try:
            self._file.write(content)
            self._file.flush()
            os.fsync(self._file.fileno())
            state = {"made_of": self.made_of, "bytes": self._file.tell(), **{key: getattr(self, key) for key in TOTALS}}
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
                records = np.fromfile(self.partial, ROW)
                write_atomically(self.out, npz({name: records[name] for name in ROW.names or ()}))
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
            totals = {key: state[key] for key in TOTALS}
            length = int(state["bytes"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        vars(self).update(totals)
        return length

    def _not_writable(self, error: OSError) -> TenfoldError:
        advice = remedy(error, "Give --out a file in a folder that you may write to.")
        return TenfoldError(f"Cannot write '{self.out}' ({error.strerror}). {advice}")


def reasons(chunk: Chunk, answers: Answers) -> dict[int, str]:
    """Return why rows have no answer, by row."""
    found = {row: str(answers.reason(row)) for row in np.flatnonzero(answers.abstained).tolist()}
    return found | {row: f"unreadable: {why}" for row, why in chunk.unreadable.items()}


def _csv(chunk: Chunk, answers: Answers, probabilities: bool) -> bytes:
    """Return a line an image: name, digit (empty where there is no guess), confidence, abstained (1 or 0), reason."""
    text, why = io.StringIO(), reasons(chunk, answers)
    columns = answers.digits.tolist(), answers.confidences.tolist(), answers.abstained.tolist()
    more = [[f"{each:.6f}" for each in row] if probabilities else [] for row in answers.probabilities.tolist()]
    csv.writer(text, lineterminator="\n").writerows(
        (printable(name), "" if digit == UNKNOWN else digit, f"{sure:.6f}", int(abstained), why.get(row, ""), *ten)
        for row, (name, digit, sure, abstained, ten) in enumerate(zip(chunk.names, *columns, more, strict=True))
    )
    return text.getvalue().encode()
