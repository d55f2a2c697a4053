"""Recipe and search space in, a better recipe out: `tune` tries values and keeps the best, judged on held-out images.

The test data are never touched. Systems are judged by the negative log-likelihood (NLL) of the held-out images rather
than by their accuracy: on a few thousand of them good networks differ by a handful of mistakes (docs/LOG.md), less than
two seeds of one network do, while the NLL weighs every image.

The best of many figures is too good by luck. So what is found is compared with the recipe as it was on seeds that the
search has not used, each with another part held out, and the new recipe says how that went.
"""

import textwrap
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tenfold import options, settings
from tenfold.console import PlainConsole
from tenfold.data.names import anywhere
from tenfold.errors import TrainingError
from tenfold.files import write_atomically
from tenfold.jobs import Place, check_place
from tenfold.pages.page import drawn
from tenfold.pages.tuning import write_page
from tenfold.training import recipe as recipes
from tenfold.tuning import plan as plans
from tenfold.tuning.comparison import SeedComparison, compare_on_seeds, compared, verdict
from tenfold.tuning.journal import Journal, Tried, best_of
from tenfold.tuning.plan import JOURNAL, RECIPE, Plan, TuneSettings
from tenfold.tuning.search import Search
from tenfold.tuning.space import Values, overrides, own_values
from tenfold.tuning.trial import Workers

COMPARISON, BEST, PAGE = "comparison.json", "best.toml", "tune.html"
COMMENT_WIDTH = 110
STATES = ("complete", "pruned", "failed", "lost")
BASE = typer.Argument(metavar="RECIPE", help="A shipped recipe's name, or a .toml file, with a table [search].")
OUT = typer.Option("--out", metavar="FOLDER", help="Folder for the tune [default: runs/tune-RECIPE-N].")
TRIALS = typer.Option("--trials", metavar="N", min=1, help="Try so many, at most [default: 30, or as time allows].")
TIME = typer.Option("--max-seconds", metavar="S", min=0.001, help="Search so long; the comparison comes after it.")
THREADS = typer.Option("--threads", metavar="N", min=1, help="Threads of each trial [default: its share of the cores].")
SUBSET = typer.Option("--subset", metavar="N", min=1, help="Search on so many images, chosen stratified.")
METRIC = typer.Option("--metric", metavar="METRIC", help="nll or accuracy of held-out images [default: nll].")
SEEDS = typer.Option(
    "--seeds", metavar="N", min=0, max=1000, help="Compare at the end on so many unused seeds [default: 3]."
)
NAME = typer.Option("--name", metavar="NAME", help="Name of the new recipe [default: RECIPE-tuned].")
RESUME = typer.Option("--resume", metavar="FOLDER", help="Resume a tune that was cut short.")


