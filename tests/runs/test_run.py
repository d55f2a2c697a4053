"""Checkpoint files: whole or absent, the same bytes for the same content, and never executable."""

import pickle
from pathlib import Path

import pytest
import torch

from tenfold.errors import RunError
from tenfold.runs.run import load_tensors, save_tensors


def test_round_trip_and_same_bytes(tmp_path: Path) -> None:
    """What is saved comes back, channels-last strides and all types included; equal content gives equal files."""
    tensors = {
        "filters": torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last),
        "steps": torch.tensor(3),
        "order": torch.randperm(5),
    }
    meta = {"history": [{"loss": 0.1}], "a": 1, "b": None}
    for name in ("one", "two"):
        save_tensors(tmp_path / name, tensors, meta)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    loaded, rest = load_tensors(tmp_path / "one")
    assert rest == meta
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("content", [b"", b"\x00" * 5, b"{}", pickle.dumps({"weight": 1})])
def test_broken_or_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Torn files and pickles are errors, not code that runs."""
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(RunError, match="cannot be read"):
        load_tensors(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    """A missing file is named, with the way out."""
    with pytest.raises(RunError, match="is missing"):
        load_tensors(tmp_path / "none")
