"""Pictures -> numbers: labels any number of small images, in bounded memory, and resumes where it was stopped."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tenfold import options
from tenfold.errors import TenfoldError

if TYPE_CHECKING:
    from rich.console import Console

    from tenfold.runs.systems import System
    from tenfold.runtime.streams import ImageStream, Labels

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


def read(
    frame: Annotated[
        str | Path,
        typer.Option("--frame", metavar="DATA", help="A folder of pictures of one digit each, or an NPZ file."),
    ],
    out: Annotated[str | Path, typer.Option("--out", metavar="FILE", help="The .csv or .npz file to write.")],
    *,
    model: Annotated[
        str | Path,
        typer.Option("--model", metavar="SYSTEM", help=f"A run's folder, an ensemble's, or {options.MODEL_HELP}"),
    ] = "shipped",
    max_error: Annotated[float | None, options.MAX_ERROR] = None,
    threshold: Annotated[float | None, options.THRESHOLD] = None,
    threads: Annotated[int | None, options.THREADS] = None,
    quiet: Annotated[bool, options.QUIET] = False,
) -> Labelled:
    """Return what was read of the images `frame`; their labels are in the file `out`.

    frame: a folder of pictures of one digit each, or an NPZ with `X` or `images`. out: .csv (a line an image: name,
    digit, confidence, abstained, reason) or .npz (digits, -1 where there is none; confidences; abstained;
    probabilities). model, max_error, threshold: as `tenfold.runs.systems.open_system`.
    A picture that cannot be read has a row that says so, and is counted. A process that is stopped leaves partial
    files beside `out`; the same call resumes there and gives the same bytes.
    Raises DataError for images that cannot be read, RunError or ModelError for a system that is refused, UsageError,
    and TenfoldError where `out` cannot be written.
    """
    from tenfold.console import PlainConsole
    from tenfold.runs.systems import open_system
    from tenfold.runtime.streams import Labels, open_stream

    source, target = Path(frame), Path(out)
    console = PlainConsole(quiet=quiet, soft_wrap=True)
    _check_target(target, source)
    system = open_system(model, max_error=max_error, threshold=threshold, threads=threads)
    images = open_stream(source)
    made_of = {"images": images.fingerprint, "model": system.sha256, "threshold": system.threshold}
    labels = Labels(target, made_of, images.names)
    start = labels.open()
    if start:
        console.print(f"Resuming behind {start:,} of {images.count:,} images", markup=False)
    begun = time.monotonic()
    try:
        _label(images, start, system, labels, console)
    finally:
        labels.close()
    labels.finish()
    rate = (labels.rows - start) / max(time.monotonic() - begun, 1e-9)
    console.print(
        f"{sum(labels.counts):,} answers, {labels.abstained:,} abstentions and {labels.unreadable:,} unreadable "
        f"pictures in {out} ({rate:,.0f} images/s)",
        markup=False,
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


def _label(images: "ImageStream", start: int, system: "System", labels: "Labels", console: "Console") -> None:
    """Label every image from number `start` on."""
    if start == images.count:
        return
    from rich.progress import track

    from tenfold.runtime.streams import ROWS

    system.load()
    chunks = images.chunks(start, system.threads)
    hidden = console.quiet or not console.is_terminal
    total, done = -(-images.count // ROWS), start // ROWS
    for chunk in track(chunks, "Reading", total, done, console=console, transient=True, disable=hidden):
        labels.add(chunk, system.answers(chunk.frames))


def _check_target(out: Path, source: Path) -> None:
    """Make the folder of `out`; TenfoldError where it is of no known kind, a folder, or within what is to be read."""
    if out.suffix not in SUFFIXES:
        raise TenfoldError(f"'{out}' ends in '{out.suffix}'. Give --out a file that ends in .csv or .npz.")
    if out.is_dir():
        raise TenfoldError(f"'{out}' is a folder. Give --out a file in it, such as '{out / 'labels.csv'}'.")
    whole = source.resolve()
    if out.resolve() == whole or whole in out.resolve().parents:
        raise TenfoldError(f"'{out}' is among the images that are to be read. Give --out another place.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TenfoldError(f"Cannot write '{out}' ({error.strerror}). Give --out another folder.") from error
