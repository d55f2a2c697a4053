"""The charts' geometry against values worked out by hand."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from tenfold.metrics.scores import calibration_bins
from tenfold.pages import plots
from tenfold.pages.plots import Axis


def circles(svg: str, kind: str) -> list[tuple[float, float]]:
    """Return the centres of the circles of that class."""
    found = re.findall(rf'<circle class="{kind}" cx="([\d.]+)" cy="([\d.]+)"', svg)
    return [(float(x), float(y)) for x, y in found]


def texts(svg: str, kind: str) -> list[str]:
    """Return what the texts of that class say."""
    return re.findall(rf'<text class="{kind}"[^>]*>([^<]*)</text>', svg)


def test_line_chart_places_points() -> None:
    """Three points lie at hand-worked pixels: x from 46 to 296; y from 1 to 100 with 5% of its logarithm as air."""
    svg = plots.line_chart([(1, 5, 1), (2, 9, 10), (4, 16, 100)], label="loss", text="{:g}".format, floor=1e-6)
    height = (182 - 14) / 1.1
    expected = [(46 + 62.5, 182 - 0.05 * height), (46 + 125, 98), (46 + 250, 14 + 0.05 * height)]
    for point, hand_worked in zip(circles(svg, "dot"), expected, strict=True):
        assert point == pytest.approx(hand_worked, abs=0.06)
    assert circles(svg, "last") == [pytest.approx(expected[-1], abs=0.06)]
    assert texts(svg, "value") == ["100"]


def test_line_chart_flips() -> None:
    """With `flip` the smallest error, the best accuracy, is at the top."""
    svg = plots.line_chart(
        [(1, 5, 0.1), (2, 9, 0.01)], label="accuracy", text=plots.accuracy_text, floor=1e-6, flip=True
    )
    (_, first), (_, last) = circles(svg, "dot")
    assert last < first
    assert texts(svg, "value") == ["99%"]


def test_line_chart_tells_elapsed_time() -> None:
    """Under epoch 2 of 4 stands the time interpolated between the evaluations, from 0 s at epoch 0."""
    svg = plots.line_chart([(1, 20, 3), (4, 110, 2)], label="loss", text=str, floor=1e-6)
    assert texts(svg, "sub") == ["20.0\xa0s", "50.0\xa0s", "80.0\xa0s", "1\xa0min\xa050\xa0s", "epoch"]


def test_line_chart_draws_no_error_at_its_floor() -> None:
    """A value of 0 has no logarithm: it is drawn where `floor` lies, and named as what it is."""
    svg = plots.line_chart([(1, 5, 0.5), (2, 9, 0.01), (3, 12, 0)], label="e", text=plots.accuracy_text, floor=0.01)
    (_, _), second, third = circles(svg, "dot")
    assert second[1] == third[1]
    assert texts(svg, "value") == ["100%"]


@pytest.mark.parametrize("y", [[0.5], [0.5, 0.5]])
def test_line_chart_of_one_value(y: list[float]) -> None:
    """One evaluation, or several equal ones, are drawn half way up."""
    svg = plots.line_chart([(i + 1, 9, value) for i, value in enumerate(y)], label="loss", text=str, floor=1e-6)
    assert {height for _, height in circles(svg, "dot")} == {98.0}


def test_reliability_places_bins() -> None:
    """Four images of confidence 0.75, three of them right, make one dot at (0.75, 0.75) with the count 4 below."""
    probabilities = np.zeros((4, 10))
    probabilities[:, 3], probabilities[:, 8] = 0.75, 0.25
    svg = plots.reliability(calibration_bins([3, 3, 3, 8], probabilities, 10), label="calibration")
    assert circles(svg, "last") == [(46 + 0.75 * 300, 152 - 0.75 * 138)]
    assert texts(svg, "tiny") == ["4"]


def test_bars_have_heights_in_proportion() -> None:
    """A bar of half the value is half as high, and an empty digit's bar has no height."""
    svg = plots.bars([[10, 5, 0]], ["0", "1", "2"], label="counts", text=lambda v: f"{v:g}", level=5)
    heights = [float(h) for h in re.findall(r'<rect class="bar s0"[^>]*height="([\d.]+)"', svg)]
    assert heights == [154, 77, 0]
    assert texts(svg, "tiny") == ["10", "5", "0"]