@dataclass(frozen=True)
class TrialFigures:
    """What a trial tried, and what that came to on the held-out images."""

    trial: int
    values: Values
    nll: float | None
    accuracy: float | None
    seconds: float | None


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    status: "finished", "out_of_time" or "interrupted". trials: how many ended how. base, best, comparison and
    best_recipe: None as long as there is none.
    """

    folder: str
    recipe: str
    status: str
    method: str
    metric: str
    trials: dict[str, int]
    base: TrialFigures | None
    best: TrialFigures | None
    comparison: SeedComparison | None
    best_recipe: str | None
    page: str | None
    seconds: float


def tune(
    recipe: Annotated[str | Path | None, BASE] = None,
    data: Annotated[str | None, options.DATA] = None,
    out: Annotated[str | Path | None, OUT] = None,
    *,
    trials: Annotated[int | None, TRIALS] = None,
    max_seconds: Annotated[float | None, TIME] = None,
    workers: Annotated[int, options.WORKERS] = 1,
    threads: Annotated[int | None, THREADS] = None,
    on: Annotated[str | None, options.ON] = None,
    seed: Annotated[int | None, options.SEED] = None,
    split: Annotated[str | None, options.SPLIT] = None,
    subset: Annotated[int | None, SUBSET] = None,
    metric: Annotated[str | None, METRIC] = None,
    seeds: Annotated[int | None, SEEDS] = None,
    name: Annotated[str | None, NAME] = None,
    resume: Annotated[str | Path | None, RESUME] = None,
    device: Annotated[str, options.DEVICE] = "auto",
    quiet: Annotated[bool, options.QUIET] = False,
) -> Tuned:
    """Return what a search over the recipe's [search] table found, or what resuming the tune `resume` found.

    The folder has best.toml, tune.html, and the journal that a killed tune resumes from, with the loss of the trials
    under way at most. max_seconds: a resumed tune has as much again. on: on Ray, machines have to see the tune's folder
    and the data. seeds: 0 omits the comparison.
    Raises TenfoldError: UsageError, RecipeError, DataError, RunError, TrainingError, ClusterError.
    """
    began = time.monotonic()
    console = PlainConsole(quiet=quiet, soft_wrap=True)
    options.split_by(split)
    place, cores = Place.parse(on), settings.threads()
    check_place(place, device)
    if place.kind != "cluster" and not 1 <= workers <= cores:
        raise TrainingError(f"'{workers}' workers do not fit on {cores} cores. Give --workers 1 to {cores}.")
    asked = TuneSettings(recipe, data, out, trials, max_seconds, seed, subset, metric, seeds, name, split)
    if resume is None:
        folder, plan = plans.begin(asked, device)
    else:
        folder, plan = Path(resume), plans.resumed(Path(resume), asked)
    with closing(Journal(folder / JOURNAL, recipes.load(folder / RECIPE).search, alone=True)) as journal:
        at_work = Workers(
            str(folder.resolve()),
            anywhere(data or plan.spec),
            workers,
            threads or max(1, cores // workers),
            device if place.kind == "local" else "cpu",
            on,
        )
        status = _run(journal, plan, at_work, console, began)
        return _finish(folder, journal, plan, status, console, began)


def _run(journal: Journal, plan: Plan, workers: Workers, console: PlainConsole, began: float) -> str:
    """Search, then compare; return how it ended."""
    folder = Path(workers.folder)
    deadline = None if plan.max_seconds is None else began + plan.max_seconds
    try:
        through = Search(journal, plan, workers, console, deadline).run(own_values(recipes.load(folder / RECIPE)))
        best = best_of(journal.tried())
        if best is not None and not best.base and plan.seeds:
            seeds = range(plan.seed + 1, plan.seed + plan.seeds + 1)
            compare_on_seeds(folder / COMPARISON, best.values, seeds, workers, console)
    except KeyboardInterrupt:
        return "interrupted"
    return "finished" if through else "out_of_time"


def _finish(folder: Path, journal: Journal, plan: Plan, status: str, console: PlainConsole, began: float) -> Tuned:
    """Write best.toml and the page, say how it went, and return the result."""
    tried = journal.tried()
    best = best_of(tried)
    comparison = None if best is None else compared(folder / COMPARISON, best.values, plan.metric)
    conclusion = verdict(best, comparison)
    recipe = "" if best is None else _best_recipe(folder, plan, tried, best, comparison)
    lines = [conclusion]
    if status != "finished":
        lines.append(f"Cut short. To resume: tenfold tune --resume {folder}")
    if recipe:
        write_atomically(folder / BEST, recipe.encode())
        lines.append(f"Recipe: {folder / BEST}")
    page = drawn(
        write_page,
        folder / PAGE,
        plan=plan,
        space=journal.space,
        tried=tried,
        comparison=comparison,
        verdict=conclusion,
        recipe=recipe,
    )
    console.print("\n".join([*lines, *([f"Page: {page}"] if page else [])]))
    if recipe:
        console.next("tenfold", "train", folder / BEST, "--data", plan.spec)
    states = [each.state for each in tried]
    return Tuned(
        folder=str(folder),
        recipe=plan.recipe,
        status=status,
        method=plan.method,
        metric=plan.metric,
        trials={state: states.count(state) for state in STATES},
        base=_figures(_base_of(tried)),
        best=_figures(best),
        comparison=comparison,
        best_recipe=str(folder / BEST) if recipe else None,
        page=page,
        seconds=round(time.monotonic() - began, 3),
    )


def _base_of(tried: list[Tried]) -> Tried | None:
    return next((each for each in tried if each.base and each.state == "complete"), None)


def _figures(tried: Tried | None) -> TrialFigures | None:
    if tried is None:
        return None
    return TrialFigures(tried.number, tried.values, tried.nll, tried.accuracy, tried.seconds)


def _best_recipe(folder: Path, plan: Plan, tried: list[Tried], best: Tried, comparison: SeedComparison | None) -> str:
    """Return the recipe with the best values as TOML, with where it comes from in comments above."""

    def worded(tried: Tried | None) -> str:
        if tried is None or tried.nll is None or tried.accuracy is None:
            return "not measured"
        return f"NLL {tried.nll:.4f}, accuracy {tried.accuracy:.2%}"

    states = [each.state for each in tried]
    changes = () if best.base else overrides(best.values)
    notes = [
        f"Found by `tenfold tune {plan.recipe} --data {plan.spec}` in {folder}, {plan.started[:10]}.",
        f"Search: Optuna, TPE with median pruning, seed {plan.seed}: {states.count('complete')} trials complete, "
        f"{states.count('pruned')} pruned, {states.count('failed')} failed. "
        f"Judged by {plan.metric}, held-out images of seed {plan.seed}.",
        f"Data: {plan.images:,} images, SHA-256 {plan.sha256}.",
        f"Before: {worded(_base_of(tried))}.",
        *([] if best.base else [f"After: {worded(best)}; as the best of many, that flatters."]),
        *(comparison.lines if comparison else []),
        verdict(best, comparison),
        "Changed: " + (", ".join(changes) or "nothing."),
    ]
    summary = f"{plan.recipe}, tuned on {plan.images:,} images of {Path(plan.spec).name}"
    new = {"name": plan.name, "summary": summary, "published": None}
    tuned = recipes.load(folder / RECIPE, changes).model_copy(update=new)
    wrap = textwrap.TextWrapper(COMMENT_WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
    return "".join(f"# {part}\n" for line in notes for part in wrap.wrap(line)) + "\n" + tuned.to_toml()
