"""The whole road in one command, with and without MNIST at hand."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tenfold.cli import app
from tenfold.data.digits import Digits
from tenfold.errors import SourceError
from tenfold.quickstart import free_folder, quickstart
from tenfold.train import Trained

CUT = Trained(
    "runs/quickstart",
    "fast",
    "interrupted",
    0,
    1.0,
    0.5,
    100.0,
    10,
    None,
    None,
    0,
    None,
    None,
    "runs/quickstart/report.html",
    2.0,
)


@pytest.fixture
def empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def write_mnist(folder: Path, digits: Digits) -> None:
    """Write the digits as MNIST's four files."""
    assert digits.labels is not None
    folder.mkdir(parents=True)
    for stem in ("train", "t10k"):
        head = struct.pack(">4i", 2051, len(digits), 28, 28)
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(head + digits.images.tobytes())
        head = struct.pack(">2i", 2049, len(digits))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(head + digits.labels.astype(np.uint8).tobytes())


@pytest.mark.slow
@pytest.mark.usefixtures("empty_folder")
def test_without_mnist_and_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing at hand it says so in one line, learns the UCI digits, and says where everything is."""
    monkeypatch.setattr("tenfold.quickstart.RECIPE", "instant")
    result = CliRunner().invoke(app, ["quickstart", "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout.splitlines()[-1])
    assert answer["data"] == "uci"
    assert answer["evaluate"]["n"] == 360
    assert answer["evaluate"]["accuracy"] > 0.95
    assert answer["evaluate"]["overlap"]["exact"] == 0
    assert Path(answer["report"]).read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len([line for line in result.stderr.splitlines() if "1,797" in line]) == 1
    assert str(Path("runs", "quickstart")) in result.stderr
    assert "tenfold train strong --data uci" in result.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("empty_folder")
def test_mnist_in_the_cache(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """MNIST is taken where it lies in the cache; quiet prints nothing; a second time takes a folder of its own."""
    monkeypatch.setattr("tenfold.quickstart.RECIPE", "instant")
    write_mnist(tmp_path / "cache" / "mnist", digits)
    results = [quickstart(quiet=True) for _ in range(2)]
    assert [result.data for result in results] == ["mnist", "mnist"]
    assert [Path(result.run).name for result in results] == ["quickstart", "quickstart-2"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("empty_folder")
def test_wrong_tenfold_data_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A TENFOLD_DATA that is no folder is an error, not a reason to fall back on the UCI digits."""
    monkeypatch.setenv("TENFOLD_DATA", "not-there")
    with pytest.raises(SourceError, match="'not-there'"):
        quickstart(quiet=True)


@pytest.mark.usefixtures("empty_folder")
def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C in training nothing is evaluated, and the command that resumes is shown."""

    def train(*_: Any, **__: Any) -> Trained:
        return CUT

    monkeypatch.setattr("tenfold.quickstart.train", train)
    result = CliRunner().invoke(app, ["quickstart", "--json"])
    assert result.exit_code == 130
    assert json.loads(result.stdout)["evaluate"] is None


def test_free_folder(tmp_path: Path) -> None:
    """The first folder that is not there is taken: NAME, NAME-2, NAME-3."""
    taken = []
    for _ in range(3):
        taken.append(free_folder(tmp_path / "run"))
        taken[-1].mkdir()
    assert [folder.name for folder in taken] == ["run", "run-2", "run-3"]


@pytest.mark.data
@pytest.mark.usefixtures("empty_folder")
def test_mnist_in_tenfold_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real MNIST in TENFOLD_DATA is what gets trained on."""
    specs = []

    def train(_: str, spec: str, *__: Any, **___: Any) -> Trained:
        specs.append(spec)
        return CUT

    monkeypatch.setattr("tenfold.quickstart.train", train)
    quickstart(quiet=True)
    assert specs == ["mnist:train"]
