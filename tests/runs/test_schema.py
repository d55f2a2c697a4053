"""A run's files are checked before they are used: what is no run's is refused, in one line that names it."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenfold import files
from tenfold.errors import RecipeError, RunError, TenfoldError
from tenfold.metrics.scores import score
from tenfold.runs.run import Run
from tenfold.training import recipe as recipes

MANIFEST: dict[str, Any] = {
    "seed": 0,
    "status": "finished",
    "data": {"spec": "uci", "sha256": "00", "subset": None, "n_train": 10, "n_validation": 10},
    "seconds": 1.5,
    "parameters": 7,
    "temperature": 1.0,
    "of a later version": [1],
}
LABELS = np.arange(10)
ANSWERS: dict[str, Any] = {
    "indices": np.arange(10),
    "labels": LABELS,
    "probabilities": np.eye(10, dtype=np.float32),
    "mistake_indices": np.arange(2),
    "mistake_images": np.zeros((2, 28, 28), np.uint8),
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a run with each of its files."""
    recipe = recipes.load("instant")
    run = Run.create(tmp_path / "run", recipe, MANIFEST, np.arange(20, dtype=np.uint64), np.arange(10))
    run.write_metrics([{"epoch": 1.0, "seconds": 1.0, "loss": 0.5, "validation_accuracy": None}])
    run.write_validation(**ANSWERS)
    look = score(LABELS, ANSWERS["probabilities"]) | {"data": {"spec": "uci", "sha256": "00", "n": 10}}
    (run.path / "evaluations.jsonl").write_text(json.dumps(look) + "\n")
    return run


def test_a_run_is_read(run: Run) -> None:
    """What is a run's is read as it was written, keys that this version does not know with it."""
    opened = Run.open(run.path)
    assert opened.manifest == MANIFEST
    assert opened.metrics() == [{"epoch": 1.0, "seconds": 1.0, "loss": 0.5, "validation_accuracy": None}]
    assert opened.looks()[0]["n"] == 10
    assert opened.validation().keys() == ANSWERS.keys()  # type: ignore[union-attr]
    assert opened.training_hashes().tolist() == list(range(10, 20))


@pytest.mark.parametrize(
    "content",
    [
        "[]", "null", "1", '"run"', "{", "", '{"seed": "0"}', '{"seed": -1}', '{"seed": 18446744073709551616}',
        '{"status": "well"}', '{"data": []}', '{"data": {"spec": 1}}', '{"data": {"subset": 0}}', '{"seconds": NaN}',
        '{"temperature": -1}', '{"temperature": 0}', '{"temperature": 1e9}', '{"temperature": null}',
        '{"parameters": 1.5}', '{"machine": [1]}', '{"versions": {"numpy": 2}}', '{"from": {"run": 1}}',
        '{"validation_accuracy": 2}', '{"a": ' + "[" * 20_000 + "}", '{"seed": ' + "9" * 5000 + "}",
    ],
)  # fmt: skip
def test_another_manifest(run: Run, content: str) -> None:
    """A run.json that is no object, or holds what cannot be, is refused by name."""
    (run.path / "run.json").write_text(content)
    with pytest.raises(RunError, match="run.json' cannot be read: .*. Train the run again."):
        _ = Run.open(run.path).manifest


def test_a_key_that_is_missing(run: Run) -> None:
    """What a command needs of run.json and does not find there, within a table too, is named."""
    (run.path / "run.json").write_text('{"data": {}}')
    manifest = Run.open(run.path).manifest
    assert manifest.get("seconds") is None
    for asked in (lambda: manifest["seconds"], lambda: manifest["data"]["sha256"]):
        with pytest.raises(RunError, match="run.json' lacks '(seconds|sha256)'"):
            asked()


@pytest.mark.parametrize("line", ["[]", "1", '{"epoch": "a"}', '{"validation_accuracy": 3}', '{"loss": [1]}'])
def test_other_metrics(run: Run, line: str) -> None:
    """A line of metrics.jsonl of another form is named by its number; one that was cut short is passed over."""
    (run.path / "metrics.jsonl").write_text('{"epoch": 1.0}\n{"epo\n' + line + "\n")
    with pytest.raises(RunError, match="Line '3' of '.*metrics.jsonl' is damaged"):
        run.metrics()


