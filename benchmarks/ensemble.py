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
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import disputed  # beside this file
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field
from records import MISSING, NOTHING, Machine, Measured, Part, read_records, save, write_look

from tenfold.data import load
from tenfold.data.digits import Digits
from tenfold.ensembles.averaging import combine
from tenfold.ensembles.diversity import size_curve
from tenfold.ensembles.pool import MEMBERS, HeldOutAnswers, answers
from tenfold.ensembles.selection import best_rule, choose, compared, nested
from tenfold.errors import DataError, TenfoldError
from tenfold.files import write_atomically
from tenfold.metrics import intervals
from tenfold.metrics.scores import nll
from tenfold.pages.page import table
from tenfold.runs.begin import same_data
from tenfold.runs.estimator import from_run
from tenfold.runs.results import DataUsed, Record
from tenfold.runs.run import Run, commit
from tenfold.training.device import processor, use_threads

FILE = "ensembles.jsonl"  # in the folder of results
TRAINING_IMAGES, SIZE, DRAWS = 20_000, 10, 10_000
SIZES = (1, 2, 3, 5, 10, 20)
STUDENT = "student"  # the folder in a pool of a network that learnt from the ensemble
COLUMNS, WIDTH, HEIGHT, SCALE = 10, 92, 120, 3  # of the picture of mistakes; pixels

Probabilities = NDArray[np.float32]


class MemberScore(Record):
    """One member: errors on held-out and on test images, and accuracy on images that it was trained on."""

    name: str
    held_out: Part
    held_out_nll: float | None
    training: Part | None = None  # asked of large pools alone
    test: Part


class Band(Record):
    """What ensembles of one size, drawn at random, reach on the test images; fractions."""

    size: int
    draws: int
    mean: float
    p5: float
    p95: float
    least: float
    most: float


class EnsembleTest(Measured):
    """A pool, what its held-out images say of the rules, and one look at the test images."""

    name: str
    recipes: list[str]
    seconds_a_member: float = Field(description="of training, median")
    wall_seconds_a_member: float | None = Field(None, description="of the pool's wall clock, where it was measured")
    rules: list[dict[str, Any]] = Field(description="of `selection.nested`, on held-out images")
    rule: str = Field(description="what `auto` took")
    test: DataUsed
    members: list[MemberScore]
    ensembles: dict[str, Part] = Field(description="on the test images, by what chose them")
    wrong: dict[str, list[int]] = Field({}, description="the test images that these, and the student, read wrong")
    bands: list[Band]
    student: dict[str, Part] = Field({}, description="student and the same network alone, on the test images")
    pairs: list[dict[str, Any]] = Field([], description="of `intervals.compare`, in the order of their names")
    machine: Machine


def table_of(render: Callable[[EnsembleTest], str], name: str, folder: Path) -> str:
    """Return the Markdown that `render` makes of the newest record of that name."""
    found = [each for each in read_records(folder / FILE, EnsembleTest) if each.name == name]
    return render(found[-1]) if found else NOTHING


def scores_table(record: EnsembleTest) -> str:
    """Return the Markdown of what ensembles, student and members did on the test images."""
    errors = sorted(each.test.errors for each in record.members)
    n, mean = record.test.n, statistics.mean(errors)
    spread = f" ± {100 * statistics.stdev(errors) / n:.3f}" if len(errors) > 1 else ""
    rows = [
        [f"one member, mean of {len(errors)}", f"{100 * (1 - mean / n):.3f}{spread}",
         _interval(Part(n=n, errors=round(mean))), f"{mean:.1f}", MISSING],
        ["the best and the worst member", f"{_percent(errors[0], n)}, {_percent(errors[-1], n)}", MISSING,
         f"{errors[0]}, {errors[-1]}", MISSING],
    ]  # fmt: skip
    for title, part in {**record.ensembles, **record.student}.items():
        wrong = record.wrong.get(title)
        rows.append([*_row(title, part), MISSING if wrong is None else str(disputed.count(wrong))])
    head = [f"{record.name}, {record.test.spec}", "accuracy, %", "95% interval", "errors", "of the 15 disputed"]
    return table(head, rows)


