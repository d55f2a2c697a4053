"""An exported model on labelled data: its score, how often it answers, and how wrong it is then."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tenfold.cli import app
from tenfold.data import load
from tenfold.errors import DataError, ModelError
from tenfold.evaluate_model import evaluate_model
from tenfold.export import export
from tenfold.runtime.recogniser import Recogniser
from tenfold.train import train


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an exported logistic regression, fitted to UCI's digits."""
    folder = tmp_path_factory.mktemp("model")
    train("logistic", ["uci:train"], folder / "run", quiet=True)
    export(folder / "run", folder / "model.onnx", data="uci:test", quiet=True)
    return folder / "model.onnx"


def test_figures_agree_with_the_recogniser(model: Path) -> None:
    """Accuracy, coverage, errors among the answers and abstentions are what the recogniser's own answers give."""
    test = load("uci:test", "evaluate")
    assert test.labels is not None
    result = evaluate_model(model, "uci:test", threshold=0.5, quiet=True)
    answers = Recogniser.load(model, threshold=0.5).predict(test.images)
    right, given = answers.digits == test.labels, ~answers.abstained
    assert result["accuracy"] == right.mean()
    assert result["coverage"] == given.mean()
    assert 0 < result["answered"]["errors"] == (given & ~right).sum() < result["errors"]
    assert result["abstentions"] == {"unsure": (~given).sum()}
    assert sum(result["errors_per_digit"]) == result["errors"] == (~right).sum()
    assert result["answered"]["accuracy"] == right[given].mean()
    assert result["looks"] == result["models_looked"] == 1
    assert evaluate_model(model, "uci:test", quiet=True)["looks"] == 2


def test_nothing_answered(model: Path) -> None:
    """A threshold that no answer reaches leaves an accuracy of the answers undefined, and says why all are refused."""
    result = evaluate_model(model, "uci:test", threshold=1.0, quiet=True)
    assert result["answered"]["n"] == 0
    assert result["answered"]["accuracy"] is None
    assert sum(result["abstentions"].values()) == result["n"]


def test_no_labels(model: Path, tmp_path: Path) -> None:
    """Data without labels are refused, before anything is written to the ledger."""
    np.savez(tmp_path / "images.npz", X=np.zeros((3, 28, 28), np.uint8))
    with pytest.raises(DataError, match="no labels"):
        evaluate_model(model, str(tmp_path / "images.npz"), quiet=True)
    with pytest.raises(ModelError):
        evaluate_model(tmp_path / "images.npz", "uci:test", quiet=True)


def test_command_line(model: Path) -> None:
    """`evaluate FILE` and `evaluate --model FILE` are the same; what makes no sense together is a usage error."""

    def run(*words: object) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, ["evaluate", *map(str, words)])
        return done.exit_code, done.stdout, done.stderr

    code, stdout, shown = run(model, "--data", "uci:test", "--json")
    first = json.loads(stdout)
    second = json.loads(run("--model", model, "--data", "uci:test", "--json", "--quiet")[1])
    assert code == 0
    assert first["coverage"] == second["coverage"]
    assert "best guess" in shown
    assert "abstained" in shown
    assert run("--data", "uci:test")[0] == 2
    assert run(model, "--model", model, "--data", "uci:test")[0] == 2
    assert run(model.parent / "run", "--data", "uci:test", "--max-error", 0.1)[0] == 2
    assert run(model, "--data", "uci:test", "--tta")[0] == 2
    code, _, error = run(model, "--data", "uci:test", "--max-error", 1e-6)
    assert code == 1
    assert error.count("\n") == 1
