"""The card of an exported model: what made it, and how it fared on the images that were held out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data import names as sources
from tenfold.metrics.intervals import wilson
from tenfold.runtime.abstain import confidences, default_threshold, held_out_errors

if TYPE_CHECKING:
    from tenfold.runs.run import Run


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


def _name(spec: str) -> str:
    """Return a name of data as it is, and of a path its last part alone."""
    return spec if spec.partition(":")[0] in sources.NAMES else Path(spec).name
