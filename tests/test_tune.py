"""The verb: a search from end to end, cut short in every way, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tenfold import settings
from tenfold.cli import app
from tenfold.data.digits import Digits
from tenfold.errors import TenfoldError
from tenfold.processes import Processes
from tenfold.train import train
from tenfold.training import recipe as recipes
from tenfold.tune import _Search, tune
from tenfold.tuning.study import Study
from tenfold.tuning.workers import Job, Progress

NETWORK = """
name = "small"
[model]
kind = "convnet"
widths = [[8], [16]]
[data]
validation = 0.25
[optimiser]
lr = 0.01
[training]
epochs = 3
batch_size = 32
precision = "fp32"
[search]
"optimiser.lr" = { low = 1e-6, high = 0.05, log = true }
"training.batch_size" = { low = 16, high = 64, step = 16 }
"""
NEIGHBOURS = """
name = "neighbours"
[model]
kind = "knn"
n_neighbors = 40
weights = "uniform"
[data]
validation = 0.2
[search]
"model.n_neighbors" = { low = 1, high = 41 }
"model.weights" = ["uniform", "distance"]
"""
TRIALS = 8
# Looked for, not loaded: a cluster of one's own is on the loopback address only where Ray is loaded for it.
RAY = pytest.mark.skipif(not (find_spec("ray") and find_spec("grpc")), reason="ray[client] is not installed")


@pytest.fixture
def spec(digits: Digits, tmp_path: Path) -> str:
    """Return the path of 200 generated digits."""
    np.savez(tmp_path / "digits.npz", X=digits.images, y=digits.labels)
    return str(tmp_path / "digits.npz")


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Return the path of a small network's recipe with a search space."""
    (tmp_path / "small.toml").write_text(NETWORK)
    return tmp_path / "small.toml"


@pytest.fixture
def neighbours(tmp_path: Path) -> Path:
    """Return the path of a classical recipe with a search space."""
    (tmp_path / "neighbours.toml").write_text(NEIGHBOURS)
    return tmp_path / "neighbours.toml"


def trials(folder: Path) -> list[tuple[Any, ...]]:
    """Return what every trial of a network's tune came to, without those that were lost."""
    study = Study(folder / "journal.log", recipes.load(folder / "recipe.toml").search, 0)
    tried = [each for each in study.tried() if each.state != "lost"]
    study.close()
    return [(each.values, each.state, each.objective, dict(each.curve)) for each in tried]


