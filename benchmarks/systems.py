"""Systems measured over seeds: the files of their results, and a result as the cells of a document's table."""

import statistics
from datetime import datetime
from pathlib import Path

from pydantic import Field
from records import MISSING, read_records  # beside this file

from tenfold.runs.results import Result, Trial


class SystemTrial(Trial):
    """One seed's training, and how long the whole command took, start to end."""

    command_seconds: float | None = Field(None, ge=0)


class SystemResult(Result):
    """A result, with what we measure of our own systems beside what `--record` of a verb writes down."""

    trials: list[SystemTrial] = Field(min_length=1)  # type: ignore[assignment]
    seconds_to: dict[str, float | None] = Field(
        default_factory=dict, description="accuracy, written '0.9917': seconds until the mean reaches it; null: never"
    )
    note: str = ""

    def command_seconds(self) -> float | None:
        """Return the mean seconds of the whole command, None unless every seed has them."""
        known = [trial.command_seconds for trial in self.trials if trial.command_seconds is not None]
        return statistics.fmean(known) if len(known) == len(self.trials) else None


def read(file: Path) -> list[SystemResult]:
    """Return the results in a file, oldest first, none where there is no file."""
    return sorted(read_records(file, SystemResult), key=lambda result: datetime.fromisoformat(result.time))


def score(result: SystemResult) -> str:
    """Return the mean accuracy in per cent, and the standard deviation between seeds where there are several."""
    mean, deviation = result.accuracy()
    return f"{100 * mean:.3f}" + ("" if deviation is None else f" ± {100 * deviation:.3f}")


def interval(result: SystemResult) -> str:
    """Return the 95% interval of the mean, in per cent."""
    low, high = result.interval()
    return f"{100 * low:.2f} to {100 * high:.2f}"


def errors(result: SystemResult) -> str:
    """Return the mean number of errors: "27.2 of 10,000", or with one seed "27 of 10,000"."""
    n, (mean, deviation) = result.test_data.n, result.accuracy()
    return f"{(1 - mean) * n:,.{int(deviation is not None)}f} of {n:,}"


def label(result: SystemResult) -> str:
    """Return the recipe's name, and the note."""
    return f"`{result.recipe}`" + (f" ({result.note})" if result.note else "")


def parameters(result: SystemResult) -> str:
    """Return how many there are, or a dash."""
    return MISSING if result.parameters is None else f"{result.parameters:,}"


def processor(result: SystemResult) -> str:
    """Return what a result was measured on, for a heading: the processor and its threads, or the accelerator."""
    machine = result.machine
    name, device = str(machine.get("cpu") or "unknown processor"), str(machine.get("device", "cpu"))
    if device == "cpu":
        threads = machine.get("threads")
        return f"{name}, {threads} {'thread' if threads == 1 else 'threads'}" if threads else name
    return f"{name}, {device}" if device == "mps" else device  # else the GPU's name
