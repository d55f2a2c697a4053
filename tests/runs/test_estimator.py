"""DigitClassifier: scikit-learn's own tools work on it, and on classical models as on networks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score

from tenfold.data import load
from tenfold.data.digits import Digits
from tenfold.errors import DataError, RecipeError, RunError, TrainingError
from tenfold.evaluate import evaluate
from tenfold.runs.estimator import DigitClassifier, from_run
from tenfold.runs.run import Run
from tenfold.submit import submit
from tenfold.train import train

QUICK = (
    "model.widths=[[8],[16]]",
    "training.batch_size=32",
    "training.epochs=20",
    "training.min_steps=0",
    "training.precision=fp32",
    "data.validation=0",
)


def test_fit_predict_score(digits: Digits) -> None:
    """Fitted on generated digits it classifies them; rows of probabilities sum to one; pixels may come flat."""
    model = DigitClassifier(overrides=QUICK, seed=1)
    assert model.fit(digits.images.reshape(-1, 784), digits.labels) is model
    assert model.score(digits.images, digits.labels) > 0.9
    probabilities = model.predict_proba(digits.images)
    assert (probabilities.shape, probabilities.dtype) == ((200, 10), np.float32)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert (model.predict(digits.images) == probabilities.argmax(1)).all()


def test_sklearn_tools(digits: Digits) -> None:
    """Cloning, cross-validation and grid search take it as any estimator."""
    model = DigitClassifier(overrides=QUICK, seed=1)
    assert clone(model).get_params() == model.get_params()
    assert cross_val_score(model, digits.images, digits.labels, cv=2).mean() > 0.5
    search = GridSearchCV(model, {"seed": [1, 2]}, cv=2).fit(digits.images, digits.labels)
    assert search.best_params_["seed"] in (1, 2)


def test_fit_refuses_what_is_no_digit_data(digits: Digits) -> None:
    """Wrong labels, shapes, values and recipes are one-line errors."""
    model = DigitClassifier(overrides=QUICK)
    with pytest.raises(DataError, match=r"y has the label '11' at \[0\]"):
        model.fit(digits.images, np.full(200, 11))
    with pytest.raises(DataError, match=r"X has the shape '\(200, 27\)'"):
        model.fit(digits.images.reshape(200, 784)[:, :27], digits.labels)
    with pytest.raises(DataError, match="X has the value 'NaN'"):
        model.fit(np.full((200, 784), np.nan), digits.labels)
    with pytest.raises(RecipeError, match="No recipe is called"):
        DigitClassifier(recipe="nothing").fit(digits.images, digits.labels)


@pytest.fixture(scope="module")
def nearest() -> DigitClassifier:
    """Return nearest neighbours of UCI's training part."""
    digits = load("uci:train", "train")
    return DigitClassifier("knn", ("data.validation=0",)).fit(digits.images, digits.labels)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[..., None],
        lambda x: x.astype(np.int64),
        lambda x: x.astype(float).reshape(-1, 784),
        lambda x: (x / 255).astype(np.float32),
        lambda x: x / 127.5 - 1,
        lambda x: 255 - x,
    ],
)
def test_arrays_of_any_kind(nearest: DigitClassifier, change: Callable[[Any], Any]) -> None:
    """Values, axes and polarity of what is fitted and asked make no difference, nor do labels that are text."""
    digits, test = load("uci:train", "train"), load("uci:test", "evaluate")
    assert digits.labels is not None
    assert test.labels is not None
    labels = digits.labels.astype(str)
    expected = nearest.predict_proba(test.images)
    again = DigitClassifier("knn", ("data.validation=0",)).fit(change(digits.images), labels)
    for model in (nearest, again):
        np.testing.assert_allclose(model.predict_proba(change(test.images)), expected, atol=1e-6)
    assert again.score(change(test.images), [[str(label)] for label in test.labels]) > 0.97
    np.testing.assert_array_equal(nearest.predict(change(test.images)[0]), expected[:1].argmax(1))


def test_two_values_are_learned() -> None:
    """Images of 0 and 1 are fitted and read as those of 0 and 255, not as nearly black."""
    digits, test = load("uci:train", "train"), load("uci:test", "evaluate")
    model = DigitClassifier("knn", ("data.validation=0",)).fit(digits.images > 127, digits.labels)
    assert model.score((test.images > 127).astype(np.uint8), test.labels) > 0.9
    assert model.meaning_.notes == ("the values are 0 and 1: taken as 0 and 255",)


