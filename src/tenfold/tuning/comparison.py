"""Base against best once more, on seeds that the search has not used: each holds out other images."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from tenfold.console import PlainConsole
from tenfold.errors import RunError
from tenfold.files import MOST_TEXT, parse_json, read_bytes, write_atomically
from tenfold.jobs import Task, run_tasks
from tenfold.tuning.journal import Tried
from tenfold.tuning.space import Figures, Values, objective, overrides
from tenfold.tuning.trial import Workers

RETRIES = 1  # of a training whose process ended without an answer
SYSTEMS = ("base", "best")


@dataclass(frozen=True)
class SeedTraining(Figures):
    """What one system ("base" or "best") came to with one seed."""

    seed: int
    system: str


@dataclass(frozen=True)
class FailedTraining:
    """Why there is nothing of one system with one seed."""

    seed: int
    system: str
    failed: str


@dataclass(frozen=True)
class KeptTrainings:
    """comparison.json: the values of the best, and what each training came to."""

    values: Values
    trainings: list[SeedTraining | FailedTraining]


@dataclass(frozen=True)
class SeedPair:
    """Both systems with one seed, on the same n images; gain: how much less the best's objective is."""

    seed: int
    n: int
    base: SeedTraining
    best: SeedTraining
    gain: float


@dataclass(frozen=True)
class SeedSpread:
    """Mean and standard deviation between seeds (with n - 1); std None for a single one."""

    mean: float
    std: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "SeedSpread":
        """Return that of the values."""
        return cls(mean(values), stdev(values) if len(values) > 1 else None)

    def words(self, form: str) -> str:
        """Return it for people."""
        return format(self.mean, form) + ("" if self.std is None else f" ± {format(self.std, form)}")


@dataclass(frozen=True)
class SeedComparison:
    """Both systems with the seeds that both were trained with; base and best: their NLL ("nll") and accuracy.

    wins: seeds with a gain above 0. failed: trainings that were none, with why. better: a gain with every seed. lines:
    all that in words.
    """

    seeds: list[int]
    rows: list[SeedPair]
    base: dict[str, SeedSpread]
    best: dict[str, SeedSpread]
    gain: SeedSpread
    wins: int
    failed: list[str]
    better: bool
    lines: list[str]


def compare_on_seeds(file: Path, values: Values, seeds: Sequence[int], workers: Workers, console: PlainConsole) -> None:
    """Train base and best (with these values) with each seed; `file` keeps each as it ends, none is done again."""
    kept = _read(file)
    if kept.values != values:
        kept = KeptTrainings(values, [each for each in kept.trainings if each.system == "base"])
    known = {(each.seed, each.system) for each in kept.trainings}
    changes = {"base": (), "best": overrides(values)}
    tasks = {f"{seed}-{system}": (seed, system) for seed in seeds for system in SYSTEMS if (seed, system) not in known}

    def keep(training: SeedTraining | FailedTraining, line: str) -> None:
        kept.trainings.append(training)
        write_atomically(file, (json.dumps(asdict(kept), indent=2) + "\n").encode())
        console.print(f"seed {training.seed:3}  {training.system}  {line}")

    def done(task: Task, result: dict[str, Any]) -> None:
        seed, system = tasks[task.key]
        training = SeedTraining(**result, seed=seed, system=system)
        keep(training, f"nll {training.nll:.4f}  accuracy {training.accuracy:.2%}")

    def failed(task: Task, reason: str) -> None:
        keep(FailedTraining(*tasks[task.key], reason), f"failed: {reason}")

    if tasks:
        shown = ", ".join(map(str, seeds))
        console.print(f"Comparing the best with the recipe as it was, on seeds that the search has not used: {shown}")
        queue = (
            workers.task(key, f"seed {seed}, {system}", "judge_once", changes=changes[system], seed=seed)
            for key, (seed, system) in tasks.items()
        )
        with console.working("Comparing", len(tasks)):
            run_tasks(queue, **workers.where(), done=done, failed=failed, retries=RETRIES)


def compared(file: Path, values: Values, metric: str) -> SeedComparison | None:
    """Return the comparison in `file` of the best with these values, or None where there is none yet."""
    kept = _read(file)
    if kept.values != values:
        return None
    failures = [each for each in kept.trainings if isinstance(each, FailedTraining)]
    failed = [f"{each.system} with seed {each.seed}: {each.failed}" for each in failures]
    trained = {(each.seed, each.system): each for each in kept.trainings if isinstance(each, SeedTraining)}
    rows = []
    for seed in sorted({seed for seed, _ in trained}):
        if (base := trained.get((seed, "base"))) and (best := trained.get((seed, "best"))):
            gain = objective(metric, base.nll, base.accuracy) - objective(metric, best.nll, best.accuracy)
            rows.append(SeedPair(seed, base.n, base, best, gain))
    if not rows:
        return None
    bases, bests = (
        {key: SeedSpread.of([getattr(getattr(row, system), key) for row in rows]) for key in ("nll", "accuracy")}
        for system in SYSTEMS
    )
    seeds, gains = [row.seed for row in rows], [row.gain for row in rows]
    lines = [
        f"{word}, mean of the unused seeds {', '.join(map(str, seeds))}: NLL {figures['nll'].words('.4f')}, "
        f"accuracy {figures['accuracy'].words('.2%')}."
        for word, figures in (("Before", bases), ("After", bests))
    ]
    return SeedComparison(
        seeds,
        rows,
        bases,
        bests,
        gain=SeedSpread.of(gains),
        wins=sum(gain > 0 for gain in gains),
        failed=failed,
        better=all(gain > 0 for gain in gains) and not failed,
        lines=lines + [f"Failed: {reason}" for reason in failed],
    )


def verdict(best: Tried | None, comparison: SeedComparison | None) -> str:
    """Return in a sentence whether the search found something better, plainly where it did not."""
    if best is None:
        return "No trial was completed, so there is nothing to say yet."
    if best.base:
        return "No trial beat the recipe as it is: the best recipe is the old one."
    if comparison is None:
        return "The best has not been compared with the recipe as it was on other seeds: the gain may be luck."
    n, wins = len(comparison.seeds), comparison.wins
    seeds = f"{n} seed{'s' if n > 1 else ''} that the search has not used"
    if comparison.better:
        return f"The best beats the recipe as it was with each of {seeds}."
    if comparison.gain.mean > 0 and not comparison.failed:
        return (
            f"The best does not clearly beat the recipe as it was: better on the mean, but with {wins} of {seeds}; "
            "that is within what seeds differ by."
        )
    return f"The best does not beat the recipe as it was: with {wins} of {seeds} it is better. Keep the old recipe."


def _read(file: Path) -> KeptTrainings:
    """Return what is in the file, nothing where there is none; RunError where it cannot be read."""
    if not file.exists():
        return KeptTrainings({}, [])
    try:
        return parse_json(read_bytes(file, MOST_TEXT), KeptTrainings)
    except (OSError, ValueError) as error:
        raise RunError(f"'{file}' cannot be read: {error}. Delete it and resume the tune.") from None
