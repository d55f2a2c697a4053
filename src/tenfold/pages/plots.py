"""Charts as SVG text, each drawn for a column about 360 pixels wide.

Wide pages put several in a row, a phone stacks them, and the lettering keeps its size.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tenfold.metrics.scores import CalibrationBin
from tenfold.pages.page import count, duration

if TYPE_CHECKING:
    from markupsafe import Markup

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 346, 14, 182  # the frame that data is drawn in
VALUE = 50  # room at the right for a curve's last value
BAR_SHARE = 0.72  # of the width that a group of bars has
HISTOGRAM_BINS, HISTOGRAM_WIDTH = 36, 310  # three stand in a row
NAME_SPOTS = [  # where a point's name may stand beside it, the best first
    *((5, -5, "start"), (-5, -5, "end"), (0, -7, "middle"), (-6, 3.5, "end")),  # a frontier leaves to the right
    *((0, 13, "middle"), (6, 3.5, "start"), (5, 11, "start"), (-5, 11, "end")),
]

Text = Callable[[float], str]
Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """A map from values [low, high] to pixels [start, end], linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of `value`; values outside the axis land on its nearer end."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, max(value, self.low)))
        share = min(1.0, (value - low) / (high - low))
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Return at most about `most` round values on the axis: 1, 2 or 5 times a power of ten."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            for factors in ((1, 2, 5), (1, 3), (1,)):
                values = [f * 10.0**power for power in range(first, last + 1) for f in factors]
                inside = [v for v in values if self.low * 0.999 <= v <= self.high * 1.001]
                if len(inside) <= most:
                    break
            if len(inside) > 1:
                return inside
        magnitude = 10.0 ** math.floor(math.log10((self.high - self.low) / most))
        for factor in (1, 2, 5, 10, 20):
            step = factor * magnitude
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            if last - first < most:
                break
        return [round(i * step, 12) for i in range(first, last + 1)]


def log_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """Return a logarithmic axis over values > 0, with a little air at both ends."""
    low, high = min(values), max(values)
    air = 1.5 if math.isclose(low, high) else (high / low) ** 0.05  # equal but for rounding would leave no width
    return Axis(low / air, high * air, start, end, True)


def grid(vertical: Axis, text: Text, right: float = RIGHT) -> str:
    """Return a line across at each tick of the upright axis, and its words at the left."""
    ticks = [(vertical(tick), text(tick)) for tick in vertical.ticks()]
    rows = (line("grid", LEFT, at, right, at) + words(LEFT - 8, at + 3.5, tick, "tick", "end") for at, tick in ticks)
    return "".join(rows)


def below(horizontal: Axis, text: Text, most: int, floor: float = BOTTOM, *, whole: bool = False) -> str:
    """Return the words of the ticks under an axis that lies at `floor`; with `whole` those of whole numbers alone."""
    ticks = [tick for tick in horizontal.ticks(most) if not whole or tick == int(tick)]
    return "".join(words(horizontal(tick), floor + 17, text(tick), "tick") for tick in ticks)


def accuracy_text(error: float) -> str:
    """Return the accuracy that belongs to an error rate, without idle zeros: 0.1 gives "90%", 0.0042 "99.58%"."""
    digits = max(2, math.ceil(-math.log10(error)) - 1) if error > 0 else 2
    return f"{100 * (1 - error):.{digits}f}".rstrip("0").rstrip(".") + "%"


def line(kind: str, x: float, y: float, to_x: float, to_y: float) -> str:
    """Return a straight line."""
    return f'<line class="{kind}" x1="{x:.1f}" x2="{to_x:.1f}" y1="{y:.1f}" y2="{to_y:.1f}"/>'


def path(kind: str, points: Iterable[Point], shape: str = "polyline") -> str:
    """Return the line through the points, or with `shape` "polygon" the area within it."""
    return f'<{shape} class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def stepped(points: Sequence[Point]) -> list[Point]:
    """Return the points of a line that goes across to the next point's place before it goes up or down to it."""
    corners = list(points[:1])
    for (_, y), after in pairwise(points):
        corners += [(after[0], y), after]
    return corners


def rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    """Return a rectangle; one of negative height has none."""
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(0.0, height):.1f}"/>'


def dot(kind: str, x: float, y: float, radius: float) -> str:
    """Return a disc."""
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"/>'


def words(x: float, y: float, content: str, kind: str, anchor: str = "middle") -> str:
    """Return a text, escaped, that starts at, ends at or surrounds `x`."""
    from markupsafe import escape

    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'


def drawing(label: str, body: Sequence[str], width: float = WIDTH, height: float = HEIGHT) -> "Markup":
    """Return the whole chart; `label` says what it shows to those who cannot see it."""
    from markupsafe import Markup, escape

    head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
    return Markup(head + "".join(body) + "</svg>")  # every text in it was escaped by `words` or just above


