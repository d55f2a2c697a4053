"""How fast deployed models answer: the record of one model on one machine, and the documents' table."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from tenfold.pages.result_tables import table
from tenfold.runs import records
from tenfold.runs.results import Record

FILE = "latency.jsonl"  # in the folder of results


class Latency(Record):
    """One model's times; each is the median of rounds in one quiet run."""

    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    name: str = Field(min_length=1)
    recipe: str
    precision: str
    model_sha256: str
    model_bytes: int = Field(ge=1)
    commit: str | None
    machine: dict[str, str | int | float | None]
    versions: dict[str, str]
    one_image: float = Field(gt=0, description="microseconds from an array in the frame to a Prediction, one thread")
    one_image_p99: float = Field(gt=0, description="what 1% of these exceed")
    model_alone: float = Field(gt=0, description="microseconds of these in onnxruntime")
    images_per_second: dict[str, float] = Field(min_length=1, description="of many images at once, by threads")
    first: float = Field(gt=0, description="seconds from the start of a process's imports to its first prediction")


def block(folder: Path) -> str:
    """Return the Markdown of every model's newest record on each processor."""
    newest = {(each.machine.get("cpu"), each.name): each for each in records.read(folder / FILE, Latency)}
    places = sorted({str(cpu) for cpu, _ in newest})
    blocks = [
        f"**On {place}**\n\n{latency_table([each for (cpu, _), each in newest.items() if str(cpu) == place])}"
        for place in places
    ]
    return "\n\n".join(blocks) or "Nothing is recorded yet."


def latency_table(measured: Sequence[Latency]) -> str:
    """Return a Markdown table, a row a model."""
    threads = sorted({key for each in measured for key in each.images_per_second}, key=int)
    head = ["model", "precision", "kB", "one image, µs", "– 1% above", "– in the model"]
    head += [f"images/s, {key} {'thread' if key == '1' else 'threads'}" for key in threads]
    rows = []
    for each in measured:
        speeds = [f"{each.images_per_second[key]:,.0f}" if key in each.images_per_second else "–" for key in threads]
        times = [f"{value:.0f}" for value in (each.one_image, each.one_image_p99, each.model_alone)]
        rows.append(
            [f"`{each.name}`", each.precision, f"{each.model_bytes / 1000:,.0f}", *times, *speeds, f"{each.first:.2f}"]
        )
    return table([*head, "first prediction, s"], rows)
