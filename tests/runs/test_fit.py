"""Training that begins or resumes in a folder: killed at any moment a network resumes to the same bytes; classical
models are fitted in one go; what cannot be trained is refused before a folder is made.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from tenfold.cli import app
from tenfold.console import PlainConsole
from tenfold.data import load
from tenfold.data.digits import Digits, image_hashes
from tenfold.errors import RunError, TenfoldError, TrainingError
from tenfold.files import claimed
from tenfold.models import build
from tenfold.models.classical import Classical
from tenfold.runs.estimator import from_run
from tenfold.runs.ledger import find_seen
from tenfold.runs.run import Run
from tenfold.runs.tracking import Curve
from tenfold.submit import submit
from tenfold.train import train
from tenfold.training import recipe as recipes
from tenfold.training.loop import Trainer

CLASSICAL = [name for name in recipes.available() if recipes.load(name).classical]
TARGETS = {
    "logistic": 0.93,
    "svm": 0.96,
    "xgboost": 0.93,
    "knn": 0.96,
    "forest": 0.93,
    "svm-hog": 0.96,
    "knn-hog": 0.96,
}
SMALL = {"xgboost": ["model.n_estimators=40", "model.max_depth=3"], "forest": ["model.n_estimators=60"]}

# Forks from a process that has imported everything but computed nothing: a fork costs milliseconds, an import seconds.
DRIVER = textwrap.dedent("""
    import os, signal, sys, time
    from pathlib import Path
    import torch, sklearn.base, rich.progress, jinja2
    from tenfold.train import train
    from tenfold import files
    from tenfold.runs import fit
    from tenfold.runs import run as run_module
    import tenfold.pages.report, tenfold.runs.estimator

    OPTIONS = dict(quiet=True, threads=1)
    fit.CHECKPOINT_SECONDS = 0.0
    OVERRIDES = ["model.widths=[[8],[16]]", "model.dropout=0.2", "training.batch_size=16", "training.epochs=12",
                 "training.min_steps=0", "training.keep=best", "training.evaluate_every=0.5", "training.precision=fp32",
                 "training.hard_share=0.5", "schedule.kind=plateau", "schedule.patience=1", "data.validation=0.2"]

    def child(run, data, die_in_write):
        writes = 0
        whole = files.write_atomically

        def torn(path, content):
            # Dies with half of the bytes under the temporary name, as a crash in write() would leave them.
            nonlocal writes
            writes += 1
            if writes == die_in_write:
                path.with_name(f".{path.name}.{os.getpid()}.part").write_bytes(content[: len(content) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            whole(path, content)

        run_module.write_atomically = torn
        if (run / "run.json").exists():
            train(resume=run, **OPTIONS)
        else:
            train("fast", str(data), run, overrides=OVERRIDES, seed=5, **OPTIONS)

    for line in sys.stdin:  # "RUN DATA SECONDS WRITE": kill after SECONDS, or in the WRITE-th write; 0: don't
        run, data, seconds, write = line.split()
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            try:
                child(Path(run), Path(data), int(write))
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        if float(seconds):
            time.sleep(float(seconds))
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), time.monotonic() - start, flush=True)
""")


class Attempts:
    """Talks to the driver. Each attempt is a process that SIGKILL ends at some moment, or in the middle of a write."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def train(self, run: Path, seconds: float = 0, write: int = 0) -> tuple[int, float]:
        """Return the exit code (-9: killed) and the seconds of one attempt to begin or resume a run."""
        assert self.driver.stdin and self.driver.stdout
        print(run, self.data, seconds, write, file=self.driver.stdin, flush=True)
        code, took = self.driver.stdout.readline().split()
        return int(code), float(took)

    def close(self) -> None:
        """End the driver."""
        self.driver.communicate()


