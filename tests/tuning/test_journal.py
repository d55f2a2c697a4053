"""The journal of a search: what is asked next, and what a killed process leaves behind."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tenfold.errors import RunError, TrainingError
from tenfold.training.recipe import Range
from tenfold.tuning.journal import Journal
from tenfold.tuning.space import Figures, Space, Values

if TYPE_CHECKING:
    from optuna.trial import Trial

SPACE: Space = {"x": Range(low=0.0, high=1.0), "k": Range(low=1, high=50), "c": ["a", "b"]}
OWN: Values = {"x": 0.5, "k": 3, "c": "b"}


def begun(path: Path) -> Journal:
    """Return the journal at `path`, opened as the process does that hands out tasks."""
    journal = Journal(path, SPACE, alone=True)
    journal.begin(OWN)
    return journal


def complete(journal: Journal, trial: "Trial") -> None:
    """Complete a trial with made-up figures in which x alone matters."""
    distance = abs(float(trial.params["x"]) - 0.3)
    journal.complete(trial, distance, Figures(distance, 0.9, 100, 1.0))


def run(journal: Journal, trials: int, seed: int = 0) -> list[Values]:
    """Complete so many trials and return their values."""
    asked = []
    for _ in range(trials):
        trial = journal.ask("some task", 1000 * seed + journal.ended())
        complete(journal, trial)
        asked.append(trial.params)
    return asked


def test_the_recipe_as_it_is_comes_first(tmp_path: Path) -> None:
    """The first trial has the recipe's own values and says so; those after it lie in the space."""
    journal = begun(tmp_path / "journal.log")
    assert run(journal, 1) == [OWN]
    for values in run(journal, 15):
        assert 0 <= float(values["x"]) <= 1
        assert isinstance(values["k"], int)
        assert values["c"] in ("a", "b")
    tried = journal.tried()
    assert [each.number for each in tried if each.base] == [0]
    assert (tried[0].objective, tried[0].nll, tried[0].accuracy, tried[0].seconds) == (0.2, 0.2, 0.9, 1.0)
    journal.close()


def test_resumed_study_asks_what_an_unbroken_one_asks(tmp_path: Path) -> None:
    """The same seed asks for the same values, also where a process ended in between; another seed for others."""
    asked: list[list[Values]] = []
    for name, parts in (("whole", [14]), ("broken", [3, 5, 6])):
        asked.append([])
        for part in parts:
            journal = begun(tmp_path / f"{name}.log")
            asked[-1] += run(journal, part)
            journal.close()
    assert asked[0] == asked[1]
    other = begun(tmp_path / "other.log")
    assert run(other, 14, seed=1)[1:] != asked[0][1:]
    other.close()


def test_two_processes_share_a_journal(tmp_path: Path) -> None:
    """What one process asks for and tells, the other sees at once; both have trials of their own."""
    journal = begun(tmp_path / "journal.log")
    others = [Journal(tmp_path / "journal.log", SPACE) for _ in range(2)]
    first, second = others[0].ask("one", 1), others[1].ask("two", 2)
    assert (first.number, first.params) == (0, OWN)
    assert second.number == 1
    complete(others[1], second)
    assert [each.number for each in journal.tried()] == [1]
    complete(others[0], first)
    assert journal.outcome("one").base
    assert journal.outcome("two").values == second.params
    journal.close()


def test_trial_of_a_killed_process_is_done_again(tmp_path: Path) -> None:
    """A trial that was under way is lost and done again; a line half written and a lock left behind do not matter."""
    path = tmp_path / "journal.log"
    journal = begun(path)
    run(journal, 2)
    under_way = journal.ask("killed", 7).params
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"op_code": 5, "worker')
    (tmp_path / "journal.log.lock").touch()
    again = begun(path)
    assert [each.state for each in again.tried()] == ["complete", "complete", "lost"]
    assert again.ended() == 2
    trial = again.ask("resumed", 8)
    assert (trial.number, trial.params) == (3, under_way)
    again.close()


def test_base_that_was_killed_stays_the_base(tmp_path: Path) -> None:
    """Where the very first trial was cut off, it is done again as the recipe as it is."""
    for _ in range(2):
        journal = begun(tmp_path / "journal.log")
        trial = journal.ask("killed", 0)
        assert trial.params == OWN
        assert trial.user_attrs["base"]
        journal.close()


def test_a_task_that_is_begun_again_takes_up_its_own_trial(tmp_path: Path) -> None:
    """What a task's killed process left goes on as another trial, what other tasks have under way does not; a task
    that could not tell how it ended has failed, with the reason.
    """
    journal = begun(tmp_path / "journal.log")
    run(journal, 1)
    other, first = journal.ask("other", 1), journal.ask("task", 2)
    second = journal.ask("task", 3)
    assert second.params == first.params
    assert second.number > first.number
    assert [each.state for each in journal.tried()] == ["complete", "lost"]
    complete(journal, other)
    tried = journal.outcome("task", "Its process ended without an answer.")
    assert (tried.number, tried.state, tried.reason) == (
        second.number,
        "failed",
        "Its process ended without an answer.",
    )
    assert journal.ended() == 3
    with pytest.raises(TrainingError, match="no data here"):
        journal.outcome("never asked", "There are no data here.")
    journal.close()


def test_median_pruning_spares_the_good_and_the_base(tmp_path: Path) -> None:
    """After five complete trials one that is worse than their median is ended, a better one and the base are not."""
    journal = begun(tmp_path / "journal.log")
    for i in range(5):
        trial = journal.ask("task", i)
        assert not journal.report(trial, 50, 10.0 - i)
        complete(journal, trial)
    good, bad = journal.ask("good", 5), journal.ask("bad", 6)
    assert not journal.report(bad, 20, 9.5)  # warm-up
    assert journal.report(bad, 50, 9.5)
    assert not journal.report(good, 50, 5.5)
    journal.prune(bad)
    assert journal.tried()[-1].state == "pruned"
    assert journal.tried()[-1].curve == {20: 9.5, 50: 9.5}
    assert journal.tried()[-1].objective is None
    journal.close()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """A journal that is open elsewhere is refused; once it is closed it may be opened."""
    journal = Journal(tmp_path / "journal.log", SPACE, alone=True)
    with pytest.raises(RunError, match="is being written by another process"):
        Journal(tmp_path / "journal.log", SPACE, alone=True)
    journal.close()
    Journal(tmp_path / "journal.log", SPACE, alone=True).close()


def test_broken_journal_is_one_line(tmp_path: Path) -> None:
    """A journal that holds something else is a RunError."""
    (tmp_path / "journal.log").write_text("this is no journal\n{}\n")
    with pytest.raises(RunError, match="journal.log' cannot be read"):
        Journal(tmp_path / "journal.log", SPACE, alone=True)
