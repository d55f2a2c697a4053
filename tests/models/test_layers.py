"""Networks from lists of layers: published parameter counts, PyTorch's own numbers, and errors that name the layer."""

import pytest
import torch
from torch import nn

from tenfold.errors import RecipeError
from tenfold.models import build
from tenfold.models.layers import Layers
from tenfold.training.recipe import load


@pytest.mark.parametrize(
    ("recipe", "parameters"),
    [("dense-128", 101_770), ("dense-128-64", 109_386), ("two-conv", 429_258), ("deep-20", 436_010)],
)
def test_parameter_counts_are_the_published_ones(recipe: str, parameters: int) -> None:
    """The published systems have as many parameters as their sources say."""
    model = load(recipe).model
    assert sum(p.numel() for p in build(model.kind, model.arguments()).parameters()) == parameters


def test_same_numbers_as_written_out() -> None:
    """A list of layers computes what the same layers of torch.nn compute, ReLU before the pooling and all."""
    torch.manual_seed(0)
    ours = Layers(
        ["conv 4 5x5", "pool", "pad 1", "conv 6 norm valid", "norm", "dropout 0.5", "dense 7"], mean=0.1, std=0.3
    ).eval()
    torch.manual_seed(0)
    theirs = nn.Sequential(
        nn.Conv2d(1, 4, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.ZeroPad2d(1),
        nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.BatchNorm2d(6),
        nn.Flatten(), nn.Linear(6 * 14 * 14, 7), nn.ReLU(), nn.Linear(7, 10),
    ).eval()  # fmt: skip
    x = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(ours(x), theirs((x - 0.1) / 0.3))


@pytest.mark.parametrize(("layer", "reduce"), [("global max", "amax"), ("global mean", "mean")])
def test_global_pools(layer: str, reduce: str) -> None:
    """A global pool leaves one number a channel."""
    torch.manual_seed(0)
    module = Layers(["conv 5", layer]).eval()
    x = torch.rand(2, 1, 28, 28)
    expected = module.layers[-1](getattr(module.layers[:2](x), reduce)((2, 3)))
    torch.testing.assert_close(module(x), expected)


def test_an_image_is_flattened_by_itself() -> None:
    """Without `flatten` the last layer, or a dense one, flattens what comes."""
    assert Layers([])(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    assert Layers(["pool 3", "dense 4"])(torch.rand(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["conv 8 29x29 valid"], "layer 1, 'conv 8 29x29 valid': 29x29 filters do not fit into 28x28 pixels"),
        (["pool"] * 5, "layer 5, 'pool': 1x1 pixels are too few to pool 2x2"),
        (["flatten", "conv 3"], "layer 2, 'conv 3': it needs an image, and what comes in is flat already"),
        (["conv 3 4x4"], "filters of even size 4 cannot keep the size; add 'valid'"),
        (["conv 3 3x5"], "'3x5' is not square"),
        (["conv"], "'' is not a whole number above 0"),
        (["dense 0"], "'0' is not a whole number above 0"),
        (["dense 8 fast"], "'fast' means nothing here"),
        (["cnv 3"], "'cnv' is no layer; known are conv, dense"),
        ([""], "'' is no layer"),
        (["dropout 1"], "dropout is '1.0'"),
        (["dropout half"], "could not convert string to float: 'half'"),
        (["global min"], "write 'global max' or 'global mean'"),
    ],
)
def test_impossible_layers_are_named(layers: list[str], message: str) -> None:
    """A layer that cannot be is named by number and text, in one line."""
    with pytest.raises(RecipeError) as caught:
        build("layers", {"layers": layers})
    assert message in str(caught.value)
    assert "Mend the [model] table." in str(caught.value)


def test_impossible_arguments_are_named() -> None:
    """A division by zero and an unknown activation are refused."""
    with pytest.raises(RecipeError, match="std is '0'"):
        build("layers", {"layers": [], "std": 0})
    with pytest.raises(RecipeError, match="activation is 'relo'"):
        build("layers", {"layers": ["dense 3"], "activation": "relo"})
