"""Run + labelled data -> a record of how well the run reads them; the only place where test labels are read.

In this order: what the data share with those the run was trained on is found and named; the run predicts; the look is
written to the ledger; only then is the score shown.
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data import load
from tenfold.data.digits import Digits
from tenfold.errors import DataError, RunError
from tenfold.metrics import scores as metrics
from tenfold.pages.page import count, number, percent
from tenfold.runs import ledger
from tenfold.runs.seen import Seen, figures, find_seen, not_writable, write_npz

if TYPE_CHECKING:
    from rich.console import Console

    from tenfold.runs.run import Run

KEPT_MISTAKES = 100  # whose pictures stay with the run, for the report


def evaluate(
    run: Path, data: str, *, tta: bool | None = None, device: str = "auto", quiet: bool = False
) -> dict[str, Any]:
    """Return the score of the run on labelled data, and record it in the run's folder and in the ledger.

    run: a folder that `train` wrote. data: a name or a path, such as `mnist:test`.
    tta: average over shifted copies (test-time augmentation) or not; None leaves it to the recipe.
    quiet: print nothing; otherwise a summary goes to stderr, the overlap with the training data before the score.

    Keys: run, data {spec, sha256, n}, overlap {exact, near, near_checked, accuracy_on_overlap, accuracy_without,
    n_without, ci95_without}, what `metrics.score` gives, tta (whether it was used), seconds and images_per_second (of
    predicting), looks and models_looked (at these data on this machine, this look included), time, file, report.
    Fractions are 0 to 1.
    Raises RunError for a folder that is no run, DataError for data that cannot be read or have no labels.
    """
    from rich.console import Console

    from tenfold.pages.report import write_report
    from tenfold.runs.run import Run

    opened = Run.open(run)
    digits = load(data, "evaluate")
    console = Console(stderr=True, quiet=quiet, highlight=False)
    result = score_run(opened, digits, data, tta=tta, device=device, console=console)
    result["report"] = str(write_report(opened))
    console.print(f"Report: {result['report']}", markup=False, soft_wrap=True)
    return result


def score_run(
    run: "Run", digits: Digits, spec: str, *, tta: bool | None, device: str, console: "Console"
) -> dict[str, Any]:
    """Return `evaluate`'s result but for the report, with the look recorded in the run's folder and in the ledger."""
    if digits.labels is None:
        raise DataError(f"'{spec}' has no labels to score against. Give labelled data, such as mnist:test.")
    labels, n, sha256 = digits.labels, len(digits), digits.content_hash()
    if not n:
        raise DataError(f"'{spec}' holds '0' images. Give at least one.")

    with console.status(f"Comparing {n:,} images with those trained on"):
        seen = find_seen(run, digits, sha256)
    _show_overlap(seen, n, console)
    shifts = _shifts(run, tta)
    with console.status(f"Reading {n:,} images"):
        probabilities, seconds = predict(run, digits.images, shifts, device)

    result: dict[str, Any] = {
        "run": str(run.path),
        "data": {"spec": spec, "sha256": sha256, "n": n},
        "overlap": figures(seen, labels, probabilities),
        **metrics.score(labels, probabilities),
        "tta": shifts > 0,
        "seconds": seconds,
        "images_per_second": n / seconds,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    _record(run, result, digits, probabilities)
    _show_score(result, console)
    return result


def predict(run: "Run", images: NDArray[np.uint8], shifts: int, device: str) -> tuple[NDArray[np.float32], float]:
    """Return the run's probabilities (N, 10) for images (N, 28, 28) uint8 and the seconds that predicting took.

    shifts: average over shifts of up to so many pixels; 0 for a classical model.
    """
    from tenfold.runs.estimator import from_run

    classifier = from_run(run, device)
    if shifts != run.recipe.prediction.shifts:
        prediction = run.recipe.prediction.model_copy(update={"shifts": shifts})
        classifier.recipe_ = run.recipe.model_copy(update={"prediction": prediction})
    start = time.perf_counter()
    probabilities = classifier.predict_proba(images)
    return probabilities, time.perf_counter() - start


def _shifts(run: "Run", tta: bool | None) -> int:
    """Return how far to shift for test-time augmentation: the recipe's word, or at least 1 or 0 where `tta` says so.

    Raises RunError where it is asked of a classical model.
    """
    if tta and run.recipe.classical:
        raise RunError(f"'{run.recipe.model.kind}' is no network, so it answers each image once. Leave --tta away.")
    own = run.recipe.prediction.shifts
    return own if tta is None else max(own, 1) if tta else 0


def _record(run: "Run", result: dict[str, Any], digits: Digits, probabilities: NDArray[np.float32]) -> None:
    """Write the look to the ledger and the run's folder, and add looks, models_looked and file to the result."""
    sha256 = result["data"]["sha256"]
    ledger.record(
        ledger.Look(
            time=result["time"],
            run=str(run.path.resolve()),
            weights_sha256=run.weights_sha256(),
            data_sha256=sha256,
            spec=result["data"]["spec"],
            n=result["n"],
            accuracy=result["accuracy"],
        )
    )
    result |= {"looks": ledger.looks(sha256), "models_looked": ledger.models(sha256)}
    assert digits.labels is not None
    mistakes = metrics.most_confident_mistakes(digits.labels, probabilities, KEPT_MISTAKES)
    try:
        file = _next_file(run.path / "evaluations")
        write_npz(
            file,
            labels=digits.labels,
            probabilities=probabilities,
            ids=digits.ids,
            mistake_indices=mistakes,
            mistake_images=digits.images[mistakes],
        )
        result["file"] = file.relative_to(run.path).as_posix()
        line = {key: value for key, value in result.items() if key != "run"}  # a run's folder may be moved
        ledger.append_line(run.path / "evaluations.jsonl", line)
    except OSError as error:
        raise not_writable(run.path, error) from error


