"""What a network of rows says column by column -> text, and how likely it is (connectionist temporal classification).

Formulas: Graves, Fernández, Gomez, Schmidhuber, "Connectionist temporal classification", ICML 2006, section 4.1.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

BLANK = 10  # the class that stands for no new digit
ALTERNATIVES = 3  # of the least sure digits, whose second best guess is tried


def decoded(shares: Floats) -> list[tuple[str, float]]:
    """Return the likely texts of (T, 11) probabilities, with their own probabilities, the likeliest first.

    They are the best path's, and those in which one of its least sure digits is its second best one, or none.
    """
    path = shares.argmax(axis=1)
    starts = [at for at, digit in enumerate(path) if digit != BLANK and (at == 0 or path[at - 1] != digit)]
    digits = [int(path[at]) for at in starts]
    tried = {tuple(digits): text_probability(shares, digits)}
    middles = [_middle(path, at) for at in starts]
    for index in sorted(range(len(starts)), key=lambda each: shares[middles[each], digits[each]])[:ALTERNATIVES]:
        second = int(np.argsort(shares[middles[index]])[-2])
        other = [*digits[:index], *([] if second == BLANK else [second]), *digits[index + 1 :]]
        tried.setdefault(tuple(other), text_probability(shares, other))
    likely = sorted(tried.items(), key=lambda each: -each[1])
    return [("".join(map(str, text)), probability) for text, probability in likely]


def text_probability(shares: Floats, digits: list[int]) -> float:
    """Return how likely a text is by (T, 11) probabilities: the sum over all paths that spell it."""
    states = [BLANK, *(each for digit in digits for each in (digit, BLANK))]
    skip = np.array([at > 1 and state not in (BLANK, states[at - 2]) for at, state in enumerate(states)])
    emitted = shares[:, states].astype(np.float64)  # Shape: (T, 2 L + 1)
    forward = np.zeros(len(states))
    forward[:2] = emitted[0, :2]
    scale = 0.0
    for row in emitted[1:]:
        moved = forward.copy()
        moved[1:] += forward[:-1]
        moved[2:] += np.where(skip[2:], forward[:-2], 0)
        forward = moved * row
        total = forward.sum()
        if total <= 0:
            return 0.0
        forward, scale = forward / total, scale + np.log(total)
    return float(forward[-2:].sum() * np.exp(scale))


def _middle(path: NDArray[np.int64], at: int) -> int:
    """Return the middle column of the run of equal digits that begins at `at`."""
    end = at
    while end + 1 < len(path) and path[end + 1] == path[at]:
        end += 1
    return (at + end) // 2
