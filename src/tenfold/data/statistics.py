"""What a set of digits is like: balance, ink, position, copies, what is unusual in it, and a map of it."""

import io
import math
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.data.digits import IMAGE_SHAPE, Digits
from tenfold.data.overlap import Overlap, find_duplicates, find_overlap
from tenfold.data.writers import series, with_writers
from tenfold.progress import steps

CLASSES = 10
STROKE = 128  # grey level from which a pixel counts as stroke
NEARLY_EMPTY = 10  # stroke pixels: the faintest 1 of MNIST has 15
UNUSUAL = 4  # images of each digit
LIMIT = 1000  # ids listed in the figures
COMPONENTS = 50  # principal components kept: 82% of MNIST's variance
CHUNK = 8192  # images made into floats at a time: 26 MB
MAP_STEPS = 500  # of t-SNE
PERPLEXITY = 30  # t-SNE's number of effective neighbours
# Where an image may stand on the map, seen from its own cell: there, or next to it, across an edge first.
STEPS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1), (1, -1), (-1, 1))

# What `measure` gives of an image: name -> (what it says, unit).
MEASURES = {
    "ink": ("Mean ink", "grey levels"),
    "coverage": ("Stroke coverage", "share of pixels"),
    "height": ("Height of the stroke", "pixels"),
    "width": ("Width of the stroke", "pixels"),
    "down": ("Ink below the middle", "pixels"),
    "right": ("Ink right of the middle", "pixels"),
}


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
class Writers:
    """Who wrote the images, where that is known: how many people, images of one (least, median, most), of each kind."""

    n: int
    images: tuple[int, float, int]
    kinds: dict[str, int]


@dataclass(frozen=True)
class SetFigures:
    """The figures of one set; counts (of the ten digits) and chi_square (against equal counts) are None without labels.

    data: spec and sha256 (of `Digits.content_hash`). measures: mean and std of every key of `MEASURES`.
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
    writers: Writers | None = None


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
    """Return what is in one set of at least one image."""
    ids, labels = digits.ids, digits.labels
    groups = np.zeros(len(digits), np.int64) if labels is None else labels
    counts = None if labels is None else np.bincount(labels, minlength=CLASSES)
    coordinates = principal_components(digits.images)
    strange = strangeness(coordinates, groups)
    order = np.argsort(-strange, kind="stable")
    most = UNUSUAL * CLASSES if labels is None else UNUSUAL
    unusual = np.concatenate([order[groups[order] == group][:most] for group in np.unique(groups)])
    measures = measure(digits.images)
    empty = np.flatnonzero((digits.images >= STROKE).sum(axis=(1, 2)) < NEARLY_EMPTY)
    duplicates = find_duplicates(digits.images)
    conflicts = duplicates.pairs[differ(digits, digits, duplicates.pairs)]
    writers, known = None, with_writers(digits, needed=False).writers
    if known is not None:
        each = np.unique(known[known >= 0], return_counts=True)[1]
        kinds = {kind: int(which.sum()) for kind, which in series(known).items()}
        writers = Writers(len(each), (int(each.min()), float(np.median(each)), int(each.max())), kinds)
    figures = SetFigures(
        data={"spec": spec, "sha256": digits.content_hash()},
        n=len(digits),
        counts=None if counts is None else counts.tolist(),
        chi_square=None if counts is None else chi_square(counts),
        measures={key: {"mean": float(one.mean()), "std": float(one.std())} for key, one in measures.items()},
        duplicates={"exact": len(duplicates.exact), "near": len(duplicates.near)},
        conflicts=Listed(len(conflicts), ids[conflicts][:LIMIT].tolist()),
        empty=Listed(len(empty), ids[empty][:LIMIT].tolist()),
        unusual=ids[unusual].tolist(),
        writers=writers,
    )
    return ExploredSet(digits, groups, measures, duplicates, empty, unusual, strange, coordinates, figures)


def contrast(first: ExploredSet, second: ExploredSet) -> tuple[Overlap, Contrast]:
    """Return the images that are in both sets, and how `second` differs from `first`."""
    shared = find_overlap(first.digits.images, second.digits.images)
    conflicts = int(differ(first.digits, second.digits, shared.pairs).sum())
    balance, counts = None, [one.figures.counts for one in (first, second)]
    if counts[0] is not None and counts[1] is not None:
        balance = chi_square(np.array(counts))
    differences = {}
    for name in MEASURES:
        a, b = first.measures[name].astype(np.float64), second.measures[name].astype(np.float64)
        spread = np.sqrt((a.var() + b.var()) / 2)
        differences[name] = float((b.mean() - a.mean()) / spread) if spread > 0 else 0.0
    overlap = {"exact": len(shared.exact), "near": len(shared.near), "conflicts": conflicts}
    return shared, Contrast(balance, differences, overlap)


def differ(first: Digits, second: Digits, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (P,) bool: whether the two images of a pair (P, 2) have two labels; False where a set has none."""
    if first.labels is None or second.labels is None:
        return np.zeros(len(pairs), bool)
    return np.asarray(first.labels[pairs[:, 0]] != second.labels[pairs[:, 1]])


