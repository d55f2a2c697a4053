"""Systems on the same images: how well each reads them, what tells them apart, what they share and what they cost."""

from collections.abc import Callable

import numpy as np
import pytest

from tenfold.metrics.side_by_side import SideBySide, frontier


def test_standings(comparison: Callable[..., SideBySide]) -> None:
    """Each system has its accuracy, errors and NLL on the shared images."""
    first, _, last = comparison().standings()
    assert (first.accuracy, first.errors, first.n) == (0.5, 3, 6)
    assert first.nll == pytest.approx(-(3 * np.log(0.91) + 3 * np.log(0.01)) / 6, rel=1e-5)
    assert last.errors == 4


def test_shared_confusions(comparison: Callable[..., SideBySide]) -> None:
    """A confusion counts where two systems make it, by its mean share of their errors; images are those in common."""
    found = {(one.true, one.given): one for one in comparison().shared_confusions()}
    assert set(found) == {(4, 9), (9, 4), (3, 5)}
    assert (found[4, 9].systems, found[4, 9].images) == (3, 1)
    assert found[4, 9].share == pytest.approx((1 / 3 + 1 / 3 + 1 / 4) / 3)
    assert found[3, 5].systems == 2
    assert comparison().shared_confusions()[-1].given == 5


def test_wrong_everywhere(comparison: Callable[..., SideBySide]) -> None:
    """The images that every system gets wrong are found, however they are misread."""
    assert comparison().wrong_everywhere().tolist() == [3, 4, 5]


def test_frontier() -> None:
    """A system is on the frontier when none that costs no more is as accurate; unknown costs are left out."""
    assert frontier([5.0, 1.0, 3.0, None, 4.0], [0.99, 0.9, 0.95, 1.0, 0.95]) == [1, 2, 0]
    assert frontier([2.0, 2.0], [0.9, 0.95]) == [1]
    assert frontier([None], [0.9]) == []


def test_pairs(comparison: Callable[..., SideBySide]) -> None:
    """Pairs are named, in the order of the systems, and tested."""
    found = comparison().pairs()
    assert [(pair.first, pair.second) for pair in found] == [("slow", "quick"), ("slow", "worse"), ("quick", "worse")]
    assert (found[1].only_first, found[1].only_second, found[1].p_holm) == (1, 0, 1.0)
