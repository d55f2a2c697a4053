"""Suspect labels: wrong ones are found by answers that do not know them, and the images most alike are those."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tenfold.errors import DataError, MissingExtraError
from tenfold.metrics.suspects import find_suspects, nearest

pytest.importorskip("cleanlab")


def shares_of(truth: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.float32]:
    """Return the answers, (N, 10), of a model that is about 95% sure of the truth."""
    logits = generator.normal(0, 0.5, (len(truth), 10)) + 6 * np.eye(10)[truth]
    powers = np.exp(logits)
    return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


def test_wrong_labels_are_found() -> None:
    """Of 1,000 labels 20 are made wrong: those that are found are of these, most of them, the least probable first."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 10, 1000)
    shares, labels = shares_of(truth, generator), truth.copy()
    wrong = generator.choice(1000, 20, replace=False)
    labels[wrong] = (labels[wrong] + generator.integers(1, 10, 20)) % 10
    found = find_suspects(labels, shares)
    assert set(found.tolist()) <= set(wrong.tolist())
    assert len(found) >= 8
    own = shares[found, labels[found]]
    assert (np.diff(own) >= 0).all()
    limits = np.array([shares[labels == digit, digit].mean() for digit in range(10)])
    assert (shares.argmax(1)[found] == truth[found]).all()
    assert (shares[found].max(1) >= limits[truth[found]] - 1e-6).all()


@given(st.integers(2, 40), st.integers(2, 10), st.integers(0, 2**32 - 1))
def test_few_images_and_missing_digits(n: int, classes: int, seed: int) -> None:
    """Any few labels, also without some digits, have an answer, and no warning: warnings are errors here."""
    generator = np.random.default_rng(seed)
    labels = np.r_[0, 1, generator.integers(0, classes, n)]
    found = find_suspects(labels, generator.dirichlet(np.ones(10), len(labels)))
    assert len(np.unique(found)) == len(found) <= len(labels)


def test_one_digit_is_refused() -> None:
    """Where all labels are the same, nothing can be said, and that is."""
    with pytest.raises(DataError, match="All labels are '3', with nothing to mistake them for"):
        find_suspects([3, 3], np.full((2, 10), 0.1))


def test_without_cleanlab(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where cleanlab is not installed, the extra that brings it is named."""
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tenfold\[audit\]'"):
        find_suspects([0, 1], np.full((2, 10), 0.1))


def test_the_nearest_are_nearest() -> None:
    """The images most alike are those of the least distance, an independent sum says; never the image itself."""
    images = np.random.default_rng(0).integers(0, 256, (50, 28, 28)).astype(np.uint8)
    images[7] = images[3]  # a copy of it may be
    pooled = images.astype(float).reshape(50, 14, 2, 14, 2).mean((2, 4))
    for index, found in zip((3, 20), nearest(images, np.array([3, 20])), strict=True):
        distances = ((pooled - pooled[index]) ** 2).sum((1, 2))
        distances[index] = np.inf
        assert found == np.argsort(distances)[:5].tolist()
    assert nearest(images[:3], np.array([0]))[0] in ([1, 2], [2, 1])
    assert nearest(images, np.array([], int)) == []
