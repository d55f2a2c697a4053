"""The page of a search: whole, safe, and drawn also where there is little to draw."""

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tenfold.pages.tuning import write_page
from tenfold.training.recipe import Range
from tenfold.tuning.comparison import SeedComparison, SeedPair, SeedSpread, SeedTraining
from tenfold.tuning.journal import Tried
from tenfold.tuning.plan import Plan
from tenfold.tuning.space import Space, Values

SPACE: Space = {"optimiser.lr": Range(low=1e-3, high=1.0, log=True), "model.norm": [False, True]}
PLAN = Plan(
    recipe="small",
    name="small-tuned",
    method="optuna",
    metric="nll",
    seed=0,
    subset=None,
    trials=None,
    max_seconds=None,
    seeds=1,
    spec="folder/digits.npz",
    sha256="9f" * 32,
    images=1437,
    started="2025-11-21T07:58:01+00:00",
    versions={"tenfold": "0.1.0"},
    commit=None,
)
BASE = Tried(0, {"optimiser.lr": 0.01, "model.norm": True}, "complete", 0.2, 0.2, 0.95, 3.0, {50: 0.4, 90: 0.25}, True)
BETTER = Tried(1, {"optimiser.lr": 0.1, "model.norm": False}, "complete", 0.1, 0.1, 0.97, 3.0, {50: 0.3, 90: 0.15})
PRUNED = Tried(2, {"optimiser.lr": 1.0, "model.norm": False}, "pruned", curve={50: 2.0})
FAILED = Tried(3, {"optimiser.lr": 0.9, "model.norm": True}, "failed", reason="<b>The loss is 'nan'</b>")
LOST = Tried(4, {"optimiser.lr": 0.9, "model.norm": True}, "lost")
SEEDS = SeedComparison(
    seeds=[1],
    rows=[
        SeedPair(
            1, 50, SeedTraining(0.21, 0.94, 50, 1.0, 1, "base"), SeedTraining(0.12, 0.96, 50, 1.0, 1, "best"), 0.09
        )
    ],
    base={"nll": SeedSpread(0.21, None), "accuracy": SeedSpread(0.94, None)},
    best={"nll": SeedSpread(0.12, None), "accuracy": SeedSpread(0.96, None)},
    gain=SeedSpread(0.09, None),
    wins=1,
    failed=[],
    better=True,
    lines=[],
)


def written(folder: Path, tried: list[Tried], **changes: Any) -> str:
    """Return the page's HTML."""
    values: dict[str, Any] = {
        "plan": PLAN, "space": SPACE, "tried": tried, "comparison": None, "verdict": "So it is.",
        "recipe": "",
    }  # fmt: skip
    return write_page(folder / "tune.html", **(values | changes)).read_text("utf-8")


class Balanced(HTMLParser):
    """Counts the elements of a page and keeps its text; a tag that does not match is an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.text = ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_shows_what_was_tried(tmp_path: Path) -> None:
    """The page has the verdict, the chart, a row for each trial but lost ones, and both values of every key."""
    tried = [BASE, BETTER, PRUNED, FAILED, LOST]
    html = written(tmp_path, tried, comparison=SEEDS, recipe='name = "x"')
    page = Balanced(html)
    assert page.count["svg"] == 1
    assert "So it is." in page.text
    assert "2 trials complete, 1 ended early, 1 failed, on digits.npz" in re.sub(r"\s+", " ", page.text)
    for value in ("0.1200", "0.2100", "96.00%", "true", "false", 'name = "x"', "9f9f9f"):
        assert value in page.text
    rows = re.findall(r'<tr><td class="left">(\d+)</td><td>[^<]*</td><td>(?:true|false)</td>', html)
    assert rows == ["1", "0", "2", "3"]  # the best first, what has no figure last


def test_nothing_from_outside_and_nothing_unescaped(tmp_path: Path) -> None:
    """The page loads nothing, runs no script, and shows a reason as text."""
    html = written(tmp_path, [BASE, FAILED])
    assert not re.search(r"<script|<img|src=|href=\"(?!#|data:)|url\(", html)
    assert "<b>The loss" not in html
    assert "&lt;b&gt;The loss" in html


@pytest.mark.parametrize(
    ("tried", "figures"),
    [
        ([], 0),
        ([FAILED], 0),
        ([BASE], 1),
        ([BASE, BASE], 1),
        ([Tried(0, {"optimiser.lr": 0.01, "model.norm": True}, "complete", 0.0, 0.0, 1.0, 3.0, base=True)], 1),
    ],
)
def test_little_to_draw(tmp_path: Path, tried: list[Tried], figures: int) -> None:
    """One trial, equal ones, none, or one without a mistake still make a page with what there is."""
    assert Balanced(written(tmp_path, tried)).count.get("svg", 0) == figures


def test_judged_by_accuracy(tmp_path: Path) -> None:
    """A search judged by its mistakes words its axis as accuracy."""
    values: Values = {"optimiser.lr": 0.1, "model.norm": True}
    wrong = [0.05 / (i + 1) for i in range(6)]
    tried = [Tried(i, values, "complete", wrong[i], 0.2, 1 - wrong[i], 1.0, base=i == 0) for i in range(6)]
    page = Balanced(written(tmp_path, tried, plan=replace(PLAN, metric="accuracy")))
    assert "judged by the accuracy of held-out images" in page.text
    assert "99.17%" in page.text


def test_page_fits(tmp_path: Path, unfit: Callable[[Path], list[str]]) -> None:
    """Nothing on a search's page is cut off or illegible, however many keys it has and long reasons."""
    values: Values = {f"training.some_long_setting_{i}": 0.123456 for i in range(6)}
    tried = [
        replace(BASE, values=values),
        replace(FAILED, values=values, reason="The loss is 'nan'. Lower optimiser.lr. " * 2),
    ]
    ranges: Space = dict.fromkeys(values, Range(low=0.0, high=1.0))
    written(tmp_path, tried, space=ranges, comparison=SEEDS, recipe="# a long line" * 30)
    assert unfit(tmp_path / "tune.html") == []
