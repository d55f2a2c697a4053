"""Who watches a training: callbacks are told and may end it, failures lose nothing, trackers get the run."""

import json
import os
import struct
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tenfold import console as consoles
from tenfold import progress
from tenfold.cli import app
from tenfold.data.digits import Digits
from tenfold.errors import MissingExtraError, TenfoldError, TrainingError, UsageError
from tenfold.runs import tracking
from tenfold.runs.estimator import DigitClassifier
from tenfold.runs.run import Run
from tenfold.runs.tracking import Callback
from tenfold.train import train
from tenfold.training.loop import Trainer

QUICK = (
    *("model.widths=[[4]]", "training.batch_size=32", "training.epochs=4", "training.min_steps=0"),
    *("training.shards=1", "training.precision=fp32", "data.validation=0.2"),
)


class Watcher(Callback):
    """Notes what it is told; asks to end, or fails, after so many steps."""

    def __init__(self, stop: int = -1, fail: int = -1) -> None:
        self.stop, self.fail = stop, fail
        self.steps: list[int] = []
        self.lines: list[dict[str, Any]] = []
        self.ends = 0

    def step(self, trainer: Trainer) -> bool:
        self.steps.append(trainer.position.step)
        if trainer.position.step == self.fail:
            raise KeyError("of\nmine")
        return trainer.position.step == self.stop

    def evaluation(self, trainer: Trainer, line: dict[str, Any]) -> None:
        self.lines.append(line)

    def end(self, trainer: Trainer) -> None:
        self.ends += 1


@pytest.fixture
def spec(digits: Digits, tmp_path: Path) -> str:
    """Return the path of 200 generated digits."""
    np.savez(tmp_path / "digits.npz", X=digits.images, y=digits.labels)
    return str(tmp_path / "digits.npz")


def weights(run: Path) -> bytes:
    """Return the bytes of a run's weights."""
    return (run / "weights.safetensors").read_bytes()


def test_callbacks_are_told(spec: str, digits: Digits, tmp_path: Path) -> None:
    """Every step, every line of the curve and the end, by the verb and by the estimator; nothing changes by it."""
    watcher, other = Watcher(), Watcher()
    train("instant", spec, tmp_path / "run", overrides=QUICK, callbacks=[watcher, Callback()], quiet=True)
    assert watcher.steps == list(range(1, 21))
    assert watcher.lines == Run.open(tmp_path / "run").metrics()
    train("instant", spec, tmp_path / "plain", overrides=QUICK, quiet=True)
    assert weights(tmp_path / "run") == weights(tmp_path / "plain")
    model = DigitClassifier("instant", QUICK, callbacks=[other]).fit(digits.images, digits.labels)
    assert other.steps == watcher.steps
    assert other.lines == model.history_
    assert watcher.ends == other.ends == 1


def test_a_callback_ends_training(spec: str, tmp_path: Path) -> None:
    """Where one returns True the run is interrupted, and resumes to the unbroken run's weights, lines and all."""
    result = train("instant", spec, tmp_path / "run", overrides=QUICK, callbacks=[Watcher(stop=7)], quiet=True)
    assert (result.status, result.epochs) == ("interrupted", 7 / 5)
    later = Watcher()
    assert train(resume=tmp_path / "run", callbacks=[later], quiet=True).status == "finished"
    assert later.steps == list(range(8, 21))
    assert later.lines == Run.open(tmp_path / "run").metrics()
    train("instant", spec, tmp_path / "plain", overrides=QUICK, quiet=True)
    assert weights(tmp_path / "run") == weights(tmp_path / "plain")