def rules_table(record: EnsembleTest) -> str:
    """Return the Markdown of how the rules did on held-out images that they did not choose on."""
    rows = [
        [
            f"`{each['rule']}`",
            f"{each['members']:.1f}",
            f"{each['nll']:.5f}",
            f"{each['seen_nll']:.5f}",
            MISSING if each["rule"] == "all" else f"{each['nll_difference']:+.5f} ± {each['nll_noise']:.5f}",
            f"{each['errors']:.2f}",
            MISSING if each["rule"] == "all" else f"{each['errors_difference']:+.2f} ± {each['errors_noise']:.2f}",
        ]
        for each in record.rules
    ]
    head = ["rule", "members", "NLL, not chosen on", "NLL, chosen on", "NLL against `all`", "errors", "against `all`"]
    n = record.rules[0]["n"] if record.rules else 0
    return f"Of {n:,} held-out images; `auto` took `{record.rule}`.\n\n{table(head, rows)}"


def bands_table(record: EnsembleTest) -> str:
    """Return the Markdown of what random ensembles of each size reach on the test images."""
    rows = [
        [str(each.size), *(f"{100 * value:.3f}" for value in (each.mean, each.p5, each.p95, each.least, each.most))]
        for each in record.bands
    ]
    head = ["members drawn", "mean, %", "5% are below", "5% are above", "least", "most"]
    return f"{record.bands[0].draws:,} draws.\n\n{table(head, rows)}"


def _row(name: str, part: Part) -> list[str]:
    return [name, _percent(part.errors, part.n), _interval(part), str(part.errors)]


def _interval(part: Part) -> str:
    low, high = part.interval()
    return f"{100 * low:.2f} to {100 * high:.2f}"


def _percent(errors: int, n: int) -> str:
    return f"{100 * (1 - errors / n):.2f}"


BLOCKS = {
    "ensemble-test": partial(table_of, scores_table, "forty"),
    "ensemble-rules": partial(table_of, rules_table, "forty"),
    "ensemble-bands": partial(table_of, bands_table, "forty"),
    "record-test": partial(table_of, scores_table, "record"),
    "twenty-test": partial(table_of, scores_table, "twenty"),
    "wide-test": partial(table_of, scores_table, "wide"),
}


def members_of(folder: Path) -> list[Run]:
    """Return the runs of a pool's folder, in the order of their numbers."""
    paths = sorted((folder / MEMBERS).iterdir())
    runs = [Run.open(path) for path in paths]
    unfinished = [run.path.name for run in runs if not run.finished]
    if unfinished or len(runs) < 2:
        raise DataError(f"'{folder}' has {len(runs)} members, '{unfinished}' of them unfinished. Train at least two.")
    return runs


def look(run: Run, test: Digits, spec: str, probabilities: Probabilities) -> Part:
    """Return how many test images a run reads wrong, the look written to the ledger."""
    assert test.labels is not None
    part = Part.of(probabilities.argmax(1) != test.labels)
    used = DataUsed(spec=spec, sha256=test.content_hash(), n=len(test))
    write_look(run.path.resolve(), run.weights_sha256(), used, part.accuracy)
    return part


def training_part(run: Run, images: NDArray[np.uint8], labels: NDArray[np.int64], chosen: NDArray[np.int64]) -> Part:
    """Return how many of the chosen training images a member reads wrong, each read once, without shifts."""
    probabilities, _ = from_run(run, "cpu").answer(images[chosen], shifts=0)
    return Part.of(probabilities.argmax(1) != labels[chosen])


def score_member(
    run: Run,
    number: int,
    held: HeldOutAnswers,
    digits: Digits,
    trained: NDArray[np.int64],
    test: Digits,
    spec: str,
) -> tuple[MemberScore, Probabilities]:
    """Return a member's scores, on what it held out, on `trained` images if any and on the test, and its answers."""
    assert digits.labels is not None
    own_answers = from_run(run, "cpu").predict_proba(test.images)
    own = ~np.isnan(held.probabilities[number, :, 0])
    known, labels = held.probabilities[number, own], held.labels[own]
    score = MemberScore(
        name=run.path.name,
        held_out=Part.of(known.argmax(1) != labels),
        held_out_nll=nll(labels, known) if len(labels) else None,
        training=training_part(run, digits.images, digits.labels, trained) if len(trained) else None,
        test=look(run, test, spec, own_answers),
    )
    print(f"{run.path.name}: {score.held_out.errors} held-out, {score.test.errors} test images wrong", file=sys.stderr)
    return score, own_answers


