"""The record of measured results, `results/*.jsonl`, and the README's tables, which are made from it and nothing else.

A record is one system measured on one machine: everything needed to repeat it, and every accuracy, seed for seed.
Files only grow. The tables show the newest record of each system on each machine, between the two markers:

    python -m tenfold.scoring.results --add results/mnist.jsonl runs/a runs/b    # evaluated runs, one a seed
    python -m tenfold.scoring.results --write README.md
    python -m tenfold.scoring.results --check README.md    # exits with 1 when a table is stale
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tenfold.errors import DataError, RunError, TenfoldError
from tenfold.files import write_atomically
from tenfold.scoring import ledger
from tenfold.scoring.intervals import wilson

if TYPE_CHECKING:
    from tenfold.training.run import Run

START, END = "<!-- results:start -->", "<!-- results:end -->"
COMMAND = "python -m tenfold.scoring.results"
TUTORIAL = "tutorial"  # the system that others' speed is measured against
RATIO_TARGET = "0.9917"  # its accuracy after 14 epochs


class Record(BaseModel):
    """What all parts of a record share: they cannot be changed, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Trial(Record):
    """One seed's training and its score; seconds are wall-clock."""

    seed: int
    accuracy: float = Field(ge=0, le=1)
    seconds: float = Field(ge=0, description="training alone")
    command_seconds: float | None = Field(None, ge=0, description="the whole command, start to end")


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
    epochs: float
    trials: list[Trial] = Field(min_length=1)
    seconds_to: dict[str, float | None] = Field(
        default_factory=dict, description="accuracy, written '0.9917': seconds until the mean reaches it; null: never"
    )
    note: str = ""

    def accuracy(self) -> tuple[float, float | None]:
        """Return the mean accuracy over the seeds and its sample standard deviation, None for one seed."""
        return _mean_and_deviation([trial.accuracy for trial in self.trials])

    def seconds(self) -> float:
        """Return the mean seconds of training."""
        return statistics.fmean(trial.seconds for trial in self.trials)

    def command_seconds(self) -> float | None:
        """Return the mean seconds of the whole command, None unless every seed has them."""
        known = [trial.command_seconds for trial in self.trials if trial.command_seconds is not None]
        return statistics.fmean(known) if len(known) == len(self.trials) else None


def append(file: Path, result: Result) -> None:
    """Append one result as one line; earlier lines are never touched."""
    file.parent.mkdir(parents=True, exist_ok=True)
    ledger.append_line(file, result.model_dump(mode="json"))


def read(folder: Path) -> list[Result]:
    """Return every result in the folder's *.jsonl files, oldest first. Raises DataError naming a line that is none."""
    results = []
    for file in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip():
                continue
            try:
                results.append(Result.model_validate_json(line))
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(str(part) for part in first["loc"]) or "the line"
                problem = f"{place}: {first['msg']}"
                raise DataError(f"'{file}' line {number} is not a result ({problem}). Mend that line.") from None
    return sorted(results, key=lambda result: datetime.fromisoformat(result.time))


def from_runs(runs: Sequence["Run"], note: str = "") -> Result:
    """Return the result of runs of one recipe on the same data that differ by seed, each with its newest evaluation.

    Raises RunError where one was cut short, not evaluated, or trained on images it was scored on, or where they are
    not the same system on the same data.
    """
    looks = []
    for run in runs:
        if run.manifest["status"] != "finished":
            raise RunError(f"'{run.path}' is '{run.manifest['status']}'. Run: tenfold train --resume {run.path}")
        found = ledger.read_lines(run.path / "evaluations.jsonl")
        if not found:
            raise RunError(f"'{run.path}' has no evaluation. Run: tenfold evaluate {run.path} --data mnist:test")
        seen = found[-1]["overlap"]["exact"] + found[-1]["overlap"]["near"]
        if seen:
            raise RunError(
                f"'{run.path}' was trained on '{seen}' of the images it was scored on. Evaluate it on others."
            )
        looks.append(found[-1])
    first, data = runs[0].manifest, looks[0]["data"]
    for run, look in zip(runs, looks, strict=True):
        same = (
            run.recipe.config_hash() == runs[0].recipe.config_hash()
            and run.manifest["data"]["sha256"] == first["data"]["sha256"]
            and run.manifest["machine"] == first["machine"]
            and look["data"]["sha256"] == data["sha256"]
        )
        if not same:
            raise RunError(f"'{run.path}' differs from '{runs[0].path}' by more than its seed. Add it by itself.")
    used = first["data"]
    return Result(
        recipe=runs[0].recipe.name,
        config_sha256=runs[0].recipe.config_hash(),
        commit=", ".join(sorted({run.manifest["commit"] or "unknown" for run in runs})),
        machine=first["machine"],
        versions=first["versions"],
        train_data=DataUsed(spec=_name(used["spec"]), sha256=used["sha256"], n=used["n_train"]),
        test_data=DataUsed(spec=_name(data["spec"]), sha256=data["sha256"], n=data["n"]),
        parameters=first["parameters"],
        epochs=first["epochs"],
        trials=[
            Trial(seed=run.manifest["seed"], accuracy=look["accuracy"], seconds=run.manifest["seconds"])
            for run, look in zip(runs, looks, strict=True)
        ],
        note=note,
    )


