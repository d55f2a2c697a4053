"""A convolutional network in whole numbers: weights of eight bits, a scale and a bias a channel.

A run with `training.weight_bits` answers with rounded weights. Taken apart, they are whole numbers again, and what
those compute is the reference for the code that is generated from them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from tenfold.errors import ExportError
from tenfold.models.blocks import ACTIVATIONS, activation_named, pooled, shifted
from tenfold.models.cnn import Block, ConvNet

Floats = NDArray[np.float32]
LARGEST = 127  # of the whole numbers; symmetric, so -128 is never used
SCALE_BITS = 16  # of a scale: its product with a whole number is then exact in fp32, and can be taken apart again
ADVICE = "Give a run of a convnet that was trained with training.weight_bits = 8, such as recipe 'tiny'."
SMALLEST = 1e-30  # channels whose weights are all below are zero; their scales would leave fp32's normal numbers


def whole_numbers(weights: NDArray[Any]) -> tuple[NDArray[np.int8], Floats]:
    """Return integers, int8 of `weights`' shape, and scales, (len(weights),): their products are nearest to `weights`.

    The largest integer of every output channel is LARGEST. Weights that are such products already give back the very
    same ones.
    """
    largest = np.abs(weights.reshape(len(weights), -1).astype(np.float64)).max(1)
    mantissa, exponent = np.frexp(np.where(largest < SMALLEST, LARGEST, largest) / LARGEST)
    scales = np.ldexp(np.rint(mantissa * 2**SCALE_BITS) / 2**SCALE_BITS, exponent)
    return np.rint(weights / _a_channel(scales, weights.ndim)).astype(np.int8), scales.astype(np.float32)


def products(integers: NDArray[np.int8], scales: Floats) -> Floats:
    """Return the weights, fp32 of `integers`' shape; exact."""
    weights: Floats = integers * _a_channel(scales, integers.ndim)
    return weights


def _a_channel(numbers: NDArray[Any], dimensions: int) -> NDArray[Any]:
    """Return numbers (N,) as (N, 1, ..., 1), to go with what has a channel first."""
    return numbers.reshape(-1, *[1] * (dimensions - 1))


