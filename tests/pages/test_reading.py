"""The page of numbers that were read: whole, safe, the doubtful ones first, and of bounded size."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tenfold.pages import reading
from tenfold.runtime.reader import Reader

CROP = "data:image/jpeg;base64,AAAA"


@pytest.fixture
def reader() -> Reader:
    """Return a reader that only says what it is."""
    reader = object.__new__(Reader)
    reader.threshold, reader.name = 0.9, "fake"
    return reader


def page(file: str, *numbers: tuple[str, float, bool]) -> dict[str, Any]:
    """Return a page of these numbers, in one row: text, confidence, and whether it is not to be used."""
    found = [
        {"text": text, "confidence": sure, "box": [1, 2, 3, 4], "digits": [], "abstained": unsure, "crop": CROP,
         "reason": "unsure: <b> or 7" if unsure else None}
        for text, sure, unsure in numbers
    ]  # fmt: skip
    return {"file": file, "page": 2, "numbers": found, "rows": [len(found)], "size": [9, 9], "turned": 0}


def words(html: str) -> str:
    """Return a page's text."""
    return " ".join(re.sub("<[^>]+>", " ", html.partition("</style>")[2]).split())


def test_shows_everything(tmp_path: Path, reader: Reader) -> None:
    """Those not to be used come first, then the least sure; every page has its text, every fault its reason."""
    read = [
        page("<a>.png", ("0072", 0.95, False), ("481", 0.99, True), ("39", 0.93, False)),
        {"file": "b.pdf", "page": None, "numbers": [], "rows": [], "error": "'b.pdf' is a damaged PDF."},
        page("c.png"),
    ]
    reading.write(tmp_path / "new" / "a.html", ["in"], reader, read)
    html = (tmp_path / "new" / "a.html").read_text("utf-8")
    text = words(html)
    assert "3 numbers on 2 pages, 1 of them not to be used before somebody has looked." in text
    assert re.findall(r"(\d+) → ", text) == ["481", "39", "0072"]
    assert "unsure: &lt;b&gt; or 7. &lt;a&gt;.png, page 2, at 1, 2, 3, 4" in text
    assert "&lt;a&gt;.png 2 0072 481 39 b.pdf &#39;b.pdf&#39; is a damaged PDF. c.png 2" in text
    assert html.count(f'<img src="{CROP}"') == 3
    assert not re.search(r"<script|src=\"(?!data:)|href=\"(?!#|data:)|url\((?!data:)", html)


def test_thousands(tmp_path: Path, reader: Reader) -> None:
    """Of thousands of pages the page has the most doubtful numbers, wherever they are, and stays small."""

    def read() -> Iterator[dict[str, Any]]:
        for number in range(5000):
            yield page(f"{number}.png", ("7", 0.95, False), ("8", number / 5000, number == 4999))

    reading.write(tmp_path / "a.html", ["in"], reader, read())
    html = (tmp_path / "a.html").read_text("utf-8")
    assert html.count("<img") == 200
    assert words(html).index("4999.png, page 2") < words(html).index("0.png, page 2")
    assert "200 of 10,000 are shown." in html
    assert "The first 1,000 of 5,000." in html
    assert len(html) < 500_000


def test_fits(tmp_path: Path, reader: Reader, unfit: Callable[[Path], list[str]]) -> None:
    """The page fits a phone and a laptop."""
    reading.write(
        tmp_path / "a.html",
        ["long-name-" * 9],
        reader,
        [page("scans/of the year 2026/sheet-017.png", *[("12345", 0.5, True)] * 40)],
    )
    assert unfit(tmp_path / "a.html") == []
