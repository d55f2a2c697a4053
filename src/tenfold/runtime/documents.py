"""Files of pages -> the numbers on each, and the rows of the one file of all answers."""

import csv
import functools
import io
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tenfold.data.formats import PICTURE_ENDINGS
from tenfold.data.walk import Entry, walk
from tenfold.errors import DataError, MissingExtraError, TenfoldError, printable
from tenfold.imaging.pages import MAX_FILE, pages
from tenfold.runtime import annotated
from tenfold.runtime.reader import Reader
from tenfold.runtime.streams import Journal, PictureStream

log = logging.getLogger(__name__)

# What of a folder is read, or said to be unreadable.
ENDINGS = (*PICTURE_ENDINGS, ".pdf", ".heic", ".heif", ".zip")
HEAD = "file,page,row,number,text,confidence,abstained,reason,left,top,width,height\n"
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")  # what a spreadsheet would run a text for that begins so


class Document(NamedTuple):
    """A file to read: name in answers, path on the disk, member of the zip there, and copy: what annotated ones are."""

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
        wanted, base = [Entry(path.name, path)], ""
        if path.is_dir() or (path.is_file() and source.lower().endswith(".zip")):
            with walk(path, damaged=True) as inside:
                wanted = [entry for entry in inside if entry.name.lower().endswith(ENDINGS)]
            if not wanted:
                raise DataError(f"'{source}' holds no pictures and no PDF files. Give a folder with some.")
            if left_out := len(inside) - len(wanted):
                log.warning("'%s': left out %d files that are no pictures.", printable(source), left_out)
            base = f"{source.rstrip('/')}/"
        for entry in wanted:
            zipped = "" if entry.path == path else f"{entry.path.relative_to(path).as_posix()}/"
            member = "" if entry.info is None else entry.name.removeprefix(zipped)
            name = base + entry.name if base else source
            found.append(Document(name, str(entry.path.absolute()), member, entry.name))
        entries += wanted
    times = Counter(each.copy.casefold() for each in found)
    for number, each in enumerate(found):
        if times[each.copy.casefold()] > 1:
            found[number] = each._replace(copy=f"{number + 1}-{each.copy.replace('/', '-')}")
    return found, PictureStream(entries).fingerprint


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
    reader: Reader, document: Sequence[str], line: bool, rotate: str, copies: str | None, crops: bool
) -> dict[str, Any]:
    """Return {"pages": a dictionary each, "problem": why it or the rest of it could not be read, or None}.

    document: a `Document`. copies: the folder for annotated copies. crops: add pictures of the least sure numbers of
    a page. TenfoldError where a copy cannot be written.
    """
    name, path, member, copy = document
    found: list[dict[str, Any]] = []
    try:
        entry = _members(path, os.stat(path).st_mtime_ns)[0][member] if member else Entry(Path(path).name, Path(path))
        for number, pixels in pages(bytes(entry.read(MAX_FILE)), printable(name)):
            page = reader.read(pixels, line=line, rotate=rotate)
            numbers = [each.to_dict() for each in page.numbers]
            for each in [part for one in numbers for part in (one, *one["digits"])]:
                each["confidence"] = round(float(each["confidence"]), 6)
            for place, crop in annotated.crops(pixels, page) if crops else ():
                numbers[place]["crop"] = crop
            lies = {"rows": page.rows, "size": page.size, "turned": page.turned}
            found.append({"page": number, "numbers": numbers, **lies})
            if copies is not None:
                annotated.write(Path(copies) / f"{copy}.{number}.jpg", pixels, page)
    except (DataError, MissingExtraError, MemoryError) as error:
        return {"pages": found, "problem": str(error) or "There is too little memory for it."}
    return {"pages": found, "problem": None if found else "It has no pages."}


def listed(journal: Journal, documents: Sequence[Document], crops: bool = False) -> Iterator[dict[str, Any]]:
    """Yield a dictionary a page, in the order of the documents; for what could not be read one that says why."""
    for document, answers in zip(documents, journal, strict=True):
        file = printable(document.name)
        for page in answers["pages"]:
            for each in page["numbers"] if not crops else ():
                each.pop("crop", None)
            yield {"file": file, **page}
        if answers["problem"] is not None:
            yield {"file": file, "page": None, "numbers": [], "rows": [], "error": answers["problem"]}


def as_csv(pages: Iterable[dict[str, Any]]) -> bytes:
    """Return a row a number, or one that says why there is none."""
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows
    write(row for page in pages for row in _rows(page))
    return (HEAD + text.getvalue()).encode()


def as_json(pages: Iterable[dict[str, Any]]) -> bytes:
    """Return a list of the pages, a line each."""
    return ("[" + ",\n".join(map(json.dumps, pages)) + "]\n").encode()


def shown(page: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the numbers of a page of `listed`, or the one that says why there are none."""
    why = f"unreadable: {page['error']}" if "error" in page else "no number"
    return page["numbers"] or [{"text": "", "confidence": 0.0, "abstained": True, "reason": why, "box": [""] * 4}]


def _rows(page: dict[str, Any]) -> Iterator[list[Any]]:
    places: list[tuple[Any, Any]] = [
        (row, place) for row, count in enumerate(page["rows"], 1) for place in range(1, count + 1)
    ]
    for place, one in zip(places or [("", "")], shown(page), strict=True):
        said = one["text"], one["confidence"], int(one["abstained"]), _harmless(one["reason"] or "")
        yield [_harmless(page["file"]), page["page"] or "", *place, *said, *one["box"]]


def _harmless(text: str) -> str:
    """Return text as a spreadsheet takes it for text: with an apostrophe before what it would run as a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text