def test_a_failing_callback_loses_nothing(spec: str, digits: Digits, tmp_path: Path) -> None:
    """It ends training with one line that names it; the run answers and resumes, the estimator answers."""
    message = r"^The callback 'Watcher' failed at step 7: 'KeyError: .of\\nmine.'\. Mend or omit it.*{}"
    watcher = Watcher(fail=7)
    with pytest.raises(TrainingError, match=message.format("run', to be resumed")):
        train("instant", spec, tmp_path / "run", overrides=QUICK, callbacks=[watcher], quiet=True)
    assert (watcher.steps[-1], watcher.ends) == (7, 1)
    run = Run.open(tmp_path / "run")
    assert (run.manifest["status"], run.manifest["weights_step"]) == ("interrupted", 7)
    later = Watcher()
    assert train(resume=run.path, callbacks=[later], quiet=True).status == "finished"
    assert later.steps[0] == 8
    train("instant", spec, tmp_path / "plain", overrides=QUICK, quiet=True)
    assert weights(run.path) == weights(tmp_path / "plain")
    model = DigitClassifier("instant", QUICK, callbacks=[Watcher(fail=7)])
    with pytest.raises(TrainingError, match=message.format("this classifier")):
        model.fit(digits.images, digits.labels)
    assert model.predict(digits.images).shape == (200,)


def test_what_cannot_watch_is_refused(spec: str, digits: Digits, tmp_path: Path) -> None:
    """What is no callback, and a model without steps, are refused before a folder is made."""
    for recipe, callbacks, message in (
        ("instant", ["x"], "'x' is no callback"),
        ("knn", [Watcher()], "'knn' is fitted"),
    ):
        with pytest.raises(TenfoldError, match=message):
            train(recipe, spec, tmp_path / "run", callbacks=callbacks, quiet=True)
        with pytest.raises(TenfoldError, match=message):
            DigitClassifier(recipe, callbacks=callbacks).fit(digits.images, digits.labels)
    assert not (tmp_path / "run").exists()
    assert "--callbacks" not in CliRunner().invoke(app, ["train", "--help"]).stdout


def test_the_bar_is_taken_away(digits: Digits) -> None:
    """However training ends, nothing is under way afterwards."""
    model = DigitClassifier("instant", QUICK, callbacks=[Watcher(fail=7)])
    diverging = DigitClassifier("instant", (*QUICK, "optimiser.kind=sgd", "optimiser.lr=1e9"))
    for each in (model, diverging):
        with pytest.raises(TrainingError):
            each.fit(digits.images, digits.labels)
        assert not progress.under_way


def test_verbose_in_a_terminal(digits: Digits, capsys: pytest.CaptureFixture[str]) -> None:
    """`verbose` prints a line a validation on stderr; without it nothing is printed."""
    DigitClassifier("instant", QUICK).fit(digits.images, digits.labels)
    assert capsys.readouterr() == ("", "")
    DigitClassifier("instant", QUICK, verbose=True).fit(digits.images, digits.labels)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("  validation ") >= 4


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make this a notebook, as far as Rich and we can tell, and return what is displayed in it."""
    shown: list[str] = []

    class Handle:
        def update(self, content: str) -> None:
            shown.append(content)

    def display(content: str, display_id: bool = False) -> Handle | None:
        shown.append(content)
        return Handle() if display_id else None

    module = types.ModuleType("IPython.display")
    module.HTML, module.display = str, display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    return shown


def test_verbose_in_a_notebook(digits: Digits, notebook: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar while it trains, then the two curves and the confusion; of a classical model the confusion alone."""
    monkeypatch.setattr(consoles, "CELL_SECONDS", 0.001)
    DigitClassifier("instant", QUICK, verbose=True).fit(digits.images, digits.labels)
    bars = [shown for shown in map(str, notebook) if shown.startswith("<progress")]
    assert any("instant, epoch " in bar for bar in bars)
    assert notebook[-2] == ""
    assert notebook[-1].count("<polyline") == 2
    assert notebook[-1].count("<td") == 100
    DigitClassifier("knn", ("data.validation=0.2",), verbose=True).fit(digits.images, digits.labels)
    assert (notebook[-1].count("<polyline"), notebook[-1].count("<td")) == (0, 100)
    cells = [cell.partition("<")[0] for cell in notebook[-1].split('">')[1:]]
    assert sum(int(cell) for cell in cells if cell.isdigit()) == 40


