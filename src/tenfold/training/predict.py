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


def fit_temperature(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """Return the temperature that makes held-out probabilities most likely (Guo et al., 2017); 1 without a mistake.

    Label smoothing and averages over shifts leave a network too unsure. Temperatures within [1/8, 8]; the order of the
    digits, and so the answer, stays. Without a single mistake the likelihood would know no bound.
    """
    if not (probabilities.argmax(1) != labels).any():
        return 1.0
    from scipy.optimize import minimize_scalar

    def nll(log_temperature: float) -> float:
        answers = sharpen(probabilities, float(np.exp(log_temperature)))[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(answers, 1e-12)).mean())

    limit = np.log(8)
    return float(np.exp(minimize_scalar(nll, bounds=(-limit, limit), method="bounded").x))


def sharpen(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Return probabilities to the power 1 / temperature, scaled to sum to 1 again; same shape and dtype."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-30)) / temperature
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), dtype=np.float32)


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
