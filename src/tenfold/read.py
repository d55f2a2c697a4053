"""Pictures -> the numbers on them, or a digit each: in lines, or in a file for any number, resumed where it stopped."""

import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from tenfold import options
from tenfold.console import PlainConsole
from tenfold.errors import TenfoldError, UsageError, printable, unwritten
from tenfold.files import claimed
from tenfold.jobs import Place, Task, check_place, run_tasks
from tenfold.progress import Work
from tenfold.runs.systems import System, open_system
from tenfold.settings import threads as all_threads

if TYPE_CHECKING:
    from tenfold.runtime.documents import Document
    from tenfold.runtime.reader import Reader
    from tenfold.runtime.streams import ImageStream, Journal

FEW = 8  # files that this process reads alone: others would take as long to begin
Options = dict[str, Any]
SHOWN = 10  # files that could not be read, in an error


@dataclass(frozen=True)
class Labelled:
    """What was read.

    counts: answers of each digit. threshold: the confidence from which there was an answer. model: the name of the
    recipe that it was trained by. resumed_at: how many images an earlier call had read.
    """

    images: int
    answered: int
    abstained: int
    unreadable: int
    counts: list[int]
    threshold: float
    model: str
    resumed_at: int
    images_per_second: float
    out: str

    @property
    def problem(self) -> str | None:
        """How many pictures could not be read, and where it stands why."""
        if not self.unreadable:
            return None
        return f"'{self.unreadable}' of {self.images} pictures could not be read. Their rows in '{self.out}' say why."


@dataclass(frozen=True)
class Answered:
    """What was read, in the order of the pictures; printed where there is no file to write.

    names: of the files, or indices in a set. digits: None where there is no answer, for the reason beside it.
    probabilities: ten a picture, where they are asked for. threshold, model: as of `Labelled`.
    """

    names: list[str]
    digits: list[int | None]
    confidences: list[float]
    reasons: list[str | None]
    probabilities: list[list[float]] | None
    threshold: float
    model: str

    @property
    def lines(self) -> list[str]:
        """A line a picture: its name, digit and confidence, "-" for no answer, and why there is none."""
        rows = zip(self.names, self.digits, self.confidences, self.reasons, strict=True)
        return [
            printable(f"{name} {'-' if digit is None else digit} {sure:.3f}{'' if why is None else f' {why}'}")
            for name, digit, sure, why in rows
        ]

    @property
    def problem(self) -> str | None:
        """How many pictures could not be read."""
        unreadable = sum((why or "").startswith("unreadable: ") for why in self.reasons)
        return f"'{unreadable}' of {len(self.names)} pictures could not be read: see above." if unreadable else None


@dataclass(frozen=True)
class Numbers:
    """What was read of pages: how many files, pages and numbers there are, and of how many numbers it abstained.

    unreadable: why, by file. threshold: the confidence from which there was an answer. model: what read. resumed_at:
    how many files an earlier call had read. out, page: what was written. found: where there is no `out`, a dictionary
    a page: file, page (from 1; None for a file that could not be read, with its error), numbers, in reading order,
    rows (how many numbers each has), size (width, height) and turned (degrees, counterclockwise).
    """

    files: int
    pages: int
    numbers: int
    abstained: int
    unreadable: dict[str, str]
    threshold: float
    model: str
    resumed_at: int
    out: str | None
    page: str | None
    found: list[dict[str, Any]] | None

    @property
    def json(self) -> Any:
        """What `--json` prints: the pages, or what was counted where they are in a file."""
        return asdict(self) if self.found is None else self.found

    @property
    def lines(self) -> list[str]:
        """A line a number: file (and page, of several), text, confidence, box; "-" and why where it abstained."""
        from tenfold.runtime.documents import shown

        several = {each["file"] for each in self.found or () if (each["page"] or 0) > 1}
        lines = []
        for each in self.found or ():
            name = f"{each['file']}:{each['page']}" if each["page"] and each["file"] in several else each["file"]
            for one in shown(each):
                text, why = ("-", one["reason"] or "") if one["abstained"] else (one["text"], "")
                box = ",".join(map(str, one["box"])) if each["numbers"] else "-"
                lines.append(f"{name} {text} {one['confidence']:.3f} {box} {why}".rstrip())
        return lines

    @property
    def problem(self) -> str | None:
        """How many files could not be read, and which."""
        if not self.unreadable:
            return None
        names, where = ", ".join(list(self.unreadable)[:SHOWN]), "above" if self.out is None else f"in '{self.out}'"
        return f"'{len(self.unreadable)}' of {self.files} files could not be read: {names}. It stands {where} why."