def weights_hash(run: Path) -> str:
    """Return the SHA-256 of the run's weights file."""
    return hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_runs_resume_bit_identically(digits: Digits, tmp_path: Path) -> None:
    """After SIGKILL at ten random moments, and within writes, the finished weights equal the unbroken run's file."""
    np.savez(tmp_path / "digits.npz", X=digits.images, y=digits.labels)
    attempts = Attempts(tmp_path / "digits.npz")
    try:
        code, whole = attempts.train(tmp_path / "unbroken")
        assert code == 0
        expected = weights_hash(tmp_path / "unbroken")

        seed = time.time_ns()
        moments = random.Random(seed)
        killed = [tmp_path / "killed-0"]
        kills = 0
        while kills < 10:  # a run is killed, resumed and killed again, until it ends; then comes another
            code, _ = attempts.train(killed[-1], seconds=moments.uniform(0.02, 0.5) * whole)
            if code == 0:
                assert weights_hash(killed[-1]) == expected, f"{killed[-1].name}, seed {seed}"
                killed.append(tmp_path / f"killed-{len(killed)}")
                assert len(killed) < 20, "every run ended before it was killed"
            else:
                assert code == -signal.SIGKILL
                kills += 1
        for write in (1, 2, 5, 6, 20):  # 1: the manifest; later ones: state, weights, metrics
            code, _ = attempts.train(tmp_path / "torn", write=write)
            assert code == -signal.SIGKILL
            if (tmp_path / "torn").exists():
                assert not (tmp_path / "torn" / "weights.safetensors").exists()
        for run in (killed[-1], tmp_path / "torn"):
            assert attempts.train(run)[0] == 0
            assert weights_hash(run) == expected, f"{run.name}, seed {seed}"
    finally:
        attempts.close()


def test_progress_counts_to_the_epochs_that_will_be(digits: Digits) -> None:
    """A small set is trained for more epochs than its recipe says, and the bar says how many."""
    assert digits.labels is not None
    recipe = recipes.load("instant", ["training.epochs=1", "training.min_steps=20", "training.batch_size=100"])
    trainer = Trainer(recipe, digits.images, digits.labels, None, seed=0, device=torch.device("cpu"), threads=1)
    with PlainConsole(quiet=True).working("instant") as work:
        Curve(PlainConsole(), work).step(trainer)
    assert work.doing == "instant, epoch 0.0 of 10"


def command(*words: object) -> Result:
    """Return what the command line did with these words."""
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.parametrize("name", recipes.available())
def test_every_recipe_can_be_built(name: str) -> None:
    """Each shipped recipe loads, survives being written out as TOML, and its network gives a logit for each class."""
    recipe = recipes.load(name)
    assert recipe.name == name
    assert recipes.parse(tomllib.loads(recipe.to_toml()), name) == recipe
    if recipe.classical:
        Classical(recipe.model.kind, recipe.model.arguments(), recipe.features.model_dump())
        return
    module = build(recipe.model.kind, recipe.model.arguments()).eval()
    if recipe.reads:  # a row's columns, or a page's places
        assert module(torch.zeros(2, 1, 32, 64)).shape == ((2, 16, 11) if name == "lines" else (2, 13, 8, 16))
        return
    classes = recipe.model.arguments().get("classes", 10)
    assert module(torch.zeros(2, 1, 28, 28)).shape == (2, classes)


def test_the_classical_recipes_are_there() -> None:
    """The five classical systems ship, and every one has a target here."""
    assert {"logistic", "svm", "xgboost", "knn", "forest"} <= set(CLASSICAL) <= set(TARGETS)


