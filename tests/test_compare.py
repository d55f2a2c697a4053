"""Comparing systems: paired on the same images, on data or on what runs held out, or refused."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tenfold.cli import app
from tenfold.compare import compare
from tenfold.data import load
from tenfold.errors import RunError, UsageError
from tenfold.export import export
from tenfold.metrics.intervals import mcnemar
from tenfold.runs import ledger
from tenfold.runs.run import Run
from tenfold.train import train

TINY = """
name = "{name}"
[model]
kind = "layers"
layers = ["flatten", "dense {width}"]
[data]
validation = 0.3
[optimiser]
lr = 0.003
[training]
epochs = {epochs}
batch_size = 32
precision = "fp32"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for what the module trains once."""
    return tmp_path_factory.mktemp("compared")


@pytest.fixture
def runs(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Return two runs on the same 200 digits and a third with another seed; the working directory is a new one."""
    monkeypatch.chdir(tmp_path)
    paths = [folder / "good", folder / "poor", folder / "other-seed"]
    if not paths[0].exists():
        for part, purpose, n in (("train", "train", 200), ("test", "evaluate", 100)):
            digits = load(f"uci:{part}", purpose)  # type: ignore[arg-type]
            np.savez(folder / f"{part}.npz", X=digits.images[:n], y=digits.labels[:n])  # type: ignore[index]
        for path, width, epochs, seed in zip(paths, (32, 4, 4), (8, 1, 1), (0, 0, 1), strict=True):
            (folder / "tiny.toml").write_text(TINY.format(name=path.name, width=width, epochs=epochs))
            train(folder / "tiny.toml", str(folder / "train.npz"), path, seed=seed, quiet=True)
    return paths


def test_on_data(runs: list[Path], folder: Path, tmp_path: Path) -> None:
    """Every run is evaluated, the pair has McNemar's p-value of the kept answers, and page and tables are written."""
    result = compare(
        [str(run) for run in runs[:2]], str(folder / "test.npz"), markdown=str(tmp_path / "t.md"), quiet=True
    )
    assert set(asdict(result)) == {
        *("runs", "data", "n", "left_out", "pairs", "confusions", "wrong_everywhere", "page", "markdown", "written_by")
    }
    files = [run / ledger.read_lines(run / "evaluations.jsonl")[-1]["file"] for run in runs[:2]]
    kept = [np.load(file) for file in files]
    good, poor = (answers["probabilities"].argmax(1) == answers["labels"] for answers in kept)
    (pair,) = result.pairs
    assert (pair.only_first, pair.only_second) == ((good & ~poor).sum(), (poor & ~good).sum())
    assert pair.p == pair.p_holm == mcnemar(pair.only_first, pair.only_second)
    assert [row.accuracy for row in result.runs] == [good.mean(), poor.mean()]
    assert result.wrong_everywhere == (~good & ~poor).sum()
    assert (result.n, result.left_out, result.page) == (100, 0, "compare.html")
    assert (tmp_path / "compare.html").exists()
    assert "| good | poor |" in (tmp_path / "t.md").read_text()


def test_on_held_out_images(runs: list[Path]) -> None:
    """Without data the runs' answers to the images that both held out are compared, as validation.npz has them."""
    result = compare(runs[:2], quiet=True)
    assert result.n == 60
    for row, path in zip(result.runs, runs, strict=False):
        assert row.accuracy == Run.open(path).manifest["validation_accuracy"]


def test_held_out_answers_need_nothing_of_training(runs: list[Path]) -> None:
    """Kept answers are compared where PyTorch, safetensors and scikit-learn are not installed."""
    program = (
        "import sys\n"
        "for name in ('torch', 'safetensors', 'sklearn', 'scipy'): sys.modules[name] = None\n"
        "from tenfold.compare import compare\n"
        "print(compare(sys.argv[1:], quiet=True).n)\n"
    )
    words = [sys.executable, "-c", program, *map(str, runs[:2])]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "60\n"


