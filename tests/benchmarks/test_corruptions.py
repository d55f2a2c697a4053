"""The fifteen corruptions do what their descriptions say."""

import corruptions
import numpy as np
import pytest

from tenfold.data.digits import Digits


@pytest.mark.parametrize("name", corruptions.CORRUPTIONS)
def test_a_seed_fixes_the_images(digits: Digits, name: str) -> None:
    """Each corruption changes every image, keeps shape and type, leaves its input alone, and repeats at a seed."""
    images = digits.images[:20]
    before = images.copy()
    result = corruptions.corrupted(name, images, 3)
    assert (result.shape, result.dtype) == (images.shape, np.uint8)
    assert (result != before).any((1, 2)).all()
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(corruptions.corrupted(name, images, 3), result)


def test_there_are_fifteen() -> None:
    """The corruptions are the paper's fifteen."""
    assert len(corruptions.CORRUPTIONS) == 15


def test_simple_ones_are_exact(digits: Digits) -> None:
    """Stripe inverts two quarters, brightness adds 127.5, a shift moves by three pixels both ways."""
    images = digits.images[:30]
    striped = corruptions.corrupted("stripe", images, 0)
    np.testing.assert_array_equal(striped[:, :, 7:21], images[:, :, 7:21])
    np.testing.assert_array_equal(striped[:, :, :7], 255 - images[:, :, :7])
    bright = corruptions.corrupted("brightness", images, 0).astype(float)
    assert np.abs(bright - np.minimum(images + 127.5, 255)).max() <= 0.5
    moved = corruptions.corrupted("translate", images, 0)
    padded = np.pad(images, ((0, 0), (3, 3), (3, 3)))
    corners = [(0, 0), (0, 6), (6, 0), (6, 6)]
    for image, found in zip(padded, moved, strict=True):
        assert any(np.array_equal(found, image[down : down + 28, right : right + 28]) for down, right in corners)


def test_turning_keeps_the_middle() -> None:
    """Rotation, shear and scale are about the middle: a dot there stays, one above it moves as the matrix says."""
    dot = np.zeros((40, 28, 28), np.uint8)
    dot[:, 13:15, 13:15] = 200
    for name in ("rotate", "shear", "scale"):
        assert (corruptions.corrupted(name, dot, 0)[:, 13:15, 13:15] > 80).all(), name
    above = np.zeros((40, 28, 28), np.uint8)
    above[:, 3:5, 13:15] = 200
    turned = corruptions.corrupted("rotate", above, 0).astype(float)
    mass = turned.sum((1, 2))
    x = turned.sum(1) @ np.arange(28) / mass - 13.5
    y = turned.sum(2) @ np.arange(28) / mass - 13.5
    np.testing.assert_allclose(np.abs(x), 10 * np.sin(0.4), atol=0.1)
    np.testing.assert_allclose(y, -10 * np.cos(0.4), atol=0.1)
    assert 0 < (x > 0).sum() < 40


def test_noise_has_its_strength() -> None:
    """Impulse noise hits 17% of the pixels, half of them white; shot noise has a third of white's variance."""
    grey = np.full((200, 28, 28), 100, np.uint8)
    impulse = corruptions.corrupted("impulse_noise", grey, 0)
    assert abs((impulse != 100).mean() - 0.17) < 0.005
    assert abs((impulse == 255).mean() - 0.085) < 0.004
    shot = corruptions.corrupted("shot_noise", np.full((200, 28, 28), 51, np.uint8), 0) / 255
    assert abs(shot.mean() - 0.2) < 0.005
    assert abs(shot.var() - 0.2 / 3) < 0.004


def test_fog_is_a_plasma_over_the_image() -> None:
    """On black there is no fog to see; on white its brightness is (1 + 3 h) / 4 with smooth h between 0 and 1."""
    assert not corruptions.corrupted("fog", np.zeros((3, 28, 28), np.uint8), 0).any()
    foggy = corruptions.corrupted("fog", np.full((60, 28, 28), 255, np.uint8), 0).astype(float) / 255
    assert foggy.min() >= 0.25 - 0.01
    assert np.abs(np.diff(foggy, axis=2)).mean() < 0.25 * foggy.std()
    heights = corruptions._plasma(3, 1.4, np.random.default_rng(0))
    assert heights.shape == (3, 256, 256)
    assert heights.min() == 0
    assert heights.max() == 1


def test_edges_are_those_of_a_square() -> None:
    """A bright square comes out as one closed line about its border, whatever other images are beside it."""
    square = np.zeros((1, 28, 28), np.uint8)
    square[:, 8:20, 8:20] = 255
    edges = corruptions.corrupted("canny_edges", square, 0)[0]
    assert set(np.unique(edges)) == {0, 255}
    rows, columns = np.nonzero(edges)
    assert np.maximum(np.abs(rows - 13.5), np.abs(columns - 13.5)).min() >= 4.5
    assert np.maximum(np.abs(rows - 13.5), np.abs(columns - 13.5)).max() <= 7.5
    beside = np.concatenate([np.full_like(square, 90), square, np.full_like(square, 255)])
    np.testing.assert_array_equal(corruptions.corrupted("canny_edges", beside, 0)[1], edges)


def test_lines_cross_the_image() -> None:
    """Dotted lines have every other two columns, zigzags reach from left to right without a gap."""
    nothing = np.zeros((40, 28, 28), np.uint8)
    dotted = corruptions.corrupted("dotted_line", nothing, 0).max((0, 1)) > 0
    np.testing.assert_array_equal(dotted, (np.arange(28) // 2 % 2 == 1) & (np.arange(28) < 27))
    zigzag = corruptions.corrupted("zigzag", nothing, 0)
    assert (zigzag.max((0, 1))[3:24] > 200).all()
    assert not zigzag[:, :, :1].any()
