"""Members of an ensemble: trained as tasks, told and lost one by one, and their rows."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tenfold.console import PlainConsole
from tenfold.ensembles.members import Resources, rows_of, train_missing
from tenfold.ensembles.pool import Pool, Settings, answers
from tenfold.errors import TrainingError
from tenfold.jobs import Task, work
from tenfold.runs.run import Run

QUICK = (
    "training.epochs=2",
    "training.min_steps=30",
    "model.widths=[[8],[16]]",
    "data.validation=0.2",
    "training.precision=fp32",
)
ONE = Resources(workers=1, device="cpu")
TASKS: list[Task] = []


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run tasks here, one after the other, and note them."""
    TASKS.clear()

    def run_tasks(tasks: Any, *, done: Any, failed: Any, **options: Any) -> bool:
        for task in tasks:
            TASKS.append(task)
            outcome = work(Task(task.key, task.function, json.loads(json.dumps(task.arguments))), 1)
            if "failed" in outcome:
                failed(task, outcome["failed"])
            else:
                done(task, json.loads(json.dumps(outcome["result"])))
        return True

    monkeypatch.setattr("tenfold.ensembles.members.run_tasks", run_tasks)


def console() -> tuple[PlainConsole, StringIO]:
    """Return a console and what is printed on it."""
    text = StringIO()
    return PlainConsole(file=text, width=300), text


def begin(path: Path, *recipes: str, overrides: tuple[str, ...] = QUICK, folds: int | None = None) -> Pool:
    """Return a pool that is just begun, of a subset of the bundled digits."""
    return Pool.begin(path, Settings(recipes, ("uci:train",), subset=600, folds=folds, overrides=overrides), "cpu")


def test_what_is_missing_is_trained(tmp_path: Path) -> None:
    """Recipes take turns, each member is told; the same call trains nothing, a larger number the rest."""
    shown, text = console()
    pool = begin(tmp_path / "pool", "instant", "fast")
    assert train_missing(pool, 2, ONE, shown) == {}
    assert [task.key for task in TASKS] == ["000-instant", "001-fast"]
    assert text.getvalue().splitlines()[1].startswith("[2 of 2] 001-fast: ")
    assert train_missing(pool, 2, ONE, shown) == {}
    assert len(TASKS) == 2
    assert train_missing(pool, 3, ONE, shown) == {}
    assert text.getvalue().splitlines()[-2:][0] == "2 of 3 members are trained already"
    assert [member.name for member in pool.trained(9)] == ["000-instant", "001-fast", "002-instant"]


def without_first(path: Path) -> Pool:
    """Return a pool whose first member cannot be trained: something else stands in its place."""
    pool = begin(path, "instant")
    folder = pool.member(0).folder
    folder.mkdir(parents=True)
    (folder / "mine").write_text("")
    return pool


def test_a_lost_member_is_told_by_name(tmp_path: Path) -> None:
    """A member that could not be trained is named with the reason; the others count as trained."""
    shown, text = console()
    pool = without_first(tmp_path / "pool")
    lost = train_missing(pool, 2, ONE, shown)
    assert list(lost) == ["000-instant"]
    assert "exists already" in lost["000-instant"]
    assert "000-instant could not be trained: " in text.getvalue()
    assert "[1 of 2] 001-instant: " in text.getvalue()


def test_a_pool_without_members_is_an_error(tmp_path: Path) -> None:
    """Where no member could be trained, the first one's reason is the error."""
    shown, _ = console()
    pool = without_first(tmp_path / "pool")
    with pytest.raises(TrainingError, match=r"No member of '.*pool' could be trained; 000-instant: .*exists already"):
        train_missing(pool, 1, ONE, shown)


def test_rows(tmp_path: Path) -> None:
    """With folds each member is judged on its own; a row has the weight that the choice gave it."""
    shown, text = console()
    pool = begin(tmp_path / "pool", "instant", folds=2)
    train_missing(pool, 3, ONE, shown)
    members = pool.trained(3)
    runs = [Run.open(member.folder) for member in members]
    rows = rows_of(members, runs, answers(runs), [0.5, 0.5, 0.0])  # type: ignore[arg-type]
    assert [(row.fold, row.n, row.weight) for row in rows] == [(0, 300, 0.5), (1, 300, 0.5), (0, 300, 0.0)]
    assert f"000-instant: {rows[0].errors} of 300 held-out images wrong" in text.getvalue()
    accuracies = [run.manifest["validation_accuracy"] for run in runs]
    assert [1 - row.errors / row.n for row in rows] == pytest.approx(accuracies)
