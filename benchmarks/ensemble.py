"""What a pool's ensembles are worth on test images, all looks in one go, after every choice is made.

    python benchmarks/ensemble.py runs/forty --record results/ensembles.jsonl

The pool's members are all that it holds. Choices are made here as `tenfold ensemble` makes them, on held-out images;
docs/protocol.md says what is looked at and why. With runs/forty/student and the first member of its recipe, those two
are scored too. The last line on stdout is JSON.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tenfold.data import load
from tenfold.data.digits import Digits
from tenfold.ensemble import REPEATS, STUDENT
from tenfold.ensembles import pool as pools
from tenfold.ensembles import selection
from tenfold.ensembles.diversity import size_curve
from tenfold.errors import DataError, TenfoldError
from tenfold.files import write_atomically
from tenfold.metrics import paired
from tenfold.metrics.scores import nll
from tenfold.runs import ledger, records
from tenfold.runs.estimator import from_run
from tenfold.runs.provenance import commit
from tenfold.runs.results import DataUsed
from tenfold.runs.run import Run
from tenfold.scoring import disputed, ensembles
from tenfold.scoring.ensembles import Band, EnsembleTest, MemberScore
from tenfold.scoring.leak import Part
from tenfold.training.device import processor, use_threads

TRAINING_IMAGES, SIZE, DRAWS = 20_000, 10, 10_000
SIZES = (1, 2, 3, 5, 10, 20)
COLUMNS, WIDTH, HEIGHT, SCALE = 10, 92, 120, 3  # of the picture of mistakes; pixels

Probabilities = NDArray[np.float32]


def members_of(folder: Path) -> list[Run]:
    """Return the runs of a pool's folder, in the order of their numbers."""
    paths = sorted((folder / pools.MEMBERS).iterdir())
    runs = [Run.open(path) for path in paths]
    unfinished = [run.path.name for run in runs if run.manifest["status"] != "finished"]
    if unfinished or len(runs) < 2:
        raise DataError(f"'{folder}' has {len(runs)} members, '{unfinished}' of them unfinished. Train at least two.")
    return runs


def look(run: Run, test: Digits, spec: str, probabilities: Probabilities) -> Part:
    """Return how many test images a run reads wrong, the look written to the ledger."""
    assert test.labels is not None
    errors = int((probabilities.argmax(1) != test.labels).sum())
    ledger.record(
        ledger.Look(
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            run=str(run.path.resolve()),
            weights_sha256=run.weights_sha256(),
            data_sha256=test.content_hash(),
            spec=spec,
            n=len(test),
            accuracy=1 - errors / len(test),
        )
    )
    return Part(n=len(test), errors=errors)


def training_part(run: Run, images: NDArray[np.uint8], labels: NDArray[np.int64], chosen: NDArray[np.int64]) -> Part:
    """Return how many of the chosen training images a member reads wrong, each read once, without shifts."""
    classifier = from_run(run, "cpu")
    prediction = run.recipe.prediction.model_copy(update={"shifts": 0})
    classifier.recipe_ = run.recipe.model_copy(update={"prediction": prediction})
    return Part(n=len(chosen), errors=int((classifier.predict(images[chosen]) != labels[chosen]).sum()))


def score_member(
    run: Run,
    number: int,
    held: pools.Answers,
    digits: Digits,
    trained: NDArray[np.int64] | None,
    test: Digits,
    spec: str,
) -> tuple[MemberScore, Probabilities]:
    """Return a member's scores, on what it held out, on the `trained` images and on the test, and its test answers."""
    assert digits.labels is not None
    answers = from_run(run, "cpu").predict_proba(test.images)
    own = ~np.isnan(held.probabilities[number, :, 0])
    known, labels = held.probabilities[number, own], held.labels[own]
    score = MemberScore(
        name=run.path.name,
        held_out=Part(n=len(labels), errors=int((known.argmax(1) != labels).sum())),
        held_out_nll=nll(labels, known),
        training=None if trained is None else training_part(run, digits.images, digits.labels, trained),
        test=look(run, test, spec, answers),
    )
    print(f"{run.path.name}: {score.held_out.errors} held-out, {score.test.errors} test images wrong", file=sys.stderr)
    return score, answers


