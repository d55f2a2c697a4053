"""Base against best once more, on seeds that the search has not used: each holds out other images."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from tenfold.errors import RunError
from tenfold.files import write_atomically
from tenfold.tuning.search import Values, objective, overrides
from tenfold.tuning.study import Tried
from tenfold.tuning.workers import Job, Watcher

if TYPE_CHECKING:
    from tenfold.tuning.trial import Figures

LOSSES = 2  # processes that may end under one training before it is given up
SYSTEMS = ("base", "best")


class Comparison(Watcher):
    """The trainings of a comparison, each written to `file` as it ends; those that stand there are not done again.

    values: the best's. say: told how each one went.
    """

    def __init__(self, file: Path, values: Values, seeds: Sequence[int], say: Callable[[str], None]) -> None:
        self.file, self.say = file, say
        known = _read(file)
        kept = [each for each in known["trainings"] if each["system"] == "base" or known["values"] == values]
        self.content: dict[str, Any] = {"values": values, "trainings": kept}
        done = {(each["seed"], each["system"]) for each in kept}
        changes = {"base": (), "best": overrides(values)}
        self.jobs = [
            Job((seed, system), changes[system], seed)
            for seed in seeds
            for system in SYSTEMS
            if (seed, system) not in done
        ]
        self._losses: dict[Any, int] = {}

    def next(self) -> Job | None:
        """Return the next training that is missing."""
        return self.jobs.pop(0) if self.jobs else None

    def done(self, job: Job, figures: "Figures") -> None:
        """Keep what a training came to."""
        kept = {"nll": figures.nll, "accuracy": figures.accuracy, "n": figures.n, "seconds": figures.seconds}
        self._keep(job, kept, f"nll {figures.nll:.4f}  accuracy {figures.accuracy:.2%}")

    def failed(self, job: Job, reason: str) -> None:
        """Keep that a training cannot be done."""
        self._keep(job, {"failed": reason}, f"failed: {reason}")

    def lost(self, job: Job) -> None:
        """Do it again, but not for ever."""
        self._losses[job.key] = self._losses.get(job.key, 0) + 1
        if self._losses[job.key] < LOSSES:
            self.jobs.append(job)
        else:
            self.failed(job, f"Its process ended without an answer {LOSSES} times.")

    def _keep(self, job: Job, figures: dict[str, Any], line: str) -> None:
        seed, system = job.key
        self.content["trainings"].append({"seed": seed, "system": system, **figures})
        write_atomically(self.file, (json.dumps(self.content, indent=2) + "\n").encode())
        self.say(f"seed {seed:3}  {system}  {line}")


def compared(file: Path, values: Values, metric: str) -> dict[str, Any] | None:
    """Return the comparison in `file` of the best with these values, or None where there is none yet.

    Keys: seeds (those that both were trained with); rows (a dictionary each: seed, n, base, best, and gain: how much
    less the best's objective is); base and best (mean and std of nll and accuracy; std None for one seed); gain (mean
    and std); wins (seeds with a gain above 0); failed (reasons); better (a gain with every seed); lines (all that in
    words). Standard deviations are between seeds, with n - 1.
    """
    known = _read(file)
    if known["values"] != values:
        return None
    by_seed: dict[int, dict[str, Any]] = {}
    for each in known["trainings"]:
        by_seed.setdefault(each["seed"], {})[each["system"]] = each
    failed = [
        f"{each['system']} with seed {each['seed']}: {each['failed']}"
        for each in known["trainings"]
        if "failed" in each
    ]
    rows = [
        {
            "seed": seed,
            "n": pair["base"]["n"],
            **pair,
            "gain": _objective(pair["base"], metric) - _objective(pair["best"], metric),
        }
        for seed, pair in sorted(by_seed.items())
        if len(pair) == len(SYSTEMS) and not any("failed" in each for each in pair.values())
    ]
    if not rows:
        return None
    gains = [row["gain"] for row in rows]
    comparison = {
        "seeds": [row["seed"] for row in rows],
        "rows": rows,
        **{
            system: {key: _spread([row[system][key] for row in rows]) for key in ("nll", "accuracy")}
            for system in SYSTEMS
        },
        "gain": _spread(gains),
        "wins": sum(gain > 0 for gain in gains),
        "failed": failed,
        "better": all(gain > 0 for gain in gains) and not failed,
    }
    return comparison | {"lines": _lines(comparison)}


def verdict(best: Tried | None, comparison: dict[str, Any] | None) -> str:
    """Return in a sentence whether the search found something better, plainly where it did not."""
    if best is None:
        return "No trial was completed, so there is nothing to say yet."
    if best.base:
        return "No trial beat the recipe as it is: the best recipe is the old one."
    if comparison is None:
        return "The best has not been compared with the recipe as it was on other seeds: the gain may be luck."
    n, wins = len(comparison["seeds"]), comparison["wins"]
    seeds = f"{n} seed{'s' if n > 1 else ''} that the search has not used"
    if comparison["better"]:
        return f"The best beats the recipe as it was with each of {seeds}."
    if comparison["gain"]["mean"] > 0 and not comparison["failed"]:
        return (
            f"The best does not clearly beat the recipe as it was: better on the mean, but with {wins} of {seeds}; "
            "that is within what seeds differ by."
        )
    return f"The best does not beat the recipe as it was: with {wins} of {seeds} it is better. Keep the old recipe."


def _objective(figures: dict[str, Any], metric: str) -> float:
    return objective(metric, figures["nll"], figures["accuracy"])


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    return {"mean": mean(values), "std": stdev(values) if len(values) > 1 else None}


def _lines(comparison: dict[str, Any]) -> list[str]:
    """Return the comparison in words, a line a system."""
    seeds = ", ".join(map(str, comparison["seeds"]))
    words = {"base": "Before", "best": "After"}
    lines = [
        f"{words[system]}, mean of the unused seeds {seeds}: NLL {_deviation(comparison[system]['nll'], '.4f')}, "
        f"accuracy {_deviation(comparison[system]['accuracy'], '.2%')}."
        for system in SYSTEMS
    ]
    return lines + [f"Failed: {reason}" for reason in comparison["failed"]]


def _deviation(spread: dict[str, float | None], form: str) -> str:
    shown = format(spread["mean"], form)
    return shown if spread["std"] is None else f"{shown} ± {format(spread['std'], form)}"


def _read(file: Path) -> dict[str, Any]:
    """Return what the file holds: values and trainings, None and [] where it is not there."""
    if not file.exists():
        return {"values": None, "trainings": []}
    try:
        content = json.loads(file.read_text("utf-8"))
        return {"values": content["values"], "trainings": list(content["trainings"])}
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"'{file}' cannot be read: {error}. Delete it and resume the tune.") from None
