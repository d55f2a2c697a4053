"""Averages of members against other ways to compute them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold.ensembles.averaging import answered, check_members, combine, losses_of
from tenfold.errors import DataError
from tenfold.metrics.scores import nll

LABELS = np.arange(200) % 10


def members(count: int = 4, seed: int = 0) -> NDArray[np.float32]:
    """Return random probabilities of `count` members on 200 images, sharper on the true digit."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(count, 200, 10)) + 2 * np.eye(10)[LABELS]
    shares = np.exp(logits)
    return (shares / shares.sum(axis=2, keepdims=True)).astype(np.float32)


def test_probabilities_are_a_weighted_mean() -> None:
    """The arithmetic mean is numpy's, and weights need not sum to 1."""
    found = combine(members(), np.array([2.0, 0, 1, 5]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.average(members(), axis=0, weights=[2, 0, 1, 5]), rtol=1e-5)


def test_missing_answers_are_left_out() -> None:
    """An image is answered by those who answer it, as if they were alone; by nobody, with 0.1 for each digit."""
    shares, weights = members(3), np.array([1.0, 2, 3])
    shares[0, :50] = np.nan
    shares[:, 10] = np.nan
    found = combine(shares, weights)
    alone = combine(shares[1:, 20:50], weights[1:])
    np.testing.assert_array_equal(found[20:50], alone)
    np.testing.assert_array_equal(found[10], np.full(10, 0.1, np.float32))
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert np.flatnonzero(~answered(shares, weights)).tolist() == [10]
    assert np.flatnonzero(~answered(shares, np.array([1.0, 0, 0]))).tolist() == list(range(50))


@pytest.mark.parametrize(
    ("shares", "labels", "words"),
    [
        (np.full((200, 10), 0.1), LABELS, r"shape '\(200, 10\)'"),
        (np.full((0, 200, 10), 0.1), LABELS, "M >= 1"),
        (np.full((2, 200, 10), 0.1), LABELS[:9], r"shape '\(9,\)'"),
        (np.full((2, 200, 10), 0.2), LABELS, "sums to '2'"),
        (np.stack([np.full((200, 10), 0.1), np.full((200, 10), np.nan)]), LABELS, "Member '1'"),
        (np.where(np.arange(10) == 3, np.nan, np.full((2, 200, 10), 0.1)), LABELS, "'nan' in row 0, column 3"),
    ],
)
def test_check_members_refuses(shares: NDArray[np.float64], labels: NDArray[np.int64], words: str) -> None:
    """What is no pool of probabilities is one clear error; a row half NaN is not a missing answer."""
    with pytest.raises(DataError, match=words):
        check_members(shares, labels)


def test_losses_are_each_members_own() -> None:
    """A member's log-losses are those of its probabilities, NaN where it does not answer."""
    shares = members()
    shares[0, :50] = np.nan
    losses = losses_of(shares, LABELS)
    assert np.isnan(losses).sum() == np.isnan(losses[0, :50]).sum() == 50
    assert losses[3].mean() == pytest.approx(nll(LABELS, shares[3]), rel=1e-5)
    assert losses[0, 50:].mean() == pytest.approx(nll(LABELS[50:], shares[0, 50:]), rel=1e-5)
