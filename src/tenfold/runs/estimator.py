"""DigitClassifier: a recipe behind scikit-learn's estimator methods, so that its own tools work on it unchanged."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from tenfold.data.meaning import Meaning, as_labels, as_stack
from tenfold.errors import RunError, TrainingError
from tenfold.metrics.scores import fit_temperature, sharpen
from tenfold.models import build
from tenfold.models.classical import Classical, only_processor
from tenfold.runs.run import Run
from tenfold.training import device as devices
from tenfold.training import recipe as recipes
from tenfold.training.loop import Trainer
from tenfold.training.predict import Teacher, answer

if TYPE_CHECKING:
    import torch


class DigitClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of 28x28 digit images.

    recipe:    a shipped recipe's name, or a .toml file.
    overrides: KEY=VALUE strings that change single values of it.
    seed:      of weights, order and augmentation; None takes the recipe's.
    device:    "auto", "cpu", "cuda" or "mps".
    Learned: `classes_` (10,), `module_` (a network's, None for a classical model) or `model_` (the other way round),
    `recipe_`, `history_` (the evaluations during training), `temperature_`, fitted on the held-out images, which
    makes the probabilities mean what they say, and `meaning_`, what the images' values were taken for.
    """

    module_: "torch.nn.Module | None"
    model_: Classical | None
    recipe_: recipes.Recipe
    history_: list[dict[str, Any]]
    temperature_: float
    meaning_: Meaning

    def __init__(
        self, recipe: str = "fast", overrides: tuple[str, ...] = (), seed: int | None = None, device: str = "auto"
    ) -> None:
        self.recipe = recipe
        self.overrides = overrides
        self.seed = seed
        self.device = device

    def fit(self, X: ArrayLike, y: ArrayLike) -> "DigitClassifier":
        """Return self, trained on X, (N, 28, 28), (N, 784) or (N, H, W), and labels y, (N,), 0 to 9 or their text.

        X: of any dtype and range (0 to 255, 0 to 1, ...), dark or light ink; all are taken as one set.
        """
        array = as_stack(X, "X")
        labels = as_labels(y, len(array), "y")
        meaning = Meaning.of(array, "X", turn=False)
        images = meaning.frames(array)
        recipe = recipes.load(self.recipe, self.overrides)
        seed = recipe.seed if self.seed is None else self.seed
        threads = devices.use_threads()
        train, held_out = recipe.data.hold_out(labels, seed)
        validation = (images[held_out], labels[held_out]) if len(held_out) else None
        if recipe.classical:
            only_processor(recipe.model.kind, self.device)
            model = classical(recipe, seed, threads).fit(images[train], labels[train])
            self._take(recipe, model)
            probabilities = model.probabilities(images[held_out]) if validation else None
        else:
            device = devices.choose(self.device)
            trainer = Trainer(
                recipe, images[train], labels[train], validation, seed=seed, device=device, threads=threads,
                teacher=teacher(recipe, device),
            )  # fmt: skip
            trainer.run()
            module, answered = trainer.finish()
            self._take(recipe, module)
            self.history_ = trainer.history
            probabilities = answered.probabilities if answered else None
        self.meaning_ = meaning
        if probabilities is not None:
            self.temperature_ = fit_temperature(labels[held_out], probabilities)
        return self

    def _take(self, recipe: recipes.Recipe, answering: "torch.nn.Module | Classical", temperature: float = 1.0) -> None:
        """Keep what answers: a network in evaluation mode, or a fitted classical model."""
        self.recipe_, self.temperature_ = recipe, temperature
        self.model_ = answering if isinstance(answering, Classical) else None
        self.module_ = None if isinstance(answering, Classical) else answering
        self.classes_ = np.arange(10)
        self.meaning_ = Meaning()
        self.history_ = []

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return probabilities, (N, 10) float32, always computed in fp32, with the recipe's test-time augmentation.

        X is read as in `fit`; a few images whose own range tells nothing, by the range of those that were fitted.
        """
        check_is_fitted(self)
        array = as_stack(X, "X")
        return self.answer(Meaning.of(array, "X", seen=self.meaning_, turn=False).frames(array))[0]

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

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return the most probable digits, (N,) int64."""
        digits: NDArray[np.int64] = self.predict_proba(X).argmax(1)
        return digits

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the accuracy of `predict(X)` by labels y, which may be text, as in `fit`."""
        labels = as_labels(y, len(as_stack(X, "X")), "y")
        return float(super().score(X, labels, sample_weight))


def from_run(run: Run, device: str = "auto") -> DigitClassifier:
    """Return the classifier that a run holds; RunError where its weights are missing or do not fit its recipe."""
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
        raise TrainingError(
            f"The teacher '{recipe.distil.teacher}' is no network, and distorted images ask one. Give a network's run."
        )
    return Teacher(classifier.module_, recipe.distil, device, classifier.temperature_)


def classical(recipe: recipes.Recipe, seed: int, threads: int) -> Classical:
    """Return the recipe's classical model, not fitted."""
    return Classical(recipe.model.kind, recipe.model.arguments(), recipe.features.model_dump(), seed, threads)
