"""Charts as SVG text that takes its colours and fonts from the page, so that one drawing serves light and dark.

Every chart is drawn for a column about 360 pixels wide: wide pages put several in a row, a phone stacks them, and the
lettering keeps its size. Shapes carry classes (`axis`, `line`, `dot`, ...) that templates/base.css colours.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tenfold.pages.page import count as thousands

if TYPE_CHECKING:
    from markupsafe import Markup

    from tenfold.metrics.scores import CalibrationBin

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 346, 14, 182  # the frame that data is drawn in
BAR_SHARE = 0.72  # of the width that a group of bars has
HISTOGRAM_BINS, HISTOGRAM_WIDTH = 36, 310  # three stand in a row
VALUE = 50  # room at the right for a curve's last value
Text = Callable[[float], str]
Transform = Callable[[float], float]
Box = tuple[float, float, float, float]  # left, top, right, bottom


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
        if not self.log:
            return _linear_ticks(self.low, self.high, most)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for factors in ((1, 2, 5), (1, 3), (1,)):
            values = [f * 10.0**power for power in range(first, last + 1) for f in factors]
            inside = [v for v in values if self.low * 0.999 <= v <= self.high * 1.001]
            if len(inside) <= most:
                break
        return inside if len(inside) > 1 else _linear_ticks(self.low, self.high, most)


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    """Return the multiples inside [low, high] of the smallest round step that gives at most `most` of them."""
    magnitude = 10.0 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 5, 10, 20):
        step = factor * magnitude
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    return [round(i * step, 12) for i in range(first, last + 1)]


def line_chart(
    x: Sequence[float],
    y: Sequence[float],
    *,
    label: str,
    text: Text,
    log: bool = False,
    flip: bool = False,
    seconds: Sequence[float] | None = None,
) -> "Markup":
    """Return a chart of y against epoch `x`; `text` words a value of y, `seconds` adds elapsed time under the epochs.

    `log` draws y on a logarithmic axis (values must be positive), `flip` puts small values at the top.
    """
    low, high = _widened(min(y), max(y), log)
    horizontal = Axis(0, max(x) if max(x) > 0 else 1, LEFT, RIGHT - VALUE)
    vertical = Axis(low, high, TOP if flip else BOTTOM, BOTTOM if flip else TOP, log)
    points = [(horizontal(a), vertical(b)) for a, b in zip(x, y, strict=True)]
    body = [_grid(vertical, text, RIGHT - VALUE)]
    for tick in horizontal.ticks(5):
        at = horizontal(tick)
        body.append(_text(at, BOTTOM + 17, f"{tick:g}", "tick"))
        if seconds is not None and tick > 0:
            elapsed = float(np.interp(tick, np.r_[0, x], np.r_[0, seconds]))
            body.append(_text(at, BOTTOM + 32, _elapsed(elapsed), "sub"))
    body.append(_text(LEFT - 8, BOTTOM + 17, "epoch", "sub", "end"))
    if len(points) > 1:
        body.append(f'<polyline class="line" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>')
    if len(points) <= 40:
        body.extend(_dot("dot", a, b, 2) for a, b in points)
    a, b = points[-1]
    body.append(_dot("last", a, b, 3.5))
    body.append(_text(a + 9, b + 4.5, text(y[-1]), "value", "start"))
    return _svg(label, body)


def _widened(low: float, high: float, log: bool) -> tuple[float, float]:
    """Return the range with a little air at both ends, and of some width where all values are equal."""
    if math.isclose(low, high):  # equal but for rounding would leave no width either
        return (low / 1.5, high * 1.5) if log else (low - 0.5, high + 0.5)
    air = (high / low) ** 0.05 if log else 0.05 * (high - low)
    return (low / air, high * air) if log else (low - air, high + air)


def _elapsed(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.3g} min"


def reliability(bins: Sequence["CalibrationBin"], *, label: str) -> "Markup":
    """Return the calibration chart: each bin's accuracy against its mean confidence, its 95% interval and its count."""
    horizontal, vertical = Axis(0, 1, LEFT, RIGHT), Axis(0, 1, BOTTOM - 30, TOP)
    most = math.log1p(max((b.n for b in bins), default=1))
    body = [_grid(vertical, lambda v: f"{100 * v:.0f}%")]
    body.append(f'<line class="ideal" x1="{LEFT}" y1="{vertical(0):.1f}" x2="{RIGHT}" y2="{vertical(1):.1f}"/>')
    for b in bins:
        if b.confidence is None or b.accuracy is None or b.ci95 is None:
            continue
        left, right = horizontal(b.low), horizontal(b.high)
        height = 3 + 15 * math.log1p(b.n) / most
        body.append(_rect("count", left + 1, BOTTOM + 4 - height, right - left - 2, height))
        body.append(_text((left + right) / 2, BOTTOM + 17, thousands(b.n), "tiny"))
        x, low, high = horizontal(b.confidence), *(vertical(end) for end in b.ci95)
        body.append(f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
        body.append(_dot("last", x, vertical(b.accuracy), 3.5))
    body.extend(_text(horizontal(share), BOTTOM + 34, f"{100 * share:.0f}%", "tick") for share in (0, 0.5, 1))
    body.append(_text(horizontal(0.25), BOTTOM + 34, "confidence", "sub"))
    body.append(_text(LEFT - 8, BOTTOM + 17, "images", "sub", "end"))
    return _svg(label, body)


def risk_coverage(coverage: NDArray[np.floating], risk: NDArray[np.floating], *, label: str) -> "Markup":
    """Return the chart of how many answers are wrong (risk) against how many images are refused (1 - coverage).

    coverage, risk: (K,) shares, by falling threshold. Refusals are drawn on a logarithmic axis from one image to half
    of them: what a refusal buys, it buys with the first few in a hundred.
    """
    n = len(coverage)
    horizontal = Axis(1 / max(n, 4), 0.5, LEFT, RIGHT, True)
    shown = coverage >= 0.5
    refused, wrong = 1 - coverage[shown], risk[shown]
    vertical = Axis(0, max(float(wrong.max(initial=0)), 1e-4) * 1.1, BOTTOM, TOP)
    places = ((horizontal(max(a, 0.7 / n)), vertical(b)) for a, b in zip(refused[::-1], wrong[::-1], strict=True))
    points = list({round(2 * x): (x, y) for x, y in places}.values())  # one for each half pixel
    digits = 2 if vertical.high < 0.01 else 1
    body = [_grid(vertical, lambda v: f"{100 * v:.{digits}f}%")]
    body.extend(_text(horizontal(tick), BOTTOM + 17, f"{100 * tick:g}%", "tick") for tick in horizontal.ticks(6))
    body.append(_text(RIGHT, BOTTOM + 32, "images refused", "sub", "end"))
    steps = points[:1]
    for before, after in pairwise(points):
        steps += [(after[0], before[1]), after]
    body.append(f'<polyline class="line" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in steps)}"/>')
    if points:
        body.append(_dot("last", *points[0], 3.5))
    return _svg(label, body)


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
    body = [] if single else [_grid(vertical, text)]
    body.append(f'<line class="axis" x1="{left}" x2="{RIGHT}" y1="{BOTTOM}" y2="{BOTTOM}"/>')
    if level is not None:
        at = vertical(level)
        body.append(f'<line class="ideal" x1="{left}" x2="{RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
    for i, name in enumerate(names):
        start = left + (i + (1 - BAR_SHARE) / 2) * slot
        for j, values in enumerate(series):
            at = vertical(values[i])
            body.append(_rect(f"bar s{j}", start + j * width, at, width - 1, BOTTOM - at))
            if single:
                body.append(_text(start + width / 2, at - 5, text(values[i]), "tiny"))
        body.append(_text(start + BAR_SHARE * slot / 2, BOTTOM + 17, name, "tick"))
    return _svg(label, body, height=HEIGHT - 24)


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
        outline = " ".join(f"{x:.1f},{y:.1f}" for x, y in [(left, floor), *steps, (right, floor)])
        body.append(f'<polygon class="area s{j}" points="{outline}"/>')
    body.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{floor}" y2="{floor}"/>')
    body.extend(_text(horizontal(tick), floor + 17, text(tick), "tick") for tick in horizontal.ticks(7))
    return _svg(label, body, HISTOGRAM_WIDTH, 128)


def interval(value: float, low: float, high: float, domain: tuple[float, float], *, label: str) -> "Markup":
    """Return a small strip that shows `value` and its interval on `domain`, for a table's cell."""
    axis = Axis(domain[0], domain[1] if domain[1] > domain[0] else domain[0] + 1, 6, 154)
    body = [
        '<line class="grid" x1="6" x2="154" y1="8" y2="8"/>',
        f'<line class="whisker" x1="{axis(low):.1f}" x2="{axis(high):.1f}" y1="8" y2="8"/>',
        _dot("last", axis(value), 8, 3.5),
    ]
    return _svg(label, body, width=160, height=16)


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
    costs = [cost for _, cost, _ in points]
    horizontal = Axis(*_widened(min(costs), max(costs), True), LEFT, RIGHT, True)
    vertical = Axis(*_widened(min(wrong), max(wrong), True), TOP, BOTTOM, True)
    places = [(horizontal(cost), vertical(error)) for cost, error in zip(costs, wrong, strict=True)]
    body = [_grid(vertical, accuracy_text)]
    body.extend(_text(horizontal(tick), BOTTOM + 17, text(tick), "tick") for tick in horizontal.ticks(5))
    body.append(_text(LEFT - 8, BOTTOM + 17, unit, "sub", "end"))
    steps = [places[i] for i in frontier[:1]]
    for i in frontier[1:]:
        steps += [(places[i][0], steps[-1][1]), places[i]]
    body.append(f'<polyline class="frontier" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in steps)}"/>')
    body.extend(_dot("last" if i in frontier else "dot", x, y, 3) for i, (x, y) in enumerate(places))
    order = [*frontier, *(i for i in range(len(points)) if i not in frontier)]  # the frontier has first choice of room
    body.extend(_names([(str(numbers[i]), points[i][0]) for i in order], [places[i] for i in order]))
    return _svg(label, body)


def _names(labels: Sequence[tuple[str, str]], places: Sequence[tuple[float, float]]) -> list[str]:
    """Return a label (number or name) beside each place, none over another or a dot; a number rather than a gap."""
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    body = []
    for (number, name), (x, y) in zip(labels, places, strict=True):
        for content in (name, number):
            width = 5.6 * len(content) + 2
            spots = [(x + 6, y + 3.5, "start"), (x - 6, y + 3.5, "end"), (x, y - 7, "middle"), (x, y + 13, "middle")]
            spots += [(x + 5, y - 5, "start"), (x - 5, y - 5, "end"), (x + 5, y + 11, "start"), (x - 5, y + 11, "end")]
            boxes = []
            for at, base, anchor in spots:
                left = at - {"start": 0.0, "end": width, "middle": width / 2}[anchor]
                boxes.append((left, base - 9, left + width, base + 2))
            free = [
                i
                for i, box in enumerate(boxes)
                if _inside(box, (LEFT, TOP - 10, RIGHT + 12, BOTTOM + 4)) and not any(_touch(box, one) for one in taken)
            ]
            if free or content == number:
                best = free[0] if free else 0
                taken.append(boxes[best])
                body.append(_text(spots[best][0], spots[best][1], content, "name", spots[best][2]))
                break
    return body


def _inside(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _touch(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def heat(confusion: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return how strongly to colour each cell of a (K, K) confusion matrix, 0 to 1: log(1 + errors), diagonal 0."""
    errors = confusion.astype(np.float64) * (1 - np.eye(len(confusion)))
    return np.asarray(np.log1p(errors) / max(np.log1p(errors.max()), 1e-9))


def accuracy_text(error: float) -> str:
    """Return the accuracy that belongs to an error rate, without idle zeros: 0.1 gives "90%", 0.0042 "99.58%"."""
    digits = max(2, math.ceil(-math.log10(error)) - 1) if error > 0 else 2
    return f"{100 * (1 - error):.{digits}f}".rstrip("0").rstrip(".") + "%"


def _grid(vertical: Axis, text: Text, right: float = RIGHT) -> str:
    lines = []
    for tick in vertical.ticks():
        at = vertical(tick)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        lines.append(_text(LEFT - 8, at + 3.5, text(tick), "tick", "end"))
    return "".join(lines)


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(0.0, height):.1f}"/>'


def _dot(kind: str, x: float, y: float, radius: float) -> str:
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"/>'


def _text(x: float, y: float, content: str, kind: str, anchor: str = "middle") -> str:
    from markupsafe import escape

    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'


def _svg(label: str, body: Sequence[str], width: int = WIDTH, height: int = HEIGHT) -> "Markup":
    from markupsafe import Markup, escape

    head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
    return Markup(head + "".join(body) + "</svg>")  # every text in it was escaped by _text or just above
