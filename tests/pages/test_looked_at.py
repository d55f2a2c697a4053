"""What the look at a page in Chromium finds: each kind of fault, and nothing on a page without one."""

from collections.abc import Callable
from pathlib import Path

import pytest

SHADOW = "background: linear-gradient(red, blue) local"
TEXT = '<text x="10" y="{}" font-size="{}">word</text>'


def chart(body: str) -> str:
    """Return a chart of 100 pixels a side that is shown as large."""
    return f'<svg viewBox="0 0 100 100" style="width:100px">{body}</svg>'


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("<p>Some words.</p>", None),
        (f'<div style="overflow:auto;{SHADOW}"><p style="width:2000px">wide</p></div>', None),
        ('<div style="overflow:auto"><p style="width:2000px">wide</p></div>', "scrolls without a hint"),
        ('<div style="overflow:hidden"><p style="width:2000px">wide</p></div>', "cut off"),
        ('<p style="width:2000px">wide</p>', "wider than the window"),
        ('<p style="font-size:9px">small</p>', "tiny"),
        ('<table><tr><td style="width:1em">' + "one of many words " * 5 + "</td></tr></table>", "squeezed"),
        (chart(TEXT.format(30, 12) + TEXT.format(60, 12)), None),
        (chart(TEXT.format(30, 12) + TEXT.format(34, 12)), "overprinted"),
        (chart(TEXT.format(30, 8)), "tiny"),
        (chart(TEXT.format(30, 20)), "huge"),
        (chart('<line class="ideal" x1="0" x2="99" y1="27" y2="27"/>' + TEXT.format(30, 12)), "struck through"),
    ],
)
def test_fault_is_found(body: str, fault: str | None, tmp_path: Path, unfit: Callable[[Path], list[str]]) -> None:
    """Each fault is found and named, and what is made to scroll, or stands clear, is none."""
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><h1>A page</h1>{body}", "utf-8")
    kinds = {finding.partition(":")[0] for finding in unfit(page)}
    assert (fault in kinds) if fault else (kinds == set())


def test_picture(tmp_path: Path, unfit: Callable[[Path], list[str]]) -> None:
    """A picture shows the page in the size asked for, light or dark as the page would be."""
    import io

    import page_pictures
    from PIL import Image

    page = tmp_path / "page.html"
    page.write_text("<style>@media (prefers-color-scheme: dark) { html { background: #000 } }</style><h1>A page</h1>")
    for dark, corner in ((False, (255, 255, 255)), (True, (0, 0, 0))):
        image = Image.open(io.BytesIO(page_pictures.picture(page, (390, 300), dark=dark))).convert("RGB")
        assert image.size == (390, 300)
        assert image.getpixel((389, 299)) == corner
