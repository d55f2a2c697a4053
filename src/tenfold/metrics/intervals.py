"""Intervals for proportions: a score is never bare."""

import math
from statistics import NormalDist

from tenfold.errors import DataError


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
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