def test_dashed_level_spares_the_words() -> None:
    """A bar's value stands above the dashed line that would strike it through, and near its bar otherwise."""
    svg = plots.bars([[100, 96, 50, 30]], list("0123"), label="counts", text=lambda v: f"{v:g}", level=99.0)
    level = float(re.findall(r'class="ideal"[^>]*y1="([\d.]+)"', svg)[0])
    lines = [float(y) for y in re.findall(r'class="tiny"[^>]* y="([\d.]+)"', svg)]
    tops = [float(y) for y in re.findall(r'class="bar s0"[^>]* y="([\d.]+)"', svg)]
    assert all(line < level - 3 or line > level + 9 for line in lines)
    assert [round(top - line) for top, line in zip(tops, lines, strict=True)][2:] == [5, 5]


def test_bars_of_nothing() -> None:
    """Counts that are all 0 are drawn, not divided by."""
    assert "<svg" in plots.bars([[0] * 10], [str(i) for i in range(10)], label="counts", text=str)


def test_histogram_counts_shares() -> None:
    """Three of four values in one bin and one in the other: outlines at 3/3 and 1/3 of the height."""
    svg = plots.histogram([np.array([1.0, 1, 1, 2])], label="width", text=str, whole=True)
    points = re.findall(r"([\d.]+),([\d.]+)", svg)
    assert [float(y) for _, y in points] == [104, 8, 8, 72, 72, 104]


@pytest.mark.parametrize("whole", [False, True])
def test_histogram_of_equal_values(whole: bool) -> None:
    """A sample without spread has a histogram too."""
    assert "NaN" not in plots.histogram([np.full(5, 7.0), np.full(3, 7.0)], label="ink", text=str, whole=whole)


@pytest.mark.parametrize(
    ("error", "words"), [(0.1, "90%"), (0.0042, "99.58%"), (0.01, "99%"), (0.0001, "99.99%"), (0.00005, "99.995%")]
)
def test_accuracy_text(error: float, words: str) -> None:
    """An error rate is worded as the accuracy, without idle zeros and never rounded up to 100%."""
    assert plots.accuracy_text(error) == words


def scatter(points: list[tuple[str, float, float]], frontier: list[int]) -> str:
    """Return a chart of the points, numbered from 1."""
    numbers = list(range(1, len(points) + 1))
    return plots.scatter(points, frontier, numbers=numbers, label="c", unit="s", text=lambda v: f"{v:g}", floor=1e-4)


def test_scatter_places_points_by_logarithms() -> None:
    """Ten times the cost, and a tenth of the error, are equal steps; the better stands higher; no error has a place."""
    points = [("a", 1.0, 0.9), ("b", 10.0, 0.99), ("c", 100.0, 0.999), ("d", 1.0, 1.0)]
    svg = scatter(points, [0, 1])
    a, b = circles(svg, "last")
    c, d = circles(svg, "dot")
    assert b[0] - a[0] == pytest.approx(c[0] - b[0], abs=0.2)
    assert a[1] - b[1] == pytest.approx(b[1] - c[1], abs=0.2)
    assert c[1] - d[1] == pytest.approx(b[1] - c[1], abs=0.2)  # drawn at the floor, 99.99%
    assert d[0] == a[0]


def test_scatter_joins_the_frontier_in_steps() -> None:
    """The line goes across at the better system's accuracy until the next one's cost, then up to it."""
    svg = scatter([("a", 1.0, 0.9), ("b", 10.0, 0.99)], [0, 1])
    a, b = circles(svg, "last")
    line = re.search(r'<polyline class="frontier" points="([^"]+)"', svg)
    assert line is not None
    assert line[1] == f"{a[0]:.1f},{a[1]:.1f} {b[0]:.1f},{a[1]:.1f} {b[0]:.1f},{b[1]:.1f}"


def test_names_keep_off_the_frontier() -> None:
    """A name stands left of its point where, at the right, the line up to the next system would run through it."""
    svg = scatter([("a-first-name", 10.0, 0.9), ("b", 15.0, 0.99), ("c", 1000.0, 0.5), ("d", 1.0, 0.5)], [0, 1])
    (first, *_), (x, *_) = circles(svg, "last"), re.findall(r'class="name" x="([\d.]+)"[^>]*end">a-first-name<', svg)
    assert float(x) < first[0]


