"""What a split by writer changes: nearest neighbours with and without the writer's other images, and pools of folds.

    python benchmarks/writers.py --neighbours --record results
    python benchmarks/writers.py runs/fast-folds runs/adam-folds --record results

A pool is what `tenfold ensemble RECIPE --folds 5 --split writers --data mnist --out POOL` leaves: answers to all
images, each by a network that was trained on none of its writer's. The first pool is what the others differ from. No
test image is read. The last line on stdout is JSON.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from records import (
    MISSING,
    NOTHING,
    Machine,
    Measured,
    Part,
    dumped,
    newest,
    read_records,
    save,
    versions,
)  # beside this file

from tenfold.data import load
from tenfold.data.digits import Digits
from tenfold.data.splits import stratified_split
from tenfold.data.writers import series, with_writers
from tenfold.ensembles.pool import Pool
from tenfold.errors import RunError, TenfoldError
from tenfold.metrics.scores import log_losses
from tenfold.pages.page import table
from tenfold.runs.begin import same_data
from tenfold.runs.run import Run, commit
from tenfold.training.device import processor

FILE, FOLDS = "neighbours.jsonl", "folds.jsonl"  # in the folder of results
ASKED, SEED, CHUNK = 5000, 0, 250


class Neighbours(Measured):
    """Images held out at random, read as their nearest neighbour is: among all others, and among other writers'."""

    all_others: Part
    other_writers: Part


class Folded(Measured):
    """A pool of folds: its answers to all images, each by the member that held it out."""

    recipe: str
    changes: list[str] = Field(description="of the recipe, KEY=VALUE")
    split: str = Field(description="random or writers")
    folds: int
    seed: int
    sha256: str = Field(description="of the images and labels")
    machine: Machine
    seconds: float = Field(description="of training, all members")
    whole: Part
    kinds: dict[str, Part] = Field(description="the same by who wrote the images")
    nll: float = Field(description="calibrated log-loss, nats")
    than_first: tuple[float, float] | None = Field(
        None, description="difference of the NLL to the first pool, and noise"
    )


def neighbours(digits: Digits) -> Neighbours:
    """Return how often the nearest image, by the pixels' Euclidean distance, is of another digit."""
    assert digits.labels is not None and digits.writers is not None
    pixels = digits.images.reshape(len(digits), -1).astype(np.float32) / 255
    others, asked = stratified_split(digits.labels, ASKED, SEED)
    squares = (pixels[others] ** 2).sum(1)
    wrong = np.zeros((2, len(asked)), bool)
    for start in range(0, len(asked), CHUNK):
        part = asked[start : start + CHUNK]
        distances = squares - 2 * pixels[part] @ pixels[others].T  # but for a constant of each row
        for at, own in enumerate((False, True)):
            if own:
                distances[digits.writers[part][:, None] == digits.writers[others]] = np.inf
            nearest = others[distances.argmin(1)]
            wrong[at, start : start + CHUNK] = digits.labels[nearest] != digits.labels[part]
    return Neighbours(
        commit=commit(), versions=versions("numpy"), all_others=Part.of(wrong[0]), other_writers=Part.of(wrong[1])
    )


def folded(path: Path, first: NDArray[np.float64] | None = None) -> tuple[Folded, NDArray[np.float64]]:
    """Return the record of a pool, and each image's log-loss, (N,); first: those of the first pool."""
    from tenfold.console import PlainConsole
    from tenfold.ensembles.pool import POOL, Begun
    from tenfold.files import MOST_TEXT, parse_json, read_bytes

    settings = parse_json(read_bytes(path / POOL, MOST_TEXT), Begun)
    run = Run.open(path)
    found = run.validation()
    digits = with_writers(same_data(run, (), PlainConsole(quiet=True)), needed=True)
    if settings.folds is None or found is None or len(found["labels"]) != len(digits):
        raise RunError(f"'{path}' has no answers to all of its images. Give a pool that was made with --folds.")
    wrong = found["probabilities"].argmax(1) != found["labels"]
    losses = log_losses(found["labels"], found["probabilities"])
    assert digits.writers is not None
    members = Pool(path, settings, settings.precisions).trained(settings.folds)
    split = Run.open(members[0].folder).recipe.data.split
    difference = None if first is None else losses - first
    record = Folded(
        commit=run.manifest["commit"],
        versions=run.manifest["versions"],
        recipe=", ".join(settings.recipes),
        changes=[each for each in settings.overrides if not each.startswith("data.split=")],
        split=split,
        folds=settings.folds,
        seed=settings.seed,
        sha256=run.manifest["data"]["sha256"],
        machine={"cpu": processor(), **{key: run.manifest["machine"].get(key) for key in ("threads", "precision")}},
        seconds=run.manifest["seconds"],
        whole=Part.of(wrong),
        kinds={kind: Part.of(wrong[which]) for kind, which in series(digits.writers).items()},
        nll=float(losses.mean()),
        than_first=None
        if difference is None
        else (float(difference.mean()), float(difference.std() / len(difference) ** 0.5)),
    )
    return record, losses


def neighbours_block(folder: Path) -> str:
    """Return the Markdown of the newest comparison of neighbours."""
    if not (found := read_records(folder / FILE, Neighbours)):
        return NOTHING
    rows = [
        ["all other images", found[-1].all_others.words()],
        ["other writers' images alone", found[-1].other_writers.words()],
    ]
    return table([f"nearest neighbour of {found[-1].all_others.n:,} held-out images, among", "right"], rows)


def folds_block(folder: Path) -> str:
    """Return the Markdown of every pool of folds, the newest of each kind."""
    pools = newest(folder / FOLDS, Folded, lambda each: (each.recipe, *each.changes, each.split))
    rows = [
        [
            f"`{each.recipe}`" + "".join(f", {change}" for change in each.changes),
            each.split,
            f"{each.whole.errors:,}",
            *(f"{each.kinds[kind].errors:,}" if kind in each.kinds else MISSING for kind in ("employees", "students")),
            f"{each.nll:.5f}",
            MISSING if each.than_first is None else f"{each.than_first[0]:+.5f} ± {each.than_first[1]:.5f}",
            f"{each.seconds / each.folds:.0f} s",
        ]
        for each in pools
    ]
    head = ["system", "folds by", "errors", "employees'", "students'", "NLL", "than the first", "one training"]
    return table(head, rows) if rows else NOTHING


BLOCKS = {"neighbours": neighbours_block, "folds": folds_block}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables, and record where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pools", nargs="*", type=Path, metavar="POOL", help="the first is what the others differ from")
    parser.add_argument("--neighbours", action="store_true", help="ask nearest neighbours too")
    parser.add_argument("--record", type=Path, help="append to files in this folder, such as results")
    options = parser.parse_args(arguments)
    asked: list[Neighbours] = []
    found: list[Folded] = []
    try:
        if options.neighbours:
            asked.append(neighbours(with_writers(load("mnist:train"), needed=True)))
        first = None
        for pool in options.pools:
            record, losses = folded(pool, first)
            found.append(record)
            first = losses if first is None else first
    except TenfoldError as error:
        sys.exit(f"Error: {error}")
    if options.record is not None:
        save(options.record / FILE, asked)
        save(options.record / FOLDS, found)
    print(json.dumps({"neighbours": dumped(asked), "folds": dumped(found)}))


if __name__ == "__main__":
    main()
