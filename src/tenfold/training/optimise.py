"""Optimisers, the learning rate's schedule, and the moving average of the weights.

SGD, Adam, AdamW and RMSprop are the same as torch.optim's, which the tests hold them to. Their own few lines are here
because building any torch.optim optimiser imports torch's compiler, which takes a second: a third of what the `instant`
recipe takes.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tenfold.training.recipe import OptimiserSettings, ScheduleSettings

ADAM_EPSILON = 1e-8
# Newton-Schulz coefficients of Muon's quintic iteration (Jordan et al., 2024).
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 3

Each = Callable[[Callable[[int], None]], object]  # calls a job with 0, 1, ... perhaps side by side


class Rule:
    """How a list of weights is updated from their gradients; `state` holds a list of tensors by name."""

    coupled = True  # weight decay is a part of the gradient

    def __init__(self, weights: list[Tensor], lr: float, weight_decay: float, names: Sequence[str]) -> None:
        self.weights, self.lr, self.weight_decay = weights, lr, weight_decay
        self.state = {name: [torch.zeros_like(weight) for weight in weights] for name in names}

    def gradients(self) -> list[Tensor]:
        """Return the weights' gradients, with weight decay where that is coupled."""
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        if self.coupled and self.weight_decay:
            torch._foreach_add_(gradients, self.weights, alpha=self.weight_decay)
        return gradients

    def step(self, lr: float) -> None:
        """Update the weights at that learning rate."""
        raise NotImplementedError


class SGD(Rule):
    """Stochastic gradient descent with Nesterov momentum and coupled weight decay."""

    def __init__(self, weights: list[Tensor], lr: float, weight_decay: float, momentum: float) -> None:
        super().__init__(weights, lr, weight_decay, ["momentum"])
        self.momentum = momentum

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Update the weights at that learning rate."""
        gradients, buffers = self.gradients(), self.state["momentum"]
        torch._foreach_mul_(buffers, self.momentum)
        torch._foreach_add_(buffers, gradients)
        torch._foreach_add_(gradients, buffers, alpha=self.momentum)
        torch._foreach_add_(self.weights, gradients, alpha=-lr)


class AdamW(Rule):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    coupled = False

    def __init__(self, weights: list[Tensor], lr: float, weight_decay: float, betas: tuple[float, float]) -> None:
        super().__init__(weights, lr, weight_decay, ["mean", "square"])
        self.state["steps"] = [torch.zeros((), dtype=torch.float64)]
        self.betas = betas

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Update the weights at that learning rate."""
        steps, (beta1, beta2) = self.state["steps"][0].add_(1).item(), self.betas
        mean, divisor = self._moments(lr)
        torch._foreach_div_(divisor, math.sqrt(1 - beta2**steps))
        torch._foreach_add_(divisor, ADAM_EPSILON)
        torch._foreach_addcdiv_(self.weights, mean, divisor, -lr / (1 - beta1**steps))

    def _moments(self, lr: float) -> tuple[list[Tensor], list[Tensor]]:
        """Let the weights decay and the moments move; return the means and the roots of the squares, uncorrected."""
        gradients, (beta1, beta2) = self.gradients(), self.betas
        mean, square = self.state["mean"], self.state["square"]
        if not self.coupled:
            torch._foreach_mul_(self.weights, 1 - lr * self.weight_decay)
        torch._foreach_lerp_(mean, gradients, 1 - beta1)
        torch._foreach_mul_(square, beta2)
        torch._foreach_addcmul_(square, gradients, gradients, 1 - beta2)
        return mean, list(torch._foreach_sqrt(square))


class Adam(AdamW):
    """Adam with weight decay as part of the gradient (Kingma and Ba, 2015)."""

    coupled = True