def _next_file(folder: Path) -> Path:
    """Return the first of 1.npz, 2.npz, ... that is free, taken by an empty file so that no other process takes it."""
    folder.mkdir(exist_ok=True)
    number = 1
    while True:
        file = folder / f"{number}.npz"
        try:
            file.open("x").close()
        except FileExistsError:
            number += 1
        else:
            return file


def _show_overlap(seen: Seen, n: int, console: "Console") -> None:
    """Name the overlap with the training data, before any score."""
    both = len(seen.exact) + len(seen.near)
    if both:
        console.print(
            f"[bold yellow]Overlap: {both:,} of these {n:,} images were trained on[/] "
            f"({len(seen.exact):,} exactly, {len(seen.near):,} nearly). The honest score is the one without them."
        )
    if seen.unchecked:
        console.print(f"Near duplicates were not looked for: {seen.unchecked}", style="yellow", markup=False)


def _show_score(result: dict[str, Any], console: "Console") -> None:
    """Print the score, without the overlapping images first."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for name, value, note in _rows(result):
        table.add_row(Text(name, "dim"), Text(value, "bold"), Text(note))
    console.print()
    console.print(table)


def _rows(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the lines of the summary: name, value, what belongs to it."""
    overlap, rows = result["overlap"], []
    if overlap["exact"] or overlap["near"]:
        note = f"{overlap['n_without']:,} images"
        if overlap["ci95_without"]:
            note += f", 95% interval {_span(overlap['ci95_without'])}"
        shared = result["n"] - overlap["n_without"]
        rows.append(("without overlap", percent(overlap["accuracy_without"]), note))
        rows.append(("overlap alone", percent(overlap["accuracy_on_overlap"]), f"{shared:,} images"))
    score = f"{result['errors']:,} errors in {result['n']:,}, 95% interval {_span(result['ci95'])}"
    table = np.array(result["confusion"])
    np.fill_diagonal(table, 0)
    worst = [divmod(int(cell), len(table)) for cell in np.argsort(-table, axis=None, kind="stable")[:3]]
    confused = [f"{true} read as {given} ({table[true, given]:,})" for true, given in worst if table[true, given]]
    looks, models = result["looks"], result["models_looked"]
    rows += [
        ("accuracy", percent(result["accuracy"]), score),
        ("calibration", percent(result["ece"]), "expected calibration error"),
        ("NLL", number(result["nll"]), f"Brier score {number(result['brier'])}"),
        ("confused", "", ", ".join(confused) or "nothing"),
        ("speed", count(result["images_per_second"]), "images a second"),
        ("looks", str(looks), f"at these data on this machine, by {models} {'model' if models == 1 else 'models'}"),
    ]
    return rows


def _span(interval: list[float]) -> str:
    return f"{percent(interval[0])} to {percent(interval[1])}"
