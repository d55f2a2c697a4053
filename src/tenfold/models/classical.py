"""The classical models: scikit-learn's and XGBoost's estimators, with their features, behind one small class.

What is saved is a graph for onnxruntime or XGBoost's JSON, and a safetensors file of what the features learned. A
model answers through the same bytes before and after it is saved, so a loaded one answers the same.
"""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError, RecipeError, RunError, TrainingError, nearest
from tenfold.files import write_atomically
from tenfold.models import estimators
from tenfold.models.fitted import PARAMETERS, Fitted, Graph, Trees, open_fitted

if TYPE_CHECKING:
    from tenfold.models.features import Features

FEATURES = "features.safetensors"
VOTES = {"knn": "n_neighbors", "forest": "n_estimators"}
BATCH = 1000  # images whose features and kernel rows lie in memory at a time


class Classical:
    """A classical model of digit images, with its features.

    kind: of `tenfold.models.estimators.KINDS`. arguments: of its estimator. features: of
    `tenfold.models.features.Features`. threads: at most so many compute.
    Raises RecipeError for a kind, an argument or a feature that is unknown or out of range.
    parameters: how many numbers were fitted: coefficients and intercepts; support vectors and their non-zero weights;
    the stored images' values; two a split of a tree, one a leaf (ten in a forest's); and what the features learned.
    """

    def __init__(
        self, kind: str, arguments: dict[str, Any], features: dict[str, Any], seed: int = 0, threads: int = 1
    ) -> None:
        self.kind = kind
        self.arguments = estimators.checked(kind, arguments)
        self.features = _features(features)
        self.seed = seed
        self.threads = threads
        self.fitted: Fitted | None = None

    def estimator(self) -> Any:
        """Return the scikit-learn estimator, not fitted, that stands behind the features."""
        return self.arguments.estimator(self.seed, self.threads)

    @property
    def parameters(self) -> int:
        """How many numbers were fitted, the features' included."""
        return self._ready().parameters + sum(array.size for array in self.features.learned.values())

    @property
    def votes(self) -> int | None:
        """How many votes the probabilities are shares of; None where they are none."""
        return getattr(self.arguments, VOTES[self.kind]) if self.kind in VOTES else None

    def fit(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> "Classical":
        """Return self, fitted to images (N, 28, 28) uint8 and labels (N,), which have to hold every digit.

        Raises DataError for labels that lack a digit, RecipeError for more neighbours or components than images,
        TrainingError where the solver does not come to an end.
        """
        from threadpoolctl import threadpool_limits

        labels = np.asarray(labels)
        missing = np.setdiff1d(np.arange(10), labels)
        if len(missing):
            raise DataError(f"No training image shows a '{missing[0]}'. Give images of all ten digits.")
        neighbours = getattr(self.arguments, "n_neighbors", 0)
        if neighbours > len(images):
            raise RecipeError(
                f"model.n_neighbors = '{neighbours}' is more than the {len(images):,} training images. Set it lower."
            )
        with threadpool_limits(self.threads):
            rows = self.features.fit_transform(images)
            estimator = estimators.fit(self.estimator(), rows, labels)
        self.fitted = _keep(self.kind, estimator, rows, labels, self.threads)
        return self

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return probabilities, (N, 10) float32, not yet calibrated, of images (N, 28, 28) uint8."""
        fitted = self._ready()
        parts = [np.zeros((0, 10), np.float32)]
        for start in range(0, len(images), BATCH):
            parts.append(fitted.answer(np.ascontiguousarray(self.features.transform(images[start : start + BATCH]))))
        shares = np.concatenate(parts)
        if self.votes is None:
            return shares
        # One more vote, spread over the ten digits: none is impossible (Laplace's rule).
        return np.asarray((shares * self.votes + 0.1) / (self.votes + 1), np.float32)

    def save(self, folder: Path) -> None:
        """Write the model's file, and features.safetensors where the features learned something; RunError if not."""
        from safetensors.numpy import save

        arrays = {name: np.ascontiguousarray(array) for name, array in self.features.learned.items()}
        try:
            if arrays:
                write_atomically(folder / FEATURES, save(arrays))
            write_atomically(folder / model_file(self.kind), self._ready().content)
        except OSError as error:
            raise RunError(
                f"The model cannot be written to '{folder}': {error.strerror}. Free space or rights."
            ) from None

    @classmethod
    def load(
        cls, folder: Path, kind: str, arguments: dict[str, Any], features: dict[str, Any], threads: int = 1
    ) -> "Classical":
        """Return the model that `save` wrote to the folder; RunError where its files are missing, broken or others'."""
        self = cls(kind, arguments, features, threads=threads)
        path = folder / model_file(kind)
        if not path.exists():
            raise RunError(f"The run '{folder}' has no model yet. Continue it: tenfold train --resume {folder}")
        _restore(self.features, folder / FEATURES)
        self.fitted = open_fitted(path, self.features.width, threads)
        return self

    def _ready(self) -> Fitted:
        if self.fitted is None:
            raise TrainingError(f"The model '{self.kind}' is not fitted. Call fit first.")
        return self.fitted


def model_file(kind: str) -> str:
    """Return the name of the file in which a model of that kind is kept."""
    return "model.json" if kind == "xgboost" else "model.onnx"


def _restore(features: "Features", path: Path) -> None:
    """Give the features what they had learned, where they learn something; RunError where the file does not hold it."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        features.restore(load(path.read_bytes()) if features.learns else {})
    except FileNotFoundError:
        raise RunError(f"'{path}' is missing. Train the run again.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(f"'{path}' cannot be read: {error}. Train the run again.") from None


def _keep(kind: str, estimator: Any, rows: NDArray[np.float32], labels: NDArray[np.int64], threads: int) -> Fitted:
    """Return the fitted estimator as the bytes that answer for it, with its count of parameters in them."""
    from tenfold.models import estimator_graphs as graphs

    count = str(estimators.count(kind, estimator, rows))
    if kind == "xgboost":
        booster = estimator.get_booster()
        booster.set_attr(**{PARAMETERS: count})
        return Trees(bytes(booster.save_raw("json")), threads)
    if kind == "svm":
        graph = graphs.svm(estimator)
    elif kind == "knn":
        graph = graphs.knn(estimator, rows, labels)
    else:
        graph = graphs.converted(estimator)
    graph.metadata_props.add(key=PARAMETERS, value=count)
    return Graph(graph.SerializeToString(), threads)


def _features(arguments: dict[str, Any]) -> "Features":
    """Return the transformer with these arguments; RecipeError names one that it does not have."""
    from tenfold.models.features import Features

    known = list(inspect.signature(Features).parameters)
    for name in arguments:
        if name not in known:
            raise RecipeError(f"There is no feature '{name}'.{nearest(name, known)} Known: {', '.join(known)}.")
    return Features(**arguments)


def only_processor(kind: str, device: str) -> None:
    """Raise TrainingError where a classical model is asked onto another device."""
    if device not in ("auto", "cpu"):
        raise TrainingError(f"'{kind}' runs on the processor alone, not on '{device}'. Give --device auto or cpu.")
