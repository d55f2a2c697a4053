"""What a leaderboard score is worth when the training data held the answers: `padded-5x5` with the leak and without.

    python benchmarks/leak.py --out runs/leak --record results/leak.jsonl    # the same again resumes
    python benchmarks/leak.py --out runs/quick --epochs 1

The competition's 42,000 + 28,000 images are MNIST's 70,000 in another order. Whoever merges MNIST into the 42,000
trains on the test, labels and all. This trains one recipe twice, on the 42,000 alone and with MNIST merged in, and asks
both for the 28,000, apart by what each was trained on.

The competition keeps the labels of its 28,000 to itself. Here they are taken from the equal images of MNIST, which is
the leak itself: these labels serve to show it, and are used for nothing else. The last line on stdout is JSON.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from records import MISSING, NOTHING, Machine, Measured, Part, newest, save  # beside this file

from tenfold.data import load
from tenfold.data.digits import Digits, image_hashes
from tenfold.errors import DataError, RunError, TenfoldError
from tenfold.files import npz, write_atomically
from tenfold.pages.page import table
from tenfold.runs.fit import fit
from tenfold.runs.ledger import find_seen
from tenfold.runs.run import Run
from tenfold.runs.scoring import kept_probabilities, score_system
from tenfold.runs.systems import open_system
from tenfold.training import recipe as recipes

FILE = "leak.jsonl"  # in the folder of results
ALONE, MERGED = "alone", "merged"
TRAIN, TEST, ANSWERS = "kaggle:train", "kaggle:test", ("mnist:train", "mnist:test")
LABELLED = "test-with-recovered-labels.npz"


class Leak(Measured):
    """One training and its answers to the competition's test images, by what it had seen of them."""

    variant: str = Field(description="alone: the competition's images; merged: with those that hold the answers")
    recipe: str
    config_sha256: str
    machine: Machine
    seed: int
    epochs: float
    seconds: float
    train_data: list[str]
    train_sha256: str
    test_data: str
    test_sha256: str
    n_train: int = Field(ge=1, description="images that the weights were fitted to")
    validation: Part = Field(description="held out, and what the checkpoint was chosen on")
    validation_known: int = Field(ge=0, description="held-out images of which the training part has a copy")
    contained: int = Field(ge=0, description="test images that are in the training data, held out or not")
    exact: Part = Field(description="test images that were trained on")
    near: Part = Field(description="test images like one that was trained on, but for small noise or a shift")
    unseen: Part = Field(description="all other test images")

    def whole(self) -> Part:
        """Return all test images."""
        return Part.sum([self.exact, self.near, self.unseen])


def block(folder: Path) -> str:
    """Return the Markdown of the newest training with the answers beside the newest without."""
    found = {each.variant: each for each in newest(folder / FILE, Leak, lambda each: each.variant)}
    return leak_table([found[ALONE], found[MERGED]]) if {ALONE, MERGED} <= found.keys() else NOTHING


BLOCKS = {"leak": block}


def leak_table(trainings: Sequence[Leak]) -> str:
    """Return two Markdown tables, a column a training: what of the test it was trained on, and how well it reads."""
    heads = [" + ".join(record.train_data) for record in trainings]
    counts = [
        ("images trained on", [record.n_train for record in trainings]),
        ("images held out to choose the epoch", [record.validation.n for record in trainings]),
        ("– of which the training part has a copy", [record.validation_known for record in trainings]),
        (f"images of {trainings[0].test_data} among all these", [record.contained for record in trainings]),
        ("– trained on, bit for bit", [record.exact.n for record in trainings]),
        ("– like one trained on, but for noise or a shift", [record.near.n for record in trainings]),
    ]
    known = recipes.load(trainings[0].recipe).published if trainings[0].recipe in recipes.available() else None
    parts = [
        ("the images held out to choose the epoch", [record.validation for record in trainings]),
        (f"{trainings[0].test_data}, all, as a leaderboard shows it", [record.whole() for record in trainings]),
        ("– the images that it was trained on", [record.exact for record in trainings]),
        ("– the images that it was not trained on", [record.unseen for record in trainings]),
    ]
    scores = [[name, *(_score(part) for part in found)] for name, found in parts]
    if known is not None and known.kaggle is not None:
        scores.insert(2, ["– published", *([""] * (len(trainings) - 1)), f"{100 * known.kaggle:.3f}%"])
    return "\n\n".join(
        [
            table(["trained on", *heads], [[name, *(f"{n:,}" for n in found)] for name, found in counts]),
            table(["right answers on", *heads], scores),
        ]
    )


def _score(part: Part) -> str:
    """Return accuracy, its 95% interval and n, or a dash where there are no images."""
    if not part.n:
        return MISSING
    low, high = part.interval()
    return f"{100 * part.accuracy:.2f}% ({100 * low:.2f} to {100 * high:.2f}), {part.errors:,} wrong of {part.n:,}"


