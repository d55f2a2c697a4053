"""The pen draws where it is told to, and its smooth lines pass through their points."""

import numpy as np

from tenfold.drawing import glyphs


def test_a_line_is_as_wide_as_the_pen() -> None:
    """A level line covers so many rows, and nothing beside them."""
    ink = glyphs.draw([np.array([[0.25, 0.5], [0.75, 0.5]])], 64, 6)
    assert ink.shape == (64, 64)
    column = ink[:, 32] >= 128
    assert 5 <= column.sum() <= 7
    assert column[30:34].all()
    assert not glyphs.draw([], 9, 1).any()


def test_curves_pass_through_their_points() -> None:
    """Every sixth point of a curve is one that was given, and a straight line stays straight."""
    points = np.random.default_rng(0).random((5, 2))
    smooth = glyphs.curve(points)
    np.testing.assert_allclose(smooth[::6], points)
    straight = glyphs.curve(np.stack([np.linspace(0, 1, 4)] * 2, 1))
    np.testing.assert_allclose(straight[:, 0], straight[:, 1])
    np.testing.assert_allclose(np.diff(straight[:, 0]), 1 / 18)


def test_turned_lines_stay_inside() -> None:
    """However a line is turned, it keeps off the picture's edge."""
    line = np.array([[0.0, 0.0], [1.0, 1.0]])
    for seed in range(20):
        turned = glyphs.turned(line, 180, np.random.default_rng(seed))
        assert (turned >= 0.03).all() and (turned <= 0.97).all()
