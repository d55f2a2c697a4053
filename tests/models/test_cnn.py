"""Networks: shapes, counts, and arguments that do what they say."""

import importlib

import pytest
import torch

from tenfold.errors import RecipeError
from tenfold.models import CLASSICAL, MODELS, build


@pytest.mark.parametrize("pool", ["max", "mean", "both"])
@pytest.mark.parametrize(("patch", "crop"), [(1, 0), (2, 2), (4, 2)])
def test_logits_for_every_input_fold(patch: int, crop: int, pool: str) -> None:
    """Every way to take the input in gives ten finite logits an image."""
    module = build("convnet", {"widths": [[8], [16, 16]], "patch": patch, "crop": crop, "pool": pool})
    logits = module(torch.rand(3, 1, 28, 28))
    assert logits.shape == (3, 10)
    assert logits.isfinite().all()


def test_parameter_count_by_hand() -> None:
    """4->8 and 8->16 filters of 3x3, their norms, and the last layer: counted by hand."""
    module = build("convnet", {"widths": [[8], [16]], "patch": 2})
    expected = (4 * 8 * 9 + 2 * 8) + (8 * 16 * 9 + 2 * 16) + (16 * 10 + 10)
    assert sum(p.numel() for p in module.parameters()) == expected


def test_crop_ignores_the_margin() -> None:
    """Ink in the cropped margin changes nothing; ink inside does."""
    module = build("convnet", {"widths": [[8]], "crop": 2}).eval()
    blank, margin, inside = torch.zeros(3, 1, 1, 28, 28)
    margin[..., :2, :] = 1
    inside[..., 10:12, :] = 1
    assert torch.equal(module(blank), module(margin))
    assert not torch.allclose(module(blank), module(inside))


def test_every_model_is_a_module() -> None:
    """MODELS names torch modules, and classical models besides, under names that a recipe can write."""
    networks = [MODELS[kind].partition(":") for kind in MODELS if kind not in CLASSICAL]
    assert networks
    for module, _, name in networks:
        assert issubclass(getattr(importlib.import_module(module), name), torch.nn.Module)


@pytest.mark.parametrize(
    "arguments",
    [
        {"widths": []},
        {"widths": [[8], []]},
        {"widths": [[8, 0]]},
        {"widths": [[8]], "patch": -1},
        {"widths": [[8]], "kernel": 0},
        {"widths": [[8]], "first_kernel": 0},
        {"widths": [[8]], "activation": "tanh!"},
        {"widths": [[8]], "pool": "min"},
    ],
)
def test_senseless_arguments_are_refused(arguments: dict[str, object]) -> None:
    """Arguments that make no network are a clear error."""
    with pytest.raises(RecipeError, match="cannot be built"):
        build("convnet", arguments)
