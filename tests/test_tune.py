"""The verb: a search from end to end, cut short in every way, and what it refuses."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
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
from tenfold.jobs import Task
from tenfold.train import train
from tenfold.training import recipe as recipes
from tenfold.tune import tune
from tenfold.tuning.journal import Journal, Tried
from tenfold.tuning.trial import Workers

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
HERE = Path(__file__).parent
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


@pytest.fixture
def killed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the processes of a search, here or Ray's, kill themselves once in the middle of a trial."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.syspath_prepend(str(HERE))
    task = Workers.task

    def killing(self: Workers, key: str, title: str, function: str, **arguments: Any) -> Task:
        made = task(self, key, title, function, **arguments)
        return replace(made, function="tune_tasks:killed_once") if function == "search_trial" else made

    monkeypatch.setattr(Workers, "task", killing)


def opened(folder: Path) -> list[Tried]:
    """Return every trial of a tune that has ended."""
    return Journal(folder / "journal.log", recipes.load(folder / "recipe.toml").search).tried()


def trials(folder: Path) -> list[tuple[Any, ...]]:
    """Return what every trial of a tune came to, without those that were lost."""
    kept = [each for each in opened(folder) if each.state != "lost"]
    return [(each.values, each.state, each.objective, dict(each.curve)) for each in kept]


def test_search_finds_better_and_a_killed_one_finds_the_same(spec: str, network: Path, tmp_path: Path) -> None:
    """A search ends hopeless trials early and gives a recipe that trains; killed in the middle and resumed, it tries
    the very same values with the very same figures.
    """
    whole = tune(network, spec, tmp_path / "whole", trials=TRIALS, seeds=2, quiet=True)
    assert whole.status == "finished"
    assert sum(whole.trials.values()) == TRIALS
    assert whole.trials["pruned"] > 0
    assert whole.base is not None
    assert whole.best is not None
    assert whole.base.values == {"optimiser.lr": 0.01, "training.batch_size": 32}
    assert whole.best.nll is not None
    assert whole.base.nll is not None
    assert whole.best.nll <= whole.base.nll
    assert {"best.toml", "tune.html", "journal.log", "tune.json", "recipe.toml"} <= set(os.listdir(tmp_path / "whole"))

    assert whole.best_recipe is not None
    best = recipes.load(whole.best_recipe)
    assert best.name == "small-tuned"
    assert best.optimiser.lr == whole.best.values["optimiser.lr"]
    assert best.search == recipes.load(network).search
    run = train(whole.best_recipe, spec, tmp_path / "run", seed=0, quiet=True)
    assert run.validation_accuracy == whole.best.accuracy

    command = [sys.executable, "-m", "tenfold", "tune", str(network), "--data", spec, "--out", str(tmp_path / "cut")]
    command += ["--trials", str(TRIALS), "--seeds", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while not (line := process.stderr.readline()).startswith("trial   3"):
            assert line, "ended before the third trial"
        process.kill()
    resumed = tune(resume=str(tmp_path / "cut"), quiet=True)
    assert resumed.status == "finished"
    assert trials(tmp_path / "cut") == trials(tmp_path / "whole")
    again = tune(resume=tmp_path / "cut", quiet=True)
    assert replace(again, seconds=0) == replace(resumed, seconds=0)


def test_killed_worker_loses_its_trial_only(spec: str, network: Path, tmp_path: Path, killed_once: None) -> None:
    """SIGKILL of a worker process: its trial is tried again by another one, and the search goes on to its end."""
    workers = min(2, settings.threads())
    result = tune(network, spec, tmp_path / "tune", trials=3, workers=workers, seeds=0, quiet=True)
    assert result.trials == {"complete": 3, "pruned": 0, "failed": 0, "lost": 1}
    tried = opened(tmp_path / "tune")
    lost = next(each for each in tried if each.state == "lost")
    assert lost.curve  # it was under way
    assert lost.values in [each.values for each in tried if each.number > lost.number]


@RAY
@pytest.mark.slow
def test_on_ray_a_search_is_the_same(
    spec: str, network: Path, neighbours: Path, tmp_path: Path, killed_once: None
) -> None:
    """On Ray a search tries the very same values with the very same figures, ends the same trials early, and goes on
    where a worker is killed; a classical recipe's candidates are judged alike too.
    """
    network.write_text(NETWORK.replace("lr = 0.01", "lr = 0.00001"))  # that the search can do better than
    here = tune(network, spec, tmp_path / "here", trials=TRIALS, seeds=1, threads=1, quiet=True)
    assert here.trials["pruned"] > 0
    there = tune(network, spec, tmp_path / "there", trials=TRIALS, seeds=1, threads=1, on="ray", quiet=True)
    assert here.trials["lost"] == 1
    assert there.trials == here.trials
    assert trials(tmp_path / "there") == trials(tmp_path / "here")
    assert here.comparison is not None
    assert here.comparison.seeds == [1]
    assert timeless(asdict(there)["comparison"]) == timeless(asdict(here)["comparison"])

    options: dict[str, Any] = {"trials": TRIALS, "subset": 200, "threads": 1, "seeds": 0, "quiet": True}
    here = tune(neighbours, "uci", tmp_path / "knn-here", **options)
    there = tune(neighbours, "uci", tmp_path / "knn-there", on="ray", **options)
    assert trials(tmp_path / "knn-there") == trials(tmp_path / "knn-here")
    assert timeless(asdict(there)["best"]) == timeless(asdict(here)["best"])


def timeless(value: Any) -> Any:
    """Return a result without the seconds that things took."""
    if isinstance(value, dict):
        return {key: timeless(each) for key, each in value.items() if key != "seconds"}
    return [timeless(each) for each in value] if isinstance(value, list) else value


def test_time_ends_a_search(spec: str, network: Path, tmp_path: Path) -> None:
    """Without time nothing is tried, which is said; with time again the tune goes on."""
    cut = tune(network, spec, tmp_path / "tune", trials=1, max_seconds=0.01, quiet=True)
    assert cut.status == "out_of_time"
    assert cut.best is None
    assert cut.best_recipe is None
    resumed = tune(resume=tmp_path / "tune", trials=1, quiet=True)
    assert resumed.status == "finished"
    assert resumed.best == resumed.base
    assert "# No trial beat the recipe as it is" in (tmp_path / "tune" / "best.toml").read_text()


def test_diverging_trial_fails_alone(spec: str, tmp_path: Path) -> None:
    """A value with which the loss runs away is a failed trial with its reason; as the base it is the user's error."""
    wild = NETWORK.replace("lr = 0.01", "lr = 1e30").replace("high = 0.05", "high = 1e30")
    (tmp_path / "wild.toml").write_text(wild.replace('"training.batch', '"optimiser.kind" = ["sgd"]\n"training.batch')
                                        .replace("[optimiser]", '[optimiser]\nkind = "sgd"'))  # fmt: skip
    with pytest.raises(TenfoldError, match="The recipe as it is cannot be trained: The loss is"):
        tune(tmp_path / "wild.toml", spec, tmp_path / "tune", trials=2, quiet=True)


