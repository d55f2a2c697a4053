"""Several systems' answers to the same images -> what tells them apart, and which mistakes they share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tenfold.metrics.intervals import Pair, compare, wilson
from tenfold.metrics.scores import CLASSES, nll


@dataclass(frozen=True, eq=False)
class Side:
    """One system's answers, what it is, and what it took to train it, where that is known."""

    name: str
    probabilities: NDArray[np.float32]  # (N, 10)
    seconds: float | None = None
    parameters: int | None = None
    run: str | None = None
    recipe: str | None = None


@dataclass(frozen=True)
class Standing:
    """How well one system reads the images."""

    run: str | None
    recipe: str | None
    name: str
    accuracy: float
    ci95: tuple[float, float]
    errors: int
    n: int
    nll: float
    seconds: float | None
    parameters: int | None


@dataclass(frozen=True)
class SharedConfusion:
    """A confusion that several systems make.

    systems: how many make it. share: of a system's errors, the mean over the systems. images: that at least half of
    the systems, and at least two, confuse in just this way.
    """

    true: int
    given: int
    systems: int
    share: float
    images: int


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Systems that answered the same images."""

    title: str
    labels: NDArray[np.int64]  # (N,)
    sides: Sequence[Side]
    images: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)  # by index; there may be fewer than N
    note: str = ""  # what a reader must know of how it was measured

    @property
    def given(self) -> NDArray[np.int64]:
        """The digits given, (systems, N)."""
        return np.stack([one.probabilities.argmax(axis=1) for one in self.sides]).astype(np.int64)

    def standings(self) -> list[Standing]:
        """Return how well each system reads the images."""
        n, right = len(self.labels), (self.given == self.labels).sum(axis=1).tolist()
        losses = [nll(self.labels, one.probabilities) for one in self.sides]
        return [
            Standing(
                one.run, one.recipe, one.name, hits / n, wilson(hits, n), n - hits, n, loss, one.seconds, one.parameters
            )
            for one, hits, loss in zip(self.sides, right, losses, strict=True)
        ]

    def pairs(self) -> list[Pair[str]]:
        """Return every pair of systems, tested."""
        return compare([one.name for one in self.sides], list(self.given == self.labels))

    def shared_confusions(self) -> list[SharedConfusion]:
        """Return the confusions that at least two systems make, the largest share of their errors first."""
        labels, given = self.labels, self.given
        wrong = given != labels
        cells = labels * CLASSES + given  # Shape: (systems, N)
        counts = np.stack([np.bincount(row[w], minlength=CLASSES**2) for row, w in zip(cells, wrong, strict=True)])
        shares = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).mean(axis=0)
        enough = max(2, -(-len(given) // 2))
        found = []
        for cell in np.argsort(-shares, kind="stable").tolist():
            systems = int((counts[:, cell] > 0).sum())
            if systems >= 2:
                common = int((((cells == cell) & wrong).sum(axis=0) >= enough).sum())
                true, digit = divmod(cell, CLASSES)
                found.append(SharedConfusion(true, digit, systems, float(shares[cell]), common))
        return found

    def wrong_everywhere(self) -> NDArray[np.int64]:
        """Return the sorted indices of the images that every system gets wrong, (K,) int64."""
        return np.flatnonzero((self.given != self.labels).all(axis=0)).astype(np.int64)


def frontier(costs: Sequence[float | None], accuracies: Sequence[float]) -> list[int]:
    """Return the systems that no cheaper or equally cheap one equals or beats, by rising cost; None is no cost."""
    known = [(cost, -accuracy, i) for i, (cost, accuracy) in enumerate(zip(costs, accuracies, strict=True)) if cost]
    found: list[int] = []
    for _, _, i in sorted(known):
        if not found or accuracies[i] > accuracies[found[-1]]:
            found.append(i)
    return found
