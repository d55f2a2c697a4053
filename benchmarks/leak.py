"""What a leaderboard score is worth when the training data held the answers: `padded-5x5` with the leak and without.

    python benchmarks/leak.py --out runs/leak --record results/leak.jsonl    # the same again goes on where it stopped
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

from tenfold.data import load
from tenfold.data.digits import Digits, image_hashes
from tenfold.errors import DataError, RunError, TenfoldError
from tenfold.evaluate import evaluate
from tenfold.files import npz, write_atomically
from tenfold.runs import records
from tenfold.runs.run import Run
from tenfold.runs.seen import find_seen
from tenfold.scoring.leak import ALONE, MERGED, Leak, Part, leak_table
from tenfold.train import train
from tenfold.training import recipe as recipes

TRAIN, TEST, ANSWERS = "kaggle:train", "kaggle:test", ("mnist:train", "mnist:test")
LABELLED = "test-with-recovered-labels.npz"


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
    """Return the record of one training, in `folder`/`variant`, which is gone on with where an earlier call left it."""
    path, labelled = folder / variant, folder / LABELLED
    if path.exists():
        run = Run.open(path)
        if run.recipe.config_hash() != recipes.load(recipe, overrides).config_hash() or run.manifest["seed"] != seed:
            raise RunError(f"'{path}' was trained with other settings. Give another --out, or delete it.")
        trained = train(resume=path)
    else:
        trained = train(recipe, list(specs), path, overrides=overrides, seed=seed)
    if trained["status"] != "finished":
        raise KeyboardInterrupt
    if not (path / "evaluations.jsonl").exists():
        evaluate(path, str(labelled))
    return record(Run.open(path), variant, specs, test, load(str(labelled), "evaluate"))


def record(run: Run, variant: str, specs: Sequence[str], test: str, digits: Digits) -> Leak:
    """Return the record of a finished and evaluated run: its answers apart by what it was trained on."""
    line = json.loads((run.path / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert digits.labels is not None
    sha256 = digits.content_hash()
    if line["data"]["sha256"] != sha256:
        raise RunError(f"'{run.path}' was evaluated on something else since. Give another --out, or delete it.")
    with np.load(run.path / line["file"], allow_pickle=False) as answers:
        wrong = answers["probabilities"].argmax(1) != digits.labels
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
        validation=part(held_out["probabilities"].argmax(1) != held_out["labels"]),
        validation_known=manifest["data"].get("copies", {}).get("held_out", 0),
        contained=int(np.isin(image_hashes(digits.images), everything).sum()),
        exact=part(wrong[seen.exact]),
        near=part(wrong[seen.near]),
        unseen=part(wrong[~seen.mask(len(digits))]),
    )


def part(wrong: np.ndarray) -> Part:
    """Return how many images there are, and how many of them are wrong."""
    return Part(n=len(wrong), errors=int(wrong.sum()))


def main(arguments: list[str] | None = None) -> None:
    """Train twice, print the tables, and record where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs; what is there is gone on with")
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
        sys.exit("Interrupted. The same command goes on from here.")
    for each in measured if options.record else ():
        records.append(options.record, each)
    print(leak_table(measured))
    print(json.dumps({"leak": [each.model_dump(mode="json") for each in measured]}))


def both(options: Any) -> list[Leak]:
    """Return the records of the training without the answers and of the one with them."""
    overrides = [f"data.validation={options.validation}"]
    overrides += [] if options.epochs is None else [f"training.epochs={options.epochs}"]
    test = recover_labels(load(options.test, "submit"), [load(spec, "train") for spec in options.answers])
    assert test.labels is not None
    options.out.mkdir(parents=True, exist_ok=True)
    write_atomically(options.out / LABELLED, npz(X=test.images, y=test.labels))
    variants = {ALONE: [options.train], MERGED: [options.train, *options.answers]}
    return [
        measure(variant, specs, options.test, options.out, options.recipe, overrides, options.seed)
        for variant, specs in variants.items()
    ]


if __name__ == "__main__":
    main()
