"""A picture in any of the ways that a program has one -- array, path, bytes, PIL image -- in MNIST's frame."""

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError
from tenfold.imaging.frame import SIDE, is_framed, to_frame

if TYPE_CHECKING:
    from PIL import Image

    from tenfold.imaging.frame import Ink

    Picture = NDArray[Any] | str | os.PathLike[str] | bytes | Image.Image

FRAME = (SIDE, SIDE)
MAX_FILE_BYTES = 64 << 20  # of a picture; 16 million pixels without compression have 48 MB


def is_pil(image: object) -> bool:
    """Return True for an image of PIL, without importing it: where nobody did, there is none."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(image, module.Image)


def framed(image: "Picture", number: int, ink: "Ink") -> NDArray[np.uint8]:
    """Return one picture in MNIST's frame, (28, 28) uint8; DataError naming its place in the list from 1."""
    if isinstance(image, np.ndarray):
        if image.shape == FRAME and image.dtype == np.uint8 and ink != "dark" and is_framed(image):
            return image
        return to_frame(_eight_bits(image, f"Image {number + 1}"), ink)
    if isinstance(image, bytes | bytearray | memoryview):
        return decoded_frame(bytes(image), f"image {number + 1}", ink)
    if isinstance(image, str | os.PathLike):
        return read_frame(Path(image), str(image), ink)
    if is_pil(image):
        return _pil_frame(image, f"image {number + 1}", ink)
    raise DataError(
        f"Image {number + 1} has the type '{type(image).__name__}'. Give an array, a path, bytes or a PIL image."
    )


def read_frame(path: Path, name: str, ink: "Ink" = "auto") -> NDArray[np.uint8]:
    """Return the picture of a file in the frame, (28, 28) uint8. DataError, with `name`, where that is impossible."""
    try:
        if not path.is_file():
            raise DataError(f"'{name}' is not a file. Give the path of a picture.")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DataError(f"'{name}' has '{path.stat().st_size}' bytes. Give at most {MAX_FILE_BYTES}.")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"'{name}' cannot be read: {reason}. Check the path and its permissions.") from error
    return decoded_frame(content, name, ink)


def decoded_frame(content: bytes, name: str, ink: "Ink" = "auto") -> NDArray[np.uint8]:
    """Return the picture of a file's bytes in the frame, (28, 28) uint8. DataError, with `name`, where it is none."""
    from tenfold.imaging.decode import decode

    return to_frame(decode(content, name), ink)


def _pil_frame(image: Any, name: str, ink: "Ink") -> NDArray[np.uint8]:
    """Return a PIL image in the frame: decoded from a lossless file of its own, if it is not plain."""
    if image.mode in ("L", "RGB"):
        return to_frame(np.asarray(image), ink)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF")
    return decoded_frame(buffer.getvalue(), name, ink)


def _eight_bits(image: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Return an array of pixels as uint8. DataError where it is not clear what the values mean."""
    kind = image.dtype
    if kind == np.uint8:
        return image
    if kind == np.bool_:
        return np.where(image, np.uint8(255), np.uint8(0))
    if kind == np.uint16:
        return np.asarray(image >> 8, np.uint8)
    if kind.kind == "f" and image.size:
        low, high = float(image.min()), float(image.max())
        if 0 <= low <= high <= 1:  # False for NaN
            return np.asarray(np.rint(image * 255), np.uint8)
        raise DataError(f"{name} has values from '{low:g}' to '{high:g}'. Give floats 0 to 1, or uint8.")
    raise DataError(f"{name} has the dtype '{kind}'. Give uint8, bool, uint16 or floats 0 to 1.")