def rounded(module: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a ConvNet's `weights` in eight bits, same names, shapes, dtypes and devices; biases stay as they are.

    Every filter and matrix becomes the nearest products of whole numbers, -127 to 127, and one scale an output channel.
    Batch norms are left to add a bias and nothing else. The given tensors are not changed.
    """
    tensors = dict(weights)
    for name, part in module.named_modules():
        if isinstance(part, Block):
            _fold(tensors, f"{name}.conv.weight", f"{name}.norm", part.norm.eps)
    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            weight = tensors[f"{name}.weight"]
            nearest = products(*whole_numbers(weight.detach().double().cpu().numpy()))
            tensors[f"{name}.weight"] = torch.from_numpy(nearest).to(weight)
    return tensors


def _fold(tensors: dict[str, Tensor], filters: str, norm: str, epsilon: float) -> None:
    """Move all that a batch norm does into the filters before it, but for a bias."""
    weight, bias, mean, variance = (
        tensors[f"{norm}.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
    )
    factor = weight / (variance + epsilon).sqrt()
    folded = {
        filters: tensors[filters].double() * factor[:, None, None, None],
        f"{norm}.weight": torch.ones_like(weight),
        f"{norm}.bias": bias - mean * factor,
        f"{norm}.running_mean": torch.zeros_like(mean),
        # Batch norm adds epsilon in fp32, and so comes to divide by 1 exactly.
        f"{norm}.running_var": torch.full_like(variance, float(1 - np.float32(epsilon))),
    }
    tensors.update({name: tensor.to(tensors[name]) for name, tensor in folded.items()})


@dataclass(frozen=True)
class IntegerLayer:
    """One convolution, or the linear layer at the end.

    integers: (outside, inside, edge, edge) int8, of the linear layer (outside, inside). scales, biases: (outside,).
    halved: 2x2 maxima are taken of its input first. residual: its input is added to its output.
    """

    integers: NDArray[np.int8]
    scales: Floats
    biases: Floats
    halved: bool = False
    residual: bool = False


@dataclass(frozen=True)
class IntegerNetwork:
    """All that a ConvNet of ten classes computes, from pixels to calibrated probabilities.

    shifts: (down, right) by which an image is moved; the answers to all of them are averaged. The other settings are
    ConvNet's own.
    """

    layers: list[IntegerLayer]
    head: IntegerLayer
    patch: int
    crop: int
    pool: str
    activation: str
    shifts: list[tuple[int, int]]
    temperature: float

    @property
    def edge(self) -> int:
        """The edge of the first layer's input, in pixels."""
        return (28 - 2 * self.crop) // self.patch

    @property
    def weights(self) -> int:
        """How many bytes the whole numbers take: one each."""
        return sum(layer.integers.size for layer in [*self.layers, self.head])

    @property
    def numbers(self) -> int:
        """How many scales and biases there are besides, in fp32."""
        return sum(2 * len(layer.scales) for layer in [*self.layers, self.head])

    @torch.no_grad()
    def probabilities(self, images: NDArray[np.uint8]) -> Floats:
        """Return the answers, (N, 10) float32, to images (N, 28, 28) uint8, as the generated code computes them."""
        pixels = torch.from_numpy(images).float().div(255).unsqueeze(1)
        moved = shifted(pixels, max(abs(down) for down, _ in self.shifts))
        shares = F.softmax(self._logits(torch.cat(moved)).double(), dim=1).reshape(len(moved), -1, 10).mean(0)
        powers = shares.clamp_min(1e-30).log() / self.temperature
        return np.asarray(F.softmax(powers, dim=1).float().numpy())

    def _logits(self, pixels: Tensor) -> Tensor:
        """Return (N, 10) for pixels (N, 1, 28, 28)."""
        x = F.pixel_unshuffle(pixels[:, :, self.crop : 28 - self.crop, self.crop : 28 - self.crop], self.patch)
        for layer in self.layers:
            before = F.max_pool2d(x, 2) if layer.halved else x
            integers, scales, biases = (torch.from_numpy(each) for each in (layer.integers, layer.scales, layer.biases))
            sums = F.conv2d(before, integers.float(), padding=integers.shape[2] // 2)
            x = activation_named(self.activation)(sums * scales[:, None, None] + biases[:, None, None])
            if layer.residual:
                x = x + before
        sums = pooled(x, self.pool) @ torch.from_numpy(self.head.integers).float().T
        return sums * torch.from_numpy(self.head.scales) + torch.from_numpy(self.head.biases)


def taken_apart(module: nn.Module, shifts: list[tuple[int, int]], temperature: float) -> IntegerNetwork:
    """Return the whole numbers of a network in evaluation mode whose weights are rounded.

    Raises ExportError for another network than a ConvNet of ten classes, and for weights that are not rounded.
    """
    if not isinstance(module, ConvNet):
        raise ExportError(f"The network '{type(module).__name__}' has no weights in whole numbers. {ADVICE}")
    if module.head.out_features != 10:
        raise ExportError(
            f"The network has '{module.head.out_features}' classes, and a header can answer with 10 alone. "
            "Train with model.classes = 10."
        )
    layers = []
    for name, block in module.named_modules():
        if isinstance(block, Block):
            activation = next(each for each, kind in ACTIVATIONS.items() if type(block.activation) is kind)
            _, stage, place = name.split(".")
            halved = stage != "0" and place == "0"
            layers.append(
                IntegerLayer(*_integers(block.conv.weight, f"{name}.conv"), _bias(block.norm), halved, block.residual)
            )
    head = IntegerLayer(*_integers(module.head.weight, "head"), _array(module.head.bias))
    return IntegerNetwork(layers, head, module.patch, module.crop, module.pool, activation, shifts, temperature)


def _integers(weight: Tensor, name: str) -> tuple[NDArray[np.int8], Floats]:
    """Return the whole numbers and scales of a layer; ExportError where its weights are no such products."""
    weights = _array(weight)
    integers, scales = whole_numbers(weights)
    if not np.array_equal(products(integers, scales), weights):
        raise ExportError(f"The weights of '{name}' are not rounded to eight bits. {ADVICE}")
    return integers, scales


def _bias(norm: nn.BatchNorm2d) -> Floats:
    """Return what a folded batch norm adds; ExportError where it does more than that."""
    assert norm.running_mean is not None and norm.running_var is not None
    divisor = _array(norm.running_var) + np.float32(norm.eps)
    if (_array(norm.running_mean) != 0).any() or (_array(norm.weight) != divisor).any():
        raise ExportError(f"The batch norm of '{norm.num_features}' channels is not folded away. {ADVICE}")
    return _array(norm.bias)


def _array(tensor: Tensor) -> Floats:
    """Return a copy, which no longer changes with the network."""
    array: Floats = tensor.detach().cpu().numpy().copy()
    return array
