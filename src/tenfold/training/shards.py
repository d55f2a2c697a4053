"""A batch in parts that are computed side by side, each on a thread of its own.

Small networks leave the threads inside one operation with too little to do: two threads train the `instant` recipe no
faster than one (6.0 s against 6.4 s), while two halves of a batch, each on one thread, keep two cores busy. Every part
is normalised by its own statistics (ghost batch normalisation; Hoffer, Hubara and Soudry, 2017), so how a batch is
split belongs to the recipe, and threads, up to one a part, change the speed and not the weights.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import TypeVar

import torch
from torch import nn

from tenfold.models.blocks import Dropout

T = TypeVar("T")


class Shards:
    """The network once for each part: the same weights, each with gradients and statistics of its own."""

    def __init__(self, module: nn.Module, count: int, threads: int) -> None:
        self.modules = [module, *(_twin(module) for _ in range(count - 1))]
        self.parallel = threads > 1 and count > 1
        self.inner_threads = max(1, threads // count)
        self._pool: ThreadPoolExecutor | None = None
        self._parameters = [[p for p in each.parameters() if p.requires_grad] for each in self.modules]
        self._buffers = [[b for b in each.buffers() if b.is_floating_point()] for each in self.modules]

    def __len__(self) -> int:
        return len(self.modules)

    def each(self, job: Callable[[int], T]) -> list[T]:
        """Return job(0), job(1), ... for every part; side by side where there are threads."""
        if not self.parallel:
            return [job(number) for number in range(len(self))]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(
                len(self) - 1, initializer=torch.set_num_threads, initargs=(self.inner_threads,)
            )
        others = [self._pool.submit(job, number) for number in range(1, len(self))]
        first = job(0)
        return [first, *(other.result() for other in others)]

    @torch.no_grad()
    def merge(self) -> None:
        """Sum the parts' gradients into the first's, in a fixed order, and give all the mean of their statistics."""
        if len(self) == 1:
            return
        for parameters in zip(*self._parameters, strict=True):
            for other in parameters[1:]:
                parameters[0].grad.add_(other.grad)
                other.grad = None
        first = self._buffers[0]
        if not first:  # no batch norm
            return
        for number, buffers in enumerate(self._buffers[1:], start=2):
            torch._foreach_lerp_(first, buffers, 1 / number)
        self.spread()

    @torch.no_grad()
    def spread(self) -> None:
        """Copy the first part's statistics to the others."""
        for buffers in self._buffers[1:] if self._buffers[0] else ():
            torch._foreach_copy_(buffers, self._buffers[0])

    def train(self) -> None:
        """Put every part into training mode, but for what is frozen (a true attribute `frozen`)."""
        for module in self.modules:
            module.train()
            for part in module.modules():
                if getattr(part, "frozen", False):
                    part.eval()

    def draw_from(self, generators: Sequence[torch.Generator]) -> None:
        """Give each part's dropout that part's generator."""
        for module, generator in zip(self.modules, generators, strict=True):
            for part in module.modules():
                if isinstance(part, Dropout):
                    part.generator = generator

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _twin(module: nn.Module) -> nn.Module:
    """Return a copy that shares the weights' memory, and nothing else."""
    twin = deepcopy(module)
    for own, shared in zip(twin.parameters(), module.parameters(), strict=True):
        own.data = shared.data
    return twin
