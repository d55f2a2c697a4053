"""What befalls a digit between the pen and the file: how often, how much, and as a function of the seed."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tenfold.training import degrade as module
from tenfold.training.degrade import degrade
from tenfold.training.recipe import DegradeSettings

KINDS = [name for name in DegradeSettings.model_fields if name != "share"]


@pytest.fixture
def images() -> Tensor:
    """Return 64 bars, (64, 1, 28, 28), 4 pixels wide and 16 high, in the middle, softened a little."""
    bars = torch.zeros(64, 1, 28, 28)
    bars[:, :, 6:22, 12:16] = 1
    return F.avg_pool2d(bars, 3, 1, 1)


def draw(seed: int) -> module.Draw:
    """Return a source of uniform numbers."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.rand(*shape, generator=generator)


def extent(image: Tensor) -> tuple[int, int]:
    """Return height and width of the ink of one image, (1, H, W)."""
    inked = image[0] > 0.3
    return int(inked.any(1).sum()), int(inked.any(0).sum())


def test_nothing_asked_changes_nothing(images: Tensor) -> None:
    """Probabilities of zero give back the same images."""
    assert torch.equal(degrade(images, DegradeSettings()), images)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_acts_within_bounds_and_repeats(images: Tensor, kind: str) -> None:
    """Every kind changes images, keeps shape and range, leaves its input alone, and is a function of the seed."""
    before, settings = images.clone(), DegradeSettings(**{kind: 1.0})
    first = degrade(images, settings, torch.Generator().manual_seed(5))
    again = degrade(images, settings, torch.Generator().manual_seed(5))
    other = degrade(images, settings, torch.Generator().manual_seed(6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert -1e-6 <= first.min() <= first.max() <= 1 + 1e-6
    assert ((first - images).abs().sum((1, 2, 3)) > 0.1).float().mean() > 0.5
    assert torch.equal(images, before)


def test_the_share_that_is_left_alone(images: Tensor) -> None:
    """With a share of a half, about half of the images change; the input stays as it is, and the seed decides."""
    many = images.repeat(16, 1, 1, 1)
    before, settings = many.clone(), DegradeSettings(share=0.5, pen=1.0, fragments=0.2)
    first = degrade(many, settings, torch.Generator().manual_seed(3))
    changed = (first != many).flatten(1).any(1).float().mean()
    assert 0.4 < changed < 0.6
    assert torch.equal(many, before)
    assert torch.equal(first, degrade(many, settings, torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("kind", KINDS)
def test_probability_is_how_often(images: Tensor, kind: str) -> None:
    """With a probability of a quarter, about a quarter of the images change, and the others do not at all."""
    many = images.repeat(16, 1, 1, 1)
    changed = (degrade(many, DegradeSettings(**{kind: 0.25}), torch.Generator().manual_seed(0)) != many).any((1, 2, 3))
    ratio = changed.flatten(1).any(1).float().mean() if changed.ndim > 1 else changed.float().mean()
    assert 0.05 < ratio < 0.32  # fewer than a quarter where a neighbour happens not to reach the frame


def test_stretching_keeps_the_longer_side(images: Tensor) -> None:
    """A stretched digit is as long as it was, give or take its soft edges; some of them nearly fill a square."""
    sizes = [extent(image) for image in module.stretched(images, draw(0))]
    tall, wide = extent(images[0])
    assert all(abs(max(size) - tall) <= 2 for size in sizes)
    assert any(size[1] >= 0.7 * tall for size in sizes)
    assert any(size[1] < wide for size in sizes)


def test_pen_widens_and_narrows(images: Tensor) -> None:
    """Some strokes become thicker and some thinner, and none disappears."""
    ink = images.sum((1, 2, 3))
    changed = torch.cat([module.pen(images, draw(seed)) for seed in range(4)]).sum((1, 2, 3)) / ink.repeat(4)
    assert changed.min() < 0.8
    assert changed.max() > 1.3
    assert changed.min() > 0.2


def test_outline_is_hollow(images: Tensor) -> None:
    """Of a broad stroke the edges are left, and its middle is empty."""
    broad = torch.zeros(8, 1, 28, 28)
    broad[:, :, 6:22, 8:20] = 1
    edges = module.outline(broad, draw(0))
    assert edges[:, :, 12:16, 12:16].max() == 0
    assert (edges.amax((1, 2, 3)) == 1).all()


def test_neighbours_come_from_other_images_and_stay_at_the_edge(images: Tensor) -> None:
    """What shows of a neighbour lies outside the middle of the frame; a blank neighbour shows nothing."""
    assert module.neighbours(images, draw(0))[:, :, 12:16, 12:16].max() < 0.05
    assert module.neighbours(torch.zeros_like(images), draw(0)).max() == 0


def test_inversion_keeps_the_drawing(images: Tensor) -> None:
    """Every pixel is what it was or its opposite, and both occur."""
    inverted = module.inversion(images, draw(0))
    same, opposite = inverted == images, inverted == 1 - images
    assert (same | opposite).all()
    assert (same & ~opposite).any()
    assert (opposite & ~same).any()


def test_low_resolution_has_few_levels_left(images: Tensor) -> None:
    """The images lose detail: what comes back differs from a sharp original most at its edges."""
    coarse = module.low_resolution(images, draw(1))
    assert coarse.shape == images.shape
    assert coarse.amax((1, 2, 3)).min() > 0.9
    assert (coarse - images).abs().mean() > 0.005


def test_gaussian_keeps_the_ink(images: Tensor) -> None:
    """A blur spreads ink and neither adds nor takes any, away from the border."""
    torch.testing.assert_close(module.gaussian(images, 1.0).sum((1, 2, 3)), images.sum((1, 2, 3)), rtol=1e-4, atol=1e-3)


def test_moved_moves(images: Tensor) -> None:
    """A shift of two pixels to the right and one down is just that."""
    shift = torch.tensor([[2 * 2 / 28, 2 / 28]]).expand(len(images), 2)
    expected = images.roll((1, 2), (2, 3))
    torch.testing.assert_close(module.moved(images, shift), expected, atol=1e-4, rtol=0)
