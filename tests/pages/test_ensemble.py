"""An ensemble's page: whole, safe, and true to what it shows."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold.ensembles import selection
from tenfold.ensembles.averaging import combine
from tenfold.ensembles.diversity import SizePoint
from tenfold.ensembles.members import MemberRow
from tenfold.ensembles.selection import Nested
from tenfold.errors import DataError
from tenfold.metrics.scores import nll
from tenfold.pages import ensemble
from tenfold.pages.page import percent

LABELS = np.arange(100) % 10
IMAGES = np.random.default_rng(0).integers(0, 256, (100, 28, 28)).astype(np.uint8)


def members(margins: list[float]) -> NDArray[np.float32]:
    """Return members of so many logits' margin for the true digit."""
    generator = np.random.default_rng(1)
    noise = generator.normal(size=(100, 10)) + generator.normal(size=(len(margins), 100, 10))
    shares = np.exp(noise + np.array(margins)[:, None, None] * np.eye(10)[LABELS])
    return (shares / shares.sum(axis=2, keepdims=True)).astype(np.float32)


def rows_of(shares: NDArray[np.float32], choice: selection.Choice, folds: bool = False) -> list[MemberRow]:
    """Return a row a member, of names that have to be escaped."""
    rows = []
    for i, own in enumerate(shares):
        known = ~np.isnan(own[:, 0])
        rows.append(
            MemberRow(
                name=f"{i:03}-<b>",
                recipe="<b>" if i else "tiny",
                seed=i,
                fold=i % 2 if folds else None,
                seconds=61.0,
                n=int(known.sum()),
                errors=int((own[known].argmax(1) != LABELS[known]).sum()),
                nll=nll(LABELS[known], own[known]),
                weight=float(choice.weights[i]),
            )
        )
    return rows


class Page(HTMLParser):
    """A page's text and how many elements it has of each kind; tags that do not match are an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.raw = ""
        self.feed(html)
        assert not self.open
        self.text = " ".join(self.raw.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what is to be closed."""
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that it closes what was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep the words."""
        self.raw += data


def written(folder: Path, shares: NDArray[np.float32], rule: str = "all", folds: bool = False) -> tuple[str, Page]:
    """Return a page's HTML, and the same parsed."""
    choice = selection.choose(rule, shares, LABELS)
    rules = selection.nested(["all", *({rule} - {"all"})], shares, LABELS, repeats=2)
    path = folder / "new" / "ensemble.html"
    ensemble.write(path, rows_of(shares, choice, folds), rules, choice, shares, LABELS, IMAGES)
    html = path.read_text("utf-8")
    return html, Page(html)


def test_shows_everything(tmp_path: Path) -> None:
    """The page has the headline, a row a member, the curve and the pictures; nothing unescaped."""
    shares = members([3, 2, 3, 2])
    html, page = written(tmp_path, shares, "top:2")
    choice = selection.choose("top:2", shares, LABELS)
    together = combine(shares, choice.weights)
    wrong = together.argmax(1) != LABELS
    own = shares[list(choice.members)].argmax(2) == LABELS
    assert f"It gives {wrong.sum()} of 100 held-out images the wrong digit" in page.text
    assert "2 networks, one answer" in page.text
    assert "were chosen on these same images" in page.text
    unseen = selection.nested(["all", "top:2"], shares, LABELS, repeats=2)[1]
    assert f"{percent(1 - unseen.errors / 100)} Held-out accuracy of members chosen in this way" in page.text
    assert f"which flatters their {percent(1 - wrong.sum() / 100)} there" in page.text
    assert f"At least one of the 2 members gets {(~own.all(0)).sum()} images wrong" in page.text
    assert f"{(wrong & own.any(0)).sum()} of the {wrong.sum()} errors that are left could have been right" in page.text
    assert html.count("--ink-mask:url(data:image/png") == (wrong & own.any(0)).sum()
    assert html.count('class="left-out"') == 2
    assert page.count["svg"] == 2  # a strip and the curve
    for measure in ("Disagreement", "Double fault", "Errors in common", "Yule’s Q"):
        assert measure in page.text
    assert "<b>" not in re.sub(r"<figcaption><b>|<b>\d</b>|<b class", "", html)


def test_nothing_from_outside(tmp_path: Path) -> None:
    """The page loads nothing and runs no script."""
    html, _ = written(tmp_path, members([3, 2, 3]))
    assert not re.search(r"<script|<img|src=|href=\"(?!#|data:)|url\((?!data:)", html)


def test_all_is_no_choice(tmp_path: Path) -> None:
    """Where all members stay, nothing was chosen on the images, and the page does not say so."""
    _, page = written(tmp_path, members([3, 2, 3]))
    assert "were chosen on these same images" not in page.text
    assert "All 3 members of the pool" in page.text
    assert "There was no other rule to compare with." in page.text


