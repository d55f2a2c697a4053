"""IDX, MNIST's own format: a big-endian header, then the values.

Header (4 bytes each): magic 0x00000803 for images or 0x00000801 for labels, the count, for images also the rows and
columns. The magic's third byte is the type, its fourth the number of dimensions. Source: LeCun, Cortes, Burges, "The
MNIST database of handwritten digits", section "File formats".
"""

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.archive import quoted
from tenfold.data.meaning import MAX_SIDE
from tenfold.errors import DataError

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_DIMENSIONS = 4


def find_labels(path: Path) -> Path | None:
    """Return the labels file beside an images file (`images` -> `labels`, `idx3` -> `idx1`, `.gz` or not), or None."""
    if "images" not in path.name:
        return None
    name = path.name.replace("images", "labels").replace("idx3", "idx1").removesuffix(".gz")
    names = (name, f"{name}.gz", name.replace("idx1-ubyte", "idx2-int") + ".gz")  # the last is QMNIST's
    return next((path.with_name(each) for each in names if path.with_name(each).is_file()), None)


def is_idx(start: bytes | bytearray) -> bool:
    """Return True where a file's first (decompressed) bytes are those of an IDX header."""
    return len(start) >= 4 and start[:2] == b"\0\0" and start[2] in TYPES and 1 <= start[3] <= MAX_DIMENSIONS


def parse_idx(data: bytearray, name: str) -> NDArray[Any]:
    """Return the array in the bytes of an IDX file, writable, of the type that its header names."""
    if not is_idx(data[:4]):
        raise DataError(f"{quoted(name)} is not IDX: its first bytes are no such header. Get the file again.")
    dimensions, dtype = data[3], np.dtype(TYPES[data[2]])
    header_bytes = 4 + 4 * dimensions
    if len(data) < header_bytes:
        raise DataError(
            f"{quoted(name)} breaks off in its header at byte '{len(data)}' of {header_bytes}. Get it again."
        )
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    if shape[0] == 0:
        raise DataError(f"{quoted(name)} holds '0' items. Give at least one image.")
    for index, side in enumerate(shape[1:]):
        if not 1 <= side <= MAX_SIDE:
            raise DataError(f"{quoted(name)} has images of '{side}' pixels a side at byte {8 + 4 * index}. Give 28.")
    promised = header_bytes + math.prod(shape) * dtype.itemsize
    if len(data) != promised:
        raise DataError(
            f"{quoted(name)} has '{len(data)}' bytes, but its header promises {promised} ({shape[0]} items). "
            "Get the file again."
        )
    return np.frombuffer(data, dtype, offset=header_bytes).reshape(shape)
