"""Distortions: the identity where nothing is asked, and the right movement where something is."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tenfold.training import augment as module
from tenfold.training.augment import augment
from tenfold.training.recipe import AugmentSettings


@pytest.fixture
def images() -> Tensor:
    """Return eight smooth random images, (8, 1, 28, 28), with a blank margin."""
    torch.manual_seed(0)
    inner = F.interpolate(torch.rand(8, 1, 5, 5), size=(16, 16), mode="bilinear")
    return F.pad(inner, (6, 6, 6, 6))


def test_nothing_asked_changes_nothing(images: Tensor) -> None:
    """Settings of zero give back the very same images."""
    assert torch.equal(augment(images, AugmentSettings()), images)


@pytest.mark.parametrize("name", ["rotation", "scale", "shear", "shift", "elastic", "contrast"])
def test_small_range_is_nearly_the_identity(images: Tensor, name: str) -> None:
    """As a range goes to zero, so does the change: no half-pixel offset hides in the grid."""
    torch.testing.assert_close(augment(images, AugmentSettings(**{name: 1e-4})), images, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("name", "amount"),
    [
        ("rotation", 15.0),
        ("scale", 0.2),
        ("shear", 0.3),
        ("shift", 3.0),
        ("elastic", 1.0),
        ("contrast", 0.5),
    ],
)
def test_each_distortion_acts_and_is_a_function_of_the_seed(images: Tensor, name: str, amount: float) -> None:
    """Every distortion changes the images, differently for each, and the same way for the same seed."""
    settings = AugmentSettings(**{name: amount})
    torch.manual_seed(1)
    first = augment(images, settings)
    torch.manual_seed(1)
    assert torch.equal(augment(images, settings), first)
    changes = (first - images).abs().sum((1, 2, 3))
    assert (changes > 0.1).all()
    assert first.shape == images.shape
    assert 0 <= first.min() <= first.max() <= 1


def test_affine_grid_agrees_with_torch(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The grid from one matrix product is the grid that torch's affine_grid makes of the same maps."""
    settings = AugmentSettings(rotation=20, scale=0.2, shear=0.2, shift=2)
    torch.manual_seed(3)
    theta = module._affine(images, settings, None)
    expected = F.grid_sample(images, F.affine_grid(theta, list(images.shape), align_corners=False), align_corners=False)
    monkeypatch.setattr(module, "_affine", lambda images, settings, generator: theta)
    torch.testing.assert_close(augment(images, settings), expected, atol=1e-5, rtol=0)


def test_rotation_by_a_quarter() -> None:
    """A map that turns by 90 degrees turns the picture as torch.rot90 does."""
    image = torch.zeros(1, 1, 28, 28)
    image[0, 0, 4:8, 10:12] = 1
    turn = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])
    grid = (turn @ module._basis(28, 28, 0, image.device)).view(1, 2, 28, 28).permute(0, 2, 3, 1)
    torch.testing.assert_close(F.grid_sample(image, grid, align_corners=False), torch.rot90(image, 1, (2, 3)))


def test_shift_stays_within_its_range() -> None:
    """A dot moves by at most the pixels asked for, on both axes, and the moves fill the range."""
    dots = torch.zeros(500, 1, 28, 28)
    dots[:, :, 14, 14] = 1
    torch.manual_seed(0)
    moved = augment(dots, AugmentSettings(shift=3))
    mass = moved.sum((1, 2, 3))
    rows = (moved.sum((1, 3)) * torch.arange(28)).sum(1) / mass - 14
    columns = (moved.sum((1, 2)) * torch.arange(28)).sum(1) / mass - 14
    for offsets in (rows, columns):
        assert offsets.abs().max() <= 3.001
        assert offsets.min() < -2.5
        assert offsets.max() > 2.5
