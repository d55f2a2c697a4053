"""Systems -> what tells them apart: tested pairwise on the same images, as tables and as a page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table
from rich.text import Text

from tenfold import options
from tenfold.console import PlainConsole
from tenfold.data import load
from tenfold.data.digits import Digits
from tenfold.data.writers import with_writers
from tenfold.errors import RunError, UsageError
from tenfold.metrics.intervals import Pair
from tenfold.metrics.side_by_side import SharedConfusion, Side, SideBySide, Standing
from tenfold.pages import comparison as pages
from tenfold.pages.page import drawn, name_of
from tenfold.pages.report import write_report
from tenfold.runs import scoring
from tenfold.runs.begin import same_data
from tenfold.runs.systems import System, open_system

PAGE = Path("compare.html")
SCORES = ("run", "accuracy", "95% interval", "errors", "NLL", "training", "parameters")
SYSTEMS = typer.Argument(metavar="SYSTEM", help="Two or more: runs, ensembles, exported models.")
DATA = typer.Option("--data", metavar="DATA", help=f"{options.DATA_HELP} [default: what the runs held out]")
OUT = typer.Option("--page", metavar="FILE", help="The page to write [default: compare.html].")
PAIRS = ("first", "second", "first − second", "95% interval", "only right", "p, Holm")


@dataclass(frozen=True)
class Compared:
    """How systems differ on the same images.

    data: what was scored. n: images; left_out: how many more of them one of the systems was trained on.
    wrong_everywhere: images that every system gets wrong. written_by: each system's score by who wrote the images,
    where that was asked for. page, markdown: the files that were written, None for none.
    """

    runs: list[Standing]
    data: str
    n: int
    left_out: int
    pairs: list[Pair[str]]
    confusions: list[SharedConfusion]
    wrong_everywhere: int
    page: str | None
    markdown: str | None
    written_by: dict[str, list[scoring.WrittenBy]] | None = None


def compare(
    systems: Annotated[Sequence[str | Path], SYSTEMS],
    data: Annotated[str | None, DATA] = None,
    *,
    page: Annotated[str | Path | None, OUT] = None,
    markdown: Annotated[str | Path | None, options.MARKDOWN] = None,
    split: Annotated[str | None, options.BY] = None,
    device: Annotated[str, options.DEVICE] = "auto",
    quiet: Annotated[bool, options.QUIET] = False,
) -> Compared:
    """Return how systems differ on the same images, tested pairwise, and write it as a page.

    data: labelled data that every system is evaluated on, a name or a path; images that any of the runs was trained on
    are left out. None takes the images that the runs held out, which have to be the same.
    Raises RunError for what is no system or cannot be compared, DataError for data that cannot be read.
    """
    if len(systems) < 2:
        raise UsageError("There is nothing to compare with. Give two or more, such as 'runs/first runs/second'.")
    if len({Path(path).resolve() for path in systems}) < len(systems):
        raise RunError(f"'{' '.join(map(str, systems))}' cannot be compared. Give at least two runs, each once.")
    for target, option in ((page or PAGE, "--page"), (markdown, "--markdown")):
        options.check_target(target, [data], "evaluate", systems, option)
    opened = [open_system(name, device=device) for name in systems]
    names = [system.name for system in opened]
    if len(set(names)) < len(names):
        names = [system.path for system in opened]
    by_writers = options.by_writers(split)
    found, left_out, digits = (
        _held_out(opened, names, by_writers) if data is None else _evaluated(opened, names, data, by_writers)
    )
    rows = found.standings()
    result = Compared(
        runs=rows,
        data=found.title,
        n=len(found.labels),
        left_out=left_out,
        pairs=found.pairs(),
        confusions=found.shared_confusions(),
        wrong_everywhere=len(found.wrong_everywhere()),
        written_by=None
        if digits is None or digits.writers is None
        else {
            each.name: scoring.written_by(digits, each.probabilities.argmax(1) == found.labels) for each in found.sides
        },
        page=drawn(pages.write_page, Path(page or PAGE), "Systems compared", [(found, rows)]),
        markdown=drawn(pages.write_markdown, None if markdown is None else Path(markdown), pages.markdown(found)),
    )
    console = PlainConsole(quiet=quiet)
    _show(result, found.note, console)
    if data is None:  # by test data nobody should choose
        best = min(rows, key=lambda row: row.errors)
        console.next("tenfold", "submit", systems[rows.index(best)], "--data", "kaggle:test", "--out", "submission.csv")
    return result


def _held_out(
    systems: Sequence[System], names: Sequence[str], by_writers: bool
) -> tuple[SideBySide, int, Digits | None]:
    """Return the runs' answers to the images that all of them held out, 0, and with `by_writers` these images.

    RunError where there are none such.
    """
    runs = [system.run for system in systems if system.run is not None]
    models = [system.path for system in systems if system.run is None]
    if models:
        what = f"'{models[0]}' is a model, which does not say what was held out."
        raise RunError(f"{what} Give --data, such as mnist:test.")
    trained = zip(names, (run.recipe.training for run in runs), strict=True)
    chosen = [name for name, how in trained if how.keep == "best" or how.early_stopping]
    note = "No run was trained on these images, but each was calibrated on them."
    if chosen:
        note += f" How much of its training {', '.join(chosen)} kept was chosen on them too."
    title = f"Held-out images of {name_of(runs[0].manifest['data']['spec'])}"
    found, validation = scoring.held_out(runs, names, title, note), runs[0].validation()
    if not by_writers or validation is None:
        return found, 0, None
    digits = same_data(runs[0], (), PlainConsole(quiet=True)).take(validation["indices"])
    return found, 0, with_writers(digits, needed=True)


def _evaluated(
    systems: Sequence[System], names: Sequence[str], data: str, by_writers: bool
) -> tuple[SideBySide, int, Digits | None]:
    """Return the systems' answers, but for the images that a run was trained on, how many those are, and the others."""
    digits = load(data, "evaluate")
    digits = with_writers(digits, needed=True) if by_writers else digits
    sides, seen, notes, unknown = [], np.zeros(len(digits), bool), [], []
    for system, name in zip(systems, names, strict=True):
        scored = scoring.score_system(system, digits, data)
        if system.run is None or scored.seen is None:
            unknown.append(name)
            sides.append(Side(name, scored.probabilities, run=system.path, recipe=system.recipe))
            continue
        drawn(write_report, system.run)
        sides.append(scoring.side(system.run, name, scored.probabilities))
        seen |= scored.seen.mask(len(digits))
        if scored.seen.unchecked:
            notes.append(f"Near duplicates of what {name} was trained on were not looked for: {scored.seen.unchecked}.")
    if unknown:
        models = ", ".join(unknown)
        notes.append(f"A model does not say what it was trained on, so it may know some of these: {models}.")
    kept, left_out = np.flatnonzero(~seen), int(seen.sum())
    if not len(kept):
        raise RunError(f"The runs were trained on all '{len(digits)}' images of '{data}'. Give --data they never saw.")
    if left_out:
        notes.insert(0, f"Left out: {left_out:,} images that one of the runs was trained on.")
    assert digits.labels is not None
    kept_sides = [replace(each, probabilities=each.probabilities[kept]) for each in sides]
    images = dict(enumerate(digits.images[kept]))
    found = SideBySide(name_of(data), digits.labels[kept], kept_sides, images, " ".join(notes))
    return found, left_out, digits.take(kept)


