"""Exporting: the file answers as its run does, says what it is, and is not written where it would not."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner, Result

from tenfold.cli import app
from tenfold.data import load
from tenfold.data.digits import Digits
from tenfold.errors import DataError, ExportError, RunError
from tenfold.export import export
from tenfold.graphs import proven
from tenfold.runs.begin import same_data
from tenfold.runs.estimator import from_run
from tenfold.runs.run import Run
from tenfold.runtime.recogniser import Recogniser
from tenfold.train import train

SHORT = ["training.epochs=4", "training.min_steps=0"]
SYSTEMS: dict[str, tuple[str, list[str]]] = {
    "convnet": ("instant", [*SHORT, "prediction.shifts=1"]),
    "barely trained": ("instant", ["training.epochs=1", "training.min_steps=0", "training.precision=fp32"]),
    "layers": ("two-conv", SHORT),
    "normed layers": (
        "deep-20",
        ["training.epochs=1", 'model.layers=["conv 8 norm", "pool", "norm", "dense 16 norm"]'],
    ),
    "logistic": ("logistic", ["features.deskew=true", "features.hog=true", "features.standardise=true"]),
    "svm": ("svm", ["features.deskew=true", "features.hog=true", "features.pca=40"]),
    "knn": ("knn", ["features.deskew=true", "features.pca=40"]),
    "uniform knn": ("knn", ["model.weights=uniform", "features.pca=0"]),
    "forest": ("forest", ["model.n_estimators=40"]),
    "xgboost": ("xgboost", ["model.n_estimators=12", "features.standardise=true"]),
    "xgboost on gradients": ("xgboost", ["model.n_estimators=5", "features.deskew=true", "features.hog=true"]),
}


@pytest.fixture(scope="module")
def test() -> Digits:
    """Return UCI's test part."""
    return load("uci:test", "evaluate")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that gives the run of a system's name, trained on UCI's digits once."""
    folder = tmp_path_factory.mktemp("runs")

    def run_of(name: str) -> Path:
        path = folder / name
        if not path.exists():
            recipe, overrides = SYSTEMS[name]
            train(recipe, "uci", path, overrides=overrides, quiet=True)
        return path

    return run_of


def command(*words: object) -> Result:
    """Return what the command line did with these words."""
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_file_answers_as_the_run(name: str, runs: Any, test: Digits, tmp_path: Path) -> None:
    """Opened by the runtime, in batches of another size than any that was proven, it gives the run's probabilities."""
    run, out = runs(name), tmp_path / "model.onnx"
    result = export(str(run), str(out), quiet=True)
    expected = from_run(Run.open(run), "cpu").predict_proba(test.images)
    recogniser = Recogniser.load(out)
    given = np.concatenate([recogniser.probabilities(test.images[at : at + 90]) for at in range(0, 360, 90)])
    np.testing.assert_allclose(given, expected, atol=1e-4)
    others = np.flatnonzero(given.argmax(1) != expected.argmax(1))
    assert (np.ptp(np.sort(expected[others], 1)[:, -2:], 1) <= 1e-6).all()
    assert (expected.argmax(1) == test.labels).mean() > 0.5  # so that the comparison is not one of constants
    assert (result.images, result.data, result.precision) == (360, "uci:test", "fp32")
    assert result.largest_difference <= 1e-4
    assert set(result.seconds) == {"1", "2", "7", "64"}
    assert result.sha256 == hashlib.sha256(out.read_bytes()).hexdigest() == recogniser.sha256
    assert (result.bytes, result.threshold) == (out.stat().st_size, recogniser.threshold)
    assert (result.run, result.out) == (str(run), str(out))
    assert result.parameters == Run.open(run).manifest["parameters"]


def test_what_is_no_digit(test: Digits, tmp_path: Path) -> None:
    """A network that was shown what is no digit gives that too, and its card counts confidences with it."""
    overrides = ["model.classes=11", "synthetic.negatives=40", "training.epochs=1", "training.min_steps=0"]
    train("instant", "uci", tmp_path / "run", overrides=overrides, quiet=True)
    export(tmp_path / "run", tmp_path / "model.onnx", quiet=True)
    recogniser, run = Recogniser.load(tmp_path / "model.onnx"), Run.open(tmp_path / "run")
    classifier = from_run(run, "cpu")
    given = recogniser.predict(test.images)
    np.testing.assert_allclose(given.digit_probability, classifier.answer(test.images)[1], atol=1e-4)
    assert given.digit_probability.min() < 0.999
    probabilities, digit_probability = classifier.answer(load("uci:train", "train").take(run.held_out()).images)
    answered = (probabilities.max(1) * digit_probability >= recogniser.card.threshold).sum()
    assert answered == np.ceil(0.99 * recogniser.card.n)