def tracked(folder: Path) -> list[Any]:
    """Return the runs in a folder of MLflow's, the newest first."""
    mlflow = pytest.importorskip("mlflow", reason="needs mlflow-skinny, of the extra 'track'")
    client = mlflow.MlflowClient(str(folder))
    return list(client.search_runs([client.get_experiment_by_name("tenfold").experiment_id]))


@pytest.mark.parametrize("form", ["{}", "file:{}"])
def test_mlflow_gets_the_run(form: str, spec: str, tmp_path: Path) -> None:
    """The recipe's values, the curve, the weights' SHA-256 and the report are in MLflow's folder."""
    pytest.importorskip("mlflow", reason="needs mlflow-skinny, of the extra 'track'")
    words = ["train", "instant", "--data", spec, "--out", str(tmp_path / "run"), "--seed", "3", "--json"]
    words += ["--track", form.format(tmp_path / "mlflow"), *(word for key in QUICK for word in ("--set", key))]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["status"] == "finished"
    (found,) = tracked(tmp_path / "mlflow")
    run = Run.open(tmp_path / "run")
    assert (found.info.run_name, found.info.status) == ("run", "FINISHED")
    expected = {"recipe": "instant", "seed": "3", "data": spec, "optimiser.lr": "0.15", "model.widths": "[[4]]"}
    assert expected.items() <= found.data.params.items()
    assert found.data.tags["weights_sha256"] == run.weights_sha256()
    last = run.metrics()[-1]
    assert found.data.metrics["validation_accuracy"] == last["validation_accuracy"]
    from mlflow import MlflowClient

    client = MlflowClient(str(tmp_path / "mlflow"))
    curve = client.get_metric_history(found.info.run_id, "loss")
    assert [(each.step, each.value) for each in curve] == [(line["step"], line["loss"]) for line in run.metrics()]
    assert [each.path for each in client.list_artifacts(found.info.run_id)] == ["report.html"]


def test_mlflow_gets_what_is_cut_short_and_classical(spec: str, tmp_path: Path) -> None:
    """A run that is cut is KILLED, resumed it comes with its whole curve, and a classical one has its one line."""
    pytest.importorskip("mlflow", reason="needs mlflow-skinny, of the extra 'track'")
    track = str(tmp_path / "mlflow")
    train("instant", spec, tmp_path / "run", overrides=QUICK, callbacks=[Watcher(stop=7)], track=track, quiet=True)
    train(resume=tmp_path / "run", track=track, quiet=True)
    train("knn", spec, tmp_path / "knn", track=track, quiet=True)
    with pytest.raises(TrainingError, match="'Watcher' failed"):
        train("instant", spec, tmp_path / "b", overrides=QUICK, callbacks=[Watcher(fail=7)], track=track, quiet=True)
    failed, knn, resumed, cut = tracked(tmp_path / "mlflow")
    assert [each.info.status for each in (failed, knn, resumed, cut)] == ["FAILED", "FINISHED", "FINISHED", "KILLED"]
    assert resumed.data.metrics["epoch"] == 4
    assert knn.data.metrics["images"] == 190
    assert knn.data.tags["weights_sha256"] == Run.open(tmp_path / "knn").weights_sha256()


