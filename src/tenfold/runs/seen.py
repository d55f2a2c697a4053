"""Which of the images that a run is scored on it was trained on, and what its score is without them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tenfold import __version__
from tenfold.data import load
from tenfold.data.digits import Digits, image_hashes
from tenfold.data.overlap import find_overlap
from tenfold.errors import DataError, RunError
from tenfold.files import npz, read_npz, write_atomically
from tenfold.metrics.intervals import wilson

if TYPE_CHECKING:
    from tenfold.runs.run import Run


@dataclass(frozen=True, eq=False)
class Seen:
    """Which of the evaluated images the run was trained on.

    exact, near: (K,) int64 sorted indices of images that are equal, or near but not equal, to one trained on.
    unchecked: why near ones could not be looked for, None where they were.
    """

    exact: NDArray[np.int64]
    near: NDArray[np.int64]
    unchecked: str | None = None

    def mask(self, n: int) -> NDArray[np.bool_]:
        """Return (n,) which images were trained on, exactly or nearly."""
        mask = np.zeros(n, dtype=bool)
        mask[self.exact] = mask[self.near] = True
        return mask


@dataclass(frozen=True)
class OverlapScore:
    """How many of the evaluated images were trained on, and the accuracy on them and on the others.

    near_checked: whether near ones could be looked for. None stands for an accuracy on no images.
    """

    exact: int
    near: int
    near_checked: bool
    accuracy_on_overlap: float | None
    accuracy_without: float | None
    n_without: int
    ci95_without: tuple[float, float] | None


def seen_exactly(run: "Run", images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the sorted indices of images that equal one the run was trained on, bit for bit."""
    return np.flatnonzero(np.isin(image_hashes(images), run.training_hashes())).astype(np.int64)


def find_seen(run: "Run", digits: Digits, sha256: str) -> Seen:
    """Return which images of `digits` (whose content hash is `sha256`) the run was trained on.

    Equal images are found by their hashes, which every run keeps. Near ones need the training data itself: it is
    loaded again, and compared when every image that the run was trained on is still there. That comparison is kept in
    the run's folder, so a second look at the same data does not wait for it.
    """
    exact = seen_exactly(run, digits.images)
    kept = run.path / "evaluations" / f"overlap-{sha256[:16]}.npz"
    near = _kept_near(kept)
    if near is None:
        found = _near(run, digits)
        if isinstance(found, str):
            return Seen(exact, np.empty(0, np.int64), unchecked=found)
        near = np.setdiff1d(found, exact)
        try:
            kept.parent.mkdir(exist_ok=True)
            write_atomically(kept, npz(near=near, version=np.array(__version__)))
        except OSError as error:
            raise not_writable(run.path, error) from error
    return Seen(exact, near)


def overlap_score(seen: Seen, right: NDArray[np.bool_]) -> OverlapScore:
    """Return the overlap's counts, and how well both parts were read; right: (N,) which images were."""
    mask = seen.mask(len(right))
    others = right[~mask]
    n = len(others)
    return OverlapScore(
        exact=len(seen.exact),
        near=len(seen.near),
        near_checked=seen.unchecked is None,
        accuracy_on_overlap=float(right[mask].mean()) if mask.any() else None,
        accuracy_without=float(others.mean()) if n else None,
        n_without=n,
        ci95_without=wilson(int(others.sum()), n) if n else None,
    )


def not_writable(folder: Path, error: OSError) -> RunError:
    """Return the error for a run's folder that cannot be written to."""
    return RunError(f"Cannot write into the run '{folder}' ({error.strerror}). Make its folder writable.")


def _near(run: "Run", digits: Digits) -> NDArray[np.int64] | str:
    """Return the indices of images near to one trained on, or why that cannot be found out."""
    from tenfold.runs.provenance import training_specs  # loads the recipe's schema

    specs = training_specs(run.manifest)
    named = " + ".join(specs)
    try:
        training = np.concatenate([load(spec, "train").images for spec in specs])
    except DataError as error:
        return f"the training data '{named}' cannot be loaded: {error}"
    trained, hashes = run.training_hashes(), image_hashes(training)
    if not np.isin(trained, hashes).all():
        return f"the training data '{named}' no longer hold what the run was trained on"
    used = np.isin(hashes, trained)  # neither held out nor left out
    return find_overlap(training[used], digits.images).near_in_second()


def _kept_near(file: Path) -> NDArray[np.int64] | None:
    """Return the near images that this version of Tenfold found before, or None."""
    try:
        kept = read_npz(file)
        return kept["near"].astype(np.int64) if str(kept["version"]) == __version__ else None
    except (OSError, ValueError, KeyError):
        return None  # not there, or damaged: it is found again
