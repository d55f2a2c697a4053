"""Networks of one architecture as a single one, in which their channels lie side by side: one program for all.

Every layer of the single network holds its members' weights stacked, (M, ...). A convolution takes the members as its
groups, batch norm knows of no member anyway, a linear layer is a batched product; all else works on each channel, or
each image, by itself, and stays as it is. The forward pass of the whole is the members' own code, on M times as many
channels.

torch.func.vmap over a functional call gives the same numbers. It lost on the one machine that we measured on (two
cores with bf16, `fast`, batches of 128, one thread, four members): 90 ms a member and step against 41 for this and 42
for the members one after the other, because it moves activations to and fro between the layouts of its rules.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tenfold.models.blocks import Dropout


class SideBySideConv(nn.Module):
    """Convolutions of several members; (B, M * C, H, W) to (B, M * outside, H', W')."""

    weight: Tensor  # (M, outside, C, height, width)
    bias: Tensor | None  # (M, outside)

    def __init__(self, members: Sequence[nn.Conv2d]) -> None:
        super().__init__()
        first = members[0]
        self.stride, self.padding, self.dilation = first.stride, first.padding, first.dilation
        _take(self, members)

    def forward(self, x: Tensor) -> Tensor:
        """Return all members' outputs, channels side by side."""
        filters = self.weight.flatten(0, 1)
        bias = None if self.bias is None else self.bias.flatten()
        return F.conv2d(x, filters, bias, self.stride, self.padding, self.dilation, groups=len(self.weight))


class SideBySideNorm(nn.Module):
    """Batch norms of several members, in training; (B, M * C) or (B, M * C, H, W) to the same."""

    weight: Tensor  # (M, C), as are bias, running_mean and running_var
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor  # (M,)

    def __init__(self, members: Sequence[nn.BatchNorm1d | nn.BatchNorm2d]) -> None:
        super().__init__()
        assert members[0].momentum is not None
        self.momentum, self.eps = members[0].momentum, members[0].eps
        _take(self, members)

    def forward(self, x: Tensor) -> Tensor:
        """Return each channel normalised by its own statistics, which the running ones move towards."""
        self.num_batches_tracked.add_(1)
        statistics = self.running_mean.flatten(), self.running_var.flatten()  # views, written to
        return F.batch_norm(x, *statistics, self.weight.flatten(), self.bias.flatten(), True, self.momentum, self.eps)


class SideBySideLinear(nn.Module):
    """Linear layers of several members; (B, M * inside) to (B, M * outside)."""

    weight: Tensor  # (M, outside, inside)
    bias: Tensor | None  # (M, outside)

    def __init__(self, members: Sequence[nn.Linear]) -> None:
        super().__init__()
        _take(self, members)

    def forward(self, x: Tensor) -> Tensor:
        """Return all members' outputs side by side."""
        inputs = x.reshape(len(x), len(self.weight), -1).transpose(0, 1)  # (M, B, inside)
        weights = self.weight.mT  # (M, inside, outside)
        if self.bias is None:
            products = torch.bmm(inputs, weights)
        else:
            products = torch.baddbmm(self.bias.unsqueeze(1), inputs, weights)
        return products.transpose(0, 1).flatten(1)


def unstackable(module: nn.Module) -> str | None:
    """Return what `side_by_side` cannot do with such networks, in words, or None where it can."""
    if getattr(module, "pool", None) == "both":
        return "model.pool is 'both', which would mix up the members' channels"
    for part in module.modules():
        own = [*part.parameters(recurse=False), *part.buffers(recurse=False)]
        if getattr(part, "frozen", False) or any(not parameter.requires_grad for parameter in part.parameters()):
            return "a part of the network is frozen"
        plain = not isinstance(part, nn.Conv2d) or (part.groups == 1 and part.padding_mode == "zeros")
        if own and not (plain and isinstance(part, tuple(LAYERS))):
            return f"a stack has no layer '{type(part).__name__}'"
    return None


def side_by_side(members: Sequence[nn.Module]) -> nn.Module:
    """Return the members, networks of one architecture that can be stacked, as one network in training mode.

    It gives (B, M * classes) logits for (B, M, 28, 28) inputs, one image a member. Its parameters and buffers have the
    members' names, and are stacked, (M, ...); the members' own become views of them.
    """
    first = members[0]
    for kind, layer in LAYERS.items():
        if isinstance(first, kind):
            return layer(members)
    if isinstance(first, Dropout):
        return Dropout(first.p)
    whole = copy.copy(first)
    whole._modules = {name: side_by_side([member.get_submodule(name) for member in members]) for name in first._modules}
    return whole.train()


LAYERS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: SideBySideConv,
    nn.BatchNorm1d: SideBySideNorm,
    nn.BatchNorm2d: SideBySideNorm,
    nn.Linear: SideBySideLinear,
}


def _take(layer: nn.Module, members: Sequence[nn.Module]) -> None:
    """Give the layer the members' parameters and buffers, stacked, and make the members' own views of them."""
    for name, parameter in members[0]._parameters.items():
        own = [member._parameters[name] for member in members]
        layer.register_parameter(name, None if parameter is None else nn.Parameter(_stacked(own)))
    for name in members[0]._buffers:
        layer.register_buffer(name, _stacked([member._buffers[name] for member in members]))


def _stacked(members: Sequence[Tensor | None]) -> Tensor:
    """Return the tensors as one, (M, ...), each laid out as before; they become views of it."""
    tensors = [tensor.detach() for tensor in members if tensor is not None]
    whole = torch.empty_strided(
        (len(tensors), *tensors[0].shape),
        (tensors[0].numel(), *tensors[0].stride()),
        dtype=tensors[0].dtype,
        device=tensors[0].device,
    )
    for number, (tensor, member) in enumerate(zip(tensors, members, strict=True)):
        whole[number].copy_(tensor)
        member.data = whole[number]  # type: ignore[union-attr]
    return whole
