"""The proof that an exported graph answers as the run does that it came from: every image, at several batch sizes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import ExportError

Floats = NDArray[np.float32]
Answer = Callable[
    [NDArray[np.uint8]], Sequence[Floats]
]  # images -> probabilities (N, 10), and maybe digit_probability (N,)

BATCHES = (1, 2, 7, 64)
TOLERANCE = 1e-4
# Where a classifier's own two best digits are as near as this, its answer is the last bit's: it changes with how many
# images are asked at a time, and with the number of threads that add up a forest's votes.
TIE = 1e-6


@dataclass(frozen=True)
class Parity:
    """What was compared, and how near it was.

    images: how many. largest_difference: of any probability, at any batch size. ties: indices of images whose best two
    digits are tied within TIE, where the graph named the other one. seconds: by batch size, for all images.
    answers: the graph's, at the largest batch.
    """

    images: int
    largest_difference: float
    ties: list[int]
    seconds: dict[int, float]
    answers: Sequence[Floats]


def prove(answer: Answer, again: Answer, images: NDArray[np.uint8], expected: Sequence[Floats], spec: str) -> Parity:
    """Return the comparison of a graph's answers with those expected, for images (N, 28, 28) uint8.

    answer, again: the graph, loaded twice. expected: probabilities (N, 10), and digit (N,) where the graph gives it.
    spec: what messages call the images. Raises ExportError naming the worst image where a probability is off by more
    than TOLERANCE, where another digit is the best without being tied with the first, or where the second load
    answers otherwise.
    """
    largest, ties, seconds = 0.0, set[int](), {}
    answers: Sequence[Floats] = []
    for batch in BATCHES:
        answers, seconds[batch] = timed(answer, images, batch)
        largest = max(largest, _check_near(answers, expected, spec, batch))
        ties |= _check_best(answers[0], expected[0], spec, batch)
    repeated, _ = timed(again, images, BATCHES[-1])
    if any(not np.array_equal(first, second) for first, second in zip(answers, repeated, strict=True)):
        raise ExportError(
            f"The graph answers '{spec}' otherwise when it is loaded again. Nothing is written; please report this."
        )
    return Parity(len(images), largest, sorted(ties), seconds, answers)


def timed(answer: Answer, images: NDArray[np.uint8], batch: int) -> tuple[list[Floats], float]:
    """Return the answers to all images, asked so many at a time, and the seconds that took."""
    began = time.perf_counter()
    parts = [answer(images[start : start + batch]) for start in range(0, len(images), batch)]
    seconds = time.perf_counter() - began
    return [np.concatenate(column) for column in zip(*parts, strict=True)], seconds


def _check_near(answers: Sequence[Floats], expected: Sequence[Floats], spec: str, batch: int) -> float:
    """Return the largest difference of any probability; ExportError where it is above TOLERANCE, or no number."""
    largest = 0.0
    for have, want in zip(answers, expected, strict=True):
        if have.shape != want.shape:
            raise ExportError(f"The graph answers with shape '{have.shape}', the run with '{want.shape}'. {_ADVICE}")
        difference = np.abs(have.astype(np.float64) - want).reshape(len(want), -1).max(1)
        worst = int(np.nan_to_num(difference, nan=np.inf).argmax())
        if not difference[worst] <= TOLERANCE:  # also NaN
            raise ExportError(
                f"The graph does not answer as the run does: image '{worst + 1}' of '{spec}', in batches of {batch}, "
                f"differs by '{difference[worst]:.2g}', above {TOLERANCE:g}. {_ADVICE}"
            )
        largest = max(largest, float(difference[worst]))
    return largest


def _check_best(have: Floats, want: Floats, spec: str, batch: int) -> set[int]:
    """Return the images of which another digit is best, though tied with the run's; ExportError where one is not."""
    digits, wanted = have.argmax(1), want.argmax(1)
    others = np.flatnonzero(digits != wanted)
    gaps = want[others, wanted[others]] - want[others, digits[others]]
    if (gaps > TIE).any():
        worst = others[gaps.argmax()]
        raise ExportError(
            f"The graph reads image '{worst + 1}' of '{spec}', in batches of {batch}, as '{digits[worst]}' and the run "
            f"as '{wanted[worst]}': a near tie, {gaps.max():.2g} apart, that rounding decides. {_ADVICE}"
        )
    return set(others.tolist())


_ADVICE = "Nothing is written. Train the run again, or report this with its recipe.toml."
