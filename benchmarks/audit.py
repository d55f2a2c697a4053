"""What audited labels are worth: to training, and to what can be promised, by out-of-fold answers.

    python benchmarks/audit.py decisions.csv --pool runs/folds --plain runs/a --audited runs/b --record results

decisions.csv: what `tenfold audit runs/folds --auto 0.9` wrote. --pool: what it audited, whose answers also say what
can be promised with the labels as they are, and as they are audited. --plain, --audited: two pools of the same recipe,
seed and folds by writer, the second made with `--labels decisions.csv`; both are judged by either labels on all images
that stay. No test image is read. The last line on stdout is JSON.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from records import MISSING, NOTHING, Measured, Part, dumped, read_records, save  # beside this file

from tenfold.console import PlainConsole
from tenfold.data import decisions
from tenfold.data.digits import Digits
from tenfold.ensembles.pool import POOL, Begun
from tenfold.errors import ModelError, RunError, TenfoldError
from tenfold.files import MOST_TEXT, parse_json, read_bytes
from tenfold.metrics.scores import log_losses
from tenfold.pages.page import table
from tenfold.runs.begin import same_data
from tenfold.runs.run import Run, commit
from tenfold.runtime.abstain import confidences, guarantee, held_out_errors

FILE = "audit.jsonl"  # in the folder of results
LIMITS = (0.001, 0.0005)
PLAIN, AUDITED = "as they are", "audited"


class Promise(Measured):
    """What may be promised of out-of-fold answers: the largest share that can be answered; None for no promise."""

    max_error: float
    labels: str
    n: int
    coverage: float | None
    errors: int | None


class Trained(Measured):
    """A pool of folds, judged by labels as they are or audited."""

    trained_on: str
    judged_by: str
    recipe: str
    whole: Part
    nll: float
    than_plain: tuple[float, float] | None = Field(
        None, description="difference of the NLL to training on labels as they are"
    )


class Audit(Measured):
    """How many labels were suspect, and what was decided."""

    recipe: str
    n: int
    decided: dict[str, int]
    promises: list[Promise]
    trained: list[Trained]


def out_of_fold(path: Path) -> tuple[Run, Digits, NDArray[np.float32]]:
    """Return a pool as a run, its images and its answers to them, (N, 10)."""
    run = Run.open(path)
    found, digits = run.validation(), same_data(run, (), PlainConsole(quiet=True))
    if found is None or len(found["labels"]) != len(digits):
        raise RunError(f"'{path}' has no answers to all of its images. Give a pool that was made with --folds.")
    return run, digits, found["probabilities"]


def audited(digits: Digits, file: Path) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the labels, (N,), as decided, and which images stay, (N,) bool."""
    assert digits.labels is not None
    labels, kept = digits.labels.copy(), np.ones(len(digits), bool)
    decided = {row.key: row for row in decisions.parse(decisions.read(file), file)}
    for index, key in enumerate(zip(decisions.hashes_of(digits), digits.labels.tolist(), strict=True)):
        if (row := decided.get(key)) is not None:
            kept[index] = row.target is not None
            labels[index] = row.given if row.target is None else row.target
    return labels, kept


def promises(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64], name: str, facts: dict[str, Any]
) -> list[Promise]:
    """Return for each limit what can be promised of these answers, by these labels."""
    sure, right = confidences(probabilities, None), probabilities.argmax(1) == labels
    card = SimpleNamespace(n=len(labels), held_out=held_out_errors(sure, right), name=name)
    rows = []
    for limit in LIMITS:
        try:
            found = guarantee(card, limit)  # type: ignore[arg-type]
            rows.append(
                Promise(
                    **facts,
                    max_error=limit,
                    labels=name,
                    n=len(labels),
                    coverage=found.answered / found.n,
                    errors=found.errors,
                )
            )
        except ModelError:
            rows.append(Promise(**facts, max_error=limit, labels=name, n=len(labels), coverage=None, errors=None))
    return rows


