"""Several systems on the same images, shown: their scores, what tells them apart and what they share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.metrics.intervals import Pair
from tenfold.metrics.scores import CLASSES
from tenfold.metrics.side_by_side import SideBySide, Standing, frontier
from tenfold.pages import page, plots
from tenfold.pages.reproduced import SystemRow

SIGNIFICANT = 0.05  # of the corrected p-value
SHOWN_CONFUSIONS = 10
SHOWN_IMAGES = 48
LISTED_PAIRS = 10  # more of them are folded away under a matrix
SCORE_HEAD = ("run", "accuracy", "95% interval", "errors", "NLL", "training, s", "parameters")
PAIR_HEAD = ("difference, points", "95% interval", "only the first right", "only the second", "p", "p, Holm")


def markdown(found: SideBySide) -> str:
    """Return the scores and the pairs as Markdown tables."""
    apart = [[pair.first, pair.second, *pair_cells(pair)] for pair in found.pairs()]
    tables = [
        page.table(SCORE_HEAD, map(score_cells, found.standings())),
        page.table(["first", "second", *PAIR_HEAD], apart, left=2),
    ]
    return "\n\n".join([f"**{found.title}**", *([found.note] if found.note else []), *tables])


def score_cells(row: Standing, *, short: bool = False) -> list[str]:
    """Return a system's score as a table's cells, under SCORE_HEAD; short: as a terminal of 80 columns can show it."""
    return [
        row.name,
        page.percent(row.accuracy, 2 if short else 3),
        page.span(row.ci95),
        page.count(row.errors) if short else f"{row.errors:,} of {row.n:,}",
        page.number(row.nll),
        page.duration(row.seconds) if short else page.seconds(row.seconds),
        page.count(row.parameters),
    ]


def pair_cells(pair: Pair[str]) -> list[str]:
    """Return a pair as a table's cells, under PAIR_HEAD."""
    low, high = pair.ci95
    return [
        page.points(pair.difference),
        f"{page.points(low)} to {page.points(high)}",
        page.count(pair.only_first),
        page.count(pair.only_second),
        p_value(pair.p),
        p_value(pair.p_holm),
    ]


def is_apart(pair: Pair[str]) -> bool:
    """Return whether chance alone would hardly have made the difference."""
    return pair.p_holm < SIGNIFICANT


def p_value(p: float) -> str:
    """Return 0.0312 as "0.031", 0.00002 as "< 0.0001"."""
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def write_markdown(path: Path | None, text: str) -> str | None:
    """Return `path` as text with the Markdown written to it, None for no path; DataError where it cannot be written."""
    return None if path is None else str(page.write(path, f"{text}\n", "Give another with --markdown.", ""))


def write_page(path: Path, title: str, sections: Sequence[tuple[SideBySide, Sequence[Standing | SystemRow]]]) -> str:
    """Return the path of the page, written: a section a comparison, each with the rows of its table.

    A row is of `SideBySide.standings`, or of `pages.reproduced.row`, with the published score beside ours.
    Raises DataError where it cannot be written.
    """
    shown = [_section(found, rows, f"part-{i}") for i, (found, rows) in enumerate(sections, 1)]
    html = page.render("comparison.html", title=title, sections=shown)
    return str(page.write(path, html, "Give another with --page.", ""))


def _section(found: SideBySide, rows: Sequence[Standing | SystemRow], anchor: str) -> dict[str, Any]:
    """Return what the page shows of one comparison."""
    pairs = found.pairs()
    return {
        "anchor": anchor,
        "found": found,
        "rows": rows,
        "published": not isinstance(rows[0], Standing),
        "charts": _charts(rows),
        "matrix": _matrix(pairs, len(found.sides)) if len(found.sides) > 3 else None,
        "pair_head": PAIR_HEAD,
        "pairs": [(pair, pair_cells(pair), is_apart(pair)) for pair in sorted(pairs, key=lambda pair: pair.p)],
        "fold": len(pairs) > LISTED_PAIRS,
        "apart": sum(map(is_apart, pairs)),
        "confusions": found.shared_confusions()[:SHOWN_CONFUSIONS],
        **_hardest(found),
    }


def _charts(rows: Sequence[Standing | SystemRow]) -> list[dict[str, Any]]:
    """Return the charts of accuracy against what a system costs, for the costs that are known."""
    charts = []
    for key, title, unit, text in (
        ("seconds", "Accuracy against seconds of training", "s", lambda v: f"{v:,g}"),
        ("parameters", "Accuracy against parameters", "", page.short),
    ):
        known = [(i, row, cost) for i, row in enumerate(rows, 1) if (cost := getattr(row, key))]
        if not known:
            continue
        best = frontier([cost for _, _, cost in known], [row.accuracy for _, row, _ in known])
        svg = plots.scatter(
            [(row.name, float(cost), row.accuracy) for _, row, cost in known],
            best,
            numbers=[i for i, _, _ in known],
            label=f"{title}; on the frontier: {', '.join(known[i][1].name for i in best)}",
            unit=unit,
            text=text,
            floor=0.5 / max(row.n for row in rows),
        )
        missing = [row.name for row in rows if not getattr(row, key)]
        charts.append({"title": title, "svg": svg, "missing": missing})
    return charts


def _matrix(pairs: Sequence[Pair[str]], size: int) -> list[list[dict[str, Any] | None]]:
    """Return the differences, row minus column, as a square table, None on its diagonal."""
    cells: list[list[dict[str, Any] | None]] = [[None] * size for _ in range(size)]
    places = [(i, j) for i in range(size) for j in range(i + 1, size)]
    for (i, j), pair in zip(places, pairs, strict=True):
        shared = {"apart": is_apart(pair), "p": p_value(pair.p_holm)}
        cells[i][j] = {"points": page.points(pair.difference), **shared}
        cells[j][i] = {"points": page.points(-pair.difference), **shared}
    return cells


def _hardest(found: SideBySide) -> dict[str, Any]:
    """Return how many images every system gets wrong, and pictures of them, or of those that the most get wrong."""
    given, labels = found.given, found.labels
    wrong = (given != labels).sum(axis=0)
    most = int(wrong.max())
    hardest = np.flatnonzero((wrong == most) & (most > 0))
    shown = []
    for i in [int(i) for i in hardest if int(i) in found.images][:SHOWN_IMAGES]:
        answers = np.bincount(given[given[:, i] != labels[i], i], minlength=CLASSES)
        shown.append(
            {
                "image": page.picture(found.images[i]),
                "index": i,
                "label": int(labels[i]),
                "given": int(answers.argmax()),
                "votes": int(answers.max()),
            }
        )
    return {"systems": len(given), "most_wrong": most, "hardest": len(hardest), "hardest_shown": shown}
