"""Data -> what is in it, as figures, in the terminal and as a page; for two sets, how they differ too."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from tenfold import options
from tenfold.console import PlainConsole
from tenfold.data import load, statistics
from tenfold.data.statistics import MEASURES, Contrast, SetFigures
from tenfold.errors import DataError
from tenfold.pages import explore as pages
from tenfold.pages.page import counted, name_of

DATA = typer.Option("--data", metavar="DATA", help=f"{options.DATA_HELP} Twice: compare the two.")
OUT = typer.Option("--out", metavar="FILE", help="The page to write.")


@dataclass(frozen=True)
class Explored:
    """What is in one set of digits, or in two and between them (comparison); report: the page's path."""

    sets: list[SetFigures]
    comparison: Contrast | None
    report: str
    seconds: float


def explore(
    data: Annotated[str | Sequence[str], DATA],
    out: Annotated[str | Path, OUT] = "explore.html",
    *,
    quiet: Annotated[bool, options.QUIET] = False,
) -> Explored:
    """Return what is in one set of digits, or in two and between them, and write it as a page.

    Raises DataError for data that cannot be read and a page that cannot be written.
    """
    specs = [data] if isinstance(data, str) else list(data)
    if not 1 <= len(specs) <= 2:
        raise DataError(f"Cannot explore '{len(specs)}' sets of data at once. Give one, or two to compare.")
    if not Path(out).is_dir():  # which no page replaces
        options.check_target(out, specs, "explore")
    start = time.perf_counter()
    console = PlainConsole(quiet=quiet)
    sets, shared, contrast = [], None, None
    for spec in specs:
        with console.working(f"Looking at {spec}"):
            sets.append(statistics.look_at(load(spec, "explore"), spec))
    if len(sets) == 2:
        with console.working("Comparing the two"):
            shared, contrast = statistics.contrast(sets[0], sets[1])
    with console.working("Drawing the page"):
        page = pages.write(Path(out), sets, shared, contrast)
    result = Explored([one.figures for one in sets], contrast, str(page), round(time.perf_counter() - start, 2))
    _show(result, console)
    console.next("tenfold", "train", "fast", "--data", specs[0])
    return result


def _show(result: Explored, console: PlainConsole) -> None:
    """Print what people read."""
    names = [name_of(figures.data["spec"]) for figures in result.sets]
    for name, figures in zip(names, result.sets, strict=True):
        table = Table(title=Text(f"{name}: {counted(figures.n, 'image')}"), title_justify="left", box=None)
        if figures.counts:
            for heading in ("", *map(str, range(10))):
                table.add_column(heading, justify="right")
            table.add_row("images", *(f"{n:,}" for n in figures.counts))
            table.add_row("share", *(f"{100 * n / figures.n:.1f}%" for n in figures.counts))
        console.print(table)
        for line in _findings(figures):
            console.print(Text(line), soft_wrap=True)
        console.print()
    if result.comparison is not None:
        exact, near = result.comparison.overlap["exact"], result.comparison.overlap["near"]
        shared = f"{exact:,} images are in {names[0]} too, and {near:,} more are nearly equal to one there."
        console.print(Text(f"Of {names[1]}, {shared}", style="bold yellow" if exact or near else ""), soft_wrap=True)
        for key, difference in result.comparison.measures.items():
            if abs(difference) >= 0.2:  # a small effect, by J. Cohen's rule of thumb
                words = f"{MEASURES[key][0]}: {difference:+.2f} standard deviations in {names[1]}."
                console.print(Text(words), soft_wrap=True)
    console.print(Text(f"Page: {result.report}"), soft_wrap=True)


def _findings(figures: SetFigures) -> list[str]:
    """Return the sentences about one set."""
    means = {name: values["mean"] for name, values in figures.measures.items()}
    lines = [
        f"Ink {means['ink']:.1f} of 255 on average, strokes on {100 * means['coverage']:.1f}% of the pixels, "
        f"{means['height']:.1f} pixels high and {means['width']:.1f} wide.",
        f"Duplicates: {figures.duplicates['exact']:,} exact, {figures.duplicates['near']:,} near; "
        f"{figures.conflicts.n:,} of them with another label. Empty or nearly empty: {figures.empty.n:,}.",
    ]
    if figures.writers is not None:
        (least, median, most), kinds = figures.writers.images, figures.writers.kinds
        who = " and ".join(f"{n:,} by {kind}" for kind, n in kinds.items())
        many = f"{least} to {most:,} images each, median {median:g}"
        lines.append(f"Written by {figures.writers.n:,} people, {many}: {who}.")
    if figures.chi_square is not None:
        even = "as even as chance allows" if figures.chi_square.p >= 0.05 else "not evenly spread"
        statistic, p = figures.chi_square.statistic, figures.chi_square.p
        lines.append(f"The digits are {even} (chi-square {statistic:.1f}, p = {p:.2g}).")
    return lines
