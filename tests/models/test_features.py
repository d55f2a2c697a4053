"""Features: deskewing, gradient histograms, standardising and projecting, each against another way to compute it."""

import cv2
import numpy as np
import pytest
import torch

from tenfold.data.digits import Digits
from tenfold.errors import RecipeError
from tenfold.models import features
from tenfold.models.features import Features, deskew, hog


@pytest.fixture(scope="module")
def pixels(digits: Digits) -> torch.Tensor:
    """Return generated digits as the functions take them, (200, 28, 28) float32 in [0, 1]."""
    return torch.from_numpy(digits.images).float() / 255


def test_deskew_is_the_shear_of_the_moments(pixels: torch.Tensor) -> None:
    """It agrees with OpenCV's warp by OpenCV's own moments, but for OpenCV's rounding to 1/32 pixel."""
    for image, ours in zip(pixels.numpy(), deskew(pixels).numpy(), strict=True):
        moments = cv2.moments(image)
        slope = moments["mu11"] / moments["mu02"]
        shear = np.array([[1, slope, -slope * moments["m01"] / moments["m00"]], [0, 1, 0]], np.float32)
        theirs = cv2.warpAffine(image, shear, (28, 28), flags=cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR)
        assert np.abs(ours - theirs).max() < 1 / 32


def test_deskew_sets_a_slanted_stroke_upright() -> None:
    """A stroke that leans by one pixel in two comes out standing, with its ink."""
    rows, columns = np.mgrid[0:28, 0:28].astype(np.float32)
    slanted = np.maximum(0, 1.5 - np.abs(columns - 14 - (rows - 14) / 2)) * (np.abs(rows - 14) < 9)
    upright = deskew(torch.from_numpy(slanted)[None])[0].numpy()
    centre = (upright * columns).sum(1)[6:23] / upright.sum(1)[6:23]
    np.testing.assert_allclose(centre, 14, atol=0.05)
    np.testing.assert_allclose(upright.sum(), slanted.sum(), rtol=1e-4)


def test_deskew_leaves_blank_and_flat_images() -> None:
    """What has no slope, a blank image or a single row of ink, stays as it is."""
    images = torch.zeros(2, 28, 28)
    images[1, 14, 5:20] = 1
    assert torch.equal(deskew(images), images)


def test_cells_hold_what_a_loop_puts_there(pixels: torch.Tensor) -> None:
    """The histograms equal those that a plain loop over the pixels of an image makes."""
    image, grid, size = pixels[3].numpy(), 7, 4.0
    down, across = np.gradient(image)
    expected = np.zeros((grid, grid, features.DIRECTIONS))
    for y in range(28):
        for x in range(28):
            angle = np.degrees(np.arctan2(down[y, x], across[y, x])) % 360
            for direction in range(features.DIRECTIONS):
                away = abs((angle / 30 - direction + 6) % 12 - 6)
                for row in range(grid):
                    for column in range(grid):
                        tall = max(0, 1 - abs(y - (row * size + 1.5)) / size)
                        wide = max(0, 1 - abs(x - (column * size + 1.5)) / size)
                        strength = np.hypot(down[y, x], across[y, x])
                        expected[row, column, direction] += strength * max(0, 1 - away) * tall * wide
    given = features.cells(features.gradients(pixels[3:4]), grid)[0]
    np.testing.assert_allclose(given, expected, atol=1e-4)


def test_gradients_of_every_direction() -> None:
    """An edge turned around the whole circle has the strengths that numpy's arctangent of two arguments gives."""
    rows, columns = np.mgrid[0:28, 0:28] - 13.5
    angles = np.arange(0, 360, 7.5) / 180 * np.pi
    slopes = np.stack([rows * np.sin(angle) + columns * np.cos(angle) for angle in angles])
    images = np.clip(0.5 + slopes / 28, 0, 1).astype(np.float32)
    down, across = np.gradient(images, axis=(1, 2))
    position = np.arctan2(down, across) * (features.DIRECTIONS / (2 * np.pi)) % features.DIRECTIONS
    lower = np.floor(position).astype(int)
    expected = np.zeros((*images.shape, features.DIRECTIONS))
    for direction, share in ((lower, 1 - (position - lower)), (lower + 1, position - lower)):
        np.put_along_axis(
            expected, direction[..., None] % features.DIRECTIONS, (np.hypot(down, across) * share)[..., None], 3
        )
    np.testing.assert_allclose(features.gradients(torch.from_numpy(images)), expected, atol=1e-6)
    assert (expected.sum((0, 1, 2)) > 1).all()  # every direction has edges


