"""Abstention: the threshold's promise holds, and its arithmetic is that of others."""

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tenfold.errors import ModelError
from tenfold.runtime.abstain import (
    at_most,
    confidences,
    default_threshold,
    guarantee,
    held_out_errors,
    judge,
)
from tenfold.runtime.model_file import Card, parse


def card_of(confidences: np.ndarray[Any, Any], wrong: np.ndarray[Any, Any], base: dict[str, Any]) -> Card:
    """Return a card with these held-out images, as an exporter writes it."""
    order = np.argsort(-confidences, kind="stable")
    errors = [[float(one), int((confidences >= one).sum())] for one in confidences[order][wrong[order]]]
    held_out = {"n": len(confidences), "errors": errors}
    return parse(json.dumps({**base, "held_out": held_out}), "m")


def test_held_out_errors_by_hand() -> None:
    """Each error stands with its confidence and how many images have at least that, the surest first."""
    sure = np.array([0.9, 0.5, 0.75, 0.5, 1.0], np.float32)
    correct = np.array([True, False, False, True, True])
    assert held_out_errors(sure, correct) == [[0.75, 3], [0.5, 5]]
    assert held_out_errors(sure, np.ones(5, bool)) == []


def test_the_threshold_answers_99_percent() -> None:
    """Of a hundred even confidences one is left unanswered; of a few, none; and rounding leaves out no more."""
    sure = np.arange(1, 101, dtype=np.float32) / 100
    assert (sure >= default_threshold(sure)).sum() == 99
    assert default_threshold(np.array([0.4, 0.123456789], np.float32)) == 0.123455
    assert default_threshold(np.zeros(3, np.float32)) == 0


def test_confidence_counts_what_is_no_digit() -> None:
    """An answer is as sure as its probability times that of a digit at all, and never above 1."""
    probabilities = np.array([[0.8, 0.2], [1.0000001, 0]], np.float32)
    np.testing.assert_allclose(confidences(probabilities, np.array([0.5, 1], np.float32)), [0.4, 1])
    assert confidences(probabilities, None).max() == 1


def test_one_rule_for_one_image_and_for_many() -> None:
    """What is at the threshold is answered; a single image is judged as it is among many."""
    probabilities = np.array([[0.75, 0.25], [0.5, 0.5], [0.875, 0.125]], np.float32)
    digit_probability = np.array([1, 1, 0.5], np.float32)
    sure, abstained = judge(probabilities, digit_probability, 0.5)
    assert sure.tolist() == [0.75, 0.5, 0.4375]
    assert abstained.tolist() == [False, False, True]
    alone = [judge(*each, 0.5) for each in zip(probabilities, digit_probability, strict=True)]
    assert [(float(one), bool(other)) for one, other in alone] == list(zip(sure, abstained, strict=True))


@pytest.mark.parametrize(("errors", "n"), [(0, 1), (0, 3000), (1, 5), (4, 10_000), (37, 500), (60, 61), (800, 20_000)])
def test_chance_is_the_binomial_distributions(errors: int, n: int) -> None:
    """The test's chance is the binomial distribution's, and 5% at Clopper and Pearson's bound."""
    assert at_most(errors, n, stats.beta.ppf(0.95, errors + 1, n - errors)) == pytest.approx(0.05)
    for risk in (1e-4, 0.003, 0.2, 0.9):
        assert at_most(errors, n, risk) == pytest.approx(stats.binom.cdf(errors, n, risk), rel=1e-8, abs=1e-300)


def test_ends() -> None:
    """Nothing answered or everything wrong has any chance; a risk of 0 or 1 is certain."""
    assert at_most(0, 0, 0.5) == at_most(7, 7, 0.5) == 1.0
    assert (at_most(3, 5, 0.0), at_most(3, 5, 1.0), at_most(5, 5, 1.0)) == (1.0, 0.0, 1.0)


