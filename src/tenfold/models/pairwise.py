"""A support vector machine for ten digits that fits 60,000 images within minutes.

scikit-learn's SVC computes its kernel one row at a time, in float64. Each of the 45 pairs of digits is a problem of its
own, of 12,000 images: small enough to compute all of its kernel in one matrix product, in float32, and to hand that to
the same solver, libsvm, several pairs side by side. 20,000 images of 784 pixels took one core 16 s in place of SVC's
63 s, with the same answers. A pair of 12,000 images needs 2 GB while it is fitted.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVC

CACHE_MB = 500  # of the solver, a pair

Floats = NDArray[np.float32]


class PairwiseSVC:
    """Support vector classification with the RBF kernel exp(-gamma |a - b|²), one machine for each pair of classes.

    C: the penalty of an error. gamma: a number, or "scale" for 1 / (D * variance), as in scikit-learn's SVC.
    n_jobs: pairs fitted side by side, on threads.
    Learned: `classes_`; `pairs_` (P, 2), indices of classes; `support_vectors_` (S, D) float32, those of all pairs;
    `dual_coef_` (S, P) float32 and `intercept_` (P,) float32, with which the kernel's row gives a pair's decision,
    above 0 for the first class of the pair. `tenfold.models.fitted.svm` makes answers of them.
    """

    def __init__(self, C: float = 1.0, gamma: float | str = "scale", n_jobs: int = 1) -> None:
        self.C = C
        self.gamma = gamma
        self.n_jobs = n_jobs

    def fit(self, X: Floats, y: NDArray[np.int64]) -> "PairwiseSVC":
        """Return self, fitted to X, (N, D), and the labels y, (N,)."""
        self.classes_ = np.unique(y)
        self.gamma_ = 1 / (X.shape[1] * float(X.var())) if self.gamma == "scale" else float(self.gamma)
        self.pairs_ = np.array(list(combinations(range(len(self.classes_)), 2)))
        images_of = [np.flatnonzero(y == label) for label in self.classes_]

        def fit_pair(pair: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
            """Return which images are support vectors, (S,), their signed weights, (S,), and the intercept."""
            first, second = (images_of[place] for place in pair)
            indices = np.concatenate([first, second])
            is_first = np.arange(len(indices)) < len(first)
            kernel = rbf(X[indices], X[indices], self.gamma_)
            machine = SVC(kernel="precomputed", C=self.C, cache_size=CACHE_MB).fit(kernel, is_first)
            return indices[machine.support_], machine.dual_coef_[0], float(machine.intercept_[0])

        with ThreadPoolExecutor(self.n_jobs) as pool:
            supports, weights, intercepts = zip(*pool.map(fit_pair, self.pairs_), strict=True)
        used = np.unique(np.concatenate(supports))
        self.support_vectors_ = X[used]
        self.dual_coef_ = np.zeros((len(used), len(supports)), np.float32)
        for column, support in enumerate(supports):
            self.dual_coef_[np.searchsorted(used, support), column] = weights[column]
        self.intercept_ = np.array(intercepts, np.float32)
        return self

    @property
    def duels_(self) -> NDArray[np.int64]:
        """Where the decisions for each class stand among those of all pairs and their negatives, (K, K - 1)."""
        signed = np.concatenate([self.pairs_[:, 0], self.pairs_[:, 1]])  # whom each decision is for
        return np.array([np.flatnonzero(signed == number) for number in range(len(self.classes_))])


def rbf(A: Floats, B: Floats, gamma: float) -> Floats:
    """Return exp(-gamma |a - b|²) for every row of A, (N, D), and B, (M, D), as (N, M) float32."""
    kernel = A @ B.T
    kernel *= 2
    kernel -= np.einsum("nd,nd->n", A, A)[:, None]
    kernel -= np.einsum("md,md->m", B, B)
    np.minimum(kernel, 0, out=kernel)  # rounding
    kernel *= np.float32(gamma)
    np.exp(kernel, out=kernel)
    return kernel
