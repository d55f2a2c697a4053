"""Base against best on unused seeds: the figures, the sentence, and going on after a crash."""

import json
from pathlib import Path
from typing import Any

import pytest

from tenfold.errors import RunError
from tenfold.tuning.comparison import Comparison, compared, verdict
from tenfold.tuning.search import Values
from tenfold.tuning.study import Tried
from tenfold.tuning.trial import Figures

VALUES: Values = {"optimiser.lr": 0.1}
BEST = Tried(3, VALUES, "complete", 0.1, 0.1, 0.97)


def run(file: Path, nll: dict[str, list[float]], values: Values = VALUES) -> list[Any]:
    """Do the trainings that are missing, with these figures for the seeds 1, 2, ...; return their keys."""
    comparison = Comparison(file, values, range(1, len(nll["base"]) + 1), lambda line: None)
    done = []
    while (job := comparison.next()) is not None:
        seed, system = job.key
        comparison.done(job, Figures(nll[system][seed - 1], 1 - nll[system][seed - 1], 100, 1.0))
        done.append(job.key)
    return done


def test_figures_by_hand(tmp_path: Path) -> None:
    """Means, standard deviations with n - 1, paired gains and wins of a case worked by hand."""
    run(tmp_path / "c.json", {"base": [0.20, 0.30, 0.40], "best": [0.10, 0.30, 0.20]})
    result = compared(tmp_path / "c.json", VALUES, "nll")
    assert result is not None
    assert result["base"]["nll"] == {"mean": pytest.approx(0.3), "std": pytest.approx(0.1)}
    assert result["best"]["accuracy"] == {"mean": pytest.approx(0.8), "std": pytest.approx(0.1)}
    assert result["gain"] == {"mean": pytest.approx(0.1), "std": pytest.approx(0.1)}
    assert (result["wins"], result["seeds"], result["better"]) == (2, [1, 2, 3], False)


@pytest.mark.parametrize(
    ("base", "best", "sentence"),
    [
        ([0.2, 0.3, 0.4], [0.1, 0.2, 0.3], "The best beats the recipe as it was with each of 3 seeds"),
        ([0.2, 0.3, 0.4], [0.1, 0.2, 0.41], "does not clearly beat the recipe as it was: better on the mean"),
        ([0.2, 0.3, 0.4], [0.3, 0.35, 0.35], "does not beat the recipe as it was: with 1 of 3 seeds"),
        ([0.2], [0.1], "with each of 1 seed that"),
    ],
)
def test_verdict_is_plain(tmp_path: Path, base: list[float], best: list[float], sentence: str) -> None:
    """Better with every seed is better; better on the mean may be luck; anything else is not better, and says so."""
    run(tmp_path / "c.json", {"base": base, "best": best})
    assert sentence in verdict(BEST, compared(tmp_path / "c.json", VALUES, "nll"))


def test_nothing_to_compare() -> None:
    """No trial, the base itself, and a best that was not compared each have a sentence of their own."""
    assert "No trial was completed" in verdict(None, None)
    assert "No trial beat the recipe" in verdict(Tried(0, VALUES, "complete", 0.1, 0.1, 0.9, base=True), None)
    assert "the gain may be luck" in verdict(BEST, None)


def test_goes_on_where_it_was(tmp_path: Path) -> None:
    """What stands in the file is not trained again; another best is, and the base is not."""
    file, nll = tmp_path / "c.json", {"base": [0.2, 0.3], "best": [0.1, 0.2]}
    comparison = Comparison(file, VALUES, (1, 2), lambda line: None)
    job = comparison.next()
    assert job is not None
    comparison.done(job, Figures(0.2, 0.8, 100, 1.0))
    assert run(file, nll) == [(1, "best"), (2, "base"), (2, "best")]
    assert run(file, nll) == []
    assert compared(file, {"optimiser.lr": 0.2}, "nll") is None
    assert run(file, nll, {"optimiser.lr": 0.2}) == [(1, "best"), (2, "best")]


def test_what_cannot_be_trained_is_not_better(tmp_path: Path) -> None:
    """A best that fails with one seed, or kills its process twice, is named and does not count as better."""
    file = tmp_path / "c.json"
    comparison = Comparison(file, VALUES, (1, 2), lambda line: None)
    while (job := comparison.next()) is not None:
        if job.key == (2, "best"):
            comparison.lost(job)
        else:
            comparison.done(job, Figures(0.1 if job.key[1] == "best" else 0.2, 0.9, 100, 1.0))
    result = compared(file, VALUES, "nll")
    assert result is not None
    assert result["failed"] == ["best with seed 2: Its process ended without an answer 2 times."]
    assert not result["better"]
    assert "does not beat" in verdict(BEST, result)


def test_broken_file_is_one_line(tmp_path: Path) -> None:
    """A comparison that cannot be read is a RunError."""
    (tmp_path / "c.json").write_text(json.dumps({"values": {}}))
    with pytest.raises(RunError, match="c.json' cannot be read"):
        compared(tmp_path / "c.json", VALUES, "nll")
