"""DigitClassifier: a recipe behind scikit-learn's estimator methods, so that its own tools work on it unchanged."""

import json
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.validation import check_array, check_is_fitted, has_fit_parameter, validate_data

from tenfold.console import PlainConsole
from tenfold.data.digits import IMAGE_SHAPE, Digits
from tenfold.data.meaning import KNOWN, Meaning, as_labels, as_stack, known_range
from tenfold.errors import DataError, RecipeError, RunError, TrainingError
from tenfold.metrics.scores import fit_temperature, sharpen
from tenfold.models import build
from tenfold.models.classical import Classical, only_processor
from tenfold.runs.run import Run
from tenfold.runs.tracking import Callback, Callbacks, Curve, picture
from tenfold.training import device as devices
from tenfold.training import recipe as recipes
from tenfold.training.loop import Trainer
from tenfold.training.predict import Teacher, answer

if TYPE_CHECKING:
    import torch

OUTLIERS = 0.01  # share of values that a scaler may leave outside of the range that images have


class InputError(DataError, ValueError, TypeError):
    """An X, y or sample_weight that is refused; scikit-learn's tools know it as a ValueError or a TypeError."""


class DigitClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of 28x28 digit images.

    recipe:    a shipped recipe's name, or a .toml file.
    overrides: KEY=VALUE strings that change single values of it; `set_params(optimiser__lr=0.02)` adds one.
    seed:      of weights, order and augmentation; None takes the recipe's.
    device:    "auto", "cpu", "cuda" or "mps".
    callbacks: of `tenfold.runs.tracking.Callback`, which watch a network's training.
    verbose:   show a bar while training; in a notebook then the curves, and the confusion of the held-out images.
    Learned: `classes_` (K,), the labels in y by their digits, `n_features_in_`, the pixels of an image, `module_` (a
    network's, None for a classical model) or `model_` (the other way round), `recipe_`, `history_` (the evaluations
    during training), `temperature_`, fitted on the held-out images, which makes the probabilities mean what they say,
    and `meaning_`, what the images' values were taken for.
    """

    classes_: NDArray[Any]
    n_features_in_: int
    module_: "torch.nn.Module | None"
    model_: Classical | None
    recipe_: recipes.Recipe
    history_: list[dict[str, Any]]
    temperature_: float
    meaning_: Meaning

    def __init__(
        self,
        recipe: str = "fast",
        overrides: Sequence[str] = (),
        seed: int | None = None,
        device: str = "auto",
        callbacks: Sequence[Callback] = (),
        verbose: bool = False,
    ) -> None:
        self.recipe = recipe
        self.overrides = overrides
        self.seed = seed
        self.device = device
        self.callbacks = callbacks
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn's tools may expect: images come flat, or as they are."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments, and with `deep` the recipe's values too, `optimiser__lr` and so on."""
        given: dict[str, Any] = super().get_params(deep=False)
        if deep:
            with suppress(RecipeError, TypeError):  # `fit` says what is wrong with the recipe
                tables = recipes.load(self.recipe, self.overrides).tables().items()
                values = ((title, table) for title, table in tables if isinstance(table, dict))
                given |= {f"{title}__{key}": value for title, table in values for key, value in table.items()}
        return given

    def set_params(self, **params: Any) -> "DigitClassifier":
        """Return self with arguments changed, or values of the recipe: `optimiser__lr=0.02` overrides optimiser.lr.

        Raises ValueError for an unknown argument, RecipeError for a key or a value that the recipe does not take.
        """
        values = {key.replace("__", "."): params.pop(key) for key in list(params) if "__" in key}
        super().set_params(**params)
        if values:
            kept = [each for each in self.overrides if each.partition("=")[0].strip() not in values]
            plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in values.items()}
            overrides = (*kept, *(f"{key}={json.dumps(value)}" for key, value in plain.items()))
            recipes.load(self.recipe, overrides)
            self.overrides = overrides
        return self

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> "DigitClassifier":
        """Return self, trained on X, (N, 28, 28), (N, 784) or (N, H, W), and labels y, (N,), 0 to 9 or their text.

        X: of any dtype and range (0 to 255, 0 to 1, ...), dark or light ink; all are taken as one set. A network is
        given the digits in y alone to choose from; a classical model asks for all ten. sample_weight: (N,), what each
        image counts in the loss, 0 as if it were not there; the images that are held out are not weighted.
        Raises InputError, which is a ValueError, for what is none of that; RecipeError, TrainingError.
        """
        array, labels, weights = _checked(X, y, sample_weight)
        given = np.asarray(y).reshape(-1)
        if weights is not None:
            array, labels, given = array[weights > 0], labels[weights > 0], given[weights > 0]
            weights = weights[weights > 0]
        recipe = recipes.load(self.recipe, self.overrides)
        callbacks = Callbacks(self.callbacks, recipe)
        with _refused():
            meaning = Meaning.of(array, "X", turn=False, extremes=_extremes(array))
            images = meaning.frames(array)
            seed = recipe.seed if self.seed is None else self.seed
            train, held_out = recipe.data.hold_out(Digits.of(images, labels), seed)
        threads = devices.use_threads()
        validation = (images[held_out], labels[held_out]) if len(held_out) else None
        weights = None if weights is None else weights[train]
        if recipe.classical:
            only_processor(recipe.model.kind, self.device)
            with _refused():
                model = classical(recipe, seed, threads, weights).fit(images[train], labels[train])
            self._take(recipe, model)
            probabilities = model.probabilities(images[held_out]) if validation else None
        else:
            device = devices.choose(self.device)
            trainer = Trainer(
                recipe, images[train], labels[train], validation, seed=seed, device=device, threads=threads,
                teacher=teacher(recipe, device), sample_weight=weights,
            )  # fmt: skip
            console = PlainConsole(quiet=not self.verbose)
            with console.working(recipe.name) as work:
                callbacks.members.append(Curve(console, work))
                callbacks.run(trainer)
            module, answered = trainer.finish()
            self._take(recipe, module)
            self.history_ = trainer.history
            probabilities = answered.probabilities if answered else None
        self.meaning_, self.n_features_in_ = meaning, array[0].size
        self._digits, first = np.unique(labels, return_index=True)
        self.classes_ = given[first]
        if probabilities is not None:
            self.temperature_ = fit_temperature(labels[held_out], probabilities)
            if self.verbose and PlainConsole().is_jupyter:
                from IPython.display import HTML, display

                display(HTML(picture(self.history_, labels[held_out], probabilities)))
        callbacks.check("this classifier")
        return self

    def _take(self, recipe: recipes.Recipe, answering: "torch.nn.Module | Classical", temperature: float = 1.0) -> None:
        """Keep what answers: a network in evaluation mode, or a fitted classical model."""
        self.recipe_, self.temperature_ = recipe, temperature
        self.model_ = answering if isinstance(answering, Classical) else None
        self.module_ = None if isinstance(answering, Classical) else answering
        self.classes_ = self._digits = np.arange(10)
        self.meaning_ = Meaning()
        self.history_ = []

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return probabilities, (N, K) float32, always computed in fp32, with the recipe's test-time augmentation.

        X is read as in `fit`; a few images whose own range tells nothing, by the range of those that were fitted.
        Columns are those of `classes_`, and rows sum to 1. Raises InputError.
        """
        check_is_fitted(self)
        array = _array(X)
        with _refused():
            if array.ndim == 2 and array.shape != IMAGE_SHAPE:  # rows of pixels; images may be of any size
                validate_data(self, array, reset=False, skip_check_array=True)
            stack = as_stack(array, "X")
            seen, extremes = self.meaning_, _extremes(stack, self.meaning_)
            images = Meaning.of(stack, "X", seen=seen, turn=False, extremes=extremes).frames(stack)
        probabilities = self.answer(images)[0]
        return probabilities if len(self._digits) == 10 else sharpen(probabilities[:, self._digits], 1.0)

    def answer(
        self, images: NDArray[np.uint8], shifts: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return probabilities, (N, 10) float32, and the probability that each image is a digit at all, (N,) float32.

        The second is 1 throughout for a model that has never been shown anything but digits. images: (N, 28, 28)
        uint8, ink 255 on 0. shifts: average over shifts of up to so many pixels; None leaves it to the recipe.
        """
        import torch

        if self.model_ is not None:
            return sharpen(self.model_.probabilities(images), self.temperature_), np.ones(len(images), np.float32)
        assert self.module_ is not None
        tensor = torch.from_numpy(images).to(next(self.module_.parameters()).device)
        answered = answer(self.module_, tensor, self.recipe_.prediction.shifts if shifts is None else shifts)
        if not np.isfinite(answered.probabilities).all():
            raise TrainingError("The network answers 'nan' to some images: its weights are too large. Train it again.")
        return sharpen(answered.probabilities, self.temperature_), answered.digit_probability

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable labels, (N,), of the dtype that y had in `fit`."""
        best = self.predict_proba(X).argmax(1)  # before `classes_`: nothing is fitted yet, it says
        labels: NDArray[Any] = self.classes_[best]
        return labels

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the accuracy of `predict(X)` by labels y, which may be text, as in `fit`; weighted where asked for."""
        best = self.predict_proba(X).argmax(1)
        digits = self._digits[best]
        with _refused():
            right = digits == as_labels(y, len(digits), "X", "y")
        return float(np.average(right, weights=_weights(sample_weight, len(digits))))