def line_chart(
    curve: Sequence[tuple[float, float, float]], *, label: str, text: Text, floor: float, flip: bool = False
) -> "Markup":
    """Return a chart of a curve (epoch, elapsed seconds, y), y on a logarithmic axis, no lower than `floor`.

    text: words a value of y. flip: small values are at the top.
    """
    epochs, seconds, values = zip(*curve, strict=True)
    drawn = [max(value, floor) for value in values]
    horizontal = Axis(0, max(*epochs, 0) or 1, LEFT, RIGHT - VALUE)
    vertical = log_axis(drawn, *((TOP, BOTTOM) if flip else (BOTTOM, TOP)))
    points = [(horizontal(a), vertical(b)) for a, b in zip(epochs, drawn, strict=True)]
    body = [grid(vertical, text, RIGHT - VALUE), below(horizontal, "{:g}".format, 5)]
    for tick in horizontal.ticks(5)[1:]:
        elapsed = duration(float(np.interp(tick, [0, *epochs], [0, *seconds])))
        body.append(words(horizontal(tick), BOTTOM + 32, elapsed, "sub"))
    body.append(words(LEFT - 8, BOTTOM + 17, "epoch", "sub", "end"))
    body.append(path("line", points))
    body.extend(dot("dot", *point, 2) for point in points if len(points) <= 40)
    a, b = points[-1]
    body += [dot("last", a, b, 3.5), words(a + 9, b + 4.5, text(values[-1]), "value", "start")]
    return drawing(label, body)


def reliability(bins: Sequence[CalibrationBin], *, label: str) -> "Markup":
    """Return the calibration chart: each bin's accuracy against its mean confidence, its 95% interval and its count."""
    horizontal, vertical = Axis(0, 1, LEFT, RIGHT), Axis(0, 1, BOTTOM - 30, TOP)
    most = math.log1p(max((b.n for b in bins), default=1))
    body = [grid(vertical, lambda v: f"{100 * v:.0f}%"), line("ideal", LEFT, vertical(0), RIGHT, vertical(1))]
    for b in bins:
        if b.confidence is None or b.accuracy is None or b.ci95 is None:
            continue
        left, right = horizontal(b.low), horizontal(b.high)
        height = 3 + 15 * math.log1p(b.n) / most
        x, low, high = horizontal(b.confidence), *(vertical(end) for end in b.ci95)
        body += [
            rect("count", left + 1, BOTTOM + 4 - height, right - left - 2, height),
            words((left + right) / 2, BOTTOM + 17, count(b.n), "tiny"),
            line("whisker", x, low, x, high),
            dot("last", x, vertical(b.accuracy), 3.5),
        ]
    body.extend(words(horizontal(share), BOTTOM + 34, f"{100 * share:.0f}%", "tick") for share in (0, 0.5, 1))
    body.append(words(horizontal(0.25), BOTTOM + 34, "confidence", "sub"))
    body.append(words(LEFT - 8, BOTTOM + 17, "images", "sub", "end"))
    return drawing(label, body)


def risk_coverage(coverage: NDArray[np.floating], risk: NDArray[np.floating], *, label: str) -> "Markup":
    """Return the chart of how many answers are wrong (risk) against how many images are refused (1 - coverage).

    coverage, risk: (K,) shares, by falling threshold. Refusals are drawn on a logarithmic axis from one image to half
    of them: what a refusal buys, it buys with the first few in a hundred.
    """
    n = len(coverage)
    horizontal = Axis(0.5 / max(n, 2), 0.5, LEFT, RIGHT, True)  # none refused lies at half an image
    shown = coverage >= 0.5
    refused, wrong = 1 - coverage[shown], risk[shown]
    vertical = Axis(0, max(float(wrong.max(initial=0)), 1e-4) * 1.1, BOTTOM, TOP)
    places = ((horizontal(a), vertical(b)) for a, b in zip(refused[::-1], wrong[::-1], strict=True))
    points = list({round(2 * x): (x, y) for x, y in places}.values())  # one for each half pixel
    body = [
        grid(vertical, lambda v: f"{100 * v:g}%"),
        below(horizontal, lambda v: f"{100 * v:g}%", 6),
        words(RIGHT, BOTTOM + 32, "images refused", "sub", "end"),
        path("line", stepped(points)),
        *(dot("last", *point, 3.5) for point in points[:1]),
    ]
    return drawing(label, body)


def bars(
    series: Sequence[Sequence[float]], names: Sequence[str], *, label: str, text: Text, level: float | None = None
) -> "Markup":
    """Return a bar chart: a group for each name, in it a bar for each series; `level` draws a dashed line at a value.

    One series has its values written over the bars, several have an axis.
    """
    single = len(series) == 1
    left = LEFT - 30 if single else LEFT
    vertical = Axis(0, max(max(values) for values in series) or 1, BOTTOM, TOP + 14)
    slot = (RIGHT - left) / len(names)
    width = BAR_SHARE * slot / len(series)
    body = [] if single else [grid(vertical, text)]
    body.append(line("axis", left, BOTTOM, RIGHT, BOTTOM))
    if level is not None:
        body.append(line("ideal", left, vertical(level), RIGHT, vertical(level)))
    for i, name in enumerate(names):
        start = left + (i + (1 - BAR_SHARE) / 2) * slot
        for j, values in enumerate(series):
            at = vertical(values[i])
            body.append(rect(f"bar s{j}", start + j * width, at, width - 1, BOTTOM - at))
            if single:
                base = at - 5
                if level is not None and base - 9 < vertical(level) < base + 3:
                    base = vertical(level) - 3.5  # or the dashed line would strike it through
                body.append(words(start + width / 2, base, text(values[i]), "tiny"))
        body.append(words(start + BAR_SHARE * slot / 2, BOTTOM + 17, name, "tick"))
    return drawing(label, body, height=HEIGHT - 24)


