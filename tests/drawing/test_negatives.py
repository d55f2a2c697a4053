"""Negatives come again the same, in MNIST's format, and none of them is what a reader would call a digit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold.data.digits import Digits
from tenfold.drawing import fragments, glyphs, negatives
from tenfold.drawing.negatives import KINDS, RAW_SHARE, make_negatives
from tenfold.errors import DataError
from tenfold.imaging.frame import to_frame

Pair = tuple[NDArray[np.uint8], NDArray[np.int64]]


@pytest.fixture
def labelled(digits: Digits) -> Pair:
    """The images and labels of the bundled digits."""
    assert digits.labels is not None
    return digits.images, digits.labels


def frames(
    count: int, seed: int, labelled: Pair, kinds: list[str] | None = None, fonts: Any = None
) -> NDArray[np.uint8]:
    """Return the frames of negatives, (N, 28, 28), drawn as for training."""
    made = [each.frame for each in make_negatives(count, seed, labelled, kinds, fonts, raw_share=RAW_SHARE)]
    return np.array(made, np.uint8).reshape(-1, 28, 28)


def test_the_same_words_give_the_same_pixels(labelled: Pair) -> None:
    """A picture depends on its kind, its index and the seed alone: not on how many are made or beside which kinds."""
    everything = list(make_negatives(6 * len(KINDS), 5, labelled, raw_share=RAW_SHARE))
    letters = frames(3, 5, labelled, ["printed letter"])
    among = [each.frame for each in everything if each.kind == "printed letter"]
    np.testing.assert_array_equal(letters, among[:3])
    assert not np.array_equal(letters, frames(3, 6, labelled, ["printed letter"]))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_different_frames(labelled: Pair, kind: str) -> None:
    """Each kind gives (N, 28, 28) uint8, hardly one like another, and ink in all but those that may stay empty."""
    made = list(make_negatives(24, 1, labelled, [kind], raw_share=RAW_SHARE))
    assert [each.kind for each in made] == [kind] * 24
    images = np.stack([each.frame for each in made])
    assert (images.shape, images.dtype) == ((24, 28, 28), np.uint8)
    inked = (images >= fragments.SOLID).sum((1, 2)) >= negatives.LEAST_INK
    assert inked.all() or KINDS[kind].empty
    assert len(np.unique(images, axis=0)) >= (6 if KINDS[kind].empty else 18)


def test_framed_frames_are_those_of_the_pictures(labelled: Pair) -> None:
    """What is trained on is what `to_frame` makes of the pictures, where none is laid in raw."""
    made = list(make_negatives(len(KINDS), 2, labelled))
    for each in made:
        np.testing.assert_array_equal(to_frame(each.picture), each.frame)
    assert [each.kind for each in made] == list(KINDS)
    raw = list(make_negatives(20, 2, labelled, raw_share=1))
    assert all(each.picture is each.frame for each in raw)


def test_pictures_have_the_sides_asked_for(labelled: Pair) -> None:
    """Without a margin a picture's height lies between the two sides, and both polarities come."""
    pictures = [each.picture for each in make_negatives(40, 0, labelled, ["box"], sides=(60, 90))]
    heights = [picture.shape[0] for picture in pictures]
    assert 60 <= min(heights) < max(heights) <= 90
    light = [float(np.median(picture)) > 127 for picture in pictures]
    assert 0 < sum(light) < 40


def test_no_lone_upright_stroke_is_left(labelled: Pair) -> None:
    """Kinds that are checked have no frame that is one upright stroke, which a reader would call a 1."""
    kinds = [kind for kind in KINDS if KINDS[kind].checked]
    assert not any(fragments.is_upright_stroke(frame) for frame in frames(300, 4, labelled, kinds))


def test_held_out_fonts_give_other_letters(labelled: Pair) -> None:
    """The same words with held-out fonts give other pixels."""
    first = frames(4, 0, labelled, ["printed letter"])
    assert not np.array_equal(first, frames(4, 0, labelled, ["printed letter"], glyphs.font_files(held_out=True)))


def test_bad_arguments_are_named(labelled: Pair, tmp_path: Path) -> None:
    """An unknown kind, digits of another form and a negative count are one clear error each."""
    with pytest.raises(DataError, match="kind of negative 'leter'"):
        frames(1, 0, labelled, ["leter"])
    with pytest.raises(DataError, match=r"shapes '\(3, 20, 20\)' and '\(3,\)'"):
        frames(1, 0, (np.zeros((3, 20, 20), np.uint8), np.zeros(3, np.int64)))
    with pytest.raises(DataError, match="count is '-1'"):
        frames(-1, 0, labelled)
    assert frames(0, 0, labelled).shape == (0, 28, 28)


def test_blank_digits_give_paper() -> None:
    """Digits without ink lend themselves to no negative: blank paper comes instead of an endless search."""
    nothing = (np.zeros((4, 28, 28), np.uint8), np.arange(4))
    assert not frames(2, 0, nothing, ["two digits"]).any()
