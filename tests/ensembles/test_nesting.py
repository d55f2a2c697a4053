"""What nesting says of rules: scores on images not chosen on, their noise, and the rule to choose by."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold.data.splits import stratified_folds
from tenfold.ensembles.averaging import combine
from tenfold.ensembles.selection import Nested, best_rule, choose, nested
from tenfold.errors import DataError
from tenfold.metrics.scores import nll

LABELS = np.arange(400) % 10
RULES = ["all", "top:3", "random:3", "greedy:3"]


def members(margins: Sequence[float], seed: int = 0) -> NDArray[np.float32]:
    """Return members of so many logits' margin for the true digit, half of their noise in common."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(400, 10)) + generator.normal(size=(len(margins), 400, 10))
    shares = np.exp(noise + np.array(margins)[:, None, None] * np.eye(10)[LABELS])
    return (shares / shares.sum(axis=2, keepdims=True)).astype(np.float32)


def folded(shares: NDArray[np.float32], folds: int) -> NDArray[np.float32]:
    """Return the members as if each had held out one fold alone."""
    shares = shares.copy()
    for member in range(len(shares)):
        shares[member, np.arange(400) // 10 % folds != member % folds] = np.nan
    return shares


def test_nested_scores_what_was_not_chosen_on() -> None:
    """One repeat is: choose on a half, score on the other, both ways; optimism is the difference to the half itself."""
    shares = members([3, 4, 5, 4, 3, 4])
    found = nested(["greedy:2"], shares, LABELS, repeats=1, seed=3)[0]
    own = int(np.random.SeedSequence([3, 0]).generate_state(1)[0])
    unseen, seen, errors, everyone = 0.0, 0.0, 0, 0.0
    for half, other in stratified_folds(LABELS, 2, own):
        choice = choose("greedy:2", shares[:, half], LABELS[half], seed=own)
        together = combine(shares, choice.weights)
        unseen += nll(LABELS[other], together[other]) / 2
        seen += nll(LABELS[half], together[half]) / 2
        errors += int((together.argmax(1) != LABELS)[other].sum())
        everyone += nll(LABELS[other], shares[:, other].mean(axis=0)) / 2
    assert found.nll == pytest.approx(unseen, rel=1e-5)
    assert found.seen_nll == pytest.approx(seen, rel=1e-5)
    assert found.optimism == pytest.approx(unseen - seen, rel=1e-4)
    assert found.errors == errors
    assert found.nll_difference == pytest.approx(unseen - everyone, rel=1e-4)
    assert (found.n, found.repeats, found.members) == (400, 1, 2)


def test_all_is_its_own_reference() -> None:
    """`all` chooses nothing: it has no optimism, and no difference to itself, whoever is asked."""
    shares = members([3, 4, 5])
    found = nested(["all", "top:2"], shares, LABELS, repeats=2)
    assert [each.rule for each in found] == ["all", "top:2"]
    reference = found[0]
    assert (reference.optimism, reference.nll_difference, reference.nll_noise, reference.errors_noise) == (0, 0, 0, 0)
    assert nested(["top:2"], shares, LABELS, repeats=2) == found[1:]


def test_choosing_is_optimistic_and_chance_is_not() -> None:
    """Rules look better on the images that they chose on; what is drawn at random does not."""
    found = {each.rule: each for each in nested(RULES, members([4] * 12), LABELS, repeats=5)}
    for rule in ("top:3", "greedy:3"):
        assert found[rule].optimism > 0.001
    assert found["random:3"].optimism == pytest.approx(0, abs=1e-12)


def test_noise_does_not_shrink_with_repeats() -> None:
    """Ten times the repeats do not make the same images say more: the noise stays what it is, to within a third."""
    shares = members([3, 4, 5, 4, 3, 4])
    few, many = (nested(["top:3"], shares, LABELS, repeats=repeats)[0].nll_noise for repeats in (4, 40))
    assert many == pytest.approx(few, rel=1 / 3)


def test_noise_of_a_fixed_choice_is_that_of_the_images() -> None:
    """Where every half leads to the same choice, the noise is the standard error of the paired differences."""
    shares = members([5, 5, 0])  # the third is never taken
    found = nested(["top:2"], shares, LABELS, repeats=3)[0]
    rows = np.arange(400)
    apart = -np.log(shares[:2].mean(axis=0)[rows, LABELS]) + np.log(shares.mean(axis=0)[rows, LABELS])
    assert found.nll_difference == pytest.approx(apart.mean(), rel=1e-4)
    assert found.nll_noise == pytest.approx(apart.std(ddof=1) / math.sqrt(400), rel=1e-4)


def test_nested_with_folds() -> None:
    """Images that no chosen member answers are left out on both sides of the difference."""
    found = nested(["top:1"], folded(members([6, 2]), 2), LABELS, repeats=2)[0]
    answered = np.arange(400) // 10 % 2 == 0
    assert found.nll_difference == found.errors_difference == 0  # where the chosen one answers, it is all there is
    assert found.nll == pytest.approx(nll(LABELS[answered], members([6, 2])[0, answered]), rel=1e-5)


def test_default_is_all_unless_beaten() -> None:
    """In a pool of equals no rule takes the place of `all`; where most members are bad, one does."""
    equals = nested(RULES, members([4] * 8), LABELS, repeats=5)
    assert best_rule(equals) == "all"
    mixed = nested(RULES, members([5, 5, 5, 0, 0, 0, 0, 0]), LABELS, repeats=5)
    assert best_rule(mixed) in ("top:3", "greedy:3")


def row(rule: str, nll: float, noise: float, errors: float = 0) -> Nested:
    """Return a row that is `nll` apart from `all`."""
    return Nested(rule, 100, 5, 3, 1 + nll, 9, 1, 9, nll, noise, errors, 1, nll)


@pytest.mark.parametrize(
    ("rows", "rule"),
    [
        ([], "all"),
        ([row("top:3", -1.7, 1)], "top:3"),  # one rival: 1.64 standard errors
        ([row("top:3", -1.6, 1)], "all"),
        ([row("top:3", -1.7, 1), row("greedy:3", 1, 1)], "all"),  # two rivals: 1.96
        ([row("top:3", -3, 1), row("greedy:3", -4, 1)], "greedy:3"),
        ([row("top:3", -3, 1), row("greedy:3", -4, 1, errors=0.5)], "top:3"),
    ],
)
def test_best_rule(rows: list[Nested], rule: str) -> None:
    """The lowest log-loss of those beyond noise, corrected for their number, without more errors."""
    assert best_rule([row("all", 0, 0), *rows]) == rule


def test_nested_refuses() -> None:
    """A rule too large for the pool is one error."""
    with pytest.raises(DataError, match="'top:2'"):
        nested(["top:2"], members([3]), LABELS)
