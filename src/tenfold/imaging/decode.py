"""Untrusted bytes to an array of pixels, by Pillow, with the formats and the number of pixels bounded."""

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 1 << 26  # 67 million: any phone's photograph, at most 270 MB while it is decoded
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "AVIF")  # no parser of PostScript, icons, ...
ADVICE = "Give a PNG, JPEG, WebP, BMP, GIF or TIFF"
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow's "L"
OPAQUE = 255
MAX_SAMPLE = 100_000  # pixels that the background is judged by


def decode(data: bytes, name: str) -> NDArray[np.uint8]:
    """Return the picture upright: (H, W) uint8 where it is grey, else (H, W, 3) uint8 RGB; of several, the first.

    EXIF orientation is applied, 16-bit and floating-point pixels are brought to 8 bits, transparency is laid on
    the background (see `flatten`). DataError where the bytes are no picture, are damaged, or hold over `MAX_PIXELS`.
    """
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        raise DataError(f"'{name}' is a 'HEIC' picture. {ADVICE}: save or export it as JPEG first.")
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.init()
    formats = [each for each in FORMATS if each in Image.OPEN]  # a build of Pillow may lack WebP or AVIF
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sizes, which are bounded here, and odd metadata
            image = Image.open(io.BytesIO(data), formats=formats)
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(
                    f"'{name}' has '{width}x{height}' pixels. Give at most {MAX_PIXELS // 1_000_000} million."
                )
            image.load()
            return _to_array(ImageOps.exif_transpose(image))
    except DataError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit, well above MAX_PIXELS
        raise DataError(f"'{name}' has too many pixels. Give at most {MAX_PIXELS // 1_000_000} million.") from error
    except Exception as error:  # the parsers of ten formats fail on hostile bytes in more ways than can be listed
        known = isinstance(error, UnidentifiedImageError)
        what = "is not a picture" if known else f"is a damaged picture ({type(error).__name__})"
        raise DataError(f"'{name}' {what}. {ADVICE}.") from error


def flatten(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an (H, W, 4) RGBA picture laid on its background: (H, W, 3).

    A picture that is transparent along most of its border is ink on nothing: dark ink is laid on white, light ink
    on black. Otherwise the opaque part has its own background, and holes take its median colour.
    """
    alpha = image[..., 3]
    flat = np.full((*alpha.shape, 3), 255, dtype=np.uint8)
    if alpha.min() == OPAQUE:
        flat[:] = image[..., :3]
    if alpha.min() == OPAQUE or alpha.max() == 0:
        return flat
    seen = image[alpha > OPAQUE // 2] if (alpha > OPAQUE // 2).any() else image[alpha > 0]
    seen = seen[:: len(seen) // MAX_SAMPLE + 1, :3]
    if border(alpha).mean() < OPAQUE / 2:
        background = np.full(3, 255 if float((seen @ LUMINANCE).mean()) < 128 else 0, dtype=np.float32)
    else:
        background = np.median(seen, axis=0).astype(np.float32)
    for row, pixels in enumerate(image):  # one row at a time: 67 million pixels as floats would take gigabytes
        share = pixels[:, 3:].astype(np.float32) / OPAQUE
        flat[row] = np.rint(pixels[:, :3] * share + background * (1 - share))
    return flat


def border(image: NDArray[Any]) -> NDArray[Any]:
    """Return the pixels on the four edges of an (H, W) image, or of each in (N, H, W): (..., 2 H + 2 W)."""
    edges = (image[..., 0, :], image[..., -1, :], image[..., :, 0], image[..., :, -1])
    return np.concatenate(edges, axis=-1)


def _to_array(image: "Image.Image") -> NDArray[np.uint8]:
    if image.mode in ("1", "L"):
        if "transparency" not in image.info:
            return np.array(image.convert("L"))
    elif image.mode.startswith("I") or image.mode == "F":
        return _to_eight_bits(np.array(image))
    transparent = "transparency" in image.info or image.mode in ("RGBA", "LA", "La", "RGBa", "PA")
    if not transparent:
        return np.array(image.convert("RGB"))
    flat = flatten(np.array(image.convert("RGBA")))
    is_grey = (flat[..., 0] == flat[..., 1]).all() and (flat[..., 1] == flat[..., 2]).all()
    return np.ascontiguousarray(flat[..., 0]) if is_grey else flat


def _to_eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return deep grey pixels as 8 bits: 16 bits by their upper byte, anything else by stretching its own range."""
    if pixels.dtype.kind in "iu" and pixels.min() >= 0 and pixels.max() <= 0xFFFF:
        return (pixels >> 8).astype(np.uint8) if pixels.max() > 0xFF else pixels.astype(np.uint8)
    pixels = pixels.astype(np.float64)
    low, high = pixels.min(), pixels.max()
    if not np.isfinite([low, high]).all():
        raise ValueError("pixels that are not finite")
    return np.asarray(np.rint((pixels - low) * (255 / (high - low or 1))), dtype=np.uint8)
