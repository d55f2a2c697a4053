"""What a rule is worth, and what choosing flatters itself by: chosen on one half of the images, scored on the other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from tenfold.data.splits import stratified_folds
from tenfold.ensembles.averaging import Evidence, answered, check_average, check_members, combine, mean_of_known
from tenfold.ensembles.selection import Choice, choose_by
from tenfold.metrics.scores import log_losses

REPEATS = 20  # halvings
SIGNIFICANT = 0.05  # the chance, over all rivals together, that one takes the place of `all` by luck


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
    optimism: float  # how much better the log-loss looks on the images that the choice was made on


def nested(
    rules: Sequence[str],
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    repeats: int = REPEATS,
    seed: int = 0,
    average: str = "probabilities",
) -> list[Nested]:
    """Return how each rule does on images that it did not choose on, in the order of `rules`.

    Each repeat halves the images, stratified, chooses on each half and scores on the other, so that every image is
    scored once without having been chosen on. (A choice made on all images in the end rests on twice as many.)

    The difference to `all` is paired: of the same average, on the same images. Its noise adds, as variances, what two
    samples leave open: other images would have been scored (the standard error over images of their differences, each
    the mean over the repeats; what a bootstrap of the images gives, in closed form), and another half would have been
    chosen on (the standard deviation over the repeats). Neither shrinks with more repeats, because all halve the
    same images; the usual SD / sqrt(repeats) would call any difference real, given patience.

    With folds an image is answered by the members of its fold alone: K of M members are judged by fewer together than
    will answer a new image, which makes every rule that leaves members out look worse than it is.

    Raises DataError as `choose` does, or for a digit with a single image, which cannot be halved.
    """
    check_members(probabilities, labels)
    check_average(average)
    judged = list(dict.fromkeys(("all", *rules)))
    # Shape: (rules, repeats, log-loss and error, N)
    unseen, seen = np.full((2, len(judged), repeats, 2, len(labels)), np.nan)
    members = np.zeros((len(judged), repeats, 2))
    for repeat in range(repeats):
        own = int(np.random.SeedSequence([seed, repeat]).generate_state(1)[0])
        for side, (half, other) in enumerate(stratified_folds(labels, 2, own)):
            evidence = Evidence.of(probabilities[:, half], labels[half], average)
            for place, rule in enumerate(judged):
                choice = choose_by(rule, evidence, own)
                scores = _scores(choice, probabilities, labels)
                unseen[place, repeat][:, other], seen[place, repeat][:, half] = scores[:, other], scores[:, half]
                members[place, repeat, side] = len(choice.members)
    places = [judged.index(rule) for rule in rules]
    return [_summary(judged[at], average, members[at], unseen[at], seen[at], unseen[0]) for at in places]


def _scores(choice: Choice, probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the log-loss and the error of what is chosen on each image, (2, N); NaN where no chosen member answers."""
    together = combine(probabilities, choice.weights, choice.average)
    scores = np.stack([log_losses(labels, together), together.argmax(axis=1) != labels])
    scores[:, ~answered(probabilities, choice.weights)] = np.nan
    return scores


def _summary(
    rule: str,
    average: str,
    members: NDArray[np.float64],
    unseen: NDArray[np.float64],
    seen: NDArray[np.float64],
    reference: NDArray[np.float64],
) -> Nested:
    """Return a rule's row; unseen, seen: (repeats, 2, N), reference: the unseen of `all`."""
    repeats, _, n = unseen.shape
    nll, errors = mean_of_known(unseen, (0, 2))
    seen_nll, seen_errors = mean_of_known(seen, (0, 2))
    apart = unseen - reference
    difference = mean_of_known(apart, (0, 2))
    images = mean_of_known(apart, 0)  # Shape: (2, N)
    known = ~np.isnan(images[0])
    error = images[:, known].std(axis=1, ddof=1) / math.sqrt(known.sum()) if known.sum() > 1 else np.full(2, np.nan)
    spread = mean_of_known(apart, 2).std(axis=0, ddof=1) if repeats > 1 else np.zeros(2)
    noise = np.hypot(error, spread)
    return Nested(
        rule=rule,
        average=average,
        n=n,
        repeats=repeats,
        members=float(members.mean()),
        nll=float(nll),
        errors=float(errors * n),
        seen_nll=float(seen_nll),
        seen_errors=float(seen_errors * n),
        nll_difference=float(difference[0]),
        nll_noise=float(noise[0]),
        errors_difference=float(difference[1] * n),
        errors_noise=float(noise[1] * n),
        optimism=float(nll - seen_nll),
    )


def best_rule(results: Sequence[Nested]) -> str:
    """Return the rule to choose by: `all`, unless another beats it beyond noise in log-loss without more errors.

    results: of `nested`. A rival has to lie below `all` by so many standard errors (`nll_noise`) that any of them does
    so by luck once in twenty times (Bonferroni): 1.64 for one rival, 2.13 for three. Among several the lowest log-loss
    wins.
    """
    rivals = [each for each in results if each.rule != "all"]
    limit = NormalDist().inv_cdf(1 - SIGNIFICANT / max(1, len(rivals)))
    better = [each for each in rivals if each.nll_difference < -limit * each.nll_noise and each.errors_difference <= 0]
    return min(better, key=lambda each: each.nll).rule if better else "all"
