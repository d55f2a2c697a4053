"""Scores from labels and probabilities: how often, how sure, how well calibrated, and where it goes wrong."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.errors import DataError
from tenfold.metrics.intervals import wilson

CLASSES = 10
ECE_BINS = 15
# An exact 0 is underflow, not knowledge: below float32's machine epsilon (1.2e-7) a probability counts as that, so one
# image costs at most 15.9 nats. scikit-learn's log_loss clips at the same place.
NLL_FLOOR = float(np.finfo(np.float32).eps)
# float32 softmax sums to 1 within 1e-6; rounded probabilities (bf16, three decimals in a file) within this.
ROW_SUM_TOLERANCE = 5e-3
MAX_TEMPERATURE = 8.0  # and the least is its inverse
TEMPERATURE_STEP = 1e-5  # of its logarithm


class CalibrationBin(NamedTuple):
    """The images whose confidence lies in (low, high]; `confidence` and `accuracy` are means, None where n is 0."""

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None
    ci95: tuple[float, float] | None  # Wilson interval of the accuracy


def checked(labels: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return labels (N,) int64 and probabilities (N, 10) float64, or raise DataError that says what is wrong."""
    given = np.asarray(labels)
    shares = np.asarray(probabilities, dtype=np.float64)
    if shares.ndim != 2 or shares.shape[1] != CLASSES:
        raise DataError(f"Probabilities have shape '{shares.shape}'. Give (N, {CLASSES}), one row an image.")
    if given.ndim != 1 or len(given) != len(shares):
        raise DataError(f"Labels have shape '{given.shape}' for {len(shares)} rows of probabilities. Give one a row.")
    if not len(given):
        raise DataError("There are '0' images to score. Give at least one.")
    if not np.issubdtype(given.dtype, np.integer):
        raise DataError(f"Labels have dtype '{given.dtype}'. Give whole numbers, 0 to 9.")
    wrong = np.flatnonzero((given < 0) | (given >= CLASSES))
    if len(wrong):
        raise DataError(f"Label '{given[wrong[0]]}' in row {wrong[0]} is not a digit. Give 0 to 9.")
    row, column = (~(np.isfinite(shares) & (shares >= 0) & (shares <= 1 + ROW_SUM_TOLERANCE))).nonzero()
    if len(row):
        value = shares[row[0], column[0]]
        raise DataError(f"Probability '{value}' in row {row[0]}, column {column[0]} is not in 0 to 1. Give a softmax.")
    sums = shares.sum(axis=1)
    wrong = np.flatnonzero(np.abs(sums - 1) > ROW_SUM_TOLERANCE)
    if len(wrong):
        what = f"Row {wrong[0]} of the probabilities sums to '{sums[wrong[0]]:.6g}', not to 1."
        raise DataError(f"{what} Give a softmax.")
    return given.astype(np.int64), shares


def score(labels: ArrayLike, probabilities: ArrayLike) -> dict[str, Any]:
    """Return every number about a set of predictions, ready for JSON; fractions are 0 to 1.

    labels:        (N,) integers, 0 to 9
    probabilities: (N, 10), rows sum to 1; the prediction is the largest, the first of equals

    Keys: accuracy, errors, n, ci95 (Wilson, [low, high]), nll, ece, brier, per_class (ten dicts: digit, precision,
    recall, f1, n; None where it is undefined) and confusion (10 x 10 counts, rows the true digit, columns the given).
    Raises DataError for wrong shapes, labels outside 0 to 9, no images, or rows that are no probabilities.
    """
    given, shares = checked(labels, probabilities)
    n = len(given)
    right = int((shares.argmax(axis=1) == given).sum())
    table = confusion(given, shares)
    return {
        "accuracy": right / n,
        "errors": n - right,
        "n": n,
        "ci95": list(wilson(right, n)),
        "nll": nll(given, shares),
        "ece": ece(given, shares),
        "brier": brier(given, shares),
        "per_class": per_class(table),
        "confusion": table.tolist(),
    }


