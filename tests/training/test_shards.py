"""Parts of a batch side by side: the same numbers as one after the other, and as the textbook says."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tenfold.data.digits import Digits
from tenfold.models.blocks import Dropout
from tenfold.training.loop import Trainer
from tenfold.training.recipe import load
from tenfold.training.shards import Shards


def small() -> nn.Module:
    """Return a small network with batch norm."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 10))


@pytest.mark.parametrize("threads", [1, 2])
def test_gradients_and_statistics(threads: int) -> None:
    """Merged gradients are the sum over the parts, statistics their mean, and weights are shared memory."""
    module, inputs = small(), torch.randn(8, 1, 8, 8)
    expected = []
    for part in inputs.tensor_split(2):
        alone = small()
        alone(part).square().sum().backward()
        expected.append(alone)
    shards = Shards(module, 2, threads)
    parts = inputs.tensor_split(2)
    shards.each(lambda number: shards.modules[number](parts[number]).square().sum().backward())
    shards.merge()
    shards.close()
    for name, parameter in module.named_parameters():
        grads = [dict(alone.named_parameters())[name].grad for alone in expected]
        torch.testing.assert_close(parameter.grad, grads[0] + grads[1])
        assert dict(shards.modules[1].named_parameters())[name].data_ptr() == parameter.data_ptr()
    for twin in shards.modules:
        means = [alone[1].running_mean for alone in expected]
        torch.testing.assert_close(twin[1].running_mean, (means[0] + means[1]) / 2)


def test_threads_do_not_change_the_weights(make_digits: Callable[..., Digits]) -> None:
    """Two halves on two threads give the weights of the same halves one after the other, bit for bit."""
    digits = make_digits(160)
    overrides = ["model.widths=[[8],[16]]", "training.batch_size=32", "training.epochs=4", "training.min_steps=0"]
    assert digits.labels is not None
    trained = []
    for threads in (1, 2, 2):
        recipe = load("fast", [*overrides, "training.shards=2", "training.precision=fp32"])
        trainer = Trainer(
            recipe, digits.images, digits.labels, None, seed=0, device=torch.device("cpu"), threads=threads
        )
        assert len(trainer.shards) == 2
        trainer.run()
        trained.append({name: tensor.clone() for name, tensor in trainer.weights().items()})
    for other in trained[1:]:
        assert all(torch.equal(trained[0][name], other[name]) for name in other)


def test_each_part_drops_by_its_own_generator() -> None:
    """Dropout in two parts drops the same whether the parts run on two threads or one after the other."""
    inputs = torch.ones(64, 256)
    drawn = []
    for threads in (1, 2, 2):
        shards = Shards(nn.Sequential(Dropout(0.5)), 2, threads)
        shards.draw_from([torch.Generator().manual_seed(number) for number in range(2)])
        shards.train()
        drawn.append(shards.each(lambda number, parts=shards.modules: parts[number](inputs)))
        shards.close()
    assert not torch.equal(drawn[0][0], drawn[0][1])
    for other in drawn[1:]:
        assert all(torch.equal(a, b) for a, b in zip(drawn[0], other, strict=True))


def test_what_is_frozen_stays_in_evaluation_mode() -> None:
    """Training mode passes over a module with a true `frozen`, and over nothing else."""
    module = small()
    module[1].frozen = True
    shards = Shards(module, 2, 1)
    shards.train()
    for part in shards.modules:
        assert [layer.training for layer in part] == [True, False, True, True]


def test_parts_without_batch_norm_merge() -> None:
    """A network without statistics is merged by its gradients alone."""
    shards = Shards(nn.Sequential(nn.Linear(3, 2)), 2, 1)
    shards.each(lambda number: shards.modules[number](torch.ones(1, 3)).sum().backward())
    shards.merge()
    assert torch.equal(shards.modules[0][0].weight.grad, torch.full((2, 3), 2.0))


def test_an_error_in_a_part_comes_out() -> None:
    """What goes wrong in a thread is raised, not lost."""
    shards = Shards(small(), 2, 2)

    def job(number: int) -> None:
        if number == 1:
            raise ValueError("part 1")

    with pytest.raises(ValueError, match="part 1"):
        shards.each(job)
    shards.close()
