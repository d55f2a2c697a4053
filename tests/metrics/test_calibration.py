"""One temperature: found where there are mistakes to learn from, and never a changed answer."""

import numpy as np
import pytest

from tenfold.metrics.calibration import calibrated_nll, fit_temperature, sharpen
from tenfold.metrics.scores import nll


def test_sharpen_by_hand() -> None:
    """Temperature 1/2 squares the probabilities and scales them; 1 leaves them; the answer never changes."""
    probabilities = np.array([[0.6, 0.3, 0.1] + [0.0] * 7], np.float32)
    np.testing.assert_allclose(sharpen(probabilities, 1.0), probabilities, atol=1e-6)
    np.testing.assert_allclose(sharpen(probabilities, 0.5)[0, :3], np.array([0.36, 0.09, 0.01]) / 0.46, rtol=1e-5)
    assert sharpen(probabilities, 5.0).argmax() == 0


def test_temperature_is_found() -> None:
    """Probabilities flattened by a temperature of 3 are restored: the fit finds 1/3."""
    random = np.random.default_rng(0)
    true = random.dirichlet(np.full(10, 0.2), 20_000).astype(np.float32)
    labels = np.array([random.choice(10, p=row / row.sum()) for row in true.astype(np.float64)])
    assert fit_temperature(labels, sharpen(true, 3.0)) == pytest.approx(1 / 3, rel=0.05)
    assert fit_temperature(labels, true) == pytest.approx(1, rel=0.05)


def test_no_mistake_no_temperature() -> None:
    """Where every held-out image is right, nothing can be learnt about confidence, and it is left alone."""
    assert fit_temperature(np.arange(10), np.eye(10, dtype=np.float32) * 0.5 + 0.05) == 1.0


def test_calibrated_nll_is_the_least() -> None:
    """No temperature gives a lower log-loss, and one is fitted without a mistake too."""
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.full(10, 0.2), 500).astype(np.float32)
    labels = probabilities.argmax(1).astype(np.int64)
    least = calibrated_nll(labels, probabilities)
    assert least <= min(nll(labels, sharpen(probabilities, each)) for each in (0.2, 0.5, 1.0, 2.0)) + 1e-6
    assert least < nll(labels, probabilities)
