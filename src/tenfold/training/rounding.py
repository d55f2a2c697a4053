"""Weights of eight bits: batch norm folded into the convolutions, then every output channel rounded by its own scale.

The rounded weights stand in the same tensors as the others did, as products of a whole number and a scale, so that
whatever opens the run computes with them: the network itself, its ONNX graph, and the whole numbers taken apart again.
"""

import numpy as np
import torch
from torch import Tensor, nn

from tenfold.models.cnn import Block
from tenfold.models.integer_network import products, whole_numbers


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
