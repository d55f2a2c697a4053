"""The card's numbers: a hand-worked case, and what the runtime's own reader takes."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tenfold.graphs.model_card import card, confidences, default_threshold, held_out_errors
from tenfold.runtime.card import parse

RUN: Any = SimpleNamespace(
    recipe=SimpleNamespace(name="fast"),
    manifest={
        "recipe": "fast",
        "config_sha256": "ab",
        "seed": 3,
        "data": {"spec": "/home/me/pictures/digits.npz", "sha256": "cd", "n_train": 95},
    },
)


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


@pytest.mark.parametrize("held_out", [True, False])
def test_the_runtime_reads_it(held_out: bool) -> None:
    """The runtime takes the card, with and without held-out images; it names no folder."""
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(10), 400).astype(np.float32)
    labels = random.integers(0, 10, 400)
    fields = card(RUN, "fp32", 0.5, *((labels, probabilities) if held_out else (None, None)))
    read = parse(json.dumps(fields), "model.onnx")
    assert fields["data"]["spec"] == "digits.npz"
    assert str(Path("/home/me")) not in json.dumps(fields)
    assert (read.name, read.precision, read.n) == ("fast", "fp32", 400 if held_out else 0)
    assert len(read.held_out) == ((probabilities.argmax(1) != labels).sum() if held_out else 0)
    assert fields["metrics"].get("validation", {}).get("n") == (400 if held_out else None)
