"""The classical estimators by name: their arguments, checked, as a recipe's [model] table gives them."""

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from tenfold.errors import RecipeError, TrainingError, nearest

Share = Annotated[float, Field(gt=0, le=1)]


class Arguments(BaseModel):
    """The keys of a recipe's [model] table beside `kind`, named as the estimator's own arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def estimator(self, seed: int, threads: int) -> Any:
        """Return the unfitted estimator."""
        raise NotImplementedError


class Logistic(Arguments):
    """Multinomial logistic regression."""

    C: PositiveFloat = 0.1
    max_iter: PositiveInt = 1000
    tol: PositiveFloat = 1e-3

    def estimator(self, seed: int, threads: int) -> Any:
        """Return a LogisticRegression."""
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(**self.model_dump())


class Svm(Arguments):
    """A support vector machine with the RBF kernel."""

    C: PositiveFloat = 10.0
    gamma: PositiveFloat | Literal["scale"] = "scale"

    def estimator(self, seed: int, threads: int) -> Any:
        """Return a PairwiseSVC."""
        from tenfold.models.pairwise import PairwiseSVC

        return PairwiseSVC(**self.model_dump(), n_jobs=threads)


class Knn(Arguments):
    """k nearest neighbours by Euclidean distance."""

    n_neighbors: PositiveInt = 4
    weights: Literal["uniform", "distance"] = "distance"

    def estimator(self, seed: int, threads: int) -> Any:
        """Return a KNeighborsClassifier."""
        from sklearn.neighbors import KNeighborsClassifier

        return KNeighborsClassifier(**self.model_dump(), algorithm="brute", n_jobs=threads)


class Forest(Arguments):
    """A random forest."""

    n_estimators: PositiveInt = 200
    max_features: PositiveInt | Share | Literal["sqrt", "log2"] = "sqrt"
    min_samples_leaf: PositiveInt = 1
    max_depth: PositiveInt | None = None

    def estimator(self, seed: int, threads: int) -> Any:
        """Return a RandomForestClassifier."""
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(**self.model_dump(), random_state=seed, n_jobs=threads)


class XGBoost(Arguments):
    """Gradient-boosted trees, grown on histograms of the values."""

    n_estimators: PositiveInt = 200
    max_depth: PositiveInt = 6
    learning_rate: Share = 0.3
    subsample: Share = 1.0
    colsample_bytree: Share = 1.0
    colsample_bylevel: Share = 1.0
    min_child_weight: Annotated[float, Field(ge=0)] = 1.0
    reg_lambda: Annotated[float, Field(ge=0)] = 1.0
    max_bin: Annotated[int, Field(ge=2)] = 256

    def estimator(self, seed: int, threads: int) -> Any:
        """Return an XGBClassifier."""
        from xgboost import XGBClassifier

        return XGBClassifier(**self.model_dump(), tree_method="hist", random_state=seed, n_jobs=threads)


KINDS: dict[str, type[Arguments]] = {
    "logistic": Logistic,
    "svm": Svm,
    "knn": Knn,
    "forest": Forest,
    "xgboost": XGBoost,
}


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
    nodes = [text.count("leaf=") + 2 * text.count("yes=") for text in estimator.get_booster().get_dump()]
    return sum(nodes)
