"""Splits, folds and subsets: exact sizes, classes in proportion, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tenfold.data.splits import group_folds, hold_out, stratified_folds, stratified_split, subset
from tenfold.errors import DataError

some_labels = st.lists(st.integers(0, 9), min_size=2, max_size=200).map(np.array)


def within_one(part: NDArray[np.integer], labels: NDArray[np.integer], share: float) -> bool:
    """Return True where each class's count in the part is within one of its share."""
    return bool((np.abs(np.bincount(part, minlength=10) - np.bincount(labels, minlength=10) * share) < 1).all())


@given(some_labels, st.data())
def test_split(labels: NDArray[np.integer], data: st.DataObject) -> None:
    """The count is exact, every index is on one side, both are sorted, each class is within one of its share."""
    count = data.draw(st.integers(1, len(labels) - 1))
    train, held_out = stratified_split(labels, count, seed=7)
    assert len(held_out) == count
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held_out])), np.arange(len(labels)))
    assert (np.diff(train) > 0).all() and (np.diff(held_out) > 0).all()
    assert train.dtype == held_out.dtype == np.int64
    assert within_one(labels[held_out], labels, count / len(labels))


def test_split_is_a_function_of_the_seed() -> None:
    """The same seed gives the same split, another seed another, and a fraction the count it stands for."""
    labels = np.arange(1000) % 10
    first, again, other = (stratified_split(labels, 0.2, seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(first, stratified_split(labels, 200, 1)[1])
    assert np.bincount(labels[first]).tolist() == [20] * 10


def test_largest_remainders() -> None:
    """Quotas of 4.2, 2.8 and 1 of 8 are dealt as 4, 3 and 1, by hand."""
    labels = np.array([0] * 21 + [1] * 14 + [2] * 5)
    assert np.bincount(labels[subset(labels, 8, 0)]).tolist() == [4, 3, 1]


@given(some_labels, st.data())
def test_subset(labels: NDArray[np.integer], data: st.DataObject) -> None:
    """A subset has the size asked for, sorted and without repeats, its classes in proportion."""
    n = data.draw(st.integers(1, len(labels)))
    chosen = subset(labels, n, seed=3)
    assert len(np.unique(chosen)) == n
    assert (np.diff(chosen) > 0).all()
    assert within_one(labels[chosen], labels, n / len(labels))


def test_subset_is_independent_of_the_split() -> None:
    """A subset of a seed does not lie within what the same seed holds out."""
    labels = np.arange(10_000) % 10
    held_out = stratified_split(labels, 1000, 5)[1]
    assert len(np.intersect1d(subset(labels, 1000, 5), held_out)) < 200


@given(st.integers(2, 6), st.lists(st.integers(6, 30), min_size=1, max_size=10), st.integers(0, 2**40))
def test_folds(k: int, counts: list[int], seed: int) -> None:
    """Each index is held out once; the sizes of folds, and of each class in them, differ by at most one."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    folds = stratified_folds(labels, k, seed)
    assert len(folds) == k
    np.testing.assert_array_equal(np.sort(np.concatenate([fold for _, fold in folds])), np.arange(len(labels)))
    assert np.ptp([len(fold) for _, fold in folds]) <= 1
    assert (np.ptp([np.bincount(labels[fold], minlength=10) for _, fold in folds], axis=0) <= 1).all()
    for train, fold in folds:
        np.testing.assert_array_equal(np.union1d(train, fold), np.arange(len(labels)))
        assert len(train) + len(fold) == len(labels)


@pytest.mark.parametrize("request_", [0, 10, 11, -1, 0.0, 1.0, -0.1, 1.5, 0.01, 0.99, float("nan"), True])
def test_impossible_splits(request_: float) -> None:
    """Nothing, everything, more than everything, and fractions that round to either cannot be held out."""
    with pytest.raises(DataError, match="cannot be held out"):
        stratified_split(np.arange(10), request_, 0)


def test_impossible_folds_and_subsets() -> None:
    """One fold, more folds than the rarest digit has images, no images, a subset of none or too many, a bad seed."""
    labels = np.array([0] * 9 + [1] * 2)
    for call, fault in (
        (lambda: stratified_folds(labels, 1, 0), "'1' folds cannot be made. Give at least 2"),
        (lambda: stratified_folds(labels, 3, 0), "'3' folds cannot be made: digit 1 has 2 images"),
        (lambda: stratified_folds(labels[:0], 2, 0), "no images"),
        (lambda: subset(labels, 0, 0), "'0' images cannot be taken from 11"),
        (lambda: subset(labels, 12, 0), "'12' images cannot be taken from 11"),
        (lambda: subset(labels, 3, -1), "seed '-1' is negative"),
    ):
        with pytest.raises(DataError, match=fault):
            call()


def written(n: int, writers: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return n labels in turn and who wrote them, in random portions."""
    return np.arange(n) % 10, np.random.default_rng(0).integers(0, writers, n)


def test_group_folds_keep_groups_together() -> None:
    """Every image is held out once, no group is on both sides, and sizes and classes are near those of equal folds."""
    labels, groups = written(6000, 120)
    folds = group_folds(labels, groups, 5, seed=1)
    np.testing.assert_array_equal(np.sort(np.concatenate([held for _, held in folds])), np.arange(6000))
    for train, held in folds:
        assert not set(groups[train]) & set(groups[held])
        assert abs(len(held) - 1200) < 60
        assert np.abs(np.bincount(labels[held]) - 120).max() < 25
    np.testing.assert_array_equal(folds[2][1], group_folds(labels, groups, 5, seed=1)[2][1])
    assert not np.array_equal(folds[2][1], group_folds(labels, groups, 5, seed=2)[2][1])


@pytest.mark.parametrize("share", [0.05, 0.2, 0.9])
def test_a_share_of_the_groups(share: float) -> None:
    """A share is held out to the nearest twentieth, whole groups, and none where it is 0."""
    labels, groups = written(6000, 120)
    train, held = hold_out(labels, share, 3, groups=groups)
    assert not set(groups[train]) & set(groups[held])
    assert len(held) == pytest.approx(share * 6000, rel=0.15)
    assert not len(hold_out(labels, 0, 3, groups=groups)[1])


@pytest.mark.parametrize(
    ("groups", "k", "message"),
    [
        (np.arange(100) % 3, 4, "'4' folds by writer cannot be made of the images of 3. Give at most 3"),
        (np.arange(100) % 10, 5, "leaves one side without the digit"),  # a writer a digit
        (np.zeros(100, int), 2, "of the images of 1"),
    ],
)
def test_groups_that_cannot_be_split(groups: NDArray[np.integer], k: int, message: str) -> None:
    """Fewer groups than folds, and a fold that would lack a digit, are refused."""
    with pytest.raises(DataError, match=message):
        group_folds(np.arange(100) % 10, groups, k, seed=0)
