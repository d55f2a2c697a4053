"""`load`: names and paths through one entrance."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tenfold.data import load, locate, names
from tenfold.data.digits import Digits
from tenfold.errors import DataError


@pytest.fixture
def npz(tmp_path: Path, digits: Digits) -> Path:
    """Return an NPZ file with the generated digits."""
    path = tmp_path / "some.npz"
    np.savez(path, X=digits.images, y=digits.labels)
    return path


def test_a_path_is_read(npz: Path, digits: Digits) -> None:
    """What is no name is a path, here to an NPZ file."""
    loaded = load(str(npz), "train")
    assert np.array_equal(loaded.images, digits.images)
    assert np.array_equal(loaded.labels, digits.labels)
    assert locate(str(npz), "train") == npz


def test_home_is_expanded(npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` stands for the home folder also where no shell expands it."""
    monkeypatch.setenv("HOME", str(npz.parent))
    monkeypatch.setenv("USERPROFILE", str(npz.parent))
    assert len(load(f"~/{npz.name}", "train")) == 200


def test_a_name_wins_over_a_file_of_that_name(npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`uci` is the data set; the file of that name is `./uci`."""
    pytest.importorskip("sklearn")
    npz.rename(npz.with_name("uci"))
    monkeypatch.chdir(npz.parent)
    assert len(load("uci", "explore")) == 1797
    assert len(load("./uci", "explore")) == 200


@pytest.mark.parametrize("name", ["uci", "mnist", "kaggle"])
@pytest.mark.parametrize("part", ["", "valid", "TEST", "train:test"])
def test_an_unknown_part_is_named(name: str, part: str) -> None:
    """A part that there isn't is an error that lists those there are."""
    with pytest.raises(DataError, match=f"'{name}:{part}' names no part of {name}. Give '{name}:train'"):
        load(f"{name}:{part}", "train")


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("mnits", "Did you mean 'mnist'?"),
        ("MNIST", ""),
        ("missing.csv", ""),
        ("", ""),
        ("a\0b", ""),
        ("x" * 91_000, ""),
        ("~nobody/x.csv", ""),
        ("a\nb", ""),
        ("d\udce4ta", ""),
    ],
)
def test_what_is_neither_name_nor_path_is_an_error(
    spec: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error quotes what was given, offers the nearest name and lists the names."""
    monkeypatch.chdir(tmp_path)
    for function in (load, locate):
        with pytest.raises(DataError) as caught:
            function(spec, "train")
        message = str(caught.value)
        assert hint in message
        assert "mnist, kaggle, uci" in message
        assert len(message) < 250 and message.isprintable()


def test_unlabelled_data_are_for_explore_and_submit_alone(tmp_path: Path, digits: Digits) -> None:
    """Without labels nothing is trained or evaluated; looking and submitting need none."""
    np.savez(tmp_path / "bare.npz", X=digits.images)
    for purpose in ("train", "evaluate"):
        with pytest.raises(DataError, match="no labels"):
            load(str(tmp_path / "bare.npz"), purpose)
    for purpose in ("explore", "submit"):
        assert load(str(tmp_path / "bare.npz"), purpose).labels is None


def test_the_deadline_reaches_the_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """`load(..., deadline=20)` gives a download 20 seconds; without it, it has the usual time."""
    given: list[float] = []

    def fake(name: str, part: str | None, purpose: str, *, deadline: float) -> Digits:
        given.append(deadline)
        return Digits.of(np.zeros((1, 28, 28), np.uint8))

    monkeypatch.setattr(names, "load", fake)
    load("mnist", "train", deadline=20)
    load("mnist", "train")
    assert given == [20, names.DOWNLOAD_SECONDS]


def test_locate_finds_without_downloading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_digits: Callable[..., Digits]
) -> None:
    """A named set is located where it lies, and not at all where it is missing."""
    assert locate("mnist", "train") is None
    assert locate("kaggle", "submit") is None
    assert locate("uci", "train") is None
    monkeypatch.setenv("TENFOLD_DATA", str(tmp_path))
    (tmp_path / "test.csv").touch()
    assert locate("kaggle", "submit") == tmp_path / "test.csv"
    assert locate("kaggle:train", "submit") is None


def test_idx_files_by_what_their_names_begin_with(tmp_path: Path, digits: Digits) -> None:
    """`folder/mine` is `folder/mine-images-idx3-ubyte`, with its labels; of two such files neither is guessed."""
    assert digits.labels is not None
    images = tmp_path / "mine-images-idx3-ubyte"
    images.write_bytes(b"\0\0\x08\x03" + np.array([200, 28, 28], ">u4").tobytes() + digits.images.tobytes())
    labels = b"\0\0\x08\x01" + np.array([200], ">u4").tobytes() + digits.labels.astype(np.uint8).tobytes()
    (tmp_path / "mine-labels-idx1-ubyte").write_bytes(labels)
    loaded = load(str(tmp_path / "mine"), "evaluate")
    assert np.array_equal(loaded.images, digits.images)
    assert np.array_equal(loaded.labels, digits.labels)
    with pytest.raises(DataError, match="no file or folder"):
        load(str(tmp_path / "mi"), "evaluate")
    (tmp_path / "mine-images-idx3-ubyte.gz").write_bytes(b"")
    with pytest.raises(DataError, match="no file or folder"):
        load(str(tmp_path / "mine"), "evaluate")
