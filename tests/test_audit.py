"""`tenfold audit`: wrong labels are found among what a run held out, and `train --labels` mends them."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tenfold.audit import Audited, audit
from tenfold.cli import app
from tenfold.data import decisions, load
from tenfold.data.digits import Digits
from tenfold.data.overlap import find_overlap
from tenfold.ensemble import ensemble
from tenfold.errors import DataError, MissingExtraError, RunError, TenfoldError, UsageError
from tenfold.evaluate import evaluate
from tenfold.runs import ledger
from tenfold.runs.run import Run
from tenfold.train import train

pytest.importorskip("cleanlab")

WRONG = np.arange(5, 300, 31)  # ten images of all digits
QUICK = ("training.epochs=3", "training.min_steps=300", "model.widths=[[8],[16]]", "training.precision=fp32")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, make_digits: Callable[..., Digits]) -> SimpleNamespace:
    """Return 300 images, ten of them labelled wrongly, an ensemble of two folds of them, and a run that holds out half.

    truth: labels; data: the file; pool, single: the folders.
    """
    folder = tmp_path_factory.mktemp("audit")
    digits = make_digits(300)
    assert digits.labels is not None
    labels = digits.labels.copy()
    labels[WRONG] = (labels[WRONG] + 3) % 10
    data = folder / "some.npz"
    np.savez(data, X=digits.images, y=labels)
    ensemble("instant", str(data), folder / "pool", models=2, folds=2, overrides=QUICK, workers=1, quiet=True)
    train("logistic", str(data), folder / "single", overrides=["data.validation=0.5"], quiet=True)
    return SimpleNamespace(
        truth=digits.labels, labels=labels, images=digits.images, data=str(data), pool=folder / "pool",
        single=folder / "single",
    )  # fmt: skip


def looked(place: SimpleNamespace, tmp_path: Path, **options: Any) -> Audited:
    """Return the audit of the ensemble, page and decisions in `tmp_path`."""
    return audit(place.pool, out=tmp_path / "audit.html", quiet=True, **options)


def table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file of decisions, read by Python's own reader."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_wrong_labels_are_found(place: SimpleNamespace, tmp_path: Path) -> None:
    """Those that were made wrong, and hardly another, are suspect, with the digit that they are and alike images'."""
    result = looked(place, tmp_path)
    found = [row.image - 1 for row in result.rows]
    assert result.n == 300
    assert set(WRONG) <= set(found)
    assert len(found) <= 12
    for row in (row for row in result.rows if row.image - 1 in WRONG):
        index = row.image - 1
        assert (row.given, row.suggested) == (place.labels[index], place.truth[index])
        assert sum(row.members.values()) == 2
        assert row.probability > row.given_probability
        assert np.bincount(row.neighbours).argmax() == place.truth[index]
        assert (row.decision, row.label) == ("keep", row.given)
    assert result.decided == {"keep": result.suspects, "relabel": 0, "drop": 0}
    assert [row["decision"] for row in table(tmp_path / "decisions.csv")] == ["keep"] * result.suspects
    assert (tmp_path / "audit.html").stat().st_size > 10_000
    own = Run.open(place.pool).validation()
    assert own is not None
    best = max(result.rows, key=lambda row: row.probability)
    assert best.probability == own["probabilities"][own["indices"] == best.image - 1, best.suggested][0]


def test_decisions_mend_the_labels(place: SimpleNamespace, tmp_path: Path) -> None:
    """What --auto decides, and a person edits, is what is trained on: held-out images too, and after a cut as well."""
    result = looked(place, tmp_path, auto=0.5)
    file = tmp_path / "decisions.csv"
    text = file.read_text()
    assert result.suspects == text.count(",relabel,,")
    assert all(row.label == row.suggested for row in result.rows)
    gone, other = table(file)[0], table(file)[1]
    third = next(digit for digit in range(10) if str(digit) not in (other["given"], other["suggested"]))
    text = text.replace(f"{gone['decision']},,{gone['hash']}", f"drop,,{gone['hash']}")
    file.write_text(text.replace(f"{other['decision']},,{other['hash']}", f"Relabel,{third},{other['hash']}"))
    trained = train("fast", place.data, tmp_path / "cut", overrides=QUICK, labels=file, max_seconds=1e-6, quiet=True)
    assert trained.labels is not None
    assert (trained.labels["changed"], trained.labels["left_out"]) == (result.suspects - 1, 1)
    file.unlink()  # the run has its own
    assert train(resume=tmp_path / "cut", quiet=True).status == "finished"
    run = Run.open(tmp_path / "cut")
    expected = place.labels.copy()
    for row in result.rows:
        expected[row.image - 1] = row.suggested
    expected[int(other["image"]) - 1] = third
    kept = np.delete(np.arange(300), int(gone["image"]) - 1)
    assert run.manifest["data"]["sha256"] == Digits.of(place.images[kept], expected[kept]).content_hash()
    own = run.validation()
    assert own is not None
    assert (own["labels"] == expected[kept][own["indices"]]).all()
    score = evaluate(run.path, place.data, quiet=True)
    assert score.overlap is not None
    assert score.overlap.exact == 299 - len(run.held_out())
    report = (run.path / "report.html").read_text()
    assert f"labels changed: {result.suspects - 1}, images left out: 1" in report
    assert "--labels" in report
    (run.path / "labels.csv").unlink()
    with pytest.raises(DataError, match="labels.csv' cannot be read"):
        audit(run.path, quiet=True)


