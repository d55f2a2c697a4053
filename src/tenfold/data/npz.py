"""NPZ: numpy's archive of arrays, read without numpy's `load`: nothing is unpickled, and no header is believed."""

import ast
import math
import struct
import warnings
import zipfile
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.archive import quoted, read_member, safe_members
from tenfold.data.digits import Digits
from tenfold.data.meaning import digits_of
from tenfold.errors import DataError

PARTS = (("x_train", "y_train"), ("x_test", "y_test"))  # Keras's mnist.npz holds both
KEYS = (("X", "y"), ("images", "labels"), ("x", "y"))
MAX_HEADER_BYTES = 10_000  # numpy has the same limit


def is_npz(members: dict[str, zipfile.ZipInfo]) -> bool:
    """Return True where a zip's entries are all numpy arrays."""
    return bool(members) and all(PurePosixPath(member).suffix == ".npy" for member in members)


def read_npz(archive: zipfile.ZipFile, name: str, held_out: bool) -> Digits:
    """Return the digits of an NPZ with `X`, `y` or `images`, `labels` (the second may be missing).

    X, y: as `tenfold.data.meaning.digits_of` takes them.
    held_out: of an archive that holds both parts (`x_train`, `x_test`), take the test part.
    """
    members = {member.removesuffix(".npy"): info for member, info in safe_members(archive, name).items()}
    for images_key, labels_key in (*KEYS, PARTS[held_out]):
        if images_key not in members:
            continue
        images = _array(archive, members[images_key], name)
        labels = _array(archive, members[labels_key], name) if labels_key in members else None
        return digits_of(images, labels, name=name)
    raise DataError(f"'{name}' holds {quoted(', '.join(members))}. Give 'X' and 'y', or 'images' and 'labels'.")


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> NDArray[Any]:
    """Return one entry's array. DataError for objects (pickles), and where its size is not what its header says."""
    data = read_member(archive, info, name)
    where = f"{name}/{info.filename}"
    shape, fortran_order, dtype, start = read_header(data, where)
    if dtype.hasobject:
        raise DataError(f"'{where}' holds Python objects ('{dtype}'), which are never unpickled. Save plain numbers.")
    promised = start + math.prod(shape) * dtype.itemsize
    if len(data) != promised:
        raise DataError(f"'{where}' has '{len(data)}' bytes, but its header promises {promised}. Save it again.")
    if min(shape, default=0) < 1:
        raise DataError(f"'{where}' has the shape '{shape}'. Give at least one image.")
    array = np.frombuffer(data, dtype, offset=start)
    return array.reshape(shape, order="F" if fortran_order else "C")


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
        raise DataError(f"'{where}' is not a numpy array. Save it again with 'numpy.savez'.") from error
