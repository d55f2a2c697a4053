"""Results: what is recorded can be read back, and the README's tables are made from it and nothing else."""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tenfold.errors import DataError, RunError
from tenfold.scoring import results
from tenfold.scoring.results import END, START, DataUsed, Result, Trial

MACHINE: dict[str, Any] = {"cpu": "Example CPU", "cores": 2, "threads": 2, "device": "cpu", "precision": "bf16"}


def result(recipe: str = "fast", **changes: Any) -> Result:
    """A result of three seeds, 0.9970, 0.9972 and 0.9974, in 58, 59 and 60 seconds."""
    values: dict[str, Any] = {
        "time": "2026-01-01T00:00:00+00:00",
        "recipe": recipe,
        "config_sha256": "c" * 64,
        "commit": "abc",
        "machine": MACHINE,
        "versions": {"python": "3.11.2"},
        "train_data": DataUsed(spec="mnist:train", sha256="a" * 64, n=60_000),
        "test_data": DataUsed(spec="mnist:test", sha256="b" * 64, n=10_000),
        "parameters": 214_000,
        "epochs": 4.0,
        "trials": [
            Trial(seed=i, accuracy=0.9970 + 0.0002 * i, seconds=58.0 + i, command_seconds=62.0 + i) for i in range(3)
        ],
    }
    return Result(**(values | changes))


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    """A README with markers and a results folder beside it that holds one result."""
    document = tmp_path / "README.md"
    document.write_bytes(f"# Title\r\nbefore\n\n{START}\nold\n{END}\n\nafter é\n".encode())
    results.append(tmp_path / "results" / "mnist.jsonl", result())
    return document


