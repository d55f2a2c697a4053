"""The charts of a search as SVG, in the manner of plots.py: its course, its curves, its axes side by side, each key."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenfold.pages import plots
from tenfold.pages.plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, Axis, Text
from tenfold.training.recipe import Range
from tenfold.tuning.search import Space, Value
from tenfold.tuning.study import Tried, rank

if TYPE_CHECKING:
    from markupsafe import Markup

AXIS_GAP, PARALLEL_WIDTH = 104, 720  # pixels between two axes of the parallel coordinates, at least; of all of them
PRUNED_Y = BOTTOM - 3  # where trials stand that have no final figure


@dataclass(frozen=True)
class Scale:
    """Where the values of one key stand between two pixels, and the labels along it."""

    place: Callable[[Value], float]
    labels: list[tuple[float, str]]


def scale(choices: Range | list[Value], start: float, end: float, most: int = 4) -> Scale:
    """Return the scale of a range (logarithmic where it is) or of choices (evenly apart)."""
    if isinstance(choices, Range):
        axis = Axis(float(choices.low), float(choices.high), start, end, choices.log)
        return Scale(lambda value: axis(float(value)), [(axis(tick), f"{tick:g}") for tick in axis.ticks(most)])
    shares = [i / (len(choices) - 1) if len(choices) > 1 else 0.5 for i in range(len(choices))]
    places = {_name(choice): start + share * (end - start) for choice, share in zip(choices, shares, strict=True)}
    return Scale(lambda value: places[_name(value)], [(at, name) for name, at in places.items()])


def history(tried: Sequence[Tried], *, text: Text, floor: float, label: str) -> "Markup":
    """Return the objective of each trial in its order, the best so far as a stepped line, the base as a dashed one.

    Trials without a final figure are marks along the bottom. The axis is logarithmic, down to `floor`, the best on top.
    """
    complete = _complete(tried)
    axis = _objective_axis(complete, floor, BOTTOM - 12, TOP)
    last = max(each.number for each in tried)
    horizontal = Axis(0, max(1, last), LEFT + 4, RIGHT - plots.VALUE)
    body = [plots._grid(axis, text, RIGHT - plots.VALUE)]
    ticks = [tick for tick in horizontal.ticks(5) if tick == int(tick)]
    body += [plots._text(horizontal(tick), BOTTOM + 17, f"{tick:g}", "tick") for tick in ticks]
    body.append(plots._text(LEFT - 8, BOTTOM + 17, "trial", "sub", "end"))
    for stage in sorted({each.stage for each in complete if each.stage}):
        at = horizontal(min(each.number for each in complete if each.stage == stage and not each.base) - 0.5)
        body.append(f'<line class="ideal" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{BOTTOM}"/>')
    for each in tried:
        if each.objective is None:
            at = horizontal(each.number)
            body.append(f'<line class="pruned" x1="{at:.1f}" x2="{at:.1f}" y1="{PRUNED_Y - 5}" y2="{PRUNED_Y}"/>')
    base = next((each for each in complete if each.base), None)
    if base is not None:
        at = axis(_value(base, floor))
        body.append(f'<line class="ideal" x1="{LEFT}" x2="{RIGHT - plots.VALUE}" y1="{at:.1f}" y2="{at:.1f}"/>')
    steps: list[tuple[float, float]] = []
    for each in complete:
        x, y = horizontal(each.number), axis(_value(each, floor))
        if not steps or y < steps[-1][1]:  # better is above
            steps += [(x, steps[-1][1])] if steps else []
            steps.append((x, y))
    steps.append((horizontal(last), steps[-1][1]))
    body.append(f'<polyline class="line" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in steps)}"/>')
    best = min(complete, key=rank)
    for each in complete:
        kind, radius = ("last", 3.5) if each is best else ("dot", 2)
        body.append(plots._dot(kind, horizontal(each.number), axis(_value(each, floor)), radius))
    body.append(plots._text(steps[-1][0] + 9, steps[-1][1] + 4.5, text(_value(best, floor)), "value", "start"))
    return plots._svg(label, body)


def curves(tried: Sequence[Tried], best: Tried, *, text: Text, floor: float, label: str) -> "Markup":
    """Return what trials showed on the way, against the share of training done; the best one's stands out.

    Better is above. A trial that was ended early ends in a dot.
    """
    drawn = [each for each in tried if each.curve]
    values = [max(value, floor) for each in drawn for value in each.curve.values()]
    axis = Axis(*plots._widened(min(values), max(values), True), TOP, BOTTOM, True)
    horizontal = Axis(0, 100, LEFT, RIGHT)
    body = [plots._grid(axis, text)]
    body += [plots._text(horizontal(tick), BOTTOM + 17, f"{tick}%", "tick") for tick in (25, 50, 75, 100)]
    body.append(plots._text(LEFT - 8, BOTTOM + 17, "trained", "sub", "end"))
    for each in sorted(drawn, key=lambda one: one.number == best.number):  # the best lies on top
        points = [(horizontal(share), axis(max(value, floor))) for share, value in sorted(each.curve.items())]
        kind = "chosen" if each.number == best.number else "trial"
        if len(points) > 1:
            body.append(f'<polyline class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>')
        if each.state == "pruned" or len(points) == 1:
            body.append(plots._dot("dot" if kind == "trial" else "last", *points[-1], 1.8))
    return plots._svg(label, body)


def importances(shares: dict[str, float], *, label: str) -> "Markup":
    """Return a bar for each key, the longest first, with its share in percent."""
    row, left = 24, 14 + max(5.6 * len(key) for key in shares)
    length = Axis(0, max(shares.values()) or 1, left, RIGHT - 40)
    body = []
    for i, (key, share) in enumerate(shares.items()):
        middle = 6 + i * row + row / 2
        body.append(plots._text(left - 8, middle + 3.5, key, "tick", "end"))
        body.append(plots._rect("bar s0", left, middle - 7, max(1.0, length(share) - left), 14))
        body.append(plots._text(length(share) + 6, middle + 3.5, f"{100 * share:.0f}%", "tick", "start"))
    return plots._svg(label, body, height=12 + row * len(shares))


def parallel(space: Space, tried: Sequence[Tried], *, name: str, text: Text, floor: float, label: str) -> "Markup":
    """Return an axis for each key and one for the objective, with a line for each complete trial; best ones darker."""
    complete = sorted(_complete(tried), key=rank, reverse=True)  # the best lies on top
    top, bottom, left = 40, 210, 60
    scales = [scale(choices, bottom, top) for choices in space.values()]
    objective = _objective_axis(complete, floor, bottom, top)
    gap = max(AXIS_GAP, PARALLEL_WIDTH // len(space))
    places = [left + i * gap for i in range(len(space) + 1)]
    body = []
    for place, each in enumerate(complete):
        ends = [one.place(each.values[key]) for key, one in zip(space, scales, strict=True)]
        points = zip(places, [*ends, objective(_value(each, floor))], strict=True)
        best = place == len(complete) - 1
        strength = 0.12 + 0.5 * (place / max(1, len(complete) - 1)) ** 2
        shade = "" if best else f' style="opacity:{strength:.2f}"'
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        body.append(f'<polyline class="{"chosen" if best else "trial"}"{shade} points="{line}"/>')
    for at, key, one in zip(places, space, scales, strict=False):
        body += _upright(at, top, bottom, key, one.labels)
    body += _upright(
        places[-1], top, bottom, name, [(objective(tick), text(tick)) for tick in objective.ticks(4)], right=True
    )
    return plots._svg(label, body, width=places[-1] + 70, height=bottom + 14)


def _upright(
    at: float, top: float, bottom: float, title: str, labels: Sequence[tuple[float, str]], *, right: bool = False
) -> list[str]:
    """Return an upright axis with its title and labels."""
    table, _, name = title.rpartition(".")
    body = [
        f'<line class="axis" x1="{at}" x2="{at}" y1="{top}" y2="{bottom}"/>',
        plots._text(at, top - 24, table, "sub"),
        plots._text(at, top - 11, name, "tick"),
    ]
    side, anchor = (7, "start") if right else (-6, "end")
    return body + [plots._text(at + side, y + 3.5, text, "tiny", anchor) for y, text in labels]


def slices(
    space: Space, tried: Sequence[Tried], best: Tried, *, text: Text, floor: float
) -> list[tuple[str, "Markup"]]:
    """Return a chart for each key: the objective of every complete trial against the key's value."""
    complete = sorted(_complete(tried), key=lambda each: each.number == best.number)
    axis = _objective_axis(complete, floor, BOTTOM, TOP)
    charts = []
    for key, choices in space.items():
        one = scale(choices, LEFT + 10, RIGHT - 10, most=6)
        body = [plots._grid(axis, text)]
        body += [plots._text(at, BOTTOM + 17, name, "tick") for at, name in one.labels]
        for each in complete:
            kind, radius = ("last", 4) if each.number == best.number else ("dot faint", 2.6)
            body.append(plots._dot(kind, one.place(each.values[key]), axis(_value(each, floor)), radius))
        charts.append((key, plots._svg(f"What was judged against {key}", body, height=HEIGHT - 24)))
    return charts


def _complete(tried: Sequence[Tried]) -> list[Tried]:
    return [each for each in tried if each.objective is not None]


def _value(tried: Tried, floor: float) -> float:
    """Return a complete trial's objective; no less than what a logarithmic axis can show."""
    assert tried.objective is not None
    return max(tried.objective, floor)


def _objective_axis(complete: Sequence[Tried], floor: float, worst: float, best: float) -> Axis:
    """Return the logarithmic axis of the objective between two pixels."""
    values = [_value(each, floor) for each in complete]
    low, high = plots._widened(min(values), max(values), True)
    return Axis(low, high, best, worst, True)


def _name(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
