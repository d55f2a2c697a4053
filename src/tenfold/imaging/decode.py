"""Untrusted bytes to an array of pixels, by Pillow, with the formats, the pixels and the memory bounded.

What is refused -- no picture, damaged, too large, a bomb -- is refused within 64 MB of memory besides the file's own
bytes; sizes are read from the header, and a PNG's texts and profiles are never unpacked. What is accepted takes at
most 20 bytes a pixel while it is decoded, 340 MB for the largest (measured: 10 for colours, 18 for WebP).
"""

import contextlib
import ctypes
import functools
import io
import struct
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 1 << 24  # 16.8 million: a page at 400 dots an inch, most phones' photographs
# A JPEG of more is decoded at a half, a quarter or an eighth, which takes no more memory: 50 megapixels are common.
MAX_JPEG_PIXELS = 1 << 26
MAX_BYTES = 64 << 20  # of a file; MAX_PIXELS in colour without compression have 50 MB
MAX_SCANS = 100  # of a progressive JPEG; encoders write 10, and each costs as much as the picture
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # no parser of PostScript, icons, ...
ADVICE = "Give a PNG, JPEG, WebP, BMP, GIF or TIFF"
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow's "L"
OPAQUE = 255
MAX_SAMPLE = 100_000  # pixels that the background is judged by
BLOCK_PIXELS = 1 << 18  # that are converted at a time: few enough to take little memory as floats

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# What a PNG's pixels need. Texts and colour profiles, which can unpack to much, and further frames stay out.
PNG_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf"}
HEIGHT, TILE_WIDTH, TILE_HEIGHT, STRIP_OFFSETS, ROWS_PER_STRIP = 257, 322, 323, 273, 278  # TIFF's tags


def decode(data: bytes, name: str) -> NDArray[np.uint8]:
    """Return the picture upright: (H, W) uint8 where it is grey, else (H, W, 3) uint8 RGB; of several, the first.

    EXIF orientation is applied, 16-bit and floating-point pixels are brought to 8 bits, transparency is laid on
    the background (see `flatten`). A JPEG of more than `MAX_PIXELS` comes back smaller. DataError where the bytes are
    no picture, are damaged, or hold over `MAX_PIXELS` (as JPEG: `MAX_JPEG_PIXELS`).
    """
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        raise DataError(f"'{name}' is a 'HEIC' picture. {ADVICE}: save or export it as JPEG first.")
    if len(data) > MAX_BYTES:
        raise DataError(f"'{name}' has '{len(data)}' bytes. Give a picture of at most {MAX_BYTES}.")
    from PIL import Image

    Image.init()
    formats = [each for each in FORMATS if each in Image.OPEN]  # a build of Pillow may lack WebP
    with decoding(name):
        width, height = _webp_size(data)
        check_size(width, height, name)  # Pillow makes room for a WebP as soon as it opens it
        return decode_frame(Image.open(io.BytesIO(_essential(data)), formats=formats), data, name)


def decode_frame(image: "Image.Image", data: bytes, name: str) -> NDArray[np.uint8]:
    """Return the frame that a picture which Pillow opened stands at, as `decode` does; to be called in `decoding`."""
    from PIL import ImageOps

    _prepare(image, data, name)
    image.load()
    ImageOps.exif_transpose(image, in_place=True)  # a copy only where it has to be turned
    return _to_array(image)


@contextlib.contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises meanwhile into a DataError, and let it warn of nothing."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sizes, which are bounded here, and odd metadata
            yield
    except DataError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit, well above ours
        raise DataError(f"'{name}' has too many pixels. Give at most {MAX_PIXELS // 1_000_000} million.") from error
    except Exception as error:  # the parsers of six formats fail on hostile bytes in more ways than can be listed
        known = isinstance(error, UnidentifiedImageError)
        what = "is not a picture" if known else f"is a damaged picture ({type(error).__name__})"
        raise DataError(f"'{name}' {what}. {ADVICE}.") from error


def pixels(image: "Image.Image", name: str) -> NDArray[np.uint8]:
    """Return a picture that PIL has opened as `decode` does those of files. DataError where that is impossible."""
    check_size(*image.size, name)
    try:
        return _to_array(image)
    except Exception as error:  # as in `decode`
        raise DataError(f"'{name}' is a picture that cannot be read ({image.mode}). Give it as RGB or L.") from error


