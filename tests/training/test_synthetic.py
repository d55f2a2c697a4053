"""Images of our own making: behind the data's, a function of settings and seed, and made once."""

import numpy as np
import pytest

from tenfold.data.digits import Digits
from tenfold.training import synthetic
from tenfold.training.recipe import SyntheticSettings
from tenfold.training.synthetic import NO_DIGIT, with_synthetic


def test_they_stand_behind_the_data(digits: Digits) -> None:
    """The given images come first and unchanged, then drawn digits, then what is no digit."""
    assert digits.labels is not None
    images, labels = with_synthetic(digits.images, digits.labels, SyntheticSettings(variants=12, negatives=15), 3)
    assert images.shape == (len(digits) + 27, 28, 28)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(images[: len(digits)], digits.images)
    np.testing.assert_array_equal(labels[: len(digits)], digits.labels)
    assert (labels[len(digits) :][:12] < NO_DIGIT).all()
    assert (labels[-15:] == NO_DIGIT).all()


def test_they_are_made_once(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same settings, seed and digits are read from the cache; another seed is made anew."""
    assert digits.labels is not None
    first = with_synthetic(digits.images, digits.labels, SyntheticSettings(variants=5), 0)
    made: list[int] = []
    original = synthetic._make
    monkeypatch.setattr(synthetic, "_make", lambda *given: made.append(given[-1]) or original(*given))
    for seed in (0, 1):
        again = with_synthetic(digits.images, digits.labels, SyntheticSettings(variants=5), seed)
        assert np.array_equal(first[0], again[0]) is (seed == 0)
    assert made == [1]