def test_trained_on_images_are_left_out(runs: list[Path], folder: Path) -> None:
    """Images that any of the runs was trained on do not count: of the training data the held-out ones remain."""
    result = compare(runs[:2], str(folder / "train.npz"), quiet=True)
    assert result.left_out + result.n == 200
    assert 0 < result.n <= 60
    held_out = set(Run.open(runs[0]).held_out()) & set(Run.open(runs[2]).held_out())
    assert compare([runs[0], runs[2]], str(folder / "train.npz"), quiet=True).n <= len(held_out)


def test_other_held_out_images_are_refused(runs: list[Path]) -> None:
    """Runs that held out different images cannot be paired on them: the error names one and says to give data."""
    with pytest.raises(RunError, match="other-seed' held out other images than '.*good'. Give --data"):
        compare([runs[0], runs[2]], quiet=True)


def test_a_run_without_held_out_images_is_refused(runs: list[Path], tmp_path: Path, folder: Path) -> None:
    """A run that held nothing out has no answers to pair."""
    overrides = ["data.validation=0", "training.epochs=0.1"]
    train(folder / "tiny.toml", str(folder / "train.npz"), tmp_path / "none", overrides=overrides, quiet=True)
    with pytest.raises(RunError, match="none' held no images out"):
        compare([runs[0], tmp_path / "none"], quiet=True)


def test_fewer_than_two_runs_are_refused(runs: list[Path]) -> None:
    """One run, or the same one twice, cannot be compared."""
    with pytest.raises(UsageError, match="Give two or more"):
        compare(runs[:1], quiet=True)
    with pytest.raises(RunError, match="Give at least two runs, each once"):
        compare([runs[0], runs[0]], quiet=True)


def test_models_beside_runs(runs: list[Path], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model file and a shipped one are compared with a run on data, and are said to know more than is known of them.

    Without data they are refused: they do not say what was held out.
    """
    model = folder / "good.onnx"
    export(str(runs[0]), str(model), data=str(folder / "test.npz"), quiet=True)
    result = compare([str(runs[0]), str(model), "tiny"], str(folder / "test.npz"))
    assert [row.name for row in result.runs] == ["good", "good.onnx", "tiny"]
    assert [row.recipe for row in result.runs] == ["good", "good", "tiny"]
    assert [row.parameters is None for row in result.runs] == [False, True, True]
    assert result.runs[0].errors == result.runs[1].errors
    assert (result.pairs[0].only_first, result.pairs[0].only_second) == (0, 0)
    assert "so it may know some of these: good.onnx, tiny." in capsys.readouterr().err
    with pytest.raises(RunError, match="good.onnx' is a model.*Give --data"):
        compare([runs[0], model], quiet=True)


def test_names_that_are_the_same(runs: list[Path], tmp_path: Path) -> None:
    """Runs whose folders have the same name are called by their paths."""
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "good").symlink_to(runs[1])
    result = compare([runs[0], tmp_path / "copy" / "good"], quiet=True)
    assert [row.name for row in result.runs] == [str(runs[0]), str(tmp_path / "copy" / "good")]


def test_command(runs: list[Path]) -> None:
    """The command prints the tables on stderr and one JSON object, last on stdout."""
    done = CliRunner().invoke(app, ["compare", str(runs[0]), str(runs[1]), "--json"])
    assert done.exit_code == 0, done.output
    assert [row["name"] for row in json.loads(done.stdout)["runs"]] == ["good", "poor"]
    assert "good" in done.stderr
    assert "Page: compare.html" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["one"], [], ["a", "b", "--seeds", "2"], ["a", "b", "--reproduce"]],
)
def test_wrong_usage(arguments: list[str]) -> None:
    """Too few systems, and options of `reproduce`, are usage errors."""
    assert CliRunner().invoke(app, ["compare", *arguments]).exit_code == 2