def flatten(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an (H, W, 4) RGBA picture laid on its background: (H, W, 3).

    A picture that is transparent along most of its border is ink on nothing: dark ink is laid on white, light ink
    on black. Otherwise the opaque part has its own background, and holes take its median colour.
    """
    alpha = image[..., 3]
    if alpha.min() == OPAQUE:
        return image[..., :3].copy()
    flat = np.full((*alpha.shape, 3), 255, dtype=np.uint8)
    if alpha.max() == 0:
        return flat
    limit = OPAQUE // 2 if alpha.max() > OPAQUE // 2 else 0
    # A block of rows at a time: a mask over all pixels costs numpy 16 bytes each, all pixels as floats 24.
    step = max(1, BLOCK_PIXELS // alpha.shape[1])
    blocks = [slice(start, start + step) for start in range(0, len(image), step)]
    seen = np.concatenate([image[rows][alpha[rows] > limit, :3] for rows in blocks])
    seen = seen[:: len(seen) // MAX_SAMPLE + 1].copy()
    if border(alpha).mean() < OPAQUE / 2:
        background = np.full(3, 255 if float((seen @ LUMINANCE).mean()) < 128 else 0, dtype=np.float32)
    else:
        background = np.median(seen, axis=0).astype(np.float32)
    for rows in blocks:
        share = image[rows, :, 3:].astype(np.float32) / OPAQUE
        flat[rows] = np.rint(image[rows, :, :3] * share + background * (1 - share))
    return flat


def border(image: NDArray[Any]) -> NDArray[Any]:
    """Return the pixels on the four edges of an (H, W) image, or of each in (N, H, W): (..., 2 H + 2 W)."""
    edges = (image[..., 0, :], image[..., -1, :], image[..., :, 0], image[..., :, -1])
    return np.concatenate(edges, axis=-1)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return the width and height that a WebP's header declares; (0, 0) for another file or an unknown header.

    Source: Google's "WebP container specification" and RFC 6386 (VP8), section 9.1.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return 0, 0
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<2H", data, 26) if kind == b"VP8 " else (0, 0)
    return width & 0x3FFF, height & 0x3FFF


def _essential(data: bytes) -> bytes:
    """Return a PNG with those of its chunks that its pixels need; the bytes of any other file as they are.

    A chunk that breaks off stays, so that Pillow sees that it does.
    """
    if not data.startswith(PNG_SIGNATURE):
        return data
    parts, at = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] in PNG_CHUNKS:
            parts.append(data[at : at + length + 12])
        at += length + 12
    return b"".join(parts)


def _prepare(image: "Image.Image", data: bytes, name: str) -> None:
    """Refuse a picture that would take too much, by its header; have a large JPEG decoded at a fraction of its size."""
    width, height = image.size
    is_jpeg = image.format in ("JPEG", "MPO")
    # A progressive one keeps every coefficient of the whole picture, whatever size it is decoded at.
    shrinks = is_jpeg and not image.info.get("progressive")
    if is_jpeg and data.count(b"\xff\xda") > MAX_SCANS:
        raise DataError(f"'{name}' is a JPEG of over '{MAX_SCANS}' scans. Save it again.")
    check_size(width, height, name, MAX_JPEG_PIXELS if shrinks else MAX_PIXELS)
    scale = next(scale for scale in (1, 2, 4, 8) if width * height <= MAX_PIXELS * scale * scale)
    if scale > 1:
        image.draft(None, (width // scale, height // scale))
    if image.format == "TIFF":
        _silence_libtiff()
        tags = image.tag_v2  # type: ignore[attr-defined]
        check_size(int(tags.get(TILE_WIDTH, 1)), int(tags.get(TILE_HEIGHT, 1)), name)
        height = int(tags.get(HEIGHT, height))  # as it is stored; Pillow's is that of the picture turned upright
        strips, rows = tags.get(STRIP_OFFSETS), int(tags.get(ROWS_PER_STRIP, height))
        if strips and len(strips) * rows < height:  # Pillow would leave the rest of the picture black
            raise ValueError("strips that end before the picture does")


@functools.cache
def _silence_libtiff() -> None:
    """Keep libtiff from printing what is wrong with a file, which is raised too; do nothing where it isn't found."""
    from PIL import Image

    with contextlib.suppress(OSError, AttributeError):  # Pillow was built without it, or with all its names hidden
        library = ctypes.CDLL(Image.core.__file__)  # type: ignore[attr-defined]
        for kind in ("Error", "Warning"):
            handle = getattr(library, f"TIFFSet{kind}Handler")
            handle.restype, handle.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
            handle(None)


def check_size(width: int, height: int, name: str, limit: int = MAX_PIXELS) -> None:
    """Raise DataError for a picture of more pixels than `limit`."""
    if width * height > limit:
        raise DataError(f"'{name}' has '{width}x{height}' pixels. Give at most {limit // 1_000_000} million.")


def _to_array(image: "Image.Image") -> NDArray[np.uint8]:
    transparent = "transparency" in image.info or image.mode in ("RGBA", "LA", "La", "RGBa", "PA")
    if image.mode in ("1", "L") and not transparent:
        return np.array(_converted(image, "L"))
    if image.mode.startswith("I") or image.mode == "F":
        return _to_eight_bits(np.array(image))
    if not transparent:
        return np.array(_converted(image, "RGB"))
    flat = flatten(np.array(_converted(image.convert("LA") if image.mode == "La" else image, "RGBA")))
    is_grey = (flat[..., 0] == flat[..., 1]).all() and (flat[..., 1] == flat[..., 2]).all()
    return np.ascontiguousarray(flat[..., 0]) if is_grey else flat


def _converted(image: "Image.Image", mode: str) -> "Image.Image":
    """Return the picture in another mode; itself, and no copy, where it is in that mode."""
    return image if image.mode == mode else image.convert(mode)


def _to_eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return deep grey pixels as 8 bits: 16 bits by their upper byte, anything else by stretching its own range."""
    low, high = float(pixels.min()), float(pixels.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("pixels that are not finite")
    eight = np.empty(pixels.shape, np.uint8)
    sixteen = pixels.dtype.kind in "iu" and low >= 0 and high <= 0xFFFF
    step = max(1, BLOCK_PIXELS // pixels.shape[1])
    for start in range(0, len(pixels), step):
        rows = slice(start, start + step)
        if sixteen:
            eight[rows] = pixels[rows] >> 8 if high > 0xFF else pixels[rows]
        else:
            eight[rows] = np.rint((pixels[rows].astype(np.float64) - low) * (255 / (high - low or 1)))
    return eight
