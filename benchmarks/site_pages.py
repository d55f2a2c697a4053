"""MkDocs' hook: what lies outside docs/, as pages of the site: the README and its like, and the notebooks, executed.

A link that leads out of docs/ leads to such a page where there is one, and is plain text otherwise: a repository's file
is no page, and where the repository is hosted is not written into its documents.
"""

import base64
import os
import posixpath
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page
    from nbformat import NotebookNode

ROOT = Path(__file__).parent.parent
PAGES = {  # a file of the repository -> its page in the site
    "README.md": "guide/commands.md",
    "CHANGELOG.md": "guide/changelog.md",
    "CONTRIBUTING.md": "guide/contributing.md",
    "SECURITY.md": "guide/security.md",
    "src/tenfold/pretrained/card.md": "guide/card.md",
    "notebooks/learner.ipynb": "guide/learner.md",
    "notebooks/integrator.ipynb": "guide/integrator.md",
    "notebooks/teacher.ipynb": "guide/teacher.md",
}
ORIGINS = {page: file for file, page in PAGES.items()}
CODE = r"^ *```.*?^ *```$|`[^`\n]+`"
LINK = r"\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)|src=\"(?P<source>[^\"]+)\""
WIDTHS = r"(?P<before>\] ?)\["  # "[32] [64, 64]" is no reference
SYNTAX = re.compile(f"{CODE}|{LINK}|{WIDTHS}", re.DOTALL | re.MULTILINE)
MOST_SECONDS = 300  # that a notebook's cell may take


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Return the site's files, with the pages that are made of what lies outside docs/."""
    from mkdocs.structure.files import File

    for file, page in PAGES.items():
        if file.endswith(".ipynb"):
            content, pictures = markdown_of(executed(ROOT / file), Path(page).stem)
            for name, picture in pictures.items():
                files.append(File.generated(config, f"guide/{name}", content=picture))
        else:
            content = (ROOT / file).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: "Page", **_: Any) -> str:
    """Return a page's text, its links as the site has them."""
    return relinked(markdown, page.file.src_uri)


def relinked(markdown: str, page: str) -> str:
    """Return the text of a page, `page` its path in the site's source, with links that lead within the site."""
    origin = posixpath.dirname(ORIGINS.get(page, f"docs/{page}"))

    def led(target: str) -> str | None:
        path, mark, anchor = target.partition("#")
        if ":" in target or not path:
            return target
        file = posixpath.normpath(posixpath.join(origin, path))
        if file not in PAGES and not file.startswith("docs/"):
            return None if (ROOT / file).exists() else target  # MkDocs reports what leads nowhere
        inside = PAGES.get(file, file.removeprefix("docs/"))
        return posixpath.relpath(inside, posixpath.dirname(page) or ".") + mark + anchor

    def replace(match: re.Match[str]) -> str:
        if match["source"]:
            return f'src="{led(match["source"]) or match["source"]}"'
        if match["before"]:
            return match["before"] + r"\["
        if match["target"]:
            target = led(match["target"])
            return match["text"] if target is None else f"[{match['text']}]({target})"
        return match[0]

    return SYNTAX.sub(replace, markdown)


def executed(path: Path) -> "NotebookNode":
    """Return a notebook with the outputs of its cells, run in its own folder; it raises what a cell raises.

    Neither what this machine has cached nor a download goes into it.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, timeout=MOST_SECONDS, resources=place, coalesce_streams=True)
    with tempfile.TemporaryDirectory() as cache:
        client.execute(env=os.environ | {"TENFOLD_CACHE": cache, "TENFOLD_OFFLINE": "1"})
    return notebook


def markdown_of(notebook: "NotebookNode", name: str) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and its pictures, whose files are named after `name`."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for data in _outputs(cell):
            if "image/png" in data:
                file = f"{name}-{len(pictures) + 1}.png"
                pictures[file] = base64.b64decode(data["image/png"])
                parts.append(f"![What the cell above shows]({file})")
            elif "text/html" in data:
                parts.append(data["text/html"])
            elif "text/markdown" in data:
                parts.append(data["text/markdown"])
            else:
                parts.append(f"```text\n{data['text/plain'].rstrip()}\n```")
    return "\n\n".join(parts) + "\n", pictures


def _outputs(cell: "NotebookNode") -> Iterator[dict[str, str]]:
    """Give what a cell shows, by MIME type: its printed text, and the values displayed."""
    for output in cell.get("outputs", []):
        yield {"text/plain": output.text} if output.output_type == "stream" else output.data
