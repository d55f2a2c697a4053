"""Ink of labelled digits: what looks like a 1 or holds a hole is known, and two digits over each other both show."""

import numpy as np

from tenfold.data.digits import Digits
from tenfold.drawing import glyphs
from tenfold.drawing.fragments import SOLID, Materials, _resized, cropped, cut_off, has_hole, is_upright_stroke, overlap


def test_cropped_to_the_ink() -> None:
    """What is cropped ends where strokes end; faint grey is no ink, and an image without ink stays whole."""
    image = np.full((28, 28), SOLID - 1, np.uint8)
    assert cropped(image).shape == (28, 28)
    image[3:10, 5], image[9, 5:9] = SOLID, 255
    assert np.array_equal(cropped(image), image[3:10, 5:9])


def test_digits_that_are_not_there() -> None:
    """An image of a digit that the data lack is one of another digit."""
    materials = Materials(np.full((2, 28, 28), 255, np.uint8), np.array([3, 3]))
    assert materials.of((7,), np.random.default_rng(0)).shape == (28, 28)


def test_upright_strokes_are_known() -> None:
    """Strokes within 55 degrees of upright look like a 1; flat ones, crosses and rings do not."""
    middle = np.array([0.5, 0.5])
    for degrees, upright in [(0, True), (30, True), (-50, True), (60, False), (90, False)]:
        end = 0.4 * np.array([np.sin(np.radians(degrees)), np.cos(np.radians(degrees))])
        line = np.stack([middle - end, middle + end])
        assert is_upright_stroke(glyphs.draw([line], 28, 2)) is upright, degrees
    cross = [np.array([[0.1, 0.5], [0.9, 0.5]]), np.array([[0.5, 0.1], [0.5, 0.9]])]
    assert not is_upright_stroke(glyphs.draw(cross, 28, 2))


def test_holes_are_known(digits: Digits) -> None:
    """A drawn ring has a hole, the same ring with a gap has none, and no cut-off part keeps one."""
    angle = np.linspace(0, 2 * np.pi, 40)
    ring = 0.5 + 0.35 * np.stack([np.cos(angle), np.sin(angle)], 1)
    assert has_hole(glyphs.draw([ring], 40, 2))
    assert not has_hole(glyphs.draw([ring[:33]], 40, 2))
    assert digits.labels is not None
    source = Materials(digits.images, digits.labels)
    parts = [cut_off(source, 40, np.random.default_rng(i)) for i in range(60)]
    kept = [part for part in parts if part is not None]
    assert len(kept) > 20
    assert not any(has_hole(part) for part in kept)


def test_overlapping_digits_both_show(digits: Digits) -> None:
    """Two digits over each other have more ink than one of them, and most draws of a 1 or an equal pair are refused."""
    assert digits.labels is not None
    images, labels = digits.images, digits.labels
    same = Materials(images[labels == 3], labels[labels == 3])
    assert all(overlap(same, 40, np.random.default_rng(i)) is None for i in range(20))
    source = Materials(images, labels)
    made = [overlap(source, 40, np.random.default_rng(i)) for i in range(80)]
    areas = [int((ink >= SOLID).sum()) for ink in made if ink is not None]
    single = [int((_resized(image, 40, 1.0, np.random.default_rng(0)) >= 64).sum()) for image in images[:80]]
    assert len(areas) > 5
    assert np.mean(areas) > 1.4 * np.mean(single)
