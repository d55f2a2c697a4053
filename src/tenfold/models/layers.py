"""Networks written as a list of layers, one short string each: the way that papers and tutorials describe them.

    conv 32 5x5       32 filters of 5x5 with padding that keeps the size, then the activation; 3x3 where nothing is said
    conv 32 5x5 norm  the same with batch norm before the activation, and without the bias that it would undo
    conv 32 5x5 valid without padding
    dense 128         a linear layer, then the activation; `dense 128 norm` as above
    norm              batch norm alone
    pool              2x2 max pooling; `pool 3` for 3x3
    pad 1             a border of zeros, one pixel wide
    dropout 0.25      a quarter of the values set to 0, in training
    flatten           from (B, C, H, W) to (B, C * H * W)
    global max        from (B, C, H, W) to (B, C), the largest of each channel; `global mean` for the mean

A linear layer to the ten digits comes last by itself.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from tenfold.models import check_layer
from tenfold.models.blocks import Dropout, activation_named, pooled

LAYERS = ("conv", "dense", "norm", "pool", "pad", "dropout", "flatten", "global")
SPATIAL = ("conv", "pool", "pad", "flatten", "global")


class Shape(NamedTuple):
    """What flows between layers: channels of edge x edge pixels, or, once flat, a vector with edge 0."""

    channels: int
    edge: int

    @property
    def numbers(self) -> int:
        """How many numbers an image has come to."""
        return self.channels * max(1, self.edge) ** 2


Parts = tuple[list[nn.Module], Shape]


class Layers(nn.Module):
    """A network from a list of layers (see the module's docstring).

    activation: "relu", "gelu", "silu", "tanh" or "sigmoid".
    mean, std:  subtracted from the pixels, and what they are divided by; 0.1307 and 0.3081 are MNIST's.
    Gives (B, 10) logits for (B, 1, 28, 28) inputs in [0, 1]. ValueError names the layer that cannot be.
    """

    def __init__(self, layers: Sequence[str], activation: str = "relu", mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        if std <= 0:
            raise ValueError(f"std is '{std}', not above 0")
        self.mean, self.std = mean, std
        parts: list[nn.Module] = []
        shape = Shape(1, 28)
        for number, text in enumerate(layers, start=1):
            try:
                made, shape = _make(text, shape, activation)
                check_layer(shape.numbers)
            except (ValueError, TypeError, AttributeError) as error:
                raise ValueError(f"layer {number}, '{text}': {error}") from None
            parts += made
        if shape.edge:
            parts.append(nn.Flatten())
        self.layers = nn.Sequential(*_pool_first(parts), nn.Linear(shape.numbers, 10))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, (B, 10)."""
        if self.mean or self.std != 1:
            x = (x - self.mean) / self.std
        logits: Tensor = self.layers(x)
        return logits


class GlobalPool(nn.Module):
    """The largest value or the mean of each channel, (B, C)."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        if kind not in ("max", "mean"):
            raise ValueError("write 'global max' or 'global mean'")
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C) for (B, C, H, W)."""
        return pooled(x, self.kind)


def _make(text: str, shape: Shape, activation: str) -> Parts:
    """Return the modules that a layer is made of, and the shape after it; ValueError says what is wrong with it."""
    name, *words = text.split() or [""]
    if name not in LAYERS:
        raise ValueError(f"'{name}' is no layer; known are {', '.join(LAYERS)}")
    if name in SPATIAL and not shape.edge:
        raise ValueError("it needs an image, and what comes in is flat already")
    made = _modules(name, words, shape, activation)
    if words:
        raise ValueError(f"'{' '.join(words)}' means nothing here")
    return made


def _modules(name: str, words: list[str], shape: Shape, activation: str) -> Parts:
    """Return what `_make` does, having taken out of `words` what the layer knows."""
    match name:
        case "conv":
            width, norm, valid = _whole(_first(words)), _flag(words, "norm"), _flag(words, "valid")
            kernel = _edge(_first(words, "3"))
            edge = shape.edge - kernel + 1 if valid else shape.edge
            if edge < 1:
                raise ValueError(f"{kernel}x{kernel} filters do not fit into {shape.edge}x{shape.edge} pixels")
            if not valid and kernel % 2 == 0:
                raise ValueError(f"filters of even size {kernel} cannot keep the size; add 'valid'")
            conv = nn.Conv2d(shape.channels, width, kernel, padding=0 if valid else kernel // 2, bias=not norm)
            return _activated([conv], Shape(width, edge), norm, activation)
        case "dense":
            width, norm = _whole(_first(words)), _flag(words, "norm")
            linear = nn.Linear(shape.numbers, width, bias=not norm)
            return _activated([nn.Flatten(), linear] if shape.edge else [linear], Shape(width, 0), norm, activation)
        case "norm":
            return [_batch_norm(shape)], shape
        case "pool":
            edge = _whole(_first(words, "2"))
            if shape.edge < edge:
                raise ValueError(f"{shape.edge}x{shape.edge} pixels are too few to pool {edge}x{edge}")
            return [nn.MaxPool2d(edge)], shape._replace(edge=shape.edge // edge)
        case "pad":
            width = _whole(_first(words, "1"))
            return [nn.ZeroPad2d(width)], shape._replace(edge=shape.edge + 2 * width)
        case "dropout":
            return [Dropout(float(_first(words)))], shape
        case "flatten":
            return [nn.Flatten()], Shape(shape.numbers, 0)
        case _:
            return [GlobalPool(_first(words))], Shape(shape.channels, 0)


def _activated(parts: list[nn.Module], after: Shape, norm: bool, activation: str) -> Parts:
    """Return the parts, batch norm where that is asked for, and the activation."""
    return [*parts, *([_batch_norm(after)] if norm else []), activation_named(activation)], after


def _batch_norm(shape: Shape) -> nn.Module:
    return (nn.BatchNorm2d if shape.edge else nn.BatchNorm1d)(shape.channels)


def _pool_first(parts: list[nn.Module]) -> list[nn.Module]:
    """Return the parts with each ReLU before a max pooling moved behind it: the same numbers, a quarter of the work."""
    ordered = list(parts)
    for at, (first, second) in enumerate(itertools.pairwise(parts)):
        if isinstance(first, nn.ReLU) and isinstance(second, nn.MaxPool2d):
            ordered[at], ordered[at + 1] = second, first
    return ordered


def _first(words: list[str], default: str = "") -> str:
    """Take the first word out and return it."""
    return words.pop(0) if words else default


def _flag(words: list[str], name: str) -> bool:
    """Take `name` out of the words; return whether it was there."""
    if there := name in words:
        words.remove(name)
    return there


def _edge(text: str) -> int:
    """Return 5 for "5x5" and for "5"."""
    first, _, second = text.partition("x")
    if second and second != first:
        raise ValueError(f"'{text}' is not square")
    return _whole(first)


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"'{text}' is not a whole number above 0")
    return int(text)
