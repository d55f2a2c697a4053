"""The page about one set of digits, or two: map, samples, means, distributions, what is unusual, what occurs twice."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data import statistics
from tenfold.data.overlap import Overlap
from tenfold.data.statistics import Contrast, ExploredSet, differ
from tenfold.pages import page, plots

SHEET = (2, 14)  # rows and columns of each digit's sample sheet
MAP_IMAGES = 2500  # of the map: t-SNE takes 7 s for them on two cores, and a screen shows no more
MAP_CELLS = (44, 64)  # rows, columns
MAP_CROP = slice(3, 25)  # the inner 22 x 22 pixels, where MNIST's 20 x 20 box lies
SPREAD_INK = 1.6  # ink for a grey level of standard deviation: the largest is about 150
SHOWN_PAIRS = 18
SHOWN_EMPTY = 24
DIGITS = [str(digit) for digit in range(10)]


def write(
    path: Path, sets: Sequence[ExploredSet], shared: Overlap | None = None, contrast: Contrast | None = None
) -> Path:
    """Return the path of the page, written; "explore.html" in a folder. DataError where it cannot be written.

    shared, contrast: what two sets share, and how they differ.
    """
    path = path / "explore.html" if path.is_dir() else path
    comparison = None
    if shared is not None and contrast is not None:
        comparison = vars(contrast) | _between(sets[0], sets[1], shared)
    html = page.render(
        "explore.html",
        title=" and ".join(map(_name, sets)),
        sets=[vars(one.figures) | _pictures(one, f"set-{i}") for i, one in enumerate(sets, 1)],
        comparison=comparison,
        measures=statistics.MEASURES,
        chart=draw_map(sets),
    )
    return page.write(path, html, "Give another with --out.")


def _name(one: ExploredSet) -> str:
    return page.name_of(one.figures.data["spec"])


def draw_map(sets: Sequence[ExploredSet]) -> dict[str, Any]:
    """Return the map of the data: a layer of thumbnails for each digit, or for each of two sets.

    Keys: layers (name, picture, n), shown (images on the map), method, aspect (width over height).
    """
    generator = np.random.default_rng(0)
    picked = [np.sort(generator.permutation(len(one.digits))[: MAP_IMAGES // len(sets)]) for one in sets]
    images = np.concatenate([one.digits.images[i] for one, i in zip(sets, picked, strict=True)])
    if len(sets) == 1:
        points, groups = sets[0].coordinates[picked[0]], sets[0].groups[picked[0]]
        names = DIGITS if sets[0].digits.labels is not None else ["all"]
    else:
        points = statistics.principal_components(images)  # of both: one set's own directions may miss the other's
        groups = np.repeat(np.arange(2), [len(i) for i in picked])
        names = [_name(one) for one in sets]
    places, method = statistics.embed(points)
    rows, columns = MAP_CELLS
    cells = statistics.place_on_grid(places, rows, columns)
    layers = []
    for group, name in enumerate(names):
        grid = np.zeros((rows * columns, 22, 22), np.uint8)
        members = np.flatnonzero((groups == group) & (cells >= 0))
        grid[cells[members]] = images[members][:, MAP_CROP, MAP_CROP]
        layers.append({"name": name, "picture": page.picture(page.sheet(grid, columns)), "n": len(members)})
    return {"layers": layers, "shown": int((cells >= 0).sum()), "method": method, "aspect": columns / rows}


def _pictures(one: ExploredSet, anchor: str) -> dict[str, Any]:
    """Return the charts and pictures of one set's sections."""
    counts = one.figures.counts
    generator = np.random.default_rng(0)
    digits = []
    for group in np.unique(one.groups):
        members = np.flatnonzero(one.groups == group)
        sample = np.sort(generator.permutation(members)[: SHEET[0] * SHEET[1] * (10 if counts is None else 1)])
        mean, spread = statistics.mean_and_spread(one.digits.images[members])
        laid = page.sheet(one.digits.images[sample], SHEET[1], gap=2)
        digits.append(
            {
                "name": "all" if counts is None else DIGITS[group],
                "n": len(members),
                "sheet": page.picture(laid),
                "aspect": laid.shape[1] / laid.shape[0],
                "mean": page.picture(mean.astype(np.uint8)),
                "spread": page.picture(np.minimum(255, spread * SPREAD_INK).astype(np.uint8)),
                "measures": {name: float(values[members].mean()) for name, values in one.measures.items()},
            }
        )
    label, equal = "Images of each digit", len(one.digits) / 10
    return {
        "anchor": anchor,
        "name": _name(one),
        "notes": one.digits.notes,
        "digits": digits,
        "bars": counts and plots.bars([counts], DIGITS, label=label, text=page.count, level=equal),
        "histograms": _histograms(one),
        "unusual_shown": [_shown(one, i) | {"distance": float(one.strangeness[i])} for i in one.unusual],
        "empty_shown": [_shown(one, i) for i in one.empty[:SHOWN_EMPTY]],
        "pairs": _pairs(one, one, one.duplicates),
    }


def _between(first: ExploredSet, second: ExploredSet, shared: Overlap) -> dict[str, Any]:
    """Return the charts and pictures of the comparison."""
    bars, differences, both = None, [], (first, second)
    shares = [[count / one.figures.n for count in one.figures.counts] for one in both if one.figures.counts]
    if len(shares) == 2:
        bars = plots.bars(shares, DIGITS, label="Share of each digit in the two sets", text=lambda v: f"{100 * v:g}%")
        before, after = (
            np.array([statistics.mean_and_spread(one.digits.images[one.groups == digit])[0] for digit in range(10)])
            for one in both
        )
        change = (after - before) * (255 / max(float(np.abs(after - before).max()), 1.0))
        more, less = (np.maximum(part, 0).astype(np.uint8) for part in (change, -change))
        differences = [{"more": page.picture(a), "less": page.picture(b)} for a, b in zip(more, less, strict=True)]
    return {
        "bars": bars,
        "differences": differences,
        "histograms": _histograms(first, second),
        "pairs": _pairs(first, second, shared),
    }


def _histograms(*sets: ExploredSet) -> dict[str, str]:
    return {
        name: plots.histogram(
            [one.measures[name] for one in sets],
            label=f"Distribution of: {words}",
            text="{:g}".format,
            whole=name in ("height", "width"),  # whole pixels
        )
        for name, (words, _) in statistics.MEASURES.items()
    }


def _pairs(first: ExploredSet, second: ExploredSet, overlap: Overlap) -> list[dict[str, Any]]:
    """Return up to `SHOWN_PAIRS` pairs to show: those whose labels differ, then near ones, then exact ones."""
    pairs: NDArray[np.int64] = np.concatenate([overlap.near, overlap.exact])
    differing = differ(first.digits, second.digits, pairs)
    return [
        {
            "first": _shown(first, pairs[at, 0]),
            "second": _shown(second, pairs[at, 1]),
            "kind": "nearly equal" if at < len(overlap.near) else "equal",
            "differ": bool(differing[at]),
        }
        for at in np.argsort(~differing, kind="stable")[:SHOWN_PAIRS]
    ]


def _shown(one: ExploredSet, index: np.int64) -> dict[str, Any]:
    """Return an image as the page shows it: its picture, its number in the source, and its label."""
    label = None if one.digits.labels is None else int(one.digits.labels[index])
    return {"image": page.picture(one.digits.images[index]), "id": int(one.digits.ids[index]), "label": label}
