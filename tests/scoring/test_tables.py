"""Tables: a document's blocks are made from the results and nothing else, and staleness is noticed."""

import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tenfold.pages import result_tables
from tenfold.runs import results
from tenfold.runs.results import DataUsed, Result, Trial
from tenfold.scoring import tables
from tenfold.training.recipe import Published, available

START, END = "<!-- results:speed:start -->", "<!-- results:speed:end -->"
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


def test_score_row() -> None:
    """The row gives mean and sample standard deviation, the interval of the mean, errors, seeds and seconds."""
    found = cells(result_tables.speed([result()]), "fast")
    deviation = 100 * statistics.stdev([0.9970, 0.9972, 0.9974])
    assert deviation == pytest.approx(0.02)
    assert found == ["`fast`", "99.720 ± 0.020", "99.60 to 99.81", "28.0 of 10,000", "3", "59.0", "63.0", "214,000"]


def test_one_seed_has_no_deviation_and_unknown_is_a_dash() -> None:
    """A single seed shows no spread, and what was not measured shows as a dash."""
    single = result(trials=[Trial(seed=0, accuracy=0.99, seconds=3.456)], parameters=None)
    assert cells(result_tables.speed([single]), "fast")[1:] == [
        "99.000",
        "98.79 to 99.18",
        "100 of 10,000",
        "1",
        "3.46",
        "–",
        "–",
    ]


def test_the_newest_counts_and_machines_stand_apart() -> None:
    """A recipe's newest result replaces older ones on its machine only; the quickest recipe stands first."""
    gpu = MACHINE | {"device": "Example GPU"}
    quick = [Trial(seed=0, accuracy=0.99, seconds=2.0)]
    text = result_tables.speed(
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
    text = result_tables.speed(
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
    assert tables.main(["--check", str(readme)]) == 1
    stale = (
        f"Error: In '{readme}' these tables are stale: 'speed'. Run: python -m tenfold.scoring.tables --write {readme}"
    )
    assert stale in capsys.readouterr().err
    assert tables.main(["--write", str(readme)]) == 0
    assert tables.main(["--check", str(readme)]) == 0
    text = readme.read_bytes().decode()
    assert text.startswith(f"# Title\r\nbefore\n\n{START}\n**mnist:test")
    assert text.endswith(f"|\n{END}\n\nafter é\n")
    results.append(readme.parent / "results" / "mnist.jsonl", result(trials=[Trial(seed=0, accuracy=0.5, seconds=1)]))
    assert tables.main(["--check", str(readme)]) == 1
    assert not list(readme.parent.glob("*.tmp")) + list(readme.parent.glob(".*.tmp"))


def test_no_results_and_no_markers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without results the place says so; without markers, or a document, the error says what to do."""
    document = tmp_path / "README.md"
    document.write_text(f"{START}\n{END}\n")
    assert tables.main(["--write", str(document)]) == 0
    assert "No results are recorded yet." in document.read_text()
    document.write_text("no markers")
    assert tables.main(["--check", str(document)]) == 1
    assert "no markers" not in (error := capsys.readouterr().err)
    assert "has no place for tables. Add the lines '<!-- results:NAME:start -->'" in error
    assert document.read_text() == "no markers"
    assert tables.main(["--check", str(tmp_path / "none.md")]) == 1
    assert "none.md' (No such file or directory)" in capsys.readouterr().err


def test_the_module_runs(readme: Path) -> None:
    """`python -m tenfold.scoring.tables --check` exits with 1 on a stale document and one line on stderr."""
    command = [sys.executable, "-m", "tenfold.scoring.tables", "--check", str(readme)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- results:sped:start -->\n<!-- results:sped:end -->", "has a table 'sped'. Did you mean 'speed'?"),
        (f"{START}\nno end", f"has '{START}' by itself"),
        (f"{END}\n{START}\n{END}", f"has '{END}' by itself"),
        (f"{START}\n<!-- results:leak:end -->", f"has '{START}' by itself"),
        ("<!-- results:start -->\n<!-- results:end -->", "has '<!-- results:start -->' by itself"),
    ],
)
def test_a_document_with_broken_blocks(
    readme: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    """A block of an unknown name, or with one end alone, is an error that quotes it; nothing is written."""
    readme.write_text(text)
    assert tables.main(["--write", str(readme)]) == 1
    assert message in capsys.readouterr().err
    assert readme.read_text() == text


def test_documents_below_the_results(readme: Path) -> None:
    """A document in docs/ is made from results/ one folder above, several documents at once."""
    document = readme.parent / "docs" / "results.md"
    document.parent.mkdir()
    document.write_text("<!-- results:reproduced-mnist:start -->\n<!-- results:reproduced-mnist:end -->\n")
    results.append(readme.parent / "results" / "reproduced.jsonl", result("two-conv", protocol="mnist"))
    assert tables.main(["--write", str(readme), str(document)]) == 0
    assert "two-conv" in document.read_text()
    assert "two-conv" not in readme.read_text()
    assert tables.main(["--check", str(readme), str(document)]) == 0


def test_reproduced_row() -> None:
    """A protocol's table has the published score beside ours, and whether it was reached; the order is fixed."""
    records = [
        result("two-conv", protocol="mnist"),
        result("fast", protocol="mnist"),
        result("dense-128", protocol="mnist", trials=[Trial(seed=0, accuracy=0.5, seconds=3)]),
        result("two-conv", protocol="kaggle"),
        result("two-conv", protocol="ablation", study="kernel"),
    ]
    table = result_tables.reproduced("mnist")(records)
    assert table.index("`dense-128`") < table.index("`two-conv`") < table.index("`fast`")
    assert table.count("two-conv") == 1
    assert cells(table, "two-conv") == [
        "`two-conv`", "MNIST's test images", "98.88", "99.720 ± 0.020", "99.60 to 99.81", "yes", "28.0 of 10,000",
        "3", "59.0", "214,000",
    ]  # fmt: skip
    assert cells(table, "dense-128")[5] == "**no**"
    assert cells(table, "fast")[1:3] == ["–", "–"]
    assert result_tables.reproduced("mnist")(records[3:]) == "No results are recorded yet."


def test_the_nearest_published_score() -> None:
    """A protocol shows the score nearest to it, and compares only what was measured alike and without a leak."""
    both = Published(test=0.99, validation=0.98, kaggle=0.97, source="a page")
    assert result_tables.published(both, "mnist")[:2] == (0.99, "test")  # type: ignore[index]
    assert result_tables.published(both, "kaggle")[:2] == (0.98, "validation")  # type: ignore[index]
    leaderboard = Published(kaggle=0.97, source="a page")
    on_test, on_kaggle = (result_tables.published(leaderboard, protocol) for protocol in ("mnist", "kaggle"))
    assert on_test is not None
    assert on_kaggle is not None
    assert (on_test.met(0.99), on_kaggle.met(0.97), on_kaggle.met(0.9699)) == (None, True, False)
    leaked = result_tables.published(Published(kaggle=0.97, source="a page", leaked=True), "kaggle")
    assert leaked is not None
    assert leaked.met(0.99) is None
    assert result_tables.published(None, "mnist") is None


def test_every_shipped_recipe_has_its_place() -> None:
    """The order of the tables names every shipped recipe once."""
    assert len(set(result_tables.SYSTEMS)) == len(result_tables.SYSTEMS)
    assert set(available()) <= set(result_tables.SYSTEMS)
    assert result_tables.in_order(["zebra", "fast", "svm", "ape"]) == ["svm", "fast", "ape", "zebra"]
