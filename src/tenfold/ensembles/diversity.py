"""How members differ: where they err apart, and what averaging them makes of it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold.ensembles.averaging import answered, check_average, check_members, combine
from tenfold.errors import DataError

Table = NDArray[np.float64]


class Pairwise(NamedTuple):
    """What each two members have in common, (M, M) each and symmetric; NaN where it is undefined.

    With n11 images that both get wrong, n00 that both get right, n10 and n01 that one alone gets wrong, of the n that
    both answer (L. I. Kuncheva, C. J. Whitaker, "Measures of diversity in classifier ensembles and their relationship
    with the ensemble accuracy", Machine Learning 51 (2003)):
    """

    disagreement: Table  # (n10 + n01) / n: one is right and the other wrong
    q: Table  # Yule's Q, (n11 n00 - n10 n01) / (n11 n00 + n10 n01): 0 by chance, 1 where one's errors hold the other's
    double_fault: Table  # n11 / n; on the diagonal a member's error rate
    overlap: Table  # n11 / (n11 + n10 + n01), Jaccard: of the images that one of them gets wrong, those both do


class SizePoint(NamedTuple):
    """The accuracy of ensembles of `size` members drawn at random."""

    size: int
    draws: int
    mean: float
    low: float  # 5th percentile
    high: float  # 95th percentile
    lowest: float
    highest: float


class Rescued(NamedTuple):
    """Images (indices, int64) on which the average and its members are of two minds, ascending."""

    lost: NDArray[np.int64]  # some member is right, the average is wrong
    saved: NDArray[np.int64]  # the average is right, most members that answer are wrong


def errors_of(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return which images each member gets wrong, (M, N): 1 wrong, 0 right, NaN where it does not answer."""
    check_members(probabilities, labels)
    known = ~np.isnan(probabilities[:, :, 0])
    return np.where(known, np.where(known[:, :, None], probabilities, 0).argmax(axis=2) != labels, np.nan)


def pairwise(errors: NDArray[np.floating] | NDArray[np.bool_]) -> Pairwise:
    """Return what each two members have in common, of errors (M, N): true or 1 wrong, NaN not answered.

    Raises DataError for another shape.
    """
    if errors.ndim != 2:
        raise DataError(f"Errors have shape '{errors.shape}'. Give (M, N), a row a member.")
    values = errors.astype(np.float64)
    wrong, right = (np.nan_to_num(values) == 1).astype(np.float64), (values == 0).astype(np.float64)
    n11, n10, n01, n00 = wrong @ wrong.T, wrong @ right.T, right @ wrong.T, right @ right.T
    n = n11 + n10 + n01 + n00
    return Pairwise(
        _ratio(n10 + n01, n),
        _ratio(n11 * n00 - n10 * n01, n11 * n00 + n10 * n01),
        _ratio(n11, n),
        _ratio(n11, n11 + n10 + n01),
    )


def size_curve(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    sizes: Sequence[int],
    *,
    draws: int = 200,
    seed: int = 0,
    average: str = "probabilities",
) -> list[SizePoint]:
    """Return how accurate random ensembles of each size are, in the order of `sizes`.

    Each draw is an order of all members, whose first ones are an ensemble of every size: so the curve is smooth, and
    each point is of `draws` independent choices (of the whole pool there is but one). It shows what the choice of
    members is worth, and chance: the best of many draws lies high in the band, and is no better for it.
    Images that no member drawn answers are left out. Images that every member reads right are right in every average,
    and are not averaged again for each draw. Raises DataError for a size that is not 1 to M, or no draws.
    """
    errors = errors_of(probabilities, labels)
    check_average(average)
    count = len(probabilities)
    for size in sizes:
        if not 1 <= size <= count:
            raise DataError(f"An ensemble of '{size}' members cannot be drawn from {count}. Give 1 to {count}.")
    if draws < 1:
        raise DataError(f"'{draws}' draws show no band. Give at least 1.")
    contested = (errors == 1).any(axis=0)
    sure, shares, digits = ~np.isnan(errors[:, ~contested]), probabilities[:, contested], labels[contested]
    generator = np.random.default_rng(seed)
    found = np.empty((draws, len(sizes)))
    for draw in range(draws):
        order = generator.permutation(count)
        for place, size in enumerate(sizes):
            found[draw, place] = _accuracy(shares, digits, np.sort(order[:size]), average, sure)
    return [
        SizePoint(
            size,
            draws,
            float(of.mean()),
            float(np.quantile(of, 0.05)),
            float(np.quantile(of, 0.95)),
            float(of.min()),
            float(of.max()),
        )
        for size, of in zip(sizes, found.T, strict=True)
    ]


def _accuracy(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    members: NDArray[np.integer],
    average: str,
    sure: NDArray[np.bool_],
) -> float:
    """Return the accuracy of these members' average on the contested images and the others, `sure` (M, others)."""
    weights = np.zeros(len(probabilities))
    weights[members] = 1
    known = answered(probabilities, weights)
    right = (combine(probabilities, weights, average).argmax(axis=1) == labels)[known]
    others = int(sure[members].any(axis=0).sum())
    n = len(right) + others
    return float((right.sum() + others) / n) if n else float("nan")


def rescued(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], combined: NDArray[np.floating]
) -> Rescued:
    """Return the images that the average `combined`, (N, 10), loses though a member has them right, and those it saves.

    probabilities: (M, N, 10) of the members averaged, NaN where one does not answer. labels: (N,).
    Raises DataError for shapes that do not fit.
    """
    errors = errors_of(probabilities, labels)
    if combined.shape != probabilities.shape[1:]:
        raise DataError(
            f"The average has shape '{combined.shape}'. Give {probabilities.shape[1:]}, as the members have."
        )
    right = combined.argmax(axis=1) == labels
    wrong, hits = (errors == 1).sum(axis=0), (errors == 0).sum(axis=0)
    lost = np.flatnonzero(~right & (hits > 0)).astype(np.int64)
    return Rescued(lost, np.flatnonzero(right & (wrong > hits)).astype(np.int64))


def mean_pair(table: Table) -> float:
    """Return the mean over pairs of two different members, undefined ones left out; NaN where there are none."""
    pairs = table[np.triu_indices(len(table), 1)]
    pairs = pairs[~np.isnan(pairs)]
    return float(pairs.mean()) if len(pairs) else float("nan")


def _ratio(part: Table, whole: Table) -> Table:
    return np.asarray(np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole != 0))
