"""DigitClassifier: scikit-learn's own tools work on it."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score

from tenfold.data.digits import Digits
from tenfold.errors import DataError, RecipeError
from tenfold.runs.estimator import DigitClassifier, as_images

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
    with pytest.raises(DataError, match="are not digits"):
        model.fit(digits.images, np.full(200, 11))
    with pytest.raises(DataError, match="have shape"):
        model.fit(digits.images[:, :20], digits.labels)
    with pytest.raises(RecipeError, match="No recipe is called"):
        DigitClassifier(recipe="nothing").fit(digits.images, digits.labels)


@pytest.mark.parametrize("value", [-1.0, 256.0, 0.5, np.nan])
def test_values_are_checked(value: float) -> None:
    """Floats are taken when they are whole numbers of 0 to 255, and refused otherwise."""
    images = np.full((2, 28, 28), 255.0)
    assert as_images(images).dtype == np.uint8
    images[1, 3, 3] = value
    with pytest.raises(DataError, match="not a whole number of 0 to 255"):
        as_images(images)
