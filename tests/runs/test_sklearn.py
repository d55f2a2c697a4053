"""DigitClassifier keeps scikit-learn's rules: its own checks pass, but for those that ask for what no digit is."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils import estimator_checks

from tenfold import load, settings
from tenfold.data.digits import Digits
from tenfold.errors import DataError, RecipeError, TenfoldError, TrainingError
from tenfold.runs.estimator import DigitClassifier, InputError

QUICK = (
    *("model.widths=[[4]]", "optimiser.kind=adamw", "optimiser.lr=0.03", "augment.rotation=0", "augment.scale=0"),
    *("augment.shift=0", "training.epochs=1", "training.min_steps=60", "training.batch_size=16", "training.shards=1"),
    *("training.precision=fp32", "training.ema=0", "prediction.shifts=0", "data.validation=0"),
)
LEARNS = (*QUICK, "model.widths=[[8],[16]]", "training.min_steps=150")
WIDTH = "its images have 1 to 30 pixels in a row, those of digits at least 49"
LABELS = "its labels are words or negative, digits are 0 to 9"
ALONE = "an image may come alone, without the axis of several"
TOGETHER = "the range and the polarity of values are judged of all images that come together"
BY_WIDTH = (
    *("classifier_data_not_an_array", "classifiers_one_label", "classifiers_train"),
    *("dict_unchanged", "dont_overwrite_parameters", "dtype_object", "estimators_dtypes", "estimators_nan_inf"),
    *(
        "estimators_fit_returns_self",
        "estimators_overwrite_params",
        "estimators_pickle",
        "f_contiguous_array_estimator",
    ),
    *("fit2d_1feature", "fit2d_predict1d", "fit_check_is_fitted", "fit_idempotent", "fit_score_takes_y"),
    *("methods_sample_order_invariance", "methods_subset_invariance", "n_features_in", "n_features_in_after_fitting"),
    *("pipeline_consistency", "positive_only_tag_during_fit", "readonly_memmap_input", "sample_weights_list"),
    "sample_weights_pandas_series",  # run where pandas is installed
    *("sample_weights_not_an_array", "supervised_y_2d"),
)
BY_WIDTH_ALWAYS = (  # these make their images themselves, so that they cannot be widened
    *("classifiers_one_label_sample_weights", "estimators_nan_inf", "sample_weight_equivalence_on_dense_data"),
    *("sample_weights_not_overwritten", "sample_weights_shape"),
)


def of_checks(names: tuple[str, ...], reason: str) -> dict[str, str]:
    """Return the reason by the checks' whole names."""
    return {f"check_{name}": reason for name in names}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small networks train on one thread, which is faster where others train too."""
    monkeypatch.setattr(settings, "threads", lambda: 1)


def checked(expected: dict[str, str]) -> None:
    """Prove that exactly those of scikit-learn's checks fail that are expected to."""
    results = estimator_checks.check_estimator(
        DigitClassifier("instant", QUICK, seed=0), expected_failed_checks=expected, on_fail=None, on_skip=None
    )
    names: dict[str, set[str]] = {"passed": set(), "xfail": set(), "failed": set(), "skipped": set()}
    for result in results:
        names[result["status"]].add(result["check_name"])
    assert {each["check_name"]: repr(each["exception"]) for each in results if each["status"] == "failed"} == {}
    assert names["passed"] & expected.keys() == set()
    assert len(names["passed"]) > 15


@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
def test_scikit_learns_checks() -> None:
    """Every check passes, but for those whose images or labels cannot be digits."""
    checked(of_checks((*BY_WIDTH, *BY_WIDTH_ALWAYS), WIDTH) | of_checks(("classifiers_classes",), LABELS))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
