"""What a classical model is given in place of raw pixels: deskewed, as gradient histograms, standardised, projected.

Deskewing and histograms are computed by PyTorch, so that an exported graph is traced from the same few lines.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tenfold.errors import RecipeError

EDGE = 28
CHUNK = 100  # images whose intermediate arrays stay in the processor's cache
LEAST_DEVIATION = 1e-3  # what varies less over the training images is noise, and is not blown up

# The histograms, chosen by a support vector machine's and nearest neighbours' accuracy on held-out training images.
GRIDS = (4, 7)  # cells an axis, of each grid laid over the image
DIRECTIONS = 12  # of the gradient, over the whole circle: an edge into ink is not one out of it
CLIP = 0.2  # largest value in a block of unit length, so that no single edge outweighs the rest

PLACES = torch.arange(EDGE, dtype=torch.float64)
# Takes the values of an axis to their gradient, as `np.gradient` does. Shape: (28, 28)
DIFFERENCE = torch.from_numpy(np.asarray(np.gradient(np.eye(EDGE, dtype=np.float32), axis=0)))

Floats = NDArray[np.float32]


def deskew(images: Tensor) -> Tensor:
    """Return images sheared so that their strokes stand upright; same shape (N, 28, 28), no ink lost but at the border.

    Each row moves by the slope of the ink's axis, its covariance of x and y over its variance in y (second moments),
    times its distance from the centre of mass; between pixels it is interpolated. Blank images stay.
    """
    # In double: the covariance is a small difference of large numbers, and a hundred-thousandth of a pixel counts.
    exact = images.double()
    mass = exact.sum((1, 2)).clamp_min(1e-6)  # Shape: (N,), as all the moments
    across, down = exact.sum(1), exact.sum(2)  # the ink of every column, of every row; Shape: (N, 28)
    x, y = across @ PLACES / mass, down @ PLACES / mass
    variance = down @ PLACES**2 / mass - y**2
    covariance = (exact @ PLACES) @ PLACES / mass - x * y
    slope = torch.where(variance > 1e-3, covariance / variance.clamp_min(1e-3), 0.0)
    shift = slope[:, None] * (PLACES - y[:, None])  # Shape: (N, 28), pixels that a row moves to the left
    source = PLACES.float() + shift.float()[:, :, None]  # Shape: (N, 28, 28)
    left = source.floor()
    share = source - left
    return _pixels(images, left) * (1 - share) + _pixels(images, left + 1) * share


def _pixels(images: Tensor, columns: Tensor) -> Tensor:
    """Return the pixels in these columns of every row, (N, 28, 28); blank where there is no such column."""
    within = columns.clamp(0, EDGE - 1)
    return images.gather(2, within.long()) * (within == columns)


def hog(images: Tensor) -> Tensor:
    """Return histograms of oriented gradients (Dalal and Triggs, 2005), (N, D), of images (N, 28, 28) float32.

    For each grid: the gradient's magnitude, shared between the two nearest of DIRECTIONS and the nearest cells, then
    blocks of 2x2 neighbouring cells scaled to unit length, clipped and scaled again (their L2-Hys). Grids of several
    sizes, as in a spatial pyramid (Maji and Malik, 2009).
    """
    energy = gradients(images)
    return torch.cat([_blocks(cells(energy, grid)).flatten(1) for grid in GRIDS], 1)


def gradients(images: Tensor) -> Tensor:
    """Return the strength of the gradient at each pixel in each direction, (N, 28, 28, DIRECTIONS)."""
    down, across = DIFFERENCE @ images, images @ DIFFERENCE.T
    magnitude = (down * down + across * across).sqrt()
    # ONNX has no arctangent of two arguments: that of the smaller over the larger side, then turned by symmetry.
    width, height = across.abs(), down.abs()
    angle = (torch.minimum(width, height) / torch.maximum(width, height).clamp_min(1e-30)).atan()
    angle = torch.where(height > width, torch.pi / 2 - angle, angle)
    angle = torch.where(across < 0, torch.pi - angle, angle)
    angle = torch.where(down < 0, 2 * torch.pi - angle, angle)
    # Each direction takes the share 1 - (its distance on the circle), where that is positive.
    offset = ((angle * (DIRECTIONS / (2 * torch.pi)))[..., None] - torch.arange(DIRECTIONS).float()).abs()
    return magnitude[..., None] * (1 - torch.minimum(offset, DIRECTIONS - offset)).relu()


def cells(energy: Tensor, grid: int) -> Tensor:
    """Return a histogram a cell, (N, grid, grid, DIRECTIONS), each pixel shared linearly between the nearest cells."""
    size = EDGE / grid
    centres = (torch.arange(grid) + 0.5) * size - 0.5
    # How much each pixel of an axis belongs to each cell: 1 at a cell's centre. Shape: (grid, 28)
    weights = (1 - (torch.arange(EDGE) - centres[:, None]).abs() / size).relu()
    tall = weights @ energy.reshape(-1, EDGE, EDGE * DIRECTIONS)  # Shape: (N, grid, 28 * DIRECTIONS)
    return weights @ tall.reshape(-1, grid, EDGE, DIRECTIONS)


def _blocks(cells: Tensor) -> Tensor:
    """Return the overlapping 2x2 blocks of cells, each of about unit length, (N, grid - 1, grid - 1, D)."""
    blocks = torch.cat([cells[:, :-1, :-1], cells[:, :-1, 1:], cells[:, 1:, :-1], cells[:, 1:, 1:]], 3)
    for _ in range(2):
        blocks = (blocks / ((blocks * blocks).sum(3, keepdim=True) + 1e-2).sqrt()).clamp_max(CLIP)
    return blocks


class Features:
    """Images as rows of numbers: pixels / 255, then what is asked for, in the order of the arguments.

    deskew: shear upright. hog: gradient histograms in place of pixels. standardise: mean 0 and variance 1.
    pca: project on so many principal components; 0: none.
    learned: `offset` (D,), `scale` (D,) and `components` (pca, D), float32, those that something asks for; a row x
    becomes (x - offset) * scale @ components.T.
    """

    def __init__(self, deskew: bool = False, hog: bool = False, standardise: bool = False, pca: int = 0) -> None:
        self.deskew = deskew
        self.hog = hog
        self.standardise = standardise
        self.pca = pca
        self.learned: dict[str, Floats] = {}

    def fit_transform(self, images: NDArray[np.uint8]) -> Floats:
        """Return `transform(images)` once it is fitted to them, (N, 28, 28), ink 255 on background 0."""
        rows = self._extract(images)
        if self.pca > min(rows.shape):
            raise RecipeError(
                f"features.pca = '{self.pca}' is more than {len(rows):,} training images of {rows.shape[1]:,} values "
                f"have. Set it to {min(rows.shape)} or less."
            )
        self.learned = {"offset": rows.mean(0)} if self.learns else {}
        if self.standardise:
            self.learned["scale"] = 1 / np.maximum(rows.std(0), np.float32(LEAST_DEVIATION))
        if self.pca:
            from sklearn.decomposition import PCA

            projection = PCA(self.pca, svd_solver="covariance_eigh").fit(self._project(rows))
            self.learned["components"] = projection.components_.astype(np.float32)
        return self._project(rows)

    def transform(self, images: NDArray[np.uint8]) -> Floats:
        """Return rows (N, D) float32 for images (N, 28, 28)."""
        return self._project(self._extract(images))

    def restore(self, learned: dict[str, Floats]) -> "Features":
        """Return self with what another of the same arguments had learned; ValueError where that does not fit them."""
        width = self._raw_width()
        due: dict[str, tuple[int, ...]] = {"offset": (width,)} if self.learns else {}
        due |= {"scale": (width,)} if self.standardise else {}
        due |= {"components": (self.pca, width)} if self.pca else {}
        if (found := {name: array.shape for name, array in learned.items()}) != due:
            raise ValueError(f"it holds {found or 'nothing'}, not {due or 'nothing'}")
        self.learned = {name: learned[name].astype(np.float32) for name in due}
        return self

    @property
    def width(self) -> int:
        """How many values a transformed image has."""
        return self.pca or self._raw_width()

    @property
    def learns(self) -> bool:
        """True where something is learned of the images."""
        return self.standardise or self.pca > 0

    def _raw_width(self) -> int:
        return int(self._extract(np.zeros((1, EDGE, EDGE), np.uint8)).shape[1])

    def _extract(self, images: NDArray[np.uint8]) -> Floats:
        """Return what is learned from: (N, D) before standardising."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # a chunk is too small to share: with two, waiting for each other takes longer
        try:
            chunks = (images[start : start + CHUNK] for start in range(0, max(len(images), 1), CHUNK))
            rows = [self.extract(torch.from_numpy(np.ascontiguousarray(chunk))).numpy() for chunk in chunks]
        finally:
            torch.set_num_threads(threads)
        return np.concatenate(rows)

    def extract(self, images: Tensor) -> Tensor:
        """Return (N, D) float32 of images (N, 28, 28) uint8: all that needs no learning."""
        pixels = images.float() / 255
        upright = deskew(pixels) if self.deskew else pixels
        return hog(upright) if self.hog else upright.flatten(1)

    def _project(self, rows: Floats) -> Floats:
        if "offset" in self.learned:
            rows = rows - self.learned["offset"]
        if "scale" in self.learned:
            rows = rows * self.learned["scale"]
        return rows @ self.learned["components"].T if "components" in self.learned else rows
