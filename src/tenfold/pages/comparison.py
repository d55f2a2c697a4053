"""Several systems on the same images: scores, what tells them apart and what they share, as figures and as a page."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError, RunError
from tenfold.files import write_atomically
from tenfold.metrics import paired
from tenfold.metrics.intervals import wilson
from tenfold.metrics.scores import CLASSES, nll
from tenfold.pages import page, plots, result_tables

if TYPE_CHECKING:
    from tenfold.runs.run import Run

SIGNIFICANT = 0.05  # of the corrected p-value
SHOWN_CONFUSIONS = 10
SHOWN_IMAGES = 48
LISTED_PAIRS = 10  # more of them are folded away under a matrix


@dataclass(frozen=True, eq=False)
class System:
    """One system's answers to the images, and what it took to train it."""

    name: str
    probabilities: NDArray[np.float32]  # (N, 10)
    seconds: float | None = None
    parameters: int | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Systems that answered the same images."""

    title: str
    labels: NDArray[np.int64]  # (N,)
    systems: Sequence[System]
    images: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)  # by index; there may be fewer than N
    note: str = ""  # what a reader must know of how it was measured

    @property
    def given(self) -> NDArray[np.int64]:
        """The digits given, (systems, N)."""
        return np.stack([one.probabilities.argmax(axis=1) for one in self.systems]).astype(np.int64)


def system(run: "Run", name: str, probabilities: NDArray[np.float32]) -> System:
    """Return a run's answers with what it took to train it."""
    return System(name, probabilities, run.manifest["seconds"], run.manifest["parameters"])


def held_out(runs: Sequence["Run"], names: Sequence[str], title: str, note: str = "") -> Comparison:
    """Return the runs' answers to the images that all of them held out.

    Raises RunError where one held none out, or others than the first.
    """
    answers, first = [], runs[0]
    for run in runs:
        own = run.validation()
        if own is None or not len(own["labels"]):
            raise RunError(f"'{run.path}' held no images out. Give --data, such as mnist:test.")
        same = run.manifest["data"]["sha256"] == first.manifest["data"]["sha256"]
        if not same or not np.array_equal(run.held_out(), first.held_out()):
            raise RunError(f"'{run.path}' held out other images than '{first.path}'. Give --data, such as mnist:test.")
        answers.append(own)
    systems = [system(run, name, own["probabilities"]) for run, name, own in zip(runs, names, answers, strict=True)]
    images = {
        int(i): image for own in answers for i, image in zip(own["mistake_indices"], own["mistake_images"], strict=True)
    }
    return Comparison(title, answers[0]["labels"], systems, images, note)


def probabilities_in(file: Path) -> NDArray[np.float32]:
    """Return the probabilities (N, 10) that `evaluate` kept; RunError where the file is damaged or gone."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return np.asarray(stored["probabilities"], np.float32)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"'{file}' is damaged: {error}. Evaluate the run again.") from None


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a JSON-able dictionary a system: name, accuracy, ci95, errors, n, nll, seconds and parameters."""
    n = len(comparison.labels)
    right = (comparison.given == comparison.labels).sum(axis=1)
    return [
        {
            "name": one.name,
            "accuracy": float(hits / n),
            "ci95": list(wilson(int(hits), n)),
            "errors": int(n - hits),
            "n": n,
            "nll": nll(comparison.labels, one.probabilities),
            "seconds": one.seconds,
            "parameters": one.parameters,
        }
        for one, hits in zip(comparison.systems, right, strict=True)
    ]


