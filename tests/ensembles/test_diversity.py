"""Measures of diversity against their definitions, image by image."""

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold.ensembles.averaging import combine
from tenfold.ensembles.diversity import errors_of, pairwise, rescued, size_curve

LABELS = np.arange(120) % 10


def members(count: int = 5, seed: int = 0) -> NDArray[np.float32]:
    """Return random probabilities of `count` members on 120 images, right on most."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(count, 120, 10)) + generator.normal(size=(120, 10)) + 3.5 * np.eye(10)[LABELS]
    shares = np.exp(logits)
    return (shares / shares.sum(axis=2, keepdims=True)).astype(np.float32)


def test_hand_worked_pair() -> None:
    """Of ten images both get one wrong, one gets three more wrong, the other two: the textbook's four counts."""
    first = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], bool)
    second = np.array([1, 0, 0, 0, 1, 1, 0, 0, 0, 0], bool)
    found = pairwise(np.stack([first, second]))
    assert found == pytest.approx((0.5, (1 * 4 - 3 * 2) / (1 * 4 + 3 * 2), 0.1, 1 / 6))
    assert pairwise(np.stack([second, first])) == pytest.approx(found)


def test_the_mean_is_over_pairs() -> None:
    """Each two different members count once, alike; a member's likeness to itself does not count."""
    errors = errors_of(members(3), LABELS)
    pairs = [pairwise(errors[list(pair)]) for pair in itertools.combinations(range(3), 2)]
    assert pairwise(errors) == pytest.approx(np.mean(pairs, axis=0).tolist())
    assert all(math.isnan(value) for value in pairwise(errors[:1]))


def test_only_shared_images_count() -> None:
    """A pair is measured on the images that both answer, as if there were no others; without any it is left out."""
    errors = errors_of(members(3), LABELS)
    errors[0, :40] = np.nan
    errors[1, 100:] = np.nan
    alone = pairwise(errors[:2, 40:100])
    assert pairwise(errors[:2]) == alone
    errors[2] = np.nan
    assert pairwise(errors) == alone
    assert all(math.isnan(value) for value in pairwise(errors[1:]))


def test_without_errors() -> None:
    """Two that never err have no errors to share: overlap and Q are undefined, disagreement is none."""
    found = pairwise(np.zeros((2, 9), bool))
    assert found.disagreement == found.double_fault == 0
    assert math.isnan(found.overlap)
    assert math.isnan(found.q)


def test_errors_of() -> None:
    """An error is a likeliest digit that is not the label; what is not answered is NaN."""
    shares = np.eye(10, dtype=np.float32)[np.array([[3, 4], [3, 3]])]
    shares[1, 0] = np.nan
    np.testing.assert_array_equal(errors_of(shares, np.array([3, 3])), [[0, 1], [np.nan, 0]])


def test_size_curve_ends_are_exact() -> None:
    """At the full size all draws are the whole pool, and at one they are its members."""
    shares = members()
    one, whole = size_curve(shares, LABELS, [1, 5], draws=60)
    accuracy = float((combine(shares, np.ones(5)).argmax(1) == LABELS).mean())
    assert [whole.mean, whole.low, whole.high, whole.lowest, whole.highest] == pytest.approx([accuracy] * 5)
    alone = 1 - errors_of(shares, LABELS).mean(axis=1)
    assert (one.lowest, one.highest) == pytest.approx((alone.min(), alone.max()))
    assert one.mean == pytest.approx(alone.mean(), abs=0.02)
    assert one.lowest <= one.low <= one.mean <= one.high <= one.highest
    assert (one.size, one.draws) == (1, 60)


def test_size_curve_rises_and_is_the_same_again() -> None:
    """Members that err apart are more accurate together, and the curve depends on its seed alone."""
    points = size_curve(members(12), LABELS, [1, 3, 12], draws=40, seed=4)
    assert points[0].mean < points[1].mean < points[2].mean
    assert points == size_curve(members(12), LABELS, [1, 3, 12], draws=40, seed=4)
    assert points[1] != size_curve(members(12), LABELS, [1, 3, 12], draws=40, seed=5)[1]


def test_size_curve_over_folds() -> None:
    """Images that no drawn member answers are left out: one member is as accurate as on what it answers."""
    shares = members(2)
    shares[0, :60] = shares[1, 60:] = np.nan
    (one,) = size_curve(shares, LABELS, [1], draws=30)
    accuracies = 1 - np.nanmean(errors_of(shares, LABELS), axis=1)
    assert (one.lowest, one.highest) == pytest.approx((accuracies.min(), accuracies.max()))


def test_rescued() -> None:
    """Lost is what one member at least has right and the average wrong, saved what most have wrong and it right."""
    labels = np.array([0, 0, 0, 0])
    given = np.array([[0, 1, 0, 1], [1, 1, 0, 1], [1, 1, 0, 0]])
    shares = 0.5 * np.eye(10)[given] + 0.05
    shares[2, 3] = np.eye(10)[0]  # sure, and right
    combined = np.eye(10, dtype=np.float32)[[1, 1, 0, 0]]
    lost, saved = rescued(shares, labels, combined)
    assert lost.tolist() == [0]
    assert saved.tolist() == [3]
