"""DigitClassifier: a recipe behind scikit-learn's estimator methods, so that its own tools work on it unchanged."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from tenfold.data import splits
from tenfold.errors import DataError, TrainingError
from tenfold.metrics.calibration import fit_temperature, sharpen
from tenfold.models import build
from tenfold.models.classical import Classical
from tenfold.training import device as devices
from tenfold.training import recipe as recipes
from tenfold.training.loop import Trainer
from tenfold.training.predict import answer

if TYPE_CHECKING:
    import torch

    from tenfold.runs.run import Run


class DigitClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of 28x28 digit images.

    recipe:    a shipped recipe's name, or a .toml file.
    overrides: KEY=VALUE strings that change single values of it.
    seed:      of weights, order and augmentation; None takes the recipe's.
    device:    "auto", "cpu", "cuda" or "mps".
    Learned: `classes_` (10,), `module_` (a network's, None for a classical model) or `model_` (the other way round),
    `recipe_`, `history_` (the evaluations during training), and `temperature_`, fitted on the held-out images, which
    makes the probabilities mean what they say.
    """

    def __init__(
        self, recipe: str = "fast", overrides: tuple[str, ...] = (), seed: int | None = None, device: str = "auto"
    ) -> None:
        self.recipe = recipe
        self.overrides = overrides
        self.seed = seed
        self.device = device

    def fit(self, X: ArrayLike, y: ArrayLike) -> "DigitClassifier":
        """Return self, trained on X, (N, 28, 28) or (N, 784) with ink 255 on 0, and labels y, (N,), 0 to 9."""
        images, labels = as_images(X), np.asarray(y)
        if labels.shape != (len(images),) or not np.isin(labels, np.arange(10)).all():
            raise DataError(f"Labels have shape '{labels.shape}' or are not digits. Give ({len(images)},), 0 to 9.")
        labels = labels.astype(np.int64)
        self.recipe_ = recipes.load(self.recipe, self.overrides)
        seed = self.recipe_.seed if self.seed is None else self.seed
        threads = devices.use_threads()
        train, held_out = hold_out(labels, self.recipe_, seed)
        validation = (images[held_out], labels[held_out]) if len(held_out) else None
        if self.recipe_.classical:
            _only_processor(self.recipe_, self.device)
            self._take_classical(_classical(self.recipe_, seed, threads).fit(images[train], labels[train]))
            self.history_: list[dict[str, Any]] = []
        else:
            self._fit_network(images[train], labels[train], validation, seed, threads)
        if validation is not None:
            self.calibrate(*validation)
        return self

    def _fit_network(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        validation: tuple[NDArray[np.uint8], NDArray[np.int64]] | None,
        seed: int,
        threads: int,
    ) -> None:
        device = devices.choose(self.device)
        trainer = Trainer(self.recipe_, images, labels, validation, seed=seed, device=device, threads=threads)
        trainer.run()
        self._take(trainer.module, trainer.weights())
        self.history_ = trainer.history

    def calibrate(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Fit `temperature_` on held-out data and return the probabilities that it gives there, (N, 10)."""
        self.temperature_ = 1.0
        probabilities = self.predict_proba(images)
        self.temperature_ = fit_temperature(labels, probabilities)
        return sharpen(probabilities, self.temperature_)

    @classmethod
    def from_run(cls, run: "Run", device: str = "auto") -> "DigitClassifier":
        """Return the classifier that a run holds; RunError where its weights are missing or do not fit its recipe."""
        self = cls(recipe=str(run.path / "recipe.toml"), seed=run.manifest["seed"], device=device)
        self.recipe_ = run.recipe
        self.history_ = run.metrics()
        threads = devices.use_threads()
        model, temperature = run.recipe.model, run.manifest.get("temperature", 1.0)
        if run.recipe.classical:
            _only_processor(run.recipe, device)
            features = run.recipe.features.model_dump()
            self._take_classical(
                Classical.load(run.path, model.kind, model.arguments(), features, threads), temperature
            )
        else:
            module = build(model.kind, model.arguments()).to(devices.choose(device))
            self._take(module, run.weights(), temperature)
        return self

    def _take(self, module: "torch.nn.Module", weights: "dict[str, torch.Tensor]", temperature: float = 1.0) -> None:
        """Keep `module` with `weights`, ready to answer."""
        module.load_state_dict(weights)
        self.module_: torch.nn.Module | None = devices.lay_out(module, "channels_last").eval()
        self.model_: Classical | None = None
        self.classes_ = np.arange(10)
        self.temperature_ = temperature

    def _take_classical(self, model: Classical, temperature: float = 1.0) -> None:
        """Keep a fitted classical model, ready to answer."""
        self.module_, self.model_ = None, model
        self.classes_ = np.arange(10)
        self.temperature_ = temperature

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return probabilities, (N, 10) float32, always computed in fp32, with the recipe's test-time augmentation."""
        return self.answer(X)[0]

    def answer(self, X: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return `predict_proba(X)`, and the probability that each image is a digit at all, (N,) float32.

        The second is 1 throughout for a model that has never been shown anything but digits.
        """
        import torch

        check_is_fitted(self)
        images = as_images(X)
        if self.model_ is not None:
            return sharpen(self.model_.probabilities(images), self.temperature_), np.ones(len(images), np.float32)
        assert self.module_ is not None
        tensor = torch.from_numpy(images).to(next(self.module_.parameters()).device)
        probabilities, digit = answer(self.module_, tensor, self.recipe_.prediction.shifts)
        return sharpen(probabilities, self.temperature_), digit

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return the most probable digits, (N,) int64."""
        digits: NDArray[np.int64] = self.predict_proba(X).argmax(1)
        return digits


def _classical(recipe: recipes.Recipe, seed: int, threads: int) -> Classical:
    """Return the recipe's classical model, not fitted."""
    return Classical(recipe.model.kind, recipe.model.arguments(), recipe.features.model_dump(), seed, threads)


def _only_processor(recipe: recipes.Recipe, device: str) -> None:
    """Raise TrainingError where a classical model is asked onto another device."""
    if device not in ("auto", "cpu"):
        raise TrainingError(
            f"'{recipe.model.kind}' runs on the processor alone, not on '{device}'. Give the device auto or cpu."
        )


def hold_out(
    labels: NDArray[np.int64], recipe: recipes.Recipe, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices to train on and those to hold out, as the recipe's share, or its fold, asks."""
    data = recipe.data
    seed = seed if data.split_seed is None else data.split_seed
    if data.folds is not None and data.fold is not None:
        return splits.stratified_folds(labels, data.folds, seed)[data.fold]
    if data.validation == 0:
        return np.arange(len(labels)), np.zeros(0, np.int64)
    return splits.stratified_split(labels, data.validation, seed)


def as_images(X: ArrayLike) -> NDArray[np.uint8]:
    """Return X as (N, 28, 28) uint8; DataError for another shape, or values that are not whole numbers of 0 to 255."""
    array: NDArray[Any] = np.asarray(X)
    if array.shape[1:] not in ((28, 28), (784,)):
        raise DataError(f"Images have shape '{array.shape}'. Give (N, 28, 28) or (N, 784).")
    if array.dtype != np.uint8:
        if not ((array >= 0) & (array <= 255)).all() or (array != np.floor(array)).any():  # NaN fails the first
            raise DataError(f"Images of '{array.dtype}' hold what is not a whole number of 0 to 255. Scale them.")
        array = array.astype(np.uint8)
    return np.ascontiguousarray(array.reshape(len(array), 28, 28))
