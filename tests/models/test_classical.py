"""Classical models: accurate, the same after saving as before, and the same as scikit-learn's own answers."""

import copy
import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.svm import SVC

from tenfold.data import load
from tenfold.data.digits import Digits
from tenfold.errors import DataError, RecipeError, RunError, TenfoldError, TrainingError
from tenfold.models import CLASSICAL
from tenfold.models.classical import FEATURES, KINDS, Classical
from tenfold.runtime.model_file import model_path

QUICK: dict[str, dict[str, Any]] = {
    "logistic": {},
    "svm": {"C": 5, "gamma": 0.02},
    "knn": {"n_neighbors": 3},
    "forest": {"n_estimators": 40},
    "xgboost": {"n_estimators": 12},
}
LEAST = {"logistic": 0.95, "svm": 0.98, "knn": 0.98, "forest": 0.96, "xgboost": 0.94}  # on UCI's test part
PROJECTED = {"standardise": True, "pca": 30}


@pytest.fixture(scope="module")
def train() -> Digits:
    """Return UCI's training part."""
    return load("uci:train", "train")


@pytest.fixture(scope="module")
def test() -> Digits:
    """Return UCI's test part."""
    return load("uci:test", "evaluate")


@pytest.fixture(scope="module", params=CLASSICAL)
def model(request: pytest.FixtureRequest, train: Digits) -> Classical:
    """Return each kind, fitted to UCI's training part."""
    return Classical(request.param, QUICK[request.param], {}).fit(train.images, train.labels)


def test_every_kind_is_there() -> None:
    """The kinds that a recipe may name are those that can be made."""
    assert set(KINDS) == set(CLASSICAL)


def test_accuracy(model: Classical, test: Digits) -> None:
    """Each kind learns UCI's digits, and its probabilities are probabilities, none of them zero for a vote."""
    probabilities = model.probabilities(test.images)
    assert (probabilities.argmax(1) == test.labels).mean() > LEAST[model.kind]
    assert (probabilities.shape, probabilities.dtype) == ((len(test), 10), np.float32)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert model.kind not in ("knn", "forest") or probabilities.min() > 0
    assert model.probabilities(test.images[:0]).shape == (0, 10)


def test_estimators_own_probabilities(model: Classical, train: Digits, test: Digits) -> None:
    """The saved form answers what the estimator itself does, but for the vote that is spread over all digits."""
    rows, new = (digits.images.reshape(-1, 784) / np.float32(255) for digits in (train, test))
    if model.kind == "svm":  # its estimator gives no probabilities: from the decisions of scikit-learn's own machine
        machine = SVC(C=5, gamma=0.02, decision_function_shape="ovo").fit(rows, train.labels)
        own = softmax(5 * _signed(machine.decision_function(new)).min(2), 1)
    else:
        own = model.estimator().fit(rows, train.labels).predict_proba(new)
    if model.kind in ("knn", "forest"):
        votes = {"knn": 3, "forest": 40}[model.kind]
        own = (own * votes + 0.1) / (votes + 1)
    # A support vector machine adds up thousands of large weights of either sign, in float32.
    np.testing.assert_allclose(model.probabilities(test.images), own, atol=2e-3 if model.kind == "svm" else 1e-5)


def _signed(decisions: np.ndarray) -> np.ndarray:
    """Return the decisions (N, 45) of pairs as seen by each digit, (N, 10, 9): above 0 where it wins."""
    pairs = list(itertools.combinations(range(10), 2))
    return np.stack(
        [
            np.stack(
                [decisions[:, at] * (1 if pair[0] == digit else -1) for at, pair in enumerate(pairs) if digit in pair]
            )
            for digit in range(10)
        ]
    ).transpose(2, 0, 1)


