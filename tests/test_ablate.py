"""`tenfold ablate`: variants judged on the same held-out images, nothing trained twice, a record a variant."""

import json
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tenfold import ablate as module
from tenfold.ablate import Outcome, ablate
from tenfold.cli import app
from tenfold.data.digits import image_hashes
from tenfold.errors import DataError, RecipeError, RunError, TrainingError
from tenfold.runs import results
from tenfold.runs.results import Trial
from tenfold.training import ablation as ablations

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
def trained(monkeypatch: pytest.MonkeyPatch) -> list[module.Job]:
    """Train nothing: a job's accuracy is 0.9 plus its seed in hundredths; the list grows by each job that was done."""
    done: list[module.Job] = []

    def train_all(jobs: dict[Any, list[module.Job]], workers: int, console: Any) -> None:
        for job in (job for seeds in jobs.values() for job in seeds if not job.file.exists()):
            outcome = Outcome(
                config_sha256=job.recipe.config_hash(),
                trial=Trial(seed=job.seed, accuracy=0.9 + job.seed / 100, nll=0.1, seconds=1.0),
                parameters=10,
                epochs=1.0,
                machine={"cpu": "Example CPU", "threads": 1},
                versions={},
                commit="abc",
            )
            job.file.parent.mkdir(parents=True, exist_ok=True)
            job.file.write_text(outcome.model_dump_json())
            done.append(job)

    monkeypatch.setattr(module, "_train_all", train_all)
    return done


@pytest.mark.slow
def test_trains_side_by_side_and_goes_on(study: Path, tmp_path: Path) -> None:
    """Two processes train every variant with every seed; the same command again trains nothing and says the same."""
    out = tmp_path / "out"
    first = ablate([study], seeds=2, data="uci", out=out, workers=2, quiet=True)
    (answer,) = first["studies"]
    assert (answer["study"], answer["baseline"], answer["held_out"]["n"]) == ("width", "narrow", 239)
    assert [row["variant"] for row in answer["rows"]] == ["narrow", "wide", "narrow, few"]
    assert [row["images"] for row in answer["rows"]] == [1198, 1198, 100]
    assert all(row["seeds"] == 2 and row["nll"] > 0 for row in answer["rows"])
    files = {file: file.stat().st_mtime_ns for file in out.iterdir()}
    assert len(files) == 6
    assert ablate([study], seeds=2, data="uci", out=out, quiet=True) == first
    assert {file: file.stat().st_mtime_ns for file in out.iterdir()} == files


@pytest.mark.slow
def test_a_training_is_reproducible(study: Path, tmp_path: Path) -> None:
    """The same variant and seed give the same answers, so what another study trained can be taken over."""
    loaded = ablations.load(study)
    jobs = [module._job(loaded, loaded.variants[2], 0, "uci", "s", tmp_path / name) for name in ("a", "b")]
    first, second = (module._train(job).trial for job in jobs)
    assert (first.accuracy, first.nll) == (second.accuracy, second.nll)


def test_held_out_images_are_the_same_for_all() -> None:
    """A sixth of the images is held out, and none of them is trained on."""
    training, held_out = module._parts("uci")
    assert len(held_out) == (len(training) + len(held_out)) // 6
    assert not np.isin(image_hashes(held_out.images), image_hashes(training.images)).any()


def test_shared_variants_are_trained_once(study: Path, tmp_path: Path, trained: list[module.Job]) -> None:
    """A variant that stands in two studies, by whatever label, is trained once; another seed or size is another."""
    other = tmp_path / "again.toml"
    other.write_text(STUDY.replace("narrow", "slim"))
    result = ablate([study, other], seeds=3, data="uci", out=tmp_path / "out", quiet=True)
    assert len(trained) == len({job.file for job in trained}) == 9
    assert [row["seeds"] for each in result["studies"] for row in each["rows"]] == [3] * 6
    ablate([study], seeds=4, data="uci", out=tmp_path / "out", quiet=True)
    assert len(trained) == 12


@pytest.mark.usefixtures("trained")
def test_records(study: Path, tmp_path: Path) -> None:
    """With `record` each variant becomes one line with all its seeds, named as an ablation's."""
    ablate([study], seeds=2, data="uci", out=tmp_path / "out", record=tmp_path / "r" / "a.jsonl", quiet=True)
    found = results.read(tmp_path / "r" / "a.jsonl")
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


@pytest.mark.parametrize(
    ("error", "words"), [(TrainingError("The loss."), "wide, 1: The loss."), (BrokenProcessPool(), "--workers 1")]
)
def test_a_failed_training_is_named(error: Exception, words: str) -> None:
    """Where a training fails, or its process is killed, the error says which."""

    def result() -> Outcome:
        raise error

    with pytest.raises(TrainingError, match=words):
        module._finished("wide, 1", result)


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
