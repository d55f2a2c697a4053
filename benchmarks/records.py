"""What the records in results/ have in common, and the tables made of them.

Each script here answers one question. It has a record type of its own on top of these, the table that is made of its
records, and BLOCKS: what `tables.py` puts between a document's marks. Old records are read as they were written.
"""

import importlib.metadata
import platform
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from tenfold import __version__
from tenfold.errors import DataError
from tenfold.metrics.intervals import wilson
from tenfold.runs import ledger, results
from tenfold.runs.results import DataUsed, Record
from tenfold.runs.run import commit
from tenfold.runtime.recogniser import Recogniser

NOTHING = "Nothing is recorded yet."
MISSING = "–"
Machine = dict[str, str | int | float | None]
Block = Callable[[Path], str]
"""A function from the folder of results to the Markdown of a document's block."""

T = TypeVar("T")
R = TypeVar("R", bound=BaseModel)


def now() -> str:
    """Return the time as records hold it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Part(Record):
    """Some of the images, and how many of them were read wrongly."""

    n: int = Field(ge=0)
    errors: int = Field(ge=0)

    @property
    def accuracy(self) -> float:
        """The share of right answers, 0 to 1; ZeroDivisionError for no images."""
        return 1 - self.errors / self.n

    def interval(self) -> tuple[float, float]:
        """Return the 95% interval of the accuracy."""
        return wilson(self.n - self.errors, self.n)

    def words(self) -> str:
        """Return "99.50% (98.83 to 99.79; 5 wrong)"."""
        low, high = self.interval()
        return f"{100 * self.accuracy:.2f}% ({100 * low:.2f} to {100 * high:.2f}; {self.errors:,} wrong)"

    @classmethod
    def of(cls, wrong: Any) -> "Part":
        """Return how many images there are, and how many of them are wrong, of a mask (N,) bool."""
        return cls(n=len(wrong), errors=int(wrong.sum()))

    @classmethod
    def sum(cls, parts: "Iterable[Part]") -> "Part":
        """Return all of them together."""
        parts = list(parts)
        return cls(n=sum(part.n for part in parts), errors=sum(part.errors for part in parts))


class Measured(Record):
    """When something was measured, and with which code."""

    time: str = Field(default_factory=now)
    commit: str | None
    versions: dict[str, str]


class OfModel(Measured):
    """Of an exported model: what the tables call it, and which file it is."""

    name: str = Field(min_length=1)
    recipe: str
    precision: str
    model_sha256: str


def facts(name: str, model: Recogniser) -> dict[str, Any]:
    """Return what an `OfModel` says of a model that is measured now."""
    return {
        "name": name,
        "recipe": model.card.recipe,
        "precision": model.card.precision,
        "model_sha256": model.sha256,
        "commit": commit(),
        "versions": versions("numpy", "onnxruntime"),
    }


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Tenfold, Python and these packages, by name."""
    own = {"tenfold": __version__, "python": platform.python_version()}
    return own | {name: importlib.metadata.version(name) for name in packages}


def read_records(file: Path, kind: type[R]) -> list[R]:
    """Return the records of a file, in its order, none where there is no file. DataError names a line that is none."""
    if not file.exists():
        return []
    records = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            records.append(kind.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the line"
            raise DataError(
                f"'{file}' line {number} is no {kind.__name__} ({place}: {first['msg']}). Mend that line."
            ) from None
    return records


def newest(file: Path, kind: type[R], key: Callable[[R], Hashable]) -> list[R]:
    """Return the last record of each key in a file, in the order in which the keys came first."""
    return list({key(record): record for record in read_records(file, kind)}.values())


def by_place(found: Iterable[T], place: Callable[[T], str], table: Callable[[list[T]], str]) -> str:
    """Return the Markdown of a table for each place that something was measured on, sorted."""
    groups: dict[str, list[T]] = {}
    for each in found:
        groups.setdefault(place(each), []).append(each)
    return "\n\n".join(f"**On {where}**\n\n{table(some)}" for where, some in sorted(groups.items())) or NOTHING


def write_look(place: str | Path, weights_sha256: str, data: DataUsed, accuracy: float) -> None:
    """Write a look at labelled images to the ledger, as `tenfold evaluate` does."""
    ledger.record(ledger.Look(now(), str(place), weights_sha256, data.sha256, data.spec, data.n, accuracy))


def save(file: Path | None, found: Sequence[BaseModel]) -> None:
    """Append records to a file, where one is given."""
    for each in found if file else ():
        results.append(file, each)


def dumped(found: Sequence[BaseModel]) -> list[Any]:
    """Return records as JSON has them."""
    return [each.model_dump(mode="json") for each in found]