def _show(result: Compared, note: str, console: PlainConsole) -> None:
    """Print the scores and the pairs."""
    scores = [(pages.score_cells(row, short=True), "") for row in result.runs]
    pairs = []
    for pair in result.pairs:
        difference, interval, first, second, _, p = pages.pair_cells(pair)
        cells = [pair.first, pair.second, difference, interval, f"{first} : {second}", p]
        pairs.append((cells, "bold" if pages.is_apart(pair) else "dim"))
    for title, head, left, rows in (
        (f"{result.data}: {result.n:,} images", SCORES, 1, scores),
        ("Differences, percentage points", PAIRS, 2, pairs),
    ):
        table = Table(title=Text(title), title_justify="left", box=None)
        for place, name in enumerate(head):
            table.add_column(name, justify="left" if place < left else "right", no_wrap=place < left)
        for cells, style in rows:
            table.add_row(*map(Text, cells), style=style)
        console.print()
        console.print(table)
    for name, kinds in (result.written_by or {}).items():
        told = ", ".join(f"{each.kind} {each.errors} in {each.n:,}" for each in kinds[1:])
        console.print(Text(f"Errors of {name}, by who wrote the images: {told}"), soft_wrap=True)
    console.print(
        "Only right: images that just one of the two gets right. Bold: McNemar's exact p < 0.05, Holm-corrected."
    )
    if note:
        console.print(Text(note), soft_wrap=True)
    if result.page:
        console.print(f"Page: {result.page}", soft_wrap=True)
