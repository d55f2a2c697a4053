"""Drawn digits: in the frame, of every shape, the same for the same seed."""

import numpy as np

from tenfold.drawing.variants import SHAPES, make_variants
from tenfold.imaging.frame import is_framed


def test_variants_are_framed_digits_of_the_shapes_drawn() -> None:
    """All are in the frame, hold ink, and the labels are those that shapes are drawn for, at about their shares."""
    images, labels = make_variants(400, seed=0)
    assert images.shape == (400, 28, 28)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert all(is_framed(image) for image in images)
    shares = {digit: sum(share for each, share, _ in SHAPES if each == digit) for digit, _, _ in SHAPES}
    assert set(labels) == set(shares)
    assert all(abs((labels == digit).mean() - share) < 0.08 for digit, share in shares.items())


def test_variants_are_a_function_of_the_seed() -> None:
    """The same seed draws the same; more of them begin with the same; another seed draws others."""
    images, labels = make_variants(20, seed=1)
    longer, _ = make_variants(30, seed=1)
    other, _ = make_variants(20, seed=2)
    assert np.array_equal(images, longer[:20])
    assert not np.array_equal(images, other)
    assert len(np.unique(images.reshape(20, -1), axis=0)) == 20
    assert make_variants(0, seed=1)[0].shape == (0, 28, 28)
    assert labels.shape == (20,)
