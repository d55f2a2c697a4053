"""Rules by name, what they choose of pools that were made to have an answer, and what nesting says of them."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold.data.splits import stratified_folds
from tenfold.ensembles import selection
from tenfold.ensembles.averaging import combine, losses_of
from tenfold.ensembles.selection import Nested, best_rule, choose, compared, nested, parse_rule
from tenfold.errors import DataError
from tenfold.metrics.scores import nll

LABELS = np.arange(400) % 10
RULES = ["all", "top:3", "random:3"]


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


@pytest.mark.parametrize(
    ("text", "rule"), [("all", ("all", None)), ("top:1", ("top", 1)), ("random:40", ("random", 40))]
)
def test_parse_rule(text: str, rule: tuple[str, int | None]) -> None:
    """A rule is a name, with a number of members where it needs one."""
    assert parse_rule(text, 40) == rule


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("best", "rule 'best' is unknown. Give one of: all, top:K, random:K."),
        ("randm:3", "Did you mean 'random'"),
        ("greedy:3", "rule 'greedy:3' is unknown"),
        ("", "rule '' is unknown"),
        ("weights", "rule 'weights' is unknown"),
        ("all:3", "'all:3' takes no number of members. Give 'all'"),
        ("top", "'top' asks for no possible number of members. Give top:1 to top:40"),
        ("top:", "'top:' asks"),
        ("top:0", "'top:0' asks"),
        ("top:41", "'top:41' asks"),
        ("top:-1", "'top:-1' asks"),
        ("top:3.5", "'top:3.5' asks"),
        ("top:²", "'top:²' asks"),
    ],
)
def test_parse_rule_refuses(text: str, words: str) -> None:
    """What is no rule is one error that says what would be one."""
    with pytest.raises(DataError, match=words):
        parse_rule(text, 40)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("folds", [1, 2])
def test_every_rule_chooses(rule: str, folds: int) -> None:
    """Every rule gives ascending members whose weights are shares, as many as it says, and the same again."""
    shares = folded(members([3, 4, 5, 4, 3, 4]), folds)
    choice = choose(rule, shares, LABELS, seed=5)
    assert choice.members == tuple(sorted(choice.members))
    assert choice.members == tuple(np.flatnonzero(choice.weights).tolist())
    assert choice.weights.shape == (6,)
    assert choice.weights.min() >= 0
    assert choice.weights.sum() == pytest.approx(1)
    size = parse_rule(rule, 6)[1]
    assert len(choice.members) == (size or 6)
    np.testing.assert_array_equal(choice.weights, choose(rule, shares, LABELS, seed=5).weights)


def test_top_and_all() -> None:
    """`top` takes the lowest log-losses, `all` everyone, both with equal weights."""
    shares = members([3, 6, 4, 5, 2])
    assert choose("top:2", shares, LABELS).members == (1, 3)
    assert choose("top:2", shares, LABELS).weights.tolist() == [0, 0.5, 0, 0.5, 0]
    assert choose("all", shares, LABELS).weights.tolist() == [0.2] * 5


def test_random_depends_on_the_seed_alone() -> None:
    """Random members are drawn by the seed, every member about as often as any other."""
    shares = members([3] * 5)
    drawn = np.zeros(5)
    for seed in range(200):
        drawn[list(choose("random:2", shares, LABELS, seed=seed).members)] += 1
    assert drawn.sum() == 400
    assert 55 < drawn.min() <= drawn.max() < 105  # 80 expected, standard deviation 7


def test_choose_refuses() -> None:
    """Probabilities that are none are one error before anything is computed."""
    with pytest.raises(DataError, match="not to 1"):
        choose("all", members([3]) / 2, LABELS)


def test_compared() -> None:
    """Rules are compared at ten members, or half of a small pool; with one member there is nothing to compare."""
    assert compared(40) == ["all", "random:10", "top:10"]
    assert compared(4) == ["all", "random:2", "top:2"]
    assert compared(1) == ["all"]


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return probabilities."""
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (shares / shares.sum(axis=-1, keepdims=True)).astype(np.float32)


def correlated(margins: list[float], seed: int = 0, shared: float = 0.5) -> NDArray[np.float32]:
    """Return members of so many logits' margin for the true digit; `shared` is the noise that all have in common."""
    generator = np.random.default_rng(seed)
    common = generator.normal(size=(400, 10))
    own = generator.normal(size=(len(margins), 400, 10))
    noise = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
    return softmax(2 * noise + np.array(margins)[:, None, None] * np.eye(10)[LABELS])


def test_ranking_is_by_log_loss() -> None:
    """Where all answer the same images the order is that of the log-losses."""
    shares = correlated([3, 6, 4, 5, 2])
    order = selection.ranking(losses_of(shares, LABELS))
    assert order.tolist() == np.argsort([nll(LABELS, each) for each in shares]).tolist() == [1, 3, 2, 0, 4]


def test_ranking_does_not_reward_an_easy_fold() -> None:
    """A weak member of an easy fold comes after a strong one of a hard fold, though its own log-loss is lower."""
    shares = correlated([5, 3, 5, 3])
    easy = np.arange(400) < 200
    shares[:, ~easy] = 0.3 * shares[:, ~easy] + 0.07
    shares[0, easy] = shares[1, easy] = np.nan  # two that answer the hard fold, two the easy one
    shares[2, ~easy] = shares[3, ~easy] = np.nan
    own = [nll(LABELS[~easy], shares[i, ~easy]) for i in (0, 1)] + [nll(LABELS[easy], shares[i, easy]) for i in (2, 3)]
    assert own[3] < own[0]
    assert set(selection.ranking(losses_of(shares, LABELS))[:2].tolist()) == {0, 2}


def test_nested_scores_what_was_not_chosen_on() -> None:
    """One repeat is: choose on a half, score on the other, both ways; optimism is the difference to the half itself."""
    shares = members([3, 4, 5, 4, 3, 4])
    found = nested(["top:2"], shares, LABELS, repeats=1, seed=3)[0]
    own = int(np.random.SeedSequence([3, 0]).generate_state(1)[0])
    unseen, seen, errors, everyone = 0.0, 0.0, 0, 0.0
    for half, other in stratified_folds(LABELS, 2, own):
        choice = choose("top:2", shares[:, half], LABELS[half], seed=own)
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
    assert found["top:3"].optimism > 0.001
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
    assert best_rule(mixed) == "top:3"


def row(rule: str, nll: float, noise: float, errors: float = 0) -> Nested:
    """Return a row that is `nll` apart from `all`."""
    return Nested(rule, 100, 5, 3, 1 + nll, 9, 1, 9, nll, noise, errors, 1, nll)


@pytest.mark.parametrize(
    ("rows", "rule"),
    [
        ([], "all"),
        ([row("top:3", -1.7, 1)], "top:3"),  # one rival: 1.64 standard errors
        ([row("top:3", -1.6, 1)], "all"),
        ([row("top:3", -1.7, 1), row("random:3", 1, 1)], "all"),  # two rivals: 1.96
        ([row("top:3", -3, 1), row("random:3", -4, 1)], "random:3"),
        ([row("top:3", -3, 1), row("random:3", -4, 1, errors=0.5)], "top:3"),
    ],
)
def test_best_rule(rows: list[Nested], rule: str) -> None:
    """The lowest log-loss of those beyond noise, corrected for their number, without more errors."""
    assert best_rule([row("all", 0, 0), *rows]) == rule


def test_nested_refuses() -> None:
    """A rule too large for the pool is one error."""
    with pytest.raises(DataError, match="'top:2'"):
        nested(["top:2"], members([3]), LABELS)
