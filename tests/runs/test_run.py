"""Checkpoint files: whole or absent, the same bytes for the same content, and never executable."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tenfold.errors import RunError
from tenfold.runs.run import Run, load_tensors, save_tensors
from tenfold.training import recipe as recipes


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


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ([], "at 'its beginning'"),
        ({"position": {}}, "at 'history'"),
        ({"position": {"step": "1"}, "history": []}, "at 'position.step'"),
        ({"position": {"plateau": -1.0}, "history": []}, "at 'position.plateau'"),
        ({"position": {}, "history": [{"validation_accuracy": "x"}]}, "at 'history.0.validation_accuracy'"),
    ],
)
def test_a_state_from_elsewhere_is_checked(rest: Any, message: str, tmp_path: Path) -> None:
    """What lies beside a state's tensors is of its kind, or the run is not resumed."""
    manifest = {"seed": 0, "status": "running", "data": {"spec": "uci", "sha256": "00"}}
    run = Run.create(tmp_path / "run", recipes.load("instant"), manifest, np.arange(1, dtype=np.uint64), np.arange(0))
    save_tensors(run.path / "state.safetensors", {"a": torch.zeros(1)}, rest)
    with pytest.raises(RunError, match=f"state.safetensors' cannot be read: {message}"):
        run.state()