def test_what_is_no_digit_of_an_older_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chance of a digit comes from the run's own notes; a run without them, as older ones are, is asked again."""
    overrides = ["model.classes=11", "synthetic.negatives=40", "training.epochs=1", "training.min_steps=0"]
    train("instant", "uci", tmp_path / "run", overrides=overrides, quiet=True)
    run, asked = Run.open(tmp_path / "run"), []
    monkeypatch.setattr(proven, "same_data", lambda *words: asked.append(words) or same_data(*words))
    export(run.path, tmp_path / "new.onnx", quiet=True)
    assert not asked
    kept = run.validation()
    assert kept is not None
    run.write_validation(**{name: array for name, array in kept.items() if name != "digit_probability"})
    export(run.path, tmp_path / "old.onnx", quiet=True)
    assert len(asked) == 1
    new, old = (Recogniser.load(tmp_path / f"{name}.onnx").card for name in ("new", "old"))
    assert old.threshold == pytest.approx(new.threshold, abs=1e-5)
    np.testing.assert_allclose(old.held_out, new.held_out, atol=1e-5)


@pytest.mark.parametrize("name", ["convnet", "forest", "svm"])
def test_the_graph_is_plain(name: str, runs: Any, tmp_path: Path) -> None:
    """It keeps ONNX's own rules; no function, control flow, path or file beside it; batch norm stands in no network."""
    out = tmp_path / "model.onnx"
    export(runs(name), out, quiet=True)
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    assert list(model.functions) == []
    assert {opset.domain for opset in model.opset_import} <= {"", "ai.onnx.ml"}
    assert not {"If", "Loop", "Scan", "SequenceMap", "BatchNormalization"} & {node.op_type for node in model.graph.node}
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert str(Path(__file__).parent.parent).encode() not in out.read_bytes()


def test_the_card(runs: Any, tmp_path: Path) -> None:
    """The metadata say what made the model, and how it fared on the held-out images, as the run's own files do."""
    out = tmp_path / "model.onnx"
    export(runs("barely trained"), out, quiet=True)
    (entry,) = onnx.load(out).metadata_props
    card, run = json.loads(entry.value), Run.open(runs("barely trained"))
    validation = run.validation()
    assert validation is not None
    confidence = validation["probabilities"].max(1)
    wrong = validation["probabilities"].argmax(1) != validation["labels"]
    n, errors = len(wrong), int(wrong.sum())
    assert errors > 0  # else the pairs below would be none
    assert entry.key == "tenfold"
    assert {key: card[key] for key in ("format", "name", "recipe", "precision", "seed")} == {
        "format": 1,
        "name": "instant",
        "recipe": "instant",
        "precision": "fp32",
        "seed": 0,
    }
    manifest = run.manifest
    assert card["config_sha256"] == manifest["config_sha256"]
    assert card["temperature"] == manifest["temperature"]
    assert card["data"] == {"spec": "uci", "sha256": manifest["data"]["sha256"], "n_train": manifest["data"]["n_train"]}
    assert card["metrics"]["validation"]["accuracy"] == manifest["validation_accuracy"] == (n - errors) / n
    expected = sorted(([float(c), int((confidence >= c).sum())] for c in confidence[wrong]), reverse=True)
    assert card["held_out"] == {"n": n, "errors": expected}
    assert (confidence >= card["threshold"]).mean() >= 0.99 > (confidence >= card["threshold"] + 2e-6).mean()


def test_same_bytes(runs: Any, tmp_path: Path) -> None:
    """The same run gives the same bytes, from whatever folder."""
    for name in ("layers", "xgboost"):
        shutil.copytree(runs(name), tmp_path / f"{name} elsewhere")
        results = [
            export(run, tmp_path / f"{name}-{number}.onnx", quiet=True)
            for number, run in enumerate((runs(name), tmp_path / f"{name} elsewhere"))
        ]
        assert results[0].sha256 == results[1].sha256


def test_nothing_held_out(tmp_path: Path) -> None:
    """A run without held-out images has a card without them, and its model always answers; --int8 is refused."""
    train("logistic", "uci", tmp_path / "run", overrides=["data.validation=0"], quiet=True)
    export(tmp_path / "run", tmp_path / "model.onnx", quiet=True)
    card = Recogniser.load(tmp_path / "model.onnx").card
    assert (card.n, card.held_out, card.threshold, card.fields["metrics"]) == (0, (), 0, {})
    train("two-conv", "uci", tmp_path / "net", overrides=["data.validation=0", "training.epochs=0.1"], quiet=True)
    with pytest.raises(ExportError, match="held out '0' images"):
        export(tmp_path / "net", tmp_path / "int8.onnx", int8=True, quiet=True)


