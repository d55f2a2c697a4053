"""What the pages share: rendering, writing, pictures inside the page, numbers in words, and Markdown tables.

An HTML page is one file that asks the network for nothing and runs no script: style, charts (SVG) and pictures (data
URIs) are in it. Pictures of digits are alpha masks, so that ink takes the page's text colour, light or dark.
"""

import base64
import io
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError, TenfoldError, printable, unwritten
from tenfold.files import write_atomically

if TYPE_CHECKING:
    from jinja2 import Environment

MISSING = "–"  # what stands for a figure that does not exist, such as the precision of a digit never given


def render(template: str, **values: Any) -> str:
    """Return the page that `template` (a file in templates/) makes of `values`; text is escaped, Markup is not."""
    return _environment().get_template(template).render(**values)


def write(path: Path, text: str, otherwise: str = "Free it or move it.", what: str = "The page ") -> Path:
    """Return `path`, written whole: a crash leaves the old page or the new one, never half of one.

    Raises DataError, which begins with `what` and ends with what to do, where it cannot be written: `otherwise` where
    the system's reason says nothing.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, printable(text).encode())
    except OSError as error:
        raise DataError(what + unwritten(path, error, otherwise)) from None
    return path


def drawn(write: Callable[..., str | Path | None], *arguments: Any, **named: Any) -> str | None:
    """Return the path of what `write` writes, or None with a warning on stderr: no result is lost to its page."""
    try:
        path = write(*arguments, **named)
    except Exception as error:  # whatever a template makes of a file that is damaged
        reason = str(error) if isinstance(error, TenfoldError) else f"{type(error).__name__}: {error}"
        print(f"Warning: the result stands, but not its page. {printable(reason)}", file=sys.stderr, flush=True)
        return None
    return None if path is None else str(path)


def picture(ink: NDArray[np.uint8]) -> str:
    """Return a PNG data URI, black with `ink` (H, W) uint8 as its opacity, to be used as a CSS mask.

    Sixteen levels (4 bits a pixel) halve the size, and the eye does not see it.
    """
    from PIL import Image

    image = Image.fromarray(((ink.astype(np.uint16) + 8) // 17).astype(np.uint8))
    image.putpalette([0, 0, 0] * 16)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", bits=4, optimize=True, transparency=bytes(range(0, 256, 17)))
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def sheet(images: NDArray[np.uint8], columns: int, gap: int = 0) -> NDArray[np.uint8]:
    """Return images (N, H, W) laid row by row on one sheet (rows * (H + gap) - gap, columns * (W + gap) - gap)."""
    n, height, width = images.shape
    rows = -(-n // columns)
    cells = np.zeros((rows * columns, height + gap, width + gap), np.uint8)
    cells[:n, :height, :width] = images
    grid = cells.reshape(rows, columns, height + gap, width + gap).swapaxes(1, 2)
    whole = grid.reshape(rows * (height + gap), columns * (width + gap))
    return whole[: rows * (height + gap) - gap, : columns * (width + gap) - gap]


def percent(fraction: float | None, digits: int = 2) -> str:
    """Return 0.9971 as "99.71%"; a fraction short of 1 is never rounded up to "100%"."""
    if not _finite(fraction):
        return MISSING
    if fraction == 1:
        return "100%"
    shown = f"{100 * fraction:.{digits}f}%"
    return percent(fraction, digits + 1) if shown.startswith("100") and digits < 6 else shown


def span(interval: Sequence[float]) -> str:
    """Return an interval of fractions in per cent: "99.55% to 99.77%"."""
    return f"{percent(interval[0])} to {percent(interval[1])}"


def signed(value: float, digits: int = 2) -> str:
    """Return a number with its sign, a true minus, and none on zero: -0.00312 to four digits is "−0.0031"."""
    shown = f"{value:+.{digits}f}"
    return (shown if float(shown) else shown[1:]).replace("-", "−")


def points(difference: float) -> str:
    """Return a difference of accuracies in percentage points, with its sign: 0.0031 gives "+0.31"."""
    return signed(100 * difference)


def count(value: float | None) -> str:
    """Return 60000 as "60,000"."""
    return f"{value:,.0f}" if _finite(value) else MISSING


def counted(n: int, noun: str) -> str:
    """Return 1 and "image" as "1 image", 2000 as "2,000 images"."""
    return f"{count(n)} {noun}" if n == 1 else f"{count(n)} {noun}s"


def number(value: float | None, digits: int = 4) -> str:
    """Return 0.012345 as "0.0123", rounded to `digits` places."""
    return f"{value:.{digits}f}" if _finite(value) else MISSING


def short(value: float | None) -> str:
    """Return 214_321 as "214k", 1_500_000 as "1.5M"."""
    if not _finite(value):
        return MISSING
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def duration(seconds: float | None) -> str:
    """Return 58.23 as "58.2 s", 872 as "14 min 32 s", 3.41 as "3.41 s"; the spaces do not break."""
    if not _finite(seconds):
        return MISSING
    if seconds < 10:
        return f"{seconds:.2f}\N{NO-BREAK SPACE}s"
    if seconds < 99.95:
        return f"{seconds:.1f}\N{NO-BREAK SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    words = f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
    return words.replace(" ", "\N{NO-BREAK SPACE}")


def seconds(value: float | None) -> str:
    """Return seconds with about three digits: "3.42", "49.6", "1,398"."""
    if value is None:
        return MISSING
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def minute(time: str | None) -> str:
    """Return an ISO-8601 time to the minute, for people: "2025-11-21 08:12 UTC"."""
    if not time:
        return ""
    zone = " UTC" if time.endswith(("Z", "+00:00")) else ""
    return time[:16].replace("T", " ") + zone


def setting(value: Any) -> str:
    """Return a recipe's value: 0.0123456 as "0.01235", True as "true"."""
    if value is None:
        return MISSING
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def name_of(spec: str | Sequence[str]) -> str:
    """Return a SPEC as a heading shows it: a path's last part, any other name as it is; several with a plus between."""
    if not isinstance(spec, str):
        return " + ".join(name_of(one) for one in spec)
    return spec.replace("\\", "/").rstrip("/").rpartition("/")[2] or spec


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table; the first `left` columns are set left, the others right."""
    lines = [head, ["---"] * left + ["---:"] * (len(head) - left), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _finite(value: float | None) -> TypeGuard[float]:
    return value is not None and bool(np.isfinite(value))


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tenfold.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: list[Callable[..., str]] = [
        *(percent, span, signed, count, counted, number, short),
        *(duration, minute, setting, name_of),
    ]
    environment.filters.update({function.__name__: function for function in filters})
    return environment