def test_saved_and_loaded(model: Classical, test: Digits, tmp_path: Path) -> None:
    """A loaded model answers the same, and knows how many numbers were fitted."""
    model.save(tmp_path)
    loaded = Classical.load(tmp_path, model.kind, QUICK[model.kind], {})
    np.testing.assert_allclose(loaded.probabilities(test.images), model.probabilities(test.images), atol=1e-5)
    assert loaded.parameters == model.parameters > 3000
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_copied(model: Classical, test: Digits) -> None:
    """A fitted model can be copied, as scikit-learn's tools may do with any estimator."""
    again = copy.deepcopy(model).probabilities(test.images)
    np.testing.assert_array_equal(again, model.probabilities(test.images))


@pytest.mark.parametrize("kind", CLASSICAL)
def test_saved_and_loaded_with_features(kind: str, train: Digits, test: Digits, tmp_path: Path) -> None:
    """The same where the features learned something: it lies in a file of its own."""
    model = Classical(kind, QUICK[kind], PROJECTED).fit(train.images, train.labels)
    model.save(tmp_path)
    assert (tmp_path / FEATURES).exists()
    loaded = Classical.load(tmp_path, kind, QUICK[kind], PROJECTED)
    np.testing.assert_allclose(loaded.probabilities(test.images), model.probabilities(test.images), atol=1e-5)
    assert loaded.parameters == model.parameters


def test_parameters(train: Digits) -> None:
    """Logistic regression has ten weights a pixel and ten intercepts; with components, theirs and the means too."""
    assert Classical("logistic", {}, {}).fit(train.images, train.labels).parameters == 7850
    projected = Classical("logistic", {}, {"pca": 30}).fit(train.images, train.labels)
    assert projected.parameters == 310 + 784 + 30 * 784


def test_support_vectors_are_svcs(train: Digits, test: Digits) -> None:
    """The answers are those of scikit-learn's SVC where one digit wins all its pairs."""
    rows, new = (digits.images.reshape(-1, 784) / np.float32(255) for digits in (train, test))
    ours = Classical("svm", {"C": 5, "gamma": "scale"}, {}, threads=2).fit(train.images, train.labels)
    theirs = SVC(C=5, gamma="scale", decision_function_shape="ovo").fit(rows, train.labels)
    wins_all = (_signed(theirs.decision_function(new)) > 0).all(2).any(1)
    assert wins_all.mean() > 0.95
    assert (ours.probabilities(test.images).argmax(1) == theirs.predict(new))[wins_all].all()


def test_hog_and_deskewing_help(train: Digits, test: Digits) -> None:
    """The two together leave a third of logistic regression's errors, or less."""
    errors = []
    for features in ({}, {"deskew": True, "hog": True}):
        model = Classical("logistic", {}, features).fit(train.images, train.labels)
        errors.append((model.probabilities(test.images).argmax(1) != test.labels).sum())
    assert errors[1] <= errors[0] / 3


def test_seed_decides(digits: Digits) -> None:
    """The same seed gives the same forest, byte for byte; another seed, another."""
    forests = [
        Classical("forest", {"n_estimators": 3}, {}, seed=seed).fit(digits.images, digits.labels) for seed in (1, 1, 2)
    ]
    contents = [forest.fitted.content for forest in forests if forest.fitted]
    assert contents[0] == contents[1] != contents[2]


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("svm", {"gama": 1}, "Model 'svm' has no argument 'gama'. Did you mean 'gamma'? Known here: C, gamma."),
        ("svm", {"C": -1}, "Model 'svm' has C = '-1': "),
        ("svm", {"gamma": "auto"}, "Model 'svm' has gamma = 'auto': "),
        ("knn", {"n_neighbors": 0}, "Model 'knn' has n_neighbors = '0': "),
        ("forest", {"max_features": 1.5}, "Model 'forest' has max_features = '1.5': "),
        ("xgboost", {"epochs": 3}, "Model 'xgboost' has no argument 'epochs'."),
    ],
)
def test_wrong_arguments(kind: str, arguments: dict[str, Any], message: str) -> None:
    """What is unknown or out of range is named in one line before anything is fitted."""
    with pytest.raises(RecipeError) as caught:
        Classical(kind, arguments, {})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_images_that_cannot_be_fitted(digits: Digits) -> None:
    """A digit without an image, more neighbours than images, a solver cut short: one line each."""
    with pytest.raises(DataError, match="No training image shows a '3'"):
        Classical("knn", {}, {}).fit(digits.images[:3], digits.labels[:3])
    with pytest.raises(RecipeError, match="model.n_neighbors = '201' is more than the 200 training images"):
        Classical("knn", {"n_neighbors": 201}, {}).fit(digits.images, digits.labels)
    with pytest.raises(TrainingError, match="not converged within '2' steps"):
        Classical("logistic", {"max_iter": 2, "tol": 1e-9}, {}).fit(digits.images, digits.labels)


