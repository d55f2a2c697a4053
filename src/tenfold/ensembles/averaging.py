"""What several members say together: weighted averages of their probabilities, and what such an average costs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError, nearest
from tenfold.metrics.scores import CLASSES, NLL_FLOOR, checked
from tenfold.models import AVERAGES

LEAST = 1e-12  # of a probability before its logarithm, as in models/ensemble.py


def combine(
    probabilities: NDArray[np.floating], weights: NDArray[np.floating], average: str = "probabilities"
) -> NDArray[np.float32]:
    """Return the weighted average of the members' probabilities, (N, 10) float32, rows sum to 1.

    probabilities: (M, N, 10); a row of NaN is an image that the member does not answer: it is left out there, and the
    others' weights count for more. An image that no member with a weight answers gets 0.1 for each digit.
    weights: (M,), at least 0 and not all 0; they need not sum to 1.
    average: "probabilities" (arithmetic mean), "logits" (geometric mean, scaled to sum to 1: the mean of the logits) or
    "votes" (the share of the members, by weight, whose likeliest digit it is).
    Raises DataError for another average, or shapes that do not fit.
    """
    weights = np.asarray(weights, np.float64)
    check_average(average)
    if probabilities.ndim != 3 or probabilities.shape[2] != CLASSES or weights.shape != probabilities.shape[:1]:
        raise DataError(
            f"Probabilities have shape '{probabilities.shape}' and weights '{weights.shape}'. "
            f"Give (M, N, {CLASSES}) and (M,)."
        )
    total = np.zeros(probabilities.shape[1:])
    present = np.zeros(len(total))
    for member in np.flatnonzero(weights):
        known = ~np.isnan(probabilities[member, :, 0])
        total[known] += weights[member] * terms(probabilities[member, known], average)
        present += weights[member] * known
    answered = present > 0
    total[answered] /= present[answered, None]
    if average == "logits":
        total = np.exp(total - total.max(axis=1, keepdims=True))
        total /= total.sum(axis=1, keepdims=True)
    total[~answered] = 1 / CLASSES
    return total.astype(np.float32)


def answered(probabilities: NDArray[np.floating], weights: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which images at least one member with a weight answers, (N,) bool."""
    some: NDArray[np.bool_] = (~np.isnan(probabilities[np.asarray(weights) > 0, :, 0])).any(axis=0)
    return some


def check_average(average: str) -> None:
    """Raise DataError for a way to average that does not exist."""
    if average not in AVERAGES:
        raise DataError(
            f"The average '{average}' is unknown. Give one of: {', '.join(AVERAGES)}.{nearest(average, AVERAGES)}"
        )


def check_members(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> None:
    """Raise DataError unless these are (M, N, 10) probabilities, rows of NaN aside, and (N,) labels for them."""
    if probabilities.ndim != 3 or not len(probabilities):
        raise DataError(f"Probabilities have shape '{probabilities.shape}'. Give (M, N, {CLASSES}) of M >= 1 members.")
    if labels.shape != probabilities.shape[1:2]:
        raise DataError(f"Labels have shape '{labels.shape}' for {probabilities.shape[1]} images. Give one an image.")
    for member, rows in enumerate(probabilities):
        known = ~np.isnan(rows).all(axis=1)
        if not known.any():
            raise DataError(f"Member '{member}' has an answer to none of the images. Leave it out.")
        checked(labels[known], rows[known])


@dataclass(frozen=True, eq=False)
class Evidence:
    """Members' answers, laid out so that the log-loss of an average needs little arithmetic.

    A mean of probabilities or votes is judged by what it gives the true digit alone (C = 1). A mean of logits is
    judged by how far the true digit's lies above the other nine (C = 9), as their sum of exponentials.
    """

    scores: NDArray[np.float32]  # (M, N, C), 0 where not known
    known: NDArray[np.float32]  # (M, N), 1 where the member answers
    average: str

    @classmethod
    def of(cls, probabilities: NDArray[np.floating], labels: NDArray[np.integer], average: str) -> "Evidence":
        """Return the evidence in (M, N, 10) probabilities for such averages; images nobody answers are left out."""
        known = ~np.isnan(probabilities[:, :, 0])
        some = known.any(axis=0)
        known, labels = known[:, some], labels[some]
        rows = np.arange(len(labels))
        parts = []
        for member in range(len(known)):
            own = terms(np.where(known[member, :, None], probabilities[member, some], 1 / CLASSES), average)
            true = own[rows, labels][:, None]
            if average == "logits":
                others = np.ones(own.shape, bool)
                others[rows, labels] = False
                true = own[others].reshape(-1, CLASSES - 1) - true
            parts.append((true * known[member, :, None]).astype(np.float32))
        return cls(np.stack(parts), known.astype(np.float32), average)

    def losses(self, total: NDArray[np.floating], present: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the log-loss of each image, (..., N), from summed scores (..., N, C) and summed weights (..., N).

        NaN for an image that none of those summed answers.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            means = total / present[..., None]
        # LEAST keeps the exponents below 28
        true = 1 / (1 + np.exp(means).sum(axis=-1)) if self.average == "logits" else means[..., 0]
        return np.asarray(-np.log(np.clip(true, NLL_FLOOR, 1.0)))

    def members(self) -> NDArray[np.floating]:
        """Return each member's own log-loss on each image, (M, N), NaN where it does not answer."""
        return self.losses(self.scores, self.known)


def mean_of_known(values: NDArray[np.floating], axis: int | tuple[int, ...]) -> NDArray[np.float64]:
    """Return the mean of what is not NaN along `axis`; NaN, without numpy's warning, where nothing is left."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis, dtype=np.float64)
    return np.asarray(np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0))


def terms(shares: NDArray[np.floating], average: str) -> NDArray[np.float64]:
    """Return what is averaged, (N, 10): the probabilities, their logarithms, or 1 for the likeliest digit."""
    if average == "votes":
        return np.asarray(np.eye(CLASSES)[shares.argmax(axis=1)])
    rows = shares.astype(np.float64)
    return np.log(np.maximum(rows, LEAST)) if average == "logits" else rows
