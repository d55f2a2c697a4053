"""What the networks are made of, besides PyTorch's own modules."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def activation_named(name: str) -> nn.Module:
    """Return the activation of that name; ValueError for an unknown one."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation is '{name}', not one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def shift_offsets(radius: int) -> list[tuple[int, int]]:
    """Return the (down, right) shifts within `radius` pixels in the city-block distance; radius 0 gives the origin."""
    reach = range(-radius, radius + 1)
    return [(down, right) for down in reach for right in reach if abs(down) + abs(right) <= radius]


def shifted(pixels: Tensor, radius: int) -> list[Tensor]:
    """Return `pixels`, (N, 1, H, W), once for each of `shift_offsets(radius)`; blank comes in at the edges."""
    if not radius:
        return [pixels]
    height, width = pixels.shape[2:]
    padded = F.pad(pixels, (radius, radius, radius, radius))
    corners = [(radius - down, radius - right) for down, right in shift_offsets(radius)]
    return [padded[:, :, top : top + height, left : left + width] for top, left in corners]


def pooled(x: Tensor, kind: str) -> Tensor:
    """Return the largest value ("max") or the mean of each channel, (B, C), of (B, C, H, W); "both" gives (B, 2 C)."""
    if kind == "both":
        return torch.cat([pooled(x, "max"), pooled(x, "mean")], 1)
    return x.amax((2, 3)) if kind == "max" else x.mean((2, 3))


class Dropout(nn.Module):
    """Dropout that draws from `generator`, or else torch's own.

    nn.Dropout knows only the one generator that all threads share, so parts of a batch that are computed side by side
    would drop what comes first. The mask is made of 16 random bits a value: four values of a 64-bit draw.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout is '{p}', not in 0 to 1, 1 excluded")
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with a share `p` of its values set to 0 and the others divided by 1 - p; in evaluation `x`."""
        if not self.training or self.p == 0:
            return x
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
        bits.random_(-(2**63), None, generator=self.generator)
        # As `x` lies in memory, so that a channels_last `x` stays one.
        strides = torch.empty_like(x, device="meta").stride()
        drawn = bits.view(torch.int16)[: x.numel()].as_strided(x.size(), strides)
        kept = drawn >= round(self.p * 2**16) - 2**15
        return x * kept.to(x.dtype).mul_(1 / (1 - self.p))
