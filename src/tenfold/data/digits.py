"""The Digits type: images, labels and ids that belong together."""

import base64
import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.data.walk import sha256
from tenfold.errors import DataError

IMAGE_SHAPE = (28, 28)
SHOWN = 20  # images in a notebook


@dataclass(frozen=True, eq=False)
class Digits:
    """A set of digit images.

    images: (N, 28, 28) uint8, ink 255 on background 0.
    labels: (N,) int64, 0 to 9; None where the data has no labels.
    ids:    (N,) int64, the image's number in its source, from 1 (Kaggle's ImageId).
    notes:  what was assumed when it was read, a sentence each.
    writers: (N,) int64, equal for images by the same hand; None where that is not known (see writers.py).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    ids: NDArray[np.int64]
    notes: tuple[str, ...] = ()
    writers: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.shape[1:] != IMAGE_SHAPE:
            shape, dtype = self.images.shape, self.images.dtype
            raise DataError(f"Images have shape '{shape}' and dtype '{dtype}'. Give (N, 28, 28) uint8.")
        for what, values in (("ids", self.ids), ("labels", self.labels), ("writers", self.writers)):
            if values is not None and len(values) != len(self.images):
                raise DataError(f"There are '{len(values)}' {what} for '{len(self.images)}' images. Give one an image.")
        if self.labels is not None and len(wrong := np.flatnonzero((self.labels < 0) | (self.labels > 9))):
            raise DataError(f"Label '{self.labels[wrong[0]]}' of image {wrong[0] + 1} is not a digit. Give 0 to 9.")

    @classmethod
    def of(
        cls, images: NDArray[np.uint8], labels: NDArray[np.integer] | None = None, notes: tuple[str, ...] = ()
    ) -> "Digits":
        """Return Digits with ids 1 to N."""
        cast = None if labels is None else np.asarray(labels).astype(np.int64)
        return cls(images, cast, np.arange(1, len(images) + 1, dtype=np.int64), notes)

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        counts = None if self.labels is None else np.bincount(self.labels, minlength=10).tolist()
        return f"Digits(n={len(self)}, {counts=})"

    def _repr_html_(self) -> str:
        return repr(self) + gallery(self.images, lambda index: "" if self.labels is None else str(self.labels[index]))

    def take(self, indices: NDArray[np.integer]) -> "Digits":
        """Return the images at `indices` (also a boolean mask), in that order, with what belongs to them."""
        labels = None if self.labels is None else self.labels[indices]
        writers = None if self.writers is None else self.writers[indices]
        return Digits(self.images[indices], labels, self.ids[indices], self.notes, writers)

    def content_hash(self) -> str:
        """Return the SHA-256 (hex) of the images' and labels' bytes; ids do not count."""
        parts = [self.images] if self.labels is None else [self.images, self.labels.astype(np.uint8)]
        return sha256(np.ascontiguousarray(part).data for part in parts)


def gallery(images: NDArray[np.uint8], caption: Callable[[int], str]) -> str:
    """Return HTML for notebooks, light or dark: at most SHOWN images, taken evenly, with their captions.

    images: (N, 28, 28) uint8. caption: an image's index -> HTML.
    """
    from PIL import Image

    figures = []
    for index in range(0, len(images), -(-len(images) // SHOWN) or 1):
        buffer = io.BytesIO()
        Image.fromarray(images[index]).save(buffer, "PNG")
        source = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        figures.append(
            '<figure style="display:inline-block;margin:4px;text-align:center;vertical-align:top">'
            f'<img src="{source}" width="56" height="56" style="image-rendering:pixelated" alt="">'
            f"<figcaption>{caption(index)}</figcaption></figure>"
        )
    return f"<div>{''.join(figures)}</div>"


def image_hashes(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return one 64-bit BLAKE2b hash an image, (N,) uint64: equal images have equal hashes."""
    digests = b"".join(hashlib.blake2b(image.data, digest_size=8).digest() for image in np.ascontiguousarray(images))
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)
