"""What the files of a run hold, checked before it is used: a run from elsewhere is as trustworthy as whoever made it.

Every key may be missing, as runs of earlier versions lack some, and others may be there; what is there is of its kind.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from tenfold.errors import RunError
from tenfold.files import MOST_TEXT, Layout, parse_json, read_bytes, read_npz

Whole = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**64)]  # what PyTorch takes
Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]
Interval = Annotated[list[float], Field(min_length=2, max_length=2)]
TEN = Field(min_length=10, max_length=10)

DATA: Layout = {"hashes": ("u", ("all",)), "held_out": ("i", ("held out",))}
ANSWERS: Layout = {
    "labels": ("i", ("n",)),
    "probabilities": ("f", ("n", 10)),
    "mistake_indices": ("i", ("mistakes",)),
    "mistake_images": ("u", ("mistakes", 28, 28)),
}
VALIDATION: Layout = {"indices": ("i", ("n",)), **ANSWERS, "digit_probability": ("f", ("n",))}
OPTIONAL = ("mistake_indices", "mistake_images", "digit_probability")  # which earlier versions did not keep


class Stored(BaseModel):
    """What all have in common."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Copies(Stored):
    """Images that several sets share."""

    exact: Whole
    near: Whole
    dropped: Whole
    held_out: Whole


class TrainedOn(Stored):
    """The data of a run."""

    spec: str | list[str] = ""
    sha256: str = ""
    subset: Annotated[int, Field(ge=1)] | None = None
    deduplicated: bool = False
    n_train: Whole = 0
    n_validation: Whole = 0
    copies: Copies | None = None
    labels: dict[str, str | int] | None = None  # as of tenfold.data.decisions.apply


class Source(Stored):
    """The run that training began from."""

    run: str
    recipe: str
    weights_sha256: str
    layers: Literal["all", "head"]
    data: list[str] = []


class Manifest(Stored):
    """run.json."""

    recipe: str = ""
    config_sha256: str = ""
    seed: Seed = 0
    status: Literal["running", "finished", "interrupted", "out_of_time"] = "running"
    started: str | None = None
    data: TrainedOn = TrainedOn()
    versions: dict[str, str] = {}
    commit: str | None = None
    machine: dict[str, str | int | float | None] = {}
    parameters: Whole | None = None
    seconds: Amount | None = None
    epochs: Amount | None = None
    images_per_second: Amount | None = None
    validation_accuracy: Share | None = None
    temperature: float = Field(1.0, ge=0.001, le=1000)
    source: Source | None = Field(None, alias="from")


class Evaluated(Stored):
    """A line of metrics.jsonl: where training was, and what it had come to."""

    epoch: Amount | None = None
    seconds: Amount | None = None
    loss: float | None = None
    learning_rate: float | None = None
    validation_accuracy: Share | None = None
    validation_nll: float | None = None


class Reached(Stored):
    """How far training is, as `tenfold.training.loop.Position`."""

    step: Whole = 0
    seconds: Amount = 0.0
    loss_steps: Whole = 0
    plateau: Annotated[float, Field(gt=0, le=1)] = 1.0
    best_accuracy: Annotated[float, Field(ge=-1, le=1)] = -1.0
    best_step: Whole = 0
    without_gain: Whole = 0
    stopped_early: bool = False


class Resumable(Stored):
    """What lies beside the tensors of a state."""

    position: Reached
    history: list[Evaluated]


class DigitScore(Stored):
    """How well one digit is read."""

    digit: Annotated[int, Field(ge=0, le=9)]
    n: Whole
    precision: Share | None
    recall: Share | None
    f1: Share | None


class Overlap(Stored):
    """How many of the images a run was trained on."""

    exact: Whole
    near: Whole
    near_checked: bool = True
    accuracy_on_overlap: Share | None = None
    accuracy_without: Share | None = None
    n_without: Whole = 0
    ci95_without: Interval | None = None


class LookedAt(Stored):
    """The data of an evaluation."""

    spec: str = ""
    sha256: str = ""
    n: Whole = 0


class KeptLook(Stored):
    """A line of evaluations.jsonl."""

    data: LookedAt = LookedAt()
    overlap: Overlap | None = None
    accuracy: Share
    errors: Whole
    n: Whole
    ci95: Interval
    nll: Amount | None = None
    ece: Amount | None = None
    per_class: Annotated[list[DigitScore], TEN]
    confusion: Annotated[list[Annotated[list[Whole], TEN]], TEN]
    tta: bool | None = None
    time: str | None = None
    looks: Whole | None = None
    models_looked: Whole | None = None
    file: str | None = None


class Known(dict[str, Any]):
    """What a file holds; a key that is not there is a RunError where it is needed."""

    # As a dictionary is made, so that whatever copies one, such as dataclasses.asdict, copies this too.
    def __init__(self, content: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), path: Path | None = None) -> None:
        self.path = path
        super().__init__(
            {key: Known(value, path) if isinstance(value, dict) else value for key, value in dict(content).items()}
        )

    def __missing__(self, key: str) -> Any:
        raise RunError(f"'{self.path}' lacks '{key}'. Train the run again.")


def read(path: Path, schema: type[Stored]) -> Known:
    """Return what a JSON file of a run holds; RunError where it cannot be read, or is not what it should be."""
    try:
        return Known(parsed(read_bytes(path, MOST_TEXT), schema), path)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None


def read_lines(path: Path, schema: type[Stored]) -> list[dict[str, Any]]:
    """Return what a file of JSON lines holds, none where it is not there; lines that a crash cut short are passed over.

    RunError where it cannot be read, or a line is not what it should be.
    """
    found = []
    try:
        lines = read_bytes(path, MOST_TEXT).split(b"\n") if os.path.lexists(path) else []
    except OSError as error:
        raise unreadable(path, error) from None
    for number, line in enumerate(lines, start=1):
        try:
            found.append(parsed(line, schema))
        except (json.JSONDecodeError, UnicodeDecodeError):
            continue
        except ValueError as error:
            raise RunError(f"Line '{number}' of '{path}' is damaged: {error}. Delete that line.") from None
    return found


def parsed(content: bytes | str, schema: type[Stored]) -> dict[str, Any]:
    """Return what JSON holds; ValueError where it is not what it should be."""
    return parse_json(content, schema).model_dump(exclude_unset=True, by_alias=True)


def unreadable(path: Path, error: Exception, advice: str = "Train the run again.") -> RunError:
    """Return the error for a file that the system does not open, or in which something is wrong."""
    return RunError(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}. {advice}")


def read_answers(path: Path, layout: Layout = ANSWERS) -> dict[str, NDArray[Any]]:
    """Return the labels and answers that a run kept; OSError, ValueError where they are damaged or cannot be."""
    arrays = read_npz(path, layout, OPTIONAL)
    labels, probabilities = arrays["labels"], arrays["probabilities"]
    if ((labels < 0) | (labels > 9)).any():
        raise ValueError("its 'labels' are not 0 to 9")
    if not ((probabilities >= 0) & (probabilities <= 1.01)).all():
        raise ValueError("its 'probabilities' are not 0 to 1")
    for name in ("mistake_indices", "indices"):
        indices = arrays.get(name, labels[:0])
        if (indices < 0).any() or (name == "mistake_indices" and (indices >= len(labels)).any()):
            raise ValueError(f"its '{name}' point outside")
    return arrays
