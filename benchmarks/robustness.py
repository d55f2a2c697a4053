"""How well models read MNIST's test images under the fifteen corruptions of Mu and Gilmer (2019), made by our own code.

    python benchmarks/robustness.py fast=runs/fast world=model.onnx
    python benchmarks/robustness.py fast=runs/fast --record results/robustness.jsonl --sheet docs/corruptions.png

A model is whatever `tenfold evaluate` takes. It answers every image with its likeliest digit, sure of it or not. The
images are those of `corruptions.py` at a fixed seed, not the published files, so scores are near the published ones but
not the same. Nothing may be chosen by them: this is the test set, and each look at it is written to the ledger. The
last line on stdout is JSON.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from corruptions import CORRUPTIONS, corrupted  # beside this file
from numpy.typing import NDArray
from pydantic import Field
from records import NOTHING, Measured, Part, dumped, read_records, save, versions, write_look

from tenfold.data import load
from tenfold.data.digits import Digits
from tenfold.errors import DataError, TenfoldError
from tenfold.pages.page import table
from tenfold.runs.results import DataUsed
from tenfold.runs.run import commit
from tenfold.runs.systems import System, open_system

FILE = "robustness.jsonl"  # in the folder of results
SHEET_COLUMNS = 20


class Robustness(Measured):
    """One model's answers to images as they are and under each corruption, whose random numbers `seed` fixes."""

    name: str = Field(min_length=1, description="what the tables call the model")
    recipe: str
    config_sha256: str
    weights_sha256: str = Field(description="of the weights, or of the model file")
    data: DataUsed
    seed: int = Field(ge=0)
    clean: Part
    corruptions: dict[str, Part] = Field(min_length=1, description="in the order that they were made in")

    def mean(self) -> float:
        """Return the mean over the corruptions of the share of right answers, the clean images left out."""
        return statistics.fmean(part.accuracy for part in self.corruptions.values())


def block(folder: Path) -> str:
    """Return the Markdown of the newest record of each model on the newest record's images and seed."""
    found = read_records(folder / FILE, Robustness)
    if not found:
        return NOTHING
    last = found[-1]
    same = [record for record in found if (record.data, record.seed) == (last.data, last.seed)]
    newest = {record.name: record for record in same if record.corruptions.keys() == last.corruptions.keys()}
    return robustness_table(list(newest.values()))


BLOCKS = {"robustness": block}


def robustness_table(measured: Sequence[Robustness]) -> str:
    """Return a Markdown table, a row a corruption and a column a model: right answers in percent, and how many wrong.

    The first row is the clean images' with their 95% interval, the second the mean over the corruptions. All records
    must have the same corruptions.
    """
    rows = [["none: the images as they are", *(record.clean.words() for record in measured)]]
    rows.append(["**mean of the corruptions**", *(f"**{100 * record.mean():.2f}%**" for record in measured)])
    for name in measured[0].corruptions:
        rows.append([name.replace("_", " "), *(_short(record.corruptions[name]) for record in measured)])
    n = f"{measured[0].clean.n:,}"
    return table([f"corruption of {measured[0].data.spec}, {n} images each", *(each.name for each in measured)], rows)


def _short(part: Part) -> str:
    return f"{100 * part.accuracy:.2f}% ({part.errors:,} wrong)"


def measure(models: Mapping[str, System], digits: Digits, spec: str, seed: int) -> list[Robustness]:
    """Return each model's record on the images and on all their corruptions; progress goes to stderr."""
    if digits.labels is None or not len(digits):
        raise DataError(f"'{spec}' has no labelled images. Give labelled data, such as mnist:test.")
    used = DataUsed(spec=Path(spec).name, sha256=digits.content_hash(), n=len(digits))
    wrong: list[dict[str, Part]] = [{} for _ in models]
    for name in ("clean", *CORRUPTIONS):
        images = digits.images if name == "clean" else corrupted(name, digits.images, seed)
        for model, parts in zip(models.values(), wrong, strict=True):
            parts[name] = Part.of(model.probabilities(images).argmax(1) != digits.labels)
            if name == "clean":
                write_look(Path(model.path).resolve(), model.sha256, used, parts[name].accuracy)
        print(f"{name}: {', '.join(f'{100 * parts[name].accuracy:.2f}%' for parts in wrong)}", file=sys.stderr)
    return [
        Robustness(
            name=name,
            recipe=model.recipe,
            config_sha256=config_sha256(model),
            weights_sha256=model.sha256,
            commit=commit(),
            versions=model.run.manifest["versions"] if model.run else versions("numpy"),
            data=used,
            seed=seed,
            clean=parts.pop("clean"),
            corruptions=parts,
        )
        for (name, model), parts in zip(models.items(), wrong, strict=True)
    ]


def config_sha256(model: System) -> str:
    """Return the hash of the recipe that a run or a model was trained by."""
    return model.run.recipe.config_hash() if model.run else model.card.fields["config_sha256"]


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
        pairs = [(words.rpartition("=")[0], words.rpartition("=")[2]) for words in options.models]
        models = {name or Path(place).stem: open_system(place) for name, place in pairs}
        digits = load(options.data, "evaluate")
        measured = measure(models, digits, options.data, options.seed)
    except TenfoldError as error:
        sys.exit(f"Error: {error}")
    save(options.record, measured)
    if options.sheet:
        write_sheet(options.sheet, digits.images, options.seed)
    print(robustness_table(measured))
    means = {record.name: record.mean() for record in measured}
    print(json.dumps({"mean": means, "robustness": dumped(measured)}))


if __name__ == "__main__":
    main()
