"""Recipe and search space in, a better recipe out: `tune` tries values and keeps the best, judged on held-out images.

The test data are never touched. Networks are judged by the negative log-likelihood (NLL) of the held-out images rather
than by their accuracy: on a few thousand of them good networks differ by a handful of mistakes (docs/LOG.md), less than
two seeds of one network do, while the NLL weighs every image. A grid of classical models is judged by its accuracy in
cross-validation: that counts every training image, and suits models whose probabilities are counts of neighbours.

The best of many figures is too good by luck. So what is found is compared with the recipe as it was on seeds that the
search has not used, each with another part held out, and the new recipe says how that went.
"""

import textwrap
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold import settings
from tenfold.data.digits import Digits
from tenfold.errors import RunError, TrainingError
from tenfold.files import write_atomically
from tenfold.parallel import Place, check_place
from tenfold.training import recipe as recipes
from tenfold.tuning import search
from tenfold.tuning.comparison import Comparison, compared, verdict
from tenfold.tuning.plan import RECIPE, Plan, begin, digits_of, refuse_with_resume, resumed
from tenfold.tuning.search import Values, objective, overrides
from tenfold.tuning.study import Study, Tried, rank
from tenfold.tuning.workers import Job, Progress, Source, Watcher, Workers

if TYPE_CHECKING:
    from rich.console import Console

    from tenfold.tuning.trial import Figures

JOURNAL, COMPARISON, BEST, PAGE = "journal.log", "comparison.json", "best.toml", "tune.html"
COMMENT_WIDTH = 110