def test_what_cannot_be_reached_is_said_before_training(spec: str, tmp_path: Path) -> None:
    """A server that is not there, an odd scheme, a file in the way and no address are one line, and nothing is made."""
    pytest.importorskip("mlflow", reason="needs mlflow-skinny, of the extra 'track'")
    pytest.importorskip("tensorboardX", reason="needs tensorboardX, of the extra 'track'")
    (tmp_path / "file").write_text("")
    for uri in ("http://127.0.0.1:9", "odd://host", f"{tmp_path}/file/x", f"tensorboard:{tmp_path}/file/x"):
        with pytest.raises(TrainingError, match="cannot be tracked at: '.*'. Give a folder") as refused:
            train("instant", spec, tmp_path / "run", overrides=QUICK, track=uri, quiet=True)
        assert str(refused.value).startswith(f"'{uri}'") and "\n" not in str(refused.value)
    for uri in ("", "tensorboard:"):
        with pytest.raises(UsageError, match=f"'{uri}' names no place to track at"):
            train("instant", spec, tmp_path / "run", overrides=QUICK, track=uri, quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_fails_ends_no_training(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be sent on the way is one line at the end, once the run and its report are whole."""
    pytest.importorskip("mlflow", reason="needs mlflow-skinny, of the extra 'track'")

    def lost(*arguments: Any) -> None:
        raise ConnectionError("the server\nis gone")

    monkeypatch.setattr(tracking.MLflow, "point", lost)
    with pytest.raises(TrainingError, match="Not all could be sent to .*ConnectionError: the server is gone.*is whole"):
        train("instant", spec, tmp_path / "run", overrides=QUICK, track=str(tmp_path / "mlflow"))
    assert "Report: " in capsys.readouterr().err
    assert Run.open(tmp_path / "run").finished
    monkeypatch.undo()
    train(resume=tmp_path / "run", track=str(tmp_path / "mlflow"), quiet=True)
    assert tracked(tmp_path / "mlflow")[0].data.metrics["epoch"] == 4


@pytest.mark.parametrize(("library", "uri"), [("mlflow", "folder"), ("tensorboardX", "tensorboard:folder")])
def test_a_missing_extra_is_one_line(library: str, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library it says what to install."""
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tenfold\[track\]'"):
        tracking.open_tracker(uri)


def test_tensorboard_gets_the_run(spec: str, tmp_path: Path) -> None:
    """The event file in the run's own folder holds the curve, the recipe and the weights' SHA-256."""
    pytest.importorskip("tensorboardX", reason="needs tensorboardX, of the extra 'track'")
    from tensorboardX.proto.event_pb2 import Event

    train("instant", spec, tmp_path / "run", overrides=QUICK, track=f"tensorboard:{tmp_path}/board", quiet=True)
    (file,) = (tmp_path / "board" / "run").iterdir()
    content, values = file.read_bytes(), []
    while content:  # a record: its length, the length's checksum, the event, the event's checksum
        (length,) = struct.unpack("<Q", content[:8])
        event = Event.FromString(content[12 : 12 + length])
        values += [(each.tag, event.step, each.simple_value, each.tensor) for each in event.summary.value]
        content = content[16 + length :]
    run = Run.open(tmp_path / "run")
    losses = [(step, value) for tag, step, value, _ in values if tag == "loss"]
    assert losses == [(line["step"], pytest.approx(line["loss"])) for line in run.metrics()]
    texts = {tag: tensor.string_val[0].decode() for tag, _, _, tensor in values if tensor.string_val}
    assert texts["weights_sha256/text_summary"] == run.weights_sha256()
    assert "optimiser.lr = 0.15" in texts["recipe/text_summary"]


WATCHED = """
if sys.argv[1] == "tenfold":
    from tenfold.runs.tracking import open_tracker
    open_tracker("folder")
import mlflow.telemetry.client
print(mlflow.telemetry.client.get_telemetry_client() is None, opened)
"""


def test_mlflow_tells_nobody(watching: str, tmp_path: Path) -> None:
    """MLflow's telemetry, which is on by itself, is off in a process that tracks with it, and nothing is looked up."""
    pytest.importorskip("mlflow", reason="needs mlflow-skinny, of the extra 'track'")
    quiet = ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST")
    environment = {key: value for key, value in os.environ.items() if key not in quiet} | {"HOME": str(tmp_path)}
    command = [sys.executable, "-B", "-c", watching + WATCHED, "tenfold"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "True []\n"), done.stderr
