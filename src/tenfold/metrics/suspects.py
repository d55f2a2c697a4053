"""Labels that images probably do not have, by answers that were not trained on them, and the images most alike.

Confident learning, by cleanlab: C. Northcutt, L. Jiang, I. Chuang, "Confident learning: estimating uncertainty in
dataset labels" (2021).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.errors import DataError, MissingExtraError
from tenfold.metrics.scores import checked

NEIGHBOURS = 5


def finder() -> Callable[..., Any]:
    """Return cleanlab's function, which `find_suspects` calls; MissingExtraError where it is not installed."""
    try:
        from cleanlab.filter import find_label_issues
    except ImportError as error:
        raise MissingExtraError("cleanlab, which finds suspect labels,", "audit") from error
    return find_label_issues  # type: ignore[no-any-return]


def find_suspects(labels: ArrayLike, probabilities: ArrayLike) -> NDArray[np.int64]:
    """Return the indices of images whose label is suspect, (S,) int64, the least probable label first.

    Suspect: another digit is as probable as it is, on average, for the images labelled so. On MNIST's 60,000 these are
    45 by five folds of `instant`, which give 523 another digit than their label.
    labels: (N,), 0 to 9. probabilities: (N, 10), of a model that was not trained on the image that it answers.
    Raises DataError for fewer than two digits among the labels, MissingExtraError without cleanlab.
    """
    given, shares = checked(labels, probabilities)
    if len(np.unique(given)) < 2:
        raise DataError(f"All labels are '{given[0]}', with nothing to mistake them for. Give two digits at least.")
    how = {"filter_by": "confident_learning", "return_indices_ranked_by": "self_confidence", "n_jobs": 1}
    return np.asarray(finder()(given, np.clip(shares, 0, 1), **how), np.int64)


def nearest(images: NDArray[np.uint8], chosen: NDArray[np.integer], k: int = NEIGHBOURS) -> list[list[int]]:
    """Return for each image of those `chosen` the indices of the k others most alike, the nearest first.

    images: (N, 28, 28) uint8. Their distance is Euclidean, on means of 2x2 pixels: a shift by one pixel costs less.
    """
    from sklearn.neighbors import NearestNeighbors

    if not len(chosen):
        return []
    pooled = images.reshape(-1, 14, 2, 14, 2).mean((2, 4), dtype=np.float32).reshape(len(images), -1)  # 784 bytes each
    search = NearestNeighbors(n_neighbors=min(k + 1, len(images)), algorithm="brute").fit(pooled)
    found = search.kneighbors(pooled[chosen], return_distance=False)
    return [[int(j) for j in row if j != i][:k] for i, row in zip(chosen.tolist(), found, strict=True)]