def tune(
    recipe: str | Path | None = None,
    data: str | None = None,
    out: Path | None = None,
    *,
    trials: int | None = None,
    max_seconds: float | None = None,
    workers: int = 1,
    threads: int | None = None,
    on: str | None = None,
    seed: int | None = None,
    subset: int | None = None,
    metric: str | None = None,
    method: str | None = None,
    seeds: int | None = None,
    name: str | None = None,
    resume: Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Return what a search over the recipe's [search] table found, or what going on with the tune `resume` did.

    recipe: a shipped recipe's name (default: fast), or a .toml file. data: labelled digits, a name or a path (mnist).
    out: the folder (default: runs/tune-RECIPE-N): best.toml, tune.html, and the journal that a killed tune resumes
    from, with the loss of the trials under way at most. trials: how many (default: 30, or as many as max_seconds
    allows; for a grid the most it may have). max_seconds: for the search, the comparison comes after it; a resumed tune
    has as much again. workers: trainings side by side. threads: of each (default: its share of the cores). on: where
    they run: "local", processes of this machine (the default); "ray", a Ray cluster of its own; "ray://HOST:PORT", one
    that is there, whose machines have to see the tune's folder and the data. subset: search on so many images. metric:
    "nll" or "accuracy" of held-out images (see above for the default). method: "optuna" for
    networks, "grid" for classical models. seeds: of the comparison at the end; 0 leaves it away. name: of the new
    recipe.
    Keys: folder, recipe, status ("finished", "out_of_time", "interrupted"), method, metric, trials (how many ended
    how), base and best (trial, values, nll, accuracy, seconds), comparison (None, or see `compared`), best_recipe,
    page, seconds.
    Raises TenfoldError: RecipeError, DataError, RunError, TrainingError, ClusterError.
    """
    from rich.console import Console

    began = time.monotonic()
    console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
    place = Place.parse(on)
    _check_workers(workers, place, device)
    if resume is not None:
        refuse_with_resume(
            {"The recipe": recipe, "--out": out, "--seed": seed, "--subset": subset, "--metric": metric,
             "--method": method, "--seeds": seeds, "--name": name}
        )  # fmt: skip
        folder, plan = resume, resumed(resume, trials, max_seconds)
        digits = digits_of(data or plan.spec, plan.subset, plan.seed)
        if digits.content_hash() != plan.sha256:
            raise RunError(f"The data '{data or plan.spec}' is not what was tuned on. Give the same --data.")
    else:
        folder, plan, digits = begin(
            recipe or recipes.DEFAULT_RECIPE,
            data or "mnist",
            out,
            trials,
            max_seconds,
            seed,
            subset,
            metric,
            method,
            seeds,
            name,
            device,
        )
    source = Source.of(data or plan.spec, plan.subset, plan.seed, plan.sha256)
    tuning = _Tuning(folder, plan, digits, source, workers, threads, device, place, console)
    try:
        status = tuning.run(began)
        return tuning.finish(status) | {"seconds": round(time.monotonic() - began, 3)}
    finally:
        tuning.study.close()


def _check_workers(workers: int, place: Place, device: str) -> None:
    """Raise TenfoldError where the trainings cannot run there, as far as that is known before anything is begun."""
    check_place(place, device)
    cores = settings.threads()
    if place.kind != "cluster" and not 1 <= workers <= cores:
        raise TrainingError(f"'{workers}' workers do not fit on {cores} cores. Give --workers 1 to {cores}.")


class _Tuning:
    """One tune at work in its folder."""

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        digits: Digits,
        source: Source,
        workers: int,
        threads: int | None,
        device: str,
        place: Place,
        console: "Console",
    ) -> None:
        self.folder, self.plan, self.digits, self.place, self.console = folder, plan, digits, place, console
        self.recipe = recipes.load(folder / RECIPE)
        self.workers, self.threads = workers, threads or max(1, settings.threads() // workers)
        self.study = Study(folder / JOURNAL, self.recipe.search, plan.seed)
        device = device if place.kind == "local" else "cpu"
        self.pool = Workers(workers, folder / RECIPE, source, self.threads, device, place)

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False)

    def run(self, began: float) -> str:
        """Search, then compare; return how it ended."""
        plan = self.plan
        deadline = None if plan.max_seconds is None else began + plan.max_seconds
        try:
            with self.pool:
                through = self._grid(deadline) if plan.method == "grid" else self._search(deadline)
                if (best := self.best) is not None and not best.base and plan.seeds:
                    self._compare(best)
        except KeyboardInterrupt:
            return "interrupted"
        by_time = plan.method == "optuna" and plan.trials is None  # then the end of the time is the end
        return "finished" if through or by_time else "out_of_time"

    def _search(self, deadline: float | None) -> bool:
        own = search.own_values(self.recipe)
        self.study.begin(own)
        limit = "as many trials as there is time for" if self.plan.trials is None else f"{self.plan.trials} trials"
        self._print(
            f"Tuning {self.plan.recipe} for {', '.join(own)}: {limit}, {self.workers} at a time, threads for "
            f"each: {self.threads}, judged by held-out {self.plan.metric}"
        )
        return self.pool.run(_Search(self), deadline)

    def _grid(self, deadline: float | None) -> bool:
        from tenfold.tuning import grid

        self._print(
            f"Tuning {self.plan.recipe} for {', '.join(self.recipe.search)}: three grids, judged by "
            f"{self.plan.metric} in {grid.FOLDS}-fold cross-validation on {len(self.digits):,} images"
        )
        return grid.search(
            self.study,
            search.own_values(self.recipe),
            partial(self._cross_validated, seed=self.plan.seed),
            metric=self.plan.metric,
            points=grid.axis_points(self.recipe.search, self.plan.trials),
            deadline=deadline,
            say=self._print,
            show=self.show,
        )

    def _compare(self, best: Tried) -> None:
        """Train base and best with seeds that the search has not used, as far as that was not done."""
        seeds = [self.plan.seed + i for i in range(1, self.plan.seeds + 1)]
        comparison = Comparison(self.folder / COMPARISON, best.values, seeds, self._print)
        if comparison.jobs:
            shown = ", ".join(map(str, seeds))
            self._print(f"Comparing the best with the recipe as it was, on seeds that the search has not used: {shown}")
            if self.plan.method == "grid":
                self._compare_by_folds(comparison)
            else:
                self.pool.run(comparison)

    def _compare_by_folds(self, comparison: Comparison) -> None:
        while (job := comparison.next()) is not None:
            comparison.done(job, self._cross_validated([job.overrides], seed=job.seed)[0])

    def _cross_validated(self, candidates: Sequence[tuple[str, ...]], seed: int) -> "list[Figures]":
        """Return what each candidate of a grid comes to: here by scikit-learn's own workers, on Ray by a task each."""
        from tenfold.tuning.grid import cross_validated

        if self.place.kind != "local":
            return self.pool.cross_validate(candidates, seed)
        return cross_validated(candidates, self.folder / RECIPE, self.digits, seed, self.workers, self.threads)

    @property
    def best(self) -> Tried | None:
        """The complete trial with the least objective, or None."""
        complete = [tried for tried in self.study.tried() if tried.objective is not None]
        return min(complete, key=rank, default=None)

    def show(self, tried: Tried) -> None:
        """Print a line for a trial that has ended."""
        values = "the recipe as it is" if tried.base else " ".join(overrides(_shortened(tried.values)))
        if tried.state != "complete" or tried.nll is None or tried.accuracy is None:
            why = f": {tried.reason}" if tried.reason else ""
            self._print(f"trial {tried.number:3}  {tried.state}{why}  {values}")
            return
        best = self.best
        mark = "  best so far" if best is not None and best.number == tried.number else ""
        self._print(
            f"trial {tried.number:3}  nll {tried.nll:.4f}  accuracy {tried.accuracy:.2%}"
            f"  {tried.seconds or 0.0:.1f} s  {values}{mark}"
        )

    def finish(self, status: str) -> dict[str, Any]:
        """Write best.toml and the page, say how it went, and return the JSON-able result."""
        from tenfold.pages.tuning import write_page

        tried, best = self.study.tried(), self.best
        base = next((each for each in tried if each.base and each.state == "complete"), None)
        comparison = compared(self.folder / COMPARISON, best.values, self.plan.metric) if best is not None else None
        conclusion = verdict(best, comparison)
        if best is not None:
            text = self._best_recipe(tried, base, best, comparison, conclusion)
            write_atomically(self.folder / BEST, text.encode())
        page = write_page(
            self.folder / PAGE,
            plan=asdict(self.plan),
            space=self.recipe.search,
            tried=tried,
            importances=self.study.importances(),
            comparison=comparison,
            verdict=conclusion,
            recipe=(self.folder / BEST).read_text("utf-8") if best is not None else "",
        )
        self._print(conclusion)
        if status != "finished":
            self._print(f"Cut short. To go on: tenfold tune --resume {self.folder}")
        if best is not None:
            self._print(f"Recipe: {self.folder / BEST}")
        self._print(f"Page: {page}")
        states = [each.state for each in tried]
        return {
            "folder": str(self.folder),
            "recipe": self.plan.recipe,
            "status": status,
            "method": self.plan.method,
            "metric": self.plan.metric,
            "trials": {state: states.count(state) for state in ("complete", "pruned", "failed", "lost")},
            "base": _figures(base),
            "best": _figures(best),
            "comparison": comparison,
            "best_recipe": str(self.folder / BEST) if best is not None else None,
            "page": str(page),
        }

    def _best_recipe(
        self, tried: list[Tried], base: Tried | None, best: Tried, comparison: dict[str, Any] | None, conclusion: str
    ) -> str:
        """Return the recipe with the best values as TOML, with where it comes from in comments above."""
        plan = self.plan
        states = [each.state for each in tried]
        how = "a grid of three stages" if plan.method == "grid" else "Optuna, TPE with median pruning"
        judged = "3-fold cross-validation" if plan.method == "grid" else "held-out images of seed " + str(plan.seed)
        notes = [
            f"Found by `tenfold tune {plan.recipe} --data {plan.spec}` in {self.folder}, {plan.started[:10]}.",
            f"Search: {how}, seed {plan.seed}: {states.count('complete')} trials complete, "
            f"{states.count('pruned')} pruned, {states.count('failed')} failed. Judged by {plan.metric}, {judged}.",
            f"Data: {plan.images:,} images, SHA-256 {plan.sha256}.",
            f"Before: {_worded(base)}.",
            *([] if best.base else [f"After: {_worded(best)}; as the best of many, that flatters."]),
            *(comparison["lines"] if comparison else []),
            conclusion,
            "Changed: " + (", ".join(overrides(best.values)) if not best.base else "nothing."),
        ]
        tuned = recipes.load(self.folder / RECIPE, () if best.base else overrides(best.values))
        summary = f"{plan.recipe}, tuned on {len(self.digits):,} images of {Path(plan.spec).name}"
        tuned = tuned.model_copy(update={"name": plan.name, "summary": summary, "published": None})
        comments = [part for line in notes for part in _wrapped(line)]
        return "".join(f"# {line}\n" for line in comments) + "\n" + tuned.to_toml()


class _Search(Watcher):
    """Optuna's search: asks the study for trials, and tells it how they go."""

    def __init__(self, tuning: _Tuning) -> None:
        self.tuning, self.study = tuning, tuning.study
        self.metric = tuning.plan.metric
        self.under_way = 0

    def next(self) -> Job | None:
        limit = self.tuning.plan.trials
        if limit is not None and self.study.ended() + self.under_way >= limit:
            return None
        number, values, base = self.study.ask(self.under_way)
        self.under_way += 1
        return Job(number, () if base else overrides(values), self.tuning.plan.seed)

    def progress(self, job: Job, progress: Progress) -> bool:
        at = objective(self.metric, progress.nll, progress.accuracy)
        stop = self.study.report(job.key, progress.share, at)
        if stop:
            self.study.prune(job.key)
            self._ended(job)
        return stop

    def done(self, job: Job, figures: "Figures") -> None:
        kept = {"nll": figures.nll, "accuracy": figures.accuracy, "seconds": figures.seconds}
        self.study.complete(job.key, objective(self.metric, figures.nll, figures.accuracy), kept)
        self._ended(job)

    def failed(self, job: Job, reason: str) -> None:
        self.study.fail(job.key, reason)
        self._ended(job)

    def lost(self, job: Job) -> None:
        self.study.lose(job.key)
        self._ended(job)

    def _ended(self, job: Job) -> None:
        self.under_way -= 1
        tried = next(each for each in self.study.tried() if each.number == job.key)
        if tried.base and tried.state == "failed":
            raise TrainingError(f"The recipe as it is cannot be trained: {tried.reason}")
        self.tuning.show(tried)


def _shortened(values: Values) -> Values:
    """Return the values with floats as people read them."""
    return {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in values.items()}


def _wrapped(line: str) -> list[str]:
    """Return a note as the lines of a comment."""
    return textwrap.wrap(line, COMMENT_WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


def _worded(tried: Tried | None) -> str:
    if tried is None or tried.nll is None or tried.accuracy is None:
        return "not measured"
    return f"NLL {tried.nll:.4f}, accuracy {tried.accuracy:.2%}"


def _figures(tried: Tried | None) -> dict[str, Any] | None:
    """Return what the JSON says of a trial."""
    if tried is None:
        return None
    return {
        "trial": tried.number,
        "values": tried.values,
        "nll": tried.nll,
        "accuracy": tried.accuracy,
        "seconds": tried.seconds,
    }