def nll(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean negative log likelihood in nats, -ln p(true digit), with p no lower than `NLL_FLOOR`."""
    return float(log_losses(*checked(labels, probabilities)).mean())


def log_losses(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return -ln p(true digit) of each image in nats, (N,), with p no lower than `NLL_FLOOR`; nothing is checked."""
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return np.asarray(-np.log(np.clip(true, NLL_FLOOR, 1.0)))


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return Brier's score, 0 (perfect) to 2: the squared distance to the one-hot truth, averaged over images.

    Formula: G. W. Brier, "Verification of forecasts expressed in terms of probability" (1950), the sum over classes.
    """
    given, shares = checked(labels, probabilities)
    return float(((shares - np.eye(CLASSES)[given]) ** 2).sum(axis=1).mean())


def confusion(labels: ArrayLike, probabilities: ArrayLike) -> NDArray[np.int64]:
    """Return the (10, 10) int64 counts of images: rows the true digit, columns the digit given."""
    given, shares = checked(labels, probabilities)
    cells = given * CLASSES + shares.argmax(axis=1)
    return np.bincount(cells, minlength=CLASSES**2).reshape(CLASSES, CLASSES).astype(np.int64)


def per_class(table: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Return digit, precision, recall, f1 and n for each digit of a confusion matrix; None where it would be 0 / 0."""
    hits, given, true = table.diagonal(), table.sum(axis=0), table.sum(axis=1)
    return [
        {
            "digit": digit,
            "precision": _ratio(hits[digit], given[digit]),
            "recall": _ratio(hits[digit], true[digit]),
            "f1": _ratio(2 * hits[digit], given[digit] + true[digit]),
            "n": int(true[digit]),
        }
        for digit in range(CLASSES)
    ]


def calibration_bins(labels: ArrayLike, probabilities: ArrayLike, bins: int = ECE_BINS) -> list[CalibrationBin]:
    """Return the reliability diagram: `bins` bins of equal width over the confidence, lowest first, empty ones too.

    The confidence of an image is its largest probability. A bin holds what lies above its low edge, up to and with
    its high edge, as in C. Guo et al., "On calibration of modern neural networks" (2017).
    """
    given, shares = checked(labels, probabilities)
    confidence = np.minimum(shares.max(axis=1), 1.0)
    right = shares.argmax(axis=1) == given
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.searchsorted(edges[1:-1], confidence, side="left")  # an edge itself belongs to the bin below it
    found = []
    for i, (low, high) in enumerate(pairwise(edges.tolist())):
        n, hits = int((place == i).sum()), int(right[place == i].sum())
        told = (float(confidence[place == i].mean()), hits / n, wilson(hits, n)) if n else (None, None, None)
        found.append(CalibrationBin(low, high, n, *told))
    return found


def ece(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the expected calibration error: |accuracy - confidence| of each calibration bin, weighted by its n.

    Formula: M. P. Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning" (2015), on the
    predicted digit's confidence, with the 15 equal bins of Guo et al. (2017).
    """
    found = calibration_bins(labels, probabilities)
    gaps = [b.n * abs(b.accuracy - b.confidence) for b in found if b.accuracy is not None and b.confidence is not None]
    return sum(gaps) / sum(b.n for b in found)


def most_confident_mistakes(labels: ArrayLike, probabilities: ArrayLike, k: int | None = None) -> NDArray[np.int64]:
    """Return the indices of wrong predictions, the surest first (equals by index): (at most k,) int64, all for None."""
    given, shares = checked(labels, probabilities)
    wrong = np.flatnonzero(shares.argmax(axis=1) != given)
    order = np.argsort(-shares[wrong].max(axis=1), kind="stable")
    return wrong[order][:k].astype(np.int64)


def risk_coverage(
    confidences: NDArray[np.floating], correct: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return thresholds, coverages and risks, (K,) float64 each, by falling threshold: one for each confidence.

    confidences: (N,); correct: (N,) bool. coverage: share answered at that threshold; risk: share of these that is
    wrong. Equal confidences make one point: they are answered together. (Geifman, El-Yaniv, "Selective classification
    for deep neural networks", 2017.)
    """
    order = np.argsort(-confidences, kind="stable")
    ranked = confidences[order].astype(np.float64)
    wrong = np.cumsum(~correct[order])
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, np.int64)
    answered = ends + 1
    return ranked[ends], answered / max(1, len(ranked)), wrong[ends] / answered


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


def _ratio(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None


def _most_likely(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> tuple[float, float]:
    """Return the best temperature, and the mean negative log-likelihood with it."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-30))
    logits -= logits[np.arange(len(labels)), labels][:, None]

    def loss(log_temperature: float) -> float:
        with np.errstate(over="ignore"):  # infinite is above the floor, too
            losses = np.log(np.exp(logits / np.exp(log_temperature)).sum(1))
        return float(np.minimum(losses, -np.log(NLL_FLOOR)).mean())

    # Golden-section search, which needs no scipy: importing that takes a third of a second.
    low, high, ratio = -np.log(MAX_TEMPERATURE), np.log(MAX_TEMPERATURE), (5**0.5 - 1) / 2
    first, second = high - ratio * (high - low), low + ratio * (high - low)
    at_first, at_second = loss(first), loss(second)
    while high - low > TEMPERATURE_STEP:
        if at_first < at_second:
            high, second, at_second = second, first, at_first
            first = high - ratio * (high - low)
            at_first = loss(first)
        else:
            low, first, at_first = first, second, at_second
            second = low + ratio * (high - low)
            at_second = loss(second)
    return float(np.exp((low + high) / 2)), min(at_first, at_second)
