"""Several sets as one: what they share is found, counted by pairs of sets, named, and left out when asked for."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tenfold.data.digits import Digits
from tenfold.data.merge import Merged, describe, load_sets, merge
from tenfold.data.overlap import are_near, find_duplicates
from tenfold.errors import DataError

Sets = list[tuple[str, Digits]]


@pytest.fixture
def sets(make_digits: Callable[..., Digits]) -> Sets:
    """Return "a" of 20 images and "b" of 15, of which b's first 3 are a's first 3, and b's fourth nearly a's fourth.

    a's last is its first again, and b's first has another label than a's.
    """
    a, b = make_digits(20, seed=3), make_digits(15, seed=4)
    a_images, b_images, b_labels = a.images.copy(), b.images.copy(), b.labels.copy()  # type: ignore[union-attr]
    a_images[19] = a_images[0]
    b_images[:3], b_images[3] = a_images[:3], np.minimum(a_images[3].astype(int) + 2, 255).astype(np.uint8)
    a_labels = a.labels.copy()  # type: ignore[union-attr]
    a_labels[19], b_labels[0] = a_labels[0], 7
    return [("a", Digits.of(a_images, a_labels)), ("b", Digits.of(b_images, b_labels))]


def test_sets_follow_each_other(sets: Sets) -> None:
    """The merged set holds the first set's images, then the second's, with their labels, and ids of its own."""
    merged = merge(sets, look=False)
    assert len(merged.digits) == 35
    assert (merged.digits.images[20:] == sets[1][1].images).all()
    assert merged.digits.labels is not None and sets[1][1].labels is not None
    assert (merged.digits.labels[20:] == sets[1][1].labels).all()
    assert merged.digits.ids.tolist() == list(range(1, 36))
    assert merged.groups is merged.copies is None


def test_copies_are_counted_by_pairs_of_sets(sets: Sets) -> None:
    """Exact and near copies, within a set and between two, are counted where they are; nothing is dropped unasked."""
    merged = merge(sets)
    assert merged.copies is not None
    assert merged.copies["pairs"] == [
        {"sets": ["a", "a"], "exact": 1, "near": 0},
        {"sets": ["a", "b"], "exact": 3, "near": 1},
    ]
    assert (merged.copies["exact"], merged.copies["near"], merged.copies["dropped"]) == (4, 1, 0)
    assert len(merged.digits) == 35


def test_conflicting_labels_are_named(sets: Sets) -> None:
    """A copy with another label than its original is named with both labels, by the numbers the sets give them."""
    copies = merge(sets).copies
    assert copies is not None
    assert copies["conflicts"] == 1
    assert copies["conflicting"] == [[{"spec": "a", "id": 1, "label": 0}, {"spec": "b", "id": 1, "label": 7}]]
    text = "\n".join(describe(copies))
    assert "Of 'b', in 'a' too: 3 images exactly, 1 nearly." in text
    assert "image 1 of 'a' is 0, image 1 of 'b' is 7" in text


def test_deduplicated_has_no_copies(sets: Sets) -> None:
    """What is left keeps each first image, and none of it is equal or near to another."""
    merged = merge(sets, deduplicate=True)
    assert merged.copies is not None
    assert merged.copies["dropped"] == 5
    assert (merged.digits.images == np.concatenate([sets[0][1].images[:19], sets[1][1].images[4:]])).all()
    left = find_duplicates(merged.digits.images)
    assert len(left.exact) == len(left.near) == 0


def test_copies_of_copies_are_one_group() -> None:
    """Of images each near to the next, but not to the one after it, the first alone stays."""
    chain = np.stack([np.full((28, 28), 100 + 5 * step, np.uint8) for step in range(4)])
    assert are_near(chain[:3], chain[1:]).all()
    assert not are_near(chain[:2], chain[2:]).any()
    digits = Digits.of(chain, np.zeros(4, int))
    assert merge([("chain", digits)]).copied(np.array([0])) == 1
    assert (merge([("chain", digits)], deduplicate=True).digits.images == chain[:1]).all()


def test_copied_counts_those_on_the_other_side(sets: Sets) -> None:
    """A held-out image counts when a copy of it, its original or another copy, is in the training part."""
    merged = merge(sets)
    # a's 1st (0) has copies at 19 and 20; a's 4th (3) a near one at 23; 10 has none.
    assert merged.copied(np.array([0])) == 1
    assert merged.copied(np.array([19, 20])) == 2
    assert merged.copied(np.array([0, 19, 20])) == 0
    assert merged.copied(np.array([10, 23])) == 1
    assert Merged(merged.digits).copied(np.array([0])) == 0


def test_subset_keeps_the_groups(sets: Sets) -> None:
    """A stratified part of merged sets still knows which of its images are copies."""
    merged = merge(sets)
    assert merged.subset(None, 0) is merged
    part = merged.subset(30, seed=4)
    assert part.groups is not None and len(part.digits) == 30
    for number, group in enumerate(part.groups):
        original = merged.digits.images[group]
        assert are_near(part.digits.images[number][None], original[None]).all()
    with pytest.raises(DataError, match="'36' images cannot be taken"):
        merged.subset(36, seed=4)


def test_each_set_needs_labels(digits: Digits, tmp_path: Path) -> None:
    """Of several sets the one without labels is named; no set at all is an error too."""
    np.savez(tmp_path / "with.npz", X=digits.images, y=digits.labels)
    np.savez(tmp_path / "without.npz", X=digits.images)
    with pytest.raises(DataError, match=r"without\.npz"):
        load_sets([str(tmp_path / "with.npz"), str(tmp_path / "without.npz")])
    with pytest.raises(DataError, match="'0' sets"):
        load_sets([])
