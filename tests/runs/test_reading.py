"""Runs of networks that read, and the commands that train them: begun, cut short, resumed, refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from tenfold.cli import app
from tenfold.console import PlainConsole
from tenfold.drawing import numbers
from tenfold.drawing.numbers import Desk
from tenfold.errors import DataError, RunError, TenfoldError, UsageError
from tenfold.runs import reading
from tenfold.runs.reading import _weights, begin, same_rows
from tenfold.runs.run import Run
from tenfold.runtime.reader import Reader
from tenfold.train import train
from tenfold.training.recipe import load

QUICK = ["pictures.count=64", "pictures.images=200", "pictures.drawn=50", "training.batch_size=8"]
TINY = {"lines": [*QUICK, "model.widths=[8,8,8]", "model.context=16"], "page": [*QUICK, "model.widths=[4,8,8,8]"]}


@pytest.fixture
def trained(written_mnist: Path, tmp_path: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that trains a tiny network, scored on few pictures, and gives its run's folder."""
    monkeypatch.setattr(reading, "HELD_OUT", 10)
    monkeypatch.setattr(reading, "desk", lambda recipe: desk)
    monkeypatch.setattr("tenfold.graphs.reading.desk", lambda recipe: desk)

    def run(kind: str = "lines", name: str = "run", *overrides: str, **options: Any) -> Path:
        if kind == "page":
            monkeypatch.setattr(reading, "HELD_OUT", 100)
        train(kind, out=tmp_path / name, overrides=[*TINY[kind], *overrides], quiet=True, threads=1, **options)
        return tmp_path / name

    return run