@pytest.mark.parametrize("name", [*CLASSICAL, "dense-128"])
def test_trains_on_uci(name: str, tmp_path: Path) -> None:
    """`tenfold train NAME --data uci` writes a run that `evaluate` finds to read unseen digits well."""
    overrides = [word for setting in SMALL.get(name, []) for word in ("--set", setting)]
    result = command("train", name, "--data", "uci", "--out", tmp_path / "run", "--threads", 1, "--json", *overrides)
    assert result.exit_code == 0, result.stderr
    trained = json.loads(result.stdout.splitlines()[-1])
    assert trained["status"] == "finished"
    assert trained["parameters"] > 0
    result = command("evaluate", tmp_path / "run", "--data", "uci:test", "--json")
    assert result.exit_code == 0, result.stderr
    score = json.loads(result.stdout.splitlines()[-1])
    assert score["accuracy"] > TARGETS.get(name, 0.9)
    assert score["nll"] < 0.5
    assert score["overlap"]["exact"] == 0


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a logistic regression on 300 of the UCI digits."""
    folder = tmp_path_factory.mktemp("classical") / "run"
    overrides = ["data.validation=0.2"]
    train("logistic", "uci", folder, overrides=overrides, subset=300, seed=5, threads=1, quiet=True)
    return Run.open(folder)


def test_classical_run_folder_is_whole(fitted: Run) -> None:
    """It holds what a network's run holds, but for weights and state: recipe, manifest, a metric, answers, a report."""
    names = {path.name for path in fitted.path.iterdir()}
    assert {"recipe.toml", "run.json", "metrics.jsonl", "data.npz", "validation.npz", "report.html"} <= names
    assert not names & {"weights.safetensors", "state.safetensors"}
    manifest = fitted.manifest
    assert (manifest["status"], manifest["seed"], manifest["epochs"]) == ("finished", 5, None)
    assert (manifest["data"]["n_train"], manifest["data"]["n_validation"], manifest["data"]["subset"]) == (240, 60, 300)
    assert manifest["machine"]["threads"] == 1
    assert "scikit-learn" in manifest["versions"]
    (line,) = fitted.metrics()
    assert line["loss"] is None
    assert line["images"] == 240
    answers = fitted.validation()
    assert answers is not None
    assert line["validation_accuracy"] == (answers["probabilities"].argmax(1) == answers["labels"]).mean()
    np.testing.assert_allclose(answers["probabilities"].sum(1), 1, rtol=1e-5)
    page = (fitted.path / "report.html").read_text("utf-8")
    assert "Learning curves" not in page
    assert "evaluate_every" not in page.partition('id="recipe"')[0]


def test_classical_answers_are_those_of_the_saved_run(fitted: Run) -> None:
    """Opened again, the run gives the held-out probabilities that were written down, temperature and all."""
    answers = fitted.validation()
    assert answers is not None
    uci = load("uci", "train")
    images = uci.images[np.isin(image_hashes(uci.images), fitted.training_hashes(), invert=True)]
    assert len(images) >= 60
    again = from_run(Run.open(fitted.path), "cpu").predict_proba(answers["mistake_images"])
    np.testing.assert_allclose(again, answers["probabilities"][answers["mistake_indices"]], atol=1e-5)


def test_classical_seen_and_submit(fitted: Run, tmp_path: Path, digits: Digits) -> None:
    """The checks for seen images and a submission work on a classical run too."""
    uci = load("uci", "train")
    assert len(find_seen(fitted, uci, "0" * 64).exact) == 240
    np.savez(tmp_path / "new.npz", X=digits.images)
    assert submit(fitted.path, str(tmp_path / "new.npz"), tmp_path / "s.csv", quiet=True).rows == 200


def test_same_seed_same_answers(fitted: Run, tmp_path: Path) -> None:
    """Fitted again with the same seed, it answers the same."""
    train(
        "logistic", "uci", tmp_path / "b", overrides=["data.validation=0.2"], subset=300, seed=5, threads=1, quiet=True
    )
    first, second = fitted.validation(), Run.open(tmp_path / "b").validation()
    assert first is not None and second is not None
    assert (first["indices"] == second["indices"]).all()
    np.testing.assert_allclose(first["probabilities"], second["probabilities"], atol=1e-6)