def histogram(series: Sequence[NDArray[np.floating]], *, label: str, text: Text, whole: bool = False) -> "Markup":
    """Return the distributions of one or two samples over a shared axis, as steps; each fills the same area.

    `whole` makes a bin for each whole number. What lies in the outermost thousandths is drawn at the ends.
    """
    series = [np.asarray(values, np.float64) for values in series]  # or float32 would round over the outermost edges
    low, high = (float(v) for v in np.quantile(np.concatenate(series), (0.001, 0.999)))
    if whole:
        low, high = math.floor(low) - 0.5, math.ceil(high) + 0.5
    elif low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, round(high - low) + 1 if whole else HISTOGRAM_BINS + 1)
    shares = [np.histogram(np.clip(values, low, high), edges)[0] / len(values) for values in series]
    left, right, floor = 4, HISTOGRAM_WIDTH - 4, 104
    horizontal, vertical = Axis(low, high, left, right), Axis(0, max(float(s.max()) for s in shares), floor, 8)
    body = []
    for j, share in enumerate(shares):
        steps = [(horizontal(edges[i + k]), vertical(float(value))) for i, value in enumerate(share) for k in (0, 1)]
        body.append(path(f"area s{j}", [(left, floor), *steps, (right, floor)], "polygon"))
    body += [line("axis", left, floor, right, floor), below(horizontal, text, 7, floor, whole=whole)]
    return drawing(label, body, HISTOGRAM_WIDTH, 128)


def scatter(
    points: Sequence[tuple[str, float, float]],
    frontier: Sequence[int],
    *,
    numbers: Sequence[int],
    label: str,
    unit: str,
    text: Text,
    floor: float,
) -> "Markup":
    """Return a chart of accuracy against a cost (logarithmic), each point (name, cost > 0, accuracy) named.

    frontier: the points, by rising cost, that a stepped line joins. numbers: what stands beside a point where there is
    no room for its name. Accuracy is drawn by the logarithm of its error, at least `floor`.
    """
    wrong = [max(1 - accuracy, floor) for _, _, accuracy in points]
    horizontal, vertical = log_axis([cost for _, cost, _ in points], LEFT, RIGHT), log_axis(wrong, TOP, BOTTOM)
    places = [(horizontal(cost), vertical(error)) for (_, cost, _), error in zip(points, wrong, strict=True)]
    steps = stepped([places[i] for i in frontier])
    order = [*frontier, *(i for i in range(len(points)) if i not in frontier)]  # the frontier has first choice of room
    body = [
        grid(vertical, accuracy_text),
        below(horizontal, text, 5),
        words(LEFT - 8, BOTTOM + 17, unit, "sub", "end"),
        path("frontier", steps),
        *(dot("last" if i in frontier else "dot", x, y, 3) for i, (x, y) in enumerate(places)),
        *_names([(points[i][0], str(numbers[i])) for i in order], [places[i] for i in order], steps),
    ]
    return drawing(label, body)


def _names(labels: Sequence[tuple[str, str]], places: Sequence[Point], steps: Sequence[Point]) -> list[str]:
    """Return a label (name or number) beside each place, none over another, a dot or the line along `steps`.

    A number rather than a gap.
    """
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in places]  # left, top, right, bottom
    taken += [(a, min(b, d), c, max(b, d)) for (a, b), (c, d) in pairwise(steps)]
    body = []
    for contents, (x, y) in zip(labels, places, strict=True):
        choices = [(x + across, y + down, each, side) for each in contents for across, down, side in NAME_SPOTS]
        boxes = []
        for at, base, each, side in choices:
            width = 5.6 * len(each) + 2
            left = at - {"start": 0.0, "end": width, "middle": width / 2}[side]
            boxes.append((left, base - 9, left + width, base + 2))
        free = (i for i, box in enumerate(boxes) if _in_frame(*box) and not any(_touch(box, one) for one in taken))
        best = next(free, len(NAME_SPOTS))  # the number at its first spot where there is no room
        taken.append(boxes[best])
        at, base, each, side = choices[best]
        body.append(words(at, base, each, "name", side))
    return body


def _in_frame(left: float, top: float, right: float, bottom: float) -> bool:
    return left >= LEFT and top >= TOP - 10 and right <= RIGHT + 12 and bottom <= BOTTOM + 4


def _touch(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