def test_scatter_of_equals_but_for_rounding() -> None:
    """Two accuracies, or costs, that differ in the last bit stand beside each other, in the middle."""
    accuracy = float(np.nextafter(0.9, 1))
    svg = scatter([("a", 1.0, 0.9), ("b", float(np.nextafter(1.0, 2)), accuracy)], [0])
    assert circles(svg, "last")[0] == pytest.approx(circles(svg, "dot")[0], abs=0.2)


def test_scatter_names_every_point() -> None:
    """Each point has its name, or its number where names would lie over one another."""
    points = [(f"a-long-name-{i}", 1.0 + i / 50, 0.99 - i / 5000) for i in range(20)]
    labels = re.findall(r'class="name"[^>]*>([^<]+)<', scatter(points, [0]))
    assert len(labels) == 20
    assert labels[0] == "a-long-name-0"
    assert any(label.isdigit() for label in labels)
    assert all(label == str(i + 1) or label == f"a-long-name-{i}" for i, label in enumerate(labels))


@pytest.mark.parametrize(
    "draw",
    [
        lambda bad: plots.scatter(
            [(bad, 1.0, 0.9)], [0], numbers=[1], label=bad, unit=bad, text=lambda _: bad, floor=0.01
        ),
        lambda bad: plots.line_chart([(1, 5, 1), (2, 9, 2)], label=bad, text=lambda _: bad, floor=1e-6),
        lambda bad: plots.bars([[1, 2]], [bad, bad], label=bad, text=lambda _: bad),
        lambda bad: plots.histogram([np.arange(9.0)], label=bad, text=lambda _: bad),
    ],
)
def test_text_in_charts_is_escaped(draw: Callable[[str], str]) -> None:
    """Neither a label nor a tick can close its tag or its attribute."""
    svg = draw('"><script>alert(1)</script>')
    assert "<script" not in svg
    assert '"">' not in svg


def test_risk_falls_to_the_right_of_no_refusal() -> None:
    """The curve starts at the error rate without a refusal, at the left, and ends where nothing is wrong."""
    coverage, risk = np.array([0.5, 0.9, 0.98, 0.99, 1.0]), np.array([0.0, 0.0, 0.005, 0.01, 0.02])
    drawn = plots.risk_coverage(coverage, risk, label="risk")
    (line,) = re.findall(r'class="line" points="([^"]+)"', drawn)
    points = [tuple(map(float, point.split(","))) for point in line.split()]
    assert points[0][0] == plots.LEFT
    assert points[-1] == (plots.RIGHT, plots.BOTTOM)
    heights = [y for _, y in points]
    assert heights == sorted(heights)  # pixels count downwards: fewer and fewer errors
    assert "images refused" in drawn
    assert plots.risk_coverage(np.ones(1), np.zeros(1), label="one right image").startswith("<svg")


def test_no_refusal_is_drawn_apart_from_the_first() -> None:
    """The dot is the error rate without a refusal also where the very first refusal removes every error."""
    drawn = plots.risk_coverage(np.arange(1, 51) / 50, np.array([0.0] * 49 + [0.02]), label="risk")
    ((_, height),) = circles(drawn, "last")
    assert height < plots.BOTTOM - 100


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
    assert ">18.5<" in plots.below(axis, "{:g}".format, 7)
    whole = plots.below(axis, "{:g}".format, 7, whole=True)
    assert all(f">{tick}<" in whole for tick in (18, 19, 20))
    assert ".5<" not in whole


def test_steps_go_across_first() -> None:
    """A stepped line keeps its height until the next point's place; none and one point stay as they are."""
    assert plots.stepped([(0, 5), (2, 3), (4, 4)]) == [(0, 5), (2, 5), (2, 3), (4, 3), (4, 4)]
    assert plots.stepped([(1, 2)]) == [(1, 2)]
    assert plots.stepped([]) == []


def test_words_are_escaped() -> None:
    """Neither words nor a chart's label can close their tag or attribute."""
    bad = '"><script>'
    assert "<script" not in plots.words(0, 0, bad, "tick")
    assert '"">' not in plots.drawing(bad, [])