def measure(folder: Path, spec: str, name: str, wall: float | None, errors_sheet: Path | None) -> EnsembleTest:
    """Return the record of a pool; progress goes to stderr."""
    from rich.console import Console

    use_threads()
    runs = members_of(folder)
    held = answers(runs)
    digits = same_data(runs[0], (), Console(stderr=True, quiet=True))
    test = load(spec, "evaluate")
    if test.labels is None:
        raise DataError(f"'{spec}' has no labels. Give labelled data, such as mnist:test.")
    rules = compared(len(runs)) if len(held.labels) else []  # without held-out images there is the plain mean alone
    judged = nested(rules, held.probabilities, held.labels) if rules else []
    rule = best_rule(judged) if rules else "all"
    trained = np.setdiff1d(np.arange(len(digits)), held.indices)[: None if len(runs) > SIZE else 0]
    some = np.sort(np.random.default_rng(0).choice(trained, min(TRAINING_IMAGES, len(trained)), replace=False))
    found = [score_member(run, number, held, digits, some, test, spec) for number, run in enumerate(runs)]
    scores, probabilities = [score for score, _ in found], np.stack([own for _, own in found])

    means = {
        title: combine(probabilities, choose(words, held.probabilities, held.labels, seed=0).weights)
        for title, words in {f"`auto`: {rule}": rule, **{f"`{words}`": words for words in rules[:4]}}.items()
        if rules
    }
    if not rules:
        means[f"`auto`: {rule}"] = probabilities.mean(0)
    if len(runs) > SIZE:
        errors = [score.training.errors if score.training else 0 for score in scores]
        best = sorted(range(len(runs)), key=lambda index: (errors[index], index))[:SIZE]
        means[f"the {SIZE} of highest training accuracy"] = probabilities[best].mean(0)
    wrong = {title: mean.argmax(1) != test.labels for title, mean in means.items()}
    points = size_curve(probabilities, test.labels, [size for size in SIZES if size < len(runs)], draws=DRAWS, seed=0)
    taught_wrong = taught(folder, runs, probabilities, test, spec)
    pairs = []
    if taught_wrong:
        right = [~wrong[f"`auto`: {rule}"], *(~each for each in taught_wrong.values())]
        pairs = intervals.compare(range(len(right)), right)
    if errors_sheet is not None:
        write_errors(errors_sheet, test, wrong[f"`auto`: {rule}"], means[f"`auto`: {rule}"])
    indices = {title: np.flatnonzero(each).tolist() for title, each in {**wrong, **taught_wrong}.items()}
    return EnsembleTest(
        name=name,
        recipes=sorted({run.recipe.name for run in runs}),
        seconds_a_member=statistics.median(run.manifest["seconds"] for run in runs),
        wall_seconds_a_member=wall,
        rules=[asdict(each) for each in judged],
        rule=rule,
        test=DataUsed(spec=spec, sha256=test.content_hash(), n=len(test)),
        members=scores,
        ensembles={title: Part.of(each) for title, each in wrong.items()},
        wrong=indices if disputed.are_known(test) else {},
        bands=[
            Band(size=each.size, draws=DRAWS, mean=each.mean, p5=each.low, p95=each.high, least=each.lowest,
                 most=each.highest)
            for each in points
        ],
        student={title: Part.of(each) for title, each in taught_wrong.items()},
        pairs=[asdict(pair) for pair in pairs],
        commit=commit(),
        versions=runs[0].manifest["versions"],
        machine={"cpu": processor(), "cores": runs[0].manifest["machine"].get("cores")},
    )  # fmt: skip


def taught(
    folder: Path, runs: Sequence[Run], probabilities: Probabilities, test: Digits, spec: str
) -> dict[str, NDArray[np.bool_]]:
    """Return which test images the student reads wrong, and which the same network alone does; {} without a student."""
    if not (folder / STUDENT).is_dir():
        return {}
    assert test.labels is not None
    student = Run.open(folder / STUDENT)
    own = from_run(student, "cpu").predict_proba(test.images)
    look(student, test, spec, own)
    alone = next(index for index, run in enumerate(runs) if run.recipe.name == student.recipe.name)
    return {
        f"`{student.recipe.name}`, taught by the ensemble": own.argmax(1) != test.labels,
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
    parser.add_argument("--record", type=Path, help="append to this file, such as results/ensembles.jsonl")
    options = parser.parse_args(arguments)
    try:
        name = options.name or options.pool.name
        record = measure(options.pool, options.data, name, options.wall, options.errors)
    except TenfoldError as error:
        sys.exit(f"Error: {error}")
    save(options.record, [record])
    for render in (scores_table, rules_table, bands_table):
        print(render(record), end="\n\n")
    print(json.dumps(record.model_dump(mode="json")))


if __name__ == "__main__":
    main()
