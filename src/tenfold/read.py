"""Pictures -> the numbers on them, or a digit each: in lines, or in a file for any number, resumed where it stopped."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenfold import options
from tenfold.errors import TenfoldError, UsageError, printable, unwritten

if TYPE_CHECKING:
    from tenfold.console import PlainConsole
    from tenfold.progress import Work
    from tenfold.runs.systems import System
    from tenfold.runtime.documents import Journal
    from tenfold.runtime.reader import Reader
    from tenfold.runtime.recogniser import Answers
    from tenfold.runtime.streams import Chunk, ImageStream

FEW = 8  # files that this process reads alone: others would take as long to begin
SHOWN = 20  # files that could not be read, on a terminal


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
    how many files an earlier call had read. out, annotated, page: what was written. found: where there is no `out`, a
    dictionary a page: file, page (from 1; None for a file that could not be read, with its error), numbers, in
    reading order, rows (how many numbers each has), size (width, height) and turned (degrees, counterclockwise).
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
    annotated: str | None
    page: str | None
    found: list[dict[str, Any]] | None

    @property
    def json(self) -> Any:
        """What `--json` prints: the pages, or what was counted where they are in a file."""
        return asdict(self) if self.found is None else self.found

    @property
    def lines(self) -> list[str]:
        """A line a number: file (and page, of several), text, confidence, box; "-" and why where it abstained."""
        several = {each["file"] for each in self.found or () if each["page"] not in (None, 1)}
        lines = []
        for each in self.found or ():
            name = f"{each['file']}:{each['page']}" if each["file"] in several and each["page"] else each["file"]
            for one in each["numbers"]:
                text, why = ("-", f" {one['reason']}") if one["abstained"] else (one["text"], "")
                lines.append(f"{name} {text} {one['confidence']:.3f} {','.join(map(str, one['box']))}{why}")
            if not each["numbers"] and each["page"]:
                lines.append(f"{name} - 0.000 - no number")
        unreadable = self.unreadable.items() if self.out is None else ()
        return [*lines, *(f"{name} - 0.000 - unreadable: {why}" for name, why in unreadable)]

    @property
    def problem(self) -> str | None:
        """How many files could not be read."""
        where = "see above" if self.out is None else f"'{self.out}' says why"
        return (
            f"'{len(self.unreadable)}' of {self.files} files could not be read: {where}." if self.unreadable else None
        )


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

    pictures: files, folders and zips; all pages of a TIFF or PDF are read. out: .csv (a row a number) or .json (what
    `Numbers.found` is). line, rotate: see `tenfold.runtime.reader.Reader.read`. model, max_error, threshold: which
    reader, and from which confidence on it answers. annotated: a folder for copies, FILE.PAGE.jpg. page: an HTML file.
    workers, on: as in `tenfold.jobs.run_tasks`; a cluster's machines have to see the pictures.

    digits: each of `pictures` shows one digit. frame: a folder of such pictures, or data as `tenfold.data.load` takes
    them. out: .csv (a line an image: name, digit, confidence, abstained, reason, p0 to p9 where asked for) or .npz
    (digits, -1 where there is none; confidences; abstained; probabilities). model, max_error, threshold: as
    `tenfold.runs.systems.open_system`.

    What cannot be read has a row that says so, and is counted. A process that is stopped leaves partial files beside
    `out`; the same call resumes there and gives the same bytes.
    Raises DataError for images that cannot be read, RunError or ModelError for a system that is refused, UsageError,
    ClusterError, and TenfoldError where a file cannot be written, or is being written by another process.
    """
    from tenfold.console import PlainConsole
    from tenfold.runs.systems import open_system
    from tenfold.runtime.streams import open_pictures, open_stream

    console = PlainConsole(quiet=quiet, soft_wrap=True)
    names = [str(each) for each in pictures]
    if (frame is None) == (not names):
        raise UsageError(f"'{len(names)}' pictures and '{0 if frame is None else 1}' --frame are given. Give either.")
    numbers = frame is None and not digits
    of_numbers = {"line": line, "rotate": rotate != "none", "annotated": annotated, "page": page}
    others = {"probabilities": probabilities} if numbers else {**of_numbers, "workers": workers, "on": on}
    for option in (option for option, value in others.items() if value):
        raise UsageError(f"'--{option}' is of no use with {'numbers' if numbers else 'digits'}. Omit it.")
    sources = [Path(each) for each in names or [str(frame)]]
    kinds = (".csv", ".json" if numbers else ".npz")
    for option, target in (("--out", out), ("--page", page), ("--annotated", annotated)):
        if target is not None:
            _check_target(Path(target), sources, option, {"--out": kinds, "--page": (".html",)}.get(option, ()))
    if numbers:
        if rotate not in ("auto", "none"):
            raise UsageError(f"'--rotate {rotate}' is no way to turn. Give auto or none.")
        if max_error is not None and threshold is not None:
            raise UsageError(f"Both '--max-error {max_error}' and '--min-confidence {threshold}' are given. Give one.")
        reading = {"line": line, "rotate": rotate, "copies": annotated and str(Path(annotated).absolute())}
        chosen = None if model == "shipped" else str(Path(model).absolute() if Path(model).exists() else model)
        settings = {"path": chosen, "max_error": max_error, "min_confidence": threshold}
        place = {"workers": workers, "on": on, "threads": threads}
        reading["crops"] = page is not None
        return _numbers(names, settings, reading, place, out, page, console)
    system = open_system(model, max_error=max_error, threshold=threshold, threads=threads)
    if frame is None and not (len(names) == 1 and Path(names[0]).is_dir()):
        images: ImageStream = open_pictures(names)
    else:
        images = open_stream(names[0] if frame is None else frame)
    if out is None:
        return _answered(images, system, console, probabilities)
    return _labelled(images, system, console, Path(out), probabilities)