def pairs(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a JSON-able dictionary a pair: first, second, and the fields of `paired.Pair` from n on."""
    names = [one.name for one in comparison.systems]
    return [
        pair._asdict() | {"first": names[pair.first], "second": names[pair.second], "ci95": list(pair.ci95)}
        for pair in paired.compare(list(comparison.given == comparison.labels))
    ]


def shared_confusions(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the confusions that at least two systems make, the largest share of their errors first.

    Keys: true, given, systems (how many make it), share (of a system's errors, the mean over the systems) and images
    (that at least half of the systems, and at least two, confuse in just this way).
    """
    labels, given = comparison.labels, comparison.given
    wrong = given != labels
    cells = labels * CLASSES + given  # Shape: (systems, N)
    counts = np.stack([np.bincount(row[w], minlength=CLASSES**2) for row, w in zip(cells, wrong, strict=True)])
    shares = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).mean(axis=0)
    enough = max(2, -(-len(given) // 2))
    found = []
    for cell in np.argsort(-shares, kind="stable"):
        systems = int((counts[:, cell] > 0).sum())
        if systems >= 2:
            true, digit = divmod(int(cell), CLASSES)
            common = int((((cells == cell) & wrong).sum(axis=0) >= enough).sum())
            found.append(
                {"true": true, "given": digit, "systems": systems, "share": float(shares[cell]), "images": common}
            )
    return found


def wrong_everywhere(comparison: Comparison) -> NDArray[np.int64]:
    """Return the sorted indices of the images that every system gets wrong, (K,) int64."""
    return np.flatnonzero((comparison.given != comparison.labels).all(axis=0)).astype(np.int64)


def frontier(costs: Sequence[float | None], accuracies: Sequence[float]) -> list[int]:
    """Return the systems that no cheaper or equally cheap one equals or beats, by rising cost; None is no cost."""
    known = [(cost, -accuracy, i) for i, (cost, accuracy) in enumerate(zip(costs, accuracies, strict=True)) if cost]
    found: list[int] = []
    for _, _, i in sorted(known):
        if not found or accuracies[i] > accuracies[found[-1]]:
            found.append(i)
    return found


def markdown(comparison: Comparison) -> str:
    """Return the scores and the pairs as Markdown tables."""
    scores = [
        [
            row["name"],
            page.percent(row["accuracy"], 3),
            span(row["ci95"]),
            f"{row['errors']:,} of {row['n']:,}",
            page.number(row["nll"]),
            result_tables.seconds(row["seconds"]),
            page.count(row["parameters"]),
        ]
        for row in rows(comparison)
    ]
    head = ["run", "accuracy", "95% interval", "errors", "NLL", "training, s", "parameters"]
    apart = [[pair["first"], pair["second"], *pair_cells(pair)] for pair in pairs(comparison)]
    return "\n\n".join(
        part
        for part in (
            f"**{comparison.title}**",
            comparison.note,
            result_tables.table(head, scores),
            result_tables.table(["first", "second", *PAIR_HEAD], apart, left=2),
        )
        if part
    )


PAIR_HEAD = ("difference, points", "95% interval", "only the first right", "only the second", "p", "p, Holm")


def pair_cells(pair: dict[str, Any]) -> list[str]:
    """Return a pair as a table's cells, under PAIR_HEAD."""
    low, high = pair["ci95"]
    return [
        points(pair["difference"]),
        f"{points(low)} to {points(high)}",
        page.count(pair["only_first"]),
        page.count(pair["only_second"]),
        p_value(pair["p"]),
        p_value(pair["p_holm"]),
    ]


def points(difference: float) -> str:
    """Return a difference of accuracies in percentage points, with its sign: 0.0031 gives "+0.31"."""
    return f"{100 * difference:+.2f}".replace("-", "−").replace("+0.00", "0.00").replace("−0.00", "0.00")


def p_value(p: float) -> str:
    """Return 0.0312 as "0.031", 0.00002 as "< 0.0001"."""
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def write_markdown(path: Path | None, text: str) -> str | None:
    """Return `path` as text with the Markdown written to it, None for no path; DataError where it cannot be written."""
    if path is None:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, f"{text}\n".encode())
    except OSError as error:
        raise DataError(f"'{path}' cannot be written: {error.strerror}. Give another with --markdown.") from None
    return str(path)


def span(interval: Sequence[float]) -> str:
    """Return an interval of fractions in per cent: "99.55% to 99.77%"."""
    return f"{page.percent(interval[0])} to {page.percent(interval[1])}"


def write_page(path: Path, title: str, sections: Sequence[tuple[Comparison, list[dict[str, Any]]]]) -> Path:
    """Return the path of the page, written: a section a comparison, each with the rows of its table.

    A row is what `rows` gives, or `result_tables.row`, with the published score beside ours.
    Raises DataError where it cannot be written.
    """
    shown = [_section(one, table, f"part-{i}") for i, (one, table) in enumerate(sections, 1)]
    html = page.render("comparison.html", title=title, sections=shown)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return page.write(path, html)
    except OSError as error:
        raise DataError(f"The page '{path}' cannot be written: {error.strerror}. Give another with --page.") from None


def _section(comparison: Comparison, table: list[dict[str, Any]], anchor: str) -> dict[str, Any]:
    """Return what the page shows of one comparison."""
    shown = [row | {"interval": span(row["ci95"])} for row in table]
    found = pairs(comparison)
    return {
        "anchor": anchor,
        "title": comparison.title,
        "note": comparison.note,
        "n": len(comparison.labels),
        "rows": shown,
        "published": any("published" in row for row in table),
        "charts": _charts(table),
        "names": [one.name for one in comparison.systems],
        "matrix": _matrix(found, len(comparison.systems)) if len(comparison.systems) > 3 else None,
        "pair_head": PAIR_HEAD,
        "pairs": [
            pair | {"cells": pair_cells(pair), "apart": pair["p_holm"] < SIGNIFICANT}
            for pair in sorted(found, key=lambda pair: pair["p"])
        ],
        "fold": len(found) > LISTED_PAIRS,
        "apart": sum(pair["p_holm"] < SIGNIFICANT for pair in found),
        "confusions": shared_confusions(comparison)[:SHOWN_CONFUSIONS],
        **_hardest(comparison),
    }


def _charts(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the charts of accuracy against what a system costs, for the costs that are known."""
    charts = []
    for key, title, unit, text in (
        ("seconds", "Accuracy against seconds of training", "s", lambda v: f"{v:,g}"),
        ("parameters", "Accuracy against parameters", "", page.short),
    ):
        known = [row for row in table if row[key]]
        if not known:
            continue
        best = frontier([row[key] for row in known], [row["accuracy"] for row in known])
        svg = plots.scatter(
            [(row["name"], float(row[key]), row["accuracy"]) for row in known],
            best,
            numbers=[table.index(row) + 1 for row in known],
            label=f"{title}; on the frontier: {', '.join(known[i]['name'] for i in best)}",
            unit=unit,
            text=text,
            floor=0.5 / max(row["n"] for row in table),
        )
        missing = [row["name"] for row in table if not row[key]]
        charts.append({"title": title, "svg": svg, "missing": missing})
    return charts


def _matrix(found: list[dict[str, Any]], size: int) -> list[list[dict[str, Any] | None]]:
    """Return the differences, row minus column, as a square table, None on its diagonal."""
    cells: list[list[dict[str, Any] | None]] = [[None] * size for _ in range(size)]
    places = [(i, j) for i in range(size) for j in range(i + 1, size)]
    for (i, j), pair in zip(places, found, strict=True):
        apart, p = pair["p_holm"] < SIGNIFICANT, p_value(pair["p_holm"])
        cells[i][j] = {"points": points(pair["difference"]), "apart": apart, "p": p}
        cells[j][i] = {"points": points(-pair["difference"]), "apart": apart, "p": p}
    return cells


def _hardest(comparison: Comparison) -> dict[str, Any]:
    """Return how many images every system gets wrong, and pictures of them, or of those that the most get wrong."""
    given, labels = comparison.given, comparison.labels
    wrong = (given != labels).sum(axis=0)
    most = int(wrong.max())
    hardest = np.flatnonzero((wrong == most) & (most > 0))
    pictured = [int(i) for i in hardest if int(i) in comparison.images][:SHOWN_IMAGES]
    shown = []
    for i in pictured:
        answers = np.bincount(given[given[:, i] != labels[i], i], minlength=CLASSES)
        shown.append(
            {
                "image": page.picture(comparison.images[i]),
                "index": i,
                "label": int(labels[i]),
                "given": int(answers.argmax()),
                "votes": int(answers.max()),
            }
        )
    return {"systems": len(given), "most_wrong": most, "hardest": len(hardest), "hardest_shown": shown}
