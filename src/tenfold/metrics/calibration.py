"""One temperature for all probabilities, so that they mean what they say; answers stay as they are."""

import numpy as np
from numpy.typing import NDArray

from tenfold.metrics.scores import log_losses

LIMIT = 8.0  # temperatures lie within [1/8, 8]


def fit_temperature(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """Return the temperature that makes held-out probabilities most likely (Guo et al., 2017); 1 without a mistake.

    Label smoothing and averages over shifts leave a network too unsure. Without a single mistake the likelihood would
    know no bound.
    """
    if not (probabilities.argmax(1) != labels).any():
        return 1.0
    return _most_likely(labels, probabilities)[0]


def calibrated_nll(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """Return the mean negative log-likelihood at the temperature that makes it least, fitted without mistakes too."""
    return _most_likely(labels, probabilities)[1]


def sharpen(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Return probabilities to the power 1 / temperature, scaled to sum to 1 again; same shape and dtype."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-30)) / temperature
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), dtype=np.float32)


def _most_likely(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> tuple[float, float]:
    """Return the best temperature, and the mean negative log-likelihood with it."""
    from scipy.optimize import minimize_scalar

    def nll(log_temperature: float) -> float:
        return float(log_losses(labels, sharpen(probabilities, float(np.exp(log_temperature)))).mean())

    found = minimize_scalar(nll, bounds=(-np.log(LIMIT), np.log(LIMIT)), method="bounded")
    return float(np.exp(found.x)), float(found.fun)
