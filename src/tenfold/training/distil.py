"""A teacher: a trained network whose answers another network learns from, beside the labels.

The teacher sees the very images that the student is shown, distorted as they are, so that it says something new of
them in every epoch. Averaging over shifts is left out: it would cost five times as much and the distortions move the
images anyway.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tenfold.models.ensemble import Ensemble
from tenfold.training.device import Arithmetic, autocast
from tenfold.training.recipe import DistilSettings

DIGITS = 10


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
    def answers(self, inputs: Tensor, arithmetic: Arithmetic) -> Tensor:
        """Return the teacher's softened probabilities, (B, 10), of (B, 1, 28, 28) inputs in [0, 1]."""
        with autocast(self.device, arithmetic.precision):
            logits = self.module(inputs)
        return F.softmax(logits[:, :DIGITS].float() / self.temperature, dim=1)

    def losses(self, logits: Tensor, inputs: Tensor, hard: Tensor, arithmetic: Arithmetic) -> Tensor:
        """Return the loss of each image, (B,): `hard`, its loss by the labels, and the cross-entropy to the teacher.

        Divided by a softer temperature the gradients shrink by its square, so that part is multiplied by it (Hinton,
        Vinyals and Dean, 2015, section 2).
        """
        temperature, share = self.settings.temperature, self.settings.share
        student = F.log_softmax(logits[:, :DIGITS].float() / temperature, dim=1)
        soft = -(self.answers(inputs, arithmetic) * student).sum(1) * temperature**2
        return share * soft + (1 - share) * hard
