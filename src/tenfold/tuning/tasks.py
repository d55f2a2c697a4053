"""What the processes of a tune do: one trial of the search, or one training of a candidate, here or on Ray.

A task finds all it needs in the tune's folder, which the machines of a cluster share: plan, recipe, and the journal.
"""

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.data.digits import Digits
from tenfold.errors import RunError
from tenfold.jobs import Task
from tenfold.training import recipe as recipes
from tenfold.tuning.journal import Journal
from tenfold.tuning.plan import JOURNAL, RECIPE, Plan, digits_of
from tenfold.tuning.space import Figures, objective, overrides

if TYPE_CHECKING:
    from tenfold.tuning.trial import Report


@dataclass(frozen=True)
class Workers:
    """Where the trainings of the tune in `folder` run: so many side by side, each on `threads` threads.

    data: the digits, named so that any process finds them.
    """

    folder: str
    data: str
    count: int
    threads: int
    device: str
    on: str | None

    def task(self, key: str, function: str, **arguments: Any) -> Task:
        """Return a task that calls one of the functions below."""
        return Task(key, f"{__name__}:{function}", {"workers": asdict(self), **arguments})

    def where(self) -> dict[str, Any]:
        """Return what `run_tasks` is told of the place."""
        return {"on": self.on, "workers": self.count, "threads": self.threads, "shared": [Path(self.folder)]}

    def judge(self, changes: Sequence[str], seed: int, report: "Report") -> Figures | None:
        """Return what the recipe with these overrides comes to, as the tune's method judges it."""
        from tenfold.tuning.trial import cross_validated, judge

        recipe, digits = recipes.load(Path(self.folder) / RECIPE, changes), _digits(self.folder, self.data)
        if Plan.read(Path(self.folder)).method == "grid":
            return cross_validated(recipe, digits, seed, self.threads, self.device)
        return judge(recipe, digits, seed, self.threads, self.device, report)


def search_trial(workers: dict[str, Any], task: str, drawn: int) -> dict[str, Any]:
    """Do a trial that the journal gives, see `Journal.ask`, and tell the journal how it went."""
    here = Workers(**workers)
    folder = Path(here.folder)
    plan, journal = Plan.read(folder), Journal(folder / JOURNAL, recipes.load(folder / RECIPE).search)
    trial = journal.ask(task, drawn)

    def report(share: int, nll: float, accuracy: float) -> bool:
        return journal.report(trial, share, objective(plan.metric, nll, accuracy))

    figures = here.judge(() if trial.user_attrs.get("base") else overrides(trial.params), plan.seed, report)
    if figures is None:
        journal.prune(trial)
    else:
        journal.complete(trial, objective(plan.metric, figures.nll, figures.accuracy), figures)
    return {}


def judge_once(workers: dict[str, Any], changes: Sequence[str], seed: int) -> dict[str, Any]:
    """Return the figures of the recipe with these overrides and another seed."""
    figures = Workers(**workers).judge(changes, seed, lambda share, nll, accuracy: False)
    assert figures is not None  # for it was not ended early
    return asdict(figures)


@functools.lru_cache(maxsize=1)
def _digits(folder: str, data: str) -> Digits:
    """Return the digits, read once in each process; RunError where they are not those that are searched on."""
    plan = Plan.read(Path(folder))
    digits = digits_of(data, plan.subset, plan.seed)
    if digits.content_hash() != plan.sha256:
        raise RunError(f"The data '{data}' are others for the process that trains. Give data that do not change.")
    return digits
