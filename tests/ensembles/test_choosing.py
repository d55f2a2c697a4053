"""What rules choose, against exhaustive search, scipy and pools that were made to have an answer."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold.ensembles import choosing
from tenfold.ensembles.averaging import AVERAGES, Evidence, combine
from tenfold.metrics.scores import brier, nll

LABELS = np.arange(400) % 10


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return probabilities."""
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (shares / shares.sum(axis=-1, keepdims=True)).astype(np.float32)


def members(margins: list[float], seed: int = 0, shared: float = 0.5) -> NDArray[np.float32]:
    """Return members of so many logits' margin for the true digit; `shared` is the noise that all have in common."""
    generator = np.random.default_rng(seed)
    common = generator.normal(size=(400, 10))
    own = generator.normal(size=(len(margins), 400, 10))
    noise = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
    return softmax(2 * noise + np.array(margins)[:, None, None] * np.eye(10)[LABELS])


def test_ranking_is_by_log_loss() -> None:
    """Where all answer the same images the order is that of the log-losses."""
    shares = members([3, 6, 4, 5, 2])
    order = choosing.ranking(Evidence.of(shares, LABELS, "probabilities"))
    assert order.tolist() == np.argsort([nll(LABELS, each) for each in shares]).tolist() == [1, 3, 2, 0, 4]


def test_ranking_does_not_reward_an_easy_fold() -> None:
    """A weak member of an easy fold comes after a strong one of a hard fold, though its own log-loss is lower."""
    shares = members([5, 3, 5, 3])
    easy = np.arange(400) < 200
    shares[:, ~easy] = 0.3 * shares[:, ~easy] + 0.07
    shares[0, easy] = shares[1, easy] = np.nan  # two that answer the hard fold, two the easy one
    shares[2, ~easy] = shares[3, ~easy] = np.nan
    own = [nll(LABELS[~easy], shares[i, ~easy]) for i in (0, 1)] + [nll(LABELS[easy], shares[i, easy]) for i in (2, 3)]
    assert own[3] < own[0]
    assert set(choosing.ranking(Evidence.of(shares, LABELS, "probabilities"))[:2].tolist()) == {0, 2}


@pytest.mark.parametrize("average", AVERAGES)
def test_greedy_finds_the_good_ones(average: str) -> None:
    """Among three good members and five that know little, forward selection takes the good ones, all of them."""
    shares = members([5, 1, 1, 5, 1, 1, 5, 1])
    weights = choosing.greedy(Evidence.of(shares, LABELS, average), 3, np.random.default_rng(0))
    assert np.flatnonzero(weights).tolist() == [0, 3, 6]
    assert weights.sum() == pytest.approx(1)


def test_greedy_takes_a_weak_member_that_errs_apart() -> None:
    """A member worse than all others counts where it corrects them: the choice is of the average, not of members."""
    shares = members([4, 4, 4, 4, 4, 3], shared=0.95)
    shares[5] = members([3], seed=9, shared=0)[0]
    assert np.argmax([nll(LABELS, each) for each in shares]) == 5
    evidence = Evidence.of(shares, LABELS, "probabilities")
    assert 5 in np.flatnonzero(choosing.greedy(evidence, 5, np.random.default_rng(0)))
    assert 5 in np.flatnonzero(choosing.diverse(shares, LABELS, 3, False))
    assert choosing.ranking(evidence)[-1] == 5


def test_greedy_takes_at_most_so_many() -> None:
    """The number of members is a limit, which a pool of one reaches."""
    evidence = Evidence.of(members([4.0 + i / 9 for i in range(9)]), LABELS, "probabilities")
    for size in (1, 4, 9):
        found = choosing.greedy(evidence, size, np.random.default_rng(1))
        assert 1 <= (found > 0).sum() <= size
    one = Evidence.of(members([4.0]), LABELS, "probabilities")
    assert choosing.greedy(one, 1, np.random.default_rng(1)).tolist() == [1.0]


def test_greedy_over_folds_answers_every_image() -> None:
    """Of equally good members of two folds some of each are taken: no image's answer is worth leaving it to chance."""
    shares = members([4.0] * 8)
    fold = LABELS[:, None] % 2 == np.arange(2)
    for member in range(8):
        shares[member, fold[:, member % 2]] = np.nan
    weights = choosing.greedy(Evidence.of(shares, LABELS, "probabilities"), 4, np.random.default_rng(0))
    assert {int(i) % 2 for i in np.flatnonzero(weights)} == {0, 1}


