"""The page and the Markdown that show several systems on the same images."""

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold.errors import DataError
from tenfold.metrics.side_by_side import Side, SideBySide
from tenfold.pages import comparison as comparisons

LABELS = np.array([0, 1, 2, 3, 4, 9])
VOID = {"meta", "link", "br", "img", "input"}


class Page(HTMLParser):
    """A page's text, and the tags that were opened but not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what is to be closed."""
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that it closes what was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep the words."""
        self.text += data


def test_markdown(comparison: Callable[..., SideBySide]) -> None:
    """The Markdown has a row a system and a row a pair."""
    lines = comparisons.markdown(comparison(note="A note.")).splitlines()
    assert lines[0] == "**Six images**"
    assert "A note." in lines
    assert [line for line in lines if line.startswith("| slow")] == [
        "| slow | 50.000% | 18.76% to 81.24% | 3 of 6 | 2.3497 | 100 | 1,000 |",
        "| slow | quick | 0.00 | −34.65 to +34.65 | 0 | 0 | 1.00 | 1.00 |",
        "| slow | worse | +16.67 | −29.04 to +54.04 | 1 | 0 | 1.00 | 1.00 |",
    ]


def test_page(tmp_path: Path, comparison: Callable[..., SideBySide]) -> None:
    """The page closes its tags, asks the network for nothing, names every system and shows what all get wrong."""
    path = comparisons.write_page(
        tmp_path / "new" / "c.html", "A <b>title</b>", [(comparison(), comparison().standings())]
    )
    html = Path(path).read_text()
    page = Page(html)
    assert page.open == []
    assert "//" not in html.replace("http://www.w3.org", "")
    assert "A <b>title</b>" in page.text
    assert "3 images are misread by all 3 systems" in " ".join(page.text.split())
    assert html.count("--ink-mask:url(data:image/png") == 3
    assert "(not known: quick)" in page.text
    for name in ("slow", "quick", "worse"):
        assert name in page.text


def test_page_with_published_scores(tmp_path: Path, comparison: Callable[..., SideBySide]) -> None:
    """A row with a published score says whether it was reached, and where it was leaked."""
    published: dict[str, Any] = {
        "published": 0.4, "published_on": "kaggle", "leaked": False, "meets_published": True, "seeds": 3,
    }  # fmt: skip
    changes: list[dict[str, Any]] = [{}, {"published": 0.9, "meets_published": False}]
    changes.append({"leaked": True, "meets_published": None})
    rows: list[Any] = [
        SimpleNamespace(**vars(row) | published | change)
        for row, change in zip(comparison().standings(), changes, strict=True)
    ]
    text = " ".join(
        Page(Path(comparisons.write_page(tmp_path / "c.html", "T", [(comparison(), rows)])).read_text()).text.split()
    )
    assert "slow50.00% 40.00%leaderboard yes" in text
    assert "quick50.00% 90.00%leaderboard no" in text
    assert "worse33.33% 40.00%leaderboard, leaked –" in text


def test_page_of_one_perfect_system_without_pictures(
    tmp_path: Path, comparison: Callable[..., SideBySide], answers: Callable[[list[int]], NDArray[np.float32]]
) -> None:
    """One system has no pairs; no error, no known cost and no picture are no failure."""
    one = comparison(sides=[Side("only", answers(LABELS.tolist()))], images={})
    page = Page(Path(comparisons.write_page(tmp_path / "c.html", "T", [(one, one.standings())])).read_text())
    assert "100%" in page.text
    assert "Which differences" not in page.text


def test_page_of_many_systems_has_a_matrix(
    tmp_path: Path, comparison: Callable[..., SideBySide], answers: Callable[[list[int]], NDArray[np.float32]]
) -> None:
    """Past three systems the differences are a square table too, mirrored about its diagonal."""
    sides = [*comparison().sides, Side("best", answers(LABELS.tolist()), 5.0, 50)]
    found = comparison(sides=sides)
    html = Path(comparisons.write_page(tmp_path / "c.html", "T", [(found, found.standings())])).read_text()
    matrix = html[html.index('class="matrix"') : html.index("</table>", html.index('class="matrix"'))]
    assert matrix.count("after Holm") == 12
    assert matrix.count("+50.00") == matrix.count("−50.00") == 2


def test_unwritable_files(tmp_path: Path, comparison: Callable[..., SideBySide]) -> None:
    """A page or Markdown that cannot be written is an error that names the option."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="--page"):
        comparisons.write_page(tmp_path / "file" / "c.html", "T", [(comparison(), comparison().standings())])
    with pytest.raises(DataError, match="--markdown"):
        comparisons.write_markdown(tmp_path / "file" / "c.md", "text")
    assert comparisons.write_markdown(None, "text") is None


def test_page_fits(tmp_path: Path, comparison: Callable[..., SideBySide], unfit: Callable[[Path], list[str]]) -> None:
    """Nothing on a comparison's page is cut off or illegible, with a matrix of eight systems too."""
    found = comparison(sides=[Side(f"a-long-name-{i}", one.probabilities, 10.0 + i) for i in range(3)
                              for one in comparison().sides][:8])  # fmt: skip
    assert unfit(Path(comparisons.write_page(tmp_path / "c.html", "T", [(found, found.standings())]))) == []
