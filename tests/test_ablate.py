"""`tenfold ablate`: variants judged on the same held-out images, nothing trained twice, a record a variant."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tenfold import ablate as module
from tenfold.ablate import ablate
from tenfold.cli import app
from tenfold.errors import ClusterError, DataError, RecipeError, RunError, TrainingError
from tenfold.jobs import Task
from tenfold.runs import ablation as ablations
from tenfold.runs.ablation import Outcome
from tenfold.runs.results import Result, Trial

STUDY = """
question = "Does a wider network read better?"
baseline = "narrow"
recipe.model.layers = ["conv 4", "pool", "conv 8", "global max"]
recipe.training = { epochs = 1, min_steps = 0, precision = "fp32" }
[[variants]]
label = "narrow"
[[variants]]
label = "wide"
recipe.model.layers = ["conv 8", "pool", "conv 16", "global max"]
[[variants]]
label = "narrow, few"
images = 100
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """An ablation of three small variants."""
    path = tmp_path / "width.toml"
    path.write_text(STUDY)
    return path


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Train nothing: a task's accuracy is 0.9 plus its seed in hundredths; the list grows by each file written."""
    done: list[Path] = []

    def run_tasks(tasks: Any, **options: Any) -> bool:
        for task in tasks:
            seed, file = task.arguments["seed"], Path(task.arguments["file"])
            outcome = Outcome(
                config_sha256="c",
                trial=Trial(seed=seed, accuracy=0.9 + seed / 100, nll=0.1, seconds=1.0),
                parameters=10,
                epochs=1.0,
                machine={"cpu": "Example CPU", "threads": 1},
                versions={},
                commit="abc",
            )
            file.write_text(outcome.model_dump_json())
            options["done"](task, {"accuracy": outcome.trial.accuracy, "seconds": 1.0})
            done.append(file)
        return True

    monkeypatch.setattr(module, "run_tasks", run_tasks)
    return done


@pytest.mark.slow
def test_trains_side_by_side_and_resumes(study: Path, tmp_path: Path) -> None:
    """Two processes train every variant with every seed; the same command again trains nothing and says the same."""
    out = tmp_path / "out"
    first = ablate(str(study), "uci", seeds=2, out=str(out), workers=2, quiet=True)
    (answer,) = first.studies
    assert (answer.study, answer.baseline, answer.held_out.n) == ("width", "narrow", 239)
    assert [row.variant for row in answer.rows] == ["narrow", "wide", "narrow, few"]
    assert [row.images for row in answer.rows] == [1198, 1198, 100]
    assert all(row.seeds == 2 and row.nll and row.nll > 0 for row in answer.rows)
    files = {file: file.stat().st_mtime_ns for file in out.iterdir()}
    assert len(files) == 6
    assert ablate([study], "uci", seeds=2, out=out, quiet=True) == first
    assert {file: file.stat().st_mtime_ns for file in out.iterdir()} == files


@pytest.mark.usefixtures("trained")
def test_result_is_json(study: Path, tmp_path: Path) -> None:
    """The result's fields are what --json prints."""
    result = asdict(ablate([study], "uci", seeds=2, out=tmp_path / "out", quiet=True))
    (answer,) = result["studies"]
    assert list(answer) == ["study", "question", "baseline", "held_out", "rows"]
    assert list(answer["held_out"]) == ["spec", "sha256", "n"]
    assert json.loads(json.dumps(result)) == result | {
        "studies": [answer | {"rows": json.loads(json.dumps(answer["rows"]))}]
    }


def test_shared_variants_are_trained_once(study: Path, tmp_path: Path, trained: list[Path]) -> None:
    """A variant that stands in two studies, by whatever label, is trained once; another seed or size is another."""
    other = tmp_path / "again.toml"
    other.write_text(STUDY.replace("narrow", "slim"))
    result = ablate([study, other], seeds=3, data="uci", out=tmp_path / "out", quiet=True)
    assert len(trained) == len(set(trained)) == 9
    assert [row.seeds for each in result.studies for row in each.rows] == [3] * 6
    ablate([study], seeds=4, data="uci", out=tmp_path / "out", quiet=True)
    assert len(trained) == 12


@pytest.mark.usefixtures("trained")
def test_records(study: Path, tmp_path: Path) -> None:
    """With `record` each variant becomes one line with all its seeds, named as an ablation's."""
    ablate([study], seeds=2, data="uci", out=tmp_path / "out", record=tmp_path / "r" / "a.jsonl", quiet=True)
    found = [Result.model_validate_json(line) for line in (tmp_path / "r" / "a.jsonl").read_text().splitlines()]
    assert [(each.protocol, each.study, each.variant) for each in found] == [
        ("ablation", "width", label) for label in ("narrow", "wide", "narrow, few")
    ]
    assert [trial.accuracy for trial in found[0].trials] == [0.9, 0.91]
    assert (found[2].train_data.n, found[0].test_data.spec) == (100, "uci, held out")


