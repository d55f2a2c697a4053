"""What pens, paper and scanners do to a digit, batch by batch: stroke width, resolution, blur, noise, lines, others.

A network that has seen MNIST alone has seen one scanner, one pen and an empty box. Each of these befalls a random part
of a batch, with a random strength, one after another in the order in which it happens to a digit: the pen that writes
it, what else is on the paper, and what the camera and the scanner make of it.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tenfold.training.recipe import DegradeSettings

Draw = Callable[..., Tensor]  # a shape -> uniform numbers in [0, 1)


def degrade(images: Tensor, settings: DegradeSettings, generator: torch.Generator | None = None) -> Tensor:
    """Return a worse copy of `images`, (B, 1, H, W) float in [0, 1], drawn from `generator` or else torch's own."""

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, device=images.device, generator=generator)

    if settings.share < 1:
        worse = torch.nonzero(draw(len(images)) < settings.share)[:, 0]
        images = images.clone()
        if len(worse):
            images[worse] = degrade(images[worse], settings.model_copy(update={"share": 1.0}), generator)
        return images
    kinds: list[tuple[float, Callable[[Tensor, Draw], Tensor]]] = [
        (settings.stretch, stretched),
        (settings.pen, pen),
        (settings.outline, outline),
        (settings.resolution, low_resolution),
        (settings.offset, offset),
        (settings.lines, lines),
        (settings.background, background),
        (settings.inversion, inversion),
        (settings.blur, blur),
        (settings.noise, noise),
    ]
    if settings.fragments:
        fragments = neighbours(images, draw)
        images = torch.where(coin(images, draw, settings.fragments), images.maximum(fragments), images)
    else:
        images = images.clone()
    for probability, kind in kinds:
        if probability:
            chosen = torch.nonzero(draw(len(images)) < probability)[:, 0]
            if len(chosen):
                images[chosen] = kind(images[chosen], draw)
    return images


def between(low: float, high: float, numbers: Tensor) -> Tensor:
    """Return uniform numbers (B,) as numbers between `low` and `high`, one an image: (B, 1, 1, 1)."""
    return (low + (high - low) * numbers).view(-1, 1, 1, 1)


def coin(images: Tensor, draw: Draw, probability: float = 0.5) -> Tensor:
    """Return whether something befalls each image, (B, 1, 1, 1) bool."""
    return draw(len(images)).view(-1, 1, 1, 1) < probability


def stretched(images: Tensor, draw: Draw) -> Tensor:
    """Return the digits with another aspect ratio, their longer side as it was: narrower, wider, or up to a square."""
    inked = images[:, 0] > 0.1
    count = len(images)
    wide, tall = (_extent(inked.any(axis)) for axis in (1, 2))
    ratio = (wide / tall).log()
    towards_square = ratio * (1 - draw(count))
    either_way = ratio + 0.7 * (draw(count) * 2 - 1)
    new = torch.where(draw(count) < 0.4, towards_square, either_way)
    longer = torch.maximum(wide, tall)
    across = longer * new.clamp(max=0).exp() / wide  # how many times as wide
    down = longer * (-new).clamp(max=0).exp() / tall
    return moved(images, torch.zeros(count, 2, device=images.device), 1 / torch.stack([across, down], 1))


def _extent(inked: Tensor) -> Tensor:
    """Return the length from the first to the last inked row or column, (B, L) bool, as (B,) float, at least 1."""
    places = torch.arange(inked.shape[1], device=inked.device)
    last = torch.where(inked, places, -1).amax(1)
    first = torch.where(inked, places, inked.shape[1]).amin(1)
    return (last - first + 1).clamp_min(1).float()


def offset(images: Tensor, draw: Draw) -> Tensor:
    """Return the digits a little smaller or larger, anywhere in the frame."""
    count, side = len(images), images.shape[-1]
    scale = 1 + 0.6 * draw(count)
    scale = torch.where(draw(count) < 0.5, torch.ones_like(scale), scale)
    shift = (draw(count, 2) * 2 - 1) * 5 * (2 / side)
    return moved(images, shift, scale.view(-1, 1))


