"""The ledger: one line for every look at labelled test data on this machine, so that a test set cannot wear out unseen.

`evaluate` writes down every look before it shows the score. The file (`ledger.jsonl` in the cache folder) only grows:
each look is one write to a file opened for appending, which processes at the same time cannot tear; a line that a crash
cut short is passed over. Which of the images a run was trained on is found here too.
"""

import errno
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold import __version__, settings
from tenfold.data import load
from tenfold.data.digits import Digits, image_hashes
from tenfold.data.overlap import find_overlap
from tenfold.errors import DataError, RunError, TenfoldError, remedy, unwritten
from tenfold.files import npz, open_regular, read_npz, write_atomically
from tenfold.metrics.intervals import wilson

if TYPE_CHECKING:
    from tenfold.runs.run import Run


class Look(NamedTuple):
    """One look: which model (by its weights) scored what on which labelled data."""

    time: str  # ISO 8601, UTC
    run: str  # the run's folder
    weights_sha256: str
    data_sha256: str  # Digits.content_hash()
    spec: str  # what the user called the data
    n: int
    accuracy: float


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


def path() -> Path:
    """Return where the ledger is kept, whether it exists yet or not."""
    return settings.cache_folder() / "ledger.jsonl"


def record(look: Look) -> None:
    """Append one look. Raises TenfoldError where the cache folder cannot be written."""
    try:
        path().parent.mkdir(parents=True, exist_ok=True)
        append_line(path().resolve(), look._asdict())
    except OSError as error:
        message = unwritten(path(), error, "A file is in the way.")
        raise TenfoldError(f"The ledger of looks {message} Or name another folder in TENFOLD_CACHE.") from error


def looks(data_sha256: str) -> tuple[int, int]:
    """Return how often these labelled data were looked at on this machine, and by how many models, by their weights."""
    own = [entry for entry in read_lines(path()) if entry.get("data_sha256") == data_sha256]
    return len(own), len({entry.get("weights_sha256") for entry in own})


def append_line(file: Path, entry: Mapping[str, Any]) -> None:
    """Append `entry` as one JSON line in a single write; a line that was cut short before it is closed first.

    Raises OSError, also where the disk had room for a part of the line alone.
    """
    line = (json.dumps(entry, allow_nan=False) + "\n").encode()
    with open_regular(file, sys.maxsize, os.O_RDWR | os.O_APPEND | os.O_CREAT, "a+b") as stream:  # unbuffered
        # Another process's write may show by halves here; then a blank line more is written, which readers pass over.
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            line = line if stream.read(1) == b"\n" else b"\n" + line
        if stream.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Return the JSON objects in a file of JSON lines, oldest first; lines that a crash cut short are passed over."""
    try:
        text = file.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    entries = []
    for line in text.split("\n"):
        with suppress(ValueError):
            entries.append(json.loads(line))
    return [entry for entry in entries if isinstance(entry, dict)]


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
    near = None
    with suppress(OSError, ValueError):  # not there, or damaged: it is found again, as by another version
        arrays = read_npz(kept, {"near": ("i", ("k",)), "version": ("U", ())})
        if str(arrays["version"]) == __version__ and ((arrays["near"] >= 0) & (arrays["near"] < len(digits))).all():
            near = arrays["near"].astype(np.int64)
    if near is None:
        found = _near(run, digits)
        if isinstance(found, str):
            return Seen(exact, np.empty(0, np.int64), unchecked=found)
        near = np.setdiff1d(found, exact)
        try:
            kept.parent.mkdir(exist_ok=True)
            write_atomically(kept, npz({"near": near, "version": np.array(__version__)}))
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
    advice = remedy(error, "Make its folder writable.")
    return RunError(f"Cannot write into the run '{folder}' ({error.strerror}). {advice}")


def _near(run: "Run", digits: Digits) -> NDArray[np.int64] | str:
    """Return the indices of images near to one trained on, or why that cannot be found out."""
    from tenfold.runs.run import training_specs  # loads the recipe's schema

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
    return find_overlap(training[used], digits.images).near[:, 1]
