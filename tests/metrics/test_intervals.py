"""Wilson's interval against scipy, hand-worked values and its own symmetries."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import binomtest

from tenfold.errors import DataError
from tenfold.metrics.intervals import clustered, compare, difference_interval, holm, mcnemar, wilson


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


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_the_binomial_test(only_first: int, only_second: int) -> None:
    """The p-value is that of scipy's exact two-sided binomial test of a fair coin, and 1 without any coin."""
    expected = stats.binomtest(only_first, only_first + only_second).pvalue if only_first + only_second else 1.0
    assert mcnemar(only_first, only_second) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_by_hand() -> None:
    """One image against seven: twice the chance of at most one head in eight throws, 2 (1 + 8) / 256."""
    assert mcnemar(1, 7) == mcnemar(7, 1) == 18 / 256
    assert 0 <= mcnemar(0, 5000) < 1e-300  # too small for a float is no error


def test_holm_by_hand() -> None:
    """The smallest p is multiplied by 4, the next by 3 and 2, and the last is lifted to the one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_step_by_step(p_values: list[float]) -> None:
    """At any level, what the corrected values reject is what Holm's step-down procedure rejects."""
    corrected = holm(p_values)
    for level in (0.01, 0.05, 0.2):
        rejected = set()
        for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
            if (len(p_values) - rank) * p_values[i] > level:
                break
            rejected.add(i)
        assert {i for i, p in enumerate(corrected) if p <= level} == rejected


def test_interval_by_hand() -> None:
    """One against seven in 21: shares (2, 8) / 23, a centre of -6 / 23, and its normal interval."""
    centre, variance = -6 / 23, (10 / 23 - (6 / 23) ** 2) / 23
    half = 1.959963984540054 * math.sqrt(variance)
    assert difference_interval(1, 7, 21) == pytest.approx((centre - half, centre + half), abs=1e-12)


@pytest.mark.parametrize(("first", "second", "n"), [(0.004, 0.002, 4200), (0.002, 0.002, 1000), (0.03, 0.01, 360)])
def test_interval_covers(first: float, second: float, n: int) -> None:
    """Of 20,000 simulated pairs of systems at least 94% of the intervals hold the true difference."""
    draws = np.random.default_rng(0).multinomial(n, [first, second, 1 - first - second], 20_000)
    found = np.array([difference_interval(int(b), int(c), n) for b, c, _ in draws])
    covered = ((found[:, 0] <= first - second) & (first - second <= found[:, 1])).mean()
    assert covered >= 0.94


def test_every_pair() -> None:
    """Each pair has who alone is right, the difference of the accuracies, and p-values corrected for all pairs."""
    rng = np.random.default_rng(1)
    right = [rng.random(500) < share for share in (0.99, 0.9, 0.7)]
    pairs = compare(range(3), right)
    assert [(pair.first, pair.second) for pair in pairs] == list(itertools.combinations(range(3), 2))
    for pair in pairs:
        a, b = right[pair.first], right[pair.second]
        assert (pair.only_first, pair.only_second) == (np.sum(a & ~b), np.sum(b & ~a))
        assert pair.difference == pytest.approx(a.mean() - b.mean())
        assert pair.ci95[0] < pair.difference < pair.ci95[1]
        assert pair.p == mcnemar(pair.only_first, pair.only_second)
    assert [pair.p_holm for pair in pairs] == holm([pair.p for pair in pairs])


def test_equal_systems() -> None:
    """A system against itself differs by nothing, with p = 1 and an interval about 0."""
    (pair,) = compare(["a", "b"], [np.array([True, False, True])] * 2)
    assert (pair.difference, pair.p, pair.p_holm) == (0.0, 1.0, 1.0)
    assert pair.ci95[0] == -pair.ci95[1] < 0


@pytest.mark.parametrize("sizes", [(3, 4), (0, 0)])
def test_answers_that_cannot_be_paired(sizes: tuple[int, int]) -> None:
    """Answers to different numbers of images, or to none, are refused."""
    with pytest.raises(DataError, match="cannot be paired"):
        compare(range(2), [np.ones(size, bool) for size in sizes])


def test_clustered() -> None:
    """Groups of one are images; ten copies of an image count as one; errors spread evenly over groups count each."""
    random = np.random.default_rng(0)
    right = random.random(2000) < 0.98
    alone = wilson(int(right.sum()), 2000)
    assert clustered(right, np.arange(2000)) == pytest.approx(alone, abs=1e-4)
    copies, groups = np.repeat(right, 10), np.repeat(np.arange(2000), 10)
    assert clustered(copies, groups) == pytest.approx(alone, abs=1e-4)
    even = np.tile([True] * 9 + [False], 100)
    assert clustered(even, np.repeat(np.arange(100), 10)) == wilson(900, 1000)
    assert clustered(np.ones(50, bool), np.arange(50) // 5) == wilson(50, 50)


def test_clustered_covers() -> None:
    """With writers who differ, the interval holds the true share in about 95 of 100 draws; Wilson's own does not."""
    random = np.random.default_rng(1)
    inside = np.zeros(2)
    for _ in range(300):
        skill = random.beta(4.5, 0.5, 200)  # 200 writers of 20 images, 90% right in the mean
        groups = np.repeat(np.arange(200), 20)
        right = random.random(4000) < skill[groups]
        for at, (low, high) in enumerate((clustered(right, groups), wilson(int(right.sum()), 4000))):
            inside[at] += low <= 0.9 <= high
    assert inside[0] / 300 > 0.92 > inside[1] / 300 + 0.1
