"""Who wrote each image of MNIST, and so of Kaggle's and of all else that is made of it: found by the images themselves.

QMNIST traced MNIST's images back to NIST's forms and so to their writers: 539 wrote the training images, 297 others the
test images. A random split has every writer on both sides, which the test does not; a split by writer has not.
"""

import functools
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tenfold.data import names
from tenfold.data.arrays import parse_idx
from tenfold.data.digits import Digits, image_hashes
from tenfold.data.walk import Entry, fault
from tenfold.errors import DataError

UNKNOWN = -1
COLUMNS = 8  # of QMNIST's labels: class, series, writer, and where the image lies in NIST's files
STUDENTS = 2100  # NIST's series hsf_4, high-school students, begins with this writer; those before were employees


def with_writers(digits: Digits, *, needed: bool) -> Digits:
    """Return the digits with their writers, where MNIST's images and QMNIST's labels tell them; else as they are.

    needed: download both where they are not here, and raise DataError where a single writer is not known.
    """
    if digits.writers is not None or not (needed or (names.available("mnist") and names.qmnist(download=False))):
        return digits
    known, owners = _table(needed)
    hashes = image_hashes(digits.images)
    places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    writers = np.where(known[places] == hashes, owners[places], UNKNOWN)
    unknown = int((writers == UNKNOWN).sum())
    if needed and unknown:
        what = f"The writers of '{unknown:,}' of {len(digits):,} images are not known,"
        raise DataError(f"{what} as they are for MNIST's images alone. Omit --split writers.")
    return digits if unknown == len(digits) else replace(digits, writers=writers)


def series(writers: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    """Return which images are whose, (N,) bool each, by what kind of people wrote them; kinds without any are left out.

    writers: as `with_writers` found them. Students wrote half of MNIST, and most of what is misread.
    """
    kinds = {"employees": (writers >= 0) & (writers < STUDENTS), "students": writers >= STUDENTS}
    return {name: which for name, which in kinds.items() if which.any()}


@functools.cache  # once a process: 0.8 s
def _table(download: bool) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the hashes of MNIST's 70,000 images, sorted, and each one's writer."""
    hashes, writers = [], []
    for path, part in zip(names.qmnist(download), names.PARTS, strict=True):
        digits = names.load("mnist", part, "evaluate")
        assert digits.labels is not None
        known = parse_idx(Entry(path.name, path).read(), str(path))
        if known.ndim != 2 or known.shape[1] != COLUMNS or len(known) < len(digits):
            what = f"holds an array of '{known.shape}', not {len(digits):,} labels of {COLUMNS} numbers."
            raise fault(path, f"{what} Get it again.")
        known = known[: len(digits)].astype(np.int64)
        if not np.array_equal(known[:, 0], digits.labels):
            raise fault(path, f"does not belong to 'mnist:{part}': its digits are others. Get the file again.")
        hashes.append(image_hashes(digits.images))
        writers.append(known[:, 2])
    together = np.concatenate(hashes)
    order = np.argsort(together, kind="stable")
    return together[order], np.concatenate(writers)[order]
