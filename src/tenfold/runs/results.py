"""Records of what was measured, one JSON object a line, checked by a schema, only ever appended to.

A `Result` is one system on one machine: everything needed to repeat it, and every accuracy, seed for seed. `--record
FILE` of ablate and reproduce appends to a file of these.
"""

import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tenfold.errors import RunError
from tenfold.metrics.intervals import wilson
from tenfold.metrics.scores import score
from tenfold.runs import ledger
from tenfold.runs.run import Run

ARITHMETIC = ("precision", "layout")
SYSTEM = ("recipe", "protocol")
ProtocolName = Literal["", "mnist", "kaggle", "ablation"]


class Record(BaseModel):
    """What all records and their parts share: they cannot be changed, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Trial(Record):
    """One seed's training and its score; seconds are wall-clock, of training alone."""

    seed: int
    accuracy: float = Field(ge=0, le=1)
    nll: float | None = Field(None, ge=0, description="mean negative log likelihood, nats")
    seconds: float = Field(ge=0)


class DataUsed(Record):
    """A data set by name and content."""

    spec: str
    sha256: str
    n: int = Field(ge=1)


class Result(Record):
    """One system, measured with several seeds on one machine."""

    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    recipe: str
    config_sha256: str
    commit: str | None
    machine: dict[str, str | int | float | None]
    versions: dict[str, str]
    train_data: DataUsed
    test_data: DataUsed
    parameters: int | None = None
    epochs: float | None = Field(description="None for what is fitted in one go")
    trials: list[Trial] = Field(min_length=1)
    protocol: ProtocolName = Field("", description="how it was measured")
    study: str = Field("", description="of an ablation: its name")
    variant: str = Field("", description="of an ablation: what was changed")

    def accuracy(self) -> tuple[float, float | None]:
        """Return the mean accuracy over the seeds and its sample standard deviation, None for one seed."""
        values = [trial.accuracy for trial in self.trials]
        return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None

    def interval(self) -> tuple[float, float]:
        """Return the 95% interval of the mean accuracy: what other test images would have changed."""
        return wilson(round(self.accuracy()[0] * self.test_data.n), self.test_data.n)

    def seconds(self) -> float:
        """Return the mean seconds of training."""
        return statistics.fmean(trial.seconds for trial in self.trials)

    def nll(self) -> float | None:
        """Return the mean negative log likelihood over the seeds, None unless every seed has it."""
        known = [trial.nll for trial in self.trials if trial.nll is not None]
        return statistics.fmean(known) if len(known) == len(self.trials) else None


def append(file: Path, record: BaseModel) -> None:
    """Append one record as one line; earlier lines are never touched."""
    file.parent.mkdir(parents=True, exist_ok=True)
    ledger.append_line(file.resolve(), record.model_dump(mode="json"))


def append_once(file: Path, result: Result) -> None:
    """Append the result, unless the newest of its system and protocol in the file is the same but for the time."""
    content = result.model_dump(mode="json", exclude={"time"})
    known = [line for line in ledger.read_lines(file) if all(line.get(key) == content[key] for key in SYSTEM)]
    if not known or any(known[-1].get(key) != value for key, value in content.items()):
        append(file, result)


def from_runs(runs: Sequence[Run], looks: Sequence[dict[str, Any]], protocol: ProtocolName = "") -> Result:
    """Return the result of runs of one recipe on the same data that differ by seed.

    looks: one score a run: a line of its evaluations.jsonl, or what `held_out_look` gives.
    Raises RunError where one was cut short or trained on images it was scored on, or where they are
    not the same system on the same data.
    """
    for run in runs:
        if not run.finished:
            raise RunError(f"'{run.path}' is '{run.manifest['status']}'. Run: tenfold train --resume {run.path}")
    for run, look in zip(runs, looks, strict=True):
        if seen := look["overlap"]["exact"] + look["overlap"]["near"]:
            what = f"'{run.path}' was trained on '{seen}' of the images it was scored on."
            raise RunError(f"{what} Evaluate it on others.")
        if _system(run, look) != _system(runs[0], looks[0]):
            raise RunError(f"'{run.path}' differs from '{runs[0].path}' by more than its seed. Add it by itself.")
    made = [run.manifest for run in runs]
    first, used, data = made[0], made[0]["data"], looks[0]["data"]
    arithmetic = {  # "bf16, fp32" where the runs differ
        key: ", ".join(sorted({str(each["machine"][key]) for each in made}))
        for key in ARITHMETIC
        if all(key in each["machine"] for each in made)
    }
    return Result(
        recipe=runs[0].recipe.name,
        config_sha256=runs[0].recipe.config_hash(),
        commit=", ".join(sorted({each["commit"] or "unknown" for each in made})),
        machine=_place(runs[0]) | arithmetic,
        versions=first["versions"],
        train_data=DataUsed(spec=data_name(used["spec"]), sha256=used["sha256"], n=used["n_train"]),
        test_data=DataUsed(spec=data_name(data["spec"]), sha256=data["sha256"], n=data["n"]),
        parameters=first["parameters"],
        epochs=first["epochs"],
        trials=[
            Trial(seed=each["seed"], accuracy=look["accuracy"], nll=look.get("nll"), seconds=each["seconds"])
            for each, look in zip(made, looks, strict=True)
        ],
        protocol=protocol,
    )


def _system(run: Run, look: dict[str, Any]) -> tuple[Any, ...]:
    """Return all that runs of one system on one machine have in common."""
    return run.recipe.config_hash(), run.manifest["data"]["sha256"], _place(run), look["data"]["sha256"]


def _place(run: Run) -> dict[str, Any]:
    """Return the run's machine but for its arithmetic, which earlier versions probed for each run anew."""
    return {key: value for key, value in run.manifest["machine"].items() if key not in ARITHMETIC}


def held_out_look(run: Run) -> dict[str, Any]:
    """Return the score on the images that the run itself held out, in the form of an evaluation.

    The data are named after the training data and carry their hash: another seed holds out other images of the same.
    Raises RunError where it held none out.
    """
    answers = run.validation()
    if answers is None or not len(answers["labels"]):
        raise RunError(f"'{run.path}' held no images out. Train it with --set data.validation=0.1.")
    data = run.manifest["data"]
    figures = score(answers["labels"], answers["probabilities"])
    spec = f"{data_name(data['spec'])}, held out"
    return figures | {
        "data": {"spec": spec, "sha256": data["sha256"], "n": figures["n"]},
        "overlap": {"exact": 0, "near": 0},
    }


def data_name(spec: str | Sequence[str]) -> str:
    """Return a data set's name, or its path without the folders, which mean nothing on another machine."""
    return Path(spec).name if isinstance(spec, str) else " + ".join(map(data_name, spec))
