"""How a deployed model reads sets that it was not trained for, and refuses what is no digit: records and tables."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from tenfold.metrics.intervals import wilson
from tenfold.pages.result_tables import table
from tenfold.runs import records
from tenfold.runs.results import DataUsed, Record
from tenfold.scoring.leak import Part

READINGS, REFUSALS = "readings.jsonl", "refusals.jsonl"  # in the folder of results


class Reading(Record):
    """One model's answers to one labelled set, at one threshold."""

    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    name: str = Field(min_length=1, description="what the tables call the model")
    recipe: str
    precision: str
    config_sha256: str
    model_sha256: str
    commit: str | None
    versions: dict[str, str]
    data: DataUsed
    given_as: Literal["frames", "pictures"] = Field(description="in the frame already, or as they were found")
    threshold: float
    max_error: float | None = Field(None, description="what the threshold was chosen to promise")
    digits: list[Part] = Field(min_length=10, max_length=10, description="best guesses, answered or not, by true digit")
    answered: Part = Field(description="the images answered, and how many of those wrongly")

    def total(self) -> Part:
        """Return all images and the errors of the best guesses."""
        return Part(n=sum(part.n for part in self.digits), errors=sum(part.errors for part in self.digits))


class Refusal(Record):
    """How many pictures of each kind of what is no digit a model answered all the same."""

    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    name: str = Field(min_length=1)
    recipe: str
    precision: str
    config_sha256: str
    model_sha256: str
    commit: str | None
    versions: dict[str, str]
    threshold: float
    seed: int = Field(ge=0)
    kinds: dict[str, Part] = Field(min_length=1, description="pictures of each kind, and how many were answered")

    def total(self) -> Part:
        """Return all pictures, and how many were answered."""
        parts = self.kinds.values()
        return Part(n=sum(part.n for part in parts), errors=sum(part.errors for part in parts))


def readings_block(folder: Path) -> str:
    """Return the Markdown of the newest reading of every set by every model, at every promise."""
    found = records.read(folder / READINGS, Reading)
    if not found:
        return "Nothing is recorded yet."
    newest = {(each.name, each.data.spec, each.max_error): each for each in found}
    return readings_table(list(newest.values()))


def refusals_block(folder: Path) -> str:
    """Return the Markdown of every model's newest refusals."""
    found = records.read(folder / REFUSALS, Refusal)
    if not found:
        return "Nothing is recorded yet."
    last = found[-1]
    same = [each for each in found if each.seed == last.seed and each.kinds.keys() == last.kinds.keys()]
    return refusals_table(list({each.name: each for each in same}.values()))


def readings_table(readings: Sequence[Reading]) -> str:
    """Return a Markdown table, a row a reading."""
    head = ["model", "read", "images", "best guess right", "answered", "right where answered", "misread most"]
    return table(head, [_reading_row(each) for each in readings])


def _reading_row(reading: Reading) -> list[str]:
    total, answered = reading.total(), reading.answered
    worst = sorted(range(10), key=lambda digit: -reading.digits[digit].errors)[:3]
    misread = ", ".join(f"{digit} ({reading.digits[digit].errors})" for digit in worst if reading.digits[digit].errors)
    promise = f" (at most {100 * reading.max_error:g}% wrong)" if reading.max_error else ""
    return [
        f"`{reading.name}`",
        f"{reading.data.spec}{promise}",
        f"{total.n:,}",
        _right(total),
        f"{100 * answered.n / total.n:.2f}%",
        _right(answered) if answered.n else "–",
        misread or "none",
    ]


def _right(part: Part) -> str:
    low, high = wilson(part.n - part.errors, part.n)
    return f"{100 * (1 - part.errors / part.n):.2f}% ({100 * low:.2f} to {100 * high:.2f}; {part.errors:,} wrong)"


def refusals_table(refusals: Sequence[Refusal]) -> str:
    """Return a Markdown table, a row a kind and a column a model: the share refused. All must have the same kinds."""
    rows = [["**all**", f"{refusals[0].total().n:,}", *(f"**{_refused(each.total())}**" for each in refusals)]]
    for kind, part in refusals[0].kinds.items():
        rows.append([kind, f"{part.n:,}", *(_refused(each.kinds[kind]) for each in refusals)])
    return table(["what is no digit", "pictures", *(f"refused by `{each.name}`" for each in refusals)], rows)


def _refused(part: Part) -> str:
    return f"{100 * (1 - part.errors / part.n):.1f}%"