@contextmanager
def _refused() -> Iterator[None]:
    """Make an InputError of what is raised for data, ours or scikit-learn's, in one line."""
    try:
        yield
    except (DataError, ValueError, TypeError) as error:
        raise InputError(str(error).replace("'nan'", "'NaN'")) from None


def _array(X: ArrayLike) -> NDArray[Any]:
    """Return X as an array of numbers, which NaN may be among; InputError for sparse, complex and empty ones."""
    try:
        if np.asarray(X).dtype.kind == "c":
            raise ValueError("Complex data not supported")
        array: NDArray[Any] = check_array(X, allow_nd=True, ensure_2d=False, ensure_all_finite=False)
    except (ValueError, TypeError) as error:
        raise InputError(f"X: '{' '.join(str(error).split())}'. Give numbers, (N, 28, 28) or (N, 784).") from None
    return array


def _checked(
    X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.float64] | None]:
    """Return images (N, H, W), digits (N,) and weights (N,); InputError for what cannot be fitted."""
    array = _array(X)
    n = 1 if array.shape in (IMAGE_SHAPE, (math.prod(IMAGE_SHAPE),)) else len(array)
    if n < 2:
        raise InputError("X has n_samples=1, and one image teaches nothing. Give at least two.")
    if y is None:
        raise InputError("DigitClassifier requires y to be passed, but the target y is None. Give a digit an image.")
    labels = np.asarray(y)
    try:
        digits = as_labels(labels, n, "X", "y")
    except DataError as error:
        advice = " A continuous target is for a regressor." if labels.dtype.kind == "f" else ""
        raise InputError(f"{error}{advice}") from None
    if labels.ndim > 1:
        message = "A column-vector y was passed when a 1d array was expected. Give y.ravel()."
        warnings.warn(message, DataConversionWarning, stacklevel=3)
    weights = _weights(sample_weight, n)
    with _refused():
        return as_stack(array, "X"), digits, weights


