"""Files of pages -> the numbers on each, and the one file of all answers, resumed where a process was stopped."""

import csv
import functools
import io
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tenfold.data.formats import PICTURE_ENDINGS
from tenfold.data.walk import Entry, walk
from tenfold.errors import DataError, MissingExtraError, TenfoldError, printable, unwritten
from tenfold.files import SAFE, write_atomically
from tenfold.imaging.pages import MAX_FILE, pages
from tenfold.runtime import annotated
from tenfold.runtime.reader import Reader
from tenfold.runtime.streams import PictureStream

log = logging.getLogger(__name__)

# What of a folder is read, or said to be unreadable.
ENDINGS = (*PICTURE_ENDINGS, ".pdf", ".heic", ".heif", ".zip")
HEAD = "file,page,row,number,text,confidence,abstained,reason,left,top,width,height\n"
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")  # what a spreadsheet would run a text for that begins so


@dataclass(frozen=True)
class Document:
    """A file to read. name: what answers call it. path: on the disk, of the zip where it is its `member`.

    copy: the path of its annotated copy below their folder, without an ending.
    """

    name: str
    path: str
    member: str
    copy: str


def find(sources: Sequence[str]) -> tuple[list[Document], str]:
    """Return the files at paths, of folders and zips the pictures and PDFs, and a fingerprint: other for other files.

    DataError for a folder that cannot be looked into, or holds none.
    """
    found, entries = [], []
    for source in sources:
        path = Path(source)
        if path.is_dir() or (path.is_file() and source.lower().endswith(".zip")):
            with walk(path, damaged=True) as inside:
                wanted = [entry for entry in inside if entry.name.lower().endswith(ENDINGS)]
            if not wanted:
                raise DataError(f"'{source}' holds no pictures and no PDF files. Give a folder with some.")
            if left_out := len(inside) - len(wanted):
                log.warning("'%s': left out %d files that are no pictures.", printable(source), left_out)
            base = source.rstrip("/\\") or source
        else:
            wanted, base = [Entry(path.name, path)], str(path.parent)
        for entry in wanted:
            above = 0 if entry.path == path else len(entry.path.relative_to(path).as_posix()) + 1
            member = "" if entry.info is None else entry.name[above:]
            name = source if entry.path == path and not member else f"{base}/{entry.name}"
            found.append((name, str(entry.path.absolute()), member, entry.name))
        entries += wanted
    copies = Counter(copy.casefold() for *_, copy in found)
    documents = [
        Document(name, path, member, copy if copies[copy.casefold()] == 1 else f"{number}-{copy.replace('/', '-')}")
        for number, (name, path, member, copy) in enumerate(found, 1)
    ]
    return documents, PictureStream(entries).fingerprint


@functools.lru_cache(maxsize=1)
def _members(path: str, changed: int) -> tuple[dict[str, Entry], object]:
    """Return a zip's entries by name, and what keeps it open."""
    opened = walk(Path(path))
    return {entry.name: entry for entry in opened.__enter__()}, opened


@functools.lru_cache(maxsize=1)
def _reader(settings: str) -> Reader:
    return Reader.load(**json.loads(settings))


