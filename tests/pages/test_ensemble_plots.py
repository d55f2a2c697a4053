"""An ensemble's charts against hand-worked places."""

import re

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


def test_difference_strip() -> None:
    """A difference of nothing stands at the middle, one as large as there is room for at the end."""
    assert 'class="last" cx="65.0"' in ensemble_plots.difference(0, 0.1, 1)
    assert 'class="last" cx="124.0"' in ensemble_plots.difference(1, 0.1, 1)
    assert 'aria-label="log-loss against all: +1.0000, give or take 0.2000"' in ensemble_plots.difference(1, 0.1, 1)
    assert 'x1="6.0" x2="65.0"' in ensemble_plots.difference(-0.5, 0.25, 1)
