"""Connectionist temporal classification, beside all paths counted out, and beside torch."""

from collections import defaultdict
from itertools import groupby, product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tenfold.runtime.ctc import BLANK, decoded, text_probability

Floats = NDArray[np.float32]


def shares(seed: int, columns: int, sharp: float = 2.0) -> Floats:
    """Return (T, 11) random probabilities, surer with a larger `sharp`."""
    scores = np.random.default_rng(seed).normal(0, sharp, (columns, 11))
    return np.asarray(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), np.float32)


def counted_out(given: Floats) -> dict[str, float]:
    """Return the probability of every text, as the sum over all paths."""
    found: dict[str, float] = defaultdict(float)
    for path in product(range(11), repeat=len(given)):
        text = "".join(str(digit) for digit, _ in groupby(path) if digit != BLANK)
        found[text] += float(np.prod([row[digit] for row, digit in zip(given.astype(float), path, strict=True)]))
    return found


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_probability_is_the_sum_over_all_paths(columns: int) -> None:
    """Of every text that can be spelt it is what counting gives, and all together they make 1."""
    given = shares(columns, columns)
    counted = counted_out(given)
    found = {text: text_probability(given, [int(digit) for digit in text]) for text in counted}
    assert found == pytest.approx(counted, rel=1e-5, abs=1e-12)
    assert sum(found.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("text", ["", "7", "77", "123", "1122333", "90210"])
@pytest.mark.parametrize("columns", [12, 80, 160])
def test_probability_is_torchs(text: str, columns: int) -> None:
    """The logarithm is torch's CTC loss, for long rows and repeated digits too."""
    given = shares(len(text), columns, 1.0)
    digits = torch.tensor([int(each) for each in text], dtype=torch.long)
    scores = torch.from_numpy(given).double().log()[:, None]
    loss = F.ctc_loss(scores, digits[None], [columns], [len(text)], BLANK, reduction="sum")
    ours = text_probability(given, [int(each) for each in text])
    assert np.log(ours) == pytest.approx(-float(loss), rel=1e-6)


def test_a_text_that_does_not_fit_is_impossible() -> None:
    """A text that is longer than the row, or repeats a digit without room for a blank, has probability 0."""
    given = shares(0, 3)
    assert text_probability(given, [1, 2, 3]) > 0
    assert text_probability(given, [1, 2, 3, 4]) == 0
    assert text_probability(given, [1, 1]) > 0
    assert text_probability(given[:2], [1, 1]) == 0
    assert text_probability(np.eye(11, dtype=np.float32)[[3, 10, 4]], [4, 3]) == 0


def test_the_best_text_comes_first() -> None:
    """Of random rows of four columns the first text is the likeliest of all, nearly always, with its probability."""
    best = []
    for seed in range(12):
        given = shares(seed, 4, 3.0)
        counted = counted_out(given)
        found = decoded(given)
        assert found == sorted(found, key=lambda each: -each[1])
        assert len({text for text, _ in found}) == len(found)
        for text, probability in found:
            assert probability == pytest.approx(counted[text], rel=1e-4)
        best.append(found[0][0] == max(counted, key=lambda text: counted[text]))
    assert np.mean(best) >= 0.75


def test_a_sure_row_is_read_as_it_is() -> None:
    """One digit a few columns wide, a repeated one behind a blank, and a blank row are read without doubt."""
    path = [10, 4, 4, 10, 4, 8, 8, 10, 1]
    given = np.full((len(path), 11), 1e-4, np.float32)
    given[range(len(path)), path] = 1 - 1e-3
    assert decoded(given)[0][0] == "4481"
    assert decoded(given)[0][1] == pytest.approx(1, abs=0.02)
    (first, *_) = decoded(np.eye(11, dtype=np.float32)[[10, 10, 10]])
    assert first == ("", pytest.approx(1))


def test_alternatives_are_the_second_guess_of_an_unsure_digit() -> None:
    """Where a column hesitates between 1 and 7 both texts are there; where it may be blank, the one without it."""
    given = np.full((5, 11), 1e-4, np.float32)
    given[[0, 2, 4], [10, 10, 10]] = 1
    given[1, [1, 7]] = 0.6, 0.4
    given[3, [5, 10]] = 0.7, 0.3
    found = dict(decoded(given / given.sum(axis=1, keepdims=True)))
    assert found["15"] == pytest.approx(0.42, abs=0.01)
    assert found["75"] == pytest.approx(0.28, abs=0.01)
    assert found["1"] == pytest.approx(0.18, abs=0.01)


def test_the_best_path_need_not_be_the_best_text() -> None:
    """Two columns, each surest of a blank, together say a digit: its text is put first."""
    given = np.full((2, 11), 1e-6, np.float32)
    given[:, BLANK], given[:, 3] = 0.45, 0.55
    given[0, [BLANK, 3]] = 0.55, 0.45
    assert decoded(given)[0][0] == "3"
