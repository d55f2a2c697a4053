"""How well models read MNIST's test images under the fifteen corruptions of Mu and Gilmer (2019), made by our own code.

    python benchmarks/robustness.py fast=runs/fast world=model.onnx
    python benchmarks/robustness.py fast=runs/fast --record results/robustness.jsonl --sheet docs/corruptions.png

A model is a run's folder or a model file that `tenfold export` wrote. It answers every image with its likeliest digit,
sure of it or not. The images are those of `corruptions.py` at a fixed seed, not the published files, so scores are near
the published ones but not the same. Nothing may be chosen by them: this is the test set, and each look at it is written
to the ledger. The last line on stdout is JSON.
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from corruptions import CORRUPTIONS, corrupted  # beside this file
from numpy.typing import NDArray

from tenfold import __version__
from tenfold.data import load
from tenfold.data.digits import Digits
from tenfold.errors import DataError, TenfoldError
from tenfold.runs import ledger, records
from tenfold.runs.estimator import from_run
from tenfold.runs.provenance import commit
from tenfold.runs.results import DataUsed
from tenfold.scoring.leak import Part
from tenfold.scoring.robustness import Robustness, accuracy, robustness_table

SHEET_COLUMNS = 20
Probabilities = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class Model(NamedTuple):
    """What answers, and what it is."""

    name: str
    path: Path
    probabilities: Probabilities
    recipe: str
    config_sha256: str
    weights_sha256: str
    versions: dict[str, str]


def open_model(words: str) -> Model:
    """Return the model that NAME=PATH, or a path alone, names; DataError where there is nothing."""
    name, _, place = words.rpartition("=")
    path = Path(place)
    if not path.exists():
        raise DataError(f"There is no model '{place}'. Give NAME=FOLDER of a run, or NAME=FILE.onnx.")
    name = name or path.stem
    if path.is_dir():
        from tenfold.runs.run import Run

        run = Run.open(path)
        recipe, versions = run.recipe, run.manifest["versions"]
        answer = from_run(run).predict_proba
        return Model(name, path, answer, recipe.name, recipe.config_hash(), run.weights_sha256(), versions)
    from tenfold.runtime.recogniser import Recogniser

    recogniser = Recogniser.load(path)
    card = recogniser.card
    versions = {"tenfold": __version__, "python": platform.python_version(), "numpy": np.__version__}
    config_sha256 = card.fields["config_sha256"]
    return Model(name, path, recogniser.probabilities, card.recipe, config_sha256, recogniser.sha256, versions)


def measure(models: Sequence[Model], digits: Digits, spec: str, seed: int) -> list[Robustness]:
    """Return each model's record on the images and on all their corruptions; progress goes to stderr."""
    if digits.labels is None or not len(digits):
        raise DataError(f"'{spec}' has no labelled images. Give labelled data, such as mnist:test.")
    wrong: list[dict[str, Part]] = [{} for _ in models]
    for name in ("clean", *CORRUPTIONS):
        images = digits.images if name == "clean" else corrupted(name, digits.images, seed)
        for model, parts in zip(models, wrong, strict=True):
            errors = int((model.probabilities(images).argmax(1) != digits.labels).sum())
            parts[name] = Part(n=len(digits), errors=errors)
            if name == "clean":
                _write_down(model, digits, spec, accuracy(parts[name]))
        print(f"{name}: {', '.join(f'{100 * accuracy(parts[name]):.2f}%' for parts in wrong)}", file=sys.stderr)
    used = DataUsed(spec=Path(spec).name, sha256=digits.content_hash(), n=len(digits))
    return [
        Robustness(
            name=model.name,
            recipe=model.recipe,
            config_sha256=model.config_sha256,
            weights_sha256=model.weights_sha256,
            commit=commit(),
            versions=model.versions,
            data=used,
            seed=seed,
            clean=parts.pop("clean"),
            corruptions=parts,
        )
        for model, parts in zip(models, wrong, strict=True)
    ]


def _write_down(model: Model, digits: Digits, spec: str, score: float) -> None:
    """Write the look at labelled images to the ledger, as `evaluate` does."""
    ledger.record(
        ledger.Look(
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            run=str(model.path.resolve()),
            weights_sha256=model.weights_sha256,
            data_sha256=digits.content_hash(),
            spec=spec,
            n=len(digits),
            accuracy=score,
        )
    )


def write_sheet(path: Path, images: NDArray[np.uint8], seed: int) -> None:
    """Write a picture, a row for the images and one for each corruption in its order, at twice the size."""
    from PIL import Image

    from tenfold.pages.page import sheet

    some = images[:SHEET_COLUMNS]
    rows = np.concatenate([some, *(corrupted(name, some, seed) for name in CORRUPTIONS)])
    picture = sheet(rows, len(some), gap=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.repeat(2, 0).repeat(2, 1)).save(path, optimize=True)


def main(arguments: list[str] | None = None) -> None:
    """Score the models, print the table, and record where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="NAME=PATH", help="a run's folder, or a model file")
    parser.add_argument("--data", default="mnist:test", help="labelled images in MNIST's frame")
    parser.add_argument("--seed", type=int, default=0, help="of the corruptions")
    parser.add_argument("--record", type=Path, help="append to this file, such as results/robustness.jsonl")
    parser.add_argument("--sheet", type=Path, help="write a picture of the corruptions here")
    options = parser.parse_args(arguments)
    try:
        models = [open_model(words) for words in options.models]
        digits = load(options.data, "evaluate")
        measured = measure(models, digits, options.data, options.seed)
    except TenfoldError as error:
        sys.exit(f"Error: {error}")
    for record in measured if options.record else ():
        records.append(options.record, record)
    if options.sheet:
        write_sheet(options.sheet, digits.images, options.seed)
    print(robustness_table(measured))
    means = {record.name: record.mean() for record in measured}
    print(json.dumps({"mean": means, "robustness": [record.model_dump(mode="json") for record in measured]}))


if __name__ == "__main__":
    main()
