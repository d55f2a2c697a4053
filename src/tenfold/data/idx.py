"""IDX, MNIST's own format: a big-endian header, then the bytes; gzipped or not.

Header (4 bytes each): magic 0x00000803 for images or 0x00000801 for labels, the count, for images also the rows and
columns. Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits", section "File formats".
"""

import math
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data.archive import gunzip, is_gzip, read_file
from tenfold.data.digits import Digits
from tenfold.data.meaning import MAX_SIDE, digits_of
from tenfold.errors import DataError

UNSIGNED_BYTE = 0x08
IMAGE_DIMENSIONS, LABEL_DIMENSIONS = 3, 1


def read_idx(path: Path) -> Digits:
    """Return the digits of an IDX images file, with the labels of the file beside it where there is one.

    DataError names the byte where a file is wrong, and the two counts where they disagree.
    """
    images = parse_idx(read_file(path), path.name, IMAGE_DIMENSIONS)
    labels_path = find_labels(path)
    if labels_path is None:
        return digits_of(images, name=path.name)
    labels = parse_idx(read_file(labels_path), labels_path.name, LABEL_DIMENSIONS)
    if len(labels) != len(images):
        raise DataError(
            f"'{path.name}' holds {len(images)} images but '{labels_path.name}' holds '{len(labels)}' labels. "
            "Give the two files that belong together."
        )
    return digits_of(images, labels, name=path.name)


def find_labels(path: Path) -> Path | None:
    """Return the labels file beside an images file (`images` -> `labels`, `idx3` -> `idx1`, `.gz` or not), or None."""
    if "images" not in path.name:
        return None
    name = path.name.replace("images", "labels").replace("idx3", "idx1")
    other = name.removesuffix(".gz") if name.endswith(".gz") else f"{name}.gz"
    return next((path.with_name(each) for each in (name, other) if path.with_name(each).is_file()), None)


def is_idx(start: bytes) -> bool:
    """Return True where a file's first (decompressed) bytes are those of an IDX header."""
    return len(start) >= 4 and start[:2] == b"\0\0" and 0x08 <= start[2] <= 0x0E


def parse_idx(data: bytes, name: str, dimensions: int) -> NDArray[np.uint8]:
    """Return the array in the bytes of an IDX file (gzipped or not): (N, H, W) or (N,) uint8, writable."""
    if is_gzip(data):
        data = gunzip(data, name)
    if not data:
        raise DataError(f"'{name}' is empty: '0' bytes. Give an IDX file.")
    header_bytes = 4 + 4 * dimensions
    magic = data[:4]
    if len(magic) == 4 and magic != bytes([0, 0, UNSIGNED_BYTE, dimensions]):
        raise DataError(_magic_fault(magic, name, dimensions))
    if len(data) < header_bytes:
        raise DataError(f"'{name}' breaks off in its header at byte '{len(data)}' of {header_bytes}. Get it again.")
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    if shape[0] == 0:
        raise DataError(f"'{name}' holds '0' items. Give at least one image.")
    for index, side in enumerate(shape[1:]):
        if not 1 <= side <= MAX_SIDE:
            raise DataError(f"'{name}' has images of '{side}' pixels a side at byte {8 + 4 * index}. Give 28.")
    promised = header_bytes + math.prod(shape)
    if len(data) < promised:
        raise DataError(f"'{name}' breaks off at byte '{len(data)}', but its header promises {promised}. Get it again.")
    if len(data) > promised:
        raise DataError(f"'{name}' has '{len(data) - promised}' bytes too many after byte {promised}. Get it again.")
    return np.frombuffer(data, np.uint8, offset=header_bytes).reshape(shape).copy()


def _magic_fault(magic: bytes, name: str, dimensions: int) -> str:
    wanted = "images" if dimensions == IMAGE_DIMENSIONS else "labels"
    expected = bytes([0, 0, UNSIGNED_BYTE, dimensions]).hex()
    if magic[:3] == bytes([0, 0, UNSIGNED_BYTE]) and magic[3] in (IMAGE_DIMENSIONS, LABEL_DIMENSIONS):
        found = "images" if magic[3] == IMAGE_DIMENSIONS else "labels"
        return f"'{name}' holds {found} (magic '{magic.hex()}' at byte 0). Give the {wanted} file (magic {expected})."
    return f"'{name}' begins with '{magic.hex()}' at byte 0. Give IDX {wanted} of bytes, which begin with {expected}."