def _extremes(stack: NDArray[Any], seen: Meaning | None = None) -> tuple[float, float] | None:
    """Return what stands for the lowest and highest value of images (N, H, W); None for those that they have.

    A scaler fitted to other images leaves a few floats outside of 0 to 1: these are clipped. And what no known range
    holds, as standardised pixels, is read by the range of those that were fitted, `seen`.
    """
    if stack.dtype.kind != "f" or not np.isfinite(stack).all():
        return None
    typical = known_range(*(float(np.median(bound(axis=(1, 2)))) for bound in (stack.min, stack.max)))
    if typical is not None:
        return typical if np.mean((stack < typical[0]) | (stack > typical[1])) < OUTLIERS else None
    return None if seen is None or (seen.low, seen.high) in KNOWN else (seen.low, seen.high)


def _weights(sample_weight: ArrayLike | None, n: int) -> NDArray[np.float64] | None:
    """Return the weights of n images, (n,); InputError where they are negative, not finite, or all zero."""
    if sample_weight is None:
        return None
    with _refused():
        weights = np.asarray(sample_weight, np.float64)
    if weights.shape != (n,):
        raise InputError(f"sample_weight has the shape '{weights.shape}', X has {n} images. Give (N,), one an image.")
    if not np.isfinite(weights).all() or weights.min() < 0 or not weights.any():
        what = f"sample_weight has values from '{weights.min():g}' to '{weights.max():g}'."
        raise InputError(f"{what} Give finite weights, none negative and not all zero.")
    return weights