def test_classical_recipe_finds_better_and_a_killed_search_finds_the_same(neighbours: Path, tmp_path: Path) -> None:
    """A classical recipe is searched as a network's is, on held-out images, and compared on unused seeds; killed in the
    middle and resumed, the search tries the very same values with the very same figures.
    """
    whole = tune(neighbours, "uci", tmp_path / "whole", trials=TRIALS, subset=300, quiet=True)
    assert (whole.method, whole.metric, whole.status) == ("optuna", "nll", "finished")
    assert whole.best is not None
    assert whole.base is not None
    assert (whole.best.nll or 0) < (whole.base.nll or 0)
    assert whole.comparison is not None
    assert whole.comparison.better
    assert [row.n for row in whole.comparison.rows] == [60] * 3
    assert "Before and after" in (tmp_path / "whole" / "tune.html").read_text()

    assert whole.best_recipe is not None
    run = train(whole.best_recipe, "uci", tmp_path / "run", quiet=True)
    assert run.validation_accuracy is not None
    assert run.validation_accuracy > 0.9

    command = [sys.executable, "-m", "tenfold", "tune", str(neighbours), "--data", "uci", "--subset", "300"]
    command += ["--out", str(tmp_path / "cut"), "--trials", str(TRIALS), "--seeds", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while not (line := process.stderr.readline()).startswith("trial   3"):
            assert line, "ended before the third trial"
        process.kill()
    resumed = tune(resume=tmp_path / "cut", max_seconds=600, quiet=True)
    assert resumed.status == "finished"
    assert trials(tmp_path / "cut") == trials(tmp_path / "whole")


def test_a_candidate_that_cannot_be_fitted_fails_alone(neighbours: Path, tmp_path: Path) -> None:
    """A search goes on where one of its candidates has more components than images, and says why that one failed."""
    space = '"features.pca" = [0, 500]\n"model.weights"'
    neighbours.write_text(NEIGHBOURS.replace('"model.weights"', space) + "[features]\npca = 0\n")
    result = tune(neighbours, "uci", tmp_path / "tune", trials=TRIALS, subset=200, seeds=0, quiet=True)
    assert result.status == "finished"
    assert result.trials["failed"] > 0
    assert all(each.reason for each in opened(tmp_path / "tune") if each.state == "failed")
    assert result.best is not None
    assert result.best.values["features.pca"] == 0


def test_command_line(neighbours: Path, tmp_path: Path) -> None:
    """`tenfold tune` prints one JSON object on stdout, and what people read on stderr."""
    words = ["tune", str(neighbours), "--data", "uci", "--subset", "200", "--out", str(tmp_path / "tune")]
    words += ["--metric", "accuracy", "--trials", "3", "--seeds", "1", "--name", "near", "--json"]
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
        ({"metric": "f1"}, "--metric 'f1' is unknown"),
        ({"recipe": "two-conv"}, "Recipe 'two-conv' has no [search] table"),
        ({"recipe": "nothing"}, "No recipe is called 'nothing'"),
        ({"device": "abacus"}, "Device 'abacus' is not available here"),
        ({"subset": 5000}, "'5000' images cannot be taken from 200"),
        ({"out": "."}, "exists already"),
        ({"recipe": None, "data": None, "resume": "nowhere"}, "'nowhere' is no tune"),
        ({"resume": "nowhere"}, "does not go with --resume: a tune is resumed as it began. Omit it"),
        ({"data": None}, "There is no '--data'. Give --data DATA"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_makes_no_folder(
    spec: str, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    """What cannot work is refused before anything is written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path.with_name("cache")))
    before = sorted(path.name for path in tmp_path.iterdir())
    arguments = {"recipe": network, "data": spec} | options
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
