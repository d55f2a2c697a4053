"""Evaluated runs become one line of results."""

from pathlib import Path

import add_runs
import pytest
from systems import SystemResult, read

from tenfold.evaluate import evaluate
from tenfold.runs.fit import fit


def test_runs_that_differ_by_seed(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two seeds become one record, each with its newest evaluation; a run without any is named, and nothing written."""
    runs = [str(fit(recipe, ["uci:train"], tmp_path / name, seed=seed).path) for seed, name in enumerate("ab")]
    file = tmp_path / "r.jsonl"
    with pytest.raises(SystemExit, match="a' has no evaluation. Run: tenfold evaluate"):
        add_runs.main([*runs, "--record", str(file)])
    assert not file.exists()
    scores = [evaluate(run, "uci:test", quiet=True).accuracy for run in runs]
    add_runs.main([*runs, "--record", str(file), "--note", "small"])
    (found,) = read(file)
    assert [trial.accuracy for trial in found.trials] == scores
    assert (found.note, found.recipe) == ("small", "small")
    assert found.model_dump_json() == SystemResult.model_validate_json(capsys.readouterr().out).model_dump_json()


def test_what_is_no_run(tmp_path: Path) -> None:
    """A folder that is no run is named, and nothing is written."""
    with pytest.raises(SystemExit, match="There is no run at"):
        add_runs.main([str(tmp_path / "none"), "--record", str(tmp_path / "r.jsonl")])
    assert not (tmp_path / "r.jsonl").exists()
