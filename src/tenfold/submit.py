"""A system + unlabelled data -> submission.csv, byte for byte as Kaggle's Digit Recognizer competition takes it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from tenfold import options
from tenfold.console import PlainConsole
from tenfold.data import load, locate
from tenfold.data.formats import sample_submission_ids
from tenfold.errors import DataError, TenfoldError, remedy
from tenfold.files import write_atomically
from tenfold.runs.ledger import seen_exactly
from tenfold.runs.systems import open_system

HEADER = "ImageId,Label"
# Digits written by many hands come about equally often; a share outside this says that something is wrong, such as
# inverted images. MNIST's rarest digit has a share of 0.089, its most frequent 0.113.
USUAL_SHARE = (0.04, 0.20)
FEWEST_TO_JUDGE = 200  # images below which chance alone can give such shares


@dataclass(frozen=True)
class Submission:
    """The file written, with its SHA-256 (hex) and how often it gives each digit.

    trained_on: images that equal one the system was trained on; None for a model, which does not say. warnings: what
    is odd about the answers, a sentence each.
    """

    rows: int
    out: str
    sha256: str
    counts: list[int]
    trained_on: int | None
    warnings: list[str]


def submit(
    system: Annotated[str | Path, options.SYSTEM],
    data: Annotated[str, options.DATA],
    out: Annotated[str | Path, typer.Option("--out", metavar="FILE", help="The CSV file to write.")],
    *,
    force: Annotated[bool, typer.Option("--force", help="Also where the data has labels.")] = False,
    device: Annotated[str, options.DEVICE] = "auto",
    quiet: Annotated[bool, options.QUIET] = False,
) -> Submission:
    """Return what was submitted: the system's answers to the data, written to `out`.

    out: one that is there already is replaced once the new one is whole.
    Raises RunError or ModelError for what is no system; DataError for data that cannot be read, have labels, or do not
    match the sample_submission.csv that came with them; TenfoldError where `out` cannot be written.
    """
    out, opened = Path(out), open_system(system, device=device)
    options.check_target(out, [data], "submit", [system])
    console = PlainConsole(quiet=quiet, soft_wrap=True)
    digits = load(data, "submit")
    if not len(digits):
        raise DataError(f"'{data}' holds '0' images. Give at least one.")
    if digits.labels is not None and not force:
        raise DataError(f"'{data}' has labels, so it is no test set to submit. Give kaggle:test, or add --force.")
    if digits.labels is None:  # the sample is about the test set, whatever is forced
        _check_ids(digits.ids, data)
    _check_target(out)
    with console.working(f"Reading {len(digits):,} images"):
        seen = None if opened.run is None else len(seen_exactly(opened.run, digits.images))
        given = opened.probabilities(digits.images).argmax(axis=1)
    content, counts = render(digits.ids, given), np.bincount(given, minlength=10)
    _write(out, content, out)
    sha256, warnings = hashlib.sha256(content).hexdigest(), _warnings(counts, seen)
    for warning in warnings:
        console.print(f"Warning: {warning}", style="yellow")
    shown = ", ".join(f"{digit}: {count:,}" for digit, count in enumerate(counts.tolist()))
    console.print(f"{len(digits):,} answers in {out} ({shown})")
    console.print("Next: upload it at https://www.kaggle.com/competitions/digit-recognizer/submit")
    return Submission(len(digits), str(out), sha256, counts.tolist(), seen, warnings)


def render(ids: NDArray[np.int64], labels: NDArray[np.integer]) -> bytes:
    """Return the file: `ImageId,Label`, then a line an image; lines end in LF, the last one too, as in Kaggle's sample.

    ids: (N,) int64 from 1; labels: (N,) 0 to 9.
    """
    lines = [HEADER, *(f"{number},{label}" for number, label in zip(ids.tolist(), labels.tolist(), strict=True))]
    return ("\n".join(lines) + "\n").encode("ascii")


def _check_ids(ids: NDArray[np.int64], spec: str) -> None:
    """Raise DataError unless the ids are those of the sample submission that came with the data, in its order."""
    path = locate(spec, "submit")
    sample_ids = None if path is None else sample_submission_ids(path)
    if sample_ids is None:
        return
    if len(ids) != len(sample_ids):
        what = f"'{spec}' has '{len(ids)}' images and its sample_submission.csv '{len(sample_ids)}' rows."
        raise DataError(f"{what} Download both again.")
    wrong = np.flatnonzero(ids != sample_ids)
    if len(wrong):
        row = wrong[0]
        what = f"Image {row + 1} of '{spec}' has the id '{ids[row]}'"
        raise DataError(f"{what} where its sample_submission.csv has '{sample_ids[row]}'. Download both again.")


def _warnings(counts: NDArray[np.int64], seen: int | None) -> list[str]:
    """Return what is odd about the answers, a sentence each."""
    warnings, n = [], int(counts.sum())
    low, high = USUAL_SHARE
    odd = [digit for digit in range(10) if not low <= counts[digit] / n <= high]
    if odd and n >= FEWEST_TO_JUDGE:
        shares = ", ".join(f"{digit} ({100 * counts[digit] / n:.1f}%)" for digit in odd)
        advice = "Look at the images: tenfold explore."
        warnings.append(f"Some digits are far from a tenth of the answers: {shares}. {advice}")
    if seen:
        warnings.append(f"{seen:,} of these {n:,} images were trained on, so their score would not be an honest one.")
    return warnings


def _check_target(out: Path) -> None:
    """Make the folder of `out`, and raise TenfoldError where no file can be written there, before time is spent."""
    if out.is_dir():
        raise TenfoldError(f"'{out}' is a folder. Give a file in it, such as '{out / 'submission.csv'}'.")
    probe = out.with_name(f".{out.name}.writable")
    _write(probe, b"", out)
    probe.unlink()


def _write(file: Path, content: bytes, out: Path) -> None:
    """Write the file whole, its folder too; what is there stays as it is until then. An error names `out`."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, content)
    except OSError as error:
        advice = remedy(error, "Give --out a file in a folder that you may write to.")
        raise TenfoldError(f"Cannot write '{out}' ({error.strerror}). {advice}") from error
