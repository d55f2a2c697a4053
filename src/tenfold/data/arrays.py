"""Files of arrays, as arrays: IDX, MNIST's own format, and what numpy saved (.npy, alone or in an NPZ).

IDX is a big-endian header and then the values. Header (4 bytes each): magic 0x00000803 for images or 0x00000801 for
labels, the count, for images also the rows and columns. The magic's third byte is the type, its fourth the number of
dimensions. Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits", section "File formats".

What numpy saved is read without its `load`: nothing is unpickled. No header is believed: an array is as long as its
bytes.
"""

import ast
import math
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.meaning import MAX_SIDE
from tenfold.data.walk import fault

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_IDX_DIMENSIONS = 4
MAGIC = b"\x93NUMPY"
MAX_DIMENSIONS = 8
MAX_HEADER_BYTES = 10_000  # numpy has the same limit


def find_labels(path: Path) -> Path | None:
    """Return the labels file beside an images file (`images` -> `labels`, `idx3` -> `idx1`, `.gz` or not), or None."""
    if "images" not in path.name:
        return None
    name = path.name.replace("images", "labels").replace("idx3", "idx1").removesuffix(".gz")
    names = (name, f"{name}.gz", name.replace("idx1-ubyte", "idx2-int") + ".gz")  # the last is QMNIST's
    return next((path.with_name(each) for each in names if path.with_name(each).is_file()), None)


def is_idx(start: bytes | bytearray) -> bool:
    """Return True where a file's first (decompressed) bytes are those of an IDX header."""
    return len(start) >= 4 and start[:2] == b"\0\0" and start[2] in TYPES and 1 <= start[3] <= MAX_IDX_DIMENSIONS


def parse_idx(data: bytearray, name: str) -> NDArray[Any]:
    """Return the array in the bytes of an IDX file, writable, of the type that its header names."""
    if not is_idx(data[:4]):
        raise fault(name, "is not IDX: its first bytes are no such header. Get the file again.")
    dimensions, dtype = data[3], np.dtype(TYPES[data[2]])
    header_bytes = 4 + 4 * dimensions
    if len(data) < header_bytes:
        raise fault(name, f"breaks off in its header at byte '{len(data)}' of {header_bytes}. Get it again.")
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    if shape[0] == 0:
        raise fault(name, "holds '0' items. Give at least one image.")
    for index, side in enumerate(shape[1:]):
        if not 1 <= side <= MAX_SIDE:
            raise fault(name, f"has images of '{side}' pixels a side at byte {8 + 4 * index}. Give 28.")
    promised = header_bytes + math.prod(shape) * dtype.itemsize
    if len(data) != promised:
        what = f"has '{len(data)}' bytes, but its header promises {promised} ({shape[0]} items)."
        raise fault(name, f"{what} Get the file again.")
    return np.frombuffer(data, dtype, offset=header_bytes).reshape(shape)


def parse_npy(data: bytearray, name: str) -> NDArray[Any]:
    """Return the array in a .npy file's bytes. DataError for objects (pickles), and where its header lies."""
    shape, fortran_order, dtype, start = read_header(bytes(data[: 12 + MAX_HEADER_BYTES]), name)
    if dtype.hasobject:
        raise fault(name, f"holds Python objects ('{str(dtype)[:60]}'), which are never unpickled. Save plain numbers.")
    if dtype.kind not in "buifSU" or not dtype.itemsize or len(shape) > MAX_DIMENSIONS:
        raise fault(name, f"has dtype '{str(dtype)[:60]}' in '{len(shape)}' dimensions. Give numbers.")
    promised = start + math.prod(shape) * dtype.itemsize
    if len(data) != promised:
        raise fault(name, f"has '{len(data)}' bytes, but its header promises {promised}. Save it again.")
    if min(shape, default=0) < 1:
        raise fault(name, f"has the shape '{shape}'. Give at least one image.")
    return np.frombuffer(data, dtype, offset=start).reshape(shape, order="F" if fortran_order else "C")


def read_header(data: bytes, where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, Fortran order, dtype and the byte where the values begin, by numpy's format 1.0 to 3.0.

    data: the array's bytes, or their first 12 + MAX_HEADER_BYTES. DataError where they are no array's.
    Source: numpy.lib.format. Its own functions mend the headers of old Pythons, with warnings; this only reads.
    """
    try:
        if data[:6] != b"\x93NUMPY" or data[6] not in (1, 2, 3):
            raise ValueError("no magic")
        layout, at = ("<H", 10) if data[6] == 1 else ("<I", 12)
        (length,) = struct.unpack_from(layout, data, 8)
        if not 0 < length <= min(MAX_HEADER_BYTES, len(data) - at):
            raise ValueError("no header")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            header = ast.literal_eval(data[at : at + length].decode("utf-8").strip())
            shape, dtype = header["shape"], np.lib.format.descr_to_dtype(header["descr"])
        if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
            raise ValueError("no shape")
        return shape, header["fortran_order"] is True, dtype, at + length
    except Exception as error:  # hostile text fails to parse in more ways than can be listed
        raise fault(where, "is not a numpy array. Save it again with 'numpy.savez'.") from error
