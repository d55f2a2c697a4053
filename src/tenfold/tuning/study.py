"""The search that Optuna leads: what is tried next, what is ended early, and the journal that all of it is kept in.

Optuna decides (tree-structured Parzen estimator, Bergstra et al., 2011; median pruning, Golovin et al., 2017), one
process asks it, and `journal.log` holds every trial, so a study that was killed goes on where it was. A grid's results
are put into the same journal.
"""

import math
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tenfold.errors import RunError
from tenfold.training.recipe import Range
from tenfold.tuning.search import Space, Value, Values, whole

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

STARTUP_TRIALS = 5  # that run to their end, so that there is a median to be below
# Percent of its training before which a trial is not ended, and between two looks. Early on, high learning rates look
# worse than they end: with 30 and 10, `instant` on 10,000 images saw all 14 trials after the sixth ended, with these
# 16 of 18, and the two that went on were the best of the search.
WARM_UP, INTERVAL = 50, 20
MOST_LOSSES = 3  # processes that may end under a trial before it is given up


@dataclass(frozen=True)
class Tried:
    """One trial, as it is shown and reported.

    state:     "complete", "pruned" (ended early), "failed" (could not be trained) or "lost" (its process was killed).
    objective: what is minimised; None but for a complete trial. nll and accuracy: of the same held-out images.
    curve:     share of training done in percent -> the objective there, as far as it was measured.
    base:      the recipe as it is. stage: of a grid, from 0.
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
    stage: int | None = None
    reason: str = ""


def rank(tried: Tried) -> tuple[float, float]:
    """Return what complete trials are sorted by, the best first: the objective, and the NLL where that is equal."""
    assert tried.objective is not None
    return tried.objective, tried.nll or 0.0


class Study:
    """The trials of one search in the journal at `path`; only one process at a time may have it open.

    seed: of what is tried. With one worker, the same seed tries the same values, also after a kill.
    """

    def __init__(self, path: Path, space: Space, seed: int) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space, self.seed = space, seed
        self.distributions = {key: _distribution(choices) for key, choices in space.items()}
        self._trials: dict[int, Trial] = {}  # under way, by number
        self._alone = _claim(path)
        _mend(path)
        lock = JournalFileOpenLock(str(path))
        try:
            self._study: OptunaStudy = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(path), lock)),
                pruner=optuna.pruners.MedianPruner(STARTUP_TRIALS, WARM_UP, INTERVAL),
                study_name="tune",
                direction="minimize",
                load_if_exists=True,
            )
            self._study.get_trials(deepcopy=False)
        except (ValueError, KeyError, AssertionError) as error:
            self.close()
            raise RunError(f"'{path}' cannot be read: {error}. Start another tune without --resume.") from None

    def close(self) -> None:
        """Let others have the journal."""
        self._alone.close()

    # -- what was tried --------------------------------------------------------------------------------------------

    def tried(self) -> list[Tried]:
        """Return every trial that has ended, oldest first."""
        return [_tried(trial) for trial in self._study.get_trials(deepcopy=False) if trial.state.is_finished()]

    def ended(self) -> int:
        """Return how many trials came to an end of their own: complete, pruned or failed, not lost."""
        return sum(tried.state != "lost" for tried in self.tried())

    def importances(self) -> dict[str, float]:
        """Return how much of the differences each key explains, as shares that sum to 1, the largest first.

        PED-ANOVA (Watanabe et al., 2023) of the complete trials; empty with fewer than four of them, or one key.
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        complete = [tried for tried in self.tried() if tried.state == "complete"]
        varied = [key for key in self.space if len({tried.values[key] for tried in complete}) > 1]
        if len(complete) < 4 or len(varied) < 2:
            return {}
        shares = get_param_importances(self._study, evaluator=PedAnovaImportanceEvaluator(), params=varied)
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    # -- Optuna's search -------------------------------------------------------------------------------------------

    def begin(self, own: Values) -> None:
        """Put the recipe's own values first; take up again what a killed process had under way."""
        from optuna.trial import TrialState

        trials = self._study.get_trials(deepcopy=False)
        if not trials:
            self._study.enqueue_trial(own, user_attrs={"base": True})
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                self._study.tell(trial.number, state=TrialState.FAIL)
                self._again(own if trial.user_attrs.get("base") else trial.params, trial.user_attrs)

    def ask(self, worker: int = 0) -> tuple[int, Values, bool]:
        """Return the number and the values of the next trial, and whether it is the recipe as it is.

        What is drawn depends on the seed, on what has ended and on `worker` (how many others are under way) alone,
        so a study that was cut off asks again for what it asked for.
        """
        import optuna

        drawn = zlib.crc32(repr((self.seed, self.ended(), worker)).encode())
        self._study.sampler = optuna.samplers.TPESampler(seed=drawn)
        trial = self._study.ask(self.distributions)
        self._trials[trial.number] = trial
        return trial.number, dict(trial.params), bool(trial.user_attrs.get("base"))

    def report(self, number: int, share: int, objective: float) -> bool:
        """Take note of a point of a trial's curve; return True where the trial had better end."""
        trial = self._trials[number]
        trial.report(objective, share)
        return trial.should_prune() and not trial.user_attrs.get("base")

    def complete(self, number: int, objective: float, figures: Mapping[str, Any]) -> None:
        """Keep what a trial came to; `figures` has nll, accuracy and seconds."""
        trial = self._trials.pop(number)
        for key, value in figures.items():
            trial.set_user_attr(key, value)
        self._study.tell(trial, objective)

    def prune(self, number: int) -> None:
        """Keep that a trial was ended early."""
        from optuna.trial import TrialState

        self._study.tell(self._trials.pop(number), state=TrialState.PRUNED)

    def fail(self, number: int, reason: str) -> None:
        """Keep that a trial cannot be trained, and why."""
        from optuna.trial import TrialState

        trial = self._trials.pop(number)
        trial.set_user_attr("reason", reason)
        self._study.tell(trial, state=TrialState.FAIL)

    def lose(self, number: int) -> None:
        """Put a trial whose process is gone up again, unless it took as many with it as it may."""
        from optuna.trial import TrialState

        trial = self._trials[number]
        if not self._again(trial.params, trial.user_attrs):
            self.fail(number, f"Its process ended without an answer {MOST_LOSSES} times.")
            return
        del self._trials[number]
        self._study.tell(trial, state=TrialState.FAIL)  # without a reason: that is what makes it a lost one

    def _again(self, values: Values, attributes: Mapping[str, Any]) -> bool:
        """Put values up for another trial and return True, or return False where that was done often enough."""
        losses = attributes.get("losses", 0) + 1
        if losses >= MOST_LOSSES:
            return False
        self._study.enqueue_trial(values, user_attrs={**attributes, "losses": losses})
        return True

    # -- a grid's results ------------------------------------------------------------------------------------------

    def add(self, values: Values, objective: float, figures: Mapping[str, Any]) -> None:
        """Keep a trial that was judged elsewhere."""
        from optuna.trial import create_trial

        self._study.add_trial(
            create_trial(params=values, distributions=self.distributions, value=objective, user_attrs=dict(figures))
        )


