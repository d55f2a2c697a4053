"""Run + unlabelled data -> submission.csv, byte for byte as Kaggle's Digit Recognizer competition takes it."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data import load, locate
from tenfold.data.digits import Digits
from tenfold.errors import DataError, TenfoldError
from tenfold.files import write_atomically
from tenfold.runs.seen import seen_exactly

if TYPE_CHECKING:
    from tenfold.runs.run import Run

HEADER = "ImageId,Label"
# Digits written by many hands come about equally often; a share outside this says that something is wrong, such as
# inverted images. MNIST's rarest digit has a share of 0.089, its most frequent 0.113.
USUAL_SHARE = (0.04, 0.20)
FEWEST_TO_JUDGE = 200  # images below which chance alone can give such shares


def submit(
    run: Path, data: str, out: Path, *, force: bool = False, device: str = "auto", quiet: bool = False
) -> dict[str, Any]:
    """Return rows, out, sha256, counts (of each digit), trained_on and warnings of the submission written to `out`.

    run: a folder that `train` wrote. data: a name or a path, such as `kaggle:test`. out: the CSV file; one that is
    there already is replaced once the new one is whole. force: also for data that have labels. trained_on counts the
    images that equal one the run was trained on.
    Raises RunError for a folder that is no run; DataError for data that cannot be read, have labels, or do not match
    the sample_submission.csv that came with them; TenfoldError where `out` cannot be written.
    """
    from rich.console import Console

    from tenfold.runs.run import Run

    opened = Run.open(run)
    digits = load(data, "submit")
    console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
    with console.status(f"Reading {len(digits):,} images"):
        result = submit_run(opened, digits, data, out, sample_ids=_sample_ids(data), force=force, device=device)
    for warning in result["warnings"]:
        console.print(f"Warning: {warning}", style="yellow", markup=False)
    counts = ", ".join(f"{digit}: {count:,}" for digit, count in enumerate(result["counts"]))
    console.print(f"{result['rows']:,} answers in {out} ({counts})", markup=False)
    return result


def submit_run(
    run: "Run",
    digits: Digits,
    spec: str,
    out: Path,
    *,
    sample_ids: NDArray[np.int64] | None = None,
    force: bool = False,
    device: str = "auto",
) -> dict[str, Any]:
    """Return `submit`'s result for images that are loaded already.

    sample_ids: (N,) int64, the ids that the competition expects, in its order; None where they are not known.
    """
    if not len(digits):
        raise DataError(f"'{spec}' holds '0' images. Give at least one.")
    if digits.labels is not None and not force:
        raise DataError(f"'{spec}' has labels, so it is no test set to submit. Give kaggle:test, or add --force.")
    if sample_ids is not None and digits.labels is None:  # the sample is about the test set, whatever is forced
        _check_ids(digits.ids, sample_ids, spec)
    _check_target(out, spec)
    seen = len(seen_exactly(run, digits.images))
    from tenfold.runs.estimator import from_run

    given = from_run(run, device).predict_proba(digits.images).argmax(axis=1)
    content = render(digits.ids, given)
    _write(out, content)
    counts = np.bincount(given, minlength=10)
    return {
        "rows": len(digits),
        "out": str(out),
        "sha256": hashlib.sha256(content).hexdigest(),
        "counts": counts.tolist(),
        "trained_on": seen,
        "warnings": _warnings(counts, seen),
    }


def render(ids: NDArray[np.int64], labels: NDArray[np.integer]) -> bytes:
    """Return the file: `ImageId,Label`, then a line an image; lines end in LF, the last one too, as in Kaggle's sample.

    ids: (N,) int64 from 1; labels: (N,) 0 to 9.
    """
    lines = [HEADER, *(f"{number},{label}" for number, label in zip(ids.tolist(), labels.tolist(), strict=True))]
    return ("\n".join(lines) + "\n").encode("ascii")


def _sample_ids(spec: str) -> NDArray[np.int64] | None:
    """Return the ids of the sample_submission.csv that came with the data, None where none did."""
    from tenfold.data.formats import sample_submission_ids

    path = locate(spec, "submit")
    return None if path is None else sample_submission_ids(path)


def _check_ids(ids: NDArray[np.int64], sample_ids: NDArray[np.int64], spec: str) -> None:
    """Raise DataError unless the ids are those of the sample submission, in its order."""
    if len(ids) != len(sample_ids):
        raise DataError(
            f"'{spec}' has '{len(ids)}' images and its sample_submission.csv '{len(sample_ids)}' rows. "
            "Download both again."
        )
    wrong = np.flatnonzero(ids != sample_ids)
    if len(wrong):
        row = wrong[0]
        raise DataError(
            f"Image {row + 1} of '{spec}' has the id '{ids[row]}' where its sample_submission.csv has "
            f"'{sample_ids[row]}'. Download both again."
        )


def _warnings(counts: NDArray[np.int64], seen: int) -> list[str]:
    """Return what is odd about the answers, a sentence each."""
    warnings, n = [], int(counts.sum())
    low, high = USUAL_SHARE
    odd = [digit for digit in range(10) if not low <= counts[digit] / n <= high]
    if odd and n >= FEWEST_TO_JUDGE:
        shares = ", ".join(f"{digit} ({100 * counts[digit] / n:.1f}%)" for digit in odd)
        warnings.append(
            f"Some digits are far from a tenth of the answers: {shares}. Look at the images: tenfold explore."
        )
    if seen:
        warnings.append(f"{seen:,} of these {n:,} images were trained on, so their score would not be an honest one.")
    return warnings


def _check_target(out: Path, spec: str) -> None:
    """Make the folder of `out`, and raise TenfoldError where no file can be written there, before time is spent."""
    if out.is_dir():
        raise TenfoldError(f"'{out}' is a folder. Give a file in it, such as '{out / 'submission.csv'}'.")
    if out.exists() and Path(spec).exists() and out.samefile(spec):
        raise TenfoldError(f"'{out}' is the data that are to be read. Give --out another file.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(probe := out.with_name(f".{out.name}.writable"), b"")
        probe.unlink()
    except OSError as error:
        raise _not_writable(out, error) from error


def _write(out: Path, content: bytes) -> None:
    """Write the file whole; one that is there stays as it is until then."""
    try:
        write_atomically(out, content)
    except OSError as error:
        raise _not_writable(out, error) from error


def _not_writable(out: Path, error: OSError) -> TenfoldError:
    return TenfoldError(
        f"Cannot write '{out}' ({error.strerror}). Give --out a file in a folder that you may write to."
    )
