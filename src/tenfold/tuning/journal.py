"""The trials of a search, in Optuna's journal: where the tasks of a search meet, on all machines of a cluster.

Optuna decides what is tried next and what is ended early (tree-structured Parzen estimator, Bergstra et al., 2011;
median pruning, Golovin et al., 2017). Each task asks the journal for its trial and tells it how that goes; the process
that hands tasks out reads it. A search that was killed resumes where it was.
"""

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tenfold.errors import RunError, TrainingError
from tenfold.files import claimed
from tenfold.training.recipe import Range
from tenfold.tuning.space import Figures, Space, Value, Values, whole

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

STARTUP_TRIALS = 5  # that run to their end, so that there is a median to be below
# Percent of its training before which a trial is not ended, and between two looks. Early on, high learning rates look
# worse than they end: with 30 and 10, `instant` on 10,000 images saw all 14 trials after the sixth ended, with these
# 16 of 18, and the two that were left were the best of the search.
WARM_UP, INTERVAL = 50, 20
NAME = "tune"  # of the one study in a journal


@dataclass(frozen=True)
class Tried:
    """One trial, as it is shown and reported.

    state:     "complete", "pruned" (ended early), "failed" (could not be trained) or "lost" (its process was killed).
    objective: what is minimised; None but for a complete trial. nll and accuracy: of the same held-out images.
    curve:     share of training done in percent -> the objective there, as far as it was measured.
    base:      the recipe as it is.
    """

    number: int
    values: Values
    state: str
    objective: float | None = None
    nll: float | None = None
    accuracy: float | None = None
    seconds: float | None = None
    curve: Mapping[int, float] = field(default_factory=dict)
    base: bool = False
    reason: str = ""


def rank(tried: Tried) -> tuple[float, float]:
    """Return what complete trials are sorted by, the best first: the objective, and the NLL where that is equal."""
    assert tried.objective is not None
    return tried.objective, tried.nll or 0.0


def best_of(tried: list[Tried]) -> Tried | None:
    """Return the complete trial with the least objective, None where there is none."""
    return min((each for each in tried if each.objective is not None), key=rank, default=None)