def test_an_ensemble_of_decided_labels_is_audited_again(place: SimpleNamespace, tmp_path: Path) -> None:
    """A pool remembers the decisions; audited in its turn, it hands them on, and none is about a label of its own."""
    looked(place, tmp_path, auto=0.5)
    file, pool = tmp_path / "decisions.csv", tmp_path / "pool"
    made = ensemble("instant", place.data, pool, models=2, folds=2, overrides=QUICK, workers=1, labels=file, quiet=True)
    assert made.n == 300
    for folder in (pool, pool / "members" / "000-instant"):
        assert (folder / "labels.csv").read_bytes() == file.read_bytes()
    with pytest.raises(RunError, match="was begun with labels"):
        ensemble("instant", place.data, pool, models=2, folds=2, overrides=QUICK, workers=1, quiet=True)
    again = audit(pool, quiet=True)
    assert {row.image - 1 for row in again.rows}.isdisjoint(WRONG)
    handed = {row.key: row for row in decisions.parse((pool / "decisions.csv").read_bytes(), "d")}
    assert all(handed[row.key] == row for row in decisions.parse(file.read_bytes(), "d"))
    train("logistic", place.data, tmp_path / "next", labels=pool / "decisions.csv", quiet=True)


def test_what_a_person_decided_stands(place: SimpleNamespace, tmp_path: Path) -> None:
    """Audited again, a file keeps what it decides, also of no suspect; what it keeps is filled anew."""
    result, file = looked(place, tmp_path), tmp_path / "decisions.csv"
    rows = decisions.parse(file.read_bytes(), "d")
    more = decisions.Decision(
        "1", int(place.labels[0]), None, None, "drop", None, decisions.hashes_of(Digits.of(place.images[:1]))[0]
    )
    mine = decisions.Decision(**{**vars(rows[0]), "decision": "relabel", "label": (rows[0].given + 1) % 10})
    file.write_text(decisions.render([mine, *rows[1:], more]))
    again = looked(place, tmp_path, auto=0.5)
    assert (again.rows[0].decision, again.rows[0].label) == ("relabel", mine.label)
    assert again.decided == {"keep": 0, "relabel": result.suspects, "drop": 0}
    after = decisions.parse(file.read_bytes(), "d")
    assert (after[0], after[-1]) == (mine, more)
    assert len(after) == result.suspects + 1


def test_unclear_images_are_dropped(place: SimpleNamespace, tmp_path: Path) -> None:
    """--auto leaves out where no digit has a half, and keeps what is between."""
    result = audit(place.single, out=tmp_path / "a.html", auto=0.9, quiet=True)
    assert result.suspects
    for row in result.rows:
        expected = "relabel" if row.probability >= 0.9 else "drop" if row.probability < 0.5 else "keep"
        assert row.decision == expected


def test_other_data(place: SimpleNamespace, tmp_path: Path, make_digits: Callable[..., Digits]) -> None:
    """Other data are audited by the run's answers; what it was trained on is left out, and all of it is refused."""
    other = make_digits(100, seed=5)
    other = other.take(np.setdiff1d(np.arange(100), find_overlap(place.images, other.images).near[:, 1]))
    assert other.labels is not None
    labels = other.labels.copy()
    labels[3] = (labels[3] + 3) % 10
    np.savez(tmp_path / "o.npz", X=np.concatenate([other.images, place.images[:4]]), y=np.r_[labels, place.labels[:4]])
    result = audit(place.pool, str(tmp_path / "o.npz"), tmp_path / "a.html", quiet=True)
    assert (result.n, result.known) == (len(other), 4)
    assert 4 in {row.image for row in result.rows}
    with pytest.raises(DataError, match="was trained on all '300' images"):
        audit(place.pool, place.data, tmp_path / "b.html", quiet=True)
    assert ledger.looks(other.content_hash()) == (0, 0)


