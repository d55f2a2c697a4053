"""What `explore` finds in data, and the page and summary that it makes of it."""

import json
import re
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tenfold.data.digits import Digits
from tenfold.errors import DataError
from tenfold.explore import Explored, explore


def patterns(n: int = 200, seed: int = 0) -> Digits:
    """Return n random 7x7 patterns, four times enlarged, so that no two are near; the labels run 0 to 9."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 7, 7)).astype(np.uint8)
    return Digits.of(coarse.repeat(4, axis=1).repeat(4, axis=2), np.arange(n) % 10)


@pytest.fixture(scope="module")
def digits() -> Digits:
    """Return 200 labelled images, 20 of each digit, none of them near another."""
    return patterns()


class Page(HTMLParser):
    """A strict reading of a page: tags must match; headings, ids, links and text are kept."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headings: list[str] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag; a picture must have a label."""
        values = dict(attrs)
        if tag not in ("meta", "link", "br", "input"):
            self.open.append(tag)
        if values.get("id"):
            self.ids.append(str(values["id"]))
        if tag == "a":
            self.links.append(str(values["href"]))
        assert values.get("role") != "img" or values.get("aria-label")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take `<rect .../>` as complete in itself."""

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost tag, which must be this one."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Gather what can be read."""
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data.strip())
        if "style" not in self.open:
            self.text += " " + data

    @property
    def words(self) -> str:
        """The text with every run of white space made one space."""
        return re.sub(r" ([.,;])", r"\1", " ".join(self.text.split()))


def saved(path: Path, digits: Digits) -> str:
    """Return the SPEC of the digits, written as .npz."""
    if digits.labels is None:
        np.savez(path, images=digits.images)
    else:
        np.savez(path, images=digits.images, labels=digits.labels)
    return str(path)


def read(result: Explored) -> Page:
    """Return the page that `explore` wrote."""
    return Page(Path(result.report).read_text("utf-8"))


def flawed(digits: Digits) -> Digits:
    """Return a copy in which image 11 (a 0) repeats image 2 (a 1), 22 is 12 shifted by a pixel, and 33 is empty."""
    images, labels = digits.images.copy(), np.array(digits.labels)
    images[10] = images[1]
    images[21] = np.roll(images[11], 1, axis=1)
    images[32] = 0
    return Digits.of(images, labels)


def test_findings_of_one_set(digits: Digits, tmp_path: Path) -> None:
    """Counts, duplicates, conflicting labels and empty images are found, and named by their numbers in the source."""
    result = explore(saved(tmp_path / "flawed.npz", flawed(digits)), str(tmp_path / "page.html"), quiet=True)
    printed = asdict(result)
    (found,) = printed["sets"]
    assert found["n"] == 200
    assert found["counts"] == [20] * 10
    assert found["chi_square"] == {"statistic": 0, "p": 1}
    assert found["duplicates"] == {"exact": 1, "near": 1}
    assert found["conflicts"] == {"n": 1, "ids": [[2, 11]]}
    assert found["empty"] == {"n": 1, "ids": [33]}
    assert found["data"]["sha256"] == flawed(digits).content_hash()
    assert printed["comparison"] is None
    assert list(printed) == ["sets", "comparison", "report", "seconds"]
    assert 33 in found["unusual"]
    json.dumps(printed, allow_nan=False)


def test_page_of_one_set(digits: Digits, tmp_path: Path) -> None:
    """The page has every section, links that lead somewhere, and says what was found."""
    result = explore([saved(tmp_path / "flawed.npz", flawed(digits))], tmp_path / "page.html", quiet=True)
    page = read(result)
    assert page.headings == [
        *("flawed.npz", "Map", "Class balance", "Samples", "Mean and spread", "Ink and position", "Unusual images"),
        "Duplicates and empty images",
    ]
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert "Every digit has 20." in page.words
    assert "1 equals an earlier one, and 1 nearly does." in page.words
    assert "1 and 0, equal images 2 and 11" in page.words


def test_page_says_what_was_assumed(digits: Digits, tmp_path: Path) -> None:
    """What was assumed of a set when it was read stands on its page."""
    path = saved(tmp_path / "two.npz", Digits.of((digits.images > 127).astype(np.uint8), digits.labels))
    words = read(explore([path], tmp_path / "page.html", quiet=True)).words
    assert "Assumed: the values are 0 and 1: taken as 0 and 255." in words


def test_page_is_self_contained(digits: Digits, tmp_path: Path) -> None:
    """Nothing on the page makes a browser ask the network, or run a script."""
    html = Path(explore([saved(tmp_path / "a.npz", digits)], tmp_path / "page.html", quiet=True).report).read_text()
    assert all(target.startswith("data:image/png;base64,") for target in re.findall(r"url\(([^)]*)\)", html))
    assert re.findall(r'(?:src|href)="(?!#|data:)', html) == []
    assert "<script" not in html
    assert "default-src 'none'" in html
    assert len(html) < 1_500_000


