"""Files that are written whole or not at all."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` under a temporary name beside `path`, force it to the disk, and rename it.

    Whatever happens, `path` holds the old content or the new one, never half of it. Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def npz(**arrays: NDArray[Any]) -> bytes:
    """Return the bytes of a compressed .npz file that holds the arrays, none of them pickled."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
