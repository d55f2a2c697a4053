"""Prediction: probabilities, and shifts that are what they claim."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tenfold.models.blocks import shift_offsets
from tenfold.training.predict import predict


@pytest.mark.parametrize(("radius", "count"), [(0, 1), (1, 5), (2, 13), (3, 25)])
def test_offsets_fill_the_diamond(radius: int, count: int) -> None:
    """A radius of r pixels has 2r^2 + 2r + 1 shifts, the origin among them, and no mirror or turn."""
    offsets = shift_offsets(radius)
    assert len(set(offsets)) == count == 2 * radius**2 + 2 * radius + 1
    assert (0, 0) in offsets


class Pixel(nn.Module):
    """Says digit 1 with logit 5 where the pixel in the middle has ink, digit 0 otherwise."""

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, (B, 10)."""
        logits = torch.zeros(len(x), 10)
        logits[:, 1] = 5 * x[:, 0, 14, 14]
        return logits


def test_shifts_look_where_they_say() -> None:
    """A dot beside the middle is seen by exactly one of the five shifts, and the probabilities are the mean."""
    images = torch.zeros(3, 28, 28, dtype=torch.uint8)
    images[0, 14, 14] = images[1, 14, 15] = images[2, 0, 0] = 255
    seen, blind = np.exp(5) / (np.exp(5) + 9), 0.1
    plain = predict(Pixel(), images)
    np.testing.assert_allclose(plain[:, 1], [seen, blind, blind], rtol=1e-5)
    shifted = predict(Pixel(), images, radius=1)
    np.testing.assert_allclose(shifted[:, 1], [(seen + 4 * blind) / 5] * 2 + [blind], rtol=1e-5)
    assert shifted.dtype == np.float32
    np.testing.assert_allclose(shifted.sum(1), 1, rtol=1e-6)


def test_no_images_no_rows() -> None:
    """Nothing in, nothing out, in the right shape."""
    assert predict(Pixel(), torch.zeros(0, 28, 28, dtype=torch.uint8)).shape == (0, 10)


def test_mode_is_left_as_it_was() -> None:
    """A module in training comes back in training."""
    module = Pixel().train()
    predict(module, torch.zeros(1, 28, 28, dtype=torch.uint8))
    assert module.training