def measure(file: Path, pool: Path, plain: Path | None, other: Path | None) -> Audit:
    """Return the record."""
    run, digits, probabilities = out_of_fold(pool)
    facts = {"commit": commit(), "versions": run.manifest["versions"]}
    assert digits.labels is not None
    labels, kept = audited(digits, file)
    found = promises(probabilities, digits.labels, PLAIN, facts) + promises(
        probabilities[kept], labels[kept], AUDITED, facts
    )
    trained: list[Trained] = []
    if plain is not None and other is not None:
        _, all_digits, answers = out_of_fold(plain)
        _, fewer, others = out_of_fold(other)
        assert all_digits.labels is not None
        labels, kept = audited(all_digits, file)
        if not np.array_equal(all_digits.images[kept], fewer.images):
            raise RunError(f"'{other}' was not trained on the data of '{plain}' by '{file}'. Make it with --labels.")
        for judged_by, truth in ((PLAIN, all_digits.labels[kept]), (AUDITED, labels[kept])):
            losses = [log_losses(truth, each) for each in (answers[kept], others)]
            difference = losses[1] - losses[0]
            noise = float(difference.std() / len(difference) ** 0.5)
            for name, own, loss in ((PLAIN, answers[kept], losses[0]), (AUDITED, others, losses[1])):
                trained.append(
                    Trained(
                        **facts,
                        trained_on=name,
                        judged_by=judged_by,
                        recipe=_recipes(plain),
                        whole=Part.of(own.argmax(1) != truth),
                        nll=float(loss.mean()),
                        than_plain=None if name == PLAIN else (float(difference.mean()), noise),
                    )
                )
    words = Counter(row.decision for row in decisions.parse(decisions.read(file), file))
    return Audit(**facts, recipe=_recipes(pool), n=len(digits), decided=dict(words), promises=found, trained=trained)


def _recipes(pool: Path) -> str:
    return ", ".join(parse_json(read_bytes(pool / POOL, MOST_TEXT), Begun).recipes)


def promises_block(folder: Path) -> str:
    """Return the Markdown of what can be promised."""
    if not (found := read_records(folder / FILE, Audit)):
        return NOTHING
    rows = [
        [
            f"{100 * each.max_error:g}%",
            each.labels,
            f"{each.n:,}",
            "none" if each.coverage is None else f"{100 * each.coverage:.2f}%",
            MISSING if each.errors is None else str(each.errors),
        ]
        for each in sorted(found[-1].promises, key=lambda each: (-each.max_error, each.labels == AUDITED))
    ]
    return table(["promised, at most wrong", "labels", "images", "answered", "of these wrong"], rows)


def trained_block(folder: Path) -> str:
    """Return the Markdown of what training on audited labels is worth."""
    found = [each for each in read_records(folder / FILE, Audit) if each.trained]
    if not found:
        return NOTHING
    rows = [
        [
            f"`{each.recipe}`, labels {each.trained_on}",
            each.judged_by,
            f"{each.whole.n:,}",
            str(each.whole.errors),
            f"{each.nll:.5f}",
            MISSING if each.than_plain is None else f"{each.than_plain[0]:+.5f} ± {each.than_plain[1]:.5f}",
        ]
        for each in found[-1].trained
    ]
    return table(["trained on", "judged by labels", "images", "errors", "NLL", "than labels as they are"], rows)


BLOCKS = {"promises": promises_block, "audited-training": trained_block}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and record where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("decisions", type=Path, help="the file of decisions")
    parser.add_argument("--pool", type=Path, required=True, help="the pool that was audited")
    parser.add_argument("--plain", type=Path, help="a pool of folds")
    parser.add_argument("--audited", type=Path, help="the same, made with --labels")
    parser.add_argument("--record", type=Path, help="append to a file in this folder, such as results")
    options = parser.parse_args(arguments)
    try:
        record = measure(options.decisions, options.pool, options.plain, options.audited)
    except TenfoldError as error:
        sys.exit(f"Error: {error}")
    if options.record is not None:
        save(options.record / FILE, [record])
    print(json.dumps(dumped([record])[0]))


if __name__ == "__main__":
    main()
