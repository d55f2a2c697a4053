"""Published systems beside ours, in words: as a table for the terminal, and as Markdown."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tenfold.pages import comparison as comparisons
from tenfold.pages import page as pages
from tenfold.pages import result_tables
from tenfold.pages.comparison import Comparison

if TYPE_CHECKING:
    from rich.console import Console

Section = tuple[Comparison, list[dict[str, Any]]]


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return a row a system (see `result_tables.row`) as a table in Markdown."""
    head = ["recipe", "published on", "published", "ours", "95% interval", "reached", "errors", "seeds", "training, s"]
    cells = [
        [
            row["name"],
            _on(row),
            pages.percent(row["published"]),
            _mean(row),
            comparisons.span(row["ci95"]),
            _met(row),
            f"{row['errors']:,.4g} of {row['n']:,}",
            str(row["seeds"]),
            result_tables.seconds(row["seconds"]),
            pages.count(row["parameters"]),
        ]
        for row in rows
    ]
    return result_tables.table([*head, "parameters"], cells, left=2)


def _on(row: dict[str, Any]) -> str:
    if row["published_on"] is None:
        return pages.MISSING
    return result_tables.ON[row["published_on"]] + (", which it was trained on" if row["leaked"] else "")


def _mean(row: dict[str, Any]) -> str:
    spread = "" if row["std"] is None else f" ± {100 * row['std']:.2f}"
    return f"{pages.percent(row['accuracy'])}{spread}"


def _met(row: dict[str, Any]) -> str:
    return {None: pages.MISSING, True: "yes", False: "no"}[row["meets_published"]]


def show(result: dict[str, Any], sections: Sequence[Section], console: "Console") -> None:
    """Print a table a protocol, what failed, and where the page is."""
    from rich.table import Table
    from rich.text import Text

    for found, rows in sections:
        seeds = f"{rows[0]['seeds']} {'seed' if rows[0]['seeds'] == 1 else 'seeds'}"
        table = Table(title=Text(f"{found.title}, {seeds}"), title_justify="left", box=None)
        for name in ("recipe", "ours", "95% interval", "published", "reached", "training"):
            table.add_column(name, justify="left" if name in ("recipe", "reached") else "right", no_wrap=True)
        for row in rows:
            table.add_row(
                Text(row["name"]),
                Text(_mean(row), "bold"),
                comparisons.span(row["ci95"]),
                f"{pages.percent(row['published'])} {row['published_on'] or ''}",
                Text(_met(row), "bold red" if row["meets_published"] is False else ""),
                pages.duration(row["seconds"]),
            )
        console.print()
        console.print(table)
    for one in result["failed"]:
        console.print(f"Failed: {one['protocol']}, {one['recipe']}: {one['error']}", markup=False)
    if result["page"]:
        console.print(f"Page: {result['page']}", markup=False)