def _numbers(
    names: list[str],
    settings: dict[str, Any],
    reading: dict[str, Any],
    place: dict[str, Any],
    out: str | Path | None,
    page: str | Path | None,
    console: "PlainConsole",
) -> Numbers:
    """Read the numbers on all pages, write what is to be written, and return what they are.

    settings, reading: of `Reader.load` and `documents.read`. place: workers, on and threads.
    """
    from tenfold import __version__
    from tenfold.files import claimed
    from tenfold.jobs import Place, check_place
    from tenfold.pages import reading as pages
    from tenfold.pages.page import counted
    from tenfold.runtime import documents
    from tenfold.runtime.reader import Reader
    from tenfold.settings import threads

    where = Place.parse(place["on"])
    check_place(where)
    with console.working("Looking for pictures"):
        found, fingerprint = documents.find(names)
    alone = where.kind == "local" and (place["workers"] or (1 if len(found) <= FEW else threads())) == 1
    annotated = reading["copies"]
    settings["threads"] = place["threads"] or (threads() if alone else 1)
    reader = Reader.load(**settings)
    made_of = {"tenfold": __version__, "documents": fingerprint, "model": reader.sha256, "threshold": reader.threshold}
    with nullcontext() if out is None else claimed(Path(out)):
        journal = documents.Journal(None if out is None else Path(out), made_of | reading, found)
        try:
            if resumed := len(journal.read):
                console.print(f"Resuming behind {resumed:,} of {len(found):,} files")
            with console.working(f"Reading {len(found):,} files", len(found)) as work:
                work.done = resumed
                _read_missing(journal, reader if alone else None, settings, reading, place, names, work)
            pages_read, count, abstained = 0, 0, 0
            unreadable, listed = {}, []
            for each in journal.listed():
                pages_read += each["page"] is not None
                count += len(each["numbers"])
                abstained += sum(one["abstained"] for one in each["numbers"])
                if each["page"] is None:
                    unreadable[each["file"]] = each["error"]
                if out is None:
                    listed.append(each)
            result = Numbers(
                files=len(found),
                pages=pages_read,
                numbers=count,
                abstained=abstained,
                unreadable=unreadable,
                threshold=reader.threshold,
                model=reader.name,
                resumed_at=resumed,
                out=None if out is None else str(out),
                annotated=annotated,
                page=None if page is None else str(pages.write(Path(page), names, reader, journal.answers())),
                found=listed if out is None else None,
            )
            journal.finish()
        finally:
            journal.close()
    for name in list(unreadable)[: SHOWN if out is not None else 0]:
        console.print(f"{name}: {unreadable[name]}")
    if written := [str(each) for each in (out, annotated, page) if each is not None]:
        total = f"{counted(count, 'number')} on {counted(pages_read, 'page')}, {abstained:,} of them doubtful"
        console.print(f"{total}: {', '.join(written)}")
    return result


