"""Splits by writer, from the command to the figures: train, ensemble, evaluate, compare, explore."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tenfold.cli import app
from tenfold.compare import compare
from tenfold.data import load
from tenfold.data.writers import with_writers
from tenfold.ensemble import ensemble
from tenfold.errors import DataError, UsageError
from tenfold.evaluate import evaluate
from tenfold.explore import explore
from tenfold.runs.run import Run
from tenfold.train import train

QUICK = ("model.widths=[[4]]", "training.batch_size=32", "training.epochs=2", "training.min_steps=0",
         "data.validation=0.2", "training.precision=fp32")  # fmt: skip


def test_train_evaluate_compare(written_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is split by writers shares none with what it held out, and its errors are told by who wrote them."""
    monkeypatch.chdir(tmp_path)
    train("instant", "mnist", "first", split="writers", overrides=QUICK, quiet=True)
    train("instant", "mnist", "second", split="writers", overrides=(*QUICK, "model.widths=[[8]]"), quiet=True)
    written = with_writers(load("mnist:train"), needed=True).writers
    assert written is not None
    held_out = Run.open("first").held_out()
    assert len(held_out) == 80
    assert not set(written[held_out]) & set(np.delete(written, held_out))
    rows = evaluate("first", "mnist:test", split="writers", quiet=True).written_by
    assert rows is not None
    assert [(row.kind, row.writers, row.n) for row in rows] == [("everybody", 10, 100), ("students", 10, 100)]
    assert evaluate("first", "mnist:test", quiet=True).written_by is None
    for data in (None, "mnist:test"):
        result = compare(["first", "second"], data, split="writers", quiet=True)
        assert result.written_by is not None and list(result.written_by) == ["first", "second"]
        assert {row.n for rows in result.written_by.values() for row in rows} == {result.n}


def test_out_of_fold_answers(written_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool of folds by writer trains one member a fold, and together they answer every image once."""
    monkeypatch.chdir(tmp_path)
    result = ensemble("instant", "mnist", "pool", folds=4, split="writers", overrides=QUICK, workers=1, quiet=True)
    assert (result.models, result.n, len(result.chosen)) == (4, 400, 4)
    written = with_writers(load("mnist:train"), needed=True).writers
    assert written is not None
    held_out = [Run.open(f"pool/members/{row.name}").held_out() for row in result.pool]
    assert sorted(np.concatenate(held_out)) == list(range(400))
    assert len(np.concatenate([np.unique(written[each]) for each in held_out])) == 20


def test_explore(written_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures, and the page, tell how many people wrote the images."""
    monkeypatch.chdir(tmp_path)
    figures = explore("mnist:test", quiet=True).sets[0].writers
    assert figures is not None
    assert (figures.n, figures.images, figures.kinds) == (10, (10, 10.0, 10), {"students": 100})
    assert "by students" in Path("explore.html").read_text()


def test_what_is_refused(written_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown writers, more folds than writers and another word end in one line, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    digits = load("uci:test")
    np.savez("own.npz", X=digits.images, y=digits.labels)
    with pytest.raises(DataError, match="The writers of '360' of 360 images are not known"):
        train("instant", "own.npz", "run", split="writers", quiet=True)
    with pytest.raises(DataError, match="'30' folds by writer cannot be made of the images of 20"):
        train("instant", "mnist", "run", split="writers", overrides=["data.folds=30", "data.fold=0"], quiet=True)
    with pytest.raises(DataError, match="'30' folds by writer cannot be made of the images of 20"):
        ensemble("instant", "mnist", "pool", folds=30, split="writers", overrides=QUICK, quiet=True)
    with pytest.raises(DataError, match="'41' folds cannot be made: digit . has 40 images"):
        ensemble("instant", "mnist", "pool", folds=41, overrides=QUICK, quiet=True)
    assert not Path("pool").exists()
    with pytest.raises(UsageError, match="'--split groups' is no way to split. Give random or writers"):
        train("instant", "mnist", "run", split="groups", quiet=True)
    assert not Path("run").exists()
    command = ["train", "instant", "--data", "mnist", "--split", "writers", "--out", "run", "--json"]
    done = CliRunner().invoke(app, [*command, *(part for each in QUICK for part in ("--set", each))])
    assert json.loads(done.stdout)["validation_n"] == 80
