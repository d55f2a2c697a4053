"""Runs -> what tells them apart: tested pairwise on the same images, as tables and as a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold.data import load
from tenfold.data.digits import Digits
from tenfold.errors import RunError
from tenfold.evaluate import evaluate
from tenfold.pages import comparison as comparisons
from tenfold.pages import page as pages
from tenfold.pages.comparison import Comparison
from tenfold.runs.seen import find_seen

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tenfold.runs.run import Run

PAGE = Path("compare.html")
SCORES = ("run", "accuracy", "95% interval", "errors", "NLL", "training", "parameters")
PAIRS = ("first", "second", "first − second", "95% interval", "only right", "p, Holm")


def compare(
    runs: Sequence[Path],
    data: str | None = None,
    *,
    page: Path | None = None,
    markdown: Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Return how runs differ on the same images, tested pairwise, and write it as a page.

    data: labelled data that every run is evaluated on, a name or a path; images that any of them was trained on are
    left out. None takes the images that the runs held out, which have to be the same. page: `compare.html` where not
    given. markdown: a file for the tables.

    Keys: runs (name, run, recipe, accuracy, ci95, errors, n, nll, seconds, parameters), data (what was scored), n,
    left_out (how many images), pairs (first, second, n, only_first, only_second, difference, ci95, p, p_holm),
    confusions (true, given, systems, share, images), wrong_everywhere (how many images), page and markdown.
    Raises RunError for folders that are no runs or cannot be compared, DataError for data that cannot be read.
    """
    from rich.console import Console

    from tenfold.runs.run import Run

    if len({path.resolve() for path in runs}) < max(2, len(runs)):
        given = " ".join(map(str, runs))
        raise RunError(f"'{given}' cannot be compared. Give at least two runs, each once.")
    opened = [Run.open(path) for path in runs]
    if data is None:
        found, left_out = _held_out(opened), 0
    else:
        digits = load(data, "evaluate")
        files = [run.path / evaluate(run.path, data, device=device, quiet=True)["file"] for run in opened]
        found, left_out = _evaluated(opened, files, digits, data)
    rows = comparisons.rows(found)
    result = {
        "runs": [
            {"run": str(run.path), "recipe": run.recipe.name} | row for run, row in zip(opened, rows, strict=True)
        ],
        "data": found.title,
        "n": len(found.labels),
        "left_out": left_out,
        "pairs": comparisons.pairs(found),
        "confusions": comparisons.shared_confusions(found),
        "wrong_everywhere": len(comparisons.wrong_everywhere(found)),
        "page": str(comparisons.write_page(page or PAGE, "Runs compared", [(found, rows)])),
        "markdown": comparisons.write_markdown(markdown, comparisons.markdown(found)),
    }
    _show(result, found.note, Console(stderr=True, quiet=quiet, highlight=False, emoji=False))
    return result


def _held_out(runs: Sequence["Run"]) -> Comparison:
    """Return the runs' answers to the images that all of them held out; RunError where those are not the same."""
    names = _names(runs)
    chosen = [
        name
        for run, name in zip(runs, names, strict=True)
        if run.recipe.training.keep == "best" or run.recipe.training.early_stopping
    ]
    note = "No run was trained on these images, but each was calibrated on them."
    if chosen:
        note += f" How much of its training {', '.join(chosen)} kept was chosen on them too."
    title = f"Held-out images of {pages.name_of(runs[0].manifest['data']['spec'])}"
    return comparisons.held_out(runs, names, title, note)


def _evaluated(runs: Sequence["Run"], files: Sequence[Path], digits: Digits, data: str) -> tuple[Comparison, int]:
    """Return the runs' answers in their evaluations' files, but for the images that one was trained on; how many."""
    assert digits.labels is not None
    sha256, seen, notes = digits.content_hash(), np.zeros(len(digits), bool), []
    for run, name in zip(runs, _names(runs), strict=True):
        found = find_seen(run, digits, sha256)
        seen |= found.mask(len(digits))
        if found.unchecked:
            notes.append(f"Near duplicates of what {name} was trained on were not looked for: {found.unchecked}.")
    kept = np.flatnonzero(~seen)
    if not len(kept):
        raise RunError(f"The runs were trained on all '{len(digits)}' images of '{data}'. Give --data they never saw.")
    left_out = int(seen.sum())
    if left_out:
        notes.insert(0, f"Left out: {left_out:,} images that one of the runs was trained on.")
    systems = [
        comparisons.system(run, name, comparisons.probabilities_in(file)[kept])
        for run, name, file in zip(runs, _names(runs), files, strict=True)
    ]
    images = dict(enumerate(digits.images[kept]))
    return Comparison(pages.name_of(data), digits.labels[kept], systems, images, " ".join(notes)), left_out


def _names(runs: Sequence["Run"]) -> list[str]:
    """Return what the runs are called: their folders' names, or their paths where two have the same name."""
    names = [run.path.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.path) for run in runs]


def _show(result: dict[str, Any], note: str, console: "Console") -> None:
    """Print the scores and the pairs."""
    from rich.text import Text

    scores = _table(f"{result['data']}: {result['n']:,} images", 1, SCORES)
    for row in result["runs"]:
        scores.add_row(
            Text(row["name"]),
            Text(pages.percent(row["accuracy"]), "bold"),
            comparisons.span(row["ci95"]),
            f"{row['errors']:,}",
            pages.number(row["nll"]),
            pages.duration(row["seconds"]),
            pages.count(row["parameters"]),
        )
    apart = _table("Differences, percentage points", 2, PAIRS)
    for pair in result["pairs"]:
        style = "bold" if pair["p_holm"] < comparisons.SIGNIFICANT else "dim"
        difference, interval, first, second, _, p = comparisons.pair_cells(pair)
        apart.add_row(
            Text(pair["first"]), Text(pair["second"]), difference, interval, f"{first} : {second}", p, style=style
        )
    for part in (scores, apart):
        console.print()
        console.print(part)
    console.print(
        "1st only, 2nd only: images that just one gets right. Bold: McNemar's exact p < 0.05, Holm-corrected."
    )
    if note:
        console.print(Text(note), soft_wrap=True)
    console.print(Text(f"Page: {result['page']}"), soft_wrap=True)


def _table(title: str, left: int, heads: Sequence[str]) -> "Table":
    """Return an empty table whose first `left` columns are set left."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=None)
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place < left else "right", no_wrap=place < left)
    return table
