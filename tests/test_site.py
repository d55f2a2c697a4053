"""The documentation's site: all that is public is in it, its links stay inside, and nothing comes from elsewhere."""

import inspect
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import tenfold
from tenfold import errors
from tenfold.cli import VERBS

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "guide"


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the hook that makes the site's pages."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delitem(sys.modules, "site_pages", raising=False)
    import site_pages

    return site_pages


def referenced(page: str) -> list[str]:
    """Return the names that a page of the reference documents."""
    return re.findall(r"^::: tenfold\.([\w.]+)$", (GUIDE / page).read_text(encoding="utf-8"), re.MULTILINE)


def test_reference_has_what_tenfold_offers() -> None:
    """Every name that `import tenfold` offers is in the reference."""
    documented = {name.rpartition(".")[2] for name in referenced("python.md")}
    assert set(tenfold.__all__) - {"__version__"} - documented == set()


def test_reference_has_every_command() -> None:
    """Every command has its function in the reference, and no other is there."""
    assert {name for name in referenced("verbs.md") if "." not in name} == VERBS.keys()


def test_reference_has_every_error() -> None:
    """Every error that Tenfold raises on purpose is in the reference."""
    (members,) = re.findall(r"members: \[(.*)\]", (GUIDE / "errors.md").read_text(encoding="utf-8"))
    raised = [
        name for name, kind in vars(errors).items() if inspect.isclass(kind) and kind.__module__ == errors.__name__
    ]
    assert members.split(", ") == sorted(raised, key=members.split(", ").index)


@pytest.mark.parametrize(
    ("page", "given", "led"),
    [
        ("data.md", "[the README](../README.md#training)", "[the README](guide/commands.md#training)"),
        ("index.md", "[first](../notebooks/learner.ipynb)", "[first](guide/learner.md)"),
        ("results.md", "[the results](../results)", "the results"),
        ("leak.md", "[the results](results.md)", "[the results](results.md)"),
        ("guide/commands.md", "[data](docs/data.md)", "[data](../data.md)"),
        ("guide/commands.md", '<img src="docs/report.png">', '<img src="../report.png">'),
        ("guide/commands.md", "[notes](CHANGELOG.md)", "[notes](changelog.md)"),
        ("guide/python.md", "[a page](https://example.org/x.md)", "[a page](https://example.org/x.md)"),
        ("data.md", "[nowhere](../missing.md)", "[nowhere](../missing.md)"),
        ("LOG.md", "widths [32] [64, 64]", r"widths [32] \[64, 64]"),
        ("data.md", "`[a](../README.md)`", "`[a](../README.md)`"),
        ("data.md", "\n```\n[a](../README.md)\n```\n", "\n```\n[a](../README.md)\n```\n"),
    ],
)
def test_links_stay_in_the_site(pages: ModuleType, page: str, given: str, led: str) -> None:
    """A link leads to a page of the site, or is text where there is none; MkDocs reports what leads nowhere."""
    assert pages.relinked(f"See {given}.", page) == f"See {led}."


def test_notebook_becomes_a_page(pages: ModuleType) -> None:
    """A notebook's page has its words, its code and what the code showed: text, tables, pages and pictures."""
    nbformat = pytest.importorskip("nbformat", reason="needs nbclient, of the extra dev")
    v4 = nbformat.v4
    shown = [
        v4.new_output("stream", name="stdout", text="12 wrong\n"),
        v4.new_output("display_data", {"image/png": "aGVsbG8=", "text/plain": "<Image>"}),
        v4.new_output("display_data", {"text/html": "<div>page</div>", "text/plain": "<HTML>"}),
        v4.new_output("execute_result", {"text/markdown": "| a |", "text/plain": "<Markdown>"}),
    ]
    cells = [v4.new_markdown_cell("# Title"), v4.new_code_cell("print(1)", outputs=shown)]
    text, pictures = pages.markdown_of(v4.new_notebook(cells=cells), "some")
    assert text.split("\n\n") == [
        "# Title",
        "```python\nprint(1)\n```",
        "```text\n12 wrong\n```",
        "![What the cell above shows](some-1.png)",
        "<div>page</div>",
        "| a |\n",
    ]
    assert pictures == {"some-1.png": b"hello"}


@pytest.mark.slow
def test_site_builds(tmp_path: Path) -> None:
    """The site builds without a warning, loads nothing from elsewhere, and its search knows the docstrings.

    The notebooks are run by their own tests, so here they stand as they are.
    """
    pytest.importorskip("mkdocstrings", reason="needs the extra docs")
    pytest.importorskip("nbformat", reason="needs nbclient, of the extra dev")
    import nbformat
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path))
    hook = dict(config.hooks)["benchmarks/site_pages.py"]
    hook.executed = lambda path: nbformat.read(path, as_version=4)
    config.plugins.on_startup(command="build", dirty=False)
    build(config)  # strict: a warning ends it
    loads = re.compile(r"<(?:script|img|iframe)\b[^>]*\bsrc=\"?(?:https?:)?//|<link\b[^>]*\bhref=\"?(?:https?:)?//")
    written = list(tmp_path.rglob("*.html"))
    assert [file.name for file in written if loads.search(file.read_text(encoding="utf-8"))] == []
    styles = [file.read_text(encoding="utf-8") for file in tmp_path.rglob("*.css")]
    assert [style for style in styles if re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", style)] == []
    entries = json.loads((tmp_path / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    locations = {entry["location"] for entry in entries}
    assert {"guide/python.html#tenfold.data.load", "guide/verbs.html#tenfold.train.train"} <= locations
