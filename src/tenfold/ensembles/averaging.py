"""What several members say together: the weighted mean of their probabilities, and what such a mean costs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError
from tenfold.metrics.scores import CLASSES, NLL_FLOOR, checked

Floats = NDArray[np.floating]
Labels = NDArray[np.integer]


def combine(probabilities: Floats, weights: Floats) -> NDArray[np.float32]:
    """Return the weighted mean of the members' probabilities, (N, 10) float32, rows sum to 1.

    probabilities: (M, N, 10); a row of NaN is an image that the member does not answer: it is left out there, and the
    others' weights count for more. An image that no member with a weight answers gets 0.1 for each digit.
    weights: (M,), at least 0 and not all 0; they need not sum to 1.
    Raises DataError for shapes that do not fit.
    """
    weights = np.asarray(weights, np.float64)
    if probabilities.ndim != 3 or probabilities.shape[2] != CLASSES or weights.shape != probabilities.shape[:1]:
        raise DataError(
            f"Probabilities have shape '{probabilities.shape}' and weights '{weights.shape}'. "
            f"Give (M, N, {CLASSES}) and (M,)."
        )
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


@dataclass(frozen=True, eq=False)
class Evidence:
    """What members give the true digits: all that the log-loss of their mean depends on."""

    true: NDArray[np.float32]  # (M, N), 0 where not known
    known: NDArray[np.float32]  # (M, N), 1 where the member answers

    @classmethod
    def of(cls, probabilities: Floats, labels: Labels) -> "Evidence":
        """Return the evidence in (M, N, 10) probabilities; images nobody answers are left out."""
        true = probabilities[:, np.arange(len(labels)), labels]
        true = true[:, ~np.isnan(true).all(axis=0)]
        known = ~np.isnan(true)
        return cls(np.where(known, true, 0).astype(np.float32), known.astype(np.float32))

    def take(self, members: NDArray[np.integer]) -> "Evidence":
        """Return the evidence of those members alone; images that none of them answers stay."""
        return Evidence(self.true[members], self.known[members])

    @staticmethod
    def losses(total: Floats, present: Floats) -> Floats:
        """Return the log-loss of each image, (..., N), from summed `true` and summed weights, (..., N) both.

        NaN for an image that none of those summed answers.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(-np.log(np.clip(total / present, NLL_FLOOR, 1.0)))

    def members(self) -> Floats:
        """Return each member's own log-loss on each image, (M, N), NaN where it does not answer."""
        return self.losses(self.true, self.known)


def mean_of_known(values: Floats, axis: int | tuple[int, ...]) -> NDArray[np.float64]:
    """Return the mean of what is not NaN along `axis`; NaN, without numpy's warning, where nothing is left."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis, dtype=np.float64)
    return np.asarray(np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0))
