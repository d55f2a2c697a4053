"""What charts are drawn with: axes, ticks, steps and words."""

import pytest

from tenfold.pages import svg
from tenfold.pages.svg import Axis


def test_axis_maps_linearly() -> None:
    """The middle of the values lies at the middle of the pixels, also on an axis that runs upwards."""
    assert Axis(0, 10, 100, 300)(5) == 200
    assert Axis(0, 10, 300, 100)(2.5) == 250


def test_axis_maps_logarithms() -> None:
    """On a logarithmic axis from 1 to 100 the value 10 lies half way."""
    assert Axis(1, 100, 0, 50, log=True)(10) == pytest.approx(25)


def test_axis_holds_values_inside() -> None:
    """A value outside the axis, even 0 on a logarithmic one, lands on its nearer end."""
    assert Axis(0, 1, 10, 20)(7) == 20
    assert Axis(1, 100, 10, 20, log=True)(0) == 10


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis(0, 10, 0, 1), [0, 2, 4, 6, 8, 10]),
        (Axis(0.3, 1.1, 0, 1), [0.4, 0.6, 0.8, 1]),
        (Axis(0, 4, 0, 1), [0, 1, 2, 3, 4]),
        (Axis(0.9, 20, 0, 1, log=True), [1, 2, 5, 10, 20]),
        (Axis(1e-5, 1, 0, 1, log=True), [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1]),
        (Axis(0.31, 0.34, 0, 1, log=True), [0.31, 0.32, 0.33, 0.34]),  # no 1, 2 or 5 inside: as a linear axis
    ],
)
def test_ticks_are_round(axis: Axis, ticks: list[float]) -> None:
    """Ticks are the round numbers that a reader would choose."""
    assert axis.ticks() == pytest.approx(ticks)


def test_many_decades_have_a_tick_each() -> None:
    """An axis over nine decades has its powers of ten, however many were asked for at most."""
    assert Axis(1e-8, 1, 0, 1, log=True).ticks(6) == pytest.approx([10.0**power for power in range(-8, 1)])


def test_whole_ticks_alone() -> None:
    """Under an axis of whole numbers stand no halves."""
    axis = Axis(17.5, 20.5, 0, 100)
    assert ">18.5<" in svg.below(axis, "{:g}".format, 7)
    whole = svg.below(axis, "{:g}".format, 7, whole=True)
    assert all(f">{tick}<" in whole for tick in (18, 19, 20))
    assert ".5<" not in whole


def test_steps_go_across_first() -> None:
    """A stepped line keeps its height until the next point's place; none and one point stay as they are."""
    assert svg.stepped([(0, 5), (2, 3), (4, 4)]) == [(0, 5), (2, 5), (2, 3), (4, 3), (4, 4)]
    assert svg.stepped([(1, 2)]) == [(1, 2)]
    assert svg.stepped([]) == []


def test_words_are_escaped() -> None:
    """Neither words nor a chart's label can close their tag or attribute."""
    bad = '"><script>'
    assert "<script" not in svg.words(0, 0, bad, "tick")
    assert '"">' not in svg.drawing(bad, [])
