"""A picture in any of the ways that a program has one -- array, path, bytes, PIL image -- in MNIST's frame."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.data.meaning import Meaning, as_stack, known_range
from tenfold.errors import DataError
from tenfold.imaging.decode import MAX_BYTES, MAX_PIXELS, check_size, decode, pixels
from tenfold.imaging.frame import SIDE, Ink, check_ink, is_framed, to_frame

if TYPE_CHECKING:
    from PIL import Image

    Picture = NDArray[Any] | str | os.PathLike[str] | bytes | Image.Image

FRAME = (SIDE, SIDE)
MAX_VALUES = 4 * MAX_PIXELS  # of an array whose range is looked at


def is_pil(image: object) -> bool:
    """Return True for an image of PIL, without importing it: where nobody did, there is none."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(image, module.Image)


def as_frames(images: ArrayLike) -> NDArray[np.uint8]:
    """Return images that are in MNIST's frame as (N, 28, 28) uint8, ink 255 on 0: such an array as it is.

    Another dtype, (N, 784) and axes of length 1 are judged as a set (see `tenfold.data.meaning`), and 0 and 1 are 0
    and 255. DataError for any other array.
    """
    if isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.shape[1:] == FRAME:
        return images * np.uint8(255) if images.max(initial=0) == 1 else images
    array = as_stack(images, "The array of frames")
    if array.shape[1:] != FRAME:
        raise DataError(f"The array of frames has the shape '{array.shape}'. Give (N, 28, 28) uint8.")
    return Meaning.of(array, "The array of frames", turn=False).frames(array)


def listed(images: "Picture | Iterable[Picture]") -> "Iterable[Picture]":
    """Return a list of pictures: itself, the images of an array (N, ...), or a single picture alone, such as (H, W, 3).

    DataError for what is neither.
    """
    if isinstance(images, np.ndarray):
        rows = images.ndim == 2 and images.shape[1] == SIDE * SIDE
        single = (images.ndim < 3 and not rows) or images.shape[2:] in ((1,), (3,), (4,))
        return [images] if single else list(images)
    if isinstance(images, str | os.PathLike | bytes | bytearray | memoryview) or is_pil(images):
        return [images]  # type: ignore[list-item]  # bytes are a list of numbers as well
    if not isinstance(images, Iterable):
        raise DataError(f"A '{type(images).__name__}' is no picture. Give arrays, paths, bytes or PIL images.")
    return images


def ranges_of(images: "Sequence[Picture]") -> dict[Any, tuple[float, float]]:
    """Return the lowest and highest value of all arrays of a list that have the same dtype, by dtype."""
    found: dict[Any, tuple[float, float]] = {}
    for image in (each for each in images if isinstance(each, np.ndarray) and 0 < each.size <= MAX_VALUES):
        if image.dtype.kind in "iuf" and image.dtype != np.uint8:
            own = float(image.min()), float(image.max())
            if np.isfinite(own).all():
                low, high = found.get(image.dtype, own)
                found[image.dtype] = min(low, own[0]), max(high, own[1])
    return found


def framed(
    image: "Picture", number: int, ink: Ink, ranges: Mapping[Any, tuple[float, float]] | None = None
) -> NDArray[np.uint8]:
    """Return one picture in MNIST's frame, (28, 28) uint8; DataError naming its place in the list from 1.

    ranges: the values that the list's arrays have, by dtype (see `ranges_of`); an array's own where it is None.
    """
    check_ink(ink)
    if isinstance(image, np.ndarray) and _is_frame(image) and ink != "dark" and is_framed(image):
        return image
    return to_frame(as_pixels(image, f"image {number + 1}", ranges), ink)


def _is_frame(image: NDArray[Any]) -> bool:
    return image.shape == FRAME and image.dtype == np.uint8


def as_pixels(
    image: "Picture", name: str = "the picture", ranges: Mapping[Any, tuple[float, float]] | None = None
) -> NDArray[np.uint8]:
    """Return a picture upright, (H, W), (H, W, 3) or (H, W, 4) uint8. DataError, with `name`, where it is none.

    ranges: as of `framed`.
    """
    if isinstance(image, np.ndarray):
        height, width = (*image.shape, 1, 1)[:2]
        check_size(width, height, name.capitalize())
        return _eight_bits(_bare(image), name.capitalize(), ranges or {})
    if isinstance(image, bytes | bytearray | memoryview):
        return decode(bytes(image), name)
    if isinstance(image, str | os.PathLike):
        return decode(read_picture(Path(image), str(image)), str(image))
    if is_pil(image):
        return pixels(image, name)
    kind = type(image).__name__
    raise DataError(f"{name.capitalize()} has the type '{kind}'. Give an array, a path, bytes or a PIL image.")


def read_picture(path: Path, name: str) -> bytes:
    """Return the bytes of a picture's file, `MAX_BYTES` at most. DataError, with `name`, where that is impossible."""
    try:
        if not path.is_file():
            raise DataError(f"'{name}' is not a file. Give the path of a picture.")
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"'{name}' has '{path.stat().st_size}' bytes. Give at most {MAX_BYTES}.")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"'{name}' cannot be read: {reason}. Check the path and its permissions.") from error


def read_frame(path: Path, name: str, ink: Ink = "auto") -> NDArray[np.uint8]:
    """Return the picture of a file in the frame, (28, 28) uint8. DataError, with `name`, where that is impossible."""
    return decoded_frame(read_picture(path, name), name, ink)


def decoded_frame(content: bytes, name: str, ink: Ink = "auto") -> NDArray[np.uint8]:
    """Return the picture of a file's bytes in the frame, (28, 28) uint8. DataError, with `name`, where it is none."""
    return to_frame(decode(content, name), ink)


def _bare(image: NDArray[Any]) -> NDArray[Any]:
    """Return an array without axes of length 1, and a row of 784 pixels as (28, 28)."""
    while image.ndim > 2 and image.shape[0] == 1:
        image = image[0]
    if image.shape[2:] == (1,):
        image = image[..., 0]
    return image.reshape(FRAME) if image.shape in ((SIDE * SIDE,), (1, SIDE * SIDE)) else image


def _eight_bits(image: NDArray[Any], name: str, ranges: Mapping[Any, tuple[float, float]]) -> NDArray[np.uint8]:
    """Return an array of pixels as uint8, read by the range of its like. DataError where it has no finite numbers."""
    kind = image.dtype
    if kind == np.uint8:
        return image
    if kind.kind not in "buif" or not image.size:
        raise DataError(f"{name} has the dtype '{kind}' and shape '{image.shape}'. Give numbers, such as uint8.")
    low, high = own = float(image.min()), float(image.max())
    if not np.isfinite(own).all():
        raise DataError(f"{name} has values from '{low:g}' to '{high:g}'. Give finite numbers.")
    low, high = ranges.get(kind, own)
    # A ground that is not 0 stays what it is, so that a blank sheet is not stretched until its noise is ink.
    low, high = known_range(low, high) or (min(low, 0.0), max(high, 1.0))
    return np.asarray(np.rint((image.astype(np.float64) - low) * (255 / (high - low))), np.uint8)
