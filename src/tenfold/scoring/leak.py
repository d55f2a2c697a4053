"""What a leaked test is worth: the record of a training with the answers and of one without, and the table of both."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from tenfold.metrics.intervals import wilson
from tenfold.pages.result_tables import table
from tenfold.runs import records
from tenfold.runs.results import Record
from tenfold.training import recipe as recipes

FILE = "leak.jsonl"  # in the folder of results
ALONE, MERGED = "alone", "merged"


class Part(Record):
    """Some of the images, and how many of them were read wrongly."""

    n: int = Field(ge=0)
    errors: int = Field(ge=0)


class Leak(Record):
    """One training and its answers to the competition's test images, by what it had seen of them."""

    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    variant: str = Field(description="alone: the competition's images; merged: with those that hold the answers")
    recipe: str
    config_sha256: str
    commit: str | None
    machine: dict[str, str | int | float | None]
    versions: dict[str, str]
    seed: int
    epochs: float
    seconds: float
    train_data: list[str]
    train_sha256: str
    test_data: str
    test_sha256: str
    n_train: int = Field(ge=1, description="images that the weights were fitted to")
    validation: Part = Field(description="held out, and what the checkpoint was chosen on")
    validation_known: int = Field(ge=0, description="held-out images of which the training part has a copy")
    contained: int = Field(ge=0, description="test images that are in the training data, held out or not")
    exact: Part = Field(description="test images that were trained on")
    near: Part = Field(description="test images like one that was trained on, but for small noise or a shift")
    unseen: Part = Field(description="all other test images")

    def whole(self) -> Part:
        """Return all test images."""
        parts = (self.exact, self.near, self.unseen)
        return Part(n=sum(part.n for part in parts), errors=sum(part.errors for part in parts))


def block(folder: Path) -> str:
    """Return the Markdown of the newest training with the answers beside the newest without."""
    newest = {record.variant: record for record in records.read(folder / FILE, Leak)}
    if not {ALONE, MERGED} <= newest.keys():
        return "No leak is recorded yet."
    return leak_table([newest[ALONE], newest[MERGED]])


def leak_table(trainings: Sequence[Leak]) -> str:
    """Return two Markdown tables, a column a training: what of the test it was trained on, and how well it reads."""
    heads = [" + ".join(record.train_data) for record in trainings]
    counts = [
        ("images trained on", [record.n_train for record in trainings]),
        ("images held out to choose the epoch", [record.validation.n for record in trainings]),
        ("– of which the training part has a copy", [record.validation_known for record in trainings]),
        (f"images of {trainings[0].test_data} among all these", [record.contained for record in trainings]),
        ("– trained on, bit for bit", [record.exact.n for record in trainings]),
        ("– like one trained on, but for noise or a shift", [record.near.n for record in trainings]),
    ]
    known = recipes.load(trainings[0].recipe).published if trainings[0].recipe in recipes.available() else None
    parts = [
        ("the images held out to choose the epoch", [record.validation for record in trainings]),
        (f"{trainings[0].test_data}, all, as a leaderboard shows it", [record.whole() for record in trainings]),
        ("– the images that it was trained on", [record.exact for record in trainings]),
        ("– the images that it was not trained on", [record.unseen for record in trainings]),
    ]
    scores = [[name, *(_score(part) for part in found)] for name, found in parts]
    if known is not None and known.kaggle is not None:
        scores.insert(2, ["– published", *([""] * (len(trainings) - 1)), f"{100 * known.kaggle:.3f}%"])
    return "\n\n".join(
        [
            table(["trained on", *heads], [[name, *(f"{n:,}" for n in found)] for name, found in counts]),
            table(["right answers on", *heads], scores),
        ]
    )


def _score(part: Part) -> str:
    """Return accuracy, its 95% interval and n, or a dash where there are no images."""
    if not part.n:
        return "–"
    right = part.n - part.errors
    low, high = wilson(right, part.n)
    return f"{100 * right / part.n:.2f}% ({100 * low:.2f} to {100 * high:.2f}), {part.errors:,} wrong of {part.n:,}"