def newest(results: Iterable[Result]) -> list[Result]:
    """Return the last result of each recipe (and note) on each processor and data, the quickest to train first."""
    kept = {(_group(result), result.recipe, result.note): result for result in results}
    return sorted(kept.values(), key=lambda result: result.seconds())


def render(results: Sequence[Result]) -> str:
    """Return the tables in Markdown: for each machine and test set the scores, then the seconds to given accuracies."""
    if not results:
        return "No results are recorded yet."
    groups: dict[str, list[Result]] = {}
    for result in newest(results):
        groups.setdefault(_group(result), []).append(result)
    blocks = []
    for title, members in sorted(groups.items()):
        blocks.append(f"**{title}**\n\n{_score_table(members)}")
        if any(member.seconds_to for member in members):
            blocks.append(_speed_table(members))
    return "\n\n".join(blocks)


def stale(document: Path, folder: Path) -> bool:
    """Return whether the tables between the document's markers differ from what the results in `folder` give."""
    text, fresh = _refreshed(document, folder)
    return text != fresh


def rewrite(document: Path, folder: Path) -> None:
    """Bring the tables between the document's markers up to date; the rest of it stays as it is."""
    text, fresh = _refreshed(document, folder)
    if text == fresh:
        return
    write_atomically(document, fresh.encode())


def _refreshed(document: Path, folder: Path) -> tuple[str, str]:
    """Return the document's text as it is and as it should be."""
    try:
        text = document.read_bytes().decode()
    except OSError as error:
        raise DataError(f"Cannot read '{document}' ({error.strerror}). Name the document with the tables.") from error
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise DataError(f"'{document}' has no place for the tables. Add the lines '{START}' and '{END}' to it.")
    return text, f"{before}{START}\n{render(read(folder))}\n{END}{after}"


def _score_table(results: Sequence[Result]) -> str:
    rows = []
    for result in results:
        mean, deviation = result.accuracy()
        n = result.test_data.n
        low, high = wilson(round(mean * n), n)  # of the mean: what other test images would have changed
        command = result.command_seconds()
        spread = "" if deviation is None else f" ± {100 * deviation:.3f}"
        rows.append(
            [
                _label(result),
                f"{100 * mean:.3f}{spread}",
                f"{100 * low:.2f} to {100 * high:.2f}",
                f"{(1 - mean) * n:,.1f} of {n:,}",
                str(len(result.trials)),
                _seconds(result.seconds()),
                _seconds(command),
                "–" if result.parameters is None else f"{result.parameters:,}",
            ]
        )
    head = ["recipe", "test accuracy, %", "95% interval", "errors", "seeds", "training, s", "whole command, s"]
    return _table([*head, "parameters"], rows)


def _label(result: Result) -> str:
    return f"`{result.recipe}`" + (f" ({result.note})" if result.note else "")


def _speed_table(results: Sequence[Result]) -> str:
    targets = sorted({target for result in results for target in result.seconds_to}, key=float)
    slowest = next((result.seconds_to.get(RATIO_TARGET) for result in results if result.recipe == TUTORIAL), None)
    head = ["seconds to a mean of", *(f"{100 * float(target):g}%" for target in targets)]
    if slowest:
        head.append(f"times faster to {100 * float(RATIO_TARGET):g}%")
    rows = []
    for result in results:
        if not result.seconds_to:
            continue
        row = [_label(result), *(_seconds(result.seconds_to.get(target)) for target in targets)]
        if slowest:
            own = result.seconds_to.get(RATIO_TARGET)
            row.append(f"{slowest / own:.3g}" if own else "–")
        rows.append(row)
    return _table(head, rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _group(result: Result) -> str:
    """Return what results share that stand in one table: the data and the processor."""
    machine = result.machine
    processor, device = str(machine.get("cpu") or "unknown processor"), str(machine.get("device", "cpu"))
    if device == "cpu":
        where = f"{processor}, {machine['threads']} threads" if machine.get("threads") else processor
    else:
        where = f"{processor}, {device}" if device == "mps" else device  # else the GPU's name
    return f"{result.test_data.spec} on {where}"


def _name(spec: str) -> str:
    """Return a data set's name, or its path without the folders, which mean nothing on another machine."""
    return Path(spec).name


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Add results or bring a document's tables up to date; return the exit code."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Tables from results/.")
    verb = parser.add_mutually_exclusive_group(required=True)
    verb.add_argument("--check", type=Path, metavar="DOCUMENT", help="exit with 1 when its tables are stale")
    verb.add_argument("--write", type=Path, metavar="DOCUMENT", help="bring its tables up to date")
    verb.add_argument("--add", type=Path, metavar="FILE", help="append the evaluated RUNS to this .jsonl file")
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="default: results/ beside the document")
    parser.add_argument("--note", default="", help="with --add: shown beside the recipe's name")
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    options = parser.parse_args(arguments)
    try:
        return _act(options)
    except TenfoldError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def _act(options: Any) -> int:
    if options.add:
        from tenfold.training.run import Run

        if not options.runs:
            raise RunError("There are '0' runs to add. Name at least one folder that `tenfold train` wrote.")
        result = from_runs([Run.open(path) for path in options.runs], options.note)
        append(options.add, result)
        print(json.dumps(result.model_dump(mode="json")))
        return 0
    document: Path = options.check or options.write
    folder: Path = options.results or document.parent / "results"
    if options.write:
        rewrite(document, folder)
    elif stale(document, folder):
        raise DataError(f"The tables in '{document}' are stale. Run: {COMMAND} --write {document}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
