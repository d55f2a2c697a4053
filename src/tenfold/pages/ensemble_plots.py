"""The charts of an ensemble as SVG, in the manner of plots.py: accuracy against size, differences, pairs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tenfold.ensembles.diversity import SizePoint
from tenfold.pages import plots
from tenfold.pages.plots import BOTTOM, LEFT, RIGHT, TOP, Axis, Text

if TYPE_CHECKING:
    from markupsafe import Markup

CELL = 11  # pixels of a heat map's cell, enough for a line of text beside it
LEGEND = 30  # pixels under a heat map


def band(points: Sequence[SizePoint], chosen: tuple[int, float], *, n: int, label: str) -> "Markup":
    """Return accuracy against the number of members: mean, 5th to 95th percentile, and the extremes of random draws.

    chosen: members and accuracy of the ensemble that was chosen, a dot. n: images; accuracy is drawn by the logarithm
    of its error, at least that of half an image.
    """
    floor = 0.5 / n

    def wrong(accuracy: float) -> float:
        return max(1 - accuracy, floor)

    values = [wrong(value) for each in points for value in (each.lowest, each.highest)] + [wrong(chosen[1])]
    vertical = Axis(*plots._widened(min(values), max(values), True), TOP, BOTTOM, True)
    most = max(2, chosen[0], *(each.size for each in points))
    horizontal = Axis(1, most, LEFT + 6, RIGHT - plots.VALUE, True)
    body = [plots._grid(vertical, plots.accuracy_text, RIGHT - plots.VALUE)]
    ticks = [tick for tick in horizontal.ticks(7) if tick == int(tick)]
    body += [plots._text(horizontal(tick), BOTTOM + 17, f"{tick:g}", "tick") for tick in ticks]
    body.append(plots._text(RIGHT - plots.VALUE, BOTTOM + 32, "members", "sub", "end"))

    def line(accuracies: Sequence[float]) -> list[tuple[float, float]]:
        return [(horizontal(each.size), vertical(wrong(a))) for each, a in zip(points, accuracies, strict=True)]

    upper, lower = line([each.high for each in points]), line([each.low for each in points])
    body.append(f'<polygon class="band" points="{_joined([*upper, *lower[::-1]])}"/>')
    for extreme in ([each.highest for each in points], [each.lowest for each in points]):
        body.append(f'<polyline class="extreme" points="{_joined(line(extreme))}"/>')
    mean = line([each.mean for each in points])
    body.append(f'<polyline class="line" points="{_joined(mean)}"/>')
    body += [plots._dot("dot", x, y, 2) for x, y in mean]
    x, y = horizontal(chosen[0]), vertical(wrong(chosen[1]))
    body.append(plots._dot("last", x, y, 3.5))
    body.append(plots._text(x + 8, y - 6, plots.accuracy_text(1 - chosen[1]), "value", "start"))
    return plots._svg(label, body)


def difference(value: float, noise: float, reach: float, *, label: str) -> "Markup":
    """Return a strip for a table's cell: a difference, twice its noise to either side, and where there is none.

    reach: the largest difference that the strip has room for, to either side.
    """
    axis = Axis(-reach, reach, 6, 124)
    body = [
        '<line class="grid" x1="6" x2="124" y1="8" y2="8"/>',
        '<line class="axis" x1="65" x2="65" y1="2" y2="14"/>',
        f'<line class="whisker" x1="{axis(value - 2 * noise):.1f}" x2="{axis(value + 2 * noise):.1f}" y1="8" y2="8"/>',
        plots._dot("last", axis(value), 8, 3.5),
    ]
    return plots._svg(label, body, width=130, height=16)


def heat_map(table: NDArray[np.float64], names: Sequence[str], *, text: Text, label: str) -> "Markup":
    """Return a symmetric table (M, M) as shades by rank, the lowest value the palest, the highest the strongest.

    Ranks let differences show among the many, whatever a few far off are. The diagonal is left empty, and so are cells
    of NaN. A cell's title gives both names and its value.
    """
    from markupsafe import escape

    count = len(table)
    left = 8 + round(5.2 * max(len(name) for name in names))
    values = np.unique(table[~np.eye(count, dtype=bool) & ~np.isnan(table)])
    shades = np.linspace(0.06, 1, len(values)) if len(values) > 1 else np.full(len(values), 0.5)
    body = []
    for i, name in enumerate(names):
        body.append(plots._text(left - 6, (i + 0.78) * CELL, name, "cellname", "end"))
        for j in range(count):
            if i == j or np.isnan(table[i, j]):
                continue
            strength = shades[np.searchsorted(values, table[i, j])]
            body.append(
                f'<rect class="cell" x="{left + j * CELL}" y="{i * CELL}" width="{CELL - 1}" height="{CELL - 1}" '
                f'style="opacity:{strength:.2f}"><title>{escape(name)}, {escape(names[j])}: {escape(text(table[i, j]))}'
                "</title></rect>"
            )
    if len(values):
        at = count * CELL + 10
        for step in range(6):
            shade = f'style="opacity:{0.06 + 0.94 * step / 5:.2f}"'
            body.append(f'<rect class="cell" x="{left + 14 * step}" y="{at}" width="14" height="9" {shade}/>')
        body.append(plots._text(left - 6, at + 8, text(float(values[0])), "tick", "end"))
        body.append(plots._text(left + 14 * 6 + 6, at + 8, text(float(values[-1])), "tick", "start"))
    return plots._svg(label, body, width=left + max(count * CELL, 140), height=count * CELL + LEGEND)


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
