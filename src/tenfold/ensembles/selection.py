"""Which members an ensemble is made of: rules that choose them, and what choosing flatters itself by.

    all          every member, equally
    top:K        the K of lowest log-loss, equally; errors are too few to tell good members apart
    random:K     K drawn at random, equally: what the other rules have to beat
    greedy:K     at most K, by forward selection on the log-loss of the average
    diverse:K    the K whose mean has the lowest Brier score, equally: members that are good and err apart
    weights      by the weights of lowest log-loss, the more alike the less the images tell members apart

All judge by answers to images that the answering member was not trained on; where a member was, its row is NaN.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold.data.splits import stratified_folds
from tenfold.ensembles import choosing
from tenfold.ensembles.averaging import Evidence, check_average, check_members, combine, mean_of_known
from tenfold.errors import DataError, nearest
from tenfold.metrics.scores import log_losses
from tenfold.models import AVERAGES

__all__ = ["AVERAGES", "Choice", "Nested", "Rule", "as_json", "best_rule", "choose", "combine", "nested", "parse_rule"]

UNSIZED, SIZED = ("all", "weights"), ("top", "random", "greedy", "diverse")
SIGNIFICANT = 0.05  # the chance, over all rivals together, that one takes the place of `all` by luck


class Rule(NamedTuple):
    """A rule taken apart; `size` is the number of members, None where the rule names none."""

    name: str
    size: int | None


@dataclass(frozen=True, eq=False)
class Choice:
    """The members that a rule chose."""

    rule: str
    average: str
    members: tuple[int, ...]  # ascending
    weights: NDArray[np.float64]  # (M,), sums to 1; 0 for those not chosen


@dataclass(frozen=True)
class Nested:
    """How a rule did on images that it did not choose on. Errors are counts of the n images, log-losses are nats."""

    rule: str
    average: str
    n: int  # images
    repeats: int
    members: float  # chosen, in the mean
    nll: float  # on the half not chosen on
    errors: float
    seen_nll: float  # on the half chosen on
    seen_errors: float
    nll_difference: float  # to `all` with the same average, on the same images not chosen on
    nll_noise: float  # its standard error, see `nested`
    errors_difference: float
    errors_noise: float

    @property
    def optimism(self) -> float:
        """How much better the log-loss looks on the images that the choice was made on."""
        return self.nll - self.seen_nll


def parse_rule(rule: str, members: int) -> Rule:
    """Return the rule that `rule` names, for a pool of so many members.

    Raises DataError for an unknown rule, one without its number of members, or a number that is not 1 to `members`.
    """
    name, colon, size = rule.partition(":")
    known = ", ".join([*UNSIZED, *(f"{each}:K" for each in SIZED)])
    if name not in (*UNSIZED, *SIZED):
        raise DataError(f"The rule '{rule}' is unknown. Give one of: {known}.{nearest(name, (*UNSIZED, *SIZED))}")
    if name in UNSIZED:
        if colon:
            raise DataError(f"The rule '{rule}' takes no number of members. Give '{name}'.")
        return Rule(name, None)
    if not re.fullmatch(r"[0-9]{1,9}", size) or not 1 <= int(size) <= members:
        raise DataError(f"The rule '{rule}' asks for no possible number of members. Give {name}:1 to {name}:{members}.")
    return Rule(name, int(size))


def choose(
    rule: str,
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    average: str = "probabilities",
    seed: int = 0,
) -> Choice:
    """Return the members that `rule` chooses on these answers, with their weights; the same for the same seed.

    probabilities: (M, N, 10), rows of NaN where a member does not answer. labels: (N,). average: as `combine` takes.
    Raises DataError for a rule or an average that does not exist, or probabilities and labels that are none.
    """
    check_average(average)
    check_members(probabilities, labels)
    parsed = parse_rule(rule, len(probabilities))
    return _choose(rule, parsed, probabilities, labels, Evidence.of(probabilities, labels, average), average, seed)


def _choose(
    rule: str,
    parsed: Rule,
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    evidence: Evidence,
    average: str,
    seed: int,
) -> Choice:
    """Return what `choose` does, of answers that were checked; `evidence` is that in them."""
    count, size = len(probabilities), parsed.size or len(probabilities)
    generator = np.random.default_rng(seed)
    rules: dict[str, Callable[[], NDArray[np.float64]]] = {
        "all": lambda: np.ones(count),
        "top": lambda: choosing.equally(choosing.ranking(evidence)[:size], count),
        "random": lambda: choosing.equally(generator.permutation(count)[:size], count),
        "greedy": lambda: choosing.greedy(evidence, size, generator),
        "diverse": lambda: choosing.diverse(probabilities, labels, size, average == "votes"),
        "weights": lambda: choosing.weights(evidence),
    }
    weights = rules[parsed.name]()
    weights /= weights.sum()
    return Choice(rule, average, tuple(int(i) for i in np.flatnonzero(weights)), weights)


def nested(
    rules: Sequence[str],
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    repeats: int = 20,
    seed: int = 0,
    averages: Sequence[str] = ("probabilities",),
) -> list[Nested]:
    """Return how each rule does on images that it did not choose on, in the order of `averages`, then `rules`.

    Each repeat halves the images, stratified, chooses on each half and scores on the other, so that every image is
    scored once without having been chosen on. (A choice made on all images in the end rests on twice as many.)

    The difference to `all` is paired: of the same average, on the same images. Its noise adds, as variances, what two
    samples leave open: other images would have been scored (the standard error over images of their differences, each
    the mean over the repeats; what a bootstrap of the images gives, in closed form), and another half would have been
    chosen on (the standard deviation over the repeats). Neither shrinks with more repeats, because all halve the
    same images; the usual SD / sqrt(repeats) would call any difference real, given patience.

    With folds an image is answered by the members of its fold alone: K of M members are judged by fewer together than
    will answer a new image, which makes every rule that leaves members out look worse than it is.

    Raises DataError as `choose` does, for no repeats, or a digit with a single image, which cannot be halved.
    """
    check_members(probabilities, labels)
    if repeats < 1:
        raise DataError(f"'{repeats}' repeats compare nothing. Give at least 1.")
    for average in averages:
        check_average(average)
    parsed = {rule: parse_rule(rule, len(probabilities)) for rule in ("all", *rules)}
    found = {(rule, average): _Record() for average in averages for rule in parsed}
    for repeat in range(repeats):
        own = int(np.random.SeedSequence([seed, repeat]).generate_state(1)[0])
        for average in averages:
            for rule in parsed:
                found[rule, average].begin(len(labels))
            for half, other in stratified_folds(labels, 2, own):
                evidence = Evidence.of(probabilities[:, half], labels[half], average)
                for rule, taken in parsed.items():
                    choice = _choose(rule, taken, probabilities[:, half], labels[half], evidence, average, own)
                    found[rule, average].score(choice, probabilities, labels, half, other)
    return [
        _summary(rule, average, found[rule, average], found["all", average]) for average in averages for rule in rules
    ]


class _Record:
    """A rule's log-losses and errors on all images, a row a repeat; NaN where no chosen member answers."""

    def __init__(self) -> None:
        self.unseen: list[NDArray[np.float64]] = []  # (2, N) each: log-loss and error
        self.seen: list[NDArray[np.float64]] = []
        self.members: list[int] = []

    def begin(self, n: int) -> None:
        self.unseen.append(np.full((2, n), np.nan))
        self.seen.append(np.full((2, n), np.nan))

    def score(
        self,
        choice: Choice,
        probabilities: NDArray[np.floating],
        labels: NDArray[np.integer],
        half: NDArray[np.int64],
        other: NDArray[np.int64],
    ) -> None:
        """Take in what was chosen on one half; the two halves together fill a row."""
        together = combine(probabilities, choice.weights, choice.average)
        scores = np.stack(
            [
                log_losses(labels, together),
                together.argmax(axis=1) != labels,
            ]
        )
        scores[:, np.isnan(probabilities[list(choice.members), :, 0]).all(axis=0)] = np.nan
        self.unseen[-1][:, other] = scores[:, other]
        self.seen[-1][:, half] = scores[:, half]
        self.members.append(len(choice.members))


