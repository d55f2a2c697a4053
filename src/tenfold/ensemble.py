"""Recipes -> a pool of trained members -> the ensemble of those that complement each other, a run like any other.

Every member leaves its answers to images that it was not trained on. Members are chosen on those, and what choosing on
them flatters itself by is measured: chosen on one half, scored on the other. Test labels are never looked at.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold import settings
from tenfold.ensembles import selection
from tenfold.ensembles.averaging import check_average
from tenfold.ensembles.members import train_all, train_member
from tenfold.errors import RunError, TrainingError
from tenfold.metrics.intervals import wilson
from tenfold.metrics.scores import log_losses
from tenfold.pages import ensemble as ensemble_page
from tenfold.parallel import Place

if TYPE_CHECKING:
    from rich.console import Console

    from tenfold.ensembles.pool import Answers, Member, Pool
    from tenfold.runs.run import Run

MODELS = 10  # where neither a number nor a budget is given
MOST = 1000  # members that a budget may buy
PAGE, STUDENT, ALONE = "ensemble.html", "student", "alone"
AUTO, CHOSEN = "auto", 10  # members, among as many rules as are compared
REPEATS = 20  # halvings of the held-out images


def ensemble(
    recipes: Sequence[str],
    data: str | Sequence[str],
    out: Path,
    *,
    models: int | None = None,
    budget: float | None = None,
    select: str = AUTO,
    average: str = "probabilities",
    folds: int | None = None,
    trained: Sequence[Path] = (),
    overrides: Sequence[str] = (),
    seed: int = 0,
    subset: int | None = None,
    deduplicate: bool = False,
    on: str | None = None,
    workers: int | None = None,
    threads: int = 1,
    device: str = "auto",
    stack: int | None = None,
    distil: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Return what came of training members and choosing among them; `out` is the pool, and in the end a run.

    recipes: of networks, that take turns. data: a name or a path, or several, as for `train`. models: how many members;
    or as many as `budget` seconds allow. select: `auto`, or a rule of `tenfold.ensembles.selection`; average: of what.
    folds: each member holds out another fold; else all hold out the same images. trained: runs that become members too,
    as copies; they may have held out other images of the same data. on: where members are trained, as
    `tenfold.parallel` says; workers: how many side by side, with `threads` threads each; by default as many as there
    are cores. stack: so many members of a recipe are trained as one program, where the recipe allows that; by default
    one on a processor, `tenfold.ensembles.members.STACKED_ON_AN_ACCELERATOR` elsewhere. distil: a recipe, whose network then
    learns from the ensemble. The same call goes on where it stopped.
    Keys: run, pool (members, by name: recipe, seed, seconds, errors, nll, weight), models, lost (members that could not
    be trained, with the reason), rule, average, n, errors, validation_accuracy, validation_ci95, mean_member_accuracy,
    rules (what `selection.nested` found), seconds (since the call), member_seconds (of training, summed),
    selection_seconds, page, distilled (None, or as `_distil` returns).
    Raises TenfoldError: RecipeError, DataError, RunError, TrainingError.
    """
    from rich.console import Console

    from tenfold.data.merge import load_sets
    from tenfold.ensembles import pool as pools
    from tenfold.metrics.scores import most_confident_mistakes
    from tenfold.runs.run import Run
    from tenfold.train import GALLERY

    began = time.monotonic()
    console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
    count = MODELS if models is None and budget is None else MOST if models is None else models
    _check(select, count + len(trained), average, on, distil, folds)
    specs = (data,) if isinstance(data, str) else tuple(data)
    load_sets(specs)  # what cannot be read is said now, once, and not by every member
    made_of = pools.Settings(tuple(recipes), specs, seed, subset, deduplicate, folds, tuple(overrides))
    pool = pools.Pool.begin(out, made_of, device)
    _members(pool, count, distil, trained)  # what cannot be is said before it is copied, and before hours of training
    pool.take_in(trained)
    side_by_side = workers or max(1, settings.threads() // threads)
    lost = train_all(pool, count, budget, on, side_by_side, threads, device, stack, console)
    members = _members(pool, count, distil)
    if not members:
        raise TrainingError(_nothing(out, lost, budget))
    runs = [Run.open(member.folder) for member in members]
    held = pools.answers(runs)

    started = time.monotonic()
    rules = _rules(select, len(runs))
    nested = selection.nested(rules, held.probabilities, held.labels, repeats=REPEATS, seed=seed, averages=(average,))
    rule = selection.best_rule(nested) if select == AUTO else select
    choice = selection.choose(rule, held.probabilities, held.labels, average=average, seed=seed)
    together = selection.combine(held.probabilities, choice.weights, average)
    selection_seconds = time.monotonic() - started

    digits = pools.data_of(runs[0], console)
    assert digits.labels is not None
    chosen = [index for index in choice.members if choice.weights[index] > 0]
    rows = _rows(members, runs, held, choice.weights)
    run = pools.assemble(
        out,
        [runs[index] for index in chosen],
        [float(choice.weights[index]) for index in chosen],
        average,
        rule,
        held,
        together,
        digits.images[held.indices],
        most_confident_mistakes(held.labels, together, GALLERY),
        {"ensemble": {"rule": rule, "average": average, "members": [members[index].name for index in chosen]}},
    )
    errors, n = int((together.argmax(1) != held.labels).sum()), len(held.labels)
    result: dict[str, Any] = {
        "run": str(run.path),
        "pool": rows,
        "models": len(runs),
        "lost": lost,
        "rule": rule,
        "average": average,
        "chosen": [members[index].name for index in chosen],
        "n": n,
        "errors": errors,
        "validation_accuracy": (n - errors) / n,
        "validation_ci95": list(wilson(n - errors, n)),
        "mean_member_accuracy": float(np.mean([1 - row["errors"] / row["n"] for row in rows])),
        "rules": [selection.as_json(each) for each in nested],
        "member_seconds": round(sum(row["seconds"] for row in rows), 3),
        "selection_seconds": round(selection_seconds, 3),
    }
    images = digits.images[held.indices]
    result["page"] = str(ensemble_page.write(out / PAGE, result, held.probabilities, held.labels, images, choice))
    _report(run)
    for line in describe(result):
        console.print(line, markup=False)
    result["distilled"] = None
    if distil is not None:
        result["distilled"] = _distil(distil, pool, run, members, threads * side_by_side, device, console)
    result["seconds"] = round(time.monotonic() - began, 3)
    return result


def _check(select: str, count: int, average: str, on: str | None, distil: str | None, folds: int | None) -> None:
    """Raise TenfoldError for what cannot be, before anything is written."""
    if select != AUTO:
        selection.parse_rule(select, count)
    check_average(average)
    Place.parse(on)
    if distil is not None and folds is not None:
        raise RunError(f"A student needs images that the whole ensemble held out, and '{folds}' folds leave none. "
                       "Leave --folds or --distil away.")  # fmt: skip


def describe(result: dict[str, Any]) -> list[str]:
    """Return what people are told, line by line."""
    low, high = result["validation_ci95"]
    best = min(result["pool"], key=lambda row: (row["errors"] / row["n"], row["nll"]))
    lines = [
        f"{len(result['chosen'])} of {result['models']} members, chosen by {result['rule']}: "
        f"{100 * result['validation_accuracy']:.2f}% of {result['n']:,} held-out images "
        f"({100 * low:.2f} to {100 * high:.2f}), {result['errors']} wrong",
        f"One member: {100 * result['mean_member_accuracy']:.2f}% in the mean, {best['errors']} wrong at best",
        f"Members: {result['member_seconds']:.0f} s of training in all. Choosing: {result['selection_seconds']:.1f} s",
        f"Page: {result['page']}",
    ]
    lines += [f"Not trained: {name}: {reason}" for name, reason in result["lost"].items()]
    return lines


def _members(pool: "Pool", count: int, distil: str | None, others: Sequence[Path] = ()) -> list["Member"]:
    """Return the trained members, those taken in last; RunError where they and `others` do not go together."""
    from tenfold.ensembles import pool as pools
    from tenfold.runs.run import Run

    members = [*pool.finished(count), *pool.taken_in()]
    runs = [Run.open(path) for path in (*(member.folder for member in members), *others)]
    pools.check_alike(runs)
    if distil is not None and not pools.same_held_out(runs):
        raise RunError(
            f"A student needs images that all members held out, and the runs taken into '{pool.path}' held out others. "
            "Leave --distil away."
        )
    return members


def _nothing(out: Path, lost: dict[str, str], budget: float | None) -> str:
    if lost:
        name, reason = next(iter(lost.items()))
        return f"No member of '{out}' could be trained; {name}: {reason}"
    return f"No member of '{out}' was trained within '{budget:g}' seconds. Give a larger --budget; the pool goes on."


def _rules(select: str, models: int) -> list[str]:
    """Return the rules to compare, `all` first, with the one asked for among them."""
    size = min(CHOSEN, max(1, models // 2))
    rules = ["all"]
    if models > 1:
        rules += [f"random:{size}", f"top:{size}", f"greedy:{size}", f"diverse:{size}", "weights"]
    return rules if select in (AUTO, *rules) else [*rules, select]


def _rows(
    members: Sequence["Member"], runs: Sequence["Run"], held: "Answers", weights: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Return a row a member: what it is, and how it did on what it held out."""
    rows = []
    for index, (member, run) in enumerate(zip(members, runs, strict=True)):
        known = ~np.isnan(held.probabilities[index, :, 0])
        answers, labels = held.probabilities[index, known], held.labels[known]
        rows.append(
            {
                "name": member.name,
                "recipe": run.recipe.name,
                "seed": member.seed,
                "fold": run.recipe.data.fold,
                "seconds": run.manifest["seconds"],
                "n": int(known.sum()),
                "errors": int((answers.argmax(1) != labels).sum()),
                "nll": float(log_losses(labels, answers).mean()),
                "weight": float(weights[index]),
            }
        )
    return rows


def _report(run: "Run") -> None:
    from tenfold.pages.report import write_report

    write_report(run)


def _distil(
    recipe: str, pool: "Pool", run: "Run", members: Sequence["Member"], threads: int, device: str, console: "Console"
) -> dict[str, Any]:
    """Return how a network that learnt from the ensemble does beside it, and beside the same network taught alone.

    Keys: run, seconds, alone (a run's folder), accuracy {ensemble, student, alone}, pairs (as `paired.compare` gives
    them, in this order), n. All on the images that all of them held out.
    """
    from tenfold.metrics import paired
    from tenfold.runs.run import Run

    made_of = pool.settings
    split = [*made_of.overrides, f"data.split_seed={made_of.seed}"]

    def trained(folder: Path, extra: Sequence[str]) -> "Run":
        train_member(recipe, [*split, *extra], made_of.data, str(folder), made_of.seed, made_of.subset,
                     made_of.deduplicate, threads, device, console.quiet)  # fmt: skip
        return Run.open(folder)

    _check_student(pool.path / STUDENT, recipe, run)
    student = trained(pool.path / STUDENT, [f"distil.teacher={os.fspath(run.path.resolve())}"])
    same = [member.folder for member in members if member.recipe == recipe and member.seed == made_of.seed]
    alone = Run.open(same[0]) if same else trained(pool.path / ALONE, [])
    runs = {"ensemble": run, "student": student, "alone": alone}
    answers = {name: each.validation() for name, each in runs.items()}
    right = []
    for each in answers.values():
        assert each is not None
        right.append(each["probabilities"].argmax(1) == each["labels"])
    result = {
        "run": str(student.path),
        "alone": str(alone.path),
        "seconds": student.manifest["seconds"],
        "n": len(right[0]),
        "accuracy": {name: float(each.mean()) for name, each in zip(runs, right, strict=True)},
        "pairs": [pair._asdict() for pair in paired.compare(right)],
    }
    shown = ", ".join(f"{name} {int((~each).sum())}" for name, each in zip(runs, right, strict=True))
    console.print(f"Wrong of {result['n']:,} held-out images: {shown}. The student: {student.path}", markup=False)
    return result


def _check_student(folder: Path, recipe: str, teacher: "Run") -> None:
    """Raise RunError where another student stands: its figures would pass for those of this ensemble's."""
    from tenfold.runs.run import MANIFEST, Run
    from tenfold.training import recipe as recipes

    if not (folder / MANIFEST).is_file():
        return
    there = Run.open(folder)
    taught = there.manifest.get("distil", {}).get("sha256")
    if taught != teacher.weights_sha256() or there.recipe.name != recipes.load(recipe).name:
        raise RunError(
            f"'{folder}' is '{there.recipe.name}', taught by another ensemble or of another recipe. "
            "Rename or remove it, and run the same command."
        )