@pytest.mark.parametrize("votes", [False, True])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_diverse_is_the_best_of_all_sets(votes: bool, size: int) -> None:
    """Of all sets of that size the one found has the lowest Brier score of its mean, as exhaustive search says."""
    shares = members([3, 4, 3.5, 4.5, 4, 3, 5], shared=0.7)
    average = "votes" if votes else "probabilities"

    def score(chosen: tuple[int, ...]) -> float:
        return brier(LABELS, combine(shares, choosing.equally(np.array(chosen), 7), average))

    expected = min(itertools.combinations(range(7), size), key=score)
    found = tuple(np.flatnonzero(choosing.diverse(shares, LABELS, size, votes)).tolist())
    assert found == expected


def test_shared_error_is_the_brier_score() -> None:
    """Members' own Brier scores stand on the diagonal, and the table's weighted mean is the score of the mean."""
    shares = members([3, 4, 5])
    table = choosing.shared_error(shares, LABELS)
    np.testing.assert_allclose(table.diagonal(), [brier(LABELS, each) for each in shares], rtol=1e-4)
    weights = np.array([0.2, 0.3, 0.5])
    assert weights @ table @ weights == pytest.approx(brier(LABELS, combine(shares, weights)), rel=1e-4)


def test_shared_error_without_shared_images() -> None:
    """Pairs that share no image get the mean, and a member of a hard fold is not called worse than its peers."""
    shares = members([4.0] * 4)
    shares[:2, 200:] = np.nan
    shares[2:, :200] = np.nan
    shares[:2, :200] = 0.5 * shares[:2, :200] + 0.05  # all of the first fold are less sure
    table = choosing.shared_error(shares, LABELS)
    own = [brier(LABELS[:200], shares[i, :200]) for i in (0, 1)] + [
        brier(LABELS[200:], shares[i, 200:]) for i in (2, 3)
    ]
    assert np.ptp(table[:2, 2:]) == 0
    assert min(own[0] - own[2], own[0] - own[3], own[1] - own[2], own[1] - own[3]) > 0.05
    assert table.diagonal()[:2].mean() < table.diagonal()[2:].mean() + 0.01


@pytest.mark.parametrize("average", AVERAGES)
def test_weights_are_the_best_there_are(average: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other optimiser finds weights of lower log-loss less entropy."""
    minimize = pytest.importorskip("scipy.optimize").minimize
    monkeypatch.setattr(choosing, "NEGLIGIBLE", 0)
    shares = members([3, 4, 3.5, 4.5, 2])
    penalty = choosing.ENTROPY / np.sqrt(len(LABELS))

    def cost(weights: NDArray[np.float64]) -> float:
        weights = np.maximum(weights, 1e-12)
        entropy = -(weights * np.log(weights)).sum()
        return float(nll(LABELS, combine(shares, weights / weights.sum(), average)) - penalty * entropy)

    simplex = {"type": "eq", "fun": lambda weights: weights.sum() - 1}
    other = minimize(
        cost, np.full(5, 0.2), bounds=[(0, 1)] * 5, constraints=simplex, method="SLSQP", options={"eps": 1e-4}
    )
    found = choosing.weights(Evidence.of(shares, LABELS, average))
    assert cost(found) <= cost(other.x) + 2e-5
    assert cost(found) < cost(np.full(5, 0.2)) - 1e-3  # or there would have been nothing to find


def test_weights_drop_the_bad_and_level_the_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that knows nothing gets no weight, and nine that are alike less uneven ones than without entropy."""
    evidence = Evidence.of(members([5.0] * 9 + [0.0]), LABELS, "probabilities")
    found = choosing.weights(evidence)
    monkeypatch.setattr(choosing, "ENTROPY", 0)
    plain = choosing.weights(evidence)
    assert found[9] == plain[9] == 0
    assert found.sum() == pytest.approx(1)
    assert found[:9].min() > plain[:9].min()
    assert found[:9].max() < plain[:9].max()


def test_weights_over_folds() -> None:
    """With folds, too, the better half of the members gets most of the weight."""
    shares = members([4.5, 4.5, 3, 3] * 2)
    for member in range(8):
        shares[member, member % 2 == LABELS % 2] = np.nan
    weights = choosing.weights(Evidence.of(shares, LABELS, "probabilities"))
    assert weights[[0, 1, 4, 5]].sum() > 0.8
