"""Convolutional networks, small and readable: one building block, stacked as the recipe says."""

import torch.nn.functional as F
from torch import Tensor, nn

from tenfold.models import check_layer
from tenfold.models.blocks import Dropout, activation_named, pooled

POOLS = ("max", "mean", "both")


class ConvNet(nn.Module):
    """Stages of conv-norm-activation blocks, 2x2 max pooling between them, then a global pool and a linear layer.

    widths:  channels of every block, a list a stage, such as [[32, 32], [64, 64]].
    patch:   edge of the squares that are folded into channels at the input (space to depth); 1: none.
    crop:    pixels cut from every side of the input; MNIST's frame has a blank margin.
    kernel:  edge of the filters; `first_kernel` of the first block alone.
    pool:    the global pool, "max", "mean" or "both" (concatenated).
    residual: add a block's input to its output where the shapes agree.
    classes: 10, or 11 for a network that is also shown what is no digit, and answers so with its last logit.
    Gives (B, classes) logits for (B, 1, 28, 28) inputs in [0, 1].
    """

    def __init__(
        self,
        widths: list[list[int]],
        patch: int = 1,
        crop: int = 0,
        kernel: int = 3,
        first_kernel: int = 3,
        pool: str = "max",
        activation: str = "relu",
        dropout: float = 0.0,
        residual: bool = False,
        classes: int = 10,
    ) -> None:
        super().__init__()
        if classes not in (10, 11):
            raise ValueError(f"classes is '{classes}', not 10 or 11")
        if not widths or not all(widths):
            raise ValueError("widths need at least one stage, and every stage a block")
        least = min(min(stage) for stage in widths)
        for name, number in (("widths", least), ("patch", patch), ("kernel", kernel), ("first_kernel", first_kernel)):
            if number < 1:
                raise ValueError(f"'{number}' for {name} is not above 0")
        check_layer(max(max(stage) for stage in widths) * (28 // patch) ** 2)
        if pool not in POOLS:
            raise ValueError(f"pool is '{pool}', not one of {', '.join(POOLS)}")
        self.patch, self.crop, self.pool = patch, crop, pool
        stages = []
        channels, size = patch * patch, first_kernel
        for stage in widths:
            blocks: list[nn.Module] = []
            for width in stage:
                blocks.append(Block(channels, width, size, activation, residual))
                channels, size = width, kernel
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(channels * (2 if pool == "both" else 1), classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, (B, classes)."""
        if self.crop:
            x = x[:, :, self.crop : -self.crop, self.crop : -self.crop]
        if self.patch > 1:
            x = F.pixel_unshuffle(x, self.patch)
        for number, stage in enumerate(self.stages):
            if number:
                x = F.max_pool2d(x, 2)
            x = stage(x)
        logits: Tensor = self.head(self.dropout(pooled(x, self.pool)))
        return logits


class Block(nn.Module):
    """Convolution, batch norm, activation; with `residual`, the input is added where the shapes agree."""

    def __init__(self, inside: int, outside: int, kernel: int, activation: str, residual: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outside)
        self.activation = activation_named(activation)
        self.residual = residual and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outside, H, W)."""
        y: Tensor = self.activation(self.norm(self.conv(x)))
        return x + y if self.residual else y
