"""Results: what is recorded can be read back, and runs become one result only where they belong together."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tenfold.errors import RunError
from tenfold.runs import results
from tenfold.runs.results import DataUsed, Result, Trial

MACHINE: dict[str, Any] = {"cpu": "Example CPU", "cores": 2, "threads": 2, "device": "cpu", "precision": "bf16"}


def result(recipe: str = "fast", **changes: Any) -> Result:
    """A result of three seeds, 0.9970, 0.9972 and 0.9974, in 58, 59 and 60 seconds."""
    values: dict[str, Any] = {
        "time": "2026-01-01T00:00:00+00:00",
        "recipe": recipe,
        "config_sha256": "c" * 64,
        "commit": "abc",
        "machine": MACHINE,
        "versions": {"python": "3.11.2"},
        "train_data": DataUsed(spec="mnist:train", sha256="a" * 64, n=60_000),
        "test_data": DataUsed(spec="mnist:test", sha256="b" * 64, n=10_000),
        "parameters": 214_000,
        "epochs": 4.0,
        "trials": [Trial(seed=i, accuracy=0.9970 + 0.0002 * i, seconds=58.0 + i) for i in range(3)],
    }
    return Result(**(values | changes))


def test_a_result_is_appended_once(tmp_path: Path) -> None:
    """A result that says the same as the newest of its system, but for the time, is not written again; another is."""
    file = tmp_path / "new" / "a.jsonl"
    results.append_once(file, result())
    before = file.read_bytes()
    results.append_once(file, result(time="2026-02-01T00:00:00+00:00"))
    assert file.read_bytes() == before
    results.append_once(file, result("instant"))
    results.append_once(file, result(protocol="kaggle"))
    results.append_once(file, result(commit="def"))
    results.append_once(file, result())
    lines = file.read_text().splitlines()
    assert lines[0] == lines[-1] == before.decode().strip()
    assert len(lines) == 5


def test_a_result_is_checked() -> None:
    """A value out of range or an unknown key makes no result."""
    for change in ({"extra": 1}, {"trials": []}, {"trials": [{"seed": 0, "accuracy": 99.72, "seconds": 1}]}):
        with pytest.raises(ValidationError):
            Result.model_validate(result().model_dump() | change)


def looks_of(runs: list[Any]) -> list[dict[str, Any]]:
    """Return each run's newest evaluation."""
    return [json.loads((run.path / "evaluations.jsonl").read_text().splitlines()[-1]) for run in runs]


def from_runs(runs: list[Any]) -> Result:
    """Return the result of the runs' newest evaluations."""
    return results.from_runs(runs, looks_of(runs))


def fake_run(folder: Path, seed: int, accuracies: list[float], config: str = "c1", near: int = 0) -> Any:
    """A run's folder with an evaluation for each accuracy."""
    folder.mkdir()
    data = {"spec": "mnist:test", "sha256": "t", "n": 10_000}
    look = {"data": data, "overlap": {"exact": 0, "near": near}}
    lines = [json.dumps(look | {"accuracy": accuracy}) + "\n" for accuracy in accuracies]
    if lines:
        (folder / "evaluations.jsonl").write_text("".join(lines))
    manifest = {
        "data": {"spec": "/somewhere/train.csv", "sha256": "d", "n_train": 60_000, "n_validation": 0},
        "seed": seed,
        "status": "finished",
        "seconds": 58.0 + seed,
        "epochs": 4.0,
        "machine": MACHINE,
        "versions": {"python": "3.11.2"},
        "commit": None,
        "parameters": 214_000,
    }
    recipe = SimpleNamespace(name="fast", config_hash=lambda: config)
    return SimpleNamespace(path=folder, recipe=recipe, manifest=manifest, finished=True)


def test_from_runs(tmp_path: Path) -> None:
    """Runs that differ by seed become one result, each with its newest evaluation."""
    runs = [fake_run(tmp_path / "a", 0, [0.99, 0.9971]), fake_run(tmp_path / "b", 1, [0.9973])]
    found = from_runs(runs)
    assert found.trials == [
        Trial(seed=0, accuracy=0.9971, seconds=58.0),
        Trial(seed=1, accuracy=0.9973, seconds=59.0),
    ]
    assert (found.recipe, found.config_sha256, found.epochs) == ("fast", "c1", 4.0)
    assert found.train_data == DataUsed(spec="train.csv", sha256="d", n=60_000)
    assert found.test_data == DataUsed(spec="mnist:test", sha256="t", n=10_000)


def test_from_runs_that_do_not_belong_together(tmp_path: Path) -> None:
    """A run of another configuration, and one cut short, are refused by name."""
    first = fake_run(tmp_path / "a", 0, [0.99])
    with pytest.raises(RunError, match="c' differs from '.*a'"):
        from_runs([first, fake_run(tmp_path / "c", 1, [0.99], config="c2")])
    cut_short = fake_run(tmp_path / "d", 1, [0.99])
    cut_short.manifest["status"], cut_short.finished = "out_of_time", False
    with pytest.raises(RunError, match="d' is 'out_of_time'"):
        from_runs([first, cut_short])


def test_from_runs_that_saw_the_test_set(tmp_path: Path) -> None:
    """A run that was trained on images it was scored on gives no result."""
    with pytest.raises(RunError, match="a' was trained on '7' of the images it was scored on"):
        from_runs([fake_run(tmp_path / "a", 0, [0.9999], near=7)])


def test_arithmetic_may_differ_between_seeds(tmp_path: Path) -> None:
    """The probed precision may come out differently for two seeds, and both are named; another processor is refused."""
    runs = [fake_run(tmp_path / "a", 0, [0.99]), fake_run(tmp_path / "b", 1, [0.99])]
    runs[1].manifest["machine"] = MACHINE | {"precision": "fp32"}
    assert from_runs(runs).machine == MACHINE | {"precision": "bf16, fp32"}
    runs[1].manifest["machine"] = MACHINE | {"cpu": "Other CPU"}
    with pytest.raises(RunError, match="b' differs from '.*a' by more than its seed"):
        from_runs(runs)


def test_merged_training_data_are_named_together(tmp_path: Path) -> None:
    """A run on several sets has all their names in its record."""
    run = fake_run(tmp_path / "a", 0, [0.99])
    run.manifest["data"]["spec"] = ["kaggle:train", "/somewhere/more.npz"]
    assert from_runs([run]).train_data.spec == "kaggle:train + more.npz"


def test_held_out_look(tmp_path: Path) -> None:
    """The images that a run held out give its accuracy, NLL and n; a run without any is refused."""
    run = fake_run(tmp_path / "a", 0, [])
    labels = np.arange(10)
    probabilities = np.full((10, 10), 0.02, np.float32)
    probabilities[labels, labels] = 0.82
    probabilities[0] = np.roll(probabilities[0], 1)
    run.validation = lambda: {"labels": labels, "probabilities": probabilities}
    look = results.held_out_look(run)
    found = results.from_runs([run], [look], "kaggle")
    assert found.trials[0].accuracy == 0.9
    assert found.trials[0].nll == pytest.approx(-(9 * np.log(0.82) + np.log(0.02)) / 10)
    assert (found.protocol, found.test_data) == ("kaggle", DataUsed(spec="train.csv, held out", sha256="d", n=10))
    run.validation = lambda: None
    with pytest.raises(RunError, match="a' held no images out"):
        results.held_out_look(run)