def read(
    frame: Annotated[
        str | Path | None,
        typer.Option("--frame", "--data", metavar="DATA", help=f"A folder of pictures of a digit. {options.DATA_HELP}"),
    ] = None,
    out: Annotated[
        str | Path | None,
        typer.Option("--out", metavar="FILE", help="The .csv, .json or (digits) .npz to write [default: stdout]."),
    ] = None,
    *,
    pictures: Annotated[
        Sequence[str | Path], typer.Argument(metavar="PICTURE", help="Pictures, PDFs, or folders or zips of them.")
    ] = (),
    digits: Annotated[bool, typer.Option("--digits", help="Each picture shows one digit alone.")] = False,
    line: Annotated[bool, typer.Option("--line", help="Each picture shows one number alone.")] = False,
    rotate: Annotated[
        str, typer.Option("--rotate", metavar="HOW", help="auto: find out how pages lie; none: they are upright.")
    ] = "none",
    model: Annotated[
        str | Path,
        typer.Option("--model", metavar="SYSTEM", help=f"A run's folder, an ensemble's, or {options.MODEL_HELP}"),
    ] = "shipped",
    max_error: Annotated[float | None, options.MAX_ERROR] = None,
    threshold: Annotated[float | None, options.MIN_CONFIDENCE] = None,
    annotated: Annotated[
        str | Path | None, typer.Option("--annotated", metavar="FOLDER", help="Put copies there with boxes drawn in.")
    ] = None,
    page: Annotated[
        str | Path | None, typer.Option("--page", metavar="FILE", help="An HTML page, the doubtful numbers first.")
    ] = None,
    workers: Annotated[int | None, options.WORKERS] = None,
    on: Annotated[str | None, options.ON] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Give those of all ten digits, in the CSV or the JSON.")
    ] = False,
    threads: Annotated[int | None, options.THREADS] = None,
    quiet: Annotated[bool, options.QUIET] = False,
) -> Numbers | Answered | Labelled:
    """Return the numbers on the pages of `pictures`, or with `digits` or `frame` what digit each picture shows.

    pictures: files, folders and zips, every page. out: .csv (a row a number) or .json (what `Numbers.found` is). line,
    rotate: see `tenfold.runtime.reader.Reader.read`. model, max_error, threshold: what reads, and how sure it has to
    be. annotated: a folder for copies, FILE.PAGE.jpg. page: an HTML file. workers, on: see `tenfold.jobs.run_tasks`.

    digits: each picture shows one digit. frame: a folder of such, or data as `tenfold.data.load` takes them. out: .csv
    (a line an image: name, digit, confidence, abstained, reason, p0 to p9 where asked for) or .npz (digits, -1 where
    there is none; confidences; abstained; probabilities). model, max_error, threshold: as of `open_system`.

    What cannot be read has a row that says so, and is counted. A process that is stopped leaves partial files beside
    `out`; the same call resumes there and gives the same bytes.
    Raises DataError for images that cannot be read, RunError or ModelError for a system that is refused, UsageError,
    ClusterError, and TenfoldError where a file cannot be written, or is being written by another process.
    """
    from tenfold.runtime.streams import open_pictures, open_stream

    console = PlainConsole(quiet=quiet, soft_wrap=True)
    names = [str(each) for each in pictures]
    if (frame is None) == (not names):
        raise UsageError(f"'{len(names)}' pictures and '{0 if frame is None else 1}' --frame are given. Give either.")
    numbers = frame is None and not digits
    others = {"line": line, "rotate": rotate != "none", "annotated": annotated, "page": page, "workers": workers}
    for option, value in ({"probabilities": probabilities} if numbers else {**others, "on": on}).items():
        if value:
            raise UsageError(f"'--{option}' is of no use with {'numbers' if numbers else 'digits'}. Omit it.")
    kinds = {"--out": (".csv", ".json" if numbers else ".npz"), "--page": (".html",), "--annotated": ()}
    for name, target in zip(kinds, (out, page, annotated), strict=True):
        if target is not None:
            _check_target(Path(target), [Path(each) for each in names or [str(frame)]], name, kinds[name])
    if numbers:
        if rotate not in ("auto", "none"):
            raise UsageError(f"'--rotate {rotate}' is no way to turn. Give auto or none.")
        if max_error is not None and threshold is not None:
            raise UsageError(f"Both '--max-error {max_error}' and '--min-confidence {threshold}' are given. Give one.")
        if threshold is not None and not 0 <= threshold <= 1:
            raise UsageError(f"The threshold '{threshold}' is not a confidence. Give 0 to 1.")
        path = None if model == "shipped" else str(Path(model).absolute() if Path(model).exists() else model)
        settings = {"path": path, "max_error": max_error, "min_confidence": threshold, "threads": threads}
        copies = None if annotated is None else str(Path(annotated).absolute())
        reading = {"line": line, "rotate": rotate, "copies": copies, "crops": page is not None}
        return _numbers(names, settings, reading, {"workers": workers, "on": on}, [out, page], console)
    system = open_system(model, max_error=max_error, threshold=threshold, threads=threads)
    if frame is None and not (len(names) == 1 and Path(names[0]).is_dir()):
        images: ImageStream = open_pictures(names)
    else:
        images = open_stream(names[0] if frame is None else frame)
    return _digits(images, system, console, None if out is None else Path(out), probabilities)


