"""Files are written whole or not at all, and a broken archive of arrays raises one kind of error."""

import os
import pickle
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenfold import files
from tenfold.errors import RunError, TenfoldError


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


def odd_ones(folder: Path) -> list[Path]:
    """Return a link to a file, a link to nothing, a pipe, a link to a device and a folder, none of which is a file."""
    (folder / "file").write_bytes(b"secret")
    for name, target in (("link", folder / "file"), ("dangling", folder / "none"), ("device", Path("/dev/zero"))):
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    return [folder / name for name in ("link", "dangling", "device", "pipe", "folder")]


def test_only_files_are_opened(tmp_path: Path) -> None:
    """No link is followed, no pipe waited for, no device read, no file larger than asked; each says why."""
    for path in odd_ones(tmp_path):
        with pytest.raises(OSError, match="it is a link|it is no file|Is a directory"):
            files.read_bytes(path)
    assert files.read_bytes(tmp_path / "file") == b"secret"
    with pytest.raises(OSError, match="it has '6' bytes, more than 5"):
        files.read_bytes(tmp_path / "file", 5)
    with pytest.raises(FileNotFoundError):
        files.read_bytes(tmp_path / "none")


@pytest.mark.parametrize("name", ["link", "pipe"])
@pytest.mark.parametrize("part", ["", "inside"])
def test_odd_folders_are_refused(name: str, part: str, tmp_path: Path) -> None:
    """What is no file is refused in a folder from elsewhere, and in a folder in it."""
    folder = tmp_path / "run" / part
    folder.mkdir(parents=True)
    (folder / "file").touch()
    files.refuse_odd(tmp_path / "run")
    os.mkfifo(folder / "pipe") if name == "pipe" else (folder / "link").symlink_to("file")
    with pytest.raises(RunError, match=f"'{folder / name}' is (a link|no file), and a run has files alone"):
        files.refuse_odd(tmp_path / "run")


def test_a_link_in_the_way_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary name cannot be guessed, and where a link lies under it nothing is written through it."""
    monkeypatch.setattr(files.secrets, "token_hex", lambda length: "guessed")
    (tmp_path / ".guessed.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        files.write_atomically(tmp_path / "report.html", b"page")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "at 'its beginning'"),
        ('{"seed": "a"}', "at 'seed': input should be a valid integer"),
        ("{}", "at 'seed': field required"),
        ("{", "Expecting"),
        ('{"seed": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ("[" * 100_000, "nested too deeply"),
        (b"\xff\xfe\xfd", "codec can't decode"),
    ],
)
def test_json_of_another_form(content: str | bytes, reason: str) -> None:
    """Whatever JSON is not what the schema says is a ValueError that names the place."""

    @dataclass
    class Settings:
        seed: int

    with pytest.raises(ValueError, match=reason):
        files.parse_json(content, Settings)
    assert files.parse_json('{"seed": 1}', Settings) == Settings(1)


LAYOUT: files.Layout = {"labels": ("i", ("n",)), "probabilities": ("f", ("n", 10)), "note": ("U", ())}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"labels": None}, "it has no 'labels'"),
        ({"labels": np.zeros(3)}, "its 'labels' is float64 of shape"),
        ({"labels": np.zeros(4, int)}, "its 'probabilities' is float64 of shape '(3, 10)', not (n, 10)"),
        ({"probabilities": np.zeros((3, 11))}, "its 'probabilities'"),
        ({"probabilities": np.zeros(3)}, "its 'probabilities'"),
    ],
)
def test_arrays_have_the_layout_that_is_asked_for(
    changes: dict[str, np.ndarray | None], reason: str, tmp_path: Path
) -> None:
    """A name, a kind or a shape that is another is named; what is not asked for is not read."""
    arrays = {"labels": np.zeros(3, int), "probabilities": np.zeros((3, 10)), "more": np.zeros(1)}
    (tmp_path / "a.npz").write_bytes(files.npz(arrays))
    assert files.read_npz(tmp_path / "a.npz", LAYOUT, ["note"]).keys() == {"labels", "probabilities"}
    (tmp_path / "a.npz").write_bytes(files.npz({k: v for k, v in (arrays | changes).items() if v is not None}))
    with pytest.raises(ValueError, match=re.escape(reason)):
        files.read_npz(tmp_path / "a.npz", LAYOUT, ["note"])


def test_an_archive_that_grows_is_refused(tmp_path: Path) -> None:
    """Kilobytes that unpack to more than a run may have are refused before they are unpacked."""
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("labels.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(1025):
            member.write(bytes(2**20))
    assert (tmp_path / "a.npz").stat().st_size < 2**21
    with pytest.raises(ValueError, match="unpacked, more than"):
        files.read_npz(tmp_path / "a.npz", LAYOUT)


def test_inputs_are_no_outputs(tmp_path: Path) -> None:
    """An output that is an input, by its name, a link or a hard link, or that holds or replaces one, is refused."""
    kept = tmp_path / "data" / "train.csv"
    kept.parent.mkdir()
    kept.touch()
    (tmp_path / "link.csv").symlink_to(kept)
    (tmp_path / "hard.csv").hardlink_to(kept)
    (tmp_path / "folder").symlink_to(kept.parent)
    outs = [kept, tmp_path / "link.csv", tmp_path / "hard.csv", kept.parent, tmp_path, tmp_path / "folder/train.csv"]
    for out in outs:
        for source in (kept, str(kept)):
            with pytest.raises(TenfoldError, match=f"'{out}' is among what is read, '{kept}'. Give --page another"):
                files.refuse_inputs(out, [None, source], "--page")
    for out in (kept, tmp_path / "hard.csv", tmp_path / "link.csv", kept.parent):
        with pytest.raises(TenfoldError, match="is among what is read"):
            files.refuse_inputs(out, [kept.parent])
    for out in (kept.parent / "new.csv", tmp_path / "new.csv"):
        files.refuse_inputs(out, [kept.parent, kept, "mnist:test"])
