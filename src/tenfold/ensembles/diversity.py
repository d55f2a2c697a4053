"""How members differ: where they err apart, and what averaging them makes of it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold.ensembles.averaging import Floats, Labels, check_members
from tenfold.metrics.scores import CLASSES


class Pairwise(NamedTuple):
    """What two different members have in common, in the mean over pairs; NaN where it is defined for none.

    With n11 images that both get wrong, n00 that both get right, n10 and n01 that one alone gets wrong, of the n that
    both answer (L. I. Kuncheva, C. J. Whitaker, "Measures of diversity in classifier ensembles and their relationship
    with the ensemble accuracy", Machine Learning 51 (2003)):
    """

    disagreement: float  # (n10 + n01) / n: one is right and the other wrong
    q: float  # Yule's Q, (n11 n00 - n10 n01) / (n11 n00 + n10 n01): 0 by chance, 1 where one's errors hold the other's
    double_fault: float  # n11 / n
    overlap: float  # n11 / (n11 + n10 + n01), Jaccard: of the images that one of them gets wrong, those both do


class SizePoint(NamedTuple):
    """The accuracy of ensembles of `size` members drawn at random."""

    size: int
    draws: int
    mean: float
    low: float  # 5th percentile
    high: float  # 95th percentile
    lowest: float
    highest: float


def errors_of(probabilities: Floats, labels: Labels) -> NDArray[np.float64]:
    """Return which images each member gets wrong, (M, N): 1 wrong, 0 right, NaN where it does not answer."""
    check_members(probabilities, labels)
    known = ~np.isnan(probabilities[:, :, 0])
    return np.where(known, np.where(known[:, :, None], probabilities, 0).argmax(axis=2) != labels, np.nan)


def pairwise(errors: Floats | NDArray[np.bool_]) -> Pairwise:
    """Return what two members have in common, of errors (M, N): true or 1 wrong, NaN not answered."""
    values = errors.astype(np.float64)
    wrong, right = (np.nan_to_num(values) == 1).astype(np.float64), (values == 0).astype(np.float64)
    pairs = np.triu_indices(len(values), 1)
    n11, n10, n01, n00 = ((a @ b.T)[pairs] for a in (wrong, right) for b in (wrong, right))
    n = n11 + n10 + n01 + n00
    return Pairwise(
        disagreement=_mean_ratio(n10 + n01, n),
        q=_mean_ratio(n11 * n00 - n10 * n01, n11 * n00 + n10 * n01),
        double_fault=_mean_ratio(n11, n),
        overlap=_mean_ratio(n11, n11 + n10 + n01),
    )


def size_curve(
    probabilities: Floats, labels: Labels, sizes: Sequence[int], *, draws: int = 200, seed: int = 0
) -> list[SizePoint]:
    """Return how accurate random ensembles of each size are, in the order of `sizes`.

    Each draw is an order of all members, whose first ones are an ensemble of every size: so the curve is smooth, and
    each point is of `draws` independent choices (of the whole pool there is but one). It shows what the choice of
    members is worth, and chance: the best of many draws lies high in the band, and is no better for it.
    Images that no member drawn answers are left out. Images that every member reads right are right in every average,
    and are not averaged again for each draw; of the others the sum is enough, whose likeliest digit is the mean's.
    """
    errors = errors_of(probabilities, labels)
    count = len(probabilities)
    contested = (errors == 1).any(axis=0)
    sure, known = ~np.isnan(errors[:, ~contested]), ~np.isnan(errors[:, contested])
    digits = labels[contested]
    shares = np.zeros((count, len(digits), CLASSES))
    for own, given, answers in zip(shares, probabilities[:, contested], known, strict=True):
        own[answers] = given[answers]
    generator = np.random.default_rng(seed)
    found = np.empty((draws, len(sizes)))
    for draw in range(draws):
        order = generator.permutation(count)
        for place, size in enumerate(sizes):
            drawn = np.sort(order[:size])
            asked = known[drawn].any(axis=0)
            right = (shares[drawn].sum(axis=0).argmax(axis=1) == digits)[asked].sum()
            others = sure[drawn].any(axis=0).sum()
            n = asked.sum() + others
            found[draw, place] = (right + others) / n if n else np.nan
    bands = np.quantile(found, [0.05, 0.95], axis=0)
    return [
        SizePoint(size, draws, float(of.mean()), float(low), float(high), float(of.min()), float(of.max()))
        for size, of, low, high in zip(sizes, found.T, *bands, strict=True)
    ]


def rescued(probabilities: Floats, labels: Labels, combined: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the images, ascending, that the average loses though a member is right, and saves though most err.

    probabilities: (M, N, 10) of the members averaged, NaN where one does not answer. labels: (N,). combined: (N, 10).
    """
    errors = errors_of(probabilities, labels)
    right = combined.argmax(axis=1) == labels
    wrong, hits = (errors == 1).sum(axis=0), (errors == 0).sum(axis=0)
    return np.flatnonzero(~right & (hits > 0)), np.flatnonzero(right & (wrong > hits))


def _mean_ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> float:
    """Return the mean of part / whole where it is defined, NaN where it nowhere is."""
    defined = whole != 0
    return float((part[defined] / whole[defined]).mean()) if defined.any() else float("nan")
