"""The classical estimators by name: their arguments, checked, as a recipe's [model] table gives them."""

import importlib
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from tenfold.errors import RecipeError, TrainingError, nearest
from tenfold.models import CLASSICAL

Share = Annotated[float, Field(gt=0, le=1)]


class Arguments(BaseModel):
    """The keys of a recipe's [model] table beside `kind`, named as the estimator's own arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    made: ClassVar[str]  # the estimator, as module:class, so that naming one imports none
    fixed: ClassVar[dict[str, str]] = {}  # arguments of the estimator that no recipe sets
    given: ClassVar[dict[str, str]] = {}  # its names for the seed and the number of threads, where it takes them

    def estimator(self, seed: int, threads: int) -> Any:
        """Return the unfitted estimator."""
        module, _, name = self.made.partition(":")
        known = {"seed": seed, "threads": threads}
        given = {argument: known[what] for argument, what in self.given.items()}
        return getattr(importlib.import_module(module), name)(**self.model_dump(), **self.fixed, **given)


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
    if kind not in KINDS:
        raise RecipeError(
            f"No classical model is called '{kind}'.{nearest(kind, KINDS)} "
            f"Set model.kind to one of: {', '.join(KINDS)}."
        )
    known = list(KINDS[kind].model_fields)
    try:
        return KINDS[kind].model_validate(arguments)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            raise RecipeError(
                f"Model '{kind}' has no argument '{name}'.{nearest(name, known)} Known here: {', '.join(known)}."
            ) from None
        raise RecipeError(
            f"Model '{kind}' has {name} = '{first['input']}': {first['msg']}. Change that value."
        ) from None


def fit(estimator: Any, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> Any:
    """Return the estimator, fitted; TrainingError where its solver did not come to an end."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            return estimator.fit(rows, labels)
        except ConvergenceWarning:
            raise TrainingError(
                f"The solver has not converged within '{estimator.max_iter}' steps. Set model.max_iter or model.tol "
                "higher, or model.C lower."
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