def pen(images: Tensor, draw: Draw) -> Tensor:
    """Return the strokes thicker or thinner, softer or sharper: blurred, then cut at another height.

    Cut low, a stroke grows by about a pixel a side, cut high it shrinks; the slope at the cut decides how sharp it is.
    """
    soft = gaussian(images, 0.7 if draw(1).item() < 0.6 else 1.2)
    soft = soft / soft.amax((1, 2, 3), keepdim=True).clamp_min(1e-3)
    cut, slope = between(0.15, 0.65, draw(len(images))), between(2.0, 8.0, draw(len(images)))
    return (0.5 + slope * (soft - cut)).clamp_(0, 1)


def outline(images: Tensor, draw: Draw) -> Tensor:
    """Return the strokes' edges alone, as a digit that is drawn hollow or found by an edge detector."""
    outer = F.max_pool2d(images, 3, 1, 1) - images
    inner = images + F.max_pool2d(-images, 3, 1, 1)
    edges = torch.where(coin(images, draw), outer, inner)
    sharp = (edges > 0.4).to(images.dtype)
    return torch.where(coin(images, draw), edges, sharp)


def low_resolution(images: Tensor, draw: Draw) -> Tensor:
    """Return what is left of a digit that was kept in 8 to 18 pixels, grey or in black and white."""
    side = images.shape[-1]
    coarse = round((8 + 10 * draw(1).item()) * side / 20)  # a digit fills 20 of the frame's 28
    small = F.interpolate(images, size=(coarse, coarse), mode="area")
    binary = (small > between(0.25, 0.55, draw(len(images)))).to(images.dtype)
    small = torch.where(coin(images, draw), binary, small)
    small = small / small.amax((1, 2, 3), keepdim=True).clamp_min(0.2)
    if draw(1).item() < 0.3:
        return F.interpolate(small, size=(side, side), mode="nearest")
    return F.interpolate(small, size=(side, side), mode="bilinear", align_corners=False)


def lines(images: Tensor, draw: Draw) -> Tensor:
    """Return the images with a line or two across: a box's edge, a ruled line, a dotted or zigzag one."""
    for _ in range(2 if draw(1).item() < 0.5 else 1):
        images = torch.maximum(images, _line(images, draw))
    return images


def _line(images: Tensor, draw: Draw) -> Tensor:
    """Return a picture of one line for each image, (B, 1, H, W); a zigzag is a line along a triangle wave."""
    count, side = len(images), images.shape[-1]
    places = torch.arange(side, device=images.device, dtype=images.dtype)
    turn = draw(count)
    straight = (turn * 8).floor() / 8 * math.pi  # half of the lines lie along an axis or a diagonal
    angle = torch.where(draw(count) < 0.5, (straight * 2 / math.pi).round() * math.pi / 2, turn * math.pi)
    cosine, sine = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    middle_x, middle_y = side * draw(count).view(-1, 1, 1), side * draw(count).view(-1, 1, 1)
    x, y = places.view(1, 1, -1) - middle_x, places.view(1, -1, 1) - middle_y
    along, across = x * cosine + y * sine, y * cosine - x * sine  # Shape: (B, H, W)
    period = (3 + 9 * draw(count)).view(-1, 1, 1)
    phase = (along / period + draw(count).view(-1, 1, 1)) % 1
    height = (period * 0.4) * (draw(count) < 0.3).view(-1, 1, 1)
    wave = height * (4 * (phase - 0.5).abs() - 1)
    slope = 4 * height / period
    distance = (across - wave).abs() / (1 + slope**2).sqrt()
    half = (0.2 + 0.9 * draw(count)).view(-1, 1, 1)
    ink = (half + 0.5 - distance).clamp(0, 1) * (0.4 + 0.6 * draw(count)).view(-1, 1, 1)
    dotted = (draw(count) < 0.3).view(-1, 1, 1) & (phase > 0.5)
    length = (side * (0.25 + draw(count))).view(-1, 1, 1)
    return (ink * ~dotted * (along.abs() < length)).unsqueeze(1)


def neighbours(images: Tensor, draw: Draw) -> Tensor:
    """Return for each image what shows of another that stands beside it, above or below, (B, 1, H, W)."""
    count, side = len(images), images.shape[-1]
    away = (15 + 7 * draw(count)) * (draw(count) < 0.5).mul(2).sub(1) * (2 / side)
    aside = (draw(count) * 2 - 1) * 6 * (2 / side)
    sideways = draw(count) < 0.7
    shift = torch.stack([torch.where(sideways, away, aside), torch.where(sideways, aside, away)], 1)
    return moved(images.roll(1, 0), shift)


