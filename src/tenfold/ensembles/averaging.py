"""What several members say together: the weighted mean of their probabilities, and what a member's answers cost."""

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError
from tenfold.metrics.scores import CLASSES, checked, log_losses

Floats = NDArray[np.floating]
Labels = NDArray[np.integer]


def combine(probabilities: Floats, weights: Floats) -> NDArray[np.float32]:
    """Return the weighted mean of the members' probabilities, (N, 10) float32, rows sum to 1.

    probabilities: (M, N, 10); a row of NaN is an image that the member does not answer: it is left out there, and the
    others' weights count for more. An image that no member with a weight answers gets 0.1 for each digit.
    weights: (M,), at least 0 and not all 0; they need not sum to 1.
    """
    weights = np.asarray(weights, np.float64)
    known = ~np.isnan(probabilities[:, :, 0])
    present = weights @ known
    total = np.tensordot(weights, np.where(known[:, :, None], probabilities, 0.0), 1)
    means = np.divide(total, present[:, None], out=np.full_like(total, 1 / CLASSES), where=present[:, None] > 0)
    return np.asarray(means, np.float32)


def answered(probabilities: Floats, weights: Floats) -> NDArray[np.bool_]:
    """Return which images at least one member with a weight answers, (N,) bool."""
    return np.asarray((~np.isnan(probabilities[np.asarray(weights) > 0, :, 0])).any(axis=0))


def check_members(probabilities: Floats, labels: Labels) -> None:
    """Raise DataError unless these are (M, N, 10) probabilities, rows of NaN aside, and (N,) labels for them."""
    if probabilities.ndim != 3 or not len(probabilities):
        raise DataError(f"Probabilities have shape '{probabilities.shape}'. Give (M, N, {CLASSES}) of M >= 1 members.")
    if labels.shape != probabilities.shape[1:2]:
        raise DataError(f"Labels have shape '{labels.shape}' for {probabilities.shape[1]} images. Give one an image.")
    for member, rows in enumerate(probabilities):
        known = ~np.isnan(rows).all(axis=1)
        if not known.any():
            raise DataError(f"Member '{member}' has an answer to none of the images. Omit it.")
        checked(labels[known], rows[known])


def losses_of(probabilities: Floats, labels: Labels) -> NDArray[np.float64]:
    """Return each member's log-loss on each image, (M, N), NaN where it does not answer, of what was checked."""
    return np.stack([log_losses(labels, rows) for rows in probabilities])


def mean_of_known(values: Floats, axis: int | tuple[int, ...]) -> NDArray[np.float64]:
    """Return the mean of what is not NaN along `axis`; NaN, without numpy's warning, where nothing is left."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis, dtype=np.float64)
    return np.asarray(np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0))