def cells(table: str, recipe: str) -> list[str]:
    """Return the cells of a recipe's first row."""
    line = next(line for line in table.splitlines() if line.startswith(f"| `{recipe}`"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_round_trip(tmp_path: Path) -> None:
    """What is appended is read back equal, oldest first over all files, and earlier lines keep their bytes."""
    first, second = result(), result("instant", time="2026-02-01T00:00:00+00:00", note="n|1\n")
    results.append(tmp_path / "b.jsonl", second)
    before = (tmp_path / "b.jsonl").read_bytes()
    results.append(tmp_path / "b.jsonl", second)
    results.append(tmp_path / "a.jsonl", first)
    assert (tmp_path / "b.jsonl").read_bytes() == before * 2
    assert results.read(tmp_path) == [first, second, second]
    assert results.read(tmp_path / "nothing") == []


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("{", "JSON"),
        ('{"recipe": "fast"}', "Field required"),
        (json.dumps(result().model_dump() | {"extra": 1}), "extra"),
        (json.dumps(result().model_dump() | {"trials": []}), "trials"),
        (json.dumps(result().model_dump()).replace("0.9972", "99.72"), r"trials\.1\.accuracy"),
    ],
)
def test_a_line_that_is_no_result_is_named(tmp_path: Path, line: str, named: str) -> None:
    """A line that is not a result is an error with its file, its number and what is wrong."""
    results.append(tmp_path / "r.jsonl", result())
    with (tmp_path / "r.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=rf"r\.jsonl' line 2 .*{named}"):
        results.read(tmp_path)


def test_score_row() -> None:
    """The row gives mean and sample standard deviation, the interval of the mean, errors, seeds and seconds."""
    found = cells(results.render([result()]), "fast")
    deviation = 100 * statistics.stdev([0.9970, 0.9972, 0.9974])
    assert deviation == pytest.approx(0.02)
    assert found == ["`fast`", "99.720 ± 0.020", "99.60 to 99.81", "28.0 of 10,000", "3", "59.0", "63.0", "214,000"]


def test_one_seed_has_no_deviation_and_unknown_is_a_dash() -> None:
    """A single seed shows no spread, and what was not measured shows as a dash."""
    single = result(trials=[Trial(seed=0, accuracy=0.99, seconds=3.456)], parameters=None)
    assert cells(results.render([single]), "fast")[1:] == [
        "99.000",
        "98.79 to 99.18",
        "100.0 of 10,000",
        "1",
        "3.46",
        "–",
        "–",
    ]


def test_the_newest_counts_and_machines_stand_apart() -> None:
    """A recipe's newest result replaces older ones on its machine only; the quickest recipe stands first."""
    gpu = MACHINE | {"device": "Example GPU"}
    quick = [Trial(seed=0, accuracy=0.99, seconds=2.0)]
    text = results.render(
        [
            result("fast"),
            result("instant", trials=quick),
            result("fast", trials=[Trial(seed=0, accuracy=0.5, seconds=61.0)]),
            result("fast", machine=gpu),
        ]
    )
    assert cells(text, "fast")[1] == "50.000"
    assert text.count("| `fast` |") == 2
    assert text.index("`instant`") < text.index("`fast`")
    assert "**mnist:test on Example CPU, 2 threads**" in text
    assert "**mnist:test on Example GPU**" in text


def test_speed_table() -> None:
    """Seconds to each accuracy stand in a second table, with how many times faster than the tutorial each system is."""
    text = results.render(
        [
            result("tutorial", seconds_to={"0.99": 120.0, "0.9917": 430.0, "0.997": None}),
            result("instant", seconds_to={"0.99": 1.5, "0.9917": 3.5, "0.997": None}),
            result("strong"),
        ]
    )
    speed = text[text.index("| seconds to a mean of") :]
    assert "| 99% | 99.17% | 99.7% | times faster to 99.17% |" in speed
    assert cells(speed, "instant") == ["`instant`", "1.50", "3.50", "–", "123"]
    assert cells(speed, "tutorial") == ["`tutorial`", "120", "430", "–", "1"]
    assert "strong" not in speed


def test_check_and_write(readme: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stale README fails the check with what to run; writing mends the table, touches nothing else, and is stable."""
    assert results.main(["--check", str(readme)]) == 1
    assert f"Error: The tables in '{readme}' are stale. Run: python -m tenfold.scoring.results --write" in (
        capsys.readouterr().err
    )
    assert results.main(["--write", str(readme)]) == 0
    assert results.main(["--check", str(readme)]) == 0
    text = readme.read_bytes().decode()
    assert text.startswith(f"# Title\r\nbefore\n\n{START}\n**mnist:test")
    assert text.endswith(f"|\n{END}\n\nafter é\n")
    results.append(readme.parent / "results" / "mnist.jsonl", result(trials=[Trial(seed=0, accuracy=0.5, seconds=1)]))
    assert results.main(["--check", str(readme)]) == 1
    assert not list(readme.parent.glob("*.tmp")) + list(readme.parent.glob(".*.tmp"))


def test_no_results_and_no_markers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without results the place says so; without markers, or a document, the error says what to do."""
    document = tmp_path / "README.md"
    document.write_text(f"{START}\n{END}\n")
    assert results.main(["--write", str(document)]) == 0
    assert "No results are recorded yet." in document.read_text()
    document.write_text("no markers")
    assert results.main(["--check", str(document)]) == 1
    assert START in capsys.readouterr().err
    assert document.read_text() == "no markers"
    assert results.main(["--check", str(tmp_path / "none.md")]) == 1
    assert "none.md' (No such file or directory)" in capsys.readouterr().err


def test_the_module_runs(readme: Path) -> None:
    """`python -m tenfold.scoring.results --check` exits with 1 on a stale document and one line on stderr."""
    command = [sys.executable, "-m", "tenfold.scoring.results", "--check", str(readme)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1


def fake_run(folder: Path, seed: int, accuracies: list[float], config: str = "c1", near: int = 0) -> Any:
    """A run's folder with an evaluation for each accuracy."""
    folder.mkdir()
    data = {"spec": "mnist:test", "sha256": "t", "n": 10_000}
    look = {"data": data, "overlap": {"exact": 0, "near": near}}
    lines = [json.dumps(look | {"accuracy": accuracy}) + "\n" for accuracy in accuracies]
    if lines:
        (folder / "evaluations.jsonl").write_text("".join(lines))
    manifest = {
        "data": {"spec": "/somewhere/train.csv", "sha256": "d", "n_train": 60_000, "n_validation": 0},
        "seed": seed,
        "status": "finished",
        "seconds": 58.0 + seed,
        "epochs": 4.0,
        "machine": MACHINE,
        "versions": {"python": "3.11.2"},
        "commit": None,
        "parameters": 214_000,
    }
    recipe = SimpleNamespace(name="fast", config_hash=lambda: config)
    return SimpleNamespace(path=folder, recipe=recipe, manifest=manifest)


def test_from_runs(tmp_path: Path) -> None:
    """Runs that differ by seed become one result, each with its newest evaluation."""
    runs = [fake_run(tmp_path / "a", 0, [0.99, 0.9971]), fake_run(tmp_path / "b", 1, [0.9973])]
    found = results.from_runs(runs)
    assert found.trials == [
        Trial(seed=0, accuracy=0.9971, seconds=58.0),
        Trial(seed=1, accuracy=0.9973, seconds=59.0),
    ]
    assert (found.recipe, found.config_sha256, found.epochs) == ("fast", "c1", 4.0)
    assert found.train_data == DataUsed(spec="train.csv", sha256="d", n=60_000)
    assert found.test_data == DataUsed(spec="mnist:test", sha256="t", n=10_000)


def test_from_runs_that_do_not_belong_together(tmp_path: Path) -> None:
    """A run without an evaluation, one of another configuration, and one cut short are refused by name."""
    first = fake_run(tmp_path / "a", 0, [0.99])
    with pytest.raises(RunError, match="b' has no evaluation"):
        results.from_runs([first, fake_run(tmp_path / "b", 1, [])])
    with pytest.raises(RunError, match="c' differs from '.*a'"):
        results.from_runs([first, fake_run(tmp_path / "c", 1, [0.99], config="c2")])
    cut_short = fake_run(tmp_path / "d", 1, [0.99])
    cut_short.manifest["status"] = "out_of_time"
    with pytest.raises(RunError, match="d' is 'out_of_time'"):
        results.from_runs([first, cut_short])


def test_from_runs_that_saw_the_test_set(tmp_path: Path) -> None:
    """A run that was trained on images it was scored on gives no result."""
    with pytest.raises(RunError, match="a' was trained on '7' of the images it was scored on"):
        results.from_runs([fake_run(tmp_path / "a", 0, [0.9999], near=7)])
