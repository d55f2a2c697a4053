"""No letter looks like a digit, fonts are kept apart, and the pen draws where it is told to."""

import numpy as np

from tenfold.drawing import glyphs
from tenfold.drawing.fragments import SOLID


def test_lookalikes_are_in_no_alphabet() -> None:
    """No printed or written character that a reader may take for a digit is drawn, and all other letters are."""
    assert not set(glyphs.LETTERS + glyphs.SIGNS) & set(glyphs.LOOKALIKES)
    assert not set(glyphs.HAND_LETTERS) & set(glyphs.LOOKALIKES)
    assert set("ACEFHKMNPRTUVWXYacdefhkmnprtuvwx") <= set(glyphs.LETTERS)
    assert not set("0123456789") & set(glyphs.LETTERS + glyphs.SIGNS)


def test_held_out_fonts_are_other_families() -> None:
    """No family is in both parts, and each part has faces."""
    training, held_out = glyphs.font_files(), glyphs.font_files(held_out=True)
    families = [{path.stem.split("-")[0] for path in part} for part in (training, held_out)]
    assert len(families[0]) >= 3
    assert len(families[1]) >= 3
    assert not families[0] & families[1]


def test_all_fonts_have_all_characters() -> None:
    """Every face draws each letter and sign, and no two letters alike, as the box for a missing one would be."""
    for file in (*glyphs.font_files(), *glyphs.font_files(held_out=True)):
        drawn = [glyphs.printed(each, file, 40) for each in glyphs.LETTERS + glyphs.SIGNS]
        assert all(glyph.max(initial=0) >= SOLID for glyph in drawn), file.name
        assert len({glyph.tobytes() for glyph in drawn}) >= len(drawn) - 26, file.name  # small capitals are capitals
        assert len({glyph.tobytes() for glyph in drawn[-len(glyphs.SIGNS) :]}) == len(glyphs.SIGNS), file.name


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
