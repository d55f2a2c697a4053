"""`tenfold ensemble`: members trained anywhere, stopped at any moment, and chosen; the result is a run."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tenfold.cli import app
from tenfold.data import load
from tenfold.files import claimed
from tenfold.runs.estimator import from_run
from tenfold.runs.run import Run
from tenfold.runtime.recogniser import Recogniser

QUICK = [
    word
    for value in (
        "training.epochs=2",
        "training.min_steps=80",
        "model.widths=[[8],[16]]",
        "data.validation=0.2",
        "training.precision=fp32",
    )
    for word in ("--set", value)
]  # one precision: pools that are compared would each take what is fastest when they begin
POOL = ["ensemble", "instant", "--data", "uci:train", "--quiet", "--json", *QUICK]


def run(*words: str, code: int = 0) -> dict[str, Any]:
    """Return the JSON object that the command printed last."""
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == code, result.stderr
    return dict(json.loads(result.stdout.splitlines()[-1])) if code == 0 else {"error": result.stderr}


def weights(pool: Path) -> dict[str, str]:
    """Return the SHA-256 of every member's weights, by name."""
    return {path.name: Run.open(path).weights_sha256() for path in sorted((pool / "members").iterdir())}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an ensemble of four."""
    path = tmp_path_factory.mktemp("pool") / "pool"
    run(*POOL, "--models", "4", "--out", str(path))
    return path


def test_the_result_is_a_run(pool: Path, tmp_path: Path) -> None:
    """It is evaluated, submits and is exported like any other; the graph answers what the members do in the mean."""
    score = run("evaluate", str(pool), "--data", "uci:test", "--quiet", "--json")
    test = load("uci:test", "evaluate")
    chosen = Run.open(pool).manifest["ensemble"]["members"]
    each = np.stack([from_run(Run.open(pool / "members" / name), "cpu").predict_proba(test.images) for name in chosen])
    assert score["accuracy"] == (each.mean(0).argmax(1) == test.labels).mean()
    assert score["overlap"]["exact"] == 0
    run("export", str(pool), "--out", str(tmp_path / "e.onnx"), "--data", "uci:test", "--quiet", "--json")
    probabilities = Recogniser.load(tmp_path / "e.onnx").probabilities(test.images)
    np.testing.assert_allclose(probabilities, from_run(Run.open(pool), "cpu").predict_proba(test.images), atol=1e-4)
    assert "chosen by" in (pool / "report.html").read_text()
    assert (pool / "ensemble.html").stat().st_size > 10_000


def test_what_it_says(pool: Path) -> None:
    """The same call trains nothing more; every member has a row, every rule a score on images it did not choose on."""
    before = {path: path.stat().st_mtime_ns for path in (pool / "members").rglob("weights.safetensors")}
    result = run(*POOL, "--models", "4", "--out", str(pool), "--select", "top:2")
    assert {path: path.stat().st_mtime_ns for path in (pool / "members").rglob("weights.safetensors")} == before
    assert [row["seed"] for row in result["pool"]] == [0, 1, 2, 3]
    assert result["rule"] == "top:2"
    assert len(result["chosen"]) == 2
    assert sum(row["weight"] > 0 for row in result["pool"]) == len(result["chosen"])
    assert [row["rule"] for row in result["rules"]] == ["all", "random:2", "top:2"]
    assert all(row["optimism"] == row["nll"] - row["seen_nll"] for row in result["rules"])
    assert result["validation_accuracy"] == 1 - result["errors"] / result["n"]
    assert result["validation_ci95"][0] < result["validation_accuracy"] < result["validation_ci95"][1] + 1e-9


@pytest.mark.slow
def test_a_killed_pool_resumes(pool: Path, tmp_path: Path) -> None:
    """Killed in the middle and called again, it ends with the members of a pool that nobody disturbed."""
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "tenfold", *POOL, "--models", "4", "--workers", "1", "--out", str(out)]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    second = out / "members" / "001-instant" / "run.json"
    while not second.exists() and process.poll() is None:
        pass
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (out / "run.json").exists()
    assert not (out / "members" / "003-instant").exists()
    run(*POOL, "--models", "4", "--out", str(out))
    assert weights(out) == weights(pool)


@pytest.mark.slow
def test_ray_trains_the_same_members(pool: Path, tmp_path: Path) -> None:
    """A local Ray cluster gives the same weights, member for member, and the same choice."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs Ray: pip install 'tenfold[cluster]'")
    # In a process of its own: Ray reads where it may listen when it is loaded.
    words = [*POOL, "--models", "4", "--out", str(tmp_path / "ray"), "--on", "ray", "--workers", "2"]
    done = subprocess.run([sys.executable, "-m", "tenfold", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert weights(tmp_path / "ray") == weights(pool)
    chosen = [Run.open(path).manifest["ensemble"]["members"] for path in (pool, tmp_path / "ray")]
    assert chosen[0] == chosen[1]


def test_all_images_are_trained_on(tmp_path: Path) -> None:
    """With nothing held out the ensemble is the plain mean of all members, which saw every image; nothing is judged."""
    folder, words = str(tmp_path / "pool"), ["--models", "2", "--set", "data.validation=0", "--subset", "300"]
    result = run(*POOL, *words, "--out", folder)
    assert (result["rule"], result["chosen"], result["n"]) == ("all", ["000-instant", "001-instant"], 0)
    assert result["validation_accuracy"] is None and result["page"] is None
    assert [row["weight"] for row in result["pool"]] == [0.5, 0.5]
    assert Run.open(folder).manifest["data"]["n_train"] == 300
    images = load("uci:test", "evaluate").images
    each = [from_run(Run.open(f"{folder}/members/{name}"), "cpu").predict_proba(images) for name in result["chosen"]]
    together = from_run(Run.open(folder), "cpu").predict_proba(images)
    np.testing.assert_allclose(together, np.mean(each, 0), atol=1e-5)
    assert "report.html" in {path.name for path in Path(folder).iterdir()}


def test_recipes_take_turns(tmp_path: Path) -> None:
    """Recipes may be named with commas between, or one by one; without any the command is used wrongly."""
    words = ["--models", "2", "--data", "uci:train", "--subset", "300", "--quiet", "--json", *QUICK]
    result = run("ensemble", "instant,fast", *words, "--out", str(tmp_path / "pool"))
    assert [row["recipe"] for row in result["pool"]] == ["instant", "fast"]
    again = run("ensemble", "instant", "fast", *words, "--out", str(tmp_path / "pool"))
    assert again["pool"] == result["pool"]
    assert "There is no 'RECIPE'" in CliRunner().invoke(app, ["ensemble", ",", *words, "--out", "x"]).stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--select", "best:3"], "best:3"),
        (["--select", "diverse:3"], "'diverse:3' is unknown. Give one of: all, top:K, random:K."),
        (["--select", "top:9"], "top:9"),
        (["--on", "cloud"], "--on 'cloud' is no place"),
        (["--on", "ray", "--device", "cuda"], "not on 'cuda'. Omit --device"),
        (["--set", "data.validation=0", "--select", "top:2"], "'instant' holds nothing out to choose or judge on"),
        (["--data", "nothing.csv"], "nothing.csv"),
    ],
)
def test_bad_input(words: list[str], message: str, tmp_path: Path) -> None:
    """One line, and nothing is made."""
    error = run(*POOL, "--models", "4", "--out", str(tmp_path / "pool"), *words, code=1)["error"]
    assert message in error
    assert error.startswith("Error: ")
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "pool").exists()


def test_one_process_fills_a_pool(tmp_path: Path) -> None:
    """A pool that another process fills is refused in one line."""
    with claimed(tmp_path / "pool"):
        said = run(*POOL, "--models", "2", "--out", str(tmp_path / "pool"), code=1)["error"]
    assert said.startswith(f"Error: '{tmp_path / 'pool'}' is being written by another process.")


def test_a_lost_member_is_an_error(tmp_path: Path) -> None:
    """Where a member could not be trained, the others are an ensemble, and the command says so and ends with 1."""
    folder = tmp_path / "pool" / "members" / "000-instant"
    run(*POOL, "--models", "2", "--out", str(tmp_path / "pool"))
    shutil.rmtree(folder)
    shutil.rmtree(tmp_path / "pool" / "members" / "001-instant")
    folder.mkdir()
    (folder / "mine").write_text("")
    for name in ("run.json", "weights.safetensors"):
        (tmp_path / "pool" / name).unlink(missing_ok=True)
    result = CliRunner().invoke(app, [*POOL, "--models", "2", "--out", str(tmp_path / "pool")])
    assert result.exit_code == 1, result.stderr
    assert "Error: Members could not be trained: '000-instant: " in result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["models"] == 1
