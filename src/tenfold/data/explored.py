"""What is in a set of digits, and what two sets share: counts, ink, copies, what is empty and what is unusual."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.data import statistics
from tenfold.data.digits import Digits
from tenfold.data.overlap import Overlap, find_duplicates
from tenfold.errors import DataError

UNUSUAL = 4  # images of each digit
LIMIT = 1000  # ids listed in the figures


@dataclass(frozen=True)
class ChiSquare:
    """Pearson's chi-square with nine degrees of freedom, and the chance of one as large."""

    statistic: float
    p: float


@dataclass(frozen=True)
class Listed:
    """How many there are; ids: the first `LIMIT` of them, images or pairs, by their number in the source."""

    n: int
    ids: list[int] | list[list[int]]


@dataclass(frozen=True)
class SetFigures:
    """The figures of one set; counts (of the ten digits) and chi_square (against equal counts) are None without labels.

    data: spec and sha256 (of `Digits.content_hash`). measures: mean and std of every key of `statistics.MEASURES`.
    duplicates: how many images equal an earlier one (exact), or nearly do (near). conflicts: pairs of these with two
    labels. unusual: ids, the most unusual of a digit first.
    """

    data: dict[str, str]
    n: int
    counts: list[int] | None
    chi_square: ChiSquare | None
    measures: dict[str, dict[str, float]]
    duplicates: dict[str, int]
    conflicts: Listed
    empty: Listed
    unusual: list[int]


@dataclass(frozen=True)
class Contrast:
    """How a second set differs from a first, and what they share; chi_square is None where one has no labels.

    measures: the difference of the means in standard deviations. overlap: how many images of the second equal one of
    the first (exact), how many nearly do (near), and how many of these have another label there (conflicts).
    """

    chi_square: ChiSquare | None
    measures: dict[str, float]
    overlap: dict[str, int]


@dataclass(frozen=True, eq=False)
class ExploredSet:
    """One set and what was found in it, image by image."""

    digits: Digits
    groups: NDArray[np.int64]  # (N,), the labels, or zeros where there are none
    measures: dict[str, NDArray[np.float32]]  # (N,) each
    duplicates: Overlap
    empty: NDArray[np.int64]  # indices
    unusual: NDArray[np.int64]  # indices, `UNUSUAL` of each digit, the most unusual of a digit first
    strangeness: NDArray[np.float64]  # (N,)
    coordinates: NDArray[np.float32]  # (N, 50), principal components
    figures: SetFigures


def look_at(digits: Digits, spec: str) -> ExploredSet:
    """Return what is in one set; DataError where it is empty."""
    if not len(digits):
        raise DataError(f"'{spec}' holds '0' images. Give at least one.")
    ids, labels = digits.ids, digits.labels
    groups = np.zeros(len(digits), np.int64) if labels is None else labels
    counts = None if labels is None else statistics.class_counts(labels)
    coordinates = statistics.principal_components(digits.images)
    strangeness = statistics.strangeness(coordinates, groups)
    order = np.argsort(-strangeness, kind="stable")
    most = UNUSUAL * 10 if labels is None else UNUSUAL
    unusual = np.concatenate([order[groups[order] == group][:most] for group in np.unique(groups)])
    measures, empty = statistics.measure(digits.images), statistics.nearly_empty(digits.images)
    duplicates = find_duplicates(digits.images)
    pairs = np.concatenate([duplicates.exact, duplicates.near])
    conflicts = pairs[differ(digits, digits, pairs)]
    figures = SetFigures(
        data={"spec": spec, "sha256": digits.content_hash()},
        n=len(digits),
        counts=None if counts is None else counts.tolist(),
        chi_square=None if counts is None else ChiSquare(*statistics.chi_square(counts)),
        measures={key: {"mean": float(each.mean()), "std": float(each.std())} for key, each in measures.items()},
        duplicates={"exact": len(duplicates.exact), "near": len(duplicates.near)},
        conflicts=Listed(len(conflicts), ids[conflicts][:LIMIT].tolist()),
        empty=Listed(len(empty), ids[empty][:LIMIT].tolist()),
        unusual=ids[unusual].tolist(),
    )
    return ExploredSet(digits, groups, measures, duplicates, empty, unusual, strangeness, coordinates, figures)


def contrast(first: ExploredSet, second: ExploredSet, shared: Overlap) -> Contrast:
    """Return how `second` differs from `first`; shared: the images that are in both."""
    balance, counts = None, [one.figures.counts for one in (first, second)]
    if counts[0] is not None and counts[1] is not None:
        balance = ChiSquare(*statistics.chi_square_between(np.array(counts[0]), np.array(counts[1])))
    differences = {}
    for name in statistics.MEASURES:
        a, b = first.measures[name].astype(np.float64), second.measures[name].astype(np.float64)
        spread = np.sqrt((a.var() + b.var()) / 2)
        differences[name] = float((b.mean() - a.mean()) / spread) if spread > 0 else 0.0
    conflicts = int(differ(first.digits, second.digits, np.concatenate([shared.exact, shared.near])).sum())
    overlap = {"exact": len(shared.exact), "near": len(shared.near), "conflicts": conflicts}
    return Contrast(balance, differences, overlap)


def differ(first: Digits, second: Digits, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (P,) bool: whether the two images of a pair (P, 2) have two labels; False where a set has none."""
    if first.labels is None or second.labels is None:
        return np.zeros(len(pairs), bool)
    return np.asarray(first.labels[pairs[:, 0]] != second.labels[pairs[:, 1]])
