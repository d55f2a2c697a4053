"""One candidate of a search: a recipe trained on one part of the training data, and its answers on another."""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.digits import Digits
from tenfold.errors import RunError
from tenfold.jobs import Task
from tenfold.metrics.scores import calibrated_nll
from tenfold.training import recipe as recipes
from tenfold.training.recipe import Recipe
from tenfold.tuning.journal import Journal
from tenfold.tuning.plan import JOURNAL, RECIPE, Plan, digits_of
from tenfold.tuning.space import Figures, objective, overrides

if TYPE_CHECKING:
    from tenfold.training.loop import Trainer

CURVE_POINTS = 10  # looks at a trial on its way, at the same shares of training, so that all can be compared

Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images (N, 28, 28) and labels (N,)
Report = Callable[[int, float, float], bool]


def judge(recipe: Recipe, digits: Digits, seed: int, threads: int, device: str, report: Report) -> Figures | None:
    """Return how good the recipe is on the images that it holds out, once it is trained on the others.

    The split and the probabilities are those of a run with this seed: averaged over shifts where the recipe asks for
    it, and with a temperature fitted on the held-out images. Without that, label smoothing alone would double the NLL.
    Here the temperature is fitted also where no mistake is left, or a mistake would pay.
    report: called on the way with the share of training done (whole percent), the NLL with its own best temperature,
    and the accuracy; where it returns True the trial ends, and None is returned. A classical model has nothing to
    report.
    """
    assert digits.labels is not None
    parts = recipe.data.hold_out(digits, seed)
    train, rest = ((digits.images[part], digits.labels[part]) for part in parts)
    labels = rest[1]

    def scores(probabilities: NDArray[np.float32]) -> tuple[float, float]:
        return calibrated_nll(labels, probabilities), float((probabilities.argmax(1) == labels).mean())

    if recipe.classical:
        from tenfold.runs.estimator import classical

        began = time.perf_counter()
        model = classical(recipe, seed, threads).fit(*train)
        seconds = time.perf_counter() - began
        probabilities = model.probabilities(rest[0])
    else:
        trainer = _trainer(recipe, train, rest, seed, threads, device)
        every = max(1, trainer.total_steps // CURVE_POINTS)

        def each_step(trainer: "Trainer") -> bool:
            if trainer.position.step % every or trainer.finished:
                return False
            return report(round(100 * trainer.progress), *scores(trainer.look()))

        if not trainer.run(each_step):
            return None
        answered = trainer.finish()[1]
        assert answered is not None
        probabilities, seconds = answered.probabilities, trainer.position.seconds
    return Figures(*scores(probabilities), len(labels), round(seconds, 3))


def _trainer(recipe: Recipe, train: Labelled, watched: Labelled, seed: int, threads: int, device: str) -> "Trainer":
    """Return what trains a network; `watched` is what its own validations look at."""
    from tenfold.runs.estimator import teacher
    from tenfold.training import device as devices
    from tenfold.training.loop import Trainer

    devices.use_threads(threads)
    steered = recipe.schedule.kind == "plateau" or recipe.training.keep == "best" or recipe.training.early_stopping > 0
    place = devices.choose(device)
    if not steered:  # then validations on the way would cost time and change nothing
        rare = recipe.training.model_copy(update={"evaluate_every": 2 * recipe.training.epochs + 1})
        recipe = recipe.model_copy(update={"training": rare})
    return Trainer(recipe, *train, watched, seed=seed, device=place, threads=threads, teacher=teacher(recipe, place))


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

    def task(self, key: str, title: str, function: str, **arguments: Any) -> Task:
        """Return a task that calls one of the functions below."""
        return Task(key, f"{__name__}:{function}", {"workers": self, **arguments}, title)

    def where(self) -> dict[str, Any]:
        """Return what `run_tasks` is told of the place."""
        return {"on": self.on, "workers": self.count, "threads": self.threads, "shared": [Path(self.folder)]}

    def judge(self, changes: Sequence[str], seed: int, report: Report) -> Figures | None:
        """Return what the recipe with these overrides comes to."""
        recipe, digits = recipes.load(Path(self.folder) / RECIPE, changes), _digits(self.folder, self.data)
        return judge(recipe, digits, seed, self.threads, self.device, report)


def search_trial(workers: Workers, task: str, drawn: int) -> dict[str, Any]:
    """Do a trial that the journal gives, see `Journal.ask`, and tell the journal how it went."""
    folder = Path(workers.folder)
    plan, journal = Plan.read(folder), Journal(folder / JOURNAL, recipes.load(folder / RECIPE).search)
    trial = journal.ask(task, drawn)

    def report(share: int, nll: float, accuracy: float) -> bool:
        return journal.report(trial, share, objective(plan.metric, nll, accuracy))

    figures = workers.judge(() if trial.user_attrs.get("base") else overrides(trial.params), plan.seed, report)
    if figures is None:
        journal.prune(trial)
    else:
        journal.complete(trial, objective(plan.metric, figures.nll, figures.accuracy), figures)
    return {}


def judge_once(workers: Workers, changes: Sequence[str], seed: int) -> dict[str, Any]:
    """Return the figures of the recipe with these overrides and another seed."""
    figures = workers.judge(changes, seed, lambda share, nll, accuracy: False)
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
