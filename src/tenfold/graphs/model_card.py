"""The card of an exported model: what made it, and how it fared on the images that were held out."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold import __version__
from tenfold.data import names as sources
from tenfold.metrics.intervals import wilson
from tenfold.runs.run import Run
from tenfold.runtime.abstain import confidences, default_threshold, held_out_errors


class HeldOut(NamedTuple):
    """The held-out images' labels (N,), and what the model answers to them."""

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]  # (N, 10), calibrated
    digit_probability: NDArray[np.float32] | None = None  # (N,), of being a digit at all, where the model gives it


def card_of(run: Run, precision: str, temperature: float, held_out: HeldOut | None) -> dict[str, Any]:
    """Return the card, ready for JSON: the same run gives the same card, whatever folder it lies in.

    Without `held_out`, that entry is without images, `metrics` empty, and `threshold` 0.
    """
    manifest = run.manifest
    spec = manifest["data"]["spec"]
    card: dict[str, Any] = {
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
        "metrics": {},
        "held_out": {"n": 0, "errors": []},
        "threshold": 0.0,
    }
    if held_out is not None and len(held_out.labels):
        correct = held_out.probabilities.argmax(1) == held_out.labels
        sure = confidences(held_out.probabilities, held_out.digit_probability)
        n, right = len(correct), int(correct.sum())
        score = {"n": n, "errors": n - right, "accuracy": right / n, "ci95": list(wilson(right, n))}
        card |= {
            "metrics": {"validation": score},
            "held_out": {"n": n, "errors": held_out_errors(sure, correct)},
            "threshold": default_threshold(sure),
        }
    return card


def _name(spec: str) -> str:
    """Return a name of data as it is, and of a path its last part alone."""
    return spec if spec.partition(":")[0] in sources.NAMES else Path(spec).name
