"""What networks are made of: dropout that is dropout, activations by name."""

import pytest
import torch

from tenfold.models.blocks import Dropout, activation_named


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_its_share_and_scales_the_rest(layout: torch.memory_format, dtype: torch.dtype) -> None:
    """A quarter becomes 0, the others are divided by three quarters, and the layout in memory stays."""
    x = torch.ones(32, 16, 14, 14, dtype=dtype).to(memory_format=layout)
    y = Dropout(0.25)(x)
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=layout)
    assert set(y.unique().tolist()) == {0.0, torch.tensor(1 / 0.75, dtype=dtype).item()}
    # 100,352 draws: five standard deviations are 0.007. In no place of the four that share a draw less than elsewhere.
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.007)
    for place in range(4):
        flat = y.permute(0, 2, 3, 1).reshape(-1) if layout is torch.channels_last else y.reshape(-1)
        assert (flat[place::4] == 0).float().mean().item() == pytest.approx(0.25, abs=0.014)


def test_dropout_is_a_function_of_its_generator() -> None:
    """The same generator state drops the same; evaluation and a share of 0 drop nothing."""
    x, dropout = torch.ones(10, 30), Dropout(0.5)
    dropout.generator = torch.Generator().manual_seed(3)
    first = dropout(x)
    dropout.generator.manual_seed(3)
    assert torch.equal(first, dropout(x))
    assert not torch.equal(first, dropout(x))
    assert torch.equal(dropout.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_gradients_pass_where_values_did() -> None:
    """The gradient of a dropped value is 0, of a kept one 1 / (1 - p)."""
    x = torch.ones(20, 20, requires_grad=True)
    y = Dropout(0.5)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_bad_arguments() -> None:
    """A share outside [0, 1) and an unknown activation are named."""
    with pytest.raises(ValueError, match="dropout is '1.0'"):
        Dropout(1.0)
    with pytest.raises(ValueError, match="activation is 'relo'"):
        activation_named("relo")
