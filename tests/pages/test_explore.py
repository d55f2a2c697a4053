"""The map of a set of digits; the page as a whole is tested with the verb that writes it."""

from collections.abc import Callable
from pathlib import Path

from tenfold.data.digits import Digits
from tenfold.data.statistics import look_at
from tenfold.pages import explore
from tenfold.pages.explore import draw_map


def test_map_shows_each_digit_in_its_layer(digits: Digits) -> None:
    """The map has a layer for each digit, and no image stands on it twice."""
    chart = draw_map([look_at(digits, "digits")])
    assert [layer["name"] for layer in chart["layers"]] == [str(digit) for digit in range(10)]
    assert sum(layer["n"] for layer in chart["layers"]) == chart["shown"] <= 200
    assert chart["shown"] > 100


def test_page_fits(digits: Digits, tmp_path: Path, unfit: Callable[[Path], list[str]]) -> None:
    """Nothing on a page about data is cut off or illegible."""
    path = explore.write(tmp_path / "explore.html", [look_at(digits, "digits")])
    assert unfit(path) == []
