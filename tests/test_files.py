"""Files are written whole or not at all, and a broken archive of arrays raises one kind of error."""

import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenfold import files
from tenfold.errors import RunError


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
    """Arrays come back as they were; what would have to be pickled is refused, on both sides."""
    (tmp_path / "a.npz").write_bytes(files.npz({"numbers": np.arange(3), "name": np.array("one")}))
    arrays = files.read_npz(tmp_path / "a.npz")
    assert arrays["numbers"].tolist() == [0, 1, 2]
    assert str(arrays["name"]) == "one"
    objects = np.array([{}], dtype=object)
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        files.npz({"objects": objects})
    np.savez(tmp_path / "b.npz", objects=objects)
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        files.read_npz(tmp_path / "b.npz")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\3\4", pickle.dumps({}), b"\x93NUMPY\1\0\5\0{'a':"])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    """Whatever else a file holds is a ValueError with its reason; a file that is not there is an OSError."""
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match="."):
        files.read_npz(tmp_path / "a.npz")
    with pytest.raises(FileNotFoundError):
        files.read_npz(tmp_path / "b.npz")


def test_members_that_are_no_arrays(tmp_path: Path) -> None:
    """A lone array and an archive with other files in it are refused: callers may rely on arrays by name."""
    np.save(tmp_path / "a.npy", np.arange(3))
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("numbers", b"12")
    for name in ("a.npy", "b.npz"):
        with pytest.raises(ValueError, match="."):
            files.read_npz(tmp_path / name)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), cut=st.booleans())
def test_damage_is_one_kind_of_error(tmp_path: Path, place: float, value: int, cut: bool) -> None:
    """One wrong byte, or an end too early, gives the same arrays or a ValueError, never anything else."""
    content = bytearray(files.npz({"images": np.arange(600, dtype=np.uint8).reshape(3, 200), "labels": np.arange(3)}))
    at = int(place * len(content))
    content[at] = value
    (tmp_path / "a.npz").write_bytes(content[:at] if cut else content)
    try:
        arrays = files.read_npz(tmp_path / "a.npz")
    except ValueError:
        return
    assert all(isinstance(array, np.ndarray) for array in arrays.values())


def test_one_process_alone_writes(tmp_path: Path) -> None:
    """What one process writes another can't; once it has ended, killed too, it is free, and nothing stays behind."""
    path = tmp_path / "out.csv"
    code = "import sys; from pathlib import Path; from tenfold.files import claimed\n"
    code += "with claimed(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RunError, match="out.csv' is being written by another process"), files.claimed(path):
            pass
        other.kill()
    with files.claimed(path):
        assert [each.name for each in tmp_path.iterdir()] == [".out.csv.lock"]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_no_way_out(tmp_path: Path) -> None:
    """A lock that is a link, and a folder that cannot hold one, are refused in words."""
    (tmp_path / ".out.csv.lock").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "out.csv", tmp_path / "none" / "out.csv"):
        with pytest.raises(RunError, match="cannot be written"), files.claimed(path):
            pass
    assert not (tmp_path / "elsewhere").exists()