def test_search_finds_better_and_a_killed_one_finds_the_same(spec: str, network: Path, tmp_path: Path) -> None:
    """A search ends hopeless trials early and gives a recipe that trains; killed in the middle and resumed, it tries
    the very same values with the very same figures.
    """
    whole = tune(network, spec, tmp_path / "whole", trials=TRIALS, seeds=2, quiet=True)
    assert json.loads(json.dumps(whole)) == whole
    assert whole["status"] == "finished"
    assert sum(whole["trials"].values()) == TRIALS
    assert whole["trials"]["pruned"] > 0
    assert whole["base"]["values"] == {"optimiser.lr": 0.01, "training.batch_size": 32}
    assert whole["best"]["nll"] <= whole["base"]["nll"]
    assert {"best.toml", "tune.html", "journal.log", "tune.json", "recipe.toml"} <= set(os.listdir(tmp_path / "whole"))

    best = recipes.load(whole["best_recipe"])
    assert best.name == "small-tuned"
    assert best.optimiser.lr == whole["best"]["values"]["optimiser.lr"]
    assert best.search == recipes.load(network).search
    run = train(whole["best_recipe"], spec, tmp_path / "run", seed=0, quiet=True)
    assert run["validation_accuracy"] == whole["best"]["accuracy"]

    command = [sys.executable, "-m", "tenfold", "tune", str(network), "--data", spec, "--out", str(tmp_path / "cut")]
    command += ["--trials", str(TRIALS), "--seeds", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while not (line := process.stderr.readline()).startswith("trial   3"):
            assert line, "ended before the third trial"
        process.kill()
    resumed = tune(resume=tmp_path / "cut", quiet=True)
    assert resumed["status"] == "finished"
    assert trials(tmp_path / "cut") == trials(tmp_path / "whole")
    again = tune(resume=tmp_path / "cut", quiet=True)
    assert again | {"seconds": 0} == resumed | {"seconds": 0}


def test_killed_worker_loses_its_trial_only(
    spec: str, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL of a worker process: its trial is tried again by another one, and the search goes on to its end."""
    killed: list[Any] = []

    def progress(self: _Search, job: Job, progress: Progress) -> bool:
        if job.key == 1 and not killed:
            assert isinstance(self.tuning.pool.place, Processes)
            worker = next(
                each for each in self.tuning.pool.place.workers
                if each.task and each.task.arguments["overrides"] == list(job.overrides)
            )  # fmt: skip
            assert worker.process.pid is not None
            os.kill(worker.process.pid, signal.SIGKILL)
            killed.append(job.overrides)
        return False

    monkeypatch.setattr(_Search, "progress", progress)
    result = tune(network, spec, tmp_path / "tune", trials=3, workers=min(2, settings.threads()), seeds=0, quiet=True)
    assert result["trials"] == {"complete": 3, "pruned": 0, "failed": 0, "lost": 1}
    values = [tuple(each[0].values()) for each in trials(tmp_path / "tune")]
    assert len(killed) == 1
    assert recipes.load(network, killed[0]).optimiser.lr in [lr for lr, _ in values]


@RAY
@pytest.mark.slow
def test_on_ray_a_search_is_the_same(
    spec: str, network: Path, neighbours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Ray a search tries the very same values with the very same figures, ends the same trials early, and goes on
    where a worker is killed; a grid judges the same candidates alike.
    """
    network.write_text(NETWORK.replace("lr = 0.01", "lr = 0.00001"))  # that the search can do better than
    here = tune(network, spec, tmp_path / "here", trials=TRIALS, seeds=1, threads=1, quiet=True)
    assert here["trials"]["pruned"] > 0
    killed: list[int] = []
    progress = _Search.progress

    def killing(self: _Search, job: Job, progressed: Progress) -> bool:
        if not killed:
            killed.extend(workers_at_work())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
        return progress(self, job, progressed)

    monkeypatch.setattr(_Search, "progress", killing)
    there = tune(network, spec, tmp_path / "there", trials=TRIALS, seeds=1, threads=1, on="ray", quiet=True)
    assert len(killed) == 1
    assert there["trials"] == here["trials"] | {"lost": 1}
    assert trials(tmp_path / "there") == trials(tmp_path / "here")
    assert here["comparison"]["seeds"] == [1]
    assert timeless(there["comparison"]) == timeless(here["comparison"])

    options = {"subset": 200, "threads": 1, "seeds": 0, "quiet": True}
    here = tune(neighbours, "uci", tmp_path / "grid-here", **options)
    there = tune(neighbours, "uci", tmp_path / "grid-there", on="ray", **options)
    assert trials(tmp_path / "grid-there") == trials(tmp_path / "grid-here")
    assert there["best"] | {"seconds": 0} == here["best"] | {"seconds": 0}


def workers_at_work() -> list[int]:
    """Return the processes of Ray that have a task, among those of this machine."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if command.read_bytes().startswith(b"ray::_work_on_ray"):
                found.append(int(command.parent.name))
        except OSError:
            continue
    return found


def timeless(value: Any) -> Any:
    """Return a result without the seconds that things took."""
    if isinstance(value, dict):
        return {key: timeless(each) for key, each in value.items() if key != "seconds"}
    return [timeless(each) for each in value] if isinstance(value, list) else value


def test_time_ends_a_search(spec: str, network: Path, tmp_path: Path) -> None:
    """Without time nothing is tried, which is said; with time again the tune goes on."""
    cut = tune(network, spec, tmp_path / "tune", trials=1, max_seconds=0.01, quiet=True)
    assert cut["status"] == "out_of_time"
    assert cut["best"] is None
    assert cut["best_recipe"] is None
    resumed = tune(resume=tmp_path / "tune", trials=1, quiet=True)
    assert resumed["status"] == "finished"
    assert resumed["best"] == resumed["base"]
    assert "# No trial beat the recipe as it is" in (tmp_path / "tune" / "best.toml").read_text()


def test_diverging_trial_fails_alone(spec: str, tmp_path: Path) -> None:
    """A value with which the loss runs away is a failed trial with its reason; as the base it is the user's error."""
    wild = NETWORK.replace("lr = 0.01", "lr = 1e30").replace("high = 0.05", "high = 1e30")
    (tmp_path / "wild.toml").write_text(wild.replace('"training.batch', '"optimiser.kind" = ["sgd"]\n"training.batch')
                                        .replace("[optimiser]", '[optimiser]\nkind = "sgd"'))  # fmt: skip
    with pytest.raises(TenfoldError, match="The recipe as it is cannot be trained: The loss is"):
        tune(tmp_path / "wild.toml", spec, tmp_path / "tune", trials=2, quiet=True)


def test_grid_narrows_and_resumes_between_stages(neighbours: Path, tmp_path: Path) -> None:
    """A classical recipe is searched in three stages, each finer around the best; one that was cut resumes the same."""
    whole = tune(neighbours, "uci", tmp_path / "whole", subset=300, quiet=True)
    assert (whole["method"], whole["metric"], whole["status"]) == ("grid", "accuracy", "finished")
    assert whole["best"]["accuracy"] > whole["base"]["accuracy"]
    assert whole["comparison"]["better"]
    assert [row["n"] for row in whole["comparison"]["rows"]] == [300] * 3
    study = Study(tmp_path / "whole" / "journal.log", recipes.load(neighbours).search, 0)
    tried = study.tried()
    study.close()
    spans = []
    for stage in range(3):
        numbers = [int(each.values["model.n_neighbors"]) for each in tried if each.stage == stage and not each.base]
        spans.append(max(numbers) - min(numbers))
    assert spans[0] == 40
    assert spans[0] > spans[1] >= spans[2]
    assert len({tuple(each.values.items()) for each in tried}) == len(tried)

    run = train(whole["best_recipe"], "uci", tmp_path / "run", quiet=True)
    assert run["validation_accuracy"] > 0.9

    cut = tune(neighbours, "uci", tmp_path / "cut", subset=300, max_seconds=1e-6, seeds=0, quiet=True)
    assert cut["status"] == "out_of_time"
    assert cut["trials"]["complete"] == 1
    resumed = tune(resume=tmp_path / "cut", max_seconds=600, quiet=True)
    assert resumed["best"] | {"seconds": 0} == whole["best"] | {"seconds": 0}


def test_command_line(neighbours: Path, tmp_path: Path) -> None:
    """`tenfold tune` prints one JSON object on stdout, and what people read on stderr; --method changes the search."""
    words = ["tune", str(neighbours), "--data", "uci", "--subset", "200", "--out", str(tmp_path / "tune")]
    words += ["--method", "optuna", "--metric", "accuracy", "--trials", "3", "--seeds", "1", "--name", "near", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["trials"]["complete"] == 3
    assert "trial   2" in result.stderr
    assert f"Recipe: {tmp_path / 'tune' / 'best.toml'}" in result.stderr
    text = (tmp_path / "tune" / "best.toml").read_text()
    assert 'name = "near"' in text
    assert "# Found by `tenfold tune neighbours --data uci`" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 1000}, "'1000' workers do not fit"),
        ({"on": "cloud"}, "--on 'cloud' is no place to compute. Give local, ray"),
        pytest.param({"on": "ray://127.0.0.1:1"}, "No cluster answers at 'ray://127.0.0.1:1'", marks=RAY),
        ({"method": "magic"}, "--method 'magic' is unknown. Give one of: optuna, grid."),
        ({"metric": "f1"}, "--metric 'f1' is unknown"),
        ({"recipe": "two-conv"}, "Recipe 'two-conv' has no [search] table"),
        ({"recipe": "nothing"}, "No recipe is called 'nothing'"),
        ({"device": "abacus"}, "Device 'abacus' is not available here"),
        ({"subset": 5000}, "'5000' images cannot be taken from 200"),
        ({"out": "."}, "exists already"),
        ({"method": "grid", "trials": 5}, "does not fit into '5' trials. Give --trials 28 or more"),
        ({"recipe": None, "data": None, "resume": "nowhere"}, "'nowhere' is no tune"),
        ({"resume": "nowhere"}, "does not go with --resume"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_makes_no_folder(
    spec: str, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    """What cannot work is refused before anything is written."""
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    arguments = {"recipe": network, "data": spec} | {
        key: Path(value) if key in ("out", "resume") else value for key, value in options.items()
    }
    with pytest.raises(TenfoldError) as caught:
        tune(**arguments, quiet=True)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_resume_refuses_other_data_and_a_broken_plan(spec: str, network: Path, digits: Digits, tmp_path: Path) -> None:
    """A tune goes on with the very data that it was begun on, and only where its plan can be read."""
    tune(network, spec, tmp_path / "tune", trials=1, max_seconds=0.01, quiet=True)
    np.savez(tmp_path / "other.npz", X=digits.images[::-1], y=digits.labels[::-1])
    with pytest.raises(TenfoldError, match="is not what was tuned on"):
        tune(data=str(tmp_path / "other.npz"), resume=tmp_path / "tune", quiet=True)
    (tmp_path / "tune" / "tune.json").write_text('{"recipe": "small"}')
    with pytest.raises(TenfoldError, match="tune.json' cannot be read"):
        tune(resume=tmp_path / "tune", quiet=True)
