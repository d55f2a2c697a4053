"""The notebooks run from top to bottom, and are kept without what running them shows."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the hook that runs notebooks for the site."""
    pytest.importorskip("nbclient", reason="needs nbclient, of the extra dev")
    pytest.importorskip("ipykernel", reason="needs ipykernel, of the extra dev")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delitem(sys.modules, "site_pages", raising=False)
    import site_pages

    return site_pages


def run(pages: ModuleType, name: str) -> str:
    """Return the page that a notebook makes when it is run."""
    text: str = pages.markdown_of(pages.executed(ROOT / "notebooks" / f"{name}.ipynb"), name)[0]
    return text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_kept_without_outputs(path: Path) -> None:
    """A notebook is committed as it is before it is run."""
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert [cell["outputs"] for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []


def test_all_are_pages(pages: ModuleType) -> None:
    """Every notebook is a page of the site."""
    assert [path for path in NOTEBOOKS if f"notebooks/{path.name}" not in pages.PAGES] == []


@pytest.mark.slow
def test_integrator_reads_its_pictures(pages: ModuleType) -> None:
    """The integrator's notebook reads every digit that it draws, and refuses what is none."""
    text = run(pages, "integrator")
    assert "7 0.99" in text
    assert text.count("0 1 2 3 4 5 6 7 8 9\n") == 4
    assert "empty     blank" in text
    assert text.count("not a digit\n") >= 3
    assert "cannot promise" in text


@pytest.mark.slow
def test_learner_ends_with_a_submission(pages: ModuleType) -> None:
    """The learner's notebook goes from Kaggle's files, or their stand-in, to a submission with a row an image."""
    text = run(pages, "learner")
    assert "The stand-in" in text
    assert text.count("srcdoc=") == 2 + 1  # explore's page and the report; and the line that shows them
    assert "ImageId,Label\n1," in text
    assert "360 answers" in text


@pytest.mark.slow
def test_teacher_compares_and_ablates(pages: ModuleType) -> None:
    """The teacher's notebook tests four systems in pairs, and measures what dropout is worth with its interval."""
    text = run(pages, "teacher")
    assert text.count("of 360 |") == 4
    assert "| knn | instant |" in text
    assert "3 seeds, " in text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["learner", "teacher"])
def test_says_what_to_install(pages: ModuleType, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyTorch, a notebook that trains stops at its first cell, with one line that says what to install."""
    from nbclient.exceptions import CellExecutionError

    (tmp_path / "sitecustomize.py").write_text('import sys\n\nsys.modules["torch"] = None\n')
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    with pytest.raises(CellExecutionError) as caught:
        run(pages, name)
    assert caught.value.ename == "SystemExit"
    assert caught.value.evalue == "PyTorch is not installed, and training needs it. Run: pip install 'tenfold[train]'"
