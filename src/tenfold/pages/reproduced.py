"""Published systems beside ours: which published score a protocol's table shows, and the table's rows, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from tenfold.console import PlainConsole
from tenfold.metrics.side_by_side import SideBySide
from tenfold.pages import page
from tenfold.runs.results import Result
from tenfold.training.recipe import Published, Recipe

# Where a published score may come from, the nearest to the protocol first, and how many of those are its own kind.
PUBLISHED_ON = {"mnist": (("test", "kaggle", "validation"), 1), "kaggle": (("validation", "kaggle", "test"), 2)}
ON = {"test": "MNIST's test images", "kaggle": "Kaggle's leaderboard", "validation": "10% of Kaggle's 42,000"}


@dataclass(frozen=True)
class SystemRow:
    """One system on one protocol, its published score beside ours.

    meets_published: None where the two scores cannot be compared. accuracy, errors, nll and seconds (of training) are
    means over the seeds, std is the accuracy's deviation, None for one seed.
    """

    name: str
    recipe: str
    protocol: str
    published: float | None
    published_on: str | None
    source: str | None
    leaked: bool
    meets_published: bool | None
    accuracy: float
    std: float | None
    ci95: tuple[float, float]
    n: int
    errors: float
    nll: float | None
    seeds: int
    seconds: float
    parameters: int | None
    runs: list[str]

    def where(self) -> str:
        """Return in words what the published score is on."""
        if self.published_on is None:
            return page.MISSING
        return ON[self.published_on] + (", which it was trained on" if self.leaked else "")


def place(recipe: Recipe) -> tuple[bool, int, str]:
    """Return what puts recipes in the order of the tables: their own word, then their names."""
    return recipe.order is None, recipe.order or 0, recipe.name


def row(result: Result, known: Published | None, runs: Sequence[str] = ()) -> SystemRow:
    """Return the row of one system's result.

    known: what its recipe says is published; of that, the score that stands nearest to the protocol is shown.
    """
    kinds, comparable = PUBLISHED_ON[result.protocol]
    on = next((kind for kind in kinds if getattr(known, kind, None) is not None), None)
    score: float | None = None if on is None else getattr(known, on)
    leaked = known is not None and on is not None and known.leaked
    mean, deviation = result.accuracy()
    return SystemRow(
        name=result.recipe,
        recipe=result.recipe,
        protocol=result.protocol,
        published=score,
        published_on=on,
        source=known.source if known and on else None,
        leaked=leaked,
        meets_published=mean >= score - 1e-9 if score is not None and on in kinds[:comparable] and not leaked else None,
        accuracy=mean,
        std=deviation,
        ci95=result.interval(),
        n=result.test_data.n,
        errors=round((1 - mean) * result.test_data.n, 2),
        nll=result.nll(),
        seeds=len(result.trials),
        seconds=result.seconds(),
        parameters=result.parameters,
        runs=list(runs),
    )


def markdown(rows: Sequence[SystemRow]) -> str:
    """Return a row a system as a table in Markdown."""
    head = ["recipe", "published on", "published", "ours", "95% interval", "reached", "errors", "seeds", "training, s"]
    cells = [
        [
            row.name,
            row.where(),
            page.percent(row.published),
            _mean(row),
            page.span(row.ci95),
            _met(row),
            f"{row.errors:,.4g} of {row.n:,}",
            str(row.seeds),
            page.seconds(row.seconds),
            page.count(row.parameters),
        ]
        for row in rows
    ]
    return page.table([*head, "parameters"], cells, left=2)


def _mean(row: SystemRow) -> str:
    spread = "" if row.std is None else f" ± {100 * row.std:.2f}"
    return f"{page.percent(row.accuracy)}{spread}"


def _met(row: SystemRow) -> str:
    return {None: page.MISSING, True: "yes", False: "no"}[row.meets_published]


def show(sections: Sequence[tuple[SideBySide, list[SystemRow]]], console: PlainConsole) -> None:
    """Print a table a protocol."""
    for found, rows in sections:
        seeds = f"{rows[0].seeds} {'seed' if rows[0].seeds == 1 else 'seeds'}"
        table = Table(title=Text(f"{found.title}, {seeds}"), title_justify="left", box=None)
        for name in ("recipe", "ours", "95% interval", "published", "reached", "training"):
            table.add_column(name, justify="left" if name in ("recipe", "reached") else "right", no_wrap=True)
        for row in rows:
            table.add_row(
                Text(row.name),
                Text(_mean(row), "bold"),
                page.span(row.ci95),
                f"{page.percent(row.published)} {row.published_on or ''}",
                Text(_met(row), "bold red" if row.meets_published is False else ""),
                page.duration(row.seconds),
            )
        console.print()
        console.print(table)
