"""How members are chosen: ranking, forward selection, members that err apart, and weights; see selection.py."""

import numpy as np
from numpy.typing import NDArray

from tenfold.ensembles.averaging import Evidence, mean_of_known
from tenfold.metrics.scores import CLASSES

BAGS = 20  # forward selections, each from a random half of the members
PICKS = 3  # times the number of members: at most so many picks, with replacement
# Of 0, 0.05, 0.15, 0.5 and 1.5, 0.05 was best (by 0.0001 nats) for pools of three and four recipes, 1.5 for ten members
# of one recipe, 0 never; 0.15 was near the best in all. Drawing the best weights back to equal ones by one share did
# not suit all: half way cost 0.009 nats in a pool with bad members.
ENTROPY = 0.15
GAP = 1e-5  # nats that the weights may cost above the least there is
ROUNDING = 1e-8  # of a mean of float32 losses
PATIENCE = 10  # steps that lower nothing by more than ROUNDING, before float32 is believed to tell no more
NEGLIGIBLE = 0.1


def equally(members: NDArray[np.integer], count: int) -> NDArray[np.float64]:
    """Return (count,) weights: the same for each of `members`, 0 for the rest."""
    weights = np.zeros(count)
    weights[members] = 1 / len(members)
    return weights


def ranking(evidence: Evidence) -> NDArray[np.int64]:
    """Return all members, the best first, (M,) int64: by their log-loss against that of the others on the same images.

    Where all answer the same images this is the order of the log-losses. Where each answers a fold of its own, it does
    not call a member good whose fold is easy.
    """
    losses = evidence.members()
    own = mean_of_known(losses, 1)
    return np.lexsort((own, mean_of_known(losses - mean_of_known(losses, 0), 1))).astype(np.int64)  # NaN comes last


def greedy(evidence: Evidence, size: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return weights of at most `size` members, by forward selection with replacement on the log-loss of the average.

    Each of BAGS selections draws half of the members, begins with the best few of them, and adds one at a time, as
    often as any lowers the log-loss; a member's weight is how often it was added, over all selections. R. Caruana,
    A. Niculescu-Mizil, G. Crew, A. Ksikes, "Ensemble selection from libraries of models", ICML 2004, sections 2.2 to
    2.4. Of more than `size` members with a weight those with the largest stay: to drop those whose going costs the
    least looked better on the images chosen on, by 0.0002 to 0.0005 nats, and was worse on others, by 0.0003 to 0.0007.

    Before any member chosen answers an image, the mean loss of all that do stands for it: so a member of another fold
    is taken where it is better than its peers.
    """
    order = ranking(evidence)
    stand_in = mean_of_known(evidence.members(), 0)
    count = len(order)
    weights = np.zeros(count)
    for _ in range(BAGS if count > 2 else 1):
        drawn = generator.permutation(count)[: max(2, -(-count // 2))]
        library = order[np.isin(order, drawn)]  # best first
        picked = _forward(evidence.take(library), stand_in, size)
        weights[library] += picked / picked.sum()
    weights[np.argsort(-weights, kind="stable")[size:]] = 0
    return np.asarray(weights / weights.sum())


def _forward(evidence: Evidence, stand_in: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """Return how often forward selection adds each member of a library that is sorted, the best first, (L,)."""
    first = min(max(1, size // 2), len(evidence.known))  # half of the places are left to who errs apart
    totals, presents = np.cumsum(evidence.scores[:first], axis=0), np.cumsum(evidence.known[:first], axis=0)
    costs = _cost(evidence, totals, presents, stand_in)
    start = int(costs.argmin())
    total, present, best = totals[start], presents[start], float(costs[start])
    counts = np.zeros(len(evidence.known))
    counts[: start + 1] = 1
    while counts.sum() < PICKS * size:
        open_to = np.flatnonzero(counts) if (counts > 0).sum() >= size else np.arange(len(counts))
        costs = _cost(evidence, total + evidence.scores[open_to], present + evidence.known[open_to], stand_in)
        place = int(costs.argmin())
        if costs[place] >= best:
            break
        taken, best = open_to[place], float(costs[place])
        total, present = total + evidence.scores[taken], present + evidence.known[taken]
        counts[taken] += 1
    return counts


def _cost(
    evidence: Evidence, total: NDArray[np.floating], present: NDArray[np.floating], stand_in: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Return the mean log-loss of summed scores (..., N, C); `stand_in` (N,) where nobody answers."""
    losses = evidence.losses(total, present)
    return np.asarray(np.where(present > 0, losses, stand_in).mean(axis=-1))


def diverse(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], size: int, votes: bool
) -> NDArray[np.float64]:
    """Return equal weights of the `size` members whose mean has the lowest Brier score.

    That score is the mean of the table of `shared_error` over all pairs of members, each with itself too: what a
    member costs is its own error and what it shares with the others, on one scale, so that accuracy and diversity need
    no constant to be weighed against each other (A. Krogh, J. Vedelsby, "Neural network ensembles, cross validation,
    and active learning", NIPS 1995). Pairs are known better than the mean of any one set, so there is less for the
    choice to flatter itself with. From each member in turn a set is grown by the one that adds the least, then members
    are exchanged as long as that lowers the score; the best set of these stays.
    """
    table = shared_error(probabilities, labels, votes)
    count = len(table)
    best, lowest = np.arange(size), np.inf
    for first in range(count):
        inside = np.zeros(count, bool)
        inside[first] = True
        while inside.sum() < size:
            inside[np.where(inside, np.inf, 2 * table @ inside + table.diagonal()).argmin()] = True
        while True:
            joint = table @ inside
            # Shape: (out, in): what exchanging the one for the other changes
            change = (table.diagonal() - 2 * joint)[:, None] + (table.diagonal() + 2 * joint)[None, :] - 2 * table
            change[~inside, :] = np.inf
            change[:, inside] = np.inf
            leaving, coming = np.unravel_index(change.argmin(), change.shape)
            if not change[leaving, coming] < -1e-12:
                break
            inside[leaving], inside[coming] = False, True
        if (score := float(inside @ table @ inside)) < lowest:
            best, lowest = np.flatnonzero(inside), score
    return equally(best, count)


