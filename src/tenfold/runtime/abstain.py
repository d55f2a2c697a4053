"""When to refuse an answer: a confidence from which answers are wrong at most so often, with a guarantee.

The held-out images are ranked by confidence. Going down from the surest, each count of answers is tested in turn:
would so few errors among so many answers have a chance of at most 5% if the risk were over the limit? The first count
that fails ends the walk (fixed-sequence testing: Angelopoulos, Bates, Candes, Jordan, Lei, "Learn then test", 2021;
Bates et al., "Distribution-free, risk-controlling prediction sets", 2021), and the threshold stands above the error
that made it fail. The test is exact (Clopper, Pearson, "The use of confidence or fiducial limits", Biometrika 26,
1934). So, in at most 5% of all draws of the held-out images, answers to new images of the same kind are wrong more
often than the limit. This holds wherever an image of less confidence is no less often wrong:
say that the true limit stands after A of the held-out images. Those A are wrong with exactly the limit's chance, the
following with no less; to end too low, the walk has to pass at A, or at its start where that is lower, and passing
there is the event of 5%.
"""

import bisect
import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import ModelError
from tenfold.runtime.model_file import Card

ANSWERED = 0.99  # share of the held-out images that the default threshold answers
SLACK = 1e-6  # by which the threshold stands below the last of them: their confidences were computed elsewhere
CERTAINTY = 0.95
SPARE_ERRORS = 2  # that the start allows, so that one mislabelled image among the surest does not end the walk


@dataclass(frozen=True, slots=True)
class Guarantee:
    """A threshold, and what was seen on the held-out images.

    threshold: answer from this confidence on. n: held-out images; answered: those at or above the threshold; errors:
    those of them read wrong.
    """

    threshold: float
    n: int
    answered: int
    errors: int


def judge(
    probabilities: NDArray[np.float32], digit_probability: NDArray[np.float32] | None, threshold: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return how sure each answer is, (N,) float32, and whether it is not to be used, (N,) bool: the one rule of both.

    Arguments as for `confidences`. threshold: the least confidence of an answer.
    """
    sure = confidences(probabilities, digit_probability)
    return sure, sure < threshold


def confidences(
    probabilities: NDArray[np.float32], digit_probability: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Return how sure each answer is, (N,) float32 in 0 to 1: the largest probability times that of a digit at all.

    probabilities: (N, K) float32. digit_probability: (N,) float32; None where the model was not taught what is none.
    A single image's, (K,) and a scalar, give a scalar.
    """
    sure: NDArray[np.float32] = probabilities.max(axis=-1, initial=0)
    if digit_probability is not None:
        sure = sure * digit_probability
    return sure.clip(0, 1)


def held_out_errors(sure: NDArray[np.float32], correct: NDArray[np.bool_]) -> list[list[Any]]:
    """Return [confidence, how many images have at least that] for each image read wrong, by falling confidence."""
    ascending = np.sort(sure)
    wrong = -np.sort(-sure[~correct])
    answered = len(sure) - np.searchsorted(ascending, wrong, side="left")
    return [[float(confidence), int(count)] for confidence, count in zip(wrong, answered, strict=True)]


def default_threshold(sure: NDArray[np.float32]) -> float:
    """Return the confidence that a share ANSWERED of the images reaches, rounded down to six digits."""
    last = float(-np.sort(-sure)[math.ceil(ANSWERED * len(sure)) - 1])
    return max(0.0, math.floor((last - SLACK) * 1e6) / 1e6)


def guarantee(card: Card, max_error: float) -> Guarantee:
    """Return the lowest threshold for which at most a share `max_error` of the answers is wrong, 95% certain.

    ModelError where max_error is no share in (0, 1), and where no threshold of this model can promise it; the message
    then says what the least is that can be promised.
    """
    if not 0 < max_error < 1:
        raise ModelError(f"A largest error of '{max_error}' is not between 0 and 1. Give for example 0.001.")
    if (found := _walk(card, max_error)) is not None:
        return found
    least = _least(card)
    advice = f"Give {least:g} or more, or a model with more held-out images" if least else "Give a better model"
    raise ModelError(
        f"'{card.name}' cannot promise an error of at most '{max_error:g}' at any threshold: it was tried on "
        f"{card.n:,} held-out images, of which {len(card.held_out):,} were read wrong. {advice}."
    )


def at_most(errors: int, n: int, risk: float) -> float:
    """Return the chance of at most so many errors in n independent answers, each wrong with the chance `risk`."""
    if errors >= n or risk <= 0:
        return 1.0
    if risk >= 1:
        return 0.0
    log_odds, log_term = math.log(risk) - math.log1p(-risk), n * math.log1p(-risk)
    logs = [log_term]  # of no error; each next term from the one before
    for count in range(errors):
        log_term += math.log((n - count) / (count + 1)) + log_odds
        logs.append(log_term)
    largest = max(logs)
    return min(1.0, math.exp(largest) * math.fsum(math.exp(log - largest) for log in logs))


def _walk(card: Card, max_error: float) -> Guarantee | None:
    """Return where the walk ends, None where it fails at its start."""
    pairs = card.held_out
    if (start := _start(card.n, max_error)) is None:
        return None
    first = sum(answered <= start for _, answered in pairs)  # errors among the surest `start`
    if not _passes(first, start, max_error):
        return None
    # Between errors a test only gets easier, so the walk can fail at an error alone.
    for index in range(first, len(pairs)):
        confidence, answered = pairs[index]
        if not _passes(index + 1, answered, max_error):
            return _above(card, confidence, max_error)
    return Guarantee(0.0, card.n, card.n, len(pairs))


def _above(card: Card, confidence: float, max_error: float) -> Guarantee | None:
    """Return the guarantee of the threshold just above an error's confidence; None where that leaves too little."""
    threshold = float(np.nextafter(np.float32(confidence), np.float32(2)))
    if threshold <= confidence:  # a confidence that is no float32 and was rounded down
        threshold = float(np.nextafter(np.float32(threshold), np.float32(2)))
    tied = [answered for value, answered in card.held_out if confidence <= value < threshold]
    kept = [answered for value, answered in card.held_out if value >= threshold]
    # Alone at its confidence, the error is the last of those answered so far. Where several errors share theirs, as at
    # a confidence of 1, right answers share it too, nobody knows how many; so only what is above for sure counts.
    answered = tied[0] - 1 if len(tied) == 1 and threshold <= 1 else max(kept, default=0)
    errors = len(kept)
    if threshold > 1 or not answered or not _passes(errors, answered, max_error):
        return None
    return Guarantee(threshold, card.n, answered, errors)


def _passes(errors: int, n: int, max_error: float) -> bool:
    return at_most(errors, n, max_error) <= 1 - CERTAINTY


def _start(n: int, max_error: float) -> int | None:
    """Return the count of answers at which the walk begins, from n and the limit alone; None where n is too small.

    It is the fewest that pass with `SPARE_ERRORS`; with fewer spare errors where that is over half the images.
    """
    for spare in range(SPARE_ERRORS, -1, -1):
        start = bisect.bisect(range(n + 1), False, lo=spare, key=partial(_passes, spare, max_error=max_error))
        if start <= n / 2 or (spare == 0 and start <= n):
            return start
    return None


def _least(card: Card) -> float | None:
    """Return the least error, to two digits, that some threshold can promise; None where there is none."""
    shares = [digits / 10.0**power for power in range(7, 1, -1) for digits in range(10, 100)]
    return next((share for share in shares if _walk(card, share) is not None), None)