def test_scikit_learns_checks_on_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same checks with their images repeated to 784 pixels: then three ask for what digits are not."""
    adapted = estimator_checks._enforce_estimator_tags_X

    def widened(*arguments: Any, **named: Any) -> Any:
        def widen(X: NDArray[Any]) -> NDArray[Any]:
            values = X if X.min() >= 0 and X.max() <= 9 else 255 * (X - X.min()) / np.ptp(X)
            return np.tile(values, (1, 784 // X.shape[1] + 1))[:, :784].astype(X.dtype)

        images = adapted(*arguments, **named)
        return tuple(widen(each) for each in images) if isinstance(images, tuple) else widen(images)

    monkeypatch.setattr(estimator_checks, "_enforce_estimator_tags_X", widened)
    checked(
        of_checks(BY_WIDTH_ALWAYS, WIDTH)
        | of_checks(("classifiers_classes",), LABELS)
        | of_checks(("fit2d_predict1d",), ALONE)
        | of_checks(("methods_subset_invariance",), TOGETHER)
    )


@pytest.fixture(scope="module")
def uci() -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]:
    """Return 400 of UCI's training images as rows of pixels with their labels, and 200 test images with theirs."""
    train, test = load("uci:train", "train"), load("uci:test", "evaluate")
    assert train.labels is not None and test.labels is not None
    return (
        train.images[:400].reshape(-1, 784), train.labels[:400], test.images[:200].reshape(-1, 784), test.labels[:200],
    )  # fmt: skip


@pytest.mark.parametrize("scaler", [MinMaxScaler(), StandardScaler()], ids=["min-max", "standard"])
def test_pipeline_with_a_scaler(scaler: Any, uci: Any) -> None:
    """Scaled pixels are read as they were fitted, also where a test image lies outside of what the scaler saw."""
    X, y, test, labels = uci
    pipeline = make_pipeline(scaler, DigitClassifier("knn", ("data.validation=0",))).fit(X, y)
    assert pipeline[0].transform(test).max() > pipeline[0].transform(X).max()
    assert pipeline.score(test, labels) > 0.85
    few = [pipeline.predict(test[start : start + 20]) for start in range(0, 200, 20)]
    assert (np.concatenate(few) == labels).mean() > 0.85


def test_grid_search_over_a_value_of_the_recipe(digits: Digits) -> None:
    """`optimiser__lr` is the recipe's optimiser.lr: searched, set, shown and cloned."""
    model = DigitClassifier("instant", QUICK, seed=1)
    search = GridSearchCV(model, {"optimiser__lr": [np.float64(1e-7), 0.03]}, cv=2, error_score="raise")
    search.fit(digits.images, digits.labels)
    assert search.best_params_ == {"optimiser__lr": 0.03}
    assert search.best_estimator_.recipe_.optimiser.lr == 0.03
    model.set_params(seed=2, optimiser__lr=0.5, training__batch_size=np.int64(8), model__widths=[[8]])
    values = clone(model).get_params()
    assert (values["seed"], values["optimiser__lr"], values["training__batch_size"]) == (2, 0.5, 8)
    assert values["model__widths"] == [[8]]
    assert "optimiser__lr" not in model.get_params(deep=False)
    assert sum(each.startswith("optimiser.lr") for each in model.overrides) == 1


def test_unknown_values_of_the_recipe_are_refused() -> None:
    """An unknown key, or a value out of range, is refused in the recipe's own words, and nothing is changed."""
    model = DigitClassifier("instant", QUICK)
    for wrong, message in {"optimiser__lrr": "unknown key 'optimiser.lrr'", "optimizer__lr": "'optimizer'"}.items():
        with pytest.raises(RecipeError, match=message):
            model.set_params(**{wrong: 0.1})
    with pytest.raises(RecipeError, match="optimiser.lr = '-1'"):
        model.set_params(optimiser__lr=-1)
    with pytest.raises(ValueError, match="Invalid parameter 'lr'"):
        model.set_params(lr=1)
    assert model.overrides == QUICK
    assert DigitClassifier("nothing").get_params()["recipe"] == "nothing"


def test_cross_val_predict(uci: Any) -> None:
    """Out-of-fold probabilities of every image, from scikit-learn's own cross-validation."""
    X, y, _, _ = uci
    answers = cross_val_predict(DigitClassifier("logistic", ("data.validation=0",)), X, y, cv=2, method="predict_proba")
    assert answers.shape == (400, 10)
    assert (answers.argmax(1) == y).mean() > 0.75


def test_stacking(uci: Any) -> None:
    """A network and nearest neighbours stand under a logistic regression."""
    X, y, test, labels = uci
    members = [("network", DigitClassifier("instant", QUICK, seed=0)), ("knn", DigitClassifier("knn", QUICK[-1:]))]
    stack = StackingClassifier(members, LogisticRegression(max_iter=1000), cv=2).fit(X, y)
    assert stack.score(test, labels) > 0.9


