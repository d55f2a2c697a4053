"""Optimisers, schedules and averages, against formulas and torch's own."""

import pytest
import torch
from torch import nn

from tenfold.training.optimise import Average, Optimiser, multiple, orthogonalise
from tenfold.training.recipe import OptimiserSettings, ScheduleSettings


def test_onecycle_by_hand() -> None:
    """Onecycle rises straight to 1 at the end of the warm-up and falls straight to `final`."""
    schedule = ScheduleSettings(kind="onecycle", warmup=0.2, final=0.1)
    assert multiple(schedule, 0.1) == pytest.approx(0.5)
    assert multiple(schedule, 0.2) == pytest.approx(1.0)
    assert multiple(schedule, 0.6) == pytest.approx(0.55)
    assert multiple(schedule, 1.0) == pytest.approx(0.1)


def test_cosine_by_hand() -> None:
    """Cosine falls along half a cosine after the warm-up."""
    schedule = ScheduleSettings(kind="cosine", warmup=0.0, final=0.0)
    assert multiple(schedule, 0.0) == pytest.approx(1.0)
    assert multiple(schedule, 0.25) == pytest.approx(0.5 * (1 + 2**-0.5))
    assert multiple(schedule, 0.5) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", ["constant", "plateau"])
def test_constant_after_the_warmup(kind: str) -> None:
    """Constant and plateau stay at 1 once warm; the plateau's reductions are the trainer's."""
    schedule = ScheduleSettings(kind=kind, warmup=0.5)
    assert [multiple(schedule, progress) for progress in (0.25, 0.5, 0.99)] == [0.5, 1.0, 1.0]


@pytest.mark.parametrize("shape", [(16, 100), (100, 16), (32, 32)])
def test_orthogonalise_flattens_the_spectrum(shape: tuple[int, int]) -> None:
    """Singular values a hundredfold apart come near one another, and the singular vectors stay."""
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    values = torch.logspace(-1, 1, left.shape[1])
    result = orthogonalise(left * values @ right)
    assert result.shape == shape
    assert result.dtype == torch.float32
    got = (left.T @ result @ right.T).diagonal()
    spread = values.max() / values.min()
    assert got.max() / got.min() < spread / 8
    assert (got > 0).all()


def _trained(settings: OptimiserSettings, steps: int = 60) -> tuple[nn.Module, float]:
    """Return a small network fitted to fixed data, and its last loss."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    optimiser = Optimiser(module, settings)
    inputs, labels = torch.randn(30, 1, 8, 8), torch.arange(30) % 3
    for _ in range(steps):
        loss = nn.functional.cross_entropy(module(inputs), labels)
        loss.backward()
        optimiser.step(1.0)
    return module, loss.item()


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw", "rmsprop", "muon"])
def test_every_optimiser_learns(kind: str) -> None:
    """Sixty steps bring the loss on thirty samples from 1.1 to below 0.1."""
    assert _trained(OptimiserSettings(kind=kind, lr=0.1 if kind == "sgd" else 0.02))[1] < 0.1


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw", "rmsprop"])
def test_rules_agree_with_torch(kind: str, weight_decay: float) -> None:
    """SGD with Nesterov momentum, Adam, AdamW and RMSprop step as torch.optim does; biases do not decay."""
    settings = OptimiserSettings(kind=kind, lr=0.05, momentum=0.9, beta2=0.95, weight_decay=weight_decay)
    module, _ = _trained(settings, steps=5)
    torch.manual_seed(0)
    twin = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    groups = [
        {"params": [p for p in twin.parameters() if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in twin.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    theirs = {
        "sgd": lambda: torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True),
        "adam": lambda: torch.optim.Adam(groups, lr=0.05, betas=(0.9, 0.95)),
        "adamw": lambda: torch.optim.AdamW(groups, lr=0.05, betas=(0.9, 0.95)),
        "rmsprop": lambda: torch.optim.RMSprop(groups, lr=0.05, alpha=0.95),
    }
    optimiser = theirs[kind]()
    inputs, labels = torch.randn(30, 1, 8, 8), torch.arange(30) % 3
    for _ in range(5):
        optimiser.zero_grad()
        nn.functional.cross_entropy(twin(inputs), labels).backward()
        optimiser.step()
    for our, their in zip(module.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(our, their, rtol=1e-4, atol=1e-6)


def test_penalties_are_those_of_the_loss() -> None:
    """A step with l1 and l2 is a step on the loss plus l1 sum |w| + l2 / 2 sum w^2, without biases."""
    torch.manual_seed(0)
    module, inputs = nn.Linear(5, 3), torch.randn(4, 5)
    weight, bias = (p.detach().clone().requires_grad_() for p in (module.weight, module.bias))
    optimiser = Optimiser(module, OptimiserSettings(kind="sgd", lr=0.1, momentum=0.0, l1=0.3, l2=0.2))
    module(inputs).square().mean().backward()
    optimiser.step(1.0)
    (nn.functional.linear(inputs, weight, bias).square().mean() + 0.3 * weight.abs().sum()
     + 0.1 * weight.square().sum()).backward()  # fmt: skip
    torch.testing.assert_close(module.weight, weight - 0.1 * weight.grad)
    torch.testing.assert_close(module.bias, bias - 0.1 * bias.grad)


def test_clipping_bounds_the_step() -> None:
    """With clip_norm 1 and plain SGD the weights move by no more than the learning rate."""
    torch.manual_seed(0)
    module = nn.Linear(5, 3)
    before = [p.detach().clone() for p in module.parameters()]
    optimiser = Optimiser(module, OptimiserSettings(kind="sgd", lr=0.1, momentum=0.0, clip_norm=1.0))
    (module(torch.randn(4, 5)).sum() * 1000).backward()
    optimiser.step(1.0)
    moved = torch.cat([(p - b).flatten() for p, b in zip(module.parameters(), before, strict=True)])
    assert moved.norm().item() == pytest.approx(0.1, rel=1e-3)


def test_average_by_hand() -> None:
    """The average follows slow += (1 - decay) (live - slow), with the decay rising as (1 + step) / (10 + step)."""
    module = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(0.0)
        average = Average(module, 0.5)
        module.weight.fill_(1.0)
        average.update(0)  # decay 0.1
        assert average.state()["weight"].item() == pytest.approx(0.9)
        average.update(1000)  # decay 0.5
        assert average.state()["weight"].item() == pytest.approx(0.95)
        with average.in_place():
            assert module.weight.item() == pytest.approx(0.95)
        assert module.weight.item() == pytest.approx(1.0)
