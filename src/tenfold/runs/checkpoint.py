"""Weights and training state as safetensors files: written whole or not at all, and never unpickled.

The state file holds tensors and, as its header's one metadata entry, the JSON of everything else. One entry, because
the order in which several would be written is not fixed, and equal states shall be equal files.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tenfold.errors import RunError
from tenfold.files import write_atomically


def save_tensors(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any] | None = None) -> None:
    """Write tensors, and `meta` as JSON, to a safetensors file; the same input gives the same bytes."""
    metadata = None if meta is None else {"tenfold": json.dumps(meta, sort_keys=True, allow_nan=False)}
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(ready, metadata))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a safetensors file's tensors and its `meta`; RunError where it is missing or broken."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            meta = json.loads((file.metadata() or {}).get("tenfold", "{}"))
    except FileNotFoundError:
        raise RunError(f"'{path}' is missing. Train the run again, or continue it with --resume.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(f"'{path}' cannot be read: {error}. Train the run again.") from None
    return tensors, meta
