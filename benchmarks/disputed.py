"""The fifteen images of MNIST's test set whose labels human raters dispute.

Of five raters each, fewer than three agreed with the label. Source: C. G. Northcutt, A. Athalye, J. Mueller, "Pervasive
Label Errors in Test Sets Destabilize Machine Learning Benchmarks" (2021), its published votes. They are scored as they
are labelled, here as everywhere; beside a list of mistakes they say how many of those nobody could have avoided.
"""

from collections.abc import Iterable
from typing import NamedTuple

from tenfold.data.digits import Digits

MNIST_TEST = 10_000  # images


class Votes(NamedTuple):
    """An image's label, the digit that raters were offered in its place, and how many of five chose which."""

    label: int
    other: int
    for_label: int
    for_other: int


DISPUTED = {
    947: Votes(8, 9, 0, 5),
    1621: Votes(0, 6, 2, 3),
    1901: Votes(9, 4, 2, 3),
    2130: Votes(4, 9, 2, 2),
    2462: Votes(2, 0, 0, 4),
    2597: Votes(5, 3, 0, 4),
    2654: Votes(6, 1, 0, 2),
    3520: Votes(6, 4, 2, 0),
    3558: Votes(5, 0, 1, 4),
    5937: Votes(5, 3, 1, 3),
    6651: Votes(0, 6, 0, 5),
    6783: Votes(1, 6, 2, 3),
    8527: Votes(4, 9, 2, 2),
    9679: Votes(6, 3, 2, 0),
    9729: Votes(5, 6, 2, 3),
}


def are_known(test: Digits) -> bool:
    """Return True where the images are MNIST's test set in its order, as far as its size and these labels show."""
    if test.labels is None or len(test) != MNIST_TEST:
        return False
    return all(test.labels[index] == votes.label for index, votes in DISPUTED.items())


def count(wrong: Iterable[int]) -> int:
    """Return how many of these indices are of disputed images."""
    return len(DISPUTED.keys() & set(wrong))