def test_a_faint_image_stays_faint(nearest: DigitClassifier) -> None:
    """One image is read by the range of those that were fitted, and not stretched."""
    faint = load("uci:test", "evaluate").images[:1] // 3
    np.testing.assert_array_equal(nearest.predict_proba(faint.astype(np.int64)), nearest.answer(faint)[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of nearest neighbours on UCI's training part."""
    out = tmp_path_factory.mktemp("runs") / "knn"
    train("knn", "uci:train", out, quiet=True)
    return out


def test_classical_fit_predict_score() -> None:
    """The `svm` recipe learns UCI's digits; calibrated probabilities sum to one, and pixels may come flat."""
    digits, test = load("uci:train", "train"), load("uci:test", "evaluate")
    model = DigitClassifier("svm").fit(digits.images.reshape(-1, 784), digits.labels)
    assert model.score(test.images, test.labels) > 0.98
    probabilities = model.predict_proba(test.images)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert (model.predict(test.images) == probabilities.argmax(1)).all()


def test_calibrated_on_what_was_held_out() -> None:
    """Where images are held out, a temperature is fitted; votes of four neighbours are too unsure of such digits."""
    digits = load("uci:train", "train")
    model = DigitClassifier("knn").fit(digits.images, digits.labels)
    assert model.temperature_ < 1
    bare = DigitClassifier("knn", ("data.validation=0",)).fit(digits.images, digits.labels)
    assert bare.temperature_ == 1


def test_classical_sklearn_tools(digits: Digits) -> None:
    """Cloning and cross-validation take it as any estimator; overrides reach model and features."""
    model = DigitClassifier("knn", ("data.validation=0", "features.pca=10", "model.n_neighbors=1"))
    assert clone(model).get_params() == model.get_params()
    assert cross_val_score(model, digits.images, digits.labels, cv=2).mean() > 0.9
    fitted = model.fit(digits.images, digits.labels).model_
    assert fitted is not None
    assert fitted.parameters == 200 * 10 + 784 + 10 * 784


def test_epochs_are_refused(digits: Digits) -> None:
    """A classical recipe has no table for training a network."""
    with pytest.raises(RecipeError, match="'training.epochs'"):
        DigitClassifier("knn", ("training.epochs=3",)).fit(digits.images, digits.labels)


def test_other_devices_are_refused(digits: Digits, folder: Path) -> None:
    """A classical model asked onto a GPU says that it runs on the processor, both fitted and loaded."""
    with pytest.raises(TrainingError, match="'knn' runs on the processor alone, not on 'cuda'"):
        DigitClassifier("knn", device="cuda").fit(digits.images, digits.labels)
    with pytest.raises(TrainingError, match="not on 'mps'"):
        from_run(Run.open(folder), "mps")


def test_run_answers_as_the_classifier_in_memory(folder: Path) -> None:
    """A run gives what the same recipe, data and seed give in memory, temperature included."""
    digits, test = load("uci:train", "train"), load("uci:test", "evaluate")
    run = Run.open(folder)
    fresh = DigitClassifier("knn", seed=run.manifest["seed"]).fit(digits.images, digits.labels)
    loaded = from_run(run)
    assert loaded.temperature_ == pytest.approx(fresh.temperature_)
    np.testing.assert_allclose(loaded.predict_proba(test.images), fresh.predict_proba(test.images), atol=1e-5)


def test_evaluate_and_submit(folder: Path, tmp_path: Path) -> None:
    """`evaluate` scores a classical run and says who looked; `submit` writes its answers."""
    result = evaluate(folder, "uci:test", quiet=True)
    assert result.accuracy > 0.97
    assert result.tta is False
    assert result.looks == result.models_looked == 1
    written = submit(folder, "uci:test", tmp_path / "answers.csv", force=True, quiet=True)
    assert written.rows == result.n


def test_averaging_over_shifts_is_a_networks(folder: Path) -> None:
    """Test-time augmentation asked of a classical run is an error, not ignored."""
    with pytest.raises(RunError, match="'knn' is no network"):
        evaluate(folder, "uci:test", tta=True, quiet=True)


def test_weights_hash_is_of_all_that_answers(folder: Path, tmp_path: Path) -> None:
    """The hash that the ledger tells models apart by changes with either file, and needs the model's."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    assert Run.open(copy).weights_sha256() == Run.open(folder).weights_sha256()
    hashes = {Run.open(folder).weights_sha256()}
    for name in ("features.safetensors", "model.onnx"):
        (copy / name).write_bytes((copy / name).read_bytes() + b" ")
        hashes.add(Run.open(copy).weights_sha256())
    assert len(hashes) == 3
    (copy / "model.onnx").unlink()
    with pytest.raises(RunError, match="Cannot read the weights"):
        Run.open(copy).weights_sha256()
