"""Trainings of candidates side by side, each on its share of the cores, here or on Ray, while one process decides.

A training is a task: the recipe's file, the overrides, the seed, and where the digits are. On the way it asks whether
to go on. A process that dies takes its training with it and nothing else: the job is reported as lost.
"""

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tenfold import parallel
from tenfold.data import names as sources
from tenfold.data.digits import Digits
from tenfold.errors import RunError, TrainingError
from tenfold.parallel import Place, Task
from tenfold.processes import Ask

if TYPE_CHECKING:
    from tenfold.tuning.trial import Figures


@dataclass(frozen=True)
class Job:
    """One training: the recipe's overrides, and the seed of the training and of what is held out."""

    key: Any
    overrides: tuple[str, ...]
    seed: int


@dataclass(frozen=True)
class Progress:
    """What a trial shows after a validation: the share of training done in whole percent, NLL, accuracy."""

    share: int
    nll: float
    accuracy: float


def anywhere(spec: str) -> str:
    """Return what names the same data in any working directory: a name as it is, a path from the root on."""
    return spec if sources.parse(spec) else str(Path(spec).expanduser().absolute())


@dataclass(frozen=True)
class Source:
    """The digits to search on, as any process finds them again: so many of `spec`, known by their hash."""

    spec: str
    subset: int | None
    seed: int
    sha256: str

    @classmethod
    def of(cls, spec: str, subset: int | None, seed: int, sha256: str) -> "Source":
        """Return the source with a path that does not depend on the working directory."""
        return cls(anywhere(spec), subset, seed, sha256)


class Watcher:
    """What is asked and told while jobs run; all of it in the process that decides."""

    def next(self) -> Job | None:
        """Return the next job, or None when there is none left to start."""
        raise NotImplementedError

    def progress(self, job: Job, progress: Progress) -> bool:
        """Return True to end the job now; it is then neither done nor lost."""
        return False

    def done(self, job: Job, figures: "Figures") -> None:
        """Take what a job came to."""
        raise NotImplementedError

    def failed(self, job: Job, reason: str) -> None:
        """Take note that a job cannot be done."""
        raise NotImplementedError

    def lost(self, job: Job) -> None:
        """Take note that a job ended with its process, or at the deadline."""
        raise NotImplementedError


class Workers:
    """A place where one recipe is trained on one set of labelled digits; a context manager.

    count: at most so many at a time; each computes with `threads` threads. recipe: the file, in a folder that a
    cluster's machines share.
    """

    def __init__(
        self, count: int, recipe: Path, source: Source, threads: int, device: str = "auto", place: Place | None = None
    ) -> None:
        self._folds = {"recipe": str(recipe.resolve()), "source": asdict(source), "threads": threads}
        self._training = self._folds | {"device": device}
        self.place = parallel.open_place(
            place or Place.parse(None), workers=count, threads=threads, shared=[recipe.parent]
        )

    def __enter__(self) -> "Workers":
        self.place.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.place.__exit__(kind, error, trace)

    def run(self, watcher: Watcher, deadline: float | None = None) -> bool:
        """Run the watcher's jobs; return False where `deadline` (of time.monotonic) cut some of them off."""
        return self.place.run(_Trials(watcher, self._training), deadline)

    def cross_validate(self, candidates: Sequence[tuple[str, ...]], seed: int) -> "list[Figures]":
        """Return what each candidate comes to in cross-validation, see `grid.cross_validated`; a task for each.

        Raises TrainingError where one cannot be fitted.
        """
        collector = _Folds(
            [
                Task(str(number), f"{__name__}:fit_folds", self._folds | {"overrides": list(each), "seed": seed})
                for number, each in enumerate(candidates)
            ]
        )
        self.place.run(collector)
        return [collector.figures[str(number)] for number in range(len(candidates))]


class _Trials(parallel.Watcher):
    """A watcher's jobs as tasks."""

    def __init__(self, watcher: Watcher, arguments: dict[str, Any]) -> None:
        self.watcher, self.arguments = watcher, arguments
        self.jobs: dict[str, Job] = {}
        self.ended: set[str] = set()  # the keys of those that were asked to end

    def next(self) -> Task | None:
        job = self.watcher.next()
        if job is None:
            return None
        key = str(len(self.jobs))
        self.jobs[key] = job
        arguments = self.arguments | {"overrides": list(job.overrides), "seed": job.seed}
        return Task(key, f"{__name__}:train", arguments, asks=True)

    def asked(self, task: Task, question: dict[str, Any]) -> bool:
        stop = self.watcher.progress(self.jobs[task.key], Progress(**question))
        if stop:
            self.ended.add(task.key)
        return stop

    def done(self, task: Task, result: dict[str, Any]) -> None:
        from tenfold.tuning.trial import Figures

        if task.key not in self.ended:
            self.watcher.done(self.jobs[task.key], Figures(**result))

    def failed(self, task: Task, reason: str) -> None:
        if task.key not in self.ended:
            self.watcher.failed(self.jobs[task.key], reason)

    def lost(self, task: Task) -> None:
        if task.key not in self.ended:
            self.watcher.lost(self.jobs[task.key])


class _Folds(parallel.Watcher):
    """Takes what candidates come to in cross-validation, all of which has to succeed."""

    def __init__(self, tasks: list[Task]) -> None:
        self.tasks = tasks
        self.figures: dict[str, Figures] = {}

    def next(self) -> Task | None:
        return self.tasks.pop(0) if self.tasks else None

    def done(self, task: Task, result: dict[str, Any]) -> None:
        from tenfold.tuning.trial import Figures

        self.figures[task.key] = Figures(**result)

    def failed(self, task: Task, reason: str) -> None:
        raise TrainingError(f"'{' '.join(task.arguments['overrides']) or 'The recipe as it is'}': {reason}")

    def lost(self, task: Task) -> None:
        self.failed(task, "Its process ended without an answer. Give fewer --workers, or --resume the tune.")


# -- what a task does -----------------------------------------------------------------------------------------------


def train(
    recipe: str, overrides: list[str], seed: int, source: dict[str, Any], threads: int, device: str, ask: Ask
) -> dict[str, Any]:
    """Return the figures of one training, as a dictionary; an empty one where it was ended early."""
    from tenfold.training import recipe as recipes
    from tenfold.tuning.trial import Stopped, judge

    def report(share: int, nll: float, accuracy: float) -> bool:
        return bool(ask({"share": share, "nll": nll, "accuracy": accuracy}))

    try:
        return asdict(judge(recipes.load(Path(recipe), overrides), _digits(**source), seed, threads, device, report))
    except Stopped:
        return {}


def fit_folds(recipe: str, overrides: list[str], seed: int, source: dict[str, Any], threads: int) -> dict[str, Any]:
    """Return the figures of one candidate in cross-validation, as a dictionary."""
    from tenfold.tuning.grid import cross_validated

    return asdict(cross_validated([tuple(overrides)], Path(recipe), _digits(**source), seed, 1, threads)[0])


@functools.lru_cache(maxsize=1)
def _digits(spec: str, subset: int | None, seed: int, sha256: str) -> Digits:
    """Return the digits, read once in each process; RunError where they are not those that are searched on."""
    from tenfold.tuning.plan import digits_of

    digits = digits_of(spec, subset, seed)
    if digits.content_hash() != sha256:
        raise RunError(f"The data '{spec}' are others for the process that trains. Give data that do not change.")
    return digits