def shared_error(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], votes: bool = False
) -> NDArray[np.float64]:
    """Return how far pairs of members err alike, (M, M): the mean product of their distances to the truth.

    The distance is (10,): probabilities (or, for `votes`, 1 for the likeliest digit) less 1 for the true digit. On the
    diagonal stand the members' own Brier scores. A pair is judged on images that both answer, against all pairs that
    do, so that a fold that is hard counts against nobody; a pair without such an image gets the mean.
    """
    known = ~np.isnan(probabilities[:, :, 0])
    given = np.eye(CLASSES, dtype=np.float32)[probabilities.argmax(axis=2)] if votes else probabilities
    apart = np.where(known[:, :, None], given - np.eye(CLASSES, dtype=np.float32)[labels], 0).astype(np.float32)
    counts = known.sum(axis=0)
    centre = ((apart.sum(axis=0) / np.maximum(counts, 1)[:, None]) ** 2).sum(axis=1)  # mean over an image's pairs
    level = float(centre[counts > 0].mean())
    flat = apart.reshape(len(apart), -1)
    mask = known.astype(np.float32)
    images = (mask @ mask.T).astype(np.float64)
    product = (flat @ flat.T).astype(np.float64) - (mask * centre.astype(np.float32)) @ mask.T
    return np.asarray(level + np.divide(product, images, out=np.zeros_like(product), where=images > 0))


def weights(evidence: Evidence) -> NDArray[np.float64]:
    """Return the weights of lowest log-loss less ENTROPY / sqrt(N) times their entropy, (M,), at least 0, 1 in sum.

    The penalty pulls towards equal weights as far as N images cannot tell members apart, and lets one that is clearly
    worse go to nothing; drawing half way back to equal weights brings the bad ones back. The sum is convex for a mean
    of probabilities or logits where every member answers every image, and then the result is within GAP of the least
    there is: w.g - min(g), with the gradient g, is a bound. Exponentiated gradient, with a step that is halved and
    lengthened as it proves good: J. Kivinen, M. K. Warmuth, "Exponentiated gradient versus gradient descent for linear
    predictors", Information and Computation 132 (1997). In the end members below NEGLIGIBLE of an equal share go.
    """
    count, n = evidence.known.shape
    penalty = ENTROPY / np.sqrt(n)
    weights = best = np.full(count, 1 / count)
    loss, gradient = _slope(evidence, weights)
    lowest, stalled, step = np.inf, 0, 1.0
    while stalled < PATIENCE:
        whole = gradient + penalty * np.log(weights)
        if (cost := loss + penalty * float(weights @ np.log(weights))) < lowest - ROUNDING:
            best, lowest, stalled = weights, cost, 0
        else:
            stalled += 1
        if weights @ whole - whole.min() <= GAP:
            best = weights
            break
        while True:
            # The minimum of gradient . w + penalty * sum(w log w) + KL(w, weights) / step
            powers = (np.log(weights) - step * gradient) / (1 + step * penalty)
            moved = np.maximum(np.exp(powers - powers.max()), 1e-12)
            moved /= moved.sum()
            new_loss, new_gradient = _slope(evidence, moved)
            distance = float((moved * np.log(moved / weights)).sum())
            if new_loss <= loss + gradient @ (moved - weights) + distance / step + ROUNDING or step < 1e-6:
                break
            step /= 2
        weights, loss, gradient = moved, new_loss, new_gradient
        step *= 1.5
    weights = best.copy()
    weights[weights < NEGLIGIBLE / count] = 0
    return np.asarray(weights / weights.sum())


def _slope(evidence: Evidence, weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Return the mean log-loss of the average with these weights, and its gradient (M,)."""
    part = weights.astype(np.float32)
    present = part @ evidence.known  # Shape: (N,)
    means = np.tensordot(part, evidence.scores, 1) / present[:, None]  # Shape: (N, C)
    losses = evidence.losses(means, np.ones_like(present))
    if evidence.logits:
        powers = np.exp(means)
        outer = powers / (1 + powers.sum(axis=1, keepdims=True))
    else:
        outer = -np.exp(losses)[:, None]  # 1 / p, which the floor of the log-loss keeps finite
    outer /= present[:, None] * len(present)
    count = len(weights)
    slope = evidence.scores.reshape(count, -1) @ outer.ravel() - evidence.known @ (outer * means).sum(axis=1)
    return float(losses.mean(dtype=np.float64)), slope.astype(np.float64)
