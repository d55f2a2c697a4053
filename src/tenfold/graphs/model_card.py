"""The card of an exported model: what made it, and how it fared on the images that were held out."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data import names as sources
from tenfold.metrics.intervals import wilson

if TYPE_CHECKING:
    from tenfold.runs.run import Run

ANSWERED = 0.99  # share of the held-out images that the default threshold answers
SLACK = 1e-6  # by which the threshold stands below the last of them: their confidences were computed elsewhere


def card(
    run: "Run",
    precision: str,
    temperature: float,
    labels: NDArray[np.int64] | None,
    probabilities: NDArray[np.float32] | None,
    digit: NDArray[np.float32] | None = None,
) -> dict[str, Any]:
    """Return the card, ready for JSON: the same run gives the same card, whatever folder it lies in.

    labels (N,), probabilities (N, 10), calibrated, and digit (N,), where the model gives it: of the held-out images;
    None where nothing was held out. `held_out` is then without images, `metrics` empty, and `threshold` 0.
    """
    from tenfold import __version__

    manifest = run.manifest
    spec = manifest["data"]["spec"]
    validation: dict[str, Any] = {}
    held_out: dict[str, Any] = {"n": 0, "errors": []}
    threshold = 0.0
    if labels is not None and probabilities is not None and len(labels):
        correct = probabilities.argmax(1) == labels
        sure = confidences(probabilities, digit)
        n, errors = len(labels), int((~correct).sum())
        validation = {
            "n": n,
            "errors": errors,
            "accuracy": (n - errors) / n,
            "ci95": list(wilson(n - errors, n)),
        }
        held_out = {"n": n, "errors": held_out_errors(sure, correct)}
        threshold = default_threshold(sure)
    return {
        "format": 1,
        "name": run.recipe.name,
        "recipe": manifest["recipe"],
        "config_sha256": manifest["config_sha256"],
        "version": __version__,
        "seed": manifest["seed"],
        "precision": precision,
        "temperature": temperature,
        "data": {
            "spec": _name(spec) if isinstance(spec, str) else [_name(each) for each in spec],
            "sha256": manifest["data"]["sha256"],
            "n_train": manifest["data"]["n_train"],
        },
        "metrics": {"validation": validation} if validation else {},
        "held_out": held_out,
        "threshold": threshold,
    }


def confidences(probabilities: NDArray[np.float32], digit: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Return how sure each answer is, (N,) float32 in 0 to 1: the largest probability times that of a digit at all."""
    sure = probabilities.max(1) if digit is None else probabilities.max(1) * digit
    return np.asarray(sure.clip(0, 1), np.float32)


def held_out_errors(sure: NDArray[np.float32], correct: NDArray[np.bool_]) -> list[list[Any]]:
    """Return [confidence, how many images have at least that] for each image read wrong, by falling confidence."""
    ascending = np.sort(sure)
    wrong = -np.sort(-sure[~correct])
    answered = len(sure) - np.searchsorted(ascending, wrong, side="left")
    return [[float(confidence), int(count)] for confidence, count in zip(wrong, answered, strict=True)]


def default_threshold(sure: NDArray[np.float32]) -> float:
    """Return the confidence that a share ANSWERED of the images reaches, rounded down to six digits."""
    last = float(-np.sort(-sure)[math.ceil(ANSWERED * len(sure)) - 1])
    return max(0.0, math.floor((last - SLACK) * 1e6) / 1e6)


def _name(spec: str) -> str:
    """Return a name of data as it is, and of a path its last part alone."""
    return spec if spec.partition(":")[0] in sources.NAMES else Path(spec).name
