"""Evaluating: runs and models by one command, with one summary and one result."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tenfold.cli import app
from tenfold.data import load
from tenfold.errors import DataError, ModelError, RunError, TenfoldError, UsageError
from tenfold.evaluate import evaluate
from tenfold.export import export
from tenfold.runs import ledger
from tenfold.runs.run import Run
from tenfold.runtime.recogniser import Recogniser
from tenfold.submit import submit
from tenfold.train import train

# What `evaluate --json` gave of a run and of a model before both had one result.
RUN_KEYS = {
    *("run", "data", "overlap", "accuracy", "errors", "n", "ci95", "nll", "ece", "brier", "per_class", "confusion"),
    *("tta", "seconds", "images_per_second", "time", "looks", "models_looked", "written_by", "file", "report"),
}
MODEL_KEYS = {"model", "threshold", "coverage", "coverage_ci95", "answered", "abstentions", "errors_per_digit"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A real run: `instant` on the small digits' training part, for so many epochs that it learns them."""
    folder = tmp_path_factory.mktemp("runs") / "uci"
    train("instant", "uci", folder, overrides=["training.epochs=4", "training.min_steps=60"], quiet=True)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An exported logistic regression, fitted to UCI's digits."""
    folder = tmp_path_factory.mktemp("model")
    train("logistic", ["uci:train"], folder / "run", quiet=True)
    export(str(folder / "run"), str(folder / "model.onnx"), data="uci:test", quiet=True)
    return str(folder / "model.onnx")