@pytest.fixture
def rows(tmp_path: Path, desk: Desk) -> Path:
    """Return a folder of twelve rows and their table."""
    folder = tmp_path / "rows"
    folder.mkdir()
    lines = ["file,truth"]
    for seed in range(12):
        picture, text = numbers.line(desk, np.random.default_rng(seed))
        cv2.imwrite(str(folder / f"{seed}.png"), picture)
        lines.append(f"{seed}.png,{text}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def weights(folder: Path) -> bytes:
    """Return the file of a run's weights."""
    return (folder / "weights.safetensors").read_bytes()


def test_train_lines(trained: Callable[..., Path]) -> None:
    """A run holds weights, their score, its page and a lines.onnx that the reader opens."""
    folder = trained()
    run = Run.open(folder)
    assert run.finished and run.recipe.reads
    assert (run.manifest["data"]["spec"], run.manifest["data"]["n_validation"]) == ("drawn", 10)
    assert 0 <= run.manifest["validation_accuracy"] <= 1
    assert [row["step"] for row in run.metrics()] == list(range(1, 9))
    assert (folder / "report.html").exists()
    assert Reader.load(folder).card.recipe == "lines"  # type: ignore[union-attr]
    assert Reader.load(folder).card.n == 10  # type: ignore[union-attr]


def test_train_page(trained: Callable[..., Path]) -> None:
    """A network of pages leaves a page.onnx, scored on the digits of a tenth as many pages."""
    folder = trained("page")
    run = Run.open(folder)
    assert run.finished and (folder / "page.onnx").exists() and not (folder / "lines.onnx").exists()
    assert run.manifest["held_out"]["n"] >= 0 and (folder / "report.html").exists()


@pytest.mark.data
def test_train_lines_writes_as_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a command, with hands from MNIST, it prints its result as JSON and names the next command."""
    monkeypatch.setattr(reading, "HELD_OUT", 10)
    words = ["train", "lines", "--out", str(tmp_path / "run"), "--json", "--threads", "1"]
    done = CliRunner().invoke(app, [*words, *(word for each in TINY["lines"] for word in ("--set", each))])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["recipe"], result["status"], result["validation_n"]) == ("lines", "finished", 10)
    assert "tenfold read PICTURE --model" in done.stderr


def test_the_same_seed_gives_the_same_run(trained: Callable[..., Path]) -> None:
    """The same recipe and seed give the same weights and the same file; another seed others."""
    first, again, other = trained(name="a", seed=3), trained(name="b", seed=3), trained(name="c", seed=4)
    assert weights(first) == weights(again) != weights(other)
    assert (first / "lines.onnx").read_bytes() == (again / "lines.onnx").read_bytes()


def test_a_run_that_was_cut_short_is_resumed(trained: Callable[..., Path], rows: Path) -> None:
    """Out of time it is usable, with its file; resumed it ends in the weights of an unbroken run, own rows and all."""
    whole = trained(name="whole", data=str(rows))
    short = trained(name="short", data=str(rows), max_seconds=1e-6)
    assert Run.open(short).manifest["status"] == "out_of_time" and (short / "lines.onnx").exists()
    train(resume=short, quiet=True)
    assert Run.open(short).finished
    assert weights(short) == weights(whole)
    assert (short / "lines.onnx").read_bytes() == (whole / "lines.onnx").read_bytes()


def test_own_rows_are_learnt_and_held_out(trained: Callable[..., Path], rows: Path) -> None:
    """A folder of rows changes what is learnt; a share of it is held out, and is what the run is scored on."""
    own, drawn = trained(name="own", data=str(rows)), trained(name="drawn")
    assert weights(own) != weights(drawn)
    manifest = Run.open(own).manifest
    held_out = Run.open(own).held_out()
    assert manifest["data"]["n_train"] + len(held_out) == 12 and len(held_out) >= 1
    assert manifest["held_out"]["n"] == manifest["data"]["n_validation"] == len(held_out)


def test_changed_rows_are_not_resumed(trained: Callable[..., Path], rows: Path) -> None:
    """A run is resumed with its own rows, and with no others."""
    folder = trained(data=str(rows), max_seconds=1e-6)
    assert len(same_rows(Run.open(folder), [])) == 12
    (rows / "labels.csv").write_text("file,truth\n0.png,1")
    with pytest.raises(RunError, match="is not what the run was started on. Give the same --data."):
        train(resume=folder, quiet=True)


@pytest.mark.parametrize(
    "table", [None, b"file,truth\nno.png,1", b"file,truth\n0.png,1a", b"file,truth\n../x.png,1", b"\xff", b"a,b\n1,2"]
)
def test_bad_rows_leave_no_folder(trained: Callable[..., Path], rows: Path, table: bytes | None) -> None:
    """What is wrong with a folder of rows is one error, before a folder is made."""
    (rows / "labels.csv").unlink()
    if table is not None:
        (rows / "labels.csv").write_bytes(table)
    with pytest.raises(TenfoldError) as error:
        trained(data=str(rows))
    assert "labels.csv" in str(error.value) and "\n" not in str(error.value)
    assert not (rows.parent / "run").exists()


@pytest.mark.parametrize("kind", ["lines", "page"])
def test_from_shipped_begins_with_the_shipped_weights(kind: str, written_mnist: Path, tmp_path: Path) -> None:
    """A run begun from the shipped network starts from weights of its recipe, and says so; of other widths it errs."""
    console = PlainConsole(quiet=True)
    run, _ = begin(load(kind, QUICK), [], tmp_path / "run", 0, "shipped", console)
    assert run.manifest["start"] == "shipped"
    assert _weights("shipped", run.recipe).keys()
    with pytest.raises(RunError, match="The 'shipped' network is another one"):
        begin(load(kind, TINY[kind]), [], tmp_path / "other", 0, "shipped", console)
    assert not (tmp_path / "other").exists()


def test_without_mnist_no_folder_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the digits that hands write like cannot be had, that is said before a run's folder is made."""

    def none(spec: str) -> None:
        raise DataError(f"'{spec}' could not be downloaded.")

    monkeypatch.setattr("tenfold.data.load", none)
    with pytest.raises(DataError, match="could not be downloaded"):
        train("lines", out=tmp_path / "run", overrides=[*TINY["lines"], "pictures.images=123"], quiet=True)
    assert not (tmp_path / "run").exists()


def test_from_a_run(trained: Callable[..., Path], tmp_path: Path) -> None:
    """A finished run of the same network is a start; another network, an unfinished one and none are refused."""
    first = trained(name="first")
    second = trained(name="second", from_run=first)
    assert Run.open(second).manifest["start"] == str(first)
    assert weights(second) != weights(first)
    cut = trained(name="cut", max_seconds=1e-6)
    for start, message in ((cut, "not finished"), (tmp_path / "nowhere", "There is no run at")):
        with pytest.raises(RunError, match=message):
            trained(name="third", from_run=start)
    with pytest.raises(RunError, match="is another network than 'page'"):
        trained("page", "third", from_run=first)
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "writers"}, "'--split' does not go with 'lines'"),
        ({"device": "cuda"}, "'--device' does not go with 'lines'"),
        ({"subset": 10}, "'--subset' does not go with 'lines'"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    trained: Callable[..., Path], tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    """What is for images of digits alone does not go with a network of rows."""
    with pytest.raises(UsageError, match=message):
        trained(**options)
    assert not (tmp_path / "run").exists()


def test_pages_take_no_rows(trained: Callable[..., Path], rows: Path) -> None:
    """A network of pages learns from drawn pages alone."""
    with pytest.raises(TenfoldError, match="'page' learns from drawn pages alone. Omit --data"):
        trained("page", data=str(rows))


def test_verbs_for_digits_refuse_it(trained: Callable[..., Path], tmp_path: Path) -> None:
    """What scores, compares, exports or submits systems of digits says that this one reads numbers."""
    folder = str(trained())
    words = [
        ["evaluate", folder, "--data", "uci:test"],
        ["export", folder, "--out", str(tmp_path / "m.onnx")],
        ["compare", folder, "shipped", "--data", "uci:test"],
        ["submit", folder, "--data", "uci:test", "--force", "--out", str(tmp_path / "s.csv")],
        ["audit", folder, "--data", "uci"],
        ["train", "fast", "--data", "uci", "--from", folder, "--out", str(tmp_path / "t")],
        ["ensemble", "instant,lines", "--data", "uci", "--out", str(tmp_path / "e")],
    ]
    for each in words:
        done = CliRunner().invoke(app, each)
        said = " ".join(done.stderr.split())
        assert done.exit_code == 1, (each, said)
        assert "reads numbers" in said or "is another network than" in said, (each, said)
    assert not any((tmp_path / name).exists() for name in ("m.onnx", "s.csv", "t", "e"))
