"""Pictures -> numbers: labels any number of small images with an exported model, in bounded memory, resumable."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.errors import TenfoldError
from tenfold.runtime.labels import Labels
from tenfold.runtime.recogniser import Recogniser
from tenfold.runtime.streams import Source, open_source

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

SUFFIXES = (".csv", ".npz")


def read_frames(
    source: Path,
    out: Path,
    *,
    model: str | Path | None = None,
    max_error: float | None = None,
    threshold: float | None = None,
    threads: int | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Return images, answered, abstained, unreadable, counts (of each digit answered), threshold, resumed_at, out.

    source: a folder of pictures of one digit each, or an NPZ with `X` or `images`. out: the file to write, .csv (a
    line an image: name, digit, confidence, abstained, reason) or .npz (digits, -1 where there is none; confidences;
    abstained; probabilities). model: a file, "shipped" or "tiny". max_error, threshold: as `Recogniser.load`.
    A picture that cannot be read has a row that says so, and is counted. A process that is stopped leaves partial
    files beside `out`; the same call goes on from there and gives the same bytes.
    Raises DataError for a source that cannot be read, ModelError for a model that is refused, TenfoldError where `out`
    cannot be written.
    """
    from rich.console import Console

    console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
    _check_target(out, source)
    recogniser = Recogniser.load(model, threads=threads, max_error=max_error, threshold=threshold)
    images = open_source(source)
    made_of = {"images": images.fingerprint, "model": recogniser.sha256, "threshold": recogniser.threshold}
    labels = Labels(out, made_of, images.names)
    start = labels.open()
    if start:
        console.print(f"Going on behind {start:,} of {images.count:,} images", markup=False)
    begun = time.monotonic()
    try:
        _label(images, start, recogniser, labels, console)
    finally:
        labels.close()
    labels.finish()
    seconds = time.monotonic() - begun
    result = {
        "images": labels.rows,
        "answered": sum(labels.counts),
        "abstained": labels.abstained,
        "unreadable": labels.unreadable,
        "counts": labels.counts,
        "threshold": recogniser.threshold,
        "model": recogniser.card.name,
        "resumed_at": start,
        "images_per_second": round((labels.rows - start) / max(seconds, 1e-9), 1),
        "out": str(out),
    }
    console.print(
        f"{result['answered']:,} answers, {labels.abstained:,} abstentions and {labels.unreadable:,} unreadable "
        f"pictures in {out} ({result['images_per_second']:,.0f} images/s)",
        markup=False,
    )
    return result


def _label(images: Source, start: int, recogniser: Recogniser, labels: Labels, console: "Console") -> None:
    """Label every image from number `start` on."""
    if start == images.count:
        return
    with _progress(console) as bar:
        task = bar.add_task("Reading", total=images.count, completed=start)
        for chunk in images.chunks(start, recogniser.threads):
            labels.add(chunk, recogniser.predict(chunk.frames))
            bar.update(task, completed=labels.rows)


def _progress(console: "Console") -> "Progress":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        disable=console.quiet or not console.is_terminal,
    )


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
