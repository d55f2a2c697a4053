"""A search at work: each task asks the journal for its trial, so one that was cut short resumes where it was."""

import secrets
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from tenfold.console import PlainConsole
from tenfold.errors import TrainingError
from tenfold.jobs import Task, run_tasks
from tenfold.tuning.journal import Journal, Tried, best_of
from tenfold.tuning.plan import Plan
from tenfold.tuning.space import Values, overrides
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
        """Do the trials that are missing; return False where the deadline came before so many as were asked for.

        own: the recipe's own values, tried first. Raises TrainingError where that recipe cannot be trained.
        """
        plan, journal = self.plan, self.journal
        journal.begin(own)
        limit = "as many trials as there is time for" if plan.trials is None else f"{plan.trials} trials"
        self.console.print(
            f"Tuning {plan.recipe} for {', '.join(journal.space)}: {limit}, {self.workers.count} at a time, threads "
            f"for each: {self.workers.threads}, judged by held-out {plan.metric}"
        )
        self.ended = journal.ended()
        if self._missing():
            with self.console.working("Searching", plan.trials) as work:
                if work.loops:
                    work.done = self.ended
                run_tasks(
                    self._tasks(),
                    **self.workers.where(),
                    done=lambda task, result: self._over(task),
                    failed=self._over,
                    deadline=self.deadline,
                )
            journal.put_up_again()  # what the deadline cut off
        return plan.trials is None or journal.ended() >= plan.trials

    def _missing(self) -> bool:
        """Return True where another trial is to be begun."""
        return self.plan.trials is None or self.ended + self.under_way < self.plan.trials

    def _tasks(self) -> Iterator[Task]:
        """Give a task for each trial that is missing; each ends one trial, however often its process is killed.

        What a task draws depends on the seed, on what has ended and on how many others are under way alone, so a
        search that was cut off draws again what it drew.
        """
        session = secrets.token_hex(4)
        while self._missing() and (self.deadline is None or time.monotonic() < self.deadline):
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
