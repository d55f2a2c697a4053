"""The classical models: scikit-learn's and XGBoost's estimators, with their features, behind one small class.

What is saved is a graph for onnxruntime, and a safetensors file of what the features learned. A model answers through
the same bytes before and after it is saved, so a loaded one answers the same.
"""

import importlib
import warnings
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from tenfold.errors import DataError, ModelError, RecipeError, RunError, TrainingError, nearest, remedy
from tenfold.files import write_atomically
from tenfold.models import CLASSICAL, fitted
from tenfold.models.fitted import MAX_BYTES, NAME, PARAMETERS, Fitted, open_fitted
from tenfold.progress import track
from tenfold.runtime.model_file import read_model

FEATURES = "features.safetensors"
VOTES = {"knn": "n_neighbors", "forest": "n_estimators"}
BATCH = 1000  # images whose features and kernel rows lie in memory at a time

Share = Annotated[float, Field(gt=0, le=1)]


class Arguments(BaseModel):
    """The keys of a recipe's [model] table beside `kind`, named as the estimator's own arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    made: ClassVar[str]  # the estimator, as module:class, so that naming one imports none
    fixed: ClassVar[dict[str, str]] = {}  # arguments of the estimator that no recipe sets
    given: ClassVar[dict[str, str]] = {}  # its names for the seed and the number of threads, where it takes them


class Logistic(Arguments):
    """Multinomial logistic regression."""

    made = "sklearn.linear_model:LogisticRegression"
    C: PositiveFloat = 0.1
    max_iter: PositiveInt = 1000
    tol: PositiveFloat = 1e-3


class Svm(Arguments):
    """A support vector machine with the RBF kernel."""

    made = "tenfold.models.pairwise:PairwiseSVC"
    given = {"n_jobs": "threads"}
    C: PositiveFloat = 10.0
    gamma: PositiveFloat | Literal["scale"] = "scale"


class Knn(Arguments):
    """k nearest neighbours by Euclidean distance."""

    made = "sklearn.neighbors:KNeighborsClassifier"
    fixed = {"algorithm": "brute"}
    given = {"n_jobs": "threads"}
    n_neighbors: PositiveInt = 4
    weights: Literal["uniform", "distance"] = "distance"


class Forest(Arguments):
    """A random forest."""

    made = "sklearn.ensemble:RandomForestClassifier"
    given = {"random_state": "seed", "n_jobs": "threads"}
    n_estimators: PositiveInt = 200
    max_features: PositiveInt | Share | Literal["sqrt", "log2"] = "sqrt"
    min_samples_leaf: PositiveInt = 1
    max_depth: PositiveInt | None = None


class XGBoost(Arguments):
    """Gradient-boosted trees, grown on histograms of the values."""

    made = "xgboost:XGBClassifier"
    fixed = {"tree_method": "hist"}
    given = {"random_state": "seed", "n_jobs": "threads"}
    n_estimators: PositiveInt = 200
    max_depth: PositiveInt = 6
    learning_rate: Share = 0.3
    subsample: Share = 1.0
    colsample_bytree: Share = 1.0
    colsample_bylevel: Share = 1.0
    min_child_weight: Annotated[float, Field(ge=0)] = 1.0
    reg_lambda: Annotated[float, Field(ge=0)] = 1.0
    max_bin: Annotated[int, Field(ge=2)] = 256


KINDS: dict[str, type[Arguments]] = dict(zip(CLASSICAL, (Logistic, Svm, Knn, Forest, XGBoost), strict=True))


def checked(kind: str, arguments: dict[str, Any]) -> Arguments:
    """Return the arguments of that kind; RecipeError names the first that is unknown or out of range."""
    try:
        return KINDS[kind].model_validate(arguments)
    except ValidationError as error:
        first = error.errors()[0]
        name, known = str(first["loc"][0]), list(KINDS[kind].model_fields)
        if first["type"] == "extra_forbidden":
            raise RecipeError(
                f"Model '{kind}' has no argument '{name}'.{nearest(name, known)} Known here: {', '.join(known)}."
            ) from None
        raise RecipeError(
            f"Model '{kind}' has {name} = '{first['input']}': {first['msg']}. Change that value."
        ) from None


def count(kind: str, estimator: Any, rows: NDArray[np.float32]) -> int:
    """Return how many numbers the estimator was fitted with, as `Classical` counts them."""
    if kind == "logistic":
        return int(estimator.coef_.size + estimator.intercept_.size)
    if kind == "svm":
        weights = np.count_nonzero(estimator.dual_coef_)
        return int(estimator.support_vectors_.size + weights + estimator.intercept_.size)
    if kind == "knn":
        return int(rows.size)
    if kind == "forest":
        return sum(2 * (tree.tree_.node_count - tree.tree_.n_leaves) + 10 * tree.tree_.n_leaves for tree in estimator)
    return sum(tree.count("leaf=") + 2 * tree.count("yes=") for tree in estimator.get_booster().get_dump())


class Classical:
    """A classical model of digit images, with its features.

    kind: of `KINDS`. arguments: of its estimator. features: of `tenfold.models.features.Features`. threads: at most so
    many compute.
    Raises RecipeError for an argument that is unknown or out of range; features were checked with their recipe.
    parameters: how many numbers were fitted: coefficients and intercepts; support vectors and their non-zero weights;
    the stored images' values; two a split of a tree, one a leaf (ten in a forest's); and what the features learned.
    """

    def __init__(
        self, kind: str, arguments: dict[str, Any], features: dict[str, Any], seed: int = 0, threads: int = 1
    ) -> None:
        from tenfold.models.features import Features

        self.kind = kind
        self.arguments = checked(kind, arguments)
        self.features = Features(**features)
        self.seed = seed % 2**32  # more than that scikit-learn does not take
        self.threads = threads
        self.fitted: Fitted | None = None

    def estimator(self) -> Any:
        """Return the scikit-learn estimator, not fitted, that stands behind the features."""
        module, _, name = self.arguments.made.partition(":")
        given = {argument: getattr(self, what) for argument, what in self.arguments.given.items()}
        arguments = self.arguments.model_dump() | self.arguments.fixed | given
        return getattr(importlib.import_module(module), name)(**arguments)

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
        from sklearn.exceptions import ConvergenceWarning
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
        with threadpool_limits(self.threads), warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            rows, estimator = self.features.fit_transform(images), self.estimator()
            try:
                estimator.fit(rows, labels)
            except ConvergenceWarning:
                raise TrainingError(
                    f"The solver has not converged within '{estimator.max_iter}' steps. Set model.max_iter or "
                    "model.tol higher, or model.C lower."
                ) from None
        self.fitted = _keep(self.kind, estimator, rows, labels, self.threads)
        return self

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return probabilities, (N, 10) float32, not yet calibrated, of images (N, 28, 28) uint8."""
        fitted = self._ready()
        batches = (images[start : start + BATCH] for start in track(range(0, len(images), BATCH)))
        parts = [fitted.answer(np.ascontiguousarray(self.features.transform(batch))) for batch in batches]
        shares = np.concatenate([np.zeros((0, 10), np.float32), *parts])
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
            write_atomically(folder / NAME, self._ready().content)
        except OSError as error:
            advice = remedy(error, "Free space or rights.")
            raise RunError(f"The model cannot be written to '{folder}': {error.strerror}. {advice}") from None

    @classmethod
    def load(
        cls, folder: Path, kind: str, arguments: dict[str, Any], features: dict[str, Any], threads: int = 1
    ) -> "Classical":
        """Return the model that `save` wrote to the folder; RunError where its files are missing, broken or others'."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        self = cls(kind, arguments, features, threads=threads)
        path = folder / NAME
        if not path.exists():
            raise RunError(f"The run '{folder}' has no model yet. Resume it: tenfold train --resume {folder}")
        learned = folder / FEATURES
        try:
            if self.features.learns and not learned.exists():
                raise RunError(f"'{learned}' is missing. Train the run again.")
            self.features.restore(load(read_model(learned, MAX_BYTES)) if self.features.learns else {})
        except (SafetensorError, ModelError, OSError, ValueError) as error:
            raise RunError(f"'{learned}' cannot be read: {error}. Train the run again.") from None
        self.fitted = open_fitted(path, self.features.width, threads)
        return self

    def _ready(self) -> Fitted:
        if self.fitted is None:
            raise TrainingError(f"The model '{self.kind}' is not fitted. Call fit first.")
        return self.fitted


def _keep(kind: str, estimator: Any, rows: NDArray[np.float32], labels: NDArray[np.int64], threads: int) -> Fitted:
    """Return the fitted estimator as the bytes that answer for it, with its count of parameters in them."""
    parameters = str(count(kind, estimator, rows))
    if kind == "svm":
        graph = fitted.svm(estimator)
    elif kind == "knn":
        graph = fitted.knn(estimator, rows, labels)
    elif kind == "xgboost":
        graph = fitted.boosted(bytes(estimator.get_booster().save_raw("json")))
    else:
        graph = fitted.converted(estimator)
    graph.metadata_props.add(key=PARAMETERS, value=parameters)
    return Fitted(graph.SerializeToString(), threads, rows.shape[1])


def only_processor(kind: str, device: str) -> None:
    """Raise TrainingError where a classical model is asked onto another device."""
    if device not in ("auto", "cpu"):
        raise TrainingError(f"'{kind}' runs on the processor alone, not on '{device}'. Give --device auto or cpu.")
