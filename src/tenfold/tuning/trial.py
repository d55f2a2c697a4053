"""One candidate of a search: a recipe trained on one part of the training data, and its answers on another."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from tenfold.data.digits import Digits
from tenfold.metrics.calibration import calibrated_nll
from tenfold.runs.estimator import classical
from tenfold.training import device as devices
from tenfold.training import recipe as recipes
from tenfold.training.loop import Trainer
from tenfold.training.predict import predict
from tenfold.training.recipe import Recipe

if TYPE_CHECKING:
    pass

CURVE_POINTS = 10  # looks at a trial on its way, at the same shares of training, so that all can be compared

Probabilities = NDArray[np.float32]
Report = Callable[[int, float, float], bool]


class Stopped(Exception):
    """Whoever watches the trial has seen enough of it."""


@dataclass(frozen=True)
class Figures:
    """What a trial comes to on its n held-out images, and the seconds that its training took."""

    nll: float
    accuracy: float
    n: int
    seconds: float


def judge(recipe: Recipe, digits: Digits, seed: int, threads: int, device: str, report: Report) -> Figures:
    """Return how good the recipe is on the images that it holds out, once it is trained on the others.

    The split and the probabilities are those of a run with this seed: averaged over shifts where the recipe asks for
    it, and with a temperature fitted on the held-out images. Without that, label smoothing alone would double the NLL.
    Here the temperature is fitted also where no mistake is left, or a mistake would pay.
    report: called on the way with the share of training done (whole percent), the NLL with its own best temperature,
    and the accuracy; where it returns True the trial ends with Stopped. A classical model has nothing to report.
    """
    assert digits.labels is not None
    kept, held_out = recipe.data.hold_out(digits.labels, seed)
    train, rest = digits.take(kept), digits.take(held_out)
    if recipe.classical:
        probabilities, seconds = _fit(recipe, train, rest, seed, threads)
    else:
        trainer = _train(recipe, train, rest, seed, threads, device, report)
        answered = trainer.finish()[1]
        assert answered is not None
        probabilities, seconds = answered.probabilities, trainer.position.seconds
    assert rest.labels is not None
    accuracy = float((probabilities.argmax(1) == rest.labels).mean())
    return Figures(calibrated_nll(rest.labels, probabilities), accuracy, len(rest), round(seconds, 3))


def _fit(recipe: Recipe, train: Digits, rest: Digits, seed: int, threads: int) -> tuple[Probabilities, float]:
    began = time.perf_counter()
    assert train.labels is not None
    model = classical(recipe, seed, threads).fit(train.images, train.labels)
    seconds = time.perf_counter() - began
    return model.probabilities(rest.images), seconds


def _train(
    recipe: Recipe, train: Digits, rest: Digits, seed: int, threads: int, device: str, report: Report
) -> Trainer:
    """Return what a network was trained with, to the end."""
    devices.use_threads(threads)
    assert train.labels is not None
    assert rest.labels is not None
    if not _heeds_validation(recipe):  # then validations on the way would cost time and change nothing
        rare = recipe.training.model_copy(update={"evaluate_every": 2 * recipe.training.epochs + 1})
        recipe = recipe.model_copy(update={"training": rare})
    trainer = Trainer(
        recipe,
        train.images,
        train.labels,
        (rest.images, rest.labels),
        seed=seed,
        device=devices.choose(device),
        threads=threads,
    )
    labels = rest.labels
    every = max(1, trainer.total_steps // CURVE_POINTS)

    def each_step(trainer: Trainer) -> bool:
        step = trainer.position.step
        if step % every or trainer.finished:
            return False
        probabilities = trainer.look()
        accuracy = float((probabilities.argmax(1) == labels).mean())
        return report(round(100 * step / trainer.total_steps), calibrated_nll(labels, probabilities), accuracy)

    if not trainer.run(each_step):
        raise Stopped
    return trainer


def _answers(trainer: Trainer, images: NDArray[np.uint8]) -> Probabilities:
    on_device = torch.from_numpy(images).to(trainer.device)
    return predict(trainer.module, on_device, trainer.recipe.prediction.shifts)


def _heeds_validation(recipe: Recipe) -> bool:
    """Return True where the training is steered by its own validations, False where they would only cost time."""
    return recipe.schedule.kind == "plateau" or recipe.training.keep == "best" or recipe.training.early_stopping > 0


class Candidate(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A recipe with KEY=VALUE overrides as a scikit-learn classifier, features and all, on a given number of threads.

    scikit-learn's search classes take it apart and put it together by these arguments, so whatever is learnt of the
    images (principal components, means, where a network keeps its best) is learnt in each fold anew.
    """

    def __init__(self, recipe: str | Path, overrides: tuple[str, ...] = (), seed: int = 0, threads: int = 1) -> None:
        self.recipe = recipe
        self.overrides = overrides
        self.seed = seed
        self.threads = threads

    def fit(self, X: NDArray[np.uint8], y: NDArray[np.int64]) -> "Candidate":
        """Return self, fitted to X, (N, 28, 28) uint8, and labels y, (N,)."""
        recipe = recipes.load(self.recipe, self.overrides)
        if recipe.classical:
            self.predict_proba_ = classical(recipe, self.seed, self.threads).fit(X, y).probabilities
        else:
            kept, held_out = recipe.data.hold_out(y, self.seed)
            digits = Digits.of(X, y)
            train, rest = digits.take(kept), digits.take(held_out)
            trainer = _train(recipe, train, rest, self.seed, self.threads, "auto", lambda share, nll, accuracy: False)
            trainer.finish()
            self.predict_proba_ = partial(_answers, trainer)
        self.classes_ = np.arange(10)
        return self

    def predict_proba(self, X: NDArray[np.uint8]) -> Probabilities:
        """Return probabilities, (N, 10) float32."""
        probabilities: Probabilities = self.predict_proba_(X)
        return probabilities

    def predict(self, X: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the most probable digits, (N,) int64."""
        digits: NDArray[np.int64] = self.predict_proba(X).argmax(1)
        return digits
