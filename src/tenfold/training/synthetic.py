"""Training images of our own making, beside those of the data: drawn digits, and what is no digit.

Making a hundred thousand takes minutes, so they are kept in the cache, under a hash of all that they depend on: the
settings, the seed, the digits that some are made of, and the version of the code that makes them.
"""

import hashlib
import zipfile

import numpy as np
from numpy.typing import NDArray

from tenfold.files import npz, write_atomically
from tenfold.settings import cache_folder
from tenfold.training.recipe import SyntheticSettings

NO_DIGIT = 10  # the label of what is no digit
VERSION = 1  # raise it when drawing or framing gives other images for the same settings

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


def with_synthetic(images: Images, labels: Labels, settings: SyntheticSettings, seed: int) -> tuple[Images, Labels]:
    """Return images (N + M, 28, 28) and labels (N + M,), 0 to 10, with M made ones behind the N given ones."""
    made, made_labels = _cached(images, labels, settings, seed)
    return np.concatenate([images, made]), np.concatenate([labels, made_labels])


def _cached(images: Images, labels: Labels, settings: SyntheticSettings, seed: int) -> tuple[Images, Labels]:
    """Return what `_make` makes, from the cache where it was made before."""
    digest = hashlib.sha256(f"{VERSION} {settings.model_dump_json()} {seed}".encode())
    digest.update(images.tobytes())
    digest.update(labels.tobytes())
    path = cache_folder() / "synthetic" / f"{digest.hexdigest()[:32]}.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            return content["images"], content["labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # not there, or broken: made again
        made, made_labels = _make(images, labels, settings, seed)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, npz(images=made, labels=made_labels))
    except OSError:
        pass  # a cache that cannot be written costs time the next time, nothing else
    return made, made_labels


def _make(images: Images, labels: Labels, settings: SyntheticSettings, seed: int) -> tuple[Images, Labels]:
    from tenfold.drawing.variants import make_variants

    variants, variant_labels = make_variants(settings.variants, seed)
    negatives = images[:0]
    if settings.negatives:
        from tenfold.drawing.negatives import make_frames

        negatives = make_frames(settings.negatives, seed, (images, labels)).images
    return (
        np.concatenate([variants, negatives]),
        np.concatenate([variant_labels, np.full(len(negatives), NO_DIGIT, np.int64)]),
    )
