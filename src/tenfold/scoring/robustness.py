"""How well models read damaged images: the record of one model on the fifteen corruptions, and the documents' table."""

import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from tenfold.metrics.intervals import wilson
from tenfold.pages.result_tables import table
from tenfold.runs import records
from tenfold.runs.results import DataUsed, Record
from tenfold.scoring.leak import Part

FILE = "robustness.jsonl"  # in the folder of results


class Robustness(Record):
    """One model's answers to images as they are and under each corruption, whose random numbers `seed` fixes."""

    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    name: str = Field(min_length=1, description="what the tables call the model")
    recipe: str
    config_sha256: str
    weights_sha256: str = Field(description="of the weights, or of the model file")
    commit: str | None
    versions: dict[str, str]
    data: DataUsed
    seed: int = Field(ge=0)
    clean: Part
    corruptions: dict[str, Part] = Field(min_length=1, description="in the order that they were made in")

    def mean(self) -> float:
        """Return the mean over the corruptions of the share of right answers, the clean images left out."""
        return statistics.fmean(accuracy(part) for part in self.corruptions.values())


def accuracy(part: Part) -> float:
    """Return the share of right answers, 0 to 1; ZeroDivisionError for no images."""
    return 1 - part.errors / part.n


def block(folder: Path) -> str:
    """Return the Markdown of the newest record of each model on the newest record's images and seed."""
    found = records.read(folder / FILE, Robustness)
    if not found:
        return "No robustness is recorded yet."
    last = found[-1]
    same = [record for record in found if (record.data, record.seed) == (last.data, last.seed)]
    newest = {record.name: record for record in same if record.corruptions.keys() == last.corruptions.keys()}
    return robustness_table(list(newest.values()))


def robustness_table(measured: Sequence[Robustness]) -> str:
    """Return a Markdown table, a row a corruption and a column a model: right answers in percent, and how many wrong.

    The first row is the clean images' with their 95% interval, the second the mean over the corruptions. All records
    must have the same corruptions.
    """
    rows = [["none: the images as they are", *(_with_interval(record.clean) for record in measured)]]
    rows.append(["**mean of the corruptions**", *(f"**{100 * record.mean():.2f}%**" for record in measured)])
    for name in measured[0].corruptions:
        rows.append([name.replace("_", " "), *(_short(record.corruptions[name]) for record in measured)])
    n = f"{measured[0].clean.n:,}"
    return table([f"corruption of {measured[0].data.spec}, {n} images each", *(each.name for each in measured)], rows)


def _short(part: Part) -> str:
    return f"{100 * accuracy(part):.2f}% ({part.errors:,} wrong)"


def _with_interval(part: Part) -> str:
    low, high = wilson(part.n - part.errors, part.n)
    return f"{100 * accuracy(part):.2f}% ({100 * low:.2f} to {100 * high:.2f}; {part.errors:,} wrong)"
