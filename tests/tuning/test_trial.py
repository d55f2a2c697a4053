"""One candidate of a search: judged as a run would be, ended early where asked, and a scikit-learn estimator."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_score

from tenfold.data.digits import Digits
from tenfold.runs.estimator import DigitClassifier, hold_out
from tenfold.training import recipe as recipes
from tenfold.tuning.trial import Candidate, Stopped, judge

OVERRIDES = (
    "model.widths=[[8],[16]]",
    "training.batch_size=32",
    "training.epochs=5",
    "training.min_steps=0",
    "training.precision=fp32",
    "optimiser.lr=0.02",
    "data.validation=0.25",
)


LONGER = (*OVERRIDES, "training.epochs=25", "training.ema=0")


@pytest.mark.parametrize("steered", [(), ("schedule.kind=plateau", "schedule.patience=1", "training.keep=best")])
def test_judged_as_a_run_is(digits: Digits, steered: tuple[str, ...]) -> None:
    """Accuracy is that of the estimator trained with the same recipe and seed, the NLL no worse than its own: looking
    on the way changes nothing, also where validations steer the training.
    """
    recipe = recipes.load("instant", (*LONGER, *steered))
    assert digits.labels is not None
    classifier = DigitClassifier("instant", (*LONGER, *steered), seed=3).fit(digits.images, digits.labels)
    held_out = hold_out(digits.labels, recipe, 3)[1]
    labels, probabilities = digits.labels[held_out], classifier.predict_proba(digits.images[held_out])
    seen: list[int] = []
    figures = judge(recipe, digits, 3, 2, "cpu", lambda share, nll, accuracy: bool(seen.append(share)))
    assert figures.n == 50
    assert figures.accuracy == (probabilities.argmax(1) == labels).mean()
    assert 0 < figures.nll <= log_loss(labels, probabilities, labels=np.arange(10)) + 1e-4
    assert len(seen) >= 9  # looked at often enough to be ended early
    assert seen == sorted(set(seen))
    assert seen[-1] < 100


def test_ended_where_asked(digits: Digits) -> None:
    """A trial ends at the first report that is answered with True."""
    shares: list[int] = []

    def report(share: int, nll: float, accuracy: float) -> bool:
        shares.append(share)
        return share >= 40

    with pytest.raises(Stopped):
        judge(recipes.load("instant", OVERRIDES), digits, 0, 1, "cpu", report)
    assert [share >= 40 for share in shares].index(True) == len(shares) - 1


@pytest.mark.parametrize(("recipe", "overrides"), [("knn", ("features.pca=0",)), ("instant", LONGER)])
def test_candidate_is_an_estimator(digits: Digits, recipe: str, overrides: tuple[str, ...]) -> None:
    """scikit-learn's own cross-validation works on a candidate, classical or a network."""
    candidate = Candidate(recipe, overrides, seed=1)
    assert clone(candidate).get_params() == candidate.get_params()
    assert cross_val_score(candidate, digits.images, digits.labels, cv=2).mean() > 0.5
    answers = candidate.fit(digits.images, digits.labels).predict_proba(digits.images[:7])
    assert answers.shape == (7, 10)
    np.testing.assert_allclose(answers.sum(1), 1, atol=1e-5)
