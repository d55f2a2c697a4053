"""Scrawls: the same for the same generator, each in its square, and never the shapes that a reader calls a digit."""

from collections.abc import Callable

import numpy as np
import pytest

from tenfold.drawing import scrawls
from tenfold.drawing.fragments import is_upright_stroke
from tenfold.drawing.glyphs import InkMap

Draw = Callable[[int, np.random.Generator], InkMap]
WITH_INK: list[Draw] = [scrawls.noise, scrawls.scribble, scrawls.strokes, scrawls.printed_lines, scrawls.box]


@pytest.mark.parametrize("draw", [scrawls.blank, *WITH_INK], ids=lambda draw: draw.__name__)
def test_scrawls_are_a_function_of_the_generator(draw: Draw) -> None:
    """Equal generators draw equal squares of the size asked for, other seeds draw others."""
    drawn = [draw(40, np.random.default_rng(seed)) for seed in range(30)]
    assert all((ink.shape, ink.dtype) == ((40, 40), np.uint8) for ink in drawn)
    assert all(np.array_equal(ink, draw(40, np.random.default_rng(seed))) for seed, ink in enumerate(drawn))
    assert len({ink.tobytes() for ink in drawn}) >= 20


@pytest.mark.parametrize("draw", WITH_INK, ids=lambda draw: draw.__name__)
def test_all_but_paper_show(draw: Draw) -> None:
    """In every size there is full ink."""
    for seed in range(60):
        assert draw(28 + seed, np.random.default_rng(seed)).max() >= 128, seed


def test_paper_is_faint() -> None:
    """The grain of paper stays far from a pen's ink."""
    assert all(scrawls.blank(40, np.random.default_rng(seed)).max() <= 135 for seed in range(60))


@pytest.mark.parametrize("draw", [scrawls.scribble, scrawls.box], ids=lambda draw: draw.__name__)
def test_scribbles_and_boxes_are_no_lone_stroke(draw: Draw) -> None:
    """Neither too many turns nor what is left of a box looks like a 1."""
    assert not any(is_upright_stroke(draw(40, np.random.default_rng(seed))) for seed in range(100))
