"""Systems on the same images: what they share, what they cost, and the page that shows it."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold.errors import DataError
from tenfold.pages import comparison as comparisons
from tenfold.pages.comparison import Comparison, System

LABELS = np.array([0, 1, 2, 3, 4, 9])
VOID = {"meta", "link", "br", "img", "input"}


def answers(given: list[int]) -> NDArray[np.float32]:
    """Return probabilities of 0.91 for the digit given."""
    probabilities = np.full((len(given), 10), 0.01, np.float32)
    probabilities[np.arange(len(given)), given] = 0.91
    return probabilities


def comparison(**changes: Any) -> Comparison:
    """Three systems: all take the 4 for a 9 and the 9 for a 4; the first two take the 3 for a 5, the last for an 8."""
    systems = [
        System("slow", answers([0, 1, 2, 5, 9, 4]), seconds=100.0, parameters=1000),
        System("quick", answers([0, 1, 2, 5, 9, 4]), seconds=1.0, parameters=None),
        System("worse", answers([6, 1, 2, 8, 9, 4]), seconds=10.0, parameters=10),
    ]
    images = {i: np.full((28, 28), 40 * i, np.uint8) for i in range(6)}
    return Comparison(**({"title": "Six images", "labels": LABELS, "systems": systems, "images": images} | changes))


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

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Leave SVG's closed shapes."""

    def handle_endtag(self, tag: str) -> None:
        """Check that it closes what was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep the words."""
        self.text += data


def test_rows() -> None:
    """Each system has its accuracy, errors and NLL on the shared images."""
    first, _, last = comparisons.rows(comparison())
    assert (first["accuracy"], first["errors"], first["n"]) == (0.5, 3, 6)
    assert first["nll"] == pytest.approx(-(3 * np.log(0.91) + 3 * np.log(0.01)) / 6, rel=1e-5)
    assert last["errors"] == 4


def test_shared_confusions() -> None:
    """A confusion counts where two systems make it, by its mean share of their errors; images are those in common."""
    found = {(one["true"], one["given"]): one for one in comparisons.shared_confusions(comparison())}
    assert set(found) == {(4, 9), (9, 4), (3, 5)}
    assert found[4, 9] == {
        "true": 4,
        "given": 9,
        "systems": 3,
        "share": pytest.approx((1 / 3 + 1 / 3 + 1 / 4) / 3),
        "images": 1,
    }
    assert found[3, 5]["systems"] == 2
    assert comparisons.shared_confusions(comparison())[-1]["given"] == 5


def test_wrong_everywhere() -> None:
    """The images that every system gets wrong are found, however they are misread."""
    assert comparisons.wrong_everywhere(comparison()).tolist() == [3, 4, 5]


def test_frontier() -> None:
    """A system is on the frontier when none that costs no more is as accurate; unknown costs are left out."""
    assert comparisons.frontier([5.0, 1.0, 3.0, None, 4.0], [0.99, 0.9, 0.95, 1.0, 0.95]) == [1, 2, 0]
    assert comparisons.frontier([2.0, 2.0], [0.9, 0.95]) == [1]
    assert comparisons.frontier([None], [0.9]) == []


def test_pairs_and_markdown() -> None:
    """Pairs are named, and the Markdown has a row a system and a row a pair."""
    found = comparisons.pairs(comparison())
    assert [(pair["first"], pair["second"]) for pair in found] == [
        ("slow", "quick"), ("slow", "worse"), ("quick", "worse"),
    ]  # fmt: skip
    assert (found[1]["only_first"], found[1]["only_second"], found[1]["p_holm"]) == (1, 0, 1.0)
    lines = comparisons.markdown(comparison(note="A note.")).splitlines()
    assert lines[0] == "**Six images**"
    assert "A note." in lines
    assert [line for line in lines if line.startswith("| slow")] == [
        "| slow | 50.000% | 18.76% to 81.24% | 3 of 6 | 2.3497 | 100 | 1,000 |",
        "| slow | quick | 0.00 | −34.65 to +34.65 | 0 | 0 | 1.00 | 1.00 |",
        "| slow | worse | +16.67 | −29.04 to +54.04 | 1 | 0 | 1.00 | 1.00 |",
    ]


@pytest.mark.parametrize(
    ("difference", "words"), [(0.00314, "+0.31"), (-0.02, "−2.00"), (0.000001, "0.00"), (-0.000001, "0.00")]
)
def test_points(difference: float, words: str) -> None:
    """A difference has its sign, and nothing has none."""
    assert comparisons.points(difference) == words


def test_page(tmp_path: Path) -> None:
    """The page closes its tags, asks the network for nothing, names every system and shows what all get wrong."""
    path = comparisons.write_page(
        tmp_path / "new" / "c.html", "A <b>title</b>", [(comparison(), comparisons.rows(comparison()))]
    )
    html = path.read_text()
    page = Page(html)
    assert page.open == []
    assert "//" not in html.replace("http://www.w3.org", "")
    assert "A <b>title</b>" in page.text
    assert "3 images are misread by all 3 systems" in " ".join(page.text.split())
    assert html.count("--ink-mask:url(data:image/png") == 3
    assert "(not known: quick)" in page.text
    for name in ("slow", "quick", "worse"):
        assert name in page.text


def test_page_with_published_scores(tmp_path: Path) -> None:
    """A row with a published score says whether it was reached, and where it was leaked."""
    extra = {"published": 0.4, "published_on": "kaggle", "leaked": False, "meets_published": True, "seeds": 3}
    rows = [row | extra for row in comparisons.rows(comparison())]
    rows[1] |= {"published": 0.9, "meets_published": False}
    rows[2] |= {"leaked": True, "meets_published": None}
    text = " ".join(
        Page(comparisons.write_page(tmp_path / "c.html", "T", [(comparison(), rows)]).read_text()).text.split()
    )
    assert "slow50.00% 40.00%leaderboard yes" in text
    assert "quick50.00% 90.00%leaderboard no" in text
    assert "worse33.33% 40.00%leaderboard, leaked –" in text


def test_page_of_one_perfect_system_without_pictures(tmp_path: Path) -> None:
    """One system has no pairs; no error, no known cost and no picture are no failure."""
    one = comparison(systems=[System("only", answers(LABELS.tolist()))], images={})
    page = Page(comparisons.write_page(tmp_path / "c.html", "T", [(one, comparisons.rows(one))]).read_text())
    assert "100%" in page.text
    assert "Which differences" not in page.text


def test_page_of_many_systems_has_a_matrix(tmp_path: Path) -> None:
    """Past three systems the differences are a square table too, mirrored about its diagonal."""
    systems = [*comparison().systems, System("best", answers(LABELS.tolist()), 5.0, 50)]
    found = comparison(systems=systems)
    html = comparisons.write_page(tmp_path / "c.html", "T", [(found, comparisons.rows(found))]).read_text()
    matrix = html[html.index('class="matrix"') : html.index("</table>", html.index('class="matrix"'))]
    assert matrix.count("after Holm") == 12
    assert matrix.count("+50.00") == matrix.count("−50.00") == 2


def test_unwritable_files(tmp_path: Path) -> None:
    """A page or Markdown that cannot be written is an error that names the option."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="--page"):
        comparisons.write_page(tmp_path / "file" / "c.html", "T", [(comparison(), comparisons.rows(comparison()))])
    with pytest.raises(DataError, match="--markdown"):
        comparisons.write_markdown(tmp_path / "file" / "c.md", "text")
    assert comparisons.write_markdown(None, "text") is None
