"""The test images whose labels are disputed."""

import disputed
import numpy as np
import pytest

from tenfold.data import load
from tenfold.data.digits import Digits


def test_votes_are_of_five_and_against_the_label() -> None:
    """Fifteen images; of five raters fewer than three chose the label, and nobody was offered the label twice."""
    assert len(disputed.DISPUTED) == 15
    for votes in disputed.DISPUTED.values():
        assert votes.label != votes.other
        assert votes.for_label < 3
        assert votes.for_label + votes.for_other <= 5


def test_known_by_their_labels() -> None:
    """Only a set of MNIST's size with those labels at those places is taken for MNIST's test set."""
    labels = np.zeros(disputed.MNIST_TEST, np.int64)
    images = np.zeros((len(labels), 28, 28), np.uint8)
    for index, votes in disputed.DISPUTED.items():
        labels[index] = votes.label
    assert disputed.are_known(Digits.of(images, labels))
    assert not disputed.are_known(Digits.of(images, np.roll(labels, 1)))
    assert not disputed.are_known(Digits.of(images[:-1], labels[:-1]))
    assert not disputed.are_known(Digits.of(images))


@pytest.mark.data
def test_of_the_real_set() -> None:
    """MNIST's own test set has those labels at those places."""
    assert disputed.are_known(load("mnist:test", "evaluate"))


def test_count() -> None:
    """How many of some mistakes are disputed, each once."""
    assert disputed.count([0, 947, 947, 9729, 5000]) == 2