def recover_labels(test: Digits, answers: Sequence[Digits]) -> Digits:
    """Return the test images with the labels of the equal images in `answers`; DataError where one has none, or two."""
    hashes = np.concatenate([image_hashes(digits.images) for digits in answers])
    labels = np.concatenate([digits.labels for digits in answers if digits.labels is not None])
    pairs = np.unique(np.stack([hashes, labels.astype(np.uint64)], axis=1), axis=0)
    known, counts = np.unique(pairs[:, 0], return_counts=True)
    wanted = image_hashes(test.images)
    missing = int((~np.isin(wanted, known[counts == 1])).sum())
    if missing:
        raise DataError(f"'{missing}' of the {len(test)} test images have no single label there. Give other --answers.")
    return Digits(test.images, pairs[np.searchsorted(pairs[:, 0], wanted), 1].astype(np.int64), test.ids)


def measure(
    variant: str, specs: Sequence[str], test: str, folder: Path, recipe: str, overrides: Sequence[str], seed: int
) -> Leak:
    """Return the record of one training, in `folder`/`variant`, resumed where an earlier call left it."""
    path, labelled = folder / variant, str(folder / LABELLED)
    if path.exists():
        run = Run.open(path)
        if run.recipe.config_hash() != recipes.load(recipe, overrides).config_hash() or run.manifest["seed"] != seed:
            raise RunError(f"'{path}' was trained with other settings. Give another --out, or delete it.")
    run = fit(recipe, specs, path, overrides=overrides, seed=seed, quiet=False)
    if not run.finished:
        raise KeyboardInterrupt
    digits = load(labelled, "evaluate")
    if not (path / "evaluations.jsonl").exists():
        score_system(open_system(path), digits, labelled)
    return record(Run.open(path), variant, specs, test, digits)


def record(run: Run, variant: str, specs: Sequence[str], test: str, digits: Digits) -> Leak:
    """Return the record of a finished and evaluated run: its answers apart by what it was trained on."""
    line = json.loads((run.path / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert digits.labels is not None
    sha256 = digits.content_hash()
    if line["data"]["sha256"] != sha256:
        raise RunError(f"'{run.path}' was evaluated on something else since. Give another --out, or delete it.")
    wrong = kept_probabilities(run.path / line["file"]).argmax(1) != digits.labels
    seen = find_seen(run, digits, sha256)
    if seen.unchecked:
        raise RunError(f"'{run.path}' cannot be compared with the test: {seen.unchecked}.")
    everything = np.concatenate([image_hashes(load(spec, "train").images) for spec in specs])
    held_out = run.validation()
    if held_out is None:
        raise RunError(f"'{run.path}' held no images out. Give a recipe with data.validation above 0.")
    manifest = run.manifest
    return Leak(
        variant=variant,
        recipe=run.recipe.name,
        config_sha256=run.recipe.config_hash(),
        commit=manifest["commit"],
        machine=manifest["machine"],
        versions=manifest["versions"],
        seed=manifest["seed"],
        epochs=manifest["epochs"],
        seconds=manifest["seconds"],
        train_data=[Path(spec).name for spec in specs],
        train_sha256=manifest["data"]["sha256"],
        test_data=Path(test).name,
        test_sha256=sha256,
        n_train=manifest["data"]["n_train"],
        validation=Part.of(held_out["probabilities"].argmax(1) != held_out["labels"]),
        validation_known=manifest["data"].get("copies", {}).get("held_out", 0),
        contained=int(np.isin(image_hashes(digits.images), everything).sum()),
        exact=Part.of(wrong[seen.exact]),
        near=Part.of(wrong[seen.near]),
        unseen=Part.of(wrong[~seen.mask(len(digits))]),
    )


def main(arguments: list[str] | None = None) -> None:
    """Train twice, print the tables, and record where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs; what is there is resumed")
    parser.add_argument("--recipe", default="padded-5x5")
    parser.add_argument("--epochs", type=float, help="in place of the recipe's")
    parser.add_argument("--validation", type=float, default=0.1, help="share held out to choose the epoch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", default=TRAIN, help="the competition's labelled images")
    parser.add_argument("--test", default=TEST, help="its images to predict")
    parser.add_argument("--answers", nargs="+", default=ANSWERS, help="what is merged in: labelled data with the test")
    parser.add_argument("--record", type=Path, help="append to this file, such as results/leak.jsonl")
    options = parser.parse_args(arguments)
    try:
        measured = both(options)
    except TenfoldError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit("Interrupted. The same command resumes from here.")
    save(options.record, measured)
    print(leak_table(measured))
    print(json.dumps({"leak": [each.model_dump(mode="json") for each in measured]}))


def both(options: Any) -> list[Leak]:
    """Return the records of the training without the answers and of the one with them."""
    overrides = [f"data.validation={options.validation}"]
    overrides += [] if options.epochs is None else [f"training.epochs={options.epochs}"]
    test = recover_labels(load(options.test, "submit"), [load(spec, "train") for spec in options.answers])
    assert test.labels is not None
    options.out.mkdir(parents=True, exist_ok=True)
    write_atomically(options.out / LABELLED, npz({"X": test.images, "y": test.labels}))
    variants = {ALONE: [options.train], MERGED: [options.train, *options.answers]}
    return [
        measure(variant, specs, options.test, options.out, options.recipe, overrides, options.seed)
        for variant, specs in variants.items()
    ]


if __name__ == "__main__":
    main()
