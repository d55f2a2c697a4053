"""Training images of our own making, beside those of the data: drawn digits, and what is no digit.

Making a hundred thousand takes minutes, so they are kept in the cache, under a hash of all that they depend on: the
settings, the seed, the digits that some are made of, and the version of the code that makes them.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from tenfold.data import cache
from tenfold.training.recipe import SyntheticSettings

NO_DIGIT = 10  # the label of what is no digit
PARTS = ("images", "labels")
VERSION = 2  # raise it when drawing or framing gives other images for the same settings

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


def with_synthetic(images: Images, labels: Labels, settings: SyntheticSettings, seed: int) -> tuple[Images, Labels]:
    """Return images (N + M, 28, 28) and labels (N + M,), 0 to 10, with M made ones behind the N given ones."""
    digest = hashlib.sha256(f"{VERSION} {settings.model_dump_json()} {seed}".encode())
    digest.update(images.tobytes())
    digest.update(labels.tobytes())
    made = cache.load("synthetic", digest.hexdigest(), PARTS)
    if made is None:
        made = list(_make(images, labels, settings, seed))
        cache.store("synthetic", digest.hexdigest(), dict(zip(PARTS, made, strict=True)))
    return np.concatenate([images, made[0]]), np.concatenate([labels, made[1]])


def _make(images: Images, labels: Labels, settings: SyntheticSettings, seed: int) -> tuple[Images, Labels]:
    from tenfold.drawing.variants import make_variants

    variants, variant_labels = make_variants(settings.variants, seed)
    negatives = images[:0]
    if settings.negatives:
        from tenfold.drawing.negatives import RAW_SHARE, make_negatives

        made = make_negatives(settings.negatives, seed, (images, labels), raw_share=RAW_SHARE)
        negatives = np.stack([each.frame for each in made])
    return (
        np.concatenate([variants, negatives]),
        np.concatenate([variant_labels, np.full(len(negatives), NO_DIGIT, np.int64)]),
    )