def _summary(rule: str, average: str, record: _Record, reference: _Record) -> Nested:
    """Return a rule's row, beside that of `all`."""
    unseen, seen = np.stack(record.unseen), np.stack(record.seen)  # Shape: (repeats, 2, N)
    n = unseen.shape[2]
    nll, errors = mean_of_known(unseen, (0, 2))
    seen_nll, seen_errors = mean_of_known(seen, (0, 2))
    apart = unseen - np.stack(reference.unseen)
    difference = mean_of_known(apart, (0, 2))
    repeats = len(apart)
    images = mean_of_known(apart, 0)  # Shape: (2, N)
    known = ~np.isnan(images[0])
    error = images[:, known].std(axis=1, ddof=1) / math.sqrt(known.sum()) if known.sum() > 1 else np.full(2, np.nan)
    spread = mean_of_known(apart, 2).std(axis=0, ddof=1) if repeats > 1 else np.zeros(2)
    noise = np.hypot(error, spread)
    return Nested(
        rule,
        average,
        n,
        repeats,
        float(np.mean(record.members)),
        float(nll),
        float(errors * n),
        float(seen_nll),
        float(seen_errors * n),
        float(difference[0]),
        float(noise[0]),
        float(difference[1] * n),
        float(noise[1] * n),
    )


def best_rule(results: Sequence[Nested], average: str | None = None) -> str:
    """Return the rule to choose by: `all`, unless another beats it beyond noise in log-loss without more errors.

    results: of `nested`; those of one average are judged, the first one's by default. A rival has to lie below `all`
    by so many standard errors (`nll_noise`) that any of them does so by luck once in twenty times (Bonferroni): 1.64
    for one rival, 2.33 for five. Among several the lowest log-loss wins.
    """
    judged = [each for each in results if each.average == (average or results[0].average)]
    rivals = [each for each in judged if each.rule != "all"]
    better = [each for each in rivals if _beats(each, len(rivals))]
    return min(better, key=lambda each: each.nll).rule if better else "all"


def _beats(rival: Nested, rivals: int) -> bool:
    limit = NormalDist().inv_cdf(1 - SIGNIFICANT / rivals)
    return rival.nll_difference < -limit * rival.nll_noise and rival.errors_difference <= 0


def as_json(result: Nested) -> dict[str, Any]:
    """Return a row as a JSON-able dictionary: its fields and `optimism`."""
    return asdict(result) | {"optimism": result.optimism}
