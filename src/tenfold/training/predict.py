"""Probabilities from a trained module, averaged over small shifts where the recipe asks for it."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from tenfold.models.blocks import shift_offsets, shifted
from tenfold.models.ensemble import Ensemble
from tenfold.progress import track
from tenfold.training.device import Precision, autocast
from tenfold.training.recipe import DistilSettings

DIGITS = 10
BATCH = 256  # activations of small networks stay in the processor's cache


def to_input(images: Tensor) -> Tensor:
    """Return (N, 28, 28) uint8 images as the (N, 1, 28, 28) float in [0, 1] that every network takes."""
    return images.float().div_(255).unsqueeze(1)


class Answered(NamedTuple):
    """What a network says of N images."""

    probabilities: NDArray[np.float32]  # (N, 10), averaged over the shifts
    digit_probability: NDArray[np.float32]  # (N,), of being a digit at all; 1 for a network that was shown no other
    unshifted: NDArray[np.float32]  # (N, 10), of the images as they are


def answer(module: nn.Module, images: Tensor, radius: int = 0, precision: Precision = "fp32") -> Answered:
    """Return what the module says of `images`, (N, 28, 28) uint8 on its device; its mode stays as it was.

    radius: average the probabilities over shifts of up to so many pixels. MNIST's digits are never mirrored, so
    shifts, and no flips, are what test-time augmentation can use.
    """
    modes = [(part, part.training) for part in module.modules()]  # one by one: a frozen part is not in training
    module.eval()
    starts, threads = range(0, len(images), BATCH), torch.get_num_threads()

    def answered(start: int) -> tuple[Tensor, Tensor, Tensor]:
        return _answered(module, to_input(images[start : start + BATCH]), radius, precision)

    # Batches side by side, each on one thread: two threads inside one operation wait for each other, on a machine that
    # is busy otherwise up to sixty times as long as one takes alone.
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        each = (pool.map if images.device.type == "cpu" and threads > 1 else map)(answered, starts)
        batches = [means for _, means in zip(track(starts), each, strict=False)]
    torch.set_num_threads(threads)  # for threads that begin later
    for part, training in modes:
        part.training = training
    if not len(images):
        return Answered(np.zeros((0, 10), np.float32), np.zeros(0, np.float32), np.zeros((0, 10), np.float32))
    return Answered(*(torch.cat(column).cpu().numpy() for column in zip(*batches, strict=True)))


@torch.no_grad()  # which each thread has to be told
def _answered(module: nn.Module, batch: Tensor, radius: int, precision: Precision) -> tuple[Tensor, Tensor, Tensor]:
    """Return what `Answered` holds, of one batch, (B, 1, 28, 28)."""
    digits, known = [], []
    for moved in shifted(batch, radius):
        with autocast(batch.device, precision):
            logits = module(moved).float()
        digits.append(F.softmax(logits[:, :DIGITS], dim=1))
        known.append(F.softmax(logits, dim=1)[:, :DIGITS].sum(1))
    unshifted = digits[shift_offsets(radius).index((0, 0))]
    return torch.stack(digits).mean(0), torch.stack(known).mean(0).clamp_(max=1), unshifted


class Teacher:
    """A trained network that is asked, and what the student is measured by. May be used by several threads at once.

    module: the network, on `device`, in evaluation mode. temperature: that makes its own answers calibrated.
    """

    def __init__(
        self, module: nn.Module, settings: DistilSettings, device: torch.device, temperature: float = 1.0
    ) -> None:
        if isinstance(module, Ensemble):
            module.without_shifts()
        self.module, self.settings, self.device = module, settings, device
        self.temperature = settings.temperature * temperature

    @torch.no_grad()
    def answers(self, inputs: Tensor, precision: Precision) -> Tensor:
        """Return the teacher's softened probabilities, (B, 10), of (B, 1, 28, 28) inputs in [0, 1]."""
        with autocast(self.device, precision):
            logits = self.module(inputs)
        return F.softmax(logits[:, :DIGITS].float() / self.temperature, dim=1)

    def losses(self, logits: Tensor, inputs: Tensor, hard: Tensor, precision: Precision) -> Tensor:
        """Return the loss of each image, (B,): `hard`, its loss by the labels, and the cross-entropy to the teacher.

        Divided by a softer temperature the gradients shrink by its square, so that part is multiplied by it (Hinton,
        Vinyals and Dean, 2015, section 2).
        """
        temperature, share = self.settings.temperature, self.settings.share
        student = F.log_softmax(logits[:, :DIGITS].float() / temperature, dim=1)
        soft = -(self.answers(inputs, precision) * student).sum(1) * temperature**2
        return share * soft + (1 - share) * hard