def test_folds_are_said(tmp_path: Path) -> None:
    """With folds the page says by how many members an image is judged, and what no chosen one answers."""
    shares = members([3, 3, 3, 3])
    for member in range(4):
        shares[member, np.arange(100) // 10 % 2 == member % 2] = np.nan
    _, page = written(tmp_path, shares, folds=True)
    assert "an image is judged by 2.0 of the 4 members in the mean" in page.text
    assert "are held out by no chosen member" not in page.text
    _, page = written(tmp_path, shares, "top:1", folds=True)
    assert "50 images are held out by no chosen member" in page.text


def test_little_to_show(tmp_path: Path) -> None:
    """One member that makes no mistake, without rules, still has a page."""
    shares = 0.5 * np.eye(10, dtype=np.float32)[LABELS][None] + np.float32(0.05)
    choice = selection.choose("all", shares, LABELS)
    path = ensemble.write(tmp_path / "e.html", rows_of(shares, choice), [], choice, shares, LABELS, IMAGES)
    page = Page(path.read_text("utf-8"))
    assert "It gives all 100 held-out images the right digit." in page.text
    assert "One network, one answer" in page.text
    assert "No member gets any image wrong." in page.text
    assert "svg" not in page.count


def test_verdicts() -> None:
    """The sentence says which rule is the default, and gives the figure that decides."""

    def row(rule: str, difference: float, noise: float) -> Nested:
        return Nested(rule, 9, 5, 3, 1 + difference, 1, 1, 1, difference, noise, 0, 1, difference)

    def verdict(*rivals: Nested) -> str:
        rows = [row("all", 0, 0), *rivals]
        return ensemble._verdict(rows, selection.best_rule(rows))

    assert "Choosing by top:3" in verdict(row("top:3", -0.004, 0.001))
    assert "0.0040 below that of all members together, 4.0 times its noise" in verdict(row("top:3", -0.004, 0.001))
    assert "that of top:3, is 0.0010 below theirs, which may be noise (±0.0010)" in verdict(row("top:3", -0.001, 0.001))
    assert "The nearest, greedy:3, is 0.0020 above it" in verdict(row("greedy:3", 0.002, 1), row("top:3", 0.003, 1))


def test_unwritable(tmp_path: Path) -> None:
    """A page that cannot be written is an error that names it."""
    (tmp_path / "file").write_text("")
    shares = members([3, 2])
    choice = selection.choose("all", shares, LABELS)
    with pytest.raises(DataError, match=r"ensemble.html' cannot be written"):
        ensemble.write(tmp_path / "file" / "ensemble.html", rows_of(shares, choice), [], choice, shares, LABELS, IMAGES)


def test_band_places_the_chosen() -> None:
    """The chosen ensemble's point stands at its size, by the logarithm, and above a worse mean."""
    points = [SizePoint(1, 9, 0.9, 0.8, 0.95, 0.7, 0.96), SizePoint(100, 9, 0.97, 0.97, 0.97, 0.97, 0.97)]
    svg = ensemble.band(points, (10, 0.98), n=1000, label="x")
    places = [(float(x), float(y)) for x, y in re.findall(r'class="dot" cx="([\d.]+)" cy="([\d.]+)"', svg)]
    ((x, y),) = re.findall(r'class="last" cx="([\d.]+)" cy="([\d.]+)"', svg)
    assert float(x) == pytest.approx((places[0][0] + places[1][0]) / 2, abs=0.1)
    assert float(y) < places[1][1] < places[0][1]
    assert "98%" in svg


def test_band_without_an_error() -> None:
    """An ensemble that makes no mistake has no logarithm, and is drawn all the same."""
    points = [SizePoint(1, 9, 1.0, 1.0, 1.0, 1.0, 1.0)]
    assert "100%" in ensemble.band(points, (1, 1.0), n=1000, label="x")


def test_difference_strip() -> None:
    """A difference of nothing stands at the middle, one as large as there is room for at the end."""
    assert 'class="last" cx="65.0"' in ensemble.difference(0, 0.1, 1)
    assert 'class="last" cx="124.0"' in ensemble.difference(1, 0.1, 1)
    assert 'aria-label="log-loss against all: +1.0000, give or take 0.2000"' in ensemble.difference(1, 0.1, 1)
    assert 'x1="6.0" x2="65.0"' in ensemble.difference(-0.5, 0.25, 1)


def test_page_fits(tmp_path: Path, unfit: Callable[[Path], list[str]]) -> None:
    """Nothing on an ensemble's page is cut off or illegible."""
    written(tmp_path, members([3, 2, 3, 2]), "top:2")
    assert unfit(tmp_path / "new" / "ensemble.html") == []