def test_calibration(uci: Any) -> None:
    """scikit-learn's calibration takes its probabilities and gives its own."""
    X, y, test, labels = uci
    calibrated = CalibratedClassifierCV(DigitClassifier("knn", QUICK[-1:]), cv=2).fit(X, y)
    assert (calibrated.predict_proba(test).argmax(1) == labels).mean() > 0.9


@pytest.mark.parametrize("kind", [str, object, np.uint8, float])
def test_classes_are_those_of_y(kind: Any, digits: Digits) -> None:
    """Of fewer than ten digits each has a column, rows sum to 1, and labels come back as the type that was given."""
    assert digits.labels is not None
    some = np.isin(digits.labels, (3, 8, 1))
    X, y = digits.images[some], digits.labels[some].astype(str if kind is object else kind).astype(kind)
    model = DigitClassifier("instant", LEARNS, seed=0).fit(X, y)
    assert model.classes_.tolist() == np.array([1, 3, 8]).astype(str if kind is object else kind).tolist()
    probabilities = model.predict_proba(digits.images)
    assert probabilities.shape == (200, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)
    assert model.predict(X).dtype == y.dtype
    assert (model.predict(X) == y).mean() > 0.9
    assert model.score(X, y) == (model.predict(X) == y).mean()


def test_classical_models_ask_for_all_digits(digits: Digits) -> None:
    """A classical model says which digit is missing; that is a ValueError too."""
    assert digits.labels is not None
    some = digits.labels != 4
    with pytest.raises(InputError, match="No training image shows a '4'"):
        DigitClassifier("logistic").fit(digits.images[some], digits.labels[some])


def test_one_class_and_few_images(digits: Digits) -> None:
    """One digit alone is always answered; two and twelve images can be fitted; one image is refused."""
    assert digits.labels is not None
    fives = digits.images[digits.labels == 5]
    model = DigitClassifier("instant", QUICK).fit(fives, ["5"] * len(fives))
    assert model.predict(digits.images).tolist() == ["5"] * 200
    assert (model.predict_proba(digits.images) == 1).all()
    overrides = [each for each in QUICK if "validation" not in each and "shards" not in each]
    DigitClassifier("instant", overrides).fit(digits.images[:12], digits.labels[:12])
    halves = (*QUICK, "training.shards=2", "data.validation=0.5")  # of two images one is trained on
    DigitClassifier("instant", halves).fit(digits.images[:2], digits.labels[:2])
    with pytest.raises(InputError, match="n_samples=1"):
        DigitClassifier("instant", QUICK).fit(digits.images[:1], digits.labels[:1])
    with pytest.raises(InputError, match="'0' of 5 images cannot be held out"):
        DigitClassifier("instant", overrides).fit(digits.images[:5], digits.labels[:5])


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((3, 784)), [1, 2], r"X has 3 images, but labels of the shape '\(2,\)'"),
        (np.full((3, 784), np.nan), [1, 2, 3], "X has the value 'NaN' at "),
        (np.full((3, 784), np.inf), [1, 2, 3], "X has the value 'inf' at "),
        (csr_array((3, 784)), [1, 2, 3], "Sparse data was passed"),
        (np.zeros((3, 784), complex), [1, 2, 3], "Complex data not supported"),
        (np.zeros((0, 784)), [], "0 sample"),
        (np.zeros((3, 0)), [1, 2, 3], "0 feature"),
        ([[1], [2, 3]], [1, 2], "inhomogeneous"),
        ([["a"] * 784] * 3, [1, 2, 3], "compatible with arrays of bytes/strings|could not convert string"),
        (np.zeros((3, 784)), None, "requires y to be passed, but the target y is None. Give"),
        (np.zeros((3, 784)), [1, 2, np.nan], "y has the label 'nan'"),
        (np.zeros((3, 784)), [0.1, 0.2, 0.3], "y has the label '0.1'.*continuous"),
        (np.zeros((3, 784)), ["cat", "dog", "cat"], "y has the label 'cat'.*Give digits, 0 to 9"),
    ],
)
def test_refusals_are_one_line_and_value_errors(X: Any, y: Any, message: str) -> None:
    """What is refused is said in one line, by an error of Tenfold's that scikit-learn's tools know too."""
    with pytest.raises(InputError, match=message) as refused:
        DigitClassifier("instant", QUICK).fit(X, y)
    assert isinstance(refused.value, ValueError) and isinstance(refused.value, DataError)
    assert "\n" not in str(refused.value)