class RMSprop(Rule):
    """Gradients divided by the root of their moving mean square (Hinton's lectures, 2012)."""

    def __init__(self, weights: list[Tensor], lr: float, weight_decay: float, smoothing: float) -> None:
        super().__init__(weights, lr, weight_decay, ["square"])
        self.smoothing = smoothing

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Update the weights at that learning rate."""
        gradients, square = self.gradients(), self.state["square"]
        torch._foreach_mul_(square, self.smoothing)
        torch._foreach_addcmul_(square, gradients, gradients, 1 - self.smoothing)
        divisor = torch._foreach_sqrt(square)
        torch._foreach_add_(divisor, ADAM_EPSILON)
        torch._foreach_addcdiv_(self.weights, gradients, divisor, -lr)


class Muon(Rule):
    """Momentum whose update of every matrix is brought near the closest orthogonal one (Jordan et al., 2024).

    A convolution's filter is taken as the matrix (out, in * height * width).
    parts, each: the matrices are dealt out to so many calls of a job that `each` makes; on two threads that takes a
    tenth off a training step.
    """

    def __init__(
        self, weights: list[Tensor], lr: float, weight_decay: float, momentum: float, parts: int, each: Each
    ) -> None:
        super().__init__(weights, lr, weight_decay, ["momentum"])
        self.momentum, self.each = momentum, each
        self._dealt = _deal(weights, parts)

    def step(self, lr: float) -> None:
        """Update the weights at that learning rate."""

        def update_part(number: int) -> None:
            for index in self._dealt[number]:
                self._update(self.weights[index], self.state["momentum"][index], lr)

        self.each(update_part)

    @torch.no_grad()
    def _update(self, weight: Tensor, buffer: Tensor, lr: float) -> None:
        direction, size = self._direction(weight, buffer)
        weight.mul_(1 - lr * self.weight_decay).sub_(direction, alpha=lr * size)

    def _direction(self, weight: Tensor, buffer: Tensor) -> tuple[Tensor, float]:
        """Return where a weight goes, and how far at a learning rate of 1: as far on average, whatever its shape."""
        assert weight.grad is not None
        buffer.lerp_(weight.grad, 1 - self.momentum)
        update = weight.grad.lerp(buffer, self.momentum)  # Nesterov
        matrix = update.flatten(1)
        return orthogonalise(matrix).view_as(update), math.sqrt(max(1.0, matrix.shape[0] / matrix.shape[1]))


def _deal(weights: list[Tensor], parts: int) -> list[list[int]]:
    """Return the weights' indices dealt out to `parts` lists of about equal work, the largest first."""
    dealt: list[list[int]] = [[] for _ in range(parts)]
    work = [0] * parts
    costs = [weight.numel() * min(len(weight), weight[0].numel()) for weight in weights]
    for index in sorted(range(len(weights)), key=lambda index: -costs[index]):
        least = work.index(min(work))
        dealt[least].append(index)
        work[least] += costs[index]
    return dealt


def orthogonalise(matrix: Tensor) -> Tensor:
    """Return the orthogonal matrix nearest to `matrix` (R, C), roughly, by Newton-Schulz steps; same dtype."""
    a, b, c = NEWTON_SCHULZ
    x = matrix.bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.mT
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.addmm(x, polynomial, x, beta=a)  # a x + (b gram + c gram^2) x
    result: Tensor = (x.mT if tall else x).to(matrix.dtype)
    return result


class Optimiser:
    """The rules that a recipe asks for, under one learning-rate multiple, with clipping."""

    def __init__(
        self, module: nn.Module, settings: OptimiserSettings, parts: int = 1, each: Each = lambda job: job(0)
    ) -> None:
        self.clip_norm = settings.clip_norm
        self.weights: list[Tensor] = [p for p in module.parameters() if p.requires_grad]
        self.penalised = [weight for weight in self.weights if weight.ndim > 1]
        self.l1, self.l2 = settings.l1, settings.l2
        self.rules = [rule for rule in _rules(self.weights, settings, parts, each) if rule.weights]

    def step(self, multiple: float) -> None:
        """Update the weights at `multiple` times the recipe's learning rate, and clear the gradients."""
        if self.l1 or self.l2:
            self._penalise()
        if self.clip_norm:
            nn.utils.clip_grad_norm_(self.weights, self.clip_norm)
        for rule in self.rules:
            rule.step(rule.lr * multiple)
        for weight in self.weights:
            weight.grad = None

    @torch.no_grad()
    def _penalise(self) -> None:
        """Add the gradient of l1 * sum |w| + l2 / 2 * sum w^2."""
        gradients = [weight.grad for weight in self.penalised if weight.grad is not None]
        if self.l1:
            torch._foreach_add_(gradients, torch._foreach_sign(self.penalised), alpha=self.l1)
        if self.l2:
            torch._foreach_add_(gradients, self.penalised, alpha=self.l2)

    def state(self) -> dict[str, Tensor]:
        """Return every tensor of the rules' state by a flat name."""
        return {
            f"{number}.{name}.{index}": tensor
            for number, rule in enumerate(self.rules)
            for name, tensors in rule.state.items()
            for index, tensor in enumerate(tensors)
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""
        for name, tensor in self.state().items():
            tensor.copy_(tensors[name])


def _rules(weights: list[Tensor], settings: OptimiserSettings, parts: int, each: Each) -> list[Rule]:
    """Return the rules; weight decay is for matrices and filters, not for biases and norms."""
    filters = [weight for weight in weights if weight.ndim == 4]
    matrices = [weight for weight in weights if weight.ndim in (2, 3)]
    vectors = [weight for weight in weights if weight.ndim <= 1]
    lr, decay, momentum = settings.lr, settings.weight_decay, settings.momentum
    betas = (momentum, settings.beta2)
    if settings.kind == "muon":
        muon = Muon(filters, lr, decay, momentum, parts, each)
        return [muon, AdamW(matrices, settings.side_lr, decay, betas), AdamW(vectors, settings.side_lr, 0.0, betas)]
    if settings.kind in ("adam", "adamw"):
        rule = Adam if settings.kind == "adam" else AdamW
        return [rule(filters + matrices, lr, decay, betas), rule(vectors, lr, 0.0, betas)]
    if settings.kind == "rmsprop":
        return [RMSprop(filters + matrices, lr, decay, settings.beta2), RMSprop(vectors, lr, 0.0, settings.beta2)]
    return [SGD(filters + matrices, lr, decay, momentum), SGD(vectors, lr, 0.0, momentum)]


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

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Have the averaged weights in the module for a while."""
        self._exchange()
        yield
        self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
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
