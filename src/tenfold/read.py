"""Pictures -> numbers: a line each, or a file of labels for any number of them, resumed where it was stopped."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tenfold import options
from tenfold.errors import TenfoldError, UsageError, printable, remedy

if TYPE_CHECKING:
    from tenfold.console import PlainConsole
    from tenfold.runs.systems import System
    from tenfold.runtime.recogniser import Answers
    from tenfold.runtime.streams import Chunk, ImageStream

SUFFIXES = (".csv", ".npz")


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


def read(
    frame: Annotated[
        str | Path | None,
        typer.Option("--frame", "--data", metavar="DATA", help=f"A folder of pictures of a digit. {options.DATA_HELP}"),
    ] = None,
    out: Annotated[
        str | Path | None,
        typer.Option("--out", metavar="FILE", help="The .csv or .npz file to write [default: a line each on stdout]."),
    ] = None,
    *,
    pictures: Annotated[
        Sequence[str | Path], typer.Argument(metavar="PICTURE", help="Pictures of one digit each, or a folder.")
    ] = (),
    model: Annotated[
        str | Path,
        typer.Option("--model", metavar="SYSTEM", help=f"A run's folder, an ensemble's, or {options.MODEL_HELP}"),
    ] = "shipped",
    max_error: Annotated[float | None, options.MAX_ERROR] = None,
    threshold: Annotated[float | None, options.THRESHOLD] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Give those of all ten digits, in the CSV or the JSON.")
    ] = False,
    threads: Annotated[int | None, options.THREADS] = None,
    quiet: Annotated[bool, options.QUIET] = False,
) -> Labelled | Answered:
    """Return what was read of the images `frame` or of `pictures`; with `out`, their labels are in that file.

    frame: a folder of pictures of one digit each, or data as `tenfold.data.load` takes them. pictures: or these files.
    out: .csv (a line an image: name, digit, confidence, abstained, reason, p0 to p9 where asked for) or .npz (digits,
    -1 where there is none; confidences; abstained; probabilities). model, max_error, threshold: as
    `tenfold.runs.systems.open_system`.
    A picture that cannot be read has a row that says so, and is counted. A process that is stopped leaves partial
    files beside `out`; the same call resumes there and gives the same bytes.
    Raises DataError for images that cannot be read, RunError or ModelError for a system that is refused, UsageError,
    and TenfoldError where `out` cannot be written, or is being written by another process.
    """
    from tenfold.console import PlainConsole
    from tenfold.runs.systems import open_system
    from tenfold.runtime.streams import open_pictures, open_stream

    console = PlainConsole(quiet=quiet, soft_wrap=True)
    names = [str(each) for each in pictures]
    if (frame is None) == (not names):
        raise UsageError(f"'{len(names)}' pictures and '{0 if frame is None else 1}' --frame are given. Give either.")
    if out is not None:
        _check_target(Path(out), [Path(each) for each in (names or [str(frame)])])
    system = open_system(model, max_error=max_error, threshold=threshold, threads=threads)
    if frame is None and not (len(names) == 1 and Path(names[0]).is_dir()):
        images: ImageStream = open_pictures(names)
    else:
        images = open_stream(names[0] if frame is None else frame)
    if out is None:
        return _answered(images, system, console, probabilities)
    return _labelled(images, system, console, Path(out), probabilities)


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


def _check_target(out: Path, sources: list[Path]) -> None:
    """Make the folder of `out`; TenfoldError where it is of no known kind, a folder, or within what is to be read."""
    if out.suffix not in SUFFIXES:
        raise TenfoldError(f"'{out}' ends in '{out.suffix}'. Give --out a file that ends in .csv or .npz.")
    if out.is_dir():
        raise TenfoldError(f"'{out}' is a folder. Give --out a file in it, such as '{out / 'labels.csv'}'.")
    for whole in (source.resolve() for source in sources):
        if out.resolve() == whole or whole in out.resolve().parents:
            raise TenfoldError(f"'{out}' is among the images that are to be read. Give --out another place.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        advice = remedy(error, "Give --out another folder.")
        raise TenfoldError(f"Cannot write '{out}' ({error.strerror}). {advice}") from error
