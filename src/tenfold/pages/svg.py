"""What charts are drawn with: axes and their round ticks, lines, dots and words, as SVG text without a colour.

Shapes carry classes (`axis`, `line`, `dot`, ...) that templates/base.css colours, so one drawing serves light and dark.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 346, 14, 182  # the frame that data is drawn in
VALUE = 50  # room at the right for a curve's last value
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