def test_a_run(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A trained run is scored on unseen digits: JSON with every figure, a report, and the summary on stderr alone."""
    result = evaluate(run, "uci:test")
    assert set(asdict(result)) == RUN_KEYS | MODEL_KEYS
    assert json.loads(json.dumps(asdict(result), allow_nan=False))["run"] == run
    assert (result.n, result.model) == (360, None)
    assert result.overlap is not None
    assert result.overlap.near_checked is True
    assert result.accuracy > 0.5
    assert result.ci95[0] < result.accuracy < result.ci95[1]
    assert 0 < result.threshold < 1
    assert result.report is not None
    assert Path(result.report).is_file()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "accuracy" in printed.err
    assert "by 1 model" in printed.err
    evaluate(run, "uci:test", quiet=True)
    assert capsys.readouterr().err == ""


def test_a_run_on_its_training_data(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every image that was not held out is named as overlap, and the score without it stands before the score."""
    result = evaluate(run, "uci:train")
    held_out = Run.open(run).manifest["data"]["n_validation"]
    assert result.overlap is not None
    assert result.n - result.overlap.exact <= held_out
    assert result.overlap.n_without <= held_out
    shown = capsys.readouterr().err
    places = [shown.index(words) for words in ("were trained on", "without overlap", "overlap alone", "accuracy")]
    assert places == sorted(places)


def test_test_time_augmentation(run: str) -> None:
    """`tta` averages over shifts or does not, whatever the recipe says; None does as the recipe says."""
    probabilities = {}
    for tta in (None, False, True):
        result = evaluate(run, "uci:test", tta=tta, quiet=True)
        assert result.file is not None
        with np.load(Path(run) / result.file) as arrays:
            probabilities[tta] = arrays["probabilities"]
        assert tta is None or result.tta is tta
    own = bool(Run.open(run).recipe.prediction.shifts)
    assert not np.array_equal(probabilities[False], probabilities[True])
    np.testing.assert_array_equal(probabilities[None], probabilities[own])


def test_a_model_agrees_with_the_recogniser(model: str) -> None:
    """Accuracy, coverage, errors among the answers and abstentions are what the recogniser's own answers give."""
    test = load("uci:test", "evaluate")
    assert test.labels is not None
    result = evaluate(model, "uci:test", threshold=0.5, quiet=True)
    answers = Recogniser.load(model, threshold=0.5).predict(test.images)
    right, given = answers.digits == test.labels, ~answers.abstained
    assert result.accuracy == right.mean()
    assert result.coverage == given.mean()
    assert 0 < result.answered.errors == (given & ~right).sum() < result.errors
    assert result.abstentions == {"unsure": (~given).sum()}
    assert sum(result.errors_per_digit) == result.errors == (~right).sum()
    assert result.answered.accuracy == right[given].mean()
    assert (result.run, result.overlap, result.tta, result.file, result.report) == (None,) * 5
    assert result.model is not None
    assert (result.model.name, result.model.precision) == ("logistic", "fp32")
    assert result.looks == result.models_looked == 1
    assert evaluate(model=model, data="uci:test", quiet=True).looks == 2


def test_nothing_answered(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A threshold that no answer reaches leaves an accuracy of the answers undefined, and says why all are refused."""
    result = evaluate(model, "uci:test", threshold=1.0)
    assert (result.answered.n, result.answered.accuracy) == (0, None)
    assert sum(result.abstentions.values()) == result.n
    assert "right then   –" in capsys.readouterr().err


def test_what_is_refused(run: str, model: str, tmp_path: Path) -> None:
    """What is no system, and data without labels, are refused before anything is written down."""
    np.savez(tmp_path / "images.npz", X=np.zeros((3, 28, 28), np.uint8))
    with pytest.raises(RunError, match=str(tmp_path)):
        evaluate(tmp_path, "uci:test")
    with pytest.raises(ModelError):
        evaluate(tmp_path / "images.npz", "uci:test", quiet=True)
    for system in (run, model):
        with pytest.raises(DataError, match="no labels"):
            evaluate(system, str(tmp_path / "images.npz"), quiet=True)
    with pytest.raises(UsageError, match="'--data'"):
        evaluate(model)
    assert not (tmp_path / "cache" / "ledger.jsonl").exists()


def test_command_line(run: str, model: str) -> None:
    """`evaluate FILE` and `evaluate --model FILE` are the same; what makes no sense together is a usage error."""

    def command(*words: object) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, ["evaluate", *map(str, words)])
        return done.exit_code, done.stdout, done.stderr

    code, stdout, shown = command(model, "--data", "uci:test", "--json")
    first = json.loads(stdout)
    second = json.loads(command("--model", model, "--data", "uci:test", "--json", "--quiet")[1])
    assert code == 0
    assert first["coverage"] == second["coverage"]
    assert "answered" in shown
    assert "abstained" in shown
    assert json.loads(command(run, "--data", "uci:test", "--max-error", 0.3, "--json")[1])["threshold"] >= 0
    assert command("--data", "uci:test")[0] == 2
    assert command(model)[0] == 2
    assert command(model, "--model", model, "--data", "uci:test")[0] == 2
    assert command(model, "--data", "uci:test", "--tta")[0] == 2
    code, _, error = command(model, "--data", "uci:test", "--max-error", 1e-6)
    assert code == 1
    assert error.count("\n") == 1


def test_a_score_is_not_lost_to_its_page(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the page cannot be drawn, the look is counted, the score is given, and a warning says why."""
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    (copied / "metrics.jsonl").write_text('{"epoch": "first"}\n')
    result = evaluate(copied, "uci:test", quiet=True)
    assert (result.report, result.looks) == (None, len(ledger.read_lines(ledger.path())))
    warning = capsys.readouterr().err
    assert warning.startswith("Warning: the result stands, but not its page. Line '1' of")
    assert warning.count("\n") == 1


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (float("nan"), "not all finite"),
        (float("inf"), "not all finite"),
        (1e38, "too large"),
        (None, "do not fit its recipe"),
    ],
)
def test_weights_that_cannot_answer(weight: float | None, message: str, run: str, tmp_path: Path) -> None:
    """Weights that are no numbers, lead to none, or are another network's are refused: no score, no answers."""
    copied = Run(Path(shutil.copytree(run, tmp_path / "run")))
    tensors = copied.weights()
    for tensor in tensors.values():
        if weight is not None and tensor.is_floating_point():
            tensor.fill_(weight)
    copied.write_weights({f"other.{name}": each for name, each in tensors.items()} if weight is None else tensors)
    for verb, arguments in ((evaluate, {}), (submit, {"out": tmp_path / "s.csv", "force": True})):
        with pytest.raises(TenfoldError, match=message) as caught:
            verb(copied.path, "uci:test", quiet=True, **arguments)
        assert "\n" not in str(caught.value)
    assert not ledger.path().exists()
    assert not (tmp_path / "s.csv").exists()
