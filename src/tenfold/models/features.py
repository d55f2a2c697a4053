"""What a classical model is given in place of raw pixels: deskewed, as gradient histograms, standardised, projected."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from tenfold.errors import RecipeError

LEARNED = ("offset", "scale", "components")
CHUNK = 1000  # images whose intermediate arrays stay small
LEAST_DEVIATION = 1e-3  # what varies less over the training images is noise, and is not blown up

# The histograms, chosen by a support vector machine's and nearest neighbours' accuracy on held-out training images.
GRIDS = (4, 7)  # cells an axis, of each grid laid over the image
DIRECTIONS = 12  # of the gradient, over the whole circle: an edge into ink is not one out of it
CLIP = 0.2  # largest value in a block of unit length, so that no single edge outweighs the rest

Floats = NDArray[np.float32]


def deskew(images: Floats) -> Floats:
    """Return images sheared so that their strokes stand upright; same shape (N, 28, 28), no ink lost but at the border.

    Each row moves by the slope of the ink's axis, its covariance of x and y over its variance in y (second moments),
    times its distance from the centre of mass; between pixels it is interpolated. Blank images stay.
    """
    # In double: the covariance is a small difference of large numbers.
    rows = np.arange(images.shape[1], dtype=np.float64)
    columns = np.arange(images.shape[2], dtype=np.float64)
    mass = np.maximum(images.sum((1, 2), dtype=np.float64), 1e-6)  # Shape: (N,), as all the moments
    # The ink of every column, of every row; Shape: (N, 28)
    across, down = images.sum(1, dtype=np.float64), images.sum(2, dtype=np.float64)
    x, y = across @ columns / mass, down @ rows / mass
    variance = down @ rows**2 / mass - y**2
    covariance = (images @ columns) @ rows / mass - x * y
    slope = np.where(variance > 1e-3, covariance / np.maximum(variance, 1e-3), 0)
    shift = slope[:, None] * (rows - y[:, None])  # Shape: (N, 28), pixels that a row moves to the left
    return _shift_rows(images, shift.astype(np.float32))


def _shift_rows(images: Floats, shift: Floats) -> Floats:
    """Return images, (N, H, W), each row moved left by its own shift, (N, H), in pixels; blank comes in."""
    width = images.shape[2]
    source = np.arange(width, dtype=np.float32) + shift[:, :, None]  # Shape: (N, H, W)
    left = np.floor(source)
    share = source - left
    column = left.astype(np.int64) + 1  # in an image with a blank column at either side
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1)))
    first = np.take_along_axis(padded, column.clip(0, width + 1), 2)
    second = np.take_along_axis(padded, (column + 1).clip(0, width + 1), 2)
    shifted: Floats = first * (1 - share) + second * share
    return shifted


def hog(images: Floats) -> Floats:
    """Return histograms of oriented gradients (Dalal and Triggs, 2005), (N, D) float32, of images (N, H, W).

    For each grid: the gradient's magnitude, shared between the two nearest of DIRECTIONS and the nearest cells, then
    blocks of 2x2 neighbouring cells scaled to unit length, clipped and scaled again (their L2-Hys). Grids of several
    sizes, as in a spatial pyramid (Maji and Malik, 2009).
    """
    energy = _energy(images)
    return np.concatenate([_blocks(_cells(energy, grid)) for grid in GRIDS], 1)


def _energy(images: Floats) -> Floats:
    """Return the strength of the gradient at each pixel in each direction, (N, H, W, DIRECTIONS)."""
    down, across = np.gradient(images, axis=(1, 2))
    magnitude = np.hypot(down, across)
    position = np.arctan2(down, across) * (DIRECTIONS / (2 * np.pi)) % DIRECTIONS
    lower = np.floor(position).astype(np.int64)
    share = position - lower
    energy = np.zeros((images.size, DIRECTIONS), np.float32)
    pixels = np.arange(images.size)
    energy[pixels, lower.ravel() % DIRECTIONS] = (magnitude * (1 - share)).ravel()
    energy[pixels, (lower.ravel() + 1) % DIRECTIONS] = (magnitude * share).ravel()
    return energy.reshape(*images.shape, DIRECTIONS)


def _cells(energy: Floats, grid: int) -> Floats:
    """Return a histogram a cell, (N, grid, grid, DIRECTIONS), each pixel shared linearly between the nearest cells."""
    count, height, width, _ = energy.shape
    tall = cell_weights(grid, height) @ energy.reshape(
        count, height, width * DIRECTIONS
    )  # Shape: (N, grid, W * DIRECTIONS)
    return cell_weights(grid, width) @ tall.reshape(count, grid, width, DIRECTIONS)


def cell_weights(grid: int, length: int) -> Floats:
    """Return how much each of `length` pixels belongs to each cell, (grid, length): 1 at a cell's centre."""
    size = length / grid
    centres = (np.arange(grid) + 0.5) * size - 0.5
    return np.maximum(0, 1 - np.abs(np.arange(length) - centres[:, None]) / size).astype(np.float32)