def measure(
    folder: Path, spec: str, name: str, wall: float | None, errors_sheet: Path | None, mean_alone: bool
) -> EnsembleTest:
    """Return the record of a pool; progress goes to stderr. mean_alone: of all ensembles look at the plain mean."""
    from rich.console import Console

    use_threads()
    runs = members_of(folder)
    held = pools.answers(runs)
    digits = pools.data_of(runs[0], Console(stderr=True, quiet=True))
    test = load(spec, "evaluate")
    if test.labels is None:
        raise DataError(f"'{spec}' has no labels. Give labelled data, such as mnist:test.")
    rules = ["all"] if mean_alone else compared(len(runs))
    nested = selection.nested(rules, held.probabilities, held.labels, repeats=REPEATS, seed=0)
    rule = selection.best_rule(nested)
    some = None
    if not mean_alone:
        trained = np.setdiff1d(np.arange(len(digits)), held.indices)
        some = np.sort(np.random.default_rng(0).choice(trained, min(TRAINING_IMAGES, len(trained)), replace=False))
    found = [score_member(run, number, held, digits, some, test, spec) for number, run in enumerate(runs)]
    scores, probabilities = [score for score, _ in found], np.stack([answers for _, answers in found])

    means = {
        title: selection.combine(
            probabilities, selection.choose(words, held.probabilities, held.labels, seed=0).weights, "probabilities"
        )
        for title, words in {f"`auto`: {rule}": rule, **{f"`{words}`": words for words in rules[:4]}}.items()
    }
    if some is not None and len(runs) > SIZE:
        errors = [score.training.errors if score.training else 0 for score in scores]
        best = sorted(range(len(runs)), key=lambda index: (errors[index], index))[:SIZE]
        means[f"the {SIZE} of highest training accuracy"] = probabilities[best].mean(0)
    wrong = {title: mean.argmax(1) != test.labels for title, mean in means.items()}
    points = size_curve(probabilities, test.labels, [size for size in SIZES if size < len(runs)], draws=DRAWS, seed=0)
    taught_wrong = taught(folder, runs, probabilities, test, spec)
    pairs = []
    if taught_wrong:
        teacher = wrong.get(f"`greedy:{SIZE}`", wrong[f"`auto`: {rule}"])
        pairs = paired.compare([~teacher, *(~each for each in taught_wrong.values())])
    if errors_sheet is not None:
        write_errors(errors_sheet, test, wrong[f"`auto`: {rule}"], means[f"`auto`: {rule}"])
    indices = {title: np.flatnonzero(each).tolist() for title, each in {**wrong, **taught_wrong}.items()}
    return EnsembleTest(
        name=name,
        recipes=sorted({run.recipe.name for run in runs}),
        seconds_a_member=statistics.median(run.manifest["seconds"] for run in runs),
        wall_seconds_a_member=wall,
        rules=[selection.as_json(each) for each in nested],
        rule=rule,
        test=DataUsed(spec=spec, sha256=test.content_hash(), n=len(test)),
        members=scores,
        ensembles={title: Part(n=len(test), errors=int(each.sum())) for title, each in wrong.items()},
        wrong=indices if disputed.are_known(test) else {},
        bands=[
            Band(size=each.size, draws=DRAWS, mean=each.mean, p5=each.low, p95=each.high, least=each.lowest,
                 most=each.highest)
            for each in points
        ],
        student={title: Part(n=len(test), errors=int(each.sum())) for title, each in taught_wrong.items()},
        pairs=[pair._asdict() for pair in pairs],
        commit=commit(),
        versions=runs[0].manifest["versions"],
        machine={"cpu": processor(), "cores": runs[0].manifest["machine"].get("cores")},
    )  # fmt: skip