def test_no_mistake(card: dict[str, Any]) -> None:
    """Without a mistake everything is answered where the images suffice: 2,995 of them prove 0.1%, 2,994 do not."""
    some = np.linspace(0.5, 1, 2995)
    found = guarantee(card_of(some, np.zeros(2995, bool), card), 0.001)
    assert (found.threshold, found.answered, found.errors, found.n) == (0.0, 2995, 0, 2995)
    assert stats.beta.ppf(0.95, 1, 2995) <= 0.001
    with pytest.raises(ModelError, match=r"cannot promise an error of at most '0.001'.*2,994 held-out.*Give 0.0011 or"):
        guarantee(card_of(some[1:], np.zeros(2994, bool), card), 0.001)


def test_threshold_stands_above_the_mistakes(card: dict[str, Any]) -> None:
    """Where the mistakes come last, the threshold leaves out enough of them, and its numbers are those of the data."""
    confidences = np.linspace(0, 1, 10_000, dtype=np.float32)
    wrong = np.arange(10_000) % 40 == 0
    wrong[1000:] = False
    found = guarantee(card_of(confidences, wrong, card), 0.001)
    answered = confidences >= np.float32(found.threshold)
    assert 0 < found.threshold < 0.1
    assert (found.answered, found.errors) == (answered.sum(), (wrong & answered).sum())
    assert stats.beta.ppf(0.95, found.errors + 1, found.answered - found.errors) <= 0.001
    # One mistake more would be one too many.
    more = np.flatnonzero(wrong & ~answered)[-1]
    assert stats.beta.ppf(0.95, found.errors + 2, (confidences >= confidences[more]).sum() - found.errors - 1) > 0.001


def test_equal_confidences_are_not_taken_apart(card: dict[str, Any]) -> None:
    """Where mistakes share the highest confidence with right answers, no threshold can leave them out."""
    confidences = np.full(10_000, 1.0)
    wrong = np.arange(10_000) < 50
    with pytest.raises(ModelError, match="cannot promise"):
        guarantee(card_of(confidences, wrong, card), 0.001)


@pytest.mark.parametrize("max_error", [0, 1, -1, float("nan")])
def test_no_share(max_error: float, card: dict[str, Any]) -> None:
    """A largest error that is no share is refused."""
    with pytest.raises(ModelError, match="is not between 0 and 1"):
        guarantee(card_of(np.ones(1), np.zeros(1, bool), card), max_error)


@pytest.mark.parametrize("slope", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("max_error", [0.01, 0.03])
def test_promise_holds(slope: float, max_error: float, card: dict[str, Any]) -> None:
    """Over many draws of held-out images the true risk is over the limit in at most 5% of them, give or take chance.

    The confidence is uniform on [0, 1]; the chance of a mistake falls with it, from 4% on average, along a slope.
    slope 0: it is the same everywhere and just over the limit, so that every promise is a broken one: the hardest case.
    """
    random = np.random.default_rng(0)
    draws, n, base = 600, 3000, max_error * 1.05 if slope == 0 else 0.04
    broken = promised = 0
    for _ in range(draws):
        confidences = random.random(n).astype(np.float32)
        wrong = random.random(n) < base * (slope + 1) * (1 - confidences) ** slope
        try:
            found = guarantee_quietly(card_of(confidences, wrong, card), max_error)
        except ModelError:
            continue
        promised += 1
        # The mean of base (slope + 1) (1 - c)^slope over c from the threshold to 1.
        broken += base * (1 - found.threshold) ** slope > max_error
    assert broken <= draws * 0.05 + 3 * np.sqrt(draws * 0.05 * 0.95)
    assert promised > draws / 2 or slope < 3


def guarantee_quietly(card: Card, max_error: float) -> Any:
    """Return the guarantee, without the search for what could be promised instead."""
    from tenfold.runtime import abstain

    found = abstain._walk(card, max_error)
    if found is None:
        raise ModelError("none")
    return found
