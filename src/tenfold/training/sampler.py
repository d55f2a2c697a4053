"""Which images a step is on: whole passes in random order, then passes over those that are still hard.

The order of a pass is a function of seed, pass, and the losses seen so far, so that resuming repeats it.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tenfold.training.recipe import TrainingSettings

RANDOM_PART = 0.3  # of a pass over hard images: drawn from the others, so that none is forgotten


class Sampler:
    """The batches of one training of `count` images; `losses` and `order` are all that resuming needs."""

    def __init__(self, count: int, settings: TrainingSettings, seed: int, device: torch.device) -> None:
        self.count, self.settings, self.seed, self.device = count, settings, seed, device
        self.batch_size = min(settings.batch_size, count)
        self.steps_per_epoch = count // self.batch_size
        self.losses = torch.full((count,), torch.inf, device=device)  # each image's last seen loss
        self.order = torch.zeros(0, dtype=torch.int64, device=device)  # the images of the present pass

    def batch(self, step: int) -> Tensor:
        """Return the indices of the step's images, (B,) int64."""
        number, start = self._pass_of(step)
        if step == start or not len(self.order):
            self.order = torch.from_numpy(self._pass_order(number)).to(self.device)
        at = (step - start) * self.batch_size
        return self.order[at : at + self.batch_size]

    def _pass_of(self, step: int) -> tuple[int, int]:
        """Return the number of the pass over the images that `step` falls in, and the pass's first step."""
        number, into = divmod(step, self.steps_per_epoch)
        whole = self.settings.hard_after
        if number < whole:
            return number, step - into
        later, into = divmod(step - whole * self.steps_per_epoch, self._hard_steps)
        return whole + later, step - into

    @property
    def _hard_steps(self) -> int:
        """Steps in a pass over hard images; with a hard share of 1 those are all."""
        return max(1, int(self.count * self.settings.hard_share) // self.batch_size)

    def _pass_order(self, number: int) -> NDArray[np.int64]:
        """Return the images of a pass in their order.

        After the first `hard_after` passes, most images are learnt: a pass then takes those whose loss was highest
        when last seen, and a random part of the others (after Jiang et al., 2019, with the losses that training
        computes anyway in place of a forward pass over all images). The very highest losses are left out where the
        recipe asks for it: they belong, most of them, to images with a wrong label.
        """
        generator = np.random.default_rng((self.seed, number))
        settings = self.settings
        if settings.hard_share == 1 or number < settings.hard_after:
            return generator.permutation(self.count)
        doubtful = int(self.count * settings.doubtful_share)
        taken = min(self._hard_steps * self.batch_size, self.count - doubtful)
        by_loss = np.argsort(-self.losses.cpu().numpy(), kind="stable")[doubtful:]
        hardest = taken - int(taken * RANDOM_PART)
        others = generator.choice(by_loss[hardest:], taken - hardest, replace=False)
        return generator.permutation(np.concatenate([by_loss[:hardest], others]))
