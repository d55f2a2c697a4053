"""Wilson's interval against scipy, hand-worked values and its own symmetries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from tenfold.errors import DataError
from tenfold.metrics.intervals import wilson


@given(st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_equals_scipy(counts: tuple[int, int], confidence: float) -> None:
    """The interval equals scipy's for every count and confidence."""
    successes, n = counts
    theirs = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert wilson(successes, n, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_hand_worked() -> None:
    """9 of 10, z = 1.95996: centre 1.09207 / 1.38415 = 0.78899, half width 0.13640 x 1.95996 / 1.38415 = 0.19314."""
    low, high = wilson(9, 10)
    assert low == pytest.approx(0.59585, abs=5e-6)
    assert high == pytest.approx(0.98212, abs=5e-6)


def test_no_errors_is_not_certainty() -> None:
    """With no error in 10,000 images the interval ends at exactly 1 and still has a width."""
    low, high = wilson(10_000, 10_000)
    assert high == 1.0
    assert low == pytest.approx(10_000 / (10_000 + 3.841459), abs=1e-9)
    assert wilson(0, 10_000) == pytest.approx((0.0, 1 - low), abs=1e-12)


@pytest.mark.parametrize(
    ("successes", "n", "confidence", "named"),
    [(0, 0, 0.95, "'0'"), (11, 10, 0.95, "'11'"), (-1, 10, 0.95, "'-1'"), (1, 2, 1.0, "'1.0'"), (1, 2, 0.0, "'0.0'")],
)
def test_impossible_counts_are_refused(successes: int, n: int, confidence: float, named: str) -> None:
    """Counts and confidences that cannot be are refused with the value in quotes."""
    with pytest.raises(DataError, match=named):
        wilson(successes, n, confidence)