def test_rotation_moves_the_histogram(pixels: torch.Tensor) -> None:
    """An image turned by a quarter has the same histograms, in turned cells, three directions of twelve further."""
    cells = features.cells(features.gradients(pixels), 4)
    turned = features.cells(features.gradients(pixels.rot90(dims=(1, 2))), 4)
    assert (turned - cells).abs().max() > 0.1
    np.testing.assert_allclose(turned, cells.rot90(dims=(1, 2)).roll(-3, 3), atol=1e-3)


def test_strength_of_the_ink_hardly_matters(pixels: torch.Tensor) -> None:
    """Blocks are scaled to unit length: half the ink gives nearly the same features; no ink gives zeros."""
    full, half = hog(pixels), hog(pixels / 2)
    assert full.shape == (200, (3 * 3 + 6 * 6) * 4 * features.DIRECTIONS)
    assert full.max() <= features.CLIP
    assert (full - half).norm() < 0.1 * full.norm()
    assert not hog(torch.zeros(1, 28, 28)).any()


def test_raw_is_pixels_by_255(digits: Digits) -> None:
    """With nothing asked for, a row is the image's pixels / 255."""
    rows = Features().fit_transform(digits.images)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, digits.images.reshape(-1, 784).astype(np.float32) / np.float32(255))


def test_standardised(digits: Digits) -> None:
    """Standardised values have mean 0 and variance 1, where they vary."""
    rows = Features(standardise=True).fit_transform(digits.images)
    varies = digits.images.reshape(-1, 784).std(0) > 1
    np.testing.assert_allclose(rows.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(rows.std(0)[varies], 1, atol=1e-4)


def test_projection_is_the_svd(digits: Digits) -> None:
    """The projected rows are those of numpy's singular value decomposition, up to their signs."""
    pixels = digits.images.reshape(-1, 784) / 255
    left, strengths, _ = np.linalg.svd(pixels - pixels.mean(0), full_matrices=False)
    rows = Features(pca=5).fit_transform(digits.images)
    np.testing.assert_allclose(np.abs(rows), np.abs(left[:, :5] * strengths[:5]), atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"pca": 7}, {"standardise": True, "pca": 7}, {"deskew": True, "hog": True}])
def test_restored(digits: Digits, options: dict[str, int]) -> None:
    """What was learned, taken out and put into another transformer, transforms new images in the same way."""
    learned = Features(**options)
    learned.fit_transform(digits.images[:150])
    restored = Features(**options).restore(learned.learned)
    rows = learned.transform(digits.images[150:])
    np.testing.assert_array_equal(restored.transform(digits.images[150:]), rows)
    assert rows.shape == (50, restored.width)
    assert len(learned.transform(digits.images[:0])) == 0


def test_restore_refuses_what_does_not_fit(digits: Digits) -> None:
    """Arrays of other shapes or names are a ValueError."""
    fitted = Features(pca=7)
    fitted.fit_transform(digits.images)
    arrays = fitted.learned
    for wrong in ({}, {"offset": arrays["offset"]}, arrays | {"components": arrays["components"][:6]}):
        with pytest.raises(ValueError, match="not {'offset'"):
            Features(pca=7).restore(wrong)


def test_too_many_components(digits: Digits) -> None:
    """More principal components than images or values is a one-line error."""
    with pytest.raises(RecipeError, match="features.pca = '21' is more than 20 training images"):
        Features(pca=21).fit_transform(digits.images[:20])
