"""The journal of a search: what is asked next, and what a killed process leaves behind."""

from pathlib import Path

import pytest

from tenfold.errors import RunError
from tenfold.training.recipe import Range
from tenfold.tuning.search import Space, Value, Values
from tenfold.tuning.study import MOST_LOSSES, Study

SPACE: Space = {"x": Range(low=0.0, high=1.0), "k": Range(low=1, high=50), "c": ["a", "b"]}
OWN: Values = {"x": 0.5, "k": 3, "c": "b"}


def figures(values: Values) -> dict[str, Value]:
    """Return made-up figures in which x alone matters."""
    return {"nll": abs(float(values["x"]) - 0.3), "accuracy": 0.9, "seconds": 1.0}


def run(study: Study, trials: int) -> list[Values]:
    """Complete so many trials and return their values."""
    asked = []
    for _ in range(trials):
        number, values, _ = study.ask()
        study.complete(number, abs(float(values["x"]) - 0.3), figures(values))
        asked.append(values)
    return asked


def test_the_recipe_as_it_is_comes_first(tmp_path: Path) -> None:
    """The first trial has the recipe's own values and says so; those after it lie in the space."""
    study = Study(tmp_path / "journal.log", SPACE, seed=0)
    study.begin(OWN)
    number, values, base = study.ask()
    assert (number, values, base) == (0, OWN, True)
    study.complete(number, 0.2, figures(values))
    for values in run(study, 15):
        assert 0 <= float(values["x"]) <= 1
        assert isinstance(values["k"], int)
        assert values["c"] in ("a", "b")
    tried = study.tried()
    assert [each.number for each in tried if each.base] == [0]
    assert tried[0].accuracy == 0.9
    assert tried[0].objective == 0.2
    study.close()


def test_resumed_study_asks_what_an_unbroken_one_asks(tmp_path: Path) -> None:
    """The same seed asks for the same values, also where a process ended in between; another seed for others."""
    asked = []
    for name, parts in (("whole", [14]), ("broken", [3, 5, 6])):
        asked.append([])
        for part in parts:
            study = Study(tmp_path / f"{name}.log", SPACE, seed=4)
            study.begin(OWN)
            asked[-1] += run(study, part)
            study.close()
    assert asked[0] == asked[1]
    other = Study(tmp_path / "other.log", SPACE, seed=5)
    other.begin(OWN)
    assert run(other, 14)[1:] != asked[0][1:]
    other.close()


def test_trial_of_a_killed_process_is_done_again(tmp_path: Path) -> None:
    """A trial that was under way is lost and done again; a line half written and a lock left behind do not matter."""
    path = tmp_path / "journal.log"
    study = Study(path, SPACE, seed=0)
    study.begin(OWN)
    run(study, 2)
    _, under_way, _ = study.ask()
    study.close()
    with path.open("ab") as file:
        file.write(b'{"op_code": 5, "worker')
    (tmp_path / "journal.log.lock").touch()
    again = Study(path, SPACE, seed=0)
    again.begin(OWN)
    assert [each.state for each in again.tried()] == ["complete", "complete", "lost"]
    assert again.ended() == 2
    assert again.ask() == (3, under_way, False)
    again.close()


def test_base_that_was_killed_stays_the_base(tmp_path: Path) -> None:
    """Where the very first trial was cut off, it is done again as the recipe as it is."""
    for _ in range(2):
        study = Study(tmp_path / "journal.log", SPACE, seed=0)
        study.begin(OWN)
        _, values, base = study.ask()
        assert (values, base) == (OWN, True)
        study.close()


def test_trial_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    """Values under which processes keep dying count as failed in the end, and others come."""
    study = Study(tmp_path / "journal.log", SPACE, seed=0)
    study.begin(OWN)
    run(study, 1)
    first = study.ask()
    study.lose(first[0])
    for _ in range(MOST_LOSSES - 1):
        number, values, _ = study.ask()
        assert values == first[1]
        study.lose(number)
    assert study.tried()[-1].state == "failed"
    assert "ended without an answer" in study.tried()[-1].reason
    assert study.ended() == 2
    assert study.ask()[1] != first[1]
    study.close()


def test_median_pruning_spares_the_good_and_the_base(tmp_path: Path) -> None:
    """After five complete trials one that is worse than their median is ended, a better one and the base are not."""
    study = Study(tmp_path / "journal.log", SPACE, seed=0)
    study.begin(OWN)
    for i in range(5):
        number, values, _ = study.ask()
        assert not study.report(number, 50, 10.0 - i)
        study.complete(number, 1.0, figures(values))
    good, bad = study.ask()[0], study.ask()[0]
    assert not study.report(bad, 20, 9.5)  # warm-up
    assert study.report(bad, 50, 9.5)
    assert not study.report(good, 50, 5.5)
    study.prune(bad)
    assert study.tried()[-1].state == "pruned"
    assert study.tried()[-1].curve == {20: 9.5, 50: 9.5}
    assert study.tried()[-1].objective is None
    study.close()


def test_importances_name_what_matters(tmp_path: Path) -> None:
    """Where one key alone decides, it explains most; with too few trials nothing is said."""
    study = Study(tmp_path / "journal.log", SPACE, seed=1)
    study.begin(OWN)
    run(study, 3)
    assert study.importances() == {}
    run(study, 27)
    shares = study.importances()
    assert next(iter(shares)) == "x"
    assert sum(shares.values()) == pytest.approx(1)
    study.close()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """A journal that is open elsewhere is refused; once it is closed it may be opened."""
    study = Study(tmp_path / "journal.log", SPACE, seed=0)
    with pytest.raises(RunError, match="is being tuned by another process"):
        Study(tmp_path / "journal.log", SPACE, seed=0)
    study.close()
    Study(tmp_path / "journal.log", SPACE, seed=0).close()


def test_broken_journal_is_one_line(tmp_path: Path) -> None:
    """A journal that holds something else is a RunError."""
    (tmp_path / "journal.log").write_text("this is no journal\n{}\n")
    with pytest.raises(RunError, match="journal.log' cannot be read"):
        Study(tmp_path / "journal.log", SPACE, seed=0)
