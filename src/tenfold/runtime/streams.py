"""A million small images, a chunk at a time, and the file of their answers, resumed where a process was stopped.

The images are those of a folder of pictures, of the array in an NPZ file, or of whatever else is read as digits.
"""

import csv
import hashlib
import io
import itertools
import json
import logging
import math
import os
import secrets
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data import load, say
from tenfold.data.archive import is_clutter, open_zip, safe_members, unreadable
from tenfold.data.arrays import KEYS, MAX_HEADER_BYTES, read_header
from tenfold.data.digits import Digits
from tenfold.data.formats import PICTURE_ENDINGS
from tenfold.data.meaning import FEW, MAX_SIDE, SAMPLE, Meaning, upright
from tenfold.data.walk import walk
from tenfold.errors import DataError, TenfoldError, printable, remedy
from tenfold.files import write_atomically
from tenfold.imaging.decode import MAX_BYTES
from tenfold.runtime.frames import FRAME, decoded_frame, read_frame
from tenfold.runtime.recogniser import UNKNOWN, Answers

log = logging.getLogger(__name__)

# The arrays of the NPZ that is written, and what the partial file holds for each image.
ROW = np.dtype([("digits", "<i8"), ("confidences", "<f4"), ("abstained", "?"), ("probabilities", "<f4", 10)])
TOTALS = ("rows", "abstained", "unreadable", "counts")  # what `Labels` counts
ROWS = 4096  # images a chunk: 3 MB of frames. The same after an interruption, so that the answers are too
PIXELS = FRAME[0] * FRAME[1]
MAX_SAMPLE_BYTES = 1 << 26  # of the images that all are judged by
TEXT_ENDS = (".md", ".txt", ".csv", ".json", ".html", ".xml", ".rst")  # lists and notes beside pictures
DATA_ENDS = (".csv", ".npz", ".npy", ".zip", ".gz", "-ubyte")


@dataclass(eq=False)
class Chunk:
    """Images in the frame, (n, 28, 28) uint8, their names, and why a row could not be read (its frame is blank)."""

    names: list[str]
    frames: NDArray[np.uint8]
    unreadable: dict[int, str] = field(default_factory=dict)