def from_run(run: Run, device: str = "auto") -> DigitClassifier:
    """Return the classifier that a run holds; RunError where its weights are missing or do not fit its recipe."""
    run.check_digits()
    classifier = DigitClassifier(recipe=str(run.path / "recipe.toml"), seed=run.manifest["seed"], device=device)
    recipe, model, temperature = run.recipe, run.recipe.model, run.manifest.get("temperature", 1.0)
    threads = devices.use_threads()
    if recipe.classical:
        only_processor(model.kind, device)
        fitted = Classical.load(run.path, model.kind, model.arguments(), recipe.features.model_dump(), threads)
        classifier._take(recipe, fitted, temperature)
    else:
        module = build(model.kind, model.arguments()).to(devices.choose(device))
        run.fill(module)
        classifier._take(recipe, devices.lay_out(module).eval(), temperature)
    classifier.n_features_in_ = math.prod(IMAGE_SHAPE)
    with suppress(RunError):  # what answers is whole, and the report says what is wrong with the curve
        classifier.history_ = run.metrics()
    return classifier


def teacher(recipe: recipes.Recipe, device: "torch.device") -> Teacher | None:
    """Return what the recipe's [distil] table names as a teacher, None without one.

    Raises RunError where there is no such run, TrainingError where it is no network.
    """
    if recipe.distil is None:
        return None
    classifier = from_run(Run.open(recipe.distil.teacher), str(device))
    if classifier.module_ is None:
        what = f"The teacher '{recipe.distil.teacher}' is no network, and distorted images ask one."
        raise TrainingError(f"{what} Give a network's run.")
    return Teacher(classifier.module_, recipe.distil, device, classifier.temperature_)


class WeightedClassical(Classical):
    """A classical model whose estimator is fitted with `sample_weight`, (N,); TrainingError where it takes none."""

    sample_weight: NDArray[np.float64]

    def estimator(self) -> Any:
        """Return the scikit-learn estimator, not fitted, that weighs the images when it is."""
        estimator = super().estimator()
        if not has_fit_parameter(estimator, "sample_weight"):
            raise TrainingError(f"The model '{self.kind}' takes no sample_weight. Omit it, or take another recipe.")
        estimator.fit = partial(estimator.fit, sample_weight=self.sample_weight)
        return estimator


def classical(
    recipe: recipes.Recipe, seed: int, threads: int, sample_weight: NDArray[np.float64] | None = None
) -> Classical:
    """Return the recipe's classical model, not fitted; sample_weight: (N,), of the images that it will be fitted to."""
    made = recipe.model.kind, recipe.model.arguments(), recipe.features.model_dump(), seed, threads
    if sample_weight is None:
        return Classical(*made)
    model = WeightedClassical(*made)
    model.sample_weight = sample_weight
    return model