def test_what_is_asked_must_fit(digits: Digits) -> None:
    """Nothing answers before it is fitted; rows of other widths are refused, images of other sizes are framed."""
    model = DigitClassifier("instant", QUICK)
    for ask in (model.predict, model.predict_proba, lambda X: model.score(X, digits.labels)):
        with pytest.raises(NotFittedError):
            ask(digits.images)
    with pytest.warns(DataConversionWarning, match="column-vector"):
        model.fit(digits.images, np.asarray(digits.labels)[:, None])
    assert model.n_features_in_ == 784
    with pytest.raises(InputError, match="X has 400 features, but DigitClassifier is expecting 784"):
        model.predict(np.zeros((5, 400)))
    with pytest.raises(InputError, match="X has the value 'NaN'"):
        model.predict(np.full((5, 784), np.nan))
    assert model.predict(digits.images[:5, 4:24, 4:24]).shape == (5,)
    with pytest.raises(InputError, match="labels of the shape"):
        model.score(digits.images, [1, 2])


def test_weight_zero_is_not_there(digits: Digits) -> None:
    """Images of weight 0 make no difference, to the bit, and a digit that only they show is no class."""
    assert digits.labels is not None
    weights = np.where(digits.labels == 7, 0, 2.0)
    given = weights.copy()
    weighted = DigitClassifier("instant", QUICK, seed=0).fit(digits.images, digits.labels, weights)
    some = digits.labels != 7
    without = DigitClassifier("instant", QUICK, seed=0).fit(digits.images[some], digits.labels[some])
    assert (weights == given).all()
    assert weighted.classes_.tolist() == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert (weighted.predict_proba(digits.images) == without.predict_proba(digits.images)).all()


@pytest.mark.parametrize(("recipe", "overrides"), [("instant", LEARNS), ("logistic", QUICK[-1:])])
def test_the_heavier_label_wins(recipe: str, overrides: tuple[str, ...], digits: Digits) -> None:
    """Where every image has two labels, a network and a classical model learn the one of more weight."""
    assert digits.labels is not None
    X, other = np.concatenate([digits.images] * 2), (digits.labels + 1) % 10
    y = np.concatenate([digits.labels, other])
    for first, right in ((9.0, digits.labels), (1 / 9, other)):
        weights = np.repeat([first, 1.0], 200)
        model = DigitClassifier(recipe, overrides, seed=0).fit(X, y, sample_weight=weights)
        assert (model.predict(digits.images) == right).mean() > 0.9
        assert model.score(X, y, weights) > 0.8
        assert model.score(X, y) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("recipe", ["knn", "svm"])
def test_models_that_take_no_weights_say_so(recipe: str, digits: Digits) -> None:
    """Weights for a model that would ignore them are refused."""
    with pytest.raises(TrainingError, match=f"The model '{recipe}' takes no sample_weight. Omit it"):
        DigitClassifier(recipe).fit(digits.images, digits.labels, np.ones(200))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros(200), "from '0' to '0'. Give finite weights.*not all zero"),
        (np.linspace(-1, 1, 200), "from '-1'"),
        (np.full(200, np.nan), "nan"),
        (np.ones(3), r"the shape '\(3,\)', X has 200 images"),
        (np.ones((200, 2)), r"the shape '\(200, 2\)'"),
        (["heavy"] * 200, "heavy"),
    ],
)
def test_weights_that_are_none_are_refused(weights: Any, message: str, digits: Digits) -> None:
    """One weight an image, finite, none negative, not all zero: anything else is one line."""
    with pytest.raises(InputError, match=message) as refused:
        DigitClassifier("instant", QUICK).fit(digits.images, digits.labels, weights)
    assert isinstance(refused.value, TenfoldError) and "\n" not in str(refused.value)
