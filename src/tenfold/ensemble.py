"""Recipes -> a pool of trained members -> the ensemble of those that complement each other, a run like any other.

Every member leaves its answers to images that it was not trained on. Members are chosen on those, and what choosing on
them flatters itself by is measured: chosen on one half, scored on the other. Test labels are never looked at.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from tenfold import options
from tenfold.console import PlainConsole
from tenfold.data import decisions
from tenfold.data.merge import load_sets, merge
from tenfold.ensembles import selection
from tenfold.ensembles.averaging import combine
from tenfold.ensembles.members import MemberRow, Resources, rows_of, train_missing
from tenfold.ensembles.pool import Member, Pool, Settings, answers, assemble, check_alike
from tenfold.errors import RecipeError, UsageError
from tenfold.files import claimed, write_atomically
from tenfold.jobs import Place, check_place
from tenfold.metrics.intervals import wilson
from tenfold.pages import ensemble as pages
from tenfold.pages.page import drawn
from tenfold.pages.report import write_report
from tenfold.runs.begin import same_data
from tenfold.runs.run import LABELS, Run
from tenfold.training.recipe import load as load_recipe

MODELS = 10  # where neither their number nor that of folds is given
AUTO, PAGE = "auto", "ensemble.html"
RECIPES = typer.Argument(metavar="RECIPE", help="Networks' recipes, which take turns: fast,deep-20.")
OUT = typer.Option("--out", metavar="FOLDER", help="The pool; one that was cut short is resumed.")
COUNT = typer.Option("--models", metavar="N", min=1, help="So many members [default: one a fold, else 10].")
SELECT = typer.Option("--select", metavar="RULE", help="all, top:K or random:K; auto: what is best.")
FOLDS = typer.Option("--folds", metavar="K", min=2, help="Each member holds out another fold.")
WORKERS = typer.Option("--workers", metavar="W", min=1, help="Members side by side [default: one a core].")
THREADS = typer.Option("--threads", metavar="N", min=1, help="Threads of each.")
SEED = typer.Option("--seed", metavar="N", min=0, max=options.MOST_SEED, help="Of the split and the first member.")


@dataclass(frozen=True)
class Ensembled:
    """What came of training members and choosing among them.

    pool: a row a member. models: how many there are. lost: those that could not be trained, with the reason. chosen:
    their names. n: held-out images. rules: how each did on images that it did not choose on. member_seconds: of
    training, summed; seconds: since the call.
    """

    run: str
    pool: list[MemberRow]
    models: int
    lost: dict[str, str]
    rule: str
    chosen: list[str]
    n: int
    errors: int
    validation_accuracy: float | None
    validation_ci95: tuple[float, float] | None
    mean_member_accuracy: float | None
    rules: list[selection.Nested]
    member_seconds: float
    selection_seconds: float
    page: str | None
    seconds: float = 0.0

    @property
    def problem(self) -> str | None:
        """What is to be done about the members that could not be trained; the ensemble of the others is there."""
        which = "; ".join(f"{name}: {reason}" for name, reason in self.lost.items())
        left = f"The ensemble in '{self.run}' is of the other {self.models}. Mend what is said, and run the same again."
        return f"Members could not be trained: '{which}'. {left}" if which else None


def ensemble(
    recipes: Annotated[str | Sequence[str], RECIPES],
    data: Annotated[str | Sequence[str], options.SETS],
    out: Annotated[str | Path, OUT],
    *,
    models: Annotated[int | None, COUNT] = None,
    select: Annotated[str, SELECT] = AUTO,
    folds: Annotated[int | None, FOLDS] = None,
    split: Annotated[str | None, options.SPLIT] = None,
    on: Annotated[str | None, options.ON] = None,
    workers: Annotated[int | None, WORKERS] = None,
    threads: Annotated[int, THREADS] = 1,
    overrides: Annotated[Sequence[str], options.OVERRIDES] = (),
    seed: Annotated[int, SEED] = 0,
    subset: Annotated[int | None, options.SUBSET] = None,
    deduplicate: Annotated[bool, options.DEDUPLICATE] = False,
    labels: Annotated[str | Path | None, options.LABELS] = None,
    device: Annotated[str, options.DEVICE] = "auto",
    quiet: Annotated[bool, options.QUIET] = False,
) -> Ensembled:
    """Return what came of training members and choosing among them; `out` is the pool, and in the end a run.

    select: `auto`, or a rule of `tenfold.ensembles.selection`. folds: without them all hold out the same images.
    labels: a file of decisions on labels, as of `train`; the pool keeps a copy. The same call resumes where it stopped.
    Raises TenfoldError: UsageError, RecipeError, DataError, RunError, TrainingError, ClusterError.
    """
    began = time.monotonic()
    console = PlainConsole(quiet=quiet, soft_wrap=True)
    joined = recipes if isinstance(recipes, str) else ",".join(recipes)
    names = tuple(name.strip() for name in joined.split(",") if name.strip())
    specs = (data,) if isinstance(data, str) else tuple(data)
    given = (*overrides, *options.split_by(split))
    made_of = Settings(names, specs, seed, subset, deduplicate, folds, given)
    resources = Resources(on, workers, threads, device)
    count = models or folds or MODELS
    _check(made_of, resources, select, count)
    # What cannot be read or split is said now, once, before a folder is made, and not by every member.
    sets, decided = decisions.apply(load_sets(made_of.data), labels)
    digits = merge(sets, look=False).subset(subset, seed).digits
    fold = () if folds is None else (f"data.folds={folds}", "data.fold=0")
    load_recipe(names[0], (*given, *fold)).data.hold_out(digits, seed)
    if decided is not None:
        console.print(f"By '{labels}': {decisions.described(decided)}")
        made_of = replace(made_of, labels=decided["sha256"])
    pool = Pool.begin(Path(out), made_of, device)
    with claimed(pool.path):
        if labels is not None:
            write_atomically(pool.path / LABELS, decisions.read(Path(labels)))
        lost = train_missing(pool, count, resources, console)
        members = pool.trained(count)
        runs = [Run.open(member.folder) for member in members]
        check_alike(runs)
        result = _chosen(pool, members, runs, lost, select, console)
    console.next("tenfold", "evaluate", result.run, "--data", "mnist:test")
    return replace(result, seconds=round(time.monotonic() - began, 3))


def _check(made_of: Settings, resources: Resources, select: str, count: int) -> None:
    """Raise TenfoldError for what cannot be, before anything is written."""
    if not made_of.recipes:
        raise UsageError("There is no 'RECIPE'. Give one or several, with commas between, such as fast,deep-20.")
    if select != AUTO:
        selection.parse_rule(select, count)
    for name in made_of.recipes if made_of.folds is None and select not in (AUTO, "all") else ():
        if not load_recipe(name, made_of.overrides).data.validation:
            raise RecipeError(f"'{name}' holds nothing out to choose or judge on. Give --folds, or --select all alone.")
    check_place(Place.parse(resources.on), resources.device)


def _chosen(
    pool: Pool, members: Sequence[Member], runs: Sequence[Run], lost: dict[str, str], select: str,
    console: PlainConsole,
) -> Ensembled:  # fmt: skip
    """Return what came of choosing among the members, told on the console, once they are written as one run."""
    held = answers(runs)
    n, started = len(held.labels), time.monotonic()
    seed, rules = pool.settings.seed, list[selection.Nested]()
    choice = selection.Choice("all", tuple(range(len(runs))), np.full(len(runs), 1 / len(runs)))
    if n:
        compared = selection.compared(len(runs))
        if select not in (AUTO, *compared):
            compared.append(select)
        rules = selection.nested(compared, held.probabilities, held.labels, seed=seed)
        rule = selection.best_rule(rules) if select == AUTO else select
        choice = selection.choose(rule, held.probabilities, held.labels, seed=seed)
    together = combine(held.probabilities, choice.weights)
    selection_seconds = time.monotonic() - started

    images = same_data(runs[0], (), console).images[held.indices]
    run = assemble(pool.path, runs, choice, held, together, images)
    rows = rows_of(members, runs, held, choice.weights)
    page = None
    if n:
        page = drawn(pages.write, pool.path / PAGE, rows, rules, choice, held.probabilities, held.labels, images)
    drawn(write_report, run)
    errors = int((together.argmax(1) != held.labels).sum())
    result = Ensembled(
        run=str(run.path),
        pool=rows,
        models=len(runs),
        lost=lost,
        rule=choice.rule,
        chosen=[members[index].name for index in choice.members],
        n=n,
        errors=errors,
        validation_accuracy=(n - errors) / n if n else None,
        validation_ci95=wilson(n - errors, n) if n else None,
        mean_member_accuracy=float(np.mean([1 - row.errors / row.n for row in rows])) if n else None,
        rules=rules,
        member_seconds=round(sum(row.seconds for row in rows), 3),
        selection_seconds=round(selection_seconds, 3),
        page=page,
    )
    for line in describe(result):
        console.print(line)
    return result


def describe(result: Ensembled) -> list[str]:
    """Return what people are told, line by line."""
    chosen = f"{len(result.chosen)} of {result.models} members, chosen by {result.rule}: "
    lines = [f"{chosen}nothing was held out to judge them on"]
    if result.validation_ci95 is not None and result.validation_accuracy is not None:
        (low, high), accuracy = result.validation_ci95, result.validation_accuracy
        best = min(row.errors for row in result.pool)
        lines = [
            f"{chosen}{100 * accuracy:.2f}% of {result.n:,} held-out images ({100 * low:.2f} to {100 * high:.2f}), "
            f"{result.errors} wrong",
            f"One member: {100 * (result.mean_member_accuracy or 0):.2f}% in the mean, {best} wrong at best",
        ]
    return [
        *lines,
        f"Members: {result.member_seconds:.0f} s of training in all. Choosing: {result.selection_seconds:.1f} s",
        *([f"Page: {result.page}"] if result.page else []),
        *(f"Not trained: {name}: {reason}" for name, reason in result.lost.items()),
    ]
