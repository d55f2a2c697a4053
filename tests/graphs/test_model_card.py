"""The card's numbers: a hand-worked case, and what the runtime's own reader takes."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tenfold.graphs.model_card import HeldOut, card_of
from tenfold.runtime.model_file import parse

RUN: Any = SimpleNamespace(
    recipe=SimpleNamespace(name="fast"),
    manifest={
        "recipe": "fast",
        "config_sha256": "ab",
        "seed": 3,
        "data": {"spec": "/home/me/pictures/digits.npz", "sha256": "cd", "n_train": 95},
    },
)


@pytest.mark.parametrize("held_out", [True, False])
def test_the_runtime_reads_it(held_out: bool) -> None:
    """The runtime takes the card, with and without held-out images; it names no folder."""
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(10), 400).astype(np.float32)
    labels = generator.integers(0, 10, 400)
    fields = card_of(RUN, "fp32", 0.5, HeldOut(labels, probabilities) if held_out else None)
    read = parse(json.dumps(fields), "model.onnx")
    assert fields["data"]["spec"] == "digits.npz"
    assert str(Path("/home/me")) not in json.dumps(fields)
    assert (read.name, read.precision, read.n) == ("fast", "fp32", 400 if held_out else 0)
    assert len(read.held_out) == ((probabilities.argmax(1) != labels).sum() if held_out else 0)
    assert fields["metrics"].get("validation", {}).get("n") == (400 if held_out else None)