def _blocks(cells: Floats) -> Floats:
    """Return the overlapping 2x2 blocks of cells, each of about unit length, as (N, D)."""
    quarters = [cells[:, :-1, :-1], cells[:, :-1, 1:], cells[:, 1:, :-1], cells[:, 1:, 1:]]
    blocks = np.concatenate(quarters, 3)
    for _ in range(2):
        blocks = np.minimum(blocks / np.sqrt((blocks**2).sum(3, keepdims=True) + 1e-2), CLIP)
    return blocks.reshape(len(blocks), int(np.prod(blocks.shape[1:])))


class Features(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Images as rows of numbers: pixels / 255, then what is asked for, in the order of the arguments.

    deskew: shear upright. hog: gradient histograms in place of pixels. standardise: mean 0 and variance 1.
    pca: project on so many principal components; 0: none.
    Learned: `offset_` (D,), `scale_` (D,) and `components_` (pca, D), float32, or None where nothing asks for them; a
    row x becomes (x - offset_) * scale_ @ components_.T.
    """

    def __init__(self, deskew: bool = False, hog: bool = False, standardise: bool = False, pca: int = 0) -> None:
        self.deskew = deskew
        self.hog = hog
        self.standardise = standardise
        self.pca = pca

    def fit(self, X: ArrayLike, y: object = None) -> "Features":
        """Return self, fitted to X, (N, 28, 28) or (N, 784), ink 255 on background 0."""
        self.fit_transform(X)
        return self

    def fit_transform(self, X: ArrayLike, y: object = None, **_: object) -> Floats:
        """Return `transform(X)` after `fit(X)`, for the price of one of them."""
        rows = self._extract(np.asarray(X))
        self._check_components(*rows.shape)
        self.offset_ = self.scale_ = self.components_ = None
        if self.learns:
            self.offset_ = rows.mean(0)
        if self.standardise:
            self.scale_ = 1 / np.maximum(rows.std(0), np.float32(LEAST_DEVIATION))
        if self.pca:
            from sklearn.decomposition import PCA

            projection = PCA(self.pca, svd_solver="covariance_eigh").fit(self._centre(rows))
            self.components_ = projection.components_.astype(np.float32)
        return self._project(rows)

    def transform(self, X: ArrayLike) -> Floats:
        """Return rows (N, D) float32 for images (N, 28, 28) or (N, 784)."""
        check_is_fitted(self, "components_")
        return self._project(self._extract(np.asarray(X)))

    def arrays(self) -> dict[str, Floats]:
        """Return what was learned, by name; `restore` takes it back."""
        learned = {name: getattr(self, f"{name}_") for name in LEARNED}
        return {name: array for name, array in learned.items() if array is not None}

    def restore(self, arrays: dict[str, Floats]) -> "Features":
        """Return self with what another of the same arguments had learned; ValueError where that does not fit them."""
        found = {name: array.shape for name, array in arrays.items()}
        if found != self._due():
            raise ValueError(f"it holds {found or 'nothing'}, not {self._due() or 'nothing'}")
        for name in LEARNED:
            setattr(self, f"{name}_", arrays[name].astype(np.float32) if name in arrays else None)
        return self

    @property
    def width(self) -> int:
        """How many values a transformed image has."""
        return self.pca or self._raw_width()

    @property
    def learns(self) -> bool:
        """True where `fit` learns something of the images."""
        return self.standardise or self.pca > 0

    def _raw_width(self) -> int:
        return int(self._extract(np.zeros((1, 28, 28), np.uint8)).shape[1])

    def _due(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what is learned, by name."""
        width = self._raw_width()
        due: dict[str, tuple[int, ...]] = {"offset": (width,)} if self.learns else {}
        due |= {"scale": (width,)} if self.standardise else {}
        return due | ({"components": (self.pca, width)} if self.pca else {})

    def _extract(self, images: NDArray[Any]) -> Floats:
        """Return what is learned from: (N, D) before standardising."""
        images = images.reshape(len(images), 28, 28)
        parts = [self._extract_chunk(images[start : start + CHUNK]) for start in range(0, max(len(images), 1), CHUNK)]
        return np.concatenate(parts)

    def _extract_chunk(self, images: NDArray[Any]) -> Floats:
        pixels: Floats = images.astype(np.float32) / np.float32(255)
        upright = deskew(pixels) if self.deskew else pixels
        return hog(upright) if self.hog else upright.reshape(len(upright), 784)

    def _check_components(self, images: int, width: int) -> None:
        if self.pca > min(images, width):
            raise RecipeError(
                f"features.pca = '{self.pca}' is more than {images:,} training images of {width:,} values have. "
                f"Set it to {min(images, width)} or less."
            )

    def _centre(self, rows: Floats) -> Floats:
        centred = rows if self.offset_ is None else rows - self.offset_
        return centred if self.scale_ is None else centred * self.scale_

    def _project(self, rows: Floats) -> Floats:
        centred = self._centre(rows)
        return centred if self.components_ is None else centred @ self.components_.T
