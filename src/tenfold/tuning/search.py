"""The two searches: Optuna's, and a coarse grid, a finer one around its best, and a finest.

In both a task asks the journal for its trial, so one that was cut short resumes where it was.
"""

import math
import secrets
import time
import zlib
from collections.abc import Callable, Iterator

from tenfold.errors import TrainingError
from tenfold.jobs import Task, run_tasks
from tenfold.training.recipe import Range
from tenfold.tuning.journal import Journal, Tried, best_of
from tenfold.tuning.plan import FOLDS, Plan
from tenfold.tuning.space import STAGES, Values, axis_points, grid
from tenfold.tuning.trial import Workers


class Search:
    """A search at work. say: told in a line what comes next. show: given each trial that has ended."""

    def __init__(
        self,
        journal: Journal,
        plan: Plan,
        workers: Workers,
        say: Callable[[str], None],
        show: Callable[[Tried], None],
    ) -> None:
        self.journal, self.plan, self.workers, self.say, self.show = journal, plan, workers, say, show
        self.ended = self.under_way = 0

    def run(self, own: Values, deadline: float | None) -> bool:
        """Do the trials that are missing; return False where `deadline` (of time.monotonic) came before the end.

        own: the recipe's own values, tried first. Raises TrainingError where that recipe cannot be trained.
        """
        plan, space = self.plan, self.journal.space
        self.journal.put_up([own], base=True)
        self.journal.put_up_again()
        if plan.method == "grid":
            self.say(
                f"Tuning {plan.recipe} for {', '.join(space)}: three grids, judged by {plan.metric} in {FOLDS}-fold "
                f"cross-validation on {plan.images:,} images"
            )
            return all(self._stage(stage, own, deadline) for stage in range(STAGES))
        limit = "as many trials as there is time for" if plan.trials is None else f"{plan.trials} trials"
        self.say(
            f"Tuning {plan.recipe} for {', '.join(space)}: {limit}, {self.workers.count} at a time, threads for each: "
            f"{self.workers.threads}, judged by held-out {plan.metric}"
        )
        return self._until(math.inf if plan.trials is None else plan.trials, deadline)

    def _stage(self, stage: int, own: Values, deadline: float | None) -> bool:
        """Judge the candidates of one stage of a grid."""
        space = self.journal.space
        before = [each for each in self.journal.tried() if each.base or (each.stage or 0) < stage]
        best = best_of(before)
        centre = best.values if best is not None else own
        new = self.journal.put_up(grid(space, axis_points(space, self.plan.trials), stage, centre), stage=stage)
        if new:
            refined = " ".join(f"{key}={centre[key]}" for key, choices in space.items() if isinstance(choices, Range))
            around = f", around {refined}" if stage and refined else ""
            self.say(f"Stage {stage + 1} of {STAGES}: {new} candidates, {FOLDS} folds each{around}")
        return self._until(self.journal.ended() + self.journal.waiting(), deadline)

    def _until(self, limit: float, deadline: float | None) -> bool:
        """Do trials until so many have ended; return False where the deadline came before."""
        self.ended, self.under_way = self.journal.ended(), 0
        if self.ended < limit:
            run_tasks(
                self._tasks(limit, deadline),
                **self.workers.where(),
                done=lambda task, result: self._over(task),
                failed=self._over,
                deadline=deadline,
            )
            self.journal.put_up_again()  # what the deadline cut off
        return self.journal.ended() >= limit

    def _tasks(self, limit: float, deadline: float | None) -> Iterator[Task]:
        """Give a task for each trial that is missing; each ends one trial, however often its process is killed.

        What a task draws depends on the seed, on what has ended and on how many others are under way alone, so a
        search that was cut off draws again what it drew.
        """
        session = secrets.token_hex(4)
        while self.ended + self.under_way < limit and (deadline is None or time.monotonic() < deadline):
            drawn = zlib.crc32(repr((self.plan.seed, self.ended, self.under_way)).encode())
            key = f"{session}-{self.ended + self.under_way}"
            self.under_way += 1
            yield self.workers.task(key, "search_trial", task=key, drawn=drawn)

    def _over(self, task: Task, reason: str = "") -> None:
        tried = self.journal.outcome(task.key, reason)
        self.under_way -= 1
        self.ended += 1
        if tried.base and tried.state == "failed":
            raise TrainingError(f"The recipe as it is cannot be trained: {tried.reason}")
        self.show(tried)
