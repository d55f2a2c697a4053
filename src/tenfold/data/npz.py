"""Arrays that numpy saved (.npy, alone or in an NPZ), read without numpy's `load`: nothing is unpickled.

No header is believed: an array is as long as its bytes.
"""

import ast
import math
import struct
import warnings
import zipfile
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.archive import quoted
from tenfold.errors import DataError

KEYS = (("X", "y"), ("images", "labels"), ("x", "y"))
MAGIC = b"\x93NUMPY"
MAX_DIMENSIONS = 8
MAX_HEADER_BYTES = 10_000  # numpy has the same limit


def is_npz(members: dict[str, zipfile.ZipInfo]) -> bool:
    """Return True where a zip's entries are all numpy arrays."""
    return bool(members) and all(PurePosixPath(member).suffix == ".npy" for member in members)


def parse_npy(data: bytearray, name: str) -> NDArray[Any]:
    """Return the array in a .npy file's bytes. DataError for objects (pickles), and where its header lies."""
    shape, fortran_order, dtype, start = read_header(bytes(data[: 12 + MAX_HEADER_BYTES]), name)
    if dtype.hasobject:
        raise DataError(
            f"{quoted(name)} holds Python objects ('{str(dtype)[:60]}'), which are never unpickled. Save plain numbers."
        )
    if dtype.kind not in "buifSU" or not dtype.itemsize or len(shape) > MAX_DIMENSIONS:
        raise DataError(f"{quoted(name)} has dtype '{str(dtype)[:60]}' in '{len(shape)}' dimensions. Give numbers.")
    promised = start + math.prod(shape) * dtype.itemsize
    if len(data) != promised:
        raise DataError(f"{quoted(name)} has '{len(data)}' bytes, but its header promises {promised}. Save it again.")
    if min(shape, default=0) < 1:
        raise DataError(f"{quoted(name)} has the shape '{shape}'. Give at least one image.")
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
        raise DataError(f"{quoted(where)} is not a numpy array. Save it again with 'numpy.savez'.") from error
