"""How fast recipes train: the record of images a second against a plain loop, and the documents' table of it."""

import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from tenfold.pages.result_tables import table
from tenfold.runs import records
from tenfold.runs.results import Record

FILE = "training_speed.jsonl"  # in the folder of results


class TrainingSpeed(Record):
    """One recipe's images a second, round by round, ours and the plain loop's in turn, in one run on one machine."""

    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    recipe: str
    config_sha256: str
    commit: str | None
    machine: dict[str, str | int | float | None]
    versions: dict[str, str]
    parameters: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    ours: list[float] = Field(min_length=1)
    plain: list[float] = Field(min_length=1, description="PyTorch's DataLoader in the training process itself")
    plain_workers: list[float] = Field([], description="with DataLoader processes of its own; empty: not measured")
    workers: int = Field(0, ge=0, description="how many such processes")

    def ratio(self) -> float:
        """Return how many times as fast ours is as the plain loop, at the median of the rounds."""
        return statistics.median(self.ours) / statistics.median(self.plain)

    def workers_ratio(self) -> float | None:
        """Return the same against the plain loop with DataLoader processes, None where that was not measured."""
        return statistics.median(self.ours) / statistics.median(self.plain_workers) if self.plain_workers else None


def block(folder: Path) -> str:
    """Return the Markdown of the newest record of each recipe on each processor, the quickest first."""
    newest = {(_where(record), record.recipe): record for record in records.read(folder / FILE, TrainingSpeed)}
    blocks = [
        f"**On {place}**\n\n{speed_table([record for record in newest.values() if _where(record) == place])}"
        for place in sorted({_where(record) for record in newest.values()})
    ]
    return "\n\n".join(blocks) or "No training speeds are recorded yet."


def speed_table(measured: Sequence[TrainingSpeed]) -> str:
    """Return a Markdown table: images a second, medians over the rounds, ours and plain."""
    workers = max(record.workers for record in measured)
    head = ["recipe", "batch", "parameters", "ours, images/s", "plain loop, images/s", "times as fast"]
    if workers:
        head += [f"plain, {workers} loading processes", "times as fast"]
    rows = []
    for record in sorted(measured, key=lambda record: -statistics.median(record.ours)):
        row = [f"`{record.recipe}`", str(record.batch_size), f"{record.parameters:,}"]
        row += [_speed(record.ours), _speed(record.plain), f"{record.ratio():.1f}"]
        if workers:
            ratio = record.workers_ratio()
            row += ["–", "–"] if ratio is None else [_speed(record.plain_workers), f"{ratio:.1f}"]
        rows.append(row)
    return table(head, rows)


def _speed(rounds: Sequence[float]) -> str:
    return f"{statistics.median(rounds):,.0f}"


def _where(record: TrainingSpeed) -> str:
    machine = record.machine
    return f"{machine.get('cpu') or 'unknown processor'}, {machine.get('threads')} threads"