def test_cut_fit_begins_again(fitted: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a fit leaves a run that says so, and resuming fits it from the start to the same answers."""

    def interrupted(self: Classical, images: np.ndarray, labels: np.ndarray) -> Classical:
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Classical, "fit", interrupted)
        result = command(
            "train", "logistic", "--data", "uci", "--out", folder, "--subset", 300, "--seed", 5,
            "--set", "data.validation=0.2", "--threads", 1,
        )  # fmt: skip
    assert result.exit_code == 130
    assert f"To begin again: tenfold train --resume {folder}" in " ".join(result.stderr.split())
    assert Run.open(folder).manifest["status"] == "interrupted"
    assert train(resume=folder, quiet=True).status == "finished"
    first, second = fitted.validation(), Run.open(folder).validation()
    assert first is not None and second is not None
    np.testing.assert_allclose(first["probabilities"], second["probabilities"], atol=1e-6)


def test_without_held_out_images(tmp_path: Path) -> None:
    """A recipe that holds nothing out gives a run without a validation accuracy, that answers all the same."""
    overrides = ["data.validation=0"]
    result = train("logistic", "uci", tmp_path / "run", overrides=overrides, subset=100, quiet=True)
    assert result.validation_accuracy is None
    assert from_run(Run.open(tmp_path / "run"), "cpu").predict_proba(np.zeros((2, 28, 28), np.uint8)).shape == (2, 10)


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("svm", {"overrides": ["training.epochs=3"]}, "'svm' is fitted in one go and has no 'training.epochs'"),
        ("svm", {"overrides": ["model.gama=1"]}, "gama.*Did you mean 'gamma'"),
        ("svm", {"overrides": ["features.hogg=true"]}, "unknown key 'features.hogg'.*Did you mean 'hog'"),
        ("svm", {"max_seconds": 5.0}, "which '5' seconds cannot cut short.*--subset"),
        ("svm", {"device": "cuda"}, "runs on the processor alone, not on 'cuda'"),
        ("dense-128", {"overrides": ["features.hog=true"]}, "no 'features.hog'"),
        ("dense-128", {"overrides": ["model.kind=svn"]}, "No model is called 'svn'.*Did you mean 'svm'"),
        ("dense-128", {"overrides": ['model.layers=["pool 29"]']}, "too few to pool 29x29"),
        ("dense-128", {"overrides": ['model.layers=["conv 8 31x31 valid"]']}, "31x31 filters do not fit"),
        ("fast", {"overrides": ["model.crop=14"]}, "cannot read an image of 28x28"),
        ("fast", {"overrides": ["model.widths=[[8],[8],[8],[8],[8],[8]]"]}, "cannot read an image of 28x28"),
        ("fast", {"overrides": ["model.widths=[[-3]]"]}, "'-3' for widths is not above 0"),
        ("fast", {"overrides": ["model.widths=7"]}, "cannot be built"),
    ],
)
def test_refused_before_a_folder_is_made(tmp_path: Path, recipe: str, options: dict[str, object], message: str) -> None:
    """What a recipe cannot be, or a classical model cannot do, is an error that says what to do, and leaves nothing."""
    with pytest.raises(TenfoldError, match=message):
        train(recipe, "uci", tmp_path / "run", quiet=True, **options)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_resumed_classical_runs_have_no_limit_either(fitted: Run) -> None:
    """--max-seconds is refused for a run that is resumed, too."""
    with pytest.raises(TrainingError, match="cannot cut short"):
        train(resume=fitted.path, max_seconds=5, quiet=True)


@pytest.mark.parametrize("recipe", ["logistic", "instant"])
def test_one_process_trains_a_run(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that another process trains is refused in one line; once that has ended, it is resumed."""
    folder, overrides = tmp_path / "run", ["data.validation=0"]
    with claimed(folder), pytest.raises(RunError, match="run' is being written by another process"):
        train(recipe, "uci", folder, overrides=overrides, subset=100, quiet=True)
    assert train(resume=folder, max_seconds=None if recipe == "logistic" else 0.1, quiet=True).run == str(folder)
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["run"]