def _numbers(
    names: list[str], settings: Options, reading: Options, place: Options, targets: list[Any], console: PlainConsole
) -> Numbers:
    """Read the numbers, here or by workers, write what is to be written, and return what they are.

    settings, reading: of `Reader.load` and `documents.read`. place: workers and on. targets: out and page.
    """
    from tenfold.pages import reading as pages
    from tenfold.runtime import documents, streams
    from tenfold.runtime.reader import Reader

    check_place(Place.parse(place["on"]))
    with console.working("Looking for pictures"):
        found, fingerprint = documents.find(names)
    alone = place["on"] in (None, "local") and (place["workers"] or (1 if len(found) <= FEW else all_threads())) == 1
    settings["threads"] = settings["threads"] or (all_threads() if alone else 1)
    reader = Reader.load(**settings)
    made_of = {"documents": fingerprint, "model": reader.sha256, "threshold": reader.threshold, **reading}
    out, page = (None if each is None else Path(each) for each in targets)
    pages_read = numbers = abstained = 0
    unreadable, listed = dict[str, str](), list[dict[str, Any]]()
    claim = nullcontext() if out is None else claimed(out)
    with claim, closing(streams.Journal(out, made_of)) as journal:
        if resumed := len(journal.read):
            console.print(f"Resuming behind {resumed:,} of {len(found):,} files")
        with console.working(f"Reading {len(found):,} files", len(found)) as work:
            work.done = resumed
            _read_missing(journal, found, reader if alone else None, settings, reading, place, work)
        for each in documents.listed(journal, found):
            pages_read, numbers = pages_read + (each["page"] is not None), numbers + len(each["numbers"])
            abstained += sum(one["abstained"] for one in each["numbers"])
            unreadable |= {each["file"]: each["error"]} if "error" in each else {}
            listed += [each] if out is None else []
        if page is not None:
            pages.write(page, names, reader, documents.listed(journal, found, crops=True))
        if out is not None:
            written = documents.as_csv if out.suffix == ".csv" else documents.as_json
            journal.finish(written(documents.listed(journal, found)))
    if where := ", ".join(str(each) for each in (out, reading["copies"], page) if each is not None):
        console.print(f"{numbers:,} numbers, {abstained:,} of them doubtful, on {pages_read:,} pages: {where}")
    return Numbers(
        *(len(found), pages_read, numbers, abstained, unreadable, reader.threshold, reader.name, resumed),
        out=None if out is None else str(out),
        page=None if page is None else str(page),
        found=listed if out is None else None,
    )


def _read_missing(
    journal: "Journal",
    found: "list[Document]",
    reader: "Reader | None",
    settings: Options,
    reading: Options,
    place: Options,
    work: Work,
) -> None:
    """Read every document that the journal lacks, with the reader, or where it is None by workers."""
    from tenfold.runtime import documents

    missing = {str(n): each for n, each in enumerate(found) if n not in journal.read}
    if reader is not None:
        for key, each in missing.items():
            journal.add(int(key), documents.read(reader, each, **reading))
            work.done += 1
        return
    function, arguments = f"{documents.__name__}:task", reading | {"settings": settings}
    tasks = [Task(key, function, {"document": each, **arguments}, each.name) for key, each in missing.items()]

    def done(task: Task, answers: dict[str, Any]) -> None:
        if "fatal" in answers:
            raise TenfoldError(answers["fatal"])
        journal.add(int(task.key), answers)

    def failed(task: Task, reason: str) -> None:
        journal.add(int(task.key), {"pages": [], "problem": reason})

    folders = {Path(each.path).parent for each in missing.values()}
    shared = [each for each in folders if folders.isdisjoint(each.parents)]
    shared += [] if reading["copies"] is None else [Path(reading["copies"])]
    run_tasks(tasks, **place, threads=settings["threads"], done=done, failed=failed, shared=shared)


