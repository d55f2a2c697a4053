"""One door for runs and models: which of the two a name is, when it answers, and that a run and its model agree."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tenfold.data import load
from tenfold.errors import DataError, ModelError, RunError, UsageError
from tenfold.export import export
from tenfold.runs.run import Run
from tenfold.runs.systems import open_system
from tenfold.train import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `run`, a network, `model.onnx`, its export, and `logistic`, a classical run."""
    made = tmp_path_factory.mktemp("systems")
    train(
        "instant",
        "uci:train",
        made / "run",
        overrides=["training.epochs=2", "training.min_steps=60", "data.validation=0.2"],
        quiet=True,
    )
    export(str(made / "run"), str(made / "model.onnx"), data="uci:test", quiet=True)
    train("logistic", "uci:train", made / "logistic", quiet=True)
    return made


def test_a_run_and_its_model_answer_alike(folder: Path) -> None:
    """A run and its export have one threshold, also for --max-error, and answer and refuse the same images."""
    images = load("uci:test", "evaluate").images
    images = np.concatenate([images, np.zeros((1, 28, 28), np.uint8)])
    for wish in ({}, {"max_error": 0.2}, {"threshold": 0.9}):
        run, model = open_system(str(folder / "run"), **wish), open_system(folder / "model.onnx", **wish)
        assert run.threshold == model.threshold
        ours, theirs = run.answers(images), model.answers(images)
        np.testing.assert_array_equal(ours.digits, theirs.digits)
        np.testing.assert_array_equal(ours.abstained, theirs.abstained)
        np.testing.assert_allclose(ours.confidences, theirs.confidences, atol=1e-4)
        assert ours.reason(len(images) - 1) == "blank"
    assert ours.abstained.any()


def test_what_they_are(folder: Path) -> None:
    """A system says what it is, by what its folder or file is called; the names of shipped models are models."""
    run, model, shipped = (open_system(name) for name in (folder / "run", folder / "model.onnx", "tiny"))
    assert [one.model is None for one in (run, model, shipped)] == [True, False, False]
    assert [one.name for one in (run, model, shipped)] == ["run", "model.onnx", "tiny"]
    assert [one.recipe for one in (run, model, shipped)] == ["instant", "instant", "tiny"]
    assert run.sha256 == Run.open(folder / "run").weights_sha256()
    assert run.run is not None
    assert model.run is None
    assert open_system(folder / "run", threads=1).threads == 1


def test_a_folder_called_tiny_is_meant_by_its_path(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's folder that has a shipped model's name is opened by ./NAME."""
    (tmp_path / "tiny").symlink_to(folder / "run")
    monkeypatch.chdir(tmp_path)
    assert open_system("tiny").model is not None
    assert open_system("./tiny").run is not None


def test_test_time_augmentation(folder: Path) -> None:
    """`tta` averages over shifts or not, whatever the recipe says; a classical model and an exported one refuse it."""
    images = load("uci:test", "evaluate").images[:20]
    run = open_system(folder / "run")
    own = Run.open(folder / "run").recipe.prediction.shifts
    assert (run.shifts(None), run.shifts(False), run.shifts(True)) == (own, 0, max(own, 1))
    once, averaged = run.probabilities(images, tta=False), run.probabilities(images, tta=True)
    assert not np.array_equal(once, averaged)
    np.testing.assert_array_equal(run.probabilities(images), averaged if own else once)
    with pytest.raises(RunError, match="'logistic' is no network"):
        open_system(folder / "logistic").shifts(True)
    with pytest.raises(UsageError, match="answers as it was exported"):
        open_system("tiny").answers(images, tta=False)


def test_a_run_that_held_nothing_out(folder: Path, tmp_path: Path) -> None:
    """It answers everything, and refuses to promise anything."""
    digits = load("uci:train", "train")
    np.savez(tmp_path / "few.npz", X=digits.images[:100], y=digits.labels[:100])  # type: ignore[index]
    train("logistic", str(tmp_path / "few.npz"), tmp_path / "all", overrides=["data.validation=0"], quiet=True)
    assert open_system(tmp_path / "all").threshold == 0
    with pytest.raises(RunError, match=r"all' kept no held-out answers, so that '0.1' cannot be proven"):
        open_system(tmp_path / "all", max_error=0.1)


def test_what_is_refused(folder: Path, tmp_path: Path) -> None:
    """What is neither run nor model, and wishes that do not go together, are refused with the value quoted."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no model")
    for name, error, words in [
        ("nothing", RunError, "There is no run at '.*nothing', and no model"),
        ("nothing.onnx", ModelError, "There is no model at '.*nothing.onnx'"),
        ("empty", RunError, "empty' is not a run"),
        ("notes.txt", ModelError, "notes.txt' is not an ONNX model"),
    ]:
        with pytest.raises(error, match=words):
            open_system(tmp_path / name)
    with pytest.raises(UsageError, match="'--max-error 0.1' and '--threshold 0.5'"):
        open_system(folder / "run", max_error=0.1, threshold=0.5)
    with pytest.raises(UsageError, match="threshold '1.5'"):
        open_system(folder / "run", threshold=1.5)
    with pytest.raises(ModelError, match="cannot promise an error of at most '1e-06'"):
        open_system(folder / "run", max_error=1e-6)
    with pytest.raises(UsageError, match="not on 'cuda'. Omit --device"):
        open_system("tiny", device="cuda")
    with pytest.raises(DataError, match="frames has the shape"):
        open_system("tiny").answers(np.zeros((1, 5, 5), np.uint8))


def test_a_model_needs_nothing_of_training() -> None:
    """A model is opened, answers and is scored without torch, scikit-learn or the schema of recipes."""
    program = (
        "import sys; import numpy as np\n"
        "from tenfold.data.digits import Digits\n"
        "from tenfold.runs.scoring import score_system\n"
        "from tenfold.runs.systems import open_system\n"
        "digits = Digits.of(np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.int64))\n"
        "assert score_system(open_system('tiny'), digits, 'blanks').evaluation.abstentions == {'blank': 2}\n"
        "loaded = [name for name in sys.modules if name in ('torch', 'sklearn', 'scipy', 'tenfold.training.recipe')]\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
