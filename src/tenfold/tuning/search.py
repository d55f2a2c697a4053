"""The two searches: Optuna's, and a coarse grid, a finer one around its best, and a finest.

In both a task asks the journal for its trial, so one that was cut short resumes where it was.
"""

import math
import secrets
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from tenfold.console import PlainConsole
from tenfold.errors import TrainingError
from tenfold.jobs import Task, run_tasks
from tenfold.training.recipe import Range
from tenfold.tuning.journal import Journal, Tried, best_of
from tenfold.tuning.plan import FOLDS, Plan
from tenfold.tuning.space import STAGES, Values, axis_points, grid, overrides
from tenfold.tuning.trial import Workers


@dataclass
class Search:
    """A search at work, which says on the console what comes next and how each trial ended.

    deadline: of time.monotonic, after which no trial is begun and those under way are cut off.
    """

    journal: Journal
    plan: Plan
    workers: Workers
    console: PlainConsole
    deadline: float | None
    ended: int = 0
    under_way: int = 0

    def run(self, own: Values) -> bool:
        """Do the trials that are missing; return False where the deadline came before the end.

        own: the recipe's own values, tried first. Raises TrainingError where that recipe cannot be trained.
        """
        plan, space = self.plan, self.journal.space
        self.journal.put_up([own], base=True)
        self.journal.put_up_again()
        if plan.method == "grid":
            self.console.print(
                f"Tuning {plan.recipe} for {', '.join(space)}: three grids, judged by {plan.metric} in {FOLDS}-fold "
                f"cross-validation on {plan.images:,} images"
            )
            return all(self._stage(stage, own) for stage in range(STAGES))
        limit = "as many trials as there is time for" if plan.trials is None else f"{plan.trials} trials"
        self.console.print(
            f"Tuning {plan.recipe} for {', '.join(space)}: {limit}, {self.workers.count} at a time, threads for each: "
            f"{self.workers.threads}, judged by held-out {plan.metric}"
        )
        return self._until(math.inf if plan.trials is None else plan.trials)

    def _stage(self, stage: int, own: Values) -> bool:
        """Judge the candidates of one stage of a grid."""
        space = self.journal.space
        best = best_of([each for each in self.journal.tried() if each.base or (each.stage or 0) < stage])
        centre = best.values if best is not None else own
        new = self.journal.put_up(grid(space, axis_points(space, self.plan.trials), stage, centre), stage=stage)
        if new:
            refined = " ".join(f"{key}={centre[key]}" for key, choices in space.items() if isinstance(choices, Range))
            around = f", around {refined}" if stage and refined else ""
            self.console.print(f"Stage {stage + 1} of {STAGES}: {new} candidates, {FOLDS} folds each{around}")
        return self._until(self.journal.ended() + self.journal.waiting())

    def _until(self, limit: float) -> bool:
        """Do trials until so many have ended; return False where the deadline came before."""
        self.ended, self.under_way = self.journal.ended(), 0
        if self.ended < limit:
            with self.console.working("Searching", None if limit == math.inf else int(limit)) as work:
                if work.loops:
                    work.done = self.ended
                run_tasks(
                    self._tasks(limit),
                    **self.workers.where(),
                    done=lambda task, result: self._over(task),
                    failed=self._over,
                    deadline=self.deadline,
                )
            self.journal.put_up_again()  # what the deadline cut off
        return self.journal.ended() >= limit

    def _tasks(self, limit: float) -> Iterator[Task]:
        """Give a task for each trial that is missing; each ends one trial, however often its process is killed.

        What a task draws depends on the seed, on what has ended and on how many others are under way alone, so a
        search that was cut off draws again what it drew.
        """
        session = secrets.token_hex(4)
        while self.ended + self.under_way < limit and (self.deadline is None or time.monotonic() < self.deadline):
            drawn = zlib.crc32(repr((self.plan.seed, self.ended, self.under_way)).encode())
            number = self.ended + self.under_way
            key = f"{session}-{number}"
            self.under_way += 1
            yield self.workers.task(key, f"trial {number}", "search_trial", task=key, drawn=drawn)

    def _over(self, task: Task, reason: str = "") -> None:
        tried = self.journal.outcome(task.key, reason)
        self.under_way -= 1
        self.ended += 1
        if tried.base and tried.state == "failed":
            raise TrainingError(f"The recipe as it is cannot be trained: {tried.reason}")
        self.console.print(_line(tried, best_of(self.journal.tried())))


def _line(tried: Tried, best: Tried | None) -> str:
    """Return what is said of a trial that has ended."""
    short = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in tried.values.items()}
    values = "the recipe as it is" if tried.base else " ".join(overrides(short))
    if tried.state != "complete" or tried.nll is None or tried.accuracy is None:
        return f"trial {tried.number:3}  {tried.state}{f': {tried.reason}' if tried.reason else ''}  {values}"
    mark = "  best so far" if best is not None and best.number == tried.number else ""
    figures = f"nll {tried.nll:.4f}  accuracy {tried.accuracy:.2%}  {tried.seconds or 0.0:.1f} s"
    return f"trial {tried.number:3}  {figures}  {values}{mark}"
