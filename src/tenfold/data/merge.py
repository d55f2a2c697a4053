"""Several sets of labelled digits as one, with the images that it then holds more than once named.

Copies are images that are equal or near (see overlap.py), and copies of copies make one group. The first image of a
group, in the order in which the sets were given, is the original; the others are its later copies.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data import load, splits
from tenfold.data.digits import Digits
from tenfold.data.overlap import Overlap, find_duplicates
from tenfold.errors import DataError

KEPT_CONFLICTS = 100  # copies with different labels that the record lists
SHOWN_CONFLICTS = 3


@dataclass(frozen=True, eq=False)
class Merged:
    """What there is to train on.

    digits: all sets, one after the other, without what was dropped.
    groups: (N,) int64, equal for images that are copies of each other; None where copies were not looked for.
    copies: what was found of them, JSON-able (see `find_copies`); None where they were not looked for.
    """

    digits: Digits
    groups: NDArray[np.int64] | None = None
    copies: dict[str, Any] | None = None

    def subset(self, n: int | None, seed: int) -> "Merged":
        """Return n of the images, the classes in proportion; all where n is None. DataError where there are fewer."""
        if n is None:
            return self
        assert self.digits.labels is not None
        chosen = splits.subset(self.digits.labels, n, seed)
        groups = None if self.groups is None else self.groups[chosen]
        return Merged(self.digits.take(chosen), groups, self.copies)

    def copied(self, held_out: NDArray[np.int64]) -> int:
        """Return how many of the images at the indices `held_out` have a copy among the others."""
        if self.groups is None:
            return 0
        rest = np.setdiff1d(np.arange(len(self.groups)), held_out)
        return int(np.isin(self.groups[held_out], self.groups[rest]).sum())


def load_sets(specs: Sequence[str]) -> list[tuple[str, Digits]]:
    """Return each name or path with its labelled digits; DataError where one cannot be read or has no labels."""
    if not specs:
        raise DataError("There are '0' sets to train on. Name at least one.")
    return [(spec, load(spec, "train")) for spec in specs]


def merge(sets: Sequence[tuple[str, Digits]], *, look: bool = True, deduplicate: bool = False) -> Merged:
    """Return the labelled sets as one.

    look: find the copies (27 s for 112,000 images on one core). deduplicate: find them, and drop the later ones,
    so that none of the remaining images has a copy.
    """
    digits = sets[0][1]  # a single set keeps its ids
    if len(sets) > 1:
        notes = tuple(f"'{spec}': {note}" for spec, each in sets for note in each.notes)
        images = np.concatenate([each.images for _, each in sets])
        digits = Digits.of(images, _all_labels(sets), notes)
    if not (look or deduplicate):
        return Merged(digits)
    overlap = find_duplicates(digits.images)
    copies = find_copies(sets, overlap)
    groups = np.arange(len(digits))  # each image's original, itself where it has no earlier copy
    for earlier, later in sorted(overlap.pairs.tolist(), key=itemgetter(1)):  # so an earlier one's is known by then
        groups[later] = groups[earlier]
    if not deduplicate:
        return Merged(digits, groups, copies)
    kept = np.setdiff1d(np.arange(len(digits)), overlap.pairs[:, 1])
    return Merged(digits.take(kept), groups[kept], copies | {"dropped": len(digits) - len(kept)})


def find_copies(sets: Sequence[tuple[str, Digits]], overlap: Overlap) -> dict[str, Any]:
    """Return a JSON-able account of the copies.

    Keys: exact, near (later copies, of both kinds); dropped (0 here); pairs, a list of {sets: [spec of the originals,
    spec of the later copies], exact, near}; conflicts, copies whose labels differ; conflicting, the first of those as
    [{spec, id, label} of the original, the same of the copy].
    """
    origin = np.repeat(np.arange(len(sets)), [len(digits) for _, digits in sets])
    # How many pairs there are of (set of the original, set of the copy).
    exact, near = (Counter(map(tuple, origin[pairs].tolist())) for pairs in (overlap.exact, overlap.near))
    ids = np.concatenate([digits.ids for _, digits in sets])
    labels = _all_labels(sets)
    first, second = overlap.pairs.T
    conflicts = overlap.pairs[labels[first] != labels[second]]

    def named(index: int) -> dict[str, Any]:
        return {"spec": sets[origin[index]][0], "id": int(ids[index]), "label": int(labels[index])}

    return {
        "exact": len(overlap.exact),
        "near": len(overlap.near),
        "dropped": 0,
        "pairs": [
            {"sets": [sets[a][0], sets[b][0]], "exact": exact[a, b], "near": near[a, b]}
            for a, b in sorted(exact.keys() | near.keys())
        ],
        "conflicts": len(conflicts),
        "conflicting": [[named(first), named(second)] for first, second in conflicts[:KEPT_CONFLICTS].tolist()],
    }


def describe(copies: dict[str, Any]) -> list[str]:
    """Return what people are told of the copies that `find_copies` found, a sentence each."""
    lines = []
    for pair in copies["pairs"]:
        first, second = pair["sets"]
        where = f"Within '{first}'" if first == second else f"Of '{second}', in '{first}' too"
        lines.append(f"{where}: {pair['exact']:,} images exactly, {pair['near']:,} nearly.")
    if copies["conflicts"]:
        shown = [
            f"image {one['id']} of '{one['spec']}' is {one['label']}, image {two['id']} of '{two['spec']}' is "
            f"{two['label']}"
            for one, two in copies["conflicting"][:SHOWN_CONFLICTS]
        ]
        more = " ..." if copies["conflicts"] > SHOWN_CONFLICTS else ""
        what = "copy has another label than its original" if copies["conflicts"] == 1 else "copies have other labels"
        lines.append(f"{copies['conflicts']:,} {what}: {'; '.join(shown)}{more}.")
    if copies["dropped"]:
        lines.append(f"{copies['dropped']:,} later copies are left out.")
    return lines


def _all_labels(sets: Sequence[tuple[str, Digits]]) -> NDArray[np.int64]:
    return np.concatenate([digits.labels for _, digits in sets if digits.labels is not None])  # `load` promises them
