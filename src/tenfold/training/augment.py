"""Random distortions of a batch, on its own device, composed into one resampling.

Rotation, scale, shear, shift and the elastic field all move the point that a pixel is read from, so they are summed in
one sampling grid and the image is interpolated once: less blur and a fraction of the time of one pass each. The grid
itself is one matrix product: a distortion is a short row of coefficients, and every pixel a column of basis functions.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tenfold.training.recipe import AugmentSettings


def augment(images: Tensor, settings: AugmentSettings, generator: torch.Generator | None = None) -> Tensor:
    """Return a distorted copy of `images`, (B, 1, H, W) float in [0, 1], drawn from `generator` or else torch's own.

    Elastic displacements follow Simard, Steinkraus and Platt (2003), with a coarse grid of normal displacements
    enlarged bicubically in place of a Gaussian-filtered field: smooth, and a hundredth of the work.
    """
    grid = _sampling_grid(images, settings, generator)
    if grid is not None:
        images = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    if settings.contrast:
        strength = 1 + settings.contrast * _uniform(images, generator)
        images = (images * strength.view(-1, 1, 1, 1)).clamp_(0, 1)
    return images


def _uniform(images: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return a number uniform in [-1, 1] for each image, (B,)."""
    return torch.rand(len(images), device=images.device, generator=generator) * 2 - 1


def _sampling_grid(images: Tensor, settings: AugmentSettings, generator: torch.Generator | None) -> Tensor | None:
    """Return where each output pixel is read from, (B, H, W, 2) in [-1, 1], or None where nothing moves."""
    if not (settings.rotation or settings.scale or settings.shear or settings.shift or settings.elastic):
        return None
    count, _, height, width = images.shape
    points = settings.elastic_grid if settings.elastic else 0
    coefficients = torch.empty(count, 2, 3 + points * points, device=images.device)
    coefficients[:, :, :3] = _affine(images, settings, generator)
    if points:
        coefficients[:, :, 3:].normal_(std=settings.elastic * 2 / width, generator=generator)
    basis = _basis(height, width, points, images.device)
    return (coefficients @ basis).view(count, 2, height, width).permute(0, 2, 3, 1)


def _affine(images: Tensor, settings: AugmentSettings, generator: torch.Generator | None) -> Tensor:
    """Return random affine maps from output to input coordinates, (B, 2, 3): [x, y] = map @ [x, y, 1]."""
    count, _, height, width = images.shape

    def uniform() -> Tensor:
        return _uniform(images, generator)

    angle = uniform() * math.radians(settings.rotation)
    scale_x = 1 + settings.scale * uniform()
    scale_y = 1 + settings.scale * uniform()
    shear = settings.shear * uniform()
    right = settings.shift * 2 / width * uniform()
    down = settings.shift * 2 / height * uniform()
    cosine, sine = angle.cos(), angle.sin()
    row_x = [scale_x * cosine, scale_x * (shear * cosine - sine), right]
    row_y = [scale_y * sine, scale_y * (shear * sine + cosine), down]
    return torch.stack(row_x + row_y, 1).view(count, 2, 3)


@functools.cache
def _basis(height: int, width: int, points: int, device: torch.device) -> Tensor:
    """Return (3 + points^2, H * W): a pixel's x, its y, 1, and its bicubic weights for the elastic control points."""
    x = (torch.arange(width) * 2 + 1) / width - 1
    y = (torch.arange(height) * 2 + 1) / height - 1
    rows = [x.repeat(height), y.repeat_interleave(width), torch.ones(height * width)]
    if points:
        unit = torch.eye(points * points).view(points * points, 1, points, points)
        weights = F.interpolate(unit, size=(height, width), mode="bicubic", align_corners=True)
        rows += list(weights.view(points * points, -1))
    return torch.stack(rows).to(device)