def task(settings: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    """Return what `read` does, in a worker, whose reader is loaded once; {"fatal": why} where nothing can go on."""
    try:
        return read(_reader(json.dumps(settings)), **arguments)
    except TenfoldError as error:
        return {"fatal": str(error)}


def read(
    reader: Reader, document: dict[str, str], line: bool, rotate: str, copies: str | None, crops: bool
) -> dict[str, Any]:
    """Return {"pages": a dictionary each, "problem": why it or the rest of it could not be read, or None}.

    document: the fields of a `Document`. copies: the folder for annotated copies. crops: of the least sure numbers of
    a page give the pictures too. TenfoldError where a copy cannot be written.
    """
    name, path, member = document["name"], document["path"], document["member"]
    found: list[dict[str, Any]] = []
    try:
        entry = _members(path, os.stat(path).st_mtime_ns)[0][member] if member else Entry(Path(path).name, Path(path))
        for number, pixels in pages(bytes(entry.read(MAX_FILE)), printable(name)):
            page = reader.read(pixels, line=line, rotate=rotate)
            numbers = [each.to_dict() for each in page.numbers]
            for each in [part for one in numbers for part in (one, *one["digits"])]:
                each["confidence"] = round(float(each["confidence"]), 6)
            if crops:
                for each, crop in annotated.crops(pixels, page):
                    numbers[each]["crop"] = crop
            found.append(
                {"page": number, "numbers": numbers, "rows": page.rows, "size": page.size, "turned": page.turned}
            )
            if copies is not None:
                annotated.write(Path(copies) / f"{document['copy']}.{number}.jpg", pixels, page)
    except (DataError, MissingExtraError, MemoryError) as error:
        return {"pages": found, "problem": str(error) or "There is too little memory for it."}
    return {"pages": found, "problem": None if found else "It has no pages."}


class Journal:
    """What was read of each document, a line of JSON each in the order in which they ended, until `finish`.

    out: the `.csv` or `.json` file, beside which the lines stand in `OUT.partial`; None: in memory. made_of: what
    decides the answers; what is there of anything else is thrown away. read: the documents that were read already.
    """

    def __init__(self, out: Path | None, made_of: dict[str, Any], documents: Sequence[Document]) -> None:
        self.out, self.documents = out, documents
        self.read: dict[int, int] = {}  # by number, from 0: where its line begins
        self.partial = None if out is None else out.with_name(f"{out.name}.partial")
        head = json.dumps(made_of).encode() + b"\n"
        self._file: IO[bytes] = io.BytesIO()
        try:
            if self.partial is not None:
                self._file = os.fdopen(os.open(self.partial, os.O_RDWR | os.O_CREAT | SAFE, 0o666), "r+b")
            if self._file.readline() != head:
                self._file.seek(0)
                self._file.truncate()
                self._file.write(head)
            self._resume()
        except OSError as error:
            raise self._not_writable(error) from error

    def _resume(self) -> None:
        """Take over the lines that are whole."""
        place = self._file.tell()
        for line in self._file:
            try:
                number = json.loads(line)["document"]
            except (ValueError, KeyError, TypeError):
                break  # where the process was killed, or the machine went down
            if not line.endswith(b"\n"):
                break
            self.read[int(number)] = place
            place += len(line)
        self._file.seek(place)
        self._file.truncate()

    def add(self, number: int, answers: dict[str, Any]) -> None:
        """Add what was read of the document of this number, from 0, and make it last."""
        try:
            place = self._file.seek(0, os.SEEK_END)
            self._file.write(json.dumps({"document": number, **answers}).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise self._not_writable(error) from error
        self.read[number] = place

    def answers(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each document's name and what `read` gave, in the order of the documents."""
        for number, document in enumerate(self.documents):
            self._file.seek(self.read[number])
            yield printable(document.name), json.loads(self._file.readline())

    def listed(self) -> Iterator[dict[str, Any]]:
        """Yield a dictionary a page, with the file it is of; for what could not be read one that says why."""
        for name, answers in self.answers():
            for page in answers["pages"]:
                for number in page["numbers"]:
                    number.pop("crop", None)
                yield {"file": name, **page}
            if answers["problem"] is not None:
                yield {"file": name, "page": None, "numbers": [], "error": answers["problem"]}

    def finish(self) -> None:
        """Write the file, whole, and take the partial one away."""
        if self.out is None or self.partial is None:
            return
        try:
            if self.out.suffix == ".csv":
                text = io.StringIO(HEAD)
                text.seek(0, os.SEEK_END)
                rows = (row for name, answers in self.answers() for row in _rows(name, answers))
                csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
                content = text.getvalue()
            else:
                content = "[" + ",\n".join(map(json.dumps, self.listed())) + "]\n"
            write_atomically(self.out, content.encode())
            self.close()
            self.partial.unlink()
        except OSError as error:
            raise self._not_writable(error) from error

    def close(self) -> None:
        """Close the partial file; what is in it stays."""
        self._file.close()

    def _not_writable(self, error: OSError) -> TenfoldError:
        assert self.out is not None
        return TenfoldError(unwritten(self.out, error, "Give --out a file in a folder that you may write to."))


def _rows(name: str, answers: dict[str, Any]) -> Iterator[list[Any]]:
    """Yield a row a number, and one where a page has none, or could not be read."""
    file, nowhere = _harmless(name), [""] * 4
    for page in answers["pages"]:
        places = [(row, n) for row, count in enumerate(page["rows"], 1) for n in range(1, count + 1)]
        for place, one in zip(places, page["numbers"], strict=True):
            said = one["text"], one["confidence"], int(one["abstained"]), _harmless(one["reason"] or "")
            yield [file, page["page"], *place, *said, *one["box"]]
        if not page["numbers"]:
            yield [file, page["page"], "", "", "", 0.0, 1, "no number", *nowhere]
    if answers["problem"] is not None:
        yield [file, "", "", "", "", 0.0, 1, _harmless(f"unreadable: {answers['problem']}"), *nowhere]


def _harmless(text: str) -> str:
    """Return text as a spreadsheet takes it for text: with an apostrophe before what it would run as a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text
