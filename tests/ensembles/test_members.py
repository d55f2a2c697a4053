"""Members of an ensemble, trained several at a time: the same pool, told and lost one by one."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from tenfold.ensemble import ensemble
from tenfold.ensembles.members import STACKED_ON_AN_ACCELERATOR, stack_sizes, train_all
from tenfold.ensembles.pool import Pool, Settings
from tenfold.processes import Task, work
from tenfold.runs.run import Run
from tenfold.training import device as devices

QUICK = ("training.epochs=2", "model.widths=[[8],[16]]", "data.validation=0.2", "training.precision=fp32")
GENTLE = (*QUICK, "training.min_steps=0", "optimiser.kind=sgd", "optimiser.lr=0.01")
TASKS: list[Task] = []


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run tasks here, one after the other, and note them."""
    TASKS.clear()

    def run_tasks(tasks: Any, *, done: Any, failed: Any, **options: Any) -> bool:
        for task in tasks:
            TASKS.append(task)
            json.dumps(task.arguments)
            outcome = work(task, 1, lambda question: None)
            if "failed" in outcome:
                failed(task, outcome["failed"])
            else:
                done(task, json.loads(json.dumps(outcome["result"])))
        return True

    monkeypatch.setattr("tenfold.ensembles.members.run_tasks", run_tasks)


def console() -> tuple[Console, StringIO]:
    """Return a console and what is printed on it."""
    text = StringIO()
    return Console(file=text, width=300, highlight=False), text


def begin(path: Path, *recipes: str, overrides: tuple[str, ...] = GENTLE, folds: int | None = None) -> Pool:
    """Return a pool that is just begun, of a subset of the bundled digits."""
    return Pool.begin(path, Settings(recipes, ("uci:train",), subset=600, folds=folds, overrides=overrides), "cpu")


def test_stacked_members_are_the_same_pool(tmp_path: Path) -> None:
    """Three members, two and one at a time, end as trained one by one; each is told."""
    printed = []
    for name, stack in (("alone", 1), ("stacked", 2)):
        shown, text = console()
        lost = train_all(begin(tmp_path / name, "instant"), 3, None, None, 1, 1, "cpu", stack, shown)
        assert lost == {}
        printed.append(text.getvalue().splitlines())
    assert [len(task.arguments["members"]) for task in TASKS] == [1] * 3 + [2, 1]
    assert [len(lines) for lines in printed] == [3, 3]
    assert printed[1][2].startswith("[3 of 3] 002-instant: ")
    assert (tmp_path / "alone" / "pool.json").read_bytes() == (tmp_path / "stacked" / "pool.json").read_bytes()
    for folder in sorted((tmp_path / "alone" / "members").iterdir()):
        single, stacked = Run.open(folder), Run.open(tmp_path / "stacked" / "members" / folder.name)
        assert (single.held_out() == stacked.held_out()).all()
        assert single.recipe == stacked.recipe
        for name, tensor in stacked.weights().items():
            torch.testing.assert_close(tensor, single.weights()[name], rtol=1e-4, atol=1e-4)


def test_an_ensemble_of_stacked_members(tmp_path: Path) -> None:
    """Two recipes and three folds in stacks; the result is a run, and a pool goes on with another --stack."""
    options: dict[str, Any] = {"overrides": GENTLE, "subset": 600, "folds": 3, "device": "cpu", "quiet": True}
    first = ensemble(["instant", "fast"], "uci:train", tmp_path / "pool", models=4, stack=2, **options)
    assert [[Path(each["out"]).name for each in task.arguments["members"]] for task in TASKS] == [
        ["000-instant", "002-instant"], ["001-fast", "003-fast"]
    ]  # fmt: skip
    assert Run.open(first["run"]).manifest["status"] == "finished"
    again = ensemble(["instant", "fast"], "uci:train", tmp_path / "pool", models=5, stack=None, **options)
    assert len(TASKS) == 3
    assert [row["fold"] for row in again["pool"]] == [0, 0, 1, 1, 2]
    assert again["member_seconds"] > 0


def test_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One a program on a processor, many on an accelerator, what is asked for before both; never what cannot be."""
    shown, text = console()
    pool = begin(tmp_path / "pool", "instant", "fast")
    assert stack_sizes(pool, None, "cpu", None, shown)("instant") == 1
    assert stack_sizes(pool, None, "cpu", 7, shown)("fast") == 7
    monkeypatch.setattr(devices, "choose", lambda name: torch.device("cuda"))
    assert stack_sizes(pool, None, "auto", None, shown)("instant") == STACKED_ON_AN_ACCELERATOR
    assert stack_sizes(pool, "ray", "auto", None, shown)("instant") == 1
    assert text.getvalue() == ""
    stopping = begin(tmp_path / "other", "instant", overrides=(*QUICK, "training.early_stopping=2"))
    assert stack_sizes(stopping, None, "auto", 7, shown)("instant") == 1
    assert "'instant' are trained one by one: training.early_stopping is '2'" in text.getvalue()


def test_a_budget_counts_stacks(tmp_path: Path) -> None:
    """A stack whose like took longer than is left is not begun."""
    shown, _ = console()
    pool = begin(tmp_path / "pool", "instant")
    train_all(pool, 1000, 0.001, None, 1, 1, "cpu", 2, shown)
    assert len(TASKS) <= 1
    train_all(pool, 4, 60, None, 1, 1, "cpu", 2, shown)
    assert len(pool.finished(10)) == 4


def test_a_lost_member_is_told_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The member of a stack that could not be trained is named with the reason; the other counts as trained."""
    reason = "The loss is 'nan' at step 4."

    def train_stack(members: list[dict[str, Any]], data: Any, **options: Any) -> list[dict[str, Any]]:
        fine = {"run": str(members[0]["out"]), "status": "finished", "recipe": "instant", "seed": 0, "seconds": 1.0,
                "validation_accuracy": 0.9, "validation_n": 100}  # fmt: skip
        return [fine, {"run": str(members[1]["out"]), "status": "failed", "reason": reason}]

    monkeypatch.setattr("tenfold.train.train_stack", train_stack)
    shown, text = console()
    lost = train_all(begin(tmp_path / "pool", "instant"), 2, None, None, 1, 1, "cpu", 2, shown)
    assert lost == {"001-instant": reason}
    assert "[1 of 2] 000-instant: 10 of 100 held-out images wrong" in text.getvalue()
