"""Base against best on unused seeds: the figures, the sentence, and going on after a crash."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tenfold.console import PlainConsole
from tenfold.errors import RunError
from tenfold.jobs import Task
from tenfold.tuning import comparison as comparisons
from tenfold.tuning.comparison import compare_on_seeds, compared, verdict
from tenfold.tuning.journal import Tried
from tenfold.tuning.space import Values
from tenfold.tuning.trial import Workers

VALUES: Values = {"optimiser.lr": 0.1}
BEST = Tried(3, VALUES, "complete", 0.1, 0.1, 0.97)
WORKERS = Workers("folder", "uci", 1, 1, "cpu", None)

Run = Callable[..., list[Any]]


class Cut(Exception):
    """The process is killed, as far as the comparison can see."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that does the trainings that are missing, with given figures for the seeds 1, 2, ...

    It returns the (seed, system) of each, as the file has them. failing: a system and seed that cannot be trained.
    """

    def run(
        file: Path, nll: dict[str, list[float]], values: Values = VALUES, failing: str = "", cut: int = 100
    ) -> list[Any]:
        done_now: list[Any] = []

        def run_tasks(tasks: Iterable[Task], *, done: Any, failed: Any, retries: int, **_: Any) -> None:
            for task in tasks:
                if len(done_now) == cut:
                    raise Cut
                seed = task.arguments["seed"]
                system = "best" if task.arguments["changes"] else "base"
                done_now.append((seed, system))
                if failing == f"{system} {seed}":
                    failed(task, "Its process ended without an answer, 2 times.")
                    continue
                each = nll[system][seed - 1]
                done(task, {"nll": each, "accuracy": 1 - each, "n": 100, "seconds": 1.0})

        monkeypatch.setattr(comparisons, "run_tasks", run_tasks)
        seeds = range(1, len(nll["base"]) + 1)
        try:
            compare_on_seeds(file, values, seeds, WORKERS, PlainConsole(quiet=True))
        except Cut:
            assert len(done_now) == cut
        return done_now

    return run


def test_figures_by_hand(run: Run, tmp_path: Path) -> None:
    """Means, standard deviations with n - 1, paired gains and wins of a case worked by hand."""
    run(tmp_path / "c.json", {"base": [0.20, 0.30, 0.40], "best": [0.10, 0.30, 0.20]})
    result = compared(tmp_path / "c.json", VALUES, "nll")
    assert result is not None
    assert (result.base["nll"].mean, result.base["nll"].std) == (pytest.approx(0.3), pytest.approx(0.1))
    assert (result.best["accuracy"].mean, result.best["accuracy"].std) == (pytest.approx(0.8), pytest.approx(0.1))
    assert (result.gain.mean, result.gain.std) == (pytest.approx(0.1), pytest.approx(0.1))
    assert (result.wins, result.seeds, result.better) == (2, [1, 2, 3], False)
    assert result.lines[0] == "Before, mean of the unused seeds 1, 2, 3: NLL 0.3000 ± 0.1000, accuracy 70.00% ± 10.00%."


@pytest.mark.parametrize(
    ("base", "best", "sentence"),
    [
        ([0.2, 0.3, 0.4], [0.1, 0.2, 0.3], "The best beats the recipe as it was with each of 3 seeds"),
        ([0.2, 0.3, 0.4], [0.1, 0.2, 0.41], "does not clearly beat the recipe as it was: better on the mean"),
        ([0.2, 0.3, 0.4], [0.3, 0.35, 0.35], "does not beat the recipe as it was: with 1 of 3 seeds"),
        ([0.2], [0.1], "with each of 1 seed that"),
    ],
)
def test_verdict_is_plain(run: Run, tmp_path: Path, base: list[float], best: list[float], sentence: str) -> None:
    """Better with every seed is better; better on the mean may be luck; anything else is not better, and says so."""
    run(tmp_path / "c.json", {"base": base, "best": best})
    assert sentence in verdict(BEST, compared(tmp_path / "c.json", VALUES, "nll"))


def test_nothing_to_compare() -> None:
    """No trial, the base itself, and a best that was not compared each have a sentence of their own."""
    assert "No trial was completed" in verdict(None, None)
    assert "No trial beat the recipe" in verdict(Tried(0, VALUES, "complete", 0.1, 0.1, 0.9, base=True), None)
    assert "the gain may be luck" in verdict(BEST, None)


def test_goes_on_where_it_was(run: Run, tmp_path: Path) -> None:
    """What stands in the file is not trained again; another best is, and the base is not."""
    file, nll = tmp_path / "c.json", {"base": [0.2, 0.3], "best": [0.1, 0.2]}
    assert run(file, nll, cut=1) == [(1, "base")]
    assert compared(file, VALUES, "nll") is None
    assert run(file, nll) == [(1, "best"), (2, "base"), (2, "best")]
    assert run(file, nll) == []
    assert compared(file, {"optimiser.lr": 0.2}, "nll") is None
    assert run(file, nll, {"optimiser.lr": 0.2}) == [(1, "best"), (2, "best")]


def test_what_cannot_be_trained_is_not_better(run: Run, tmp_path: Path) -> None:
    """A best that fails with one seed is named and does not count as better."""
    file = tmp_path / "c.json"
    run(file, {"base": [0.2, 0.2], "best": [0.1, 0.1]}, failing="best 2")
    result = compared(file, VALUES, "nll")
    assert result is not None
    assert result.seeds == [1]
    assert result.failed == ["best with seed 2: Its process ended without an answer, 2 times."]
    assert not result.better
    assert "does not beat" in verdict(BEST, result)


@pytest.mark.parametrize("content", [{"values": {}}, {"values": {}, "trainings": [{"seed": 1, "system": "base"}]}, []])
def test_broken_file_is_one_line(tmp_path: Path, content: Any) -> None:
    """A comparison that cannot be read is a RunError."""
    (tmp_path / "c.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match="c.json' cannot be read"):
        compared(tmp_path / "c.json", VALUES, "nll")
