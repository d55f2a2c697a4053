"""Rounding: weights of eight bits that compute almost what the others did, and a training that resumes without them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tenfold.data.digits import Digits
from tenfold.errors import RecipeError
from tenfold.models import build
from tenfold.models.integer_network import rounded, whole_numbers
from tenfold.runs.estimator import from_run
from tenfold.runs.run import Run
from tenfold.train import train
from tenfold.training import recipe as recipes

SMALL = ["model.widths=[[6],[8,8]]", "training.batch_size=32", "training.precision=fp32", "data.validation=0.2"]


@pytest.fixture
def network() -> nn.Module:
    """Return a network whose norms have come to statistics and weights of their own, one of them negative or zero."""
    torch.manual_seed(3)
    module = build("convnet", {"widths": [[8], [16, 16]], "residual": True, "pool": "both"}).eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.1, 3)
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
            with torch.no_grad():
                part.weight[0] = 0
    return module


@torch.no_grad()
def test_every_weight_is_a_whole_number_times_its_channels_scale(network: nn.Module) -> None:
    """Filters and matrices hold at most 255 values a channel, evenly spaced; none is off by more than half a step."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    after = rounded(network, network.state_dict())
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in after.items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in before.items()
    }
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    for name, weight in after.items():
        if not name.endswith(("conv.weight", "head.weight")):
            continue
        norm = before.get(name.replace("conv", "norm"))
        exact = before[name]
        if "conv" in name:
            variance = before[name.replace("conv.weight", "norm.running_var")]
            exact = exact * (norm / (variance + 1e-5).sqrt()).reshape(-1, 1, 1, 1)
        for channel, wanted in zip(weight.flatten(1), exact.flatten(1), strict=True):
            step = channel.abs().max().double() / 127
            assert (channel.double() - wanted).abs().max() <= 0.51 * wanted.abs().max() / 127
            if step:
                multiples = channel.double() / step
                assert (multiples - multiples.round()).abs().max() < 1e-6
    assert torch.equal(after["head.bias"], before["head.bias"])


@torch.no_grad()
def test_the_norms_add_a_bias_and_nothing_else(network: nn.Module) -> None:
    """After rounding, a norm gives its input plus its bias, to the last bit, and rounding again changes nothing."""
    network.load_state_dict(rounded(network, network.state_dict()))
    again = rounded(network, network.state_dict())
    assert all(torch.equal(again[name], tensor) for name, tensor in network.state_dict().items())
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            x = torch.randn(2, part.num_features, 5, 5)
            assert torch.equal(part(x), x + part.bias[:, None, None])


@torch.no_grad()
def test_rounding_changes_the_answers_little(network: nn.Module) -> None:
    """Logits change, by about the hundredth part that eight bits leave, and not by more."""
    x = torch.rand(64, 1, 28, 28)
    before = network(x)
    network.load_state_dict(rounded(network, network.state_dict()))
    assert 0 < (network(x) - before).abs().max() < 0.05 * before.abs().max()


@pytest.mark.parametrize("scale", [1e-35, 1e-12, 1.0, 3e10])
def test_products_are_taken_apart_again(scale: float) -> None:
    """A product gives back its own whole numbers and scales; a channel of nothing, or next to it, is zero."""
    weights = np.random.default_rng(0).normal(0, scale, (5, 3, 3, 3)).astype(np.float32)
    weights[2] = 0
    integers, scales = whole_numbers(weights)
    product = integers * scales.reshape(-1, 1, 1, 1)
    again, same = whole_numbers(product)
    assert (integers.dtype, scales.dtype, product.dtype) == (np.int8, np.float32, np.float32)
    assert np.array_equal(integers, again)
    assert np.array_equal(scales, same)
    largest = np.abs(integers.reshape(5, -1).astype(int)).max(1)
    assert largest.tolist() == ([0] * 5 if scale == 1e-35 else [127, 127, 0, 127, 127])


def _trained(digits: Digits, folder: Path, *overrides: str, **options: Any) -> Run:
    """Return a small run on generated digits."""
    np.savez(folder.with_suffix(".npz"), X=digits.images, y=digits.labels)
    data = str(folder.with_suffix(".npz"))
    train("fast", data, folder, overrides=[*SMALL, *overrides], threads=1, quiet=True, **options)
    return Run.open(folder)


def test_a_run_answers_with_rounded_weights(digits: Digits, tmp_path: Path) -> None:
    """Weights, accuracy, temperature and held-out answers are the rounded network's; the state is as without rounding.

    The average and the best weights, which a recipe may keep, are rounded too.
    """
    keep = ["training.epochs=8", "training.min_steps=0", "training.keep=best", "training.ema=0.9"]
    plain = _trained(digits, tmp_path / "plain", *keep)
    run = _trained(digits, tmp_path / "rounded", *keep, "training.weight_bits=8")
    module = build("convnet", run.recipe.model.arguments())
    expected = rounded(module, plain.weights())
    weights = run.weights()
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())
    assert not torch.equal(weights["head.weight"], plain.weights()["head.weight"])
    validation = run.validation()
    assert validation is not None
    held_out = digits.images[validation["indices"]]
    classifier = from_run(run, "cpu")
    np.testing.assert_allclose(classifier.predict_proba(held_out), validation["probabilities"], atol=1e-6)
    accuracy = (validation["probabilities"].argmax(1) == digits.labels[validation["indices"]]).mean()
    assert run.manifest["validation_accuracy"] == accuracy > 0.5
    states = [load_file(each.path / "state.safetensors") for each in (plain, run)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_a_run_that_was_cut_resumes_with_unrounded_weights(digits: Digits, tmp_path: Path) -> None:
    """A run that ran out of time answers with rounded weights, and resumed it ends as one that was never cut."""
    overrides = ["training.epochs=6", "training.min_steps=0", "training.weight_bits=8"]
    whole = _trained(digits, tmp_path / "whole", *overrides)
    cut = _trained(digits, tmp_path / "cut", *overrides, max_seconds=1e-9)
    assert cut.manifest["status"] == "out_of_time"
    assert np.array_equal(_steps(cut.weights()["head.weight"]), _steps(cut.weights()["head.weight"]).round())
    train(resume=cut.path, threads=1, quiet=True)
    resumed = Run.open(cut.path)
    assert resumed.manifest["status"] == "finished"
    assert resumed.weights_sha256() == whole.weights_sha256()


def _steps(weight: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a weight's values in steps of its channels' scales, to four digits."""
    array = weight.double().numpy()
    return np.round(array / (np.abs(array).max(1, keepdims=True) / 127), 4)


def test_the_recipe_says_it_only_where_it_is_meant() -> None:
    """The setting stays out of recipes that do without; other bits and other models are refused in one line."""
    plain, small = recipes.load("fast"), recipes.load("tiny")
    assert "weight_bits" not in plain.to_toml()
    assert "weight_bits = 8" in small.to_toml()
    assert recipes.load("fast", ["training.weight_bits=8"]).config_hash() != plain.config_hash()
    with pytest.raises(RecipeError, match="training.weight_bits = '4'"):
        recipes.load("fast", ["training.weight_bits=4"])
    with pytest.raises(RecipeError, match="is for the model 'convnet', not for 'layers'"):
        recipes.load("two-conv", ["training.weight_bits=8"])


def test_tiny_is_tiny() -> None:
    """The recipe `tiny` asks for eight bits and has at most 12,000 weights, biases and all."""
    recipe = recipes.load("tiny")
    assert recipe.training.weight_bits == 8
    network = build(recipe.model.kind, recipe.model.arguments())
    assert sum(parameter.numel() for parameter in network.parameters()) <= 12_000