@pytest.mark.usefixtures("trained")
def test_foreign_files_are_named(study: Path, tmp_path: Path) -> None:
    """A file in the folder that holds something else, or comes from another machine, is named and not used."""
    out = tmp_path / "out"
    ablate([study], seeds=2, data="uci", out=out, quiet=True)
    loaded = ablations.load(study)
    file = next(file for file in out.iterdir() if file.name.endswith("-1.json"))
    content = file.read_text()
    file.write_text(content.replace("Example CPU", "Other CPU"))
    with pytest.raises(RunError, match="several machines"):
        ablate([study], seeds=2, data="uci", out=out, quiet=True)
    file.write_text("{}")
    with pytest.raises(RunError, match=f"'{file}' cannot be used"):
        ablate([study], seeds=2, data="uci", out=out, quiet=True)
    assert loaded.name == "width"


@pytest.mark.usefixtures("trained")
def test_bad_input(study: Path, tmp_path: Path) -> None:
    """Each mistake is found before anything is trained."""
    with pytest.raises(RecipeError, match="Two ablations are called 'width'"):
        ablate([study, study], data="uci", out=tmp_path / "out", quiet=True)
    study.write_text(STUDY.replace('"conv 8", "pool", "conv 16"', '"conv 8", "pol"'))
    with pytest.raises(RecipeError, match="'pol'"):
        ablate([study], data="uci", out=tmp_path / "out", quiet=True)
    with pytest.raises(DataError, match="'nothing'"):
        ablate(["kernel"], data="nothing", out=tmp_path / "out", quiet=True)
    with pytest.raises(DataError, match="'training-size, 2,000' asks for '2,000' images, and 'uci' leaves 1,198"):
        ablate(["training-size"], data="uci", out=tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("trained")
def test_command(study: Path, tmp_path: Path) -> None:
    """The command prints the table for people and the JSON for programs."""
    words = ["ablate", str(study), "--data", "uci", "--seeds", "2", "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "Does a wider network read better?" in done.stderr
    assert json.loads(done.stdout)["studies"][0]["rows"][1]["variant"] == "wide"
    assert CliRunner().invoke(app, [*words, "--quiet"]).stderr == ""


def test_a_failed_training_is_named(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a training fails, or its process is killed, the error says which; where the place is none, what is one."""

    def run_tasks(tasks: Any, **options: Any) -> bool:
        options["failed"](list(tasks)[1], "The loss is 'nan'.")
        return True

    monkeypatch.setattr(module, "run_tasks", run_tasks)
    with pytest.raises(TrainingError, match="width, narrow, seed 1: The loss is 'nan'."):
        ablate([study], "uci", seeds=2, out=tmp_path / "out", quiet=True)
    with pytest.raises(ClusterError, match="--on 'cloud' is no place to compute"):
        ablate([study], "uci", out=tmp_path / "out", on="cloud", quiet=True)


def test_an_interrupted_call_keeps_what_is_done(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C says that the same command resumes."""

    def run_tasks(tasks: list[Task], **options: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run_tasks", run_tasks)
    with pytest.raises(KeyboardInterrupt):
        ablate([study], "uci", out=tmp_path / "out")
    assert "the same command resumes from there" in capsys.readouterr().err


def test_list() -> None:
    """`--list` prints a line for each shipped ablation, its name first, and needs no other word."""
    done = CliRunner().invoke(app, ["ablate", "--list"])
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ablations.available()


def test_errors_are_one_line() -> None:
    """An unknown ablation is one line, with the nearest known one."""
    done = CliRunner().invoke(app, ["ablate", "dropuot", "--data", "uci"])
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: No ablation is called 'dropuot'. Did you mean 'dropout'?")


def test_a_subset_is_judged_alone(study: Path, trained: list[Path], tmp_path: Path) -> None:
    """With a subset so many images are split, and what was trained on all of them is another training."""
    rows = ablate(str(study), "uci", seeds=1, subset=600, out=str(tmp_path / "out"), quiet=True).studies[0].rows
    assert [row.images for row in rows] == [500, 500, 100]
    ablate(str(study), "uci", seeds=1, out=str(tmp_path / "out"), quiet=True)
    assert len(trained) == len(set(trained)) == 6