def test_not_fitted(digits: Digits, tmp_path: Path) -> None:
    """A model that is not fitted does not answer, and is not found in a folder."""
    with pytest.raises(TrainingError, match="not fitted"):
        Classical("knn", {}, {}).probabilities(digits.images)
    with pytest.raises(RunError, match="has no model yet"):
        Classical.load(tmp_path, "knn", {}, {})


class Touch:
    """What runs code when it is unpickled: it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        """Return what unpickling calls."""
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("kind", ["knn", "xgboost"])
def test_broken_and_foreign_files(kind: str, digits: Digits, tmp_path: Path) -> None:
    """A file that is cut, empty, another kind's, another width's or a pickle is refused in one line; no code runs."""
    Classical(kind, QUICK[kind], {}).fit(digits.images, digits.labels).save(tmp_path)
    file, touched = tmp_path / "model.onnx", tmp_path / "touched"
    whole = file.read_bytes()
    narrow = Classical(kind, QUICK[kind], {"pca": 30}).fit(digits.images, digits.labels)
    other = model_path("tiny").read_bytes()
    assert narrow.fitted
    foreign = (narrow.fitted.content, other, b"{}", b'{"learner": 1}', pickle.dumps(Touch(touched)))
    for content in (b"", whole[: len(whole) // 2], whole[:-1], *foreign):
        file.write_bytes(content)
        with pytest.raises(RunError) as caught:
            Classical.load(tmp_path, kind, QUICK[kind], {})
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not touched.exists()


def test_broken_features(digits: Digits, tmp_path: Path) -> None:
    """A features file that is missing, cut or of another shape is refused in one line."""
    Classical("knn", {}, {"pca": 30}).fit(digits.images, digits.labels).save(tmp_path)
    file = tmp_path / FEATURES
    with pytest.raises(RunError, match="it holds .*, not {'offset'"):
        Classical.load(tmp_path, "knn", {}, {"pca": 31})
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(RunError, match="features.safetensors' cannot be read"):
        Classical.load(tmp_path, "knn", {}, {"pca": 30})
    file.unlink()
    with pytest.raises(TenfoldError, match="features.safetensors' is missing"):
        Classical.load(tmp_path, "knn", {}, {"pca": 30})


def test_unwritable_folder(digits: Digits, tmp_path: Path) -> None:
    """Where the folder cannot take the files, one line says so."""
    model = Classical("knn", {}, {}).fit(digits.images, digits.labels)
    with pytest.raises(RunError, match="cannot be written to"):
        model.save(tmp_path / "nowhere")


@pytest.mark.parametrize("kind", ["logistic", "forest", "xgboost"])
def test_any_seed_of_a_network_is_one(kind: str, digits: Digits) -> None:
    """The largest seed that PyTorch takes is one for classical models, too."""
    fitted = Classical(kind, {}, {}, seed=2**64 - 1).fit(digits.images[:50], digits.labels[:50])  # type: ignore[index]
    assert fitted.probabilities(digits.images[:2]).shape == (2, 10)