def _read_missing(
    journal: "Journal",
    reader: "Reader | None",
    settings: dict[str, Any],
    reading: dict[str, Any],
    place: dict[str, Any],
    sources: list[str],
    work: "Work",
) -> None:
    """Read every document that the journal lacks, with the reader, or where it is None by workers."""
    from tenfold.jobs import Task, run_tasks
    from tenfold.runtime import documents

    tasks = [
        Task(str(number), f"{documents.__name__}:task", {"document": asdict(document), **reading}, document.name)
        for number, document in enumerate(journal.documents)
        if number not in journal.read
    ]

    def done(task: Task, answers: dict[str, Any]) -> None:
        if "fatal" in answers:
            raise TenfoldError(answers["fatal"])
        journal.add(int(task.key), answers)

    def failed(task: Task, reason: str) -> None:
        journal.add(int(task.key), {"pages": [], "problem": reason})

    if reader is not None:
        for task in tasks:
            done(task, documents.read(reader, **task.arguments))
            work.done += 1
        return
    shared = {path if path.is_dir() else path.parent for path in map(Path, (*sources, reading["copies"] or "."))}
    for task in tasks:
        task.arguments["settings"] = settings
    more = {"on": place["on"], "workers": place["workers"], "threads": settings["threads"]}
    run_tasks(tasks, done=done, failed=failed, shared=sorted(shared), **more)


def _answered(images: "ImageStream", system: "System", console: "PlainConsole", probabilities: bool) -> Answered:
    """Return the answers themselves."""
    from tenfold.runtime.streams import reasons

    found = Answered([], [], [], [], [] if probabilities else None, system.threshold, system.recipe)

    def add(chunk: "Chunk", answers: "Answers") -> None:
        why = reasons(chunk, answers)
        found.names.extend(map(printable, chunk.names))
        found.reasons.extend(why.get(row) for row in range(len(chunk.names)))
        found.digits.extend(None if row in why else digit for row, digit in enumerate(answers.digits.tolist()))
        found.confidences.extend(round(each, 6) for each in answers.confidences.tolist())
        if found.probabilities is not None:
            found.probabilities.extend(answers.probabilities.tolist())

    _label(images, 0, system, add, console)
    return found


def _labelled(
    images: "ImageStream", system: "System", console: "PlainConsole", out: Path, probabilities: bool
) -> Labelled:
    """Write the labels into `out`, or resume there, and return what they are."""
    from tenfold.files import claimed
    from tenfold.runtime.streams import Labels

    made_of = {"images": images.fingerprint, "model": system.sha256, "threshold": system.threshold}
    with claimed(out):
        labels = Labels(out, made_of, images.names, probabilities)
        start = labels.open()
        if start:
            console.print(f"Resuming behind {start:,} of {images.count:,} images")
        begun = time.monotonic()
        try:
            _label(images, start, system, labels.add, console)
        finally:
            labels.close()
        labels.finish()
    rate = (labels.rows - start) / max(time.monotonic() - begun, 1e-9)
    console.print(
        f"{sum(labels.counts):,} answers, {labels.abstained:,} abstentions and {labels.unreadable:,} unreadable "
        f"pictures in {out} ({rate:,.0f} images/s)"
    )
    return Labelled(
        images=labels.rows,
        answered=sum(labels.counts),
        abstained=labels.abstained,
        unreadable=labels.unreadable,
        counts=labels.counts,
        threshold=system.threshold,
        model=system.recipe,
        resumed_at=start,
        images_per_second=round(rate, 1),
        out=str(out),
    )


def _label(
    images: "ImageStream",
    start: int,
    system: "System",
    add: "Callable[[Chunk, Answers], None]",
    console: "PlainConsole",
) -> None:
    """Label every image from number `start` on."""
    if start == images.count:
        return
    system.load()
    with console.working(f"Reading {images.count:,} images", images.count) as work:
        work.done = start
        for chunk in images.chunks(start, system.threads):
            add(chunk, system.answers(chunk.frames))
            work.done += len(chunk.frames)


def _check_target(out: Path, sources: list[Path], option: str, kinds: tuple[str, ...]) -> None:
    """Make the folder of `out`; TenfoldError where it is of no known kind, a folder, or within what is to be read.

    kinds: how it may end; none: it is a folder itself.
    """
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
