"""An ensemble's charts against hand-worked places and shades."""

import re

import numpy as np
import pytest

from tenfold.ensembles.diversity import SizePoint
from tenfold.pages import ensemble_plots


def test_band_places_the_chosen() -> None:
    """The chosen ensemble's point stands at its size, by the logarithm, and above a worse mean."""
    points = [SizePoint(1, 9, 0.9, 0.8, 0.95, 0.7, 0.96), SizePoint(100, 9, 0.97, 0.97, 0.97, 0.97, 0.97)]
    svg = ensemble_plots.band(points, (10, 0.98), n=1000, label="x")
    places = [(float(x), float(y)) for x, y in re.findall(r'class="dot" cx="([\d.]+)" cy="([\d.]+)"', svg)]
    ((x, y),) = re.findall(r'class="last" cx="([\d.]+)" cy="([\d.]+)"', svg)
    assert float(x) == pytest.approx((places[0][0] + places[1][0]) / 2, abs=0.1)
    assert float(y) < places[1][1] < places[0][1]
    assert "98%" in svg


def test_band_without_an_error() -> None:
    """An ensemble that makes no mistake has no logarithm, and is drawn all the same."""
    points = [SizePoint(1, 9, 1.0, 1.0, 1.0, 1.0, 1.0)]
    assert "100%" in ensemble_plots.band(points, (1, 1.0), n=1000, label="x")


def test_heat_map_shades_by_rank() -> None:
    """The lowest pair is the palest, the highest the strongest, the middle one half way, however near to either."""
    table = np.array([[9, 0.1, 0.11], [0.1, 9, 0.9], [0.11, 0.9, 9]])
    svg = ensemble_plots.heat_map(table, ["a", "b", "<c>"], text=lambda v: f"{v:g}", label="x")
    cells = re.findall(r'opacity:([\d.]+)"><title>([^<]*)</title>', svg)
    assert dict((title, float(shade)) for shade, title in cells) == {
        "a, b: 0.1": 0.06, "b, a: 0.1": 0.06, "a, &lt;c&gt;: 0.11": 0.53, "&lt;c&gt;, a: 0.11": 0.53,
        "b, &lt;c&gt;: 0.9": 1.0, "&lt;c&gt;, b: 0.9": 1.0,
    }  # fmt: skip


def test_heat_map_leaves_unknown_pairs_empty() -> None:
    """Pairs that share no image have no cell; without any there is no legend either."""
    table = np.full((3, 3), np.nan)
    assert "<rect" not in ensemble_plots.heat_map(table, ["a", "b", "c"], text=str, label="x")
    table[0, 1] = table[1, 0] = 0.5
    assert ensemble_plots.heat_map(table, ["a", "b", "c"], text=str, label="x").count("<title>") == 2


def test_difference_strip() -> None:
    """A difference of nothing stands at the middle, one as large as there is room for at the end."""
    assert 'class="last" cx="65.0"' in ensemble_plots.difference(0, 0.1, 1, label="x")
    assert 'class="last" cx="124.0"' in ensemble_plots.difference(1, 0.1, 1, label="x")
    assert 'x1="6.0" x2="65.0"' in ensemble_plots.difference(-0.5, 0.25, 1, label="x")