def test_a_test_set_is_a_report(tmp_path: Path) -> None:
    """Of a test set there is a page, the look is in the ledger, and nothing is decided: not even when asked for."""
    train("logistic", "uci:train", tmp_path / "run", quiet=True)
    for option in ({"auto": 0.9}, {"decisions": tmp_path / "d.csv"}):
        with pytest.raises(UsageError, match="'uci:test' is a test set: its audit is a report"):
            audit(tmp_path / "run", "uci:test", tmp_path / "a.html", quiet=True, **option)  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.glob("*.*")) == []
    result = audit(tmp_path / "run", "uci:test", tmp_path / "a.html", quiet=True)
    assert (result.decisions, result.decided) == (None, None)
    assert all(row.decision is None for row in result.rows)
    assert ledger.looks(load("uci:test", "evaluate").content_hash()) == (1, 1)
    assert len(Run.open(tmp_path / "run").looks()) == 1
    assert [path.name for path in tmp_path.glob("*.*")] == ["a.html"]
    assert "This is a test set" in (tmp_path / "a.html").read_text()


def test_bad_files_are_refused_before_anything_is_written(place: SimpleNamespace, tmp_path: Path) -> None:
    """A file of decisions that was made for other data, or is none, stays as it is, and there is no page and no run."""
    foreign = decisions.render([decisions.Decision("1", 3, 5, "0.9", "drop", None, f"x{1:016x}")]).encode()
    for content, message in ((foreign, "was made for other data"), (b"a,b\n", "its columns are 'a,b'")):
        file = tmp_path / "decisions.csv"
        file.write_bytes(content)
        with pytest.raises(DataError, match=message):
            looked(place, tmp_path)
        for verb in (train, ensemble):
            with pytest.raises(DataError, match=message):
                verb("instant", place.data, tmp_path / "run", labels=file, quiet=True)
        assert file.read_bytes() == content
        assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "decisions.csv"]


def test_no_other_file_is_written_over(place: SimpleNamespace, tmp_path: Path) -> None:
    """Neither the data nor the page is taken for the file of decisions, and no folder for the page."""
    with pytest.raises(TenfoldError, match="is among what is read"):
        audit(place.pool, decisions=place.data, quiet=True)
    for options in ({"out": tmp_path}, {"out": tmp_path / "a", "decisions": tmp_path / "a"}):
        with pytest.raises(DataError, match="Give --out another file"):
            audit(place.pool, quiet=True, **options)  # type: ignore[arg-type]


def test_what_cannot_be_audited(place: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that held nothing out, a model and a machine without cleanlab are named in a line each."""
    train("logistic", place.data, tmp_path / "none", overrides=["data.validation=0"], quiet=True)
    with pytest.raises(RunError, match="has no answers to held-out images. Give --data"):
        audit(tmp_path / "none", quiet=True)
    with pytest.raises(RunError, match="'tiny' is a model"):
        audit("tiny", quiet=True)
    with pytest.raises(RunError, match="'--labels' does not go with --resume"):
        train(resume=place.single, labels=tmp_path / "d.csv", quiet=True)
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tenfold\[audit\]'"):
        audit(place.pool, "uci:test", out=tmp_path / "a.html", quiet=True)
    assert ledger.looks(load("uci:test", "evaluate").content_hash()) == (0, 0)


def test_command_line(place: SimpleNamespace, tmp_path: Path) -> None:
    """The command prints the suspects, where the files are, and how to train by them; --json has the same."""
    words = ["audit", str(place.pool), "--out", str(tmp_path / "a.html"), "--auto", "0.6", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0
    found = json.loads(done.stdout.splitlines()[-1])
    assert f"{found['suspects']} suspect labels of 300, 1 in {300 / found['suspects']:.0f}" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == f"Next: tenfold train fast --data {place.data} --labels {tmp_path / 'decisions.csv'}"
    assert CliRunner().invoke(app, ["audit", str(place.pool), "--auto", "0.4"]).exit_code == 2


@pytest.mark.data
@pytest.mark.slow
def test_mnist(tmp_path: Path) -> None:
    """On MNIST about one label in a thousand is suspect."""
    ensemble(
        "instant", "mnist", tmp_path / "five", models=5, folds=5, subset=20_000, workers=1, select="all", quiet=True
    )
    result = audit(tmp_path / "five", quiet=True)
    assert result.n == 20_000
    assert 5 <= result.suspects <= 60
