"""Which members an ensemble is made of: the rules that choose them, and how well each does it.

    all          every member, equally
    top:K        the K of lowest log-loss, equally; errors are too few to tell good members apart
    random:K     K drawn at random, equally: what the other rules have to beat

All judge by answers to images that the answering member was not trained on; where a member was, its row is NaN. What
choosing flatters itself by is measured: chosen on one half of the images, scored on the other (`nested`).
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from tenfold.data.splits import stratified_folds
from tenfold.ensembles.averaging import Floats, Labels, answered, check_members, combine, losses_of, mean_of_known
from tenfold.errors import DataError, nearest
from tenfold.metrics.scores import log_losses

SIZED = ("top", "random")  # rules that take a number of members
COMPARED = 10  # members that each rule chooses where rules are compared
REPEATS = 20  # halvings
SIGNIFICANT = 0.05  # the chance, over all rivals together, that one takes the place of `all` by luck


@dataclass(frozen=True, eq=False)
class Choice:
    """The members that a rule chose."""

    rule: str
    members: tuple[int, ...]  # ascending
    weights: NDArray[np.float64]  # (M,), sums to 1; 0 for those not chosen


@dataclass(frozen=True)
class Nested:
    """How a rule did on images that it did not choose on. Errors are counts of the n images, log-losses are nats."""

    rule: str
    n: int  # images
    repeats: int
    members: float  # chosen, in the mean
    nll: float  # on the half not chosen on
    errors: float
    seen_nll: float  # on the half chosen on
    seen_errors: float
    nll_difference: float  # to `all`, on the same images not chosen on
    nll_noise: float  # its standard error, see `nested`
    errors_difference: float
    errors_noise: float
    optimism: float  # how much better the log-loss looks on the images that the choice was made on


def parse_rule(rule: str, members: int) -> tuple[str, int | None]:
    """Return a rule's name and its number of members, None where it takes none, for a pool of so many members.

    Raises DataError for an unknown rule, one without its number of members, or a number that is not 1 to `members`.
    """
    name, colon, size = rule.partition(":")
    if name == "all":
        if colon:
            raise DataError(f"The rule '{rule}' takes no number of members. Give '{name}'.")
        return name, None
    if name not in SIZED:
        known = ", ".join(["all", *(f"{each}:K" for each in SIZED)])
        raise DataError(f"The rule '{rule}' is unknown. Give one of: {known}.{nearest(name, ('all', *SIZED))}")
    if not re.fullmatch(r"[0-9]{1,9}", size) or not 1 <= int(size) <= members:
        raise DataError(f"The rule '{rule}' asks for no possible number of members. Give {name}:1 to {name}:{members}.")
    return name, int(size)


def compared(members: int) -> list[str]:
    """Return the rules that are compared on a pool of so many members, `all` first."""
    size = min(COMPARED, max(1, members // 2))
    return ["all", *(f"{name}:{size}" for name in ("random", "top") if members > 1)]


def choose(rule: str, probabilities: Floats, labels: Labels, *, seed: int = 0) -> Choice:
    """Return the members that `rule` chooses on these answers, with their weights; the same for the same seed.

    probabilities: (M, N, 10), rows of NaN where a member does not answer. labels: (N,).
    Raises DataError for a rule that does not exist, or probabilities and labels that are none.
    """
    check_members(probabilities, labels)
    return choose_by(rule, losses_of(probabilities, labels), seed)


def choose_by(rule: str, losses: Floats, seed: int) -> Choice:
    """Return what `choose` does, from the members' log-losses, (M, N), NaN where one does not answer."""
    count = len(losses)
    name, size = parse_rule(rule, count)
    orders = {"top": lambda: ranking(losses), "random": lambda: np.random.default_rng(seed).permutation(count)}
    chosen = np.sort(orders[name]()[:size] if size else np.arange(count))
    weights = np.zeros(count)
    weights[chosen] = 1 / len(chosen)
    return Choice(rule, tuple(chosen.tolist()), weights)


def ranking(losses: Floats) -> NDArray[np.int64]:
    """Return all members, the best first, (M,) int64: by their log-loss against that of the others on the same images.

    Where all answer the same images this is the order of the log-losses. Where each answers a fold of its own, it does
    not call a member good whose fold is easy. losses: (M, N), NaN where one does not answer.
    """
    own = mean_of_known(losses, 1)
    return np.lexsort((own, mean_of_known(losses - mean_of_known(losses, 0), 1))).astype(np.int64)  # NaN comes last


def nested(
    rules: Sequence[str], probabilities: Floats, labels: Labels, *, repeats: int = REPEATS, seed: int = 0
) -> list[Nested]:
    """Return how each rule does on images that it did not choose on, in the order of `rules`.

    Each repeat halves the images, stratified, chooses on each half and scores on the other, so that every image is
    scored once without having been chosen on. (A choice made on all images in the end rests on twice as many.)

    The difference to `all` is paired: on the same images. Its noise adds, as variances, what two
    samples leave open: other images would have been scored (the standard error over images of their differences, each
    the mean over the repeats; what a bootstrap of the images gives, in closed form), and another half would have been
    chosen on (the standard deviation over the repeats). Neither shrinks with more repeats, because all halve the
    same images; the usual SD / sqrt(repeats) would call any difference real, given patience.

    With folds an image is answered by the members of its fold alone: K of M members are judged by fewer together than
    will answer a new image, which makes every rule that leaves members out look worse than it is.

    Raises DataError as `choose` does, or for a digit with a single image, which cannot be halved.
    """
    check_members(probabilities, labels)
    judged, losses = list(dict.fromkeys(("all", *rules))), losses_of(probabilities, labels)
    # Shape: (rules, repeats, log-loss and error, N)
    unseen, seen = np.full((2, len(judged), repeats, 2, len(labels)), np.nan)
    members = np.zeros((len(judged), repeats, 2))
    for repeat in range(repeats):
        own = int(np.random.SeedSequence([seed, repeat]).generate_state(1)[0])
        for side, (half, other) in enumerate(stratified_folds(labels, 2, own)):
            for place, rule in enumerate(judged):
                choice = choose_by(rule, losses[:, half], own)
                scores = _scores(choice, probabilities, labels)
                unseen[place, repeat][:, other], seen[place, repeat][:, half] = scores[:, other], scores[:, half]
                members[place, repeat, side] = len(choice.members)
    places = [judged.index(rule) for rule in rules]
    return [_summary(judged[at], members[at], unseen[at], seen[at], unseen[0]) for at in places]


def _scores(choice: Choice, probabilities: Floats, labels: Labels) -> NDArray[np.float64]:
    """Return the log-loss and the error of what is chosen on each image, (2, N); NaN where no chosen member answers."""
    together = combine(probabilities, choice.weights)
    scores = np.stack([log_losses(labels, together), together.argmax(axis=1) != labels])
    scores[:, ~answered(probabilities, choice.weights)] = np.nan
    return scores


def _summary(
    rule: str,
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