@pytest.mark.parametrize("name", ["layers", "logistic"])
def test_an_altered_weight_is_refused(name: str, runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph one of whose constants is not the run's is not written, and the message names the worst image."""
    from tenfold.graphs import run_graph

    whole = run_graph.run_graph

    def altered(classifier: Any) -> onnx.ModelProto:
        model = whole(classifier)
        weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        changed = np.array(numpy_helper.to_array(weights))
        changed *= 1.01
        weights.CopyFrom(numpy_helper.from_array(changed, weights.name))
        return model

    monkeypatch.setattr(run_graph, "run_graph", altered)
    with pytest.raises(ExportError, match=r"image '\d+' of 'uci:test', in batches of 1, differs.*Nothing is written"):
        export(runs(name), tmp_path / "model.onnx", quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_int8(runs: Any, test: Digits, tmp_path: Path) -> None:
    """In 8 bits the file is smaller; its card and the result give what it reads rightly, beside fp32, as it does."""
    whole = export(runs("layers"), tmp_path / "fp32.onnx", quiet=True)
    result = export(runs("layers"), tmp_path / "int8.onnx", int8=True, quiet=True)
    again = export(runs("layers"), tmp_path / "again.onnx", int8=True, quiet=True)
    assert result.sha256 == again.sha256
    assert result.bytes < 0.4 * whole.bytes
    recogniser, run = Recogniser.load(tmp_path / "int8.onnx"), Run.open(runs("layers"))
    fields, figures = recogniser.card.fields, result.int8
    held_out = load("uci:train", "train").take(run.held_out())
    accuracy = (recogniser.probabilities(held_out.images).argmax(1) == held_out.labels).mean()
    assert fields["precision"] == result.precision == "int8"
    assert fields["int8"] == {key: getattr(figures, key) for key in ("accuracy", "fp32_accuracy", "n")}
    assert fields["int8"]["accuracy"] == fields["metrics"]["validation"]["accuracy"] == accuracy
    assert fields["int8"]["fp32_accuracy"] == run.manifest["validation_accuracy"]
    fp32 = Recogniser.load(tmp_path / "fp32.onnx").probabilities(test.images)
    given = recogniser.probabilities(test.images)
    assert figures.agreement == (given.argmax(1) == fp32.argmax(1)).mean() > 0.97
    assert np.abs(given - fp32).max() > 1e-4  # it is another graph
    assert set(figures.images_per_second) == set(figures.fp32_images_per_second) == {"1", "64"}


def test_the_command(runs: Any, tmp_path: Path) -> None:
    """The command writes the file and prints one JSON object; a file that is there needs --force."""
    out = tmp_path / "model.onnx"
    result = command("export", runs("logistic"), "--out", out, "--json", "--quiet")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["bytes"] == out.stat().st_size
    before = out.read_bytes()
    refused = command("export", runs("logistic"), "--out", out)
    assert refused.exit_code == 1
    assert refused.stderr == f"Error: '{out}' exists already. Give --out another file, or add --force.\n"
    out.write_bytes(b"old")
    spoken = command("export", runs("logistic"), "--out", out, "--force", "--data", "uci:train")
    assert "answers 1,437 images of uci:train as the run does" in spoken.stderr
    assert out.read_bytes() == before


def test_places_that_cannot_be_written(runs: Any, tmp_path: Path) -> None:
    """Another ending, a folder that is missing, a folder, and the run's own model are refused with nothing written."""
    logistic = runs("logistic")
    own = (logistic / "model.onnx").read_bytes()
    (tmp_path / "folder.onnx").mkdir()
    places = {
        tmp_path / "model.pt": "does not end in .onnx",
        tmp_path / "nowhere" / "model.onnx": "nowhere' is no folder",
        tmp_path / "folder.onnx": "is a folder",
        logistic / "model.onnx": "is what the run itself answers with",
    }
    for place, message in places.items():
        with pytest.raises(ExportError, match=message):
            export(logistic, place, force=True, quiet=True)
    assert (logistic / "model.onnx").read_bytes() == own
    (tmp_path / "trees.onnx").write_bytes(b"old")  # a run of trees has no model.onnx of its own
    assert export(runs("xgboost"), tmp_path / "trees.onnx", force=True, quiet=True).bytes > 1000
    (tmp_path / "trees.onnx").unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["folder.onnx"]


def test_runs_and_data_that_cannot_be_used(runs: Any, tmp_path: Path) -> None:
    """A run without weights, data without images, and a classical model in 8 bits are refused in one line."""
    out = tmp_path / "model.onnx"
    for name, missing in (("layers", "weights.safetensors"), ("logistic", "model.onnx")):
        shutil.copytree(runs(name), tmp_path / name)
        (tmp_path / name / missing).unlink()
        with pytest.raises(RunError, match="has no (weights|model) yet"):
            export(tmp_path / name, out, quiet=True)
    np.savez(tmp_path / "empty.npz", images=np.zeros((0, 28, 28), np.uint8))
    with pytest.raises(DataError, match="'"):
        export(runs("logistic"), out, data=str(tmp_path / "empty.npz"), quiet=True)
    with pytest.raises(ExportError, match="'logistic' is no network"):
        export(runs("logistic"), out, int8=True, quiet=True)
    assert not out.exists()


def test_an_old_file_stays_where_writing_fails(runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves the old file as it was, and no half of the new one."""
    out = tmp_path / "model.onnx"
    out.write_bytes(b"old")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ExportError, match="No space left on device"):
        export(runs("logistic"), out, force=True, quiet=True)
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.data
def test_mnist_is_compared_where_it_is(runs: Any, tmp_path: Path) -> None:
    """Where MNIST is at hand, its 10,000 test images are what a graph is proven on."""
    result = export(runs("layers"), tmp_path / "model.onnx", quiet=True)
    assert (result.data, result.images) == ("mnist:test", 10_000)
