"""Stratified choices among labelled digits: a held-out part, k folds, a subset. All are functions of the seed.

With groups, the writers, each has its images on one side alone, and the classes are in proportion as well as it goes.
"""

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError

Indices = NDArray[np.int64]

# Each kind of choice draws from its own stream; otherwise a subset would lie inside the split of the same seed.
SPLIT_STREAM, FOLDS_STREAM, SUBSET_STREAM = 1, 2, 3
GROUP_PARTS = 20  # of which a share of the images is made, where writers stay together


def stratified_split(labels: NDArray[np.integer], fraction_or_count: float, seed: int) -> tuple[Indices, Indices]:
    """Return (train indices, held-out indices), each sorted, int64, together every index once.

    fraction_or_count: how much is held out; a float is a fraction in (0, 1), an int a number of images.
    Each class is held out in proportion, to within one image (the method of largest remainders).
    """
    size = len(labels)
    if isinstance(fraction_or_count, (int, np.integer)) and not isinstance(fraction_or_count, bool):
        count = int(fraction_or_count)
    elif 0 < fraction_or_count < 1:
        count = round(size * float(fraction_or_count))
    else:
        raise DataError(f"A fraction of '{fraction_or_count}' cannot be held out. Give one above 0 and below 1.")
    if not 0 < count < size:
        raise DataError(f"'{count}' of {size} images cannot be held out. Leave at least one image on either side.")
    held_out = _draw(labels, count, seed, SPLIT_STREAM)
    return np.setdiff1d(np.arange(size, dtype=np.int64), held_out), held_out


def stratified_folds(labels: NDArray[np.integer], k: int, seed: int) -> list[tuple[Indices, Indices]]:
    """Return k pairs (train indices, held-out indices), sorted, int64; each index is held out exactly once.

    The sizes of the folds, and of each class in them, differ by at most one.
    """
    _check_folds(labels, k)
    # Dealing the images, sorted by class, round the table keeps folds and classes even at once.
    dealt = np.concatenate(_shuffled_classes(labels, seed, FOLDS_STREAM))
    everything = np.arange(len(labels), dtype=np.int64)
    folds = [np.sort(dealt[start::k]) for start in range(k)]
    return [(np.setdiff1d(everything, fold), fold) for fold in folds]


def group_folds(
    labels: NDArray[np.integer], groups: NDArray[np.integer], k: int, seed: int
) -> list[tuple[Indices, Indices]]:
    """Return k pairs (train indices, held-out indices), as `stratified_folds`; each group is held out at once.

    groups: (N,). DataError where there are fewer than k, or a side of a fold would lack a digit.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    _check_folds(labels, k)
    if (count := len(np.unique(groups))) < k:
        raise DataError(f"'{k}' folds by writer cannot be made of the images of {count}. Give at most {count}.")
    splitter = StratifiedGroupKFold(k, shuffle=True, random_state=seed % 2**32)
    folds = [(train.astype(np.int64), held.astype(np.int64)) for train, held in splitter.split(labels, labels, groups)]
    for number, fold in enumerate(folds):
        if lacking := [digit for digit in np.unique(labels) if not all((labels[side] == digit).any() for side in fold)]:
            what = f"Fold '{number}' of {k} by writer leaves one side without the digit {lacking[0]}."
            raise DataError(f"{what} Give fewer folds, or more images.")
    return folds


def hold_out(
    labels: NDArray[np.integer],
    share: float,
    seed: int,
    *,
    folds: int | None = None,
    fold: int | None = None,
    groups: NDArray[np.integer] | None = None,
) -> tuple[Indices, Indices]:
    """Return the indices to train on and those to hold out: a share of them, 0 for none, or one fold of `folds`.

    groups: (N,), which stay together; a share is then rounded to twentieths, or to groups where there are fewer.
    """
    everything = np.arange(len(labels), dtype=np.int64)
    if folds is not None and fold is not None:
        made = stratified_folds(labels, folds, seed) if groups is None else group_folds(labels, groups, folds, seed)
        return made[fold]
    if share == 0:
        return everything, everything[:0]
    if groups is None:
        return stratified_split(labels, share, seed)
    rarest = int(np.unique(labels, return_counts=True)[1].min())
    parts = max(2, min(GROUP_PARTS, len(np.unique(groups)), rarest))
    taken = min(max(1, round(share * parts)), parts - 1)
    held_out = np.sort(np.concatenate([held for _, held in group_folds(labels, groups, parts, seed)[:taken]]))
    return np.setdiff1d(everything, held_out), held_out


def subset(labels: NDArray[np.integer], n: int, seed: int) -> Indices:
    """Return the sorted indices, (n,) int64, of n images with the classes in proportion, to within one image."""
    if not 0 < n <= len(labels):
        raise DataError(f"'{n}' images cannot be taken from {len(labels)}. Give 1 to {len(labels)}.")
    return _draw(labels, n, seed, SUBSET_STREAM)


def _check_folds(labels: NDArray[np.integer], k: int) -> None:
    digits, counts = np.unique(labels, return_counts=True)
    if k < 2:
        raise DataError(f"'{k}' folds cannot be made. Give at least 2.")
    if len(labels) == 0 or counts.min() < k:
        least = f"digit {digits[counts.argmin()]} has {counts.min()} images" if len(labels) else "no images"
        raise DataError(f"'{k}' folds cannot be made: {least}. Give at most as many folds as the rarest digit has.")


def _draw(labels: NDArray[np.integer], count: int, seed: int, stream: int) -> Indices:
    """Return `count` sorted indices, the classes in proportion."""
    classes = _shuffled_classes(labels, seed, stream)
    # Largest remainders in whole numbers: every class gets its quota rounded down, the largest remainders one more.
    quotas, remainders = np.divmod(np.array([len(members) for members in classes]) * count, len(labels))
    missing = count - int(quotas.sum())
    quotas[np.argsort(-remainders, kind="stable")[:missing]] += 1
    return np.sort(np.concatenate([members[:quota] for members, quota in zip(classes, quotas, strict=True)]))


def _shuffled_classes(labels: NDArray[np.integer], seed: int, stream: int) -> list[Indices]:
    """Return the indices of each class that occurs, in the order of the classes, each list shuffled."""
    if seed < 0:
        raise DataError(f"The seed '{seed}' is negative. Give 0 or more.")
    generator = np.random.default_rng([seed, stream])
    return [generator.permutation(np.flatnonzero(labels == each)).astype(np.int64) for each in np.unique(labels)]