def test_two_sets_are_compared(tmp_path: Path) -> None:
    """The second set's overlap with the first is counted, with labels that differ, and its fainter ink is noticed."""
    first, second = patterns(200, 0), patterns(100, 1)
    images, labels = second.images // 2, np.array(second.labels)
    images[:5], labels[:5] = first.images[:5], first.labels[:5]
    labels[0] = 7
    specs = [saved(tmp_path / "one.npz", first), saved(tmp_path / "two.npz", Digits.of(images, labels))]
    result = explore(specs, tmp_path / "page.html", quiet=True)
    comparison = result.comparison
    assert comparison is not None
    assert comparison.overlap == {"exact": 5, "near": 0, "conflicts": 1}
    assert comparison.measures["ink"] < -2
    assert abs(comparison.measures["down"]) < 0.5
    page = read(result)
    assert page.headings[:3] == ["one.npz and two.npz", "How they differ", "Map"]
    assert "Samples, one.npz" in page.headings
    assert "Samples, two.npz" in page.headings
    assert "5 of the 100 images of two.npz are in one.npz too" in page.words
    assert "1 of these has another label there." in page.words


def test_images_without_labels(digits: Digits, tmp_path: Path) -> None:
    """Unlabelled images, such as a competition's test set, have a page without class balance or conflicts."""
    spec = saved(tmp_path / "test.npz", Digits.of(digits.images))
    result = explore([spec], tmp_path / "page.html", quiet=True)
    assert result.sets[0].counts is None
    assert result.sets[0].chi_square is None
    assert "Class balance" not in read(result).headings


@pytest.mark.parametrize("n", [1, 2, 11])
def test_few_images(digits: Digits, tmp_path: Path, n: int) -> None:
    """A handful of images, of which some digits have none, is explored like any other set."""
    few = digits.take(np.arange(n))
    result = explore([saved(tmp_path / "few.npz", few)] * 2, tmp_path / "page.html", quiet=True)
    assert result.sets[0].n == n
    assert result.comparison is not None
    assert result.comparison.overlap["exact"] == n
    read(result)
    json.dumps(asdict(result), allow_nan=False)


def test_equal_images(tmp_path: Path) -> None:
    """A set of one image over and over, without any variance, is explored without a warning."""
    result = explore([saved(tmp_path / "blank.npz", Digits.of(np.zeros((30, 28, 28), np.uint8)))], tmp_path, quiet=True)
    assert result.sets[0].duplicates == {"exact": 29, "near": 0}
    assert result.sets[0].empty.n == 30
    assert result.report == str(tmp_path / "explore.html")


def test_hostile_file_names_are_escaped(digits: Digits, tmp_path: Path) -> None:
    """Markup in a file's name stays text, on the page and in the terminal."""
    specs = [saved(tmp_path / name, digits) for name in ("<img src=x onerror=1>.npz", "[red]'\"&.npz")]
    html = Path(explore(specs, tmp_path / "page.html").report).read_text("utf-8")
    assert "<img" not in html
    assert "&lt;img src=x" in html
    Page(html)


def test_terminal_summary(digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The summary goes to stderr, stdout stays free for the result, and `quiet` prints nothing."""
    spec = saved(tmp_path / "flawed.npz", flawed(digits))
    explore([spec], tmp_path / "page.html")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "flawed.npz: 200 images" in captured.err
    assert "Duplicates: 1 exact, 1 near; 1 of them with another label. Empty or nearly empty: 1." in captured.err
    assert "as even as chance allows" in captured.err
    assert captured.err.splitlines()[-2] == f"Page: {tmp_path / 'page.html'}"
    explore([spec], tmp_path / "page.html", quiet=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("n", [0, 3])
def test_number_of_sets(n: int) -> None:
    """None or three sets at once are refused, with what to do."""
    with pytest.raises(DataError, match=f"Cannot explore '{n}' sets of data at once. Give one, or two to compare."):
        explore(["uci"] * n, quiet=True)


def test_page_that_cannot_be_written(digits: Digits, tmp_path: Path) -> None:
    """A page under a file instead of a folder is an error that names it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"The page '.*file/page.html' cannot be written: .* Give another with --out."):
        explore([saved(tmp_path / "a.npz", digits)], tmp_path / "file" / "page.html", quiet=True)


@pytest.mark.data
def test_overlap_of_the_competition_with_mnist(tmp_path: Path) -> None:
    """The competition's training images are cut from MNIST: most of MNIST's test set is among them."""
    result = explore(["kaggle:train", "mnist:test"], tmp_path / "page.html", quiet=True)
    assert result.comparison is not None
    assert 5_000 < result.comparison.overlap["exact"] < 7_000
    assert result.comparison.overlap["conflicts"] == 0