class Journal:
    """The trials in the journal at `path`.

    alone: as the one process at a time that hands out tasks; RunError where there is another. It mends what a killed
    process left half written.
    """

    def __init__(self, path: Path, space: Space, *, alone: bool = False) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space, self.states = space, optuna.trial.TrialState
        self.distributions = {key: _distribution(choices) for key, choices in space.items()}
        self._alone = ExitStack()
        if alone:
            self._alone.enter_context(claimed(path))
            _mend(path)
        try:
            self._storage = JournalStorage(JournalFileBackend(str(path), JournalFileOpenLock(str(path))))
            self._study: OptunaStudy = optuna.create_study(
                storage=self._storage,
                pruner=optuna.pruners.MedianPruner(STARTUP_TRIALS, WARM_UP, INTERVAL),
                study_name=NAME,
                direction="minimize",
                load_if_exists=True,
            )
            self._trials()
        except (ValueError, KeyError, AssertionError) as error:
            self.close()
            raise RunError(f"'{path}' cannot be read: {error}. Start another tune without --resume.") from None

    def close(self) -> None:
        """Let another process hand out tasks."""
        self._alone.close()

    def _trials(self) -> list["FrozenTrial"]:
        return self._study.get_trials(deepcopy=False)

    # -- what was tried --------------------------------------------------------------------------------------------

    def tried(self) -> list[Tried]:
        """Return every trial that has ended, oldest first."""
        return [_tried(trial) for trial in self._trials() if trial.state.is_finished()]

    def ended(self) -> int:
        """Return how many trials came to an end of their own: complete, pruned or failed, not lost."""
        return sum(tried.state != "lost" for tried in self.tried())

    # -- for the process that hands out tasks ----------------------------------------------------------------------

    def begin(self, own: Values) -> None:
        """Put up what is tried first: the recipe's own values, or what an earlier process left under way."""
        if not self._trials():
            self._study.enqueue_trial(own, user_attrs={"base": True})
        self.put_up_again()

    def put_up_again(self, task: str | None = None) -> None:
        """Put up again what a task's earlier process left under way; without a task, all that is under way."""
        for trial in self._trials():
            known = trial.user_attrs
            if trial.state == self.states.RUNNING and task in (None, known.get("task")):
                # Also where its process ended before it had taken all of its values.
                taken = trial.params.keys() == self.space.keys()
                values = trial.params if taken else trial.system_attrs.get("fixed_params", {})
                self._study.enqueue_trial(values, user_attrs={"base": known.get("base", False)})
                self._study.tell(trial.number, state=self.states.FAIL)  # a lost one, for it has no reason

    def outcome(self, task: str, reason: str = "") -> Tried:
        """Return how the last trial of a task ended; reason: why the task failed, where it could not tell it itself.

        Raises TrainingError with the reason where the task did not come as far as to have a trial.
        """
        trial = next((each for each in reversed(self._trials()) if each.user_attrs.get("task") == task), None)
        if trial is None:
            raise TrainingError(reason)
        if not trial.state.is_finished():
            storage = self._storage
            key = storage.get_trial_id_from_study_id_trial_number(storage.get_study_id_from_name(NAME), trial.number)
            storage.set_trial_user_attr(key, "reason", reason)
            self._study.tell(trial.number, state=self.states.FAIL)
        return _tried(self._trials()[trial.number])

    # -- for a task ------------------------------------------------------------------------------------------------

    def ask(self, task: str, drawn: int) -> "Trial":
        """Return the trial, Optuna's, that a task is to do: one that was put up, or one drawn with the seed `drawn`."""
        import optuna

        self.put_up_again(task)
        self._study.sampler = optuna.samplers.TPESampler(seed=drawn)
        trial = self._study.ask(self.distributions)
        trial.set_user_attr("task", task)
        return trial

    def report(self, trial: "Trial", share: int, objective: float) -> bool:
        """Take note of a point of a trial's curve; return True where the trial had better end: never the base."""
        trial.report(objective, share)
        return not trial.user_attrs.get("base") and trial.should_prune()

    def complete(self, trial: "Trial", objective: float, figures: Figures) -> None:
        """Keep what a trial came to."""
        for key in ("nll", "accuracy", "seconds"):
            trial.set_user_attr(key, getattr(figures, key))
        self._study.tell(trial, objective)

    def prune(self, trial: "Trial") -> None:
        """Keep that a trial was ended early."""
        self._study.tell(trial, state=self.states.PRUNED)


def _distribution(choices: Range | list[Value]) -> "BaseDistribution":
    """Return Optuna's form of a range or of choices."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(choices, Range):
        return CategoricalDistribution(choices)
    if whole(choices):
        low, high, step = int(choices.low), int(choices.high), int(choices.step or 1)
        return IntDistribution(low, low + (high - low) // step * step, log=choices.log, step=step)
    end = float(choices.high)
    if choices.step:
        end = choices.low + math.floor((end - choices.low) / choices.step + 1e-9) * choices.step  # a whole last step
    return FloatDistribution(choices.low, end, log=choices.log, step=choices.step)


def _tried(trial: "FrozenTrial") -> Tried:
    known, state = trial.user_attrs, trial.state.name.lower()
    return Tried(
        number=trial.number,
        values=dict(trial.params),
        state=state if state != "fail" else "failed" if "reason" in known else "lost",
        objective=trial.value if state == "complete" else None,
        curve=dict(trial.intermediate_values),
        **{key: known.get(key) for key in ("nll", "accuracy", "seconds")},
        base=bool(known.get("base")),
        reason=known.get("reason", ""),
    )


def _mend(path: Path) -> None:
    """Cut off the line that a killed process may have left half written, and remove the lock that it held."""
    for lock in path.parent.glob(f"{path.name}.lock*"):
        lock.unlink(missing_ok=True)
    if not path.exists():
        return
    with path.open("rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
