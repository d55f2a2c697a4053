"""Probabilities from a trained module, averaged over small shifts where the recipe asks for it."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from tenfold.models.blocks import shift_offsets, shifted
from tenfold.training.device import Precision, autocast

BATCH = 256  # activations of small networks stay in the processor's cache


def to_input(images: Tensor) -> Tensor:
    """Return (N, 28, 28) uint8 images as the (N, 1, 28, 28) float in [0, 1] that every network takes."""
    return images.float().div_(255).unsqueeze(1)


def predict(module: nn.Module, images: Tensor, radius: int = 0, precision: Precision = "fp32") -> NDArray[np.float32]:
    """Return probabilities, (N, 10) float32, of `images`, (N, 28, 28) uint8 on the module's device.

    radius: average the probabilities over shifts of up to so many pixels. MNIST's digits are never mirrored, so
    shifts, and no flips, are what test-time augmentation can use.
    """
    return answer(module, images, radius, precision)[0]


@torch.no_grad()
def answer(
    module: nn.Module, images: Tensor, radius: int = 0, precision: Precision = "fp32"
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return `predict`'s probabilities, and the probability that each image is a digit at all, (N,) float32.

    The second is 1 throughout for a network of ten logits, which has never been shown anything else.
    """
    modes = [(part, part.training) for part in module.modules()]  # one by one: a frozen part is not in training
    module.eval()
    shifts = len(shift_offsets(radius))
    parts, known = [], []
    for start in range(0, len(images), BATCH):
        batch = to_input(images[start : start + BATCH])
        total, digit = torch.zeros(len(batch), 10, device=batch.device), torch.zeros(len(batch), device=batch.device)
        for moved in shifted(batch, radius):
            with autocast(batch.device, precision):
                logits = module(moved)
            total += F.softmax(logits[:, :10].float(), dim=1)
            digit += F.softmax(logits.float(), dim=1)[:, :10].sum(1)
        parts.append(total / shifts)
        known.append(digit / shifts)
    for part, training in modes:
        part.training = training
    if not parts:
        return np.zeros((0, 10), np.float32), np.zeros(0, np.float32)
    return torch.cat(parts).cpu().numpy(), torch.cat(known).clamp_(max=1).cpu().numpy()
