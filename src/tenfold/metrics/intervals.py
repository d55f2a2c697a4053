"""Intervals for proportions, and paired tests of systems on the same images: a score is never bare."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError

Name = TypeVar("Name", int, str)


def wilson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval (low, high) of a proportion, both in [0, 1].

    It keeps its coverage where digits are scored, close to 1 and with few errors, and never leaves [0, 1];
    the usual p ± 1.96 sqrt(p (1 - p) / n) shrinks to nothing at 0 errors.

    Formula: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22 (1927), without continuity correction.
    Raises DataError for n below 1, successes outside 0 to n, or a confidence outside (0, 1).
    """
    if n < 1:
        raise DataError(f"An interval over '{n}' images does not exist. Give at least one.")
    if not 0 <= successes <= n:
        raise DataError(f"'{successes}' successes in {n} images are impossible. Give 0 to {n}.")
    if not 0 < confidence < 1:
        raise DataError(f"Confidence '{confidence}' is not between 0 and 1. Give for example 0.95.")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    shrink = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the formula gives exactly 0 and 1; rounding must not.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return max(0.0, low), min(1.0, high)


def clustered(right: NDArray[np.bool_], groups: NDArray[np.integer]) -> tuple[float, float]:
    """Return the 95% interval (low, high) of the share of `right`, (N,), where images of a group resemble each other.

    groups: (N,), two or more, such as writers. Wilson's interval of as many images as would vary so much if they were
    independent: N divided by the design effect, that is the variance of the ratio between groups (W. G. Cochran,
    "Sampling techniques", 3rd edition, 1977, section 9A) over that of N coin tosses; never more than N.
    """
    sizes, wrong = (np.bincount(np.unique(groups, return_inverse=True)[1], weights) for weights in (None, ~right))
    n, count, share = len(right), len(sizes), float(np.mean(right)) if len(right) else 0.0
    between = count / (count - 1) * float(((wrong - (1 - share) * sizes) ** 2).sum()) / max(1, n)
    effect = max(1.0, between / (share * (1 - share))) if 0 < share < 1 else 1.0
    return wilson(share * n / effect, n / effect)


@dataclass(frozen=True)
class Pair(Generic[Name]):
    """Two systems on the same images."""

    first: Name
    second: Name
    n: int
    only_first: int  # images that the first alone gets right
    only_second: int
    difference: float  # accuracy of the first minus accuracy of the second
    ci95: tuple[float, float]  # of the difference
    p: float  # McNemar's exact test: how likely so uneven a split is between equally good systems
    p_holm: float  # corrected for the number of pairs


def compare(names: Sequence[Name], right: Sequence[NDArray[np.bool_]]) -> list[Pair[Name]]:
    """Return every pair of systems compared, in the order of itertools.combinations.

    names: what the pairs call the systems. right: for each (N,) bool, which of the same N images it got right.
    Raises DataError for no images, or for systems that answered different numbers of them.
    """
    sizes = {len(one) for one in right}
    if len(sizes) > 1 or 0 in sizes:
        raise DataError(f"Answers to '{sorted(sizes)}' images cannot be paired. Give answers to the same images.")
    n = sizes.pop() if sizes else 0
    alone = [(int((a & ~b).sum()), int((b & ~a).sum())) for a, b in itertools.combinations(right, 2)]
    p_values = [mcnemar(b, c) for b, c in alone]
    rows = zip(itertools.combinations(names, 2), alone, p_values, holm(p_values), strict=True)
    return [
        Pair(first, second, n, b, c, (b - c) / n, difference_interval(b, c, n), p, p_holm)
        for (first, second), (b, c), p, p_holm in rows
    ]


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test, in (0, 1]; 1 where the two never differ.

    Between equally good systems each image that only one of them gets right falls to either like a fair coin: the
    p-value is twice the binomial tail, at most 1. Q. McNemar, "Note on the sampling error of the difference between
    correlated proportions or percentages", Psychometrika 12 (1947), with the exact distribution.
    """
    n, fewer = only_first + only_second, min(only_first, only_second)
    term = tail = 1  # binomial coefficients, exact whole numbers
    for k in range(fewer):
        term = term * (n - k) // (k + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << n))  # Python divides whole numbers of any size with one rounding


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for their number, in the order given, each at most 1.

    The smallest is multiplied by the number m of tests, the next by m - 1, ..., and none may fall below a smaller
    one's: the chance of even one false alarm among all stays below the level. S. Holm, "A simple sequentially rejective
    multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def difference_interval(only_first: int, only_second: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of the difference of two accuracies on the same n images, first minus second, in [-1, 1].

    Wald's interval after one image is added to either side; unlike Wald's own it keeps its coverage where few images
    tell the two apart. D. G. Bonett, R. M. Price, "Adjusted Wald confidence interval for a difference of binomial
    proportions based on paired data", Journal of Educational and Behavioral Statistics 37 (2012).
    """
    first, second = (only_first + 1) / (n + 2), (only_second + 1) / (n + 2)
    centre = first - second
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    half = z * math.sqrt((first + second - centre**2) / (n + 2))
    return max(-1.0, centre - half), min(1.0, centre + half)
