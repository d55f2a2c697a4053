"""Optimisers, the learning rate's schedule, and the moving average of the weights."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from tenfold.training.recipe import OptimiserSettings, ScheduleSettings

# Newton-Schulz coefficients of Muon's quintic iteration (Jordan et al., 2024).
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 3


class Muon(torch.optim.Optimizer):
    """Momentum whose update of every matrix is brought near the closest orthogonal one (Jordan et al., 2024).

    A convolution's filter is taken as the matrix (out, in * height * width). torch.optim.Muon accepts matrices alone.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                buffer = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(buffer, group["momentum"])  # Nesterov
                matrix = update.flatten(1)
                orthogonal = orthogonalise(matrix).view_as(update)
                # A step of equal root-mean-square size for every shape.
                size = group["lr"] * math.sqrt(max(1.0, matrix.shape[0] / matrix.shape[1]))
                weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(orthogonal, alpha=size)


def orthogonalise(matrix: Tensor) -> Tensor:
    """Return the orthogonal matrix nearest to `matrix`, roughly, by Newton-Schulz steps; same shape and dtype."""
    a, b, c = NEWTON_SCHULZ
    x = matrix.bfloat16()
    x = x / (x.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = (x.T if tall else x).to(matrix.dtype)
    return result


class Optimiser:
    """One or two torch optimisers under one learning-rate multiple, with clipping."""

    def __init__(self, module: nn.Module, settings: OptimiserSettings) -> None:
        self.clip_norm = settings.clip_norm
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.parts = _build(module, settings)
        self._peaks = [[group["lr"] for group in part.param_groups] for part in self.parts]

    def step(self, multiple: float) -> None:
        """Update the weights at `multiple` times the recipe's learning rate, and clear the gradients."""
        if self.clip_norm:
            nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        for part, peaks in zip(self.parts, self._peaks, strict=True):
            for group, peak in zip(part.param_groups, peaks, strict=True):
                group["lr"] = peak * multiple
            part.step()
            part.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Return every tensor of the optimisers' state by a flat name."""
        return {
            f"{number}.{index}.{key}": torch.as_tensor(value)
            for number, part in enumerate(self.parts)
            for index, entry in part.state_dict()["state"].items()
            for key, value in entry.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""
        for number, part in enumerate(self.parts):
            entries: dict[int, dict[str, Tensor]] = {}
            for name, tensor in tensors.items():
                owner, index, key = name.split(".", 2)
                if int(owner) == number:
                    entries.setdefault(int(index), {})[key] = tensor
            part.load_state_dict({"state": entries, "param_groups": part.state_dict()["param_groups"]})


def _build(module: nn.Module, settings: OptimiserSettings) -> list[torch.optim.Optimizer]:
    """Return the torch optimisers; weight decay is for matrices and filters, not for biases and norms."""
    weights = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in module.parameters() if p.requires_grad and p.ndim <= 1]
    decay, betas = settings.weight_decay, (settings.momentum, settings.beta2)
    if settings.kind == "muon":
        filters = [p for p in weights if p.ndim == 4]
        rest = [p for p in weights if p.ndim != 4]
        side = [{"params": rest, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
        return [
            Muon(filters, settings.lr, settings.momentum, decay),
            torch.optim.AdamW([g for g in side if g["params"]], lr=settings.side_lr, betas=betas, fused=True),
        ]
    groups = [{"params": weights, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if settings.kind == "adamw":
        return [torch.optim.AdamW(groups, lr=settings.lr, betas=betas, fused=True)]
    momentum = settings.momentum
    return [torch.optim.SGD(groups, lr=settings.lr, momentum=momentum, nesterov=momentum > 0, fused=True)]


def multiple(settings: ScheduleSettings, progress: float) -> float:
    """Return the learning rate's multiple at `progress`, 0 to 1, for the schedules that depend on time alone.

    onecycle: straight up to 1 during the warm-up, straight down to `final`. cosine: the same with half a cosine down.
    constant and plateau: 1 after the warm-up (the plateau's own factor comes on top).
    """
    if progress < settings.warmup:
        return max(progress / settings.warmup, 0.02)
    after = (progress - settings.warmup) / (1 - settings.warmup)
    if settings.kind == "onecycle":
        return 1 - (1 - settings.final) * after
    if settings.kind == "cosine":
        return settings.final + (1 - settings.final) * 0.5 * (1 + math.cos(math.pi * min(after, 1.0)))
    return 1.0


class Average:
    """The exponential moving average of a module's weights and buffers."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.names = [name for name, tensor in module.state_dict().items() if tensor.is_floating_point()]
        self.live = [module.state_dict()[name] for name in self.names]
        self.slow = [tensor.detach().clone() for tensor in self.live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the live weights; early on faster, so that the start is forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.slow, self.live, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the live and the averaged weights; the same call again puts them back."""
        for live, slow in zip(self.live, self.slow, strict=True):
            held = live.clone()
            live.copy_(slow)
            slow.copy_(held)

    def weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the module's `state` with the averaged tensors in place of the live ones."""
        return state | self.state()

    def state(self) -> dict[str, Tensor]:
        """Return the averaged tensors by name."""
        return dict(zip(self.names, self.slow, strict=True))

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""
        for name, slow in zip(self.names, self.slow, strict=True):
            slow.copy_(tensors[name])
