"""Tables: a document's blocks are made from the results and nothing else, and staleness is noticed."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tables
from records import NOTHING
from systems import SystemTrial

from tenfold.runs import results

START, END = "<!-- results:speed:start -->", "<!-- results:speed:end -->"
Make = Callable[..., Any]


@pytest.fixture
def readme(tmp_path: Path, result: Make) -> Path:
    """A README with markers and a results folder beside it that holds one result."""
    document = tmp_path / "README.md"
    document.write_bytes(f"# Title\r\nbefore\n\n{START}\nold\n{END}\n\nafter é\n".encode())
    results.append(tmp_path / "results" / "mnist.jsonl", result())
    return document


def test_check_and_write(readme: Path, result: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """A stale README fails the check with what to run; writing mends the table, touches nothing else, and is stable."""
    assert tables.main(["--check", str(readme)]) == 1
    stale = f"Error: In '{readme}' these tables are stale: 'speed'. Run: python benchmarks/tables.py --write {readme}"
    assert stale in capsys.readouterr().err
    assert tables.main(["--write", str(readme)]) == 0
    assert tables.main(["--check", str(readme)]) == 0
    text = readme.read_bytes().decode()
    assert text.startswith(f"# Title\r\nbefore\n\n{START}\n**mnist:test")
    assert text.endswith(f"|\n{END}\n\nafter é\n")
    results.append(
        readme.parent / "results" / "mnist.jsonl", result(trials=[SystemTrial(seed=0, accuracy=0.5, seconds=1)])
    )
    assert tables.main(["--check", str(readme)]) == 1
    assert not list(readme.parent.glob("*.tmp")) + list(readme.parent.glob(".*.tmp"))


def test_no_results_and_no_markers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without results the place says so; without markers, or a document, the error says what to do."""
    document = tmp_path / "README.md"
    document.write_text(f"{START}\n{END}\n")
    assert tables.main(["--write", str(document)]) == 0
    assert NOTHING in document.read_text()
    document.write_text("no markers")
    assert tables.main(["--check", str(document)]) == 1
    assert "no markers" not in (error := capsys.readouterr().err)
    assert "has no place for tables. Add the lines '<!-- results:NAME:start -->'" in error
    assert document.read_text() == "no markers"
    assert tables.main(["--check", str(tmp_path / "none.md")]) == 1
    assert "none.md' (No such file or directory)" in capsys.readouterr().err


def test_the_module_runs(readme: Path) -> None:
    """`python benchmarks/tables.py --check` exits with 1 on a stale document and one line on stderr."""
    command = [sys.executable, tables.__file__, "--check", str(readme)]
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


def test_documents_below_the_results(readme: Path, result: Make) -> None:
    """A document in docs/ is made from results/ one folder above, several documents at once."""
    document = readme.parent / "docs" / "results.md"
    document.parent.mkdir()
    document.write_text("<!-- results:reproduced-mnist:start -->\n<!-- results:reproduced-mnist:end -->\n")
    results.append(readme.parent / "results" / "reproduced.jsonl", result("two-conv", protocol="mnist"))
    assert tables.main(["--write", str(readme), str(document)]) == 0
    assert "two-conv" in document.read_text()
    assert "two-conv" not in readme.read_text()
    assert tables.main(["--check", str(readme), str(document)]) == 0


def test_every_block_of_the_documents_is_made() -> None:
    """No two scripts make a block of the same name, and each name stands in a document."""
    names = [name for script in tables.SCRIPTS for name in script.BLOCKS]
    assert len(names) == len(set(names))
    root = Path(tables.__file__).parents[1]
    documents = [root / "README.md", root / "src/tenfold/pretrained/card.md", *(root / "docs").glob("*.md")]
    text = "".join(document.read_text() for document in documents)
    assert [name for name in names if f"<!-- results:{name}:start -->" not in text] == []