def chi_square(counts: NDArray[np.integer]) -> ChiSquare:
    """Return Pearson's chi-square that counts of digits, (10,), are equal, or those of two sets, (2, 10), alike.

    A digit that neither set has does not count, and the degrees of freedom stay 9: the p-value is then too large.
    Formula: M. Abramowitz, I. A. Stegun, "Handbook of mathematical functions" (1964), 26.4.4, exact for odd degrees.
    """
    expected = counts.sum() / CLASSES
    if counts.ndim == 2:
        counts = counts[:, counts.sum(axis=0) > 0]
        expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    root = math.sqrt(statistic)
    series = sum(root ** (2 * r - 1) / math.prod(range(1, 2 * r, 2)) for r in range(1, 5))
    p = math.erfc(root / math.sqrt(2)) + math.sqrt(2 / math.pi) * math.exp(-statistic / 2) * series
    return ChiSquare(statistic, p)


def measure(images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Return each of MEASURES for each image, (N,) float32; one without ink has size 0 and its ink in the middle."""
    from_middle = [np.arange(side, dtype=np.float32) - side / 2 + 0.5 for side in IMAGE_SHAPE]
    parts = []
    for values in _chunks(images):
        stroke: NDArray[np.bool_] = values >= STROKE
        rows, columns = values.sum(axis=2), values.sum(axis=1)
        total = rows.sum(axis=1)
        weight = np.maximum(total, 1)  # without ink the sums that it divides are 0
        height, width = _extent(np.asarray(stroke.any(axis=2))), _extent(np.asarray(stroke.any(axis=1)))
        down, right = rows @ from_middle[0] / weight, columns @ from_middle[1] / weight
        parts.append((total / math.prod(IMAGE_SHAPE), stroke.mean(axis=(1, 2)), height, width, down, right))
    joined = (np.concatenate(each).astype(np.float32) for each in zip(*parts, strict=True))
    return dict(zip(MEASURES, joined, strict=True))


def _extent(marked: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return how far apart the first and the last True of each row (N, K) are, both counted; 0 without any."""
    first, last = marked.argmax(axis=1), marked.shape[1] - marked[:, ::-1].argmax(axis=1)
    return np.where(marked.any(axis=1), last - first, 0).astype(np.float32)


def mean_and_spread(images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the standard deviation of each pixel, (28, 28) each, in grey levels; zeros for no image."""
    n, total, squares = max(1, len(images)), np.zeros(IMAGE_SHAPE), np.zeros(IMAGE_SHAPE)
    for values in _chunks(images):
        total += values.sum(axis=0, dtype=np.float64)
        squares += np.einsum("nyx,nyx->yx", values, values, dtype=np.float64)
    mean = total / n
    return mean, np.sqrt(np.maximum(squares / n - mean**2, 0))


def principal_components(images: NDArray[np.uint8], k: int = COMPONENTS) -> NDArray[np.float32]:
    """Return the images' coordinates (N, k) float32 on the `k` directions of largest variance, the largest first."""
    rows = images.reshape(len(images), -1)
    mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    covariance = np.zeros((rows.shape[1],) * 2, np.float32)
    for values in _chunks(rows):
        centred = values - mean
        covariance += centred.T @ centred
    _, directions = np.linalg.eigh(covariance)  # in ascending order of variance
    chosen = directions[:, ::-1][:, :k]
    return np.concatenate([(values - mean) @ chosen for values in _chunks(rows)]).astype(np.float32)


def strangeness(coordinates: NDArray[np.float32], groups: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return each image's Mahalanobis distance (N,) from the mean of its group, over the square root of dimensions.

    coordinates: (N, K), groups: (N,). About 1 is usual. A little of the overall variance is added to every group's,
    so that a group of a few images has a distance too.
    """
    n, k = coordinates.shape
    floor = np.cov(coordinates.T).reshape(k, k).trace() / k * 0.01 + 1e-9 if n > 1 else 1.0
    distances = np.zeros(n)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        centred = coordinates[members].astype(np.float64)
        centred -= centred.mean(axis=0)
        covariance = centred.T @ centred / len(members) + floor * np.eye(k)
        distances[members] = np.sqrt(np.einsum("nk,nk->n", centred, np.linalg.solve(covariance, centred.T).T) / k)
    return distances


def embed(coordinates: NDArray[np.float32]) -> tuple[NDArray[np.float64], str]:
    """Return a place (N, 2) for each image on a map where alike images are close, and how it was made.

    By t-SNE (L. van der Maaten, G. Hinton, "Visualizing data using t-SNE", 2008) where scikit-learn is installed, and
    otherwise by the first two principal components, which `coordinates` (N, K) start with.
    """
    flat = np.zeros((len(coordinates), 2))
    flat[:, : coordinates.shape[1]] = coordinates[:, :2]
    if len(coordinates) <= 3 * PERPLEXITY:
        return flat, "the first two principal components"
    try:
        from sklearn.manifold import TSNE
    except ModuleNotFoundError:
        return flat, "the first two principal components (t-SNE needs the extra 'train')"
    start = flat / max(flat[:, 0].std(), 1e-9) * 1e-4
    with steps(MAP_STEPS) as step, redirect_stdout(_Iterations(step)):
        settings = {"perplexity": PERPLEXITY, "init": start, "max_iter": MAP_STEPS, "random_state": 0}
        places = TSNE(**settings, verbose=2).fit_transform(coordinates)
    return places.astype(np.float64), "t-SNE"


class _Iterations(io.TextIOBase):
    """Where scikit-learn prints how far t-SNE is, which it tells in no other way."""

    def __init__(self, step: Callable[[float], None]) -> None:
        self.step = step

    def write(self, text: str) -> int:
        if (found := re.search(r"Iteration (\d+)", text)) is not None:
            self.step(int(found[1]))
        return len(text)


def place_on_grid(places: NDArray[np.floating], rows: int, columns: int) -> NDArray[np.int64]:
    """Return the cell (row * columns + column) of a grid that each point (N, 2) falls in, (N,) int64; -1 where taken.

    A point whose cell is taken moves to a free cell next to it, and is left out where there is none.
    """
    low, high = places.min(axis=0), places.max(axis=0)
    share = (places - low) / np.maximum(high - low, 1e-9)
    wanted = np.rint(share * (columns - 1, rows - 1)).astype(int)
    cells: dict[int, int] = {}  # which point each holds
    for point, (column, row) in enumerate(wanted.tolist()):
        near = ((column + across, row + down) for across, down in STEPS)
        inside = (y * columns + x for x, y in near if 0 <= x < columns and 0 <= y < rows)
        if (free := next((cell for cell in inside if cell not in cells), None)) is not None:
            cells[free] = point
    found = np.full(len(places), -1, np.int64)
    found[list(cells.values())] = list(cells)
    return found


def _chunks(images: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
    """Give the images as floats, `CHUNK` at a time."""
    for start in range(0, len(images), CHUNK):
        yield images[start : start + CHUNK].astype(np.float32)