def compared(models: int) -> list[str]:
    """Return the rules that are compared with `all`, which comes first."""
    size = min(SIZE, max(1, models // 2))
    return ["all", f"random:{size}", f"top:{size}", f"greedy:{size}", f"diverse:{size}", "weights"]


def taught(
    folder: Path, runs: Sequence[Run], probabilities: Probabilities, test: Digits, spec: str
) -> dict[str, NDArray[np.bool_]]:
    """Return which test images the student reads wrong, and which the same network alone does; {} without a student."""
    if not (folder / STUDENT).is_dir():
        return {}
    assert test.labels is not None
    student = Run.open(folder / STUDENT)
    answers = from_run(student, "cpu").predict_proba(test.images)
    look(student, test, spec, answers)
    alone = next(index for index, run in enumerate(runs) if run.recipe.name == student.recipe.name)
    return {
        f"`{student.recipe.name}`, taught by the ensemble": answers.argmax(1) != test.labels,
        f"`{student.recipe.name}` alone, the same seed": probabilities[alone].argmax(1) != test.labels,
    }


def write_errors(path: Path, test: Digits, wrong: NDArray[np.bool_], mean: Probabilities) -> None:
    """Write a picture of every test image that the ensemble reads wrong, and of the disputed ones that it does not.

    Above each stand its number, its label and what it was read as; disputed ones are framed.
    """
    known = disputed.DISPUTED if disputed.are_known(test) else {}
    mistakes = [int(index) for index in np.flatnonzero(wrong)]
    others = [index for index in known if not wrong[index]]
    parts = [(f"{len(mistakes)} read otherwise than labelled (framed: raters dispute the label)", mistakes)]
    if known:
        parts.append((f"{len(others)} of the {len(known)} disputed ones read as labelled", others))
    rows = sum(max(1, -(-len(indices) // COLUMNS)) for _, indices in parts)
    sheet = Image.new("L", (WIDTH * COLUMNS, rows * HEIGHT + 28 * len(parts)), 30)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(15), ImageFont.load_default(11)
    top = 0
    for title, indices in parts:
        draw.text((6, top + 6), title, 255, large)
        top += 28
        for number, index in enumerate(indices):
            _draw_digit(draw, sheet, test, index, int(mean[index].argmax()), index in known,
                        number % COLUMNS * WIDTH, top + number // COLUMNS * HEIGHT, small)  # fmt: skip
        top += max(1, -(-len(indices) // COLUMNS)) * HEIGHT
    content = BytesIO()
    sheet.save(content, "PNG", optimize=True)
    write_atomically(path, content.getvalue())


def _draw_digit(
    draw: ImageDraw.ImageDraw,
    sheet: Image.Image,
    test: Digits,
    index: int,
    read: int,
    framed: bool,
    left: int,
    top: int,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    assert test.labels is not None
    draw.text((left + 4, top), f"#{index}", 160, font)
    draw.text((left + 4, top + 13), f"{test.labels[index]} read as {read}", 255, font)
    large = test.images[index].repeat(SCALE, 0).repeat(SCALE, 1)
    sheet.paste(Image.fromarray(large), (left + 4, top + 30))
    if framed:
        draw.rectangle((left + 3, top + 29, left + 4 + large.shape[1], top + 30 + large.shape[0]), outline=255)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and record where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pool", type=Path, help="a folder that `tenfold ensemble` wrote")
    parser.add_argument("--data", default="mnist:test", help="labelled images in the frame")
    parser.add_argument("--name", help="what the tables call the pool [default: its folder's name]")
    parser.add_argument("--wall", type=float, metavar="S", help="seconds a member that the pool took, by the clock")
    parser.add_argument("--errors", type=Path, metavar="PNG", help="write a picture of what the ensemble reads wrong")
    parser.add_argument(
        "--mean-alone", action="store_true", help="of all ensembles look at the plain mean of all members"
    )
    parser.add_argument("--record", type=Path, help="append to this file, such as results/ensembles.jsonl")
    options = parser.parse_args(arguments)
    try:
        name = options.name or options.pool.name
        record = measure(options.pool, options.data, name, options.wall, options.errors, options.mean_alone)
    except TenfoldError as error:
        sys.exit(f"Error: {error}")
    if options.record:
        records.append(options.record, record)
        for block in (ensembles.scores_block, ensembles.rules_block, ensembles.bands_block):
            print(block(options.record.parent, record.name), end="\n\n")
    print(json.dumps(record.model_dump(mode="json")))


if __name__ == "__main__":
    main()