def background(images: Tensor, draw: Draw) -> Tensor:
    """Return the images on paper that is not blank: evenly grey, or cloudy."""
    count, side = len(images), images.shape[-1]
    coarse = 2 + int(draw(1).item() * 6)
    cloud = F.interpolate(draw(count, 1, coarse, coarse), size=(side, side), mode="bicubic", align_corners=False)
    even = torch.ones_like(images)
    paper = torch.where(coin(images, draw, 0.35), even, cloud.clamp(0, 1)) * between(0, 0.9, draw(count))
    over = (images + paper).clamp(0, 1)
    behind = (images + paper) / (images + paper).amax((1, 2, 3), keepdim=True).clamp_min(1)
    return torch.where(coin(images, draw), over, behind)


def inversion(images: Tensor, draw: Draw) -> Tensor:
    """Return the images with a band, or all but a band, light where it was dark: print on a coloured field."""
    count, side = len(images), images.shape[-1]
    places = torch.arange(side, device=images.device, dtype=images.dtype)
    low = side * draw(count).view(-1, 1, 1, 1) * 0.6
    high = low + side * between(0.15, 0.7, draw(count))
    across = places.view(1, 1, 1, -1).expand(count, 1, side, side)
    position = torch.where(coin(images, draw, 0.6), across, across.transpose(2, 3))
    band = ((position >= low) & (position < high)) ^ coin(images, draw)
    return torch.where(band, 1 - images, images)


def blur(images: Tensor, draw: Draw) -> Tensor:
    """Return the images out of focus, or smeared by a movement."""
    if draw(1).item() < 0.5:
        return gaussian(images, 0.5 + 1.2 * draw(1).item())
    reach = 1 + int(draw(1).item() * 4)
    down, right = ((0, 1), (1, 0), (1, 1), (1, -1))[int(draw(1).item() * 4)]
    copies = [images.roll((step * down, step * right), (2, 3)) for step in range(-reach, reach + 1)]
    return torch.stack(copies).mean(0)


def noise(images: Tensor, draw: Draw) -> Tensor:
    """Return the images grainy, with specks, or with pixels that changed places."""
    kind = int(draw(1).item() * 4)
    strength = between(0.05, 1, draw(len(images)))
    if kind == 0:  # specks of full ink and of none
        speck = draw(*images.shape)
        share = 0.2 * strength
        return torch.where(speck < share / 2, 0.0, torch.where(speck > 1 - share / 2, 1.0, images))
    # A sum of uniform numbers stands for a normal one: the generator's own would cost more than all else here.
    grain = (draw(*images.shape) + draw(*images.shape) + draw(*images.shape) - 1.5) * 2  # deviation 1
    if kind == 1:
        return (images + 0.35 * strength * grain).clamp(0, 1)
    if kind == 2:  # fewer photons: more grain where there is more light
        return (images + 0.6 * strength * images.sqrt() * grain).clamp(0, 1)
    side = images.shape[-1]
    places = (torch.arange(side, device=images.device, dtype=images.dtype) * 2 + 1) / side - 1
    grid = torch.stack(torch.meshgrid(places, places, indexing="xy"), -1).expand(len(images), side, side, 2)
    jitter = torch.stack([grain[:, 0], grain.roll(1, 0)[:, 0]], -1) * (1.4 * strength[:, 0, ..., None]) * (2 / side)
    return F.grid_sample(images, grid + jitter, mode="nearest", padding_mode="zeros", align_corners=False)


def moved(images: Tensor, shift: Tensor, scale: Tensor | float = 1) -> Tensor:
    """Return the images moved right and down by `shift`, (B, 2), in halves of their side; blank comes in.

    scale: (B, 2) or (B, 1), how many times as narrow and as low they become.
    """
    matrix = torch.zeros(len(images), 2, 3, device=images.device)
    matrix.diagonal(dim1=1, dim2=2)[:] = scale
    matrix[:, :, 2] = -shift
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def gaussian(images: Tensor, deviation: float) -> Tensor:
    """Return the images blurred by a Gaussian of that standard deviation, pixels."""
    reach = max(1, math.ceil(2.5 * deviation))
    places = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    weights = torch.exp(-(places**2) / (2 * deviation**2))
    weights = weights / weights.sum()
    across = F.conv2d(images, weights.view(1, 1, 1, -1), padding=(0, reach))
    return F.conv2d(across, weights.view(1, 1, -1, 1), padding=(reach, 0))