@pytest.mark.parametrize(
    "changes",
    [
        {"n": -1}, {"accuracy": 2}, {"ci95": [0.1]}, {"confusion": [[0] * 10] * 9}, {"confusion": [["a"] * 10] * 10},
        {"per_class": []}, {"per_class": [{"digit": 12}] * 10}, {"data": "uci"}, {"overlap": {"exact": "a"}},
        {"file": 1},
    ],
)  # fmt: skip
def test_other_looks(run: Run, changes: dict[str, Any]) -> None:
    """A line of evaluations.jsonl of another form is named by its number."""
    line = json.loads((run.path / "evaluations.jsonl").read_text()) | changes
    with (run.path / "evaluations.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    with pytest.raises(RunError, match="Line '2' of '.*evaluations.jsonl' is damaged: .*Delete that line"):
        run.looks()


@pytest.mark.parametrize(
    "name", ["../1.npz", "/etc/passwd", "evaluations/../1.npz", "evaluations/1.npz\n", "", None, 1]
)
def test_answers_lie_in_the_run(run: Run, name: Any) -> None:
    """A look that names a file elsewhere has none."""
    assert run.answers_of({"file": name}) is None
    assert run.answers_of({"file": "evaluations/12.npz"}) == run.path / "evaluations" / "12.npz"


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": None}, {"labels": LABELS + 1}, {"labels": LABELS / 2}, {"labels": LABELS[:5]}, {"indices": -LABELS},
        {"probabilities": np.full((10, 10), np.nan)}, {"probabilities": np.full((10, 10), 7.0)},
        {"probabilities": np.eye(10)[:, :9]}, {"mistake_indices": np.array([0, 10])},
        {"mistake_indices": np.array([0, -1])},
        {"mistake_images": np.zeros((2, 28, 29), np.uint8)}, {"digit_probability": np.zeros(9)},
    ],
)  # fmt: skip
def test_other_answers(run: Run, changes: dict[str, Any]) -> None:
    """A validation.npz whose arrays are missing, of another kind, shape or range is refused by name."""
    arrays = {name: array for name, array in (ANSWERS | changes).items() if array is not None}
    (run.path / "validation.npz").write_bytes(files.npz(arrays))
    with pytest.raises(RunError, match="validation.npz' cannot be read: it"):
        run.validation()


@pytest.mark.parametrize("held_out", [[-1], [20], [0.5], [[1]]])
def test_other_data(run: Run, held_out: list[Any]) -> None:
    """Held-out images that are not among those of the run are refused."""
    arrays = {"hashes": np.arange(20, dtype=np.uint64), "held_out": np.array(held_out)}
    (run.path / "data.npz").write_bytes(files.npz(arrays))
    with pytest.raises(RunError, match="data.npz' cannot be read: it"):
        Run.open(run.path).training_hashes()


NAMES = ("recipe.toml", "run.json", "metrics.jsonl", "evaluations.jsonl", "validation.npz", "data.npz")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["link", "pipe", "device", "large"])
def test_what_is_no_file_of_a_run(run: Run, name: str, kind: str, tmp_path: Path) -> None:
    """A link, a pipe, a device and a sparse file of terabytes in place of each file is refused, whatever reads it."""
    path = run.path / name
    path.rename(tmp_path / "elsewhere")
    match kind:
        case "link":
            path.symlink_to(tmp_path / "elsewhere")
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "large":
            path.touch()
            os.truncate(path, 2**40)
    with pytest.raises(TenfoldError, match=f"{name}|is not a run"):
        Run.open(run.path)
        fresh = Run(run.path)
        _ = fresh.recipe, fresh.manifest, fresh.metrics(), fresh.looks(), fresh.validation(), fresh.hashes()


@pytest.mark.parametrize("content", [b"\xff", b"name = ", b"", b"[model]\nkind = 1", b"a = " + b"[" * 20_000])
def test_another_recipe(run: Run, content: bytes) -> None:
    """A recipe.toml that is no recipe is refused by name."""
    (run.path / "recipe.toml").write_bytes(content)
    with pytest.raises((RunError, RecipeError), match="recipe.toml'"):
        _ = Run.open(run.path).recipe
