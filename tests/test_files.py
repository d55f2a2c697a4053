"""Files are written whole or not at all."""

from pathlib import Path

import numpy as np
import pytest

from tenfold import files


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk gives up in the middle, the old checkpoint is intact and no part file stays behind."""
    path = tmp_path / "state"
    files.write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_content_is_replaced(tmp_path: Path) -> None:
    """A second write replaces the first, and nothing else lies beside it."""
    for content in (b"first, and longer", b"second"):
        files.write_atomically(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 1


def test_npz_refuses_objects(tmp_path: Path) -> None:
    """Arrays come back as they were; what would have to be pickled is refused."""
    (tmp_path / "a.npz").write_bytes(files.npz(numbers=np.arange(3)))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as content:
        assert content["numbers"].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        files.npz(objects=np.array([{}], dtype=object))
