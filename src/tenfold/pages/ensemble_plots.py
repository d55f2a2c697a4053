"""The charts of an ensemble as SVG: accuracy against size, and differences between rules."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tenfold.ensembles.diversity import SizePoint
from tenfold.pages import plots
from tenfold.pages.plots import BOTTOM, LEFT, RIGHT, TOP, VALUE, Axis, accuracy_text

if TYPE_CHECKING:
    from markupsafe import Markup


def band(points: Sequence[SizePoint], chosen: tuple[int, float], *, n: int, label: str) -> "Markup":
    """Return accuracy against the number of members: mean, 5th to 95th percentile, and the extremes of random draws.

    chosen: members and accuracy of the ensemble that was chosen, a dot. n: images; accuracy is drawn by the logarithm
    of its error, at least that of half an image.
    """
    floor = 0.5 / n

    def wrong(accuracy: float) -> float:
        return max(1 - accuracy, floor)

    values = [wrong(value) for each in points for value in (each.lowest, each.highest)] + [wrong(chosen[1])]
    vertical = plots.log_axis(values, TOP, BOTTOM)
    most = max(2, chosen[0], *(each.size for each in points))
    horizontal = Axis(1, most, LEFT + 6, RIGHT - VALUE, True)
    ticks = [tick for tick in horizontal.ticks(7) if tick == int(tick)]

    def line(accuracies: Sequence[float]) -> list[plots.Point]:
        return [(horizontal(each.size), vertical(wrong(a))) for each, a in zip(points, accuracies, strict=True)]

    upper, lower = line([each.high for each in points]), line([each.low for each in points])
    mean = line([each.mean for each in points])
    x, y = horizontal(chosen[0]), vertical(wrong(chosen[1]))
    body = [
        plots.grid(vertical, accuracy_text, RIGHT - VALUE),
        *(plots.words(horizontal(tick), BOTTOM + 17, f"{tick:g}", "tick") for tick in ticks),
        plots.words(RIGHT - VALUE, BOTTOM + 32, "members", "sub", "end"),
        plots.path("band", [*upper, *lower[::-1]], "polygon"),
        plots.path("extreme", line([each.highest for each in points])),
        plots.path("extreme", line([each.lowest for each in points])),
        plots.path("line", mean),
        *(plots.dot("dot", *point, 2) for point in mean),
        plots.dot("last", x, y, 3.5),
        plots.words(x + 8, y - 6, accuracy_text(1 - chosen[1]), "value", "start"),
    ]
    return plots.drawing(label, body)


def difference(value: float, noise: float, reach: float) -> "Markup":
    """Return a strip for a table's cell: a difference in log-loss, twice its noise to either side, and where none is.

    reach: the largest difference that the strip has room for, to either side.
    """
    axis = Axis(-reach, reach, 6, 124)
    body = [
        plots.line("grid", 6, 8, 124, 8),
        plots.line("axis", 65, 2, 65, 14),
        plots.line("whisker", axis(value - 2 * noise), 8, axis(value + 2 * noise), 8),
        plots.dot("last", axis(value), 8, 3.5),
    ]
    label = f"log-loss against all: {value:+.4f}, give or take {2 * noise:.4f}"
    return plots.drawing(label, body, width=130, height=16)