def _distribution(choices: Range | list[Value]) -> "BaseDistribution":
    """Return Optuna's form of a range or of choices."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(choices, Range):
        return CategoricalDistribution(choices)
    if whole(choices):
        low, high = int(choices.low), int(choices.high)
        step = int(choices.step or 1)
        return IntDistribution(low, low + (high - low) // step * step, log=choices.log, step=step)
    end = float(choices.high)
    if choices.step:
        end = choices.low + math.floor((end - choices.low) / choices.step + 1e-9) * choices.step  # a whole last step
    return FloatDistribution(choices.low, end, log=choices.log, step=choices.step)


def _tried(trial: "FrozenTrial") -> Tried:
    from optuna.trial import TrialState

    names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    known = trial.user_attrs
    return Tried(
        number=trial.number,
        values=dict(trial.params),
        state="lost" if trial.state == TrialState.FAIL and "reason" not in known else names[trial.state],
        objective=trial.value if trial.state == TrialState.COMPLETE else None,
        curve=dict(trial.intermediate_values),
        **{key: known.get(key) for key in ("nll", "accuracy", "seconds", "stage")},
        base=bool(known.get("base")),
        reason=known.get("reason", ""),
    )


def _claim(path: Path) -> TextIO:
    """Return an open file beside `path` that this process alone holds, until it is closed or the process ends.

    Raises RunError where another process holds it.
    """
    file = path.with_name(".lock").open("w")
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.close()
        raise RunError(f"'{path.parent}' is being tuned by another process. Wait for it, or end it.") from None
    return file


def _mend(path: Path) -> None:
    """Cut off the line that a killed process may have left half written, and remove the lock that it held."""
    for lock in path.parent.glob(f"{path.name}.lock*"):
        lock.unlink(missing_ok=True)
    if not path.exists():
        return
    with path.open("rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
