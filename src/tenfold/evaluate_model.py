"""An exported model + labelled data -> how well it reads them, how often it abstains, and how often it is wrong then.

Needs nothing that training needs. A model file does not carry the images that it was trained on, so an overlap with
them cannot be looked for here: `tenfold evaluate RUN` does that.
"""

import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold.data import load
from tenfold.errors import DataError
from tenfold.metrics import scores as metrics
from tenfold.metrics.intervals import wilson
from tenfold.pages.page import count, number, percent
from tenfold.runs import ledger

if TYPE_CHECKING:
    from rich.console import Console

    from tenfold.runtime.recogniser import Answers


def evaluate_model(
    model: str | Path,
    data: str,
    *,
    max_error: float | None = None,
    threshold: float | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Return the score of a model on labelled data, and record the look in the ledger.

    model: an .onnx file that `tenfold export` wrote, or `shipped` or `tiny`. data: a name or a path, such as
    `mnist:test`. max_error, threshold: when it answers, as in `Recogniser.load`. quiet: print nothing; otherwise a
    summary goes to stderr.

    Keys: model {name, recipe, precision, sha256}, data {spec, sha256, n}, what `metrics.score` gives of all images,
    answered or not, threshold, coverage (share answered) and its ci95 coverage_ci95, answered {n, errors, accuracy,
    ci95}, abstentions {reason: how many}, errors_per_digit (ten counts), seconds and images_per_second (of reading),
    looks and models_looked, time. Fractions are 0 to 1.
    Raises ModelError for a model that is refused, DataError for data that cannot be read or have no labels.
    """
    from rich.console import Console

    from tenfold.runtime.recogniser import Recogniser

    recogniser = Recogniser.load(model, max_error=max_error, threshold=threshold)
    digits = load(data, "evaluate")
    if digits.labels is None or not len(digits):
        raise DataError(f"'{data}' has no labelled images to score against. Give labelled data, such as mnist:test.")
    console = Console(stderr=True, quiet=quiet, highlight=False)
    start = time.perf_counter()
    answers = recogniser.predict(digits.images)
    seconds = time.perf_counter() - start
    sha256, card = digits.content_hash(), recogniser.card
    scored = metrics.score(digits.labels, answers.probabilities)
    wrong = answers.probabilities.argmax(1) != digits.labels
    result: dict[str, Any] = {
        "model": {"name": card.name, "recipe": card.recipe, "precision": card.precision, "sha256": recogniser.sha256},
        "data": {"spec": data, "sha256": sha256, "n": len(digits)},
        **scored,
        "threshold": recogniser.threshold,
        **_coverage(answers, wrong),
        "errors_per_digit": np.bincount(digits.labels[wrong], minlength=10).tolist(),
        "seconds": seconds,
        "images_per_second": len(digits) / seconds,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    ledger.record(
        ledger.Look(
            time=result["time"],
            run=str(model),
            weights_sha256=recogniser.sha256,
            data_sha256=sha256,
            spec=data,
            n=len(digits),
            accuracy=result["accuracy"],
        )
    )
    result |= {"looks": ledger.looks(sha256), "models_looked": ledger.models(sha256)}
    _show(result, console)
    return result


def _coverage(answers: "Answers", wrong: "np.ndarray") -> dict[str, Any]:
    """Return how many images were answered, how many of those wrongly, and why the others were not."""
    given = ~answers.abstained
    n, errors = int(given.sum()), int((wrong & given).sum())
    reasons = Counter(
        str(answers.reason(index)).partition(":")[0] for index in np.flatnonzero(answers.abstained).tolist()
    )
    return {
        "coverage": n / len(given),
        "coverage_ci95": list(wilson(n, len(given))),
        "answered": {
            "n": n,
            "errors": errors,
            "accuracy": (n - errors) / n if n else None,
            "ci95": list(wilson(n - errors, n)) if n else None,
        },
        "abstentions": dict(sorted(reasons.items())),
    }


def wrong(errors: int, n: int) -> str:
    """Return "1 error in 100"."""
    return f"{errors:,} {'error' if errors == 1 else 'errors'} in {n:,}"


def _show(result: dict[str, Any], console: "Console") -> None:
    """Print the score and the coverage."""
    from rich.table import Table
    from rich.text import Text

    answered, n = result["answered"], result["n"]
    low, high = result["ci95"]
    of_answered = wrong(answered["errors"], answered["n"])
    if answered["ci95"]:
        of_answered += f", 95% interval {percent(answered['ci95'][0])} to {percent(answered['ci95'][1])}"
    reasons = ", ".join(f"{reason} ({times:,})" for reason, times in result["abstentions"].items())
    models = result["models_looked"]
    worst = sorted(enumerate(result["errors_per_digit"]), key=lambda each: -each[1])[:3]
    rows = [
        (
            "best guess",
            percent(result["accuracy"]),
            f"{wrong(result['errors'], n)}, 95% interval {percent(low)} to {percent(high)}",
        ),
        ("answered", percent(result["coverage"]), f"confidence of {number(result['threshold'])} or more"),
        ("right then", "–" if answered["accuracy"] is None else percent(answered["accuracy"]), of_answered),
        ("abstained", f"{n - answered['n']:,}", reasons or "never"),
        ("misread", "", ", ".join(f"{digit} ({errors:,})" for digit, errors in worst if errors) or "nothing"),
        ("speed", count(result["images_per_second"]), "images a second"),
        (
            "looks",
            str(result["looks"]),
            f"at these data on this machine, by {models} {'model' if models == 1 else 'models'}",
        ),
    ]
    table = Table.grid(padding=(0, 2))
    for name, value, note in rows:
        table.add_row(Text(name, "dim"), Text(value, "bold"), Text(note))
    console.print(table)