def _digits(
    images: "ImageStream", system: System, console: PlainConsole, out: Path | None, probabilities: bool
) -> Answered | Labelled:
    """Read a digit an image, write what is to be written, or resume there, and return what they are."""
    from tenfold.runtime import streams

    made_of = {"images": images.fingerprint, "model": system.sha256, "threshold": system.threshold}
    made_of |= {"row": streams.ROW.itemsize, "chunk": streams.ROWS}  # another Tenfold may keep others
    claim = nullcontext() if out is None else claimed(out)
    with claim, closing(streams.Journal(out, made_of, "Cannot write '{}' ({}).")) as journal:
        start = min(len(journal.read) * streams.ROWS, images.count)
        if start:
            console.print(f"Resuming behind {start:,} of {images.count:,} images")
        begun = time.monotonic()
        if start < images.count:
            system.load()
            with console.working(f"Reading {images.count:,} images", images.count) as work:
                work.done = start
                for chunk in images.chunks(start, system.threads):
                    journal.add(len(journal.read), streams.kept(chunk, system.answers(chunk.frames)))
                    work.done += len(chunk.frames)
        if out is None:
            return _answered(journal, system, probabilities)
        counts, abstained, unreadable = np.zeros(10, np.int64), 0, 0
        for part in journal:
            rows = streams.rows_of(part)
            unreadable += part["unreadable"]
            abstained += int(rows["abstained"].sum()) - part["unreadable"]
            counts += np.bincount(rows["digits"][~rows["abstained"]], minlength=10)
        csv = out.suffix == ".csv"
        journal.finish(streams.as_csv(journal, images.names, probabilities) if csv else streams.as_npz(journal))
    rate = (images.count - start) / max(time.monotonic() - begun, 1e-9)
    console.print(
        f"{counts.sum():,} answers, {abstained:,} abstentions and {unreadable:,} unreadable "
        f"pictures in {out} ({rate:,.0f} images/s)"
    )
    return Labelled(
        images=images.count,
        answered=int(counts.sum()),
        abstained=abstained,
        unreadable=unreadable,
        counts=counts.tolist(),
        threshold=system.threshold,
        model=system.recipe,
        resumed_at=start,
        images_per_second=round(rate, 1),
        out=str(out),
    )


def _answered(journal: "Journal", system: System, probabilities: bool) -> Answered:
    """Return the answers themselves."""
    from tenfold.runtime.streams import rows_of

    found = Answered([], [], [], [], [] if probabilities else None, system.threshold, system.recipe)
    for part in journal:
        rows = rows_of(part)
        found.names.extend(map(printable, part["names"]))
        found.reasons.extend(part["why"])
        found.digits.extend(None if abstained else digit for digit, _, abstained, _ in rows.tolist())
        found.confidences.extend(round(each, 6) for each in rows["confidences"].tolist())
        if found.probabilities is not None:
            found.probabilities.extend(rows["probabilities"].tolist())
    return found


def _check_target(out: Path, sources: list[Path], option: str, kinds: tuple[str, ...]) -> None:
    """Make the folder of `out`, or without `kinds` itself; TenfoldError where it ends otherwise or is a source."""
    if kinds and out.suffix not in kinds:
        raise TenfoldError(f"'{out}' ends in '{out.suffix}'. Give {option} a file that ends in {' or '.join(kinds)}.")
    if kinds and out.is_dir():
        raise TenfoldError(f"'{out}' is a folder. Give {option} a file in it, such as '{out / f'labels{kinds[0]}'}'.")
    for whole in (source.resolve() for source in sources):
        if out.resolve() == whole or whole in out.resolve().parents:
            raise TenfoldError(f"'{out}' is among the images that are to be read. Give {option} another place.")
    try:
        (out.parent if kinds else out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TenfoldError(unwritten(out, error, f"Give {option} another place.")) from error
