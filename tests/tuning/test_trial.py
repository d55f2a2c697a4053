"""One candidate of a search: judged as a run would be, and ended early where asked."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from tenfold.data.digits import Digits
from tenfold.runs.estimator import DigitClassifier, classical
from tenfold.training import recipe as recipes
from tenfold.tuning.trial import judge

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
    held_out = recipe.data.hold_out(digits, 3)[1]
    labels, probabilities = digits.labels[held_out], classifier.predict_proba(digits.images[held_out])
    seen: list[int] = []
    figures = judge(recipe, digits, 3, 2, "cpu", lambda share, nll, accuracy: bool(seen.append(share)))
    assert figures is not None
    assert figures.n == 50
    assert figures.accuracy == (probabilities.argmax(1) == labels).mean()
    assert 0 < figures.nll <= log_loss(labels, probabilities, labels=np.arange(10)) + 1e-4
    assert len(seen) >= 9  # looked at often enough to be ended early
    assert seen == sorted(set(seen))
    assert seen[-1] < 100


def test_ended_where_asked(digits: Digits) -> None:
    """A trial ends at the first report that is answered with True, and then comes to nothing."""
    shares: list[int] = []

    def report(share: int, nll: float, accuracy: float) -> bool:
        shares.append(share)
        return share >= 40

    assert judge(recipes.load("instant", OVERRIDES), digits, 0, 1, "cpu", report) is None
    assert [share >= 40 for share in shares].index(True) == len(shares) - 1


def test_classical_model_is_judged_as_scikit_learn_does(digits: Digits) -> None:
    """A classical model comes to scikit-learn's figures on the held-out images, once calibrated."""
    recipe = recipes.load("knn", ("features.pca=1", "data.validation=0.25"))
    assert digits.labels is not None
    kept, held_out = recipe.data.hold_out(digits, 3)
    answers = (
        classical(recipe, 3, 1).fit(digits.images[kept], digits.labels[kept]).probabilities(digits.images[held_out])
    )
    truth = digits.labels[held_out]
    found = judge(recipe, digits, 3, 1, "cpu", lambda share, nll, accuracy: True)
    assert found is not None
    assert found.n == len(held_out)
    assert found.accuracy == pytest.approx(accuracy_score(truth, answers.argmax(1)))
    losses = [
        log_loss(truth, powers / powers.sum(1, keepdims=True), labels=np.arange(10))
        for temperature in np.linspace(0.3, 3, 500)
        for powers in (np.float64(answers) ** (1 / temperature),)
    ]
    assert found.nll == pytest.approx(min(losses), rel=1e-3)


def test_a_teacher_is_listened_to(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe with a [distil] table is trained with its teacher in a search too."""
    asked = []
    monkeypatch.setattr("tenfold.runs.estimator.teacher", lambda recipe, device: asked.append(recipe.name))
    judge(recipes.load("instant", OVERRIDES), digits, 0, 1, "cpu", lambda share, nll, accuracy: False)
    assert asked == ["instant"]