class FolderStream:
    """Every file below a folder but text and what file managers leave behind, sorted by name, folder by folder.

    pictures: or these files alone, in their order. count: how many images; names: what a name is; fingerprint: other
    where the images are others. left_out: how many files of text. pictured: whether one is a picture by its name; data:
    none is, but some are data.
    """

    names = "file"

    def __init__(self, path: Path, pictures: Sequence[str] | None = None) -> None:
        self.path, self.pictures = path, pictures
        self.count, self.left_out, self.data, self.pictured = 0, 0, False, False
        digest = hashlib.sha256()
        for name, state in self._entries():
            ends = name.lower().endswith
            self.data |= ends(DATA_ENDS)
            self.pictured |= ends(PICTURE_ENDINGS)
            if pictures is None and ends(TEXT_ENDS):
                self.left_out += 1
                continue
            digest.update(os.fsencode(f"{name}\0{state}\0"))
            self.count += 1
        self.data &= not self.pictured
        if not self.count and not self.data:
            raise DataError(f"'{path}' holds no pictures. Give a folder with some.")
        self.fingerprint = digest.hexdigest()

    def _entries(self) -> Iterator[tuple[str, str]]:
        if self.pictures is None:
            return _files(self.path, "")
        return ((name, _state(Path(name).stat)) for name in self.pictures)

    def _names(self) -> Iterator[str]:
        text = TEXT_ENDS if self.pictures is None else ()
        return (name for name, _ in self._entries() if not name.lower().endswith(text))

    def chunks(self, start: int, threads: int) -> Iterator[Chunk]:
        """Yield chunks of `ROWS` from image number `start` (a multiple of it) on; names are paths below the folder."""
        names = itertools.islice(self._names(), start, None)
        with ThreadPoolExecutor(threads, thread_name_prefix="tenfold-read") as pool:
            position = self._position(pool) if self.pictures is None else 0
            while some := list(itertools.islice(names, ROWS)):
                read = list(pool.map(self._read, some))
                faults = {row: str(each) for row, each in enumerate(read) if isinstance(each, DataError)}
                frames = [np.zeros(FRAME, np.uint8) if isinstance(each, DataError) else each for each in read]
                yield Chunk(some, upright(np.stack(frames), position), faults)

    def _position(self, pool: ThreadPoolExecutor) -> int:
        """Return how the pictures lie, by some from everywhere: those of one folder are of one origin."""
        some = itertools.islice(self._names(), 0, None, max(1, self.count // SAMPLE))
        frames = [read for read in pool.map(self._read, some) if not isinstance(read, DataError)]
        meaning = Meaning.of(np.stack(frames), "") if len(frames) >= FEW else Meaning()
        for note in meaning.notes:
            say(str(self.path), note)
        return meaning.position

    def _read(self, name: str) -> NDArray[np.uint8] | DataError:
        try:
            return self._frame(name)
        except DataError as error:
            return error

    def _frame(self, name: str) -> NDArray[np.uint8]:
        return read_frame(self.path / name, name)


class ZipStream(FolderStream):
    """Pictures in a zip, as they were in a folder."""

    def __init__(self, path: Path) -> None:
        self._opened = walk(path)  # as long as this stream is there
        self._found = {entry.name: entry for entry in self._opened.__enter__()}
        super().__init__(path)

    def _entries(self) -> Iterator[tuple[str, str]]:
        for name, entry in self._found.items():
            yield name, f"{entry.info.CRC} {entry.info.file_size}" if entry.info else ""

    def _frame(self, name: str) -> NDArray[np.uint8]:
        return decoded_frame(bytes(self._found[name].read(MAX_BYTES)), name)


class ArchiveStream:
    """The array `X` or `images` of an NPZ file: (N, 28, 28), (N, 784) or (N, H, W) uint8, judged as one set.

    Attributes as FolderStream's.
    """

    names = "index"

    def __init__(self, path: Path, member: str, shape: tuple[int, ...], offset: int, info: zipfile.ZipInfo) -> None:
        self.path, self.member, self.offset = path, member, offset
        self.count, self.size = shape[0], math.prod(shape[1:])
        self.side = FRAME if self.size == PIXELS else shape[1:]  # of an image
        self.step = max(1, min(ROWS, (1 << 22) // self.size))  # images at a time: 4 MB, whatever size they have
        content = f"{member} {shape} {info.CRC} {info.file_size}"
        self.fingerprint = hashlib.sha256(content.encode()).hexdigest()

    @classmethod
    def open(cls, path: Path) -> "ArchiveStream | None":
        """Return the stream of a zip that is an NPZ with such an array, None of any other."""
        with open_zip(path) as archive:
            members = safe_members(archive, path.name)
            found = [[f"{key}.npy" for key in keys] for keys in KEYS if f"{keys[0]}.npy" in members]
            if not found or not all(member.endswith(".npy") for member in members):
                return None
            heads = []
            for member in filter(members.__contains__, found[0]):
                with archive.open(members[member]) as file:
                    heads.append(read_header(file.read(12 + MAX_HEADER_BYTES), f"{path.name}/{member}"))
        (shape, fortran_order, dtype, offset), *labels = heads
        plain = dtype == np.uint8 and not fortran_order and (len(shape) == 3 or shape[1:] == (PIXELS,))
        sides = 1 not in shape[1:] and 1 <= min(shape) <= max(shape[1:]) <= MAX_SIDE
        if not (plain and sides) or any(len(its) > 1 for its, *_ in labels):  # one-hot: `load` says so
            return None
        return cls(path, found[0][0], shape, offset, members[found[0][0]])

    def chunks(self, start: int, threads: int) -> Iterator[Chunk]:
        """Yield chunks as FolderStream does, read from the zip as they are needed; names are the images' indices."""
        meaning, blocks = self._judged(), self._blocks(start)
        with ThreadPoolExecutor(threads, thread_name_prefix="tenfold-read") as pool:
            for first in range(start, self.count, ROWS):
                parts: list[NDArray[np.uint8]] = []
                numbers = range(first, min(first + ROWS, self.count))
                while sum(map(len, parts)) < len(numbers):
                    parts += pool.map(meaning.frames, filter(len, np.array_split(next(blocks), threads)))
                yield Chunk([str(number) for number in numbers], np.concatenate(parts))

    def _judged(self) -> Meaning:
        """Return what the images mean, by some from everywhere and by those with the lowest and the highest value."""
        chosen = np.linspace(0, self.count - 1, min(SAMPLE, max(1, MAX_SAMPLE_BYTES // self.size))).astype(np.int64)
        first, sample, extremes = 0, [], (255, 0)
        for block in self._blocks(0):
            extremes = min(int(block.min()), extremes[0]), max(int(block.max()), extremes[1])
            sample.append(block[np.unique(chosen[(chosen >= first) & (chosen < first + len(block))]) - first])
            first += len(block)
        meaning = Meaning.of(np.concatenate(sample), f"'{self.path.name}'", extremes=extremes)
        for note in meaning.notes:
            say(str(self.path), note)
        return meaning

    def _blocks(self, start: int) -> Iterator[NDArray[np.uint8]]:
        """Yield the images from number `start` on, at most `step` at once, and none across a multiple of `ROWS`."""
        with open_zip(self.path) as archive, archive.open(self.member) as file:
            skipped = self.offset + start * self.size
            while skipped:
                skipped -= len(self._read(file, min(skipped, 1 << 20)))
            for first in range(start, self.count, ROWS):
                last = min(first + ROWS, self.count)
                for number in range(first, last, self.step):
                    n = min(self.step, last - number)
                    yield np.frombuffer(self._read(file, n * self.size), np.uint8).reshape(n, *self.side)

    def _read(self, file: IO[bytes], count: int) -> bytes:
        content = file.read(count)
        if len(content) != count:
            raise DataError(f"'{self.path.name}/{self.member}' breaks off: it has fewer images than '{self.count}'.")
        return content


class DigitsStream:
    """Digits that are in memory, whatever they were read from. Attributes as FolderStream's."""

    names = "index"

    def __init__(self, digits: Digits) -> None:
        self.images, self.count, self.fingerprint = digits.images, len(digits), digits.content_hash()

    def chunks(self, start: int, threads: int) -> Iterator[Chunk]:
        """Yield chunks as FolderStream does; names are the images' indices."""
        for first in range(start, self.count, ROWS):
            frames = self.images[first : first + ROWS]
            yield Chunk([str(index) for index in range(first, first + len(frames))], frames)


ImageStream = FolderStream | ArchiveStream | DigitsStream


def open_stream(spec: str | Path) -> ImageStream:
    """Return the images of a folder, of a file of pictures or data, or of a name. DataError where there are none."""
    path = Path(spec)
    found: FolderStream | None = None
    if path.is_dir():
        found = FolderStream(path)
    elif path.is_file() and path.name.lower().endswith(PICTURE_ENDINGS):
        return FolderStream(Path(), [str(path)])
    elif path.is_file() and zipfile.is_zipfile(path):
        if (archive := ArchiveStream.open(path)) is not None:
            return archive
        found = ZipStream(path)
    if found is None or found.data or not (found.pictured or path.is_dir()):
        return DigitsStream(load(str(spec), "submit"))
    if found.left_out:
        log.warning("'%s': left out %d files that are text.", printable(str(spec)), found.left_out)
    return found


def _files(folder: Path, below: str) -> Iterator[tuple[str, str]]:
    """Yield (path below the first folder, state) of every file, in the order of the names in each folder."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(
                (entry.name, entry.is_dir(follow_symlinks=False), _state(entry.stat))
                for entry in entries
                if not is_clutter(Path(entry.name))
            )
    except OSError as error:
        raise unreadable(folder, error) from error
    for name, is_folder, state in found:
        if is_folder:
            yield from _files(folder / name, f"{below}{name}/")
        else:
            yield f"{below}{name}", state


def _state(stat: Callable[[], os.stat_result]) -> str:
    """Return what is another where a file was written or replaced since, also by one of its size and time."""
    try:
        found = stat()
    except (OSError, ValueError):
        return ""  # a link that leads nowhere: it is among the unreadable
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"


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
        whole = self.out.with_name(f".{secrets.token_hex(8)}.part")  # as in `files.write_atomically`
        try:
            if self._is_csv:
                self.partial.replace(self.out)
            else:
                records = np.memmap(self.partial, ROW, mode="r", shape=(self.rows,))
                with whole.open("xb") as file:  # a column at a time goes from the one file to the other, piece by piece
                    np.savez_compressed(file, allow_pickle=False, **{name: records[name] for name in ROW.names or ()})
                    file.flush()
                    os.fsync(file.fileno())
                whole.replace(self.out)
                self.partial.unlink()
            self.state.unlink(missing_ok=True)
        except OSError as error:
            whole.unlink(missing_ok=True)
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
