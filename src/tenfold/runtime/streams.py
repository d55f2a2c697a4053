"""A million small images, a chunk at a time, and the journal of answers, resumed where a process was stopped.

The images are the pictures in a folder or zip, or whatever else is read as digits.
"""

import base64
import contextlib
import csv
import hashlib
import io
import json
import logging
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
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
from tenfold.files import SAFE, npz, write_atomically
from tenfold.imaging.decode import MAX_BYTES
from tenfold.runtime.frames import FRAME, decoded_frame, read_frame
from tenfold.runtime.recogniser import UNKNOWN, Answers

log = logging.getLogger(__name__)

# The arrays of the NPZ that is written, and what the journal holds for each image.
ROW = np.dtype([("digits", "<i8"), ("confidences", "<f4"), ("abstained", "?"), ("probabilities", "<f4", 10)])
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


def kept(chunk: Chunk, answers: Answers) -> dict[str, Any]:
    """Return what a journal keeps of a chunk: names, why rows have no answer, how many are unreadable, and the rows."""
    why: list[str | None] = [answers.reason(row) for row in range(len(chunk.names))]
    for row, fault in chunk.unreadable.items():
        why[row] = f"unreadable: {fault}"
    rows = np.rec.fromarrays([getattr(answers, name) for name in ROW.names or ()], ROW)
    content = base64.b64encode(rows.tobytes()).decode()
    return {"names": chunk.names, "why": why, "unreadable": len(chunk.unreadable), "rows": content}


def rows_of(part: dict[str, Any]) -> NDArray[Any]:
    """Return the rows, (N,) of `ROW`, of what `kept` gave."""
    return np.frombuffer(base64.b64decode(part["rows"]), ROW)


def as_npz(parts: Iterable[dict[str, Any]]) -> bytes:
    """Return all rows as an NPZ, an array a column."""
    records = np.concatenate([rows_of(part) for part in parts])
    return npz({name: records[name] for name in ROW.names or ()})


def as_csv(parts: Iterable[dict[str, Any]], names: str, probabilities: bool) -> bytes:
    """Return a line an image: name, digit (empty where there is no guess), confidence, abstained (1 or 0), reason."""
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerows
    more = [f"p{digit}" for digit in range(10)] if probabilities else []
    write([[names, "digit", "confidence", "abstained", "reason", *more]])
    for part in parts:
        rows = rows_of(part).tolist()
        write(
            (printable(name), "" if digit == UNKNOWN else digit, f"{sure:.6f}", int(abstained), why or "",
             *(f"{each:.6f}" for each in ten if probabilities))
            for name, why, (digit, sure, abstained, ten) in zip(part["names"], part["why"], rows, strict=True)
        )  # fmt: skip
    return text.getvalue().encode()


class Journal:
    """What was read, part by part, a line of JSON each in the order in which they ended, until `finish`.

    out: the file to write, beside which the lines stand in `OUT.partial`; None: in memory. made_of: what decides the
    answers; what is there of anything else is thrown away. fault: what is said where it cannot be written. read: the
    parts that were read already. One process at a time: see `files.claimed`.
    """

    def __init__(self, out: Path | None, made_of: dict[str, Any], fault: str = "'{}' cannot be written: {}.") -> None:
        self.out, self.fault = out, fault
        self.read: dict[int, int] = {}  # by number, from 0: where its line begins
        self.partial = None if out is None else out.with_name(f"{out.name}.partial")
        head = json.dumps(made_of).encode() + b"\n"
        self._file: IO[bytes] = io.BytesIO()
        try:
            if self.partial is not None:
                self._file = os.fdopen(os.open(self.partial, os.O_RDWR | os.O_CREAT | SAFE, 0o666), "r+b")
            place = len(head) if self._file.readline() == head else 0
            for line in self._file if place else ():
                try:
                    number = int(json.loads(line)["number"])
                except (ValueError, KeyError, TypeError):
                    break  # where the process was killed, or the machine went down
                if not line.endswith(b"\n"):
                    break
                self.read[number], place = place, place + len(line)
            self._file.seek(place)
            self._file.truncate()
            self._file.write(b"" if place else head)
        except OSError as error:
            raise self._not_writable(error) from error

    def add(self, number: int, answers: dict[str, Any]) -> None:
        """Add what was read of the part of this number, from 0, and make it last."""
        try:
            place = self._file.seek(0, os.SEEK_END)
            self._file.write(json.dumps({"number": number, **answers}).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise self._not_writable(error) from error
        self.read[number] = place

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield what was read of each part, in their order."""
        for number in sorted(self.read):
            self._file.seek(self.read[number])
            yield json.loads(self._file.readline())

    def finish(self, content: bytes) -> None:
        """Write the file, whole, and take the partial one away."""
        assert self.out is not None and self.partial is not None
        try:
            write_atomically(self.out, content)
            self.close()
            self.partial.unlink()
        except OSError as error:
            raise self._not_writable(error) from error

    def close(self) -> None:
        """Close the partial file; what is in it stays."""
        with contextlib.suppress(OSError):  # of a full disk: a line that is not whole is not resumed behind
            self._file.close()

    def _not_writable(self, error: OSError) -> TenfoldError:
        advice = remedy(error, "Give --out a file in a folder that you may write to.")
        return TenfoldError(f"{self.fault.format(self.out, error.strerror or error)} {advice}")
