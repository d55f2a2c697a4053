"""Data -> what is in it: a terminal summary and one self-contained HTML page; for two sets, how they differ too."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data import load, statistics
from tenfold.data.digits import Digits
from tenfold.data.overlap import Overlap, find_duplicates, find_overlap
from tenfold.errors import DataError
from tenfold.pages import page, plots

if TYPE_CHECKING:
    from rich.console import Console

SHEET = (2, 14)  # rows and columns of each digit's sample sheet
MAP_IMAGES = 2500  # of the map: t-SNE takes 7 s for them on two cores, and a screen shows no more
MAP_CELLS = (44, 64)  # rows, columns
MAP_CROP = slice(3, 25)  # the inner 22 x 22 pixels, where MNIST's 20 x 20 box lies
UNUSUAL = 4  # shown of each digit
SHOWN_PAIRS = 18
SHOWN_EMPTY = 24
LIMIT = 1000  # ids listed in the result
DIGITS = [str(digit) for digit in range(10)]


@dataclass(frozen=True, eq=False)
class Explored:
    """One set and what was found in it."""

    spec: str
    digits: Digits
    measures: dict[str, NDArray[np.float32]]  # (N,) each
    duplicates: Overlap
    empty: NDArray[np.int64]  # indices
    unusual: NDArray[np.int64]  # indices, `UNUSUAL` of each digit, the most unusual of a digit first
    strangeness: NDArray[np.float64]  # (N,)

    @property
    def name(self) -> str:
        """What the set is called in headings."""
        return page.name_of(self.spec)

    @property
    def groups(self) -> NDArray[np.int64]:
        """The labels (N,), or zeros where there are none."""
        labels = self.digits.labels
        return np.zeros(len(self.digits), np.int64) if labels is None else labels

    @property
    def counts(self) -> NDArray[np.int64] | None:
        """How many images each digit has, (10,), or None without labels."""
        return None if self.digits.labels is None else statistics.class_counts(self.digits.labels)

    def conflicts(self) -> NDArray[np.int64]:
        """Return the pairs (P, 2) of exact or near duplicates whose labels differ."""
        pairs = np.concatenate([self.duplicates.exact, self.duplicates.near])
        first, second = self.groups[pairs[:, 0]], self.groups[pairs[:, 1]]
        return np.asarray(pairs[first != second])


def explore(specs: Sequence[str], out: Path | None = None, *, quiet: bool = False) -> dict[str, Any]:
    """Return what is in one set of digits, or in two and between them, and write it as a page.

    specs: one or two names or paths. out: the page, `explore.html` where not given. quiet: no progress, no summary.

    Keys: sets, comparison, seconds and report (the page's path). Each of sets has data {spec, sha256}, n, counts (ten;
    None without labels, like chi_square), chi_square {statistic, p}, measures (name -> {mean, std}), duplicates
    {exact, near}, conflicts {n, ids (pairs)}, empty {n, ids} and unusual (ids). comparison is None for one set; for
    two it has chi_square, measures (differences in standard deviations) and overlap {exact, near, conflicts}.
    Raises DataError for data that cannot be read and a page that cannot be written.
    """
    from rich.console import Console

    if not 1 <= len(specs) <= 2:
        raise DataError(f"Cannot explore '{len(specs)}' sets of data at once. Give one, or two to compare.")
    start = time.perf_counter()
    console = Console(stderr=True, quiet=quiet, highlight=False)
    explored, coordinates = [], []
    for spec in specs:
        with console.status(f"Looking at {spec}"):
            one, principal = look_at(load(spec, "explore"), spec)
        explored.append(one)
        coordinates.append(principal)
    shared = None
    if len(explored) == 2:
        with console.status("Comparing the two"):
            shared = find_overlap(explored[0].digits.images, explored[1].digits.images)
    with console.status("Drawing the map"):
        chart = draw_map(explored, coordinates)
    result: dict[str, Any] = {
        "sets": [_figures(one) for one in explored],
        "comparison": None if shared is None else _comparison(explored[0], explored[1], shared),
    }
    result["report"] = str(_write_page(out or Path("explore.html"), explored, shared, result, chart))
    result["seconds"] = round(time.perf_counter() - start, 2)
    _show(result, console)
    return result


def describe(result: dict[str, Any]) -> str:
    """Return the line that the command line ends with."""
    return f"Page: {result['report']}"


def look_at(digits: Digits, spec: str) -> tuple[Explored, NDArray[np.float32]]:
    """Return what is in one set, and its images' principal components (N, 50)."""
    if not len(digits):
        raise DataError(f"'{spec}' holds '0' images. Give at least one.")
    coordinates = statistics.principal_components(digits.images)
    groups = np.zeros(len(digits), np.int64) if digits.labels is None else digits.labels
    strangeness = statistics.strangeness(coordinates, groups)
    order = np.argsort(-strangeness, kind="stable")
    most = UNUSUAL if digits.labels is not None else UNUSUAL * 10
    unusual = np.concatenate([order[groups[order] == group][:most] for group in np.unique(groups)])
    explored = Explored(
        spec=spec,
        digits=digits,
        measures=statistics.measure(digits.images),
        duplicates=find_duplicates(digits.images),
        empty=statistics.nearly_empty(digits.images),
        unusual=unusual,
        strangeness=strangeness,
    )
    return explored, coordinates


def draw_map(explored: Sequence[Explored], coordinates: Sequence[NDArray[np.float32]]) -> dict[str, Any]:
    """Return the map of the data: a layer of thumbnails for each digit, or for each of two sets.

    Keys: layers (name -> picture), shown (images on the map), method, aspect (width over height).
    """
    rng = np.random.default_rng(0)
    share = MAP_IMAGES // len(explored)
    picked = [np.sort(rng.permutation(len(one.digits))[:share]) for one in explored]
    images = np.concatenate([one.digits.images[i] for one, i in zip(explored, picked, strict=True)])
    if len(explored) == 1:
        points, groups = coordinates[0][picked[0]], explored[0].groups[picked[0]]
        names = DIGITS if explored[0].digits.labels is not None else ["all"]
    else:
        points = statistics.principal_components(images)  # of both: one set's own directions may miss the other's
        groups = np.repeat(np.arange(2), [len(i) for i in picked])
        names = [one.name for one in explored]
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


def _figures(one: Explored) -> dict[str, Any]:
    """Return the JSON-able figures of one set."""
    ids, counts, conflicts = one.digits.ids, one.counts, one.conflicts()
    balance = None
    if counts is not None:
        statistic, p = statistics.chi_square(counts)
        balance = {"statistic": statistic, "p": p}
    return {
        "data": {"spec": one.spec, "sha256": one.digits.content_hash()},
        "n": len(one.digits),
        "counts": None if counts is None else counts.tolist(),
        "chi_square": balance,
        "measures": {
            name: {"mean": float(values.mean()), "std": float(values.std())} for name, values in one.measures.items()
        },
        "duplicates": {"exact": len(one.duplicates.exact), "near": len(one.duplicates.near)},
        "conflicts": {"n": len(conflicts), "ids": ids[conflicts][:LIMIT].tolist()},
        "empty": {"n": len(one.empty), "ids": ids[one.empty][:LIMIT].tolist()},
        "unusual": ids[one.unusual].tolist(),
    }


def _comparison(first: Explored, second: Explored, shared: Overlap) -> dict[str, Any]:
    """Return the JSON-able figures of how two sets differ and overlap."""
    balance = None
    if first.counts is not None and second.counts is not None:
        statistic, p = statistics.chi_square_between(first.counts, second.counts)
        balance = {"statistic": statistic, "p": p}
    differences = {}
    for name in statistics.MEASURES:
        a, b = first.measures[name].astype(np.float64), second.measures[name].astype(np.float64)
        spread = np.sqrt((a.var() + b.var()) / 2)
        differences[name] = float((b.mean() - a.mean()) / spread) if spread > 0 else 0.0
    labels, others = first.digits.labels, second.digits.labels
    pairs = np.concatenate([shared.exact, shared.near])
    differ = 0 if labels is None or others is None else int((labels[pairs[:, 0]] != others[pairs[:, 1]]).sum())
    return {
        "chi_square": balance,
        "measures": differences,
        "overlap": {"exact": len(shared.exact), "near": len(shared.near), "conflicts": differ},
    }


def _write_page(
    out: Path, explored: Sequence[Explored], shared: Overlap | None, result: dict[str, Any], chart: dict[str, Any]
) -> Path:
    path = out / "explore.html" if out.is_dir() else out
    between = None if shared is None else _between(explored[0], explored[1], shared)
    html = page.render(
        "explore.html",
        title=" and ".join(one.name for one in explored),
        sets=[
            figures | _pictures(one, f"set-{i}")
            for i, (one, figures) in enumerate(zip(explored, result["sets"], strict=True), 1)
        ],
        comparison=None if between is None else result["comparison"] | between,
        measures=statistics.MEASURES,
        chart=chart,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return page.write(path, html)
    except OSError as error:
        raise DataError(f"The page '{path}' cannot be written: {error.strerror}. Give another with --out.") from None


def _pictures(one: Explored, anchor: str) -> dict[str, Any]:
    """Return the charts and pictures of one set's sections."""
    labelled = one.digits.labels is not None
    groups, images = one.groups, one.digits.images
    rng = np.random.default_rng(0)
    digits = []
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        sample = np.sort(rng.permutation(members)[: SHEET[0] * SHEET[1] * (1 if labelled else 10)])
        mean, spread = statistics.mean_and_spread(images[members])
        laid = page.sheet(images[sample], SHEET[1], gap=2)
        digits.append(
            {
                "name": DIGITS[group] if labelled else "all",
                "n": len(members),
                "sheet": page.picture(laid),
                "aspect": laid.shape[1] / laid.shape[0],
                "mean": page.picture(mean.astype(np.uint8)),
                "spread": page.picture(np.minimum(255, spread * 1.6).astype(np.uint8)),
                "measures": {name: float(values[members].mean()) for name, values in one.measures.items()},
            }
        )
    bars = None
    if one.counts is not None:
        bars = plots.bars(
            [one.counts.tolist()], DIGITS, label="Images of each digit", text=page.count, level=len(images) / 10
        )
    return {
        "anchor": anchor,
        "name": one.name,
        "digits": digits,
        "bars": bars,
        "histograms": {name: _histogram(name, [values]) for name, values in one.measures.items()},
        "unusual_shown": [_shown(one, i) | {"distance": float(one.strangeness[i])} for i in one.unusual],
        "empty_shown": [_shown(one, i) for i in one.empty[:SHOWN_EMPTY]],
        "pairs": _pairs(one, one, one.duplicates),
    }


def _between(first: Explored, second: Explored, shared: Overlap) -> dict[str, Any]:
    """Return the charts and pictures of the comparison."""
    bars, differences = None, []
    if first.counts is not None and second.counts is not None:
        shares = [(one.counts / len(one.digits)).tolist() for one in (first, second) if one.counts is not None]
        bars = plots.bars(shares, DIGITS, label="Share of each digit in the two sets", text=lambda v: f"{100 * v:g}%")
        means = [
            [statistics.mean_and_spread(one.digits.images[one.groups == digit])[0] for digit in range(10)]
            for one in (first, second)
        ]
        change = np.array(means[1]) - np.array(means[0])
        scale = 255 / max(float(np.abs(change).max()), 1.0)
        differences = [
            {
                "more": page.picture((np.maximum(part, 0) * scale).astype(np.uint8)),
                "less": page.picture((np.maximum(-part, 0) * scale).astype(np.uint8)),
            }
            for part in change
        ]
    return {
        "bars": bars,
        "differences": differences,
        "histograms": {
            name: _histogram(name, [first.measures[name], second.measures[name]]) for name in first.measures
        },
        "pairs": _pairs(first, second, shared),
    }


def _histogram(name: str, series: Sequence[NDArray[np.float32]]) -> str:
    whole_pixels = name in ("height", "width")
    return plots.histogram(
        series, label=f"Distribution of: {statistics.MEASURES[name][0]}", text=lambda v: f"{v:g}", whole=whole_pixels
    )


def _pairs(first: Explored, second: Explored, overlap: Overlap) -> list[dict[str, Any]]:
    """Return up to `SHOWN_PAIRS` pairs to show: those whose labels differ, then near ones, then exact ones."""
    both = first.digits.labels is not None and second.digits.labels is not None
    pairs = [(int(i), int(j), "nearly") for i, j in overlap.near] + [
        (int(i), int(j), "exactly") for i, j in overlap.exact
    ]
    differing = [both and first.groups[i] != second.groups[j] for i, j, _ in pairs]
    order = sorted(range(len(pairs)), key=lambda at: not differing[at])[:SHOWN_PAIRS]
    shown = [(*pairs[at], bool(differing[at])) for at in order]
    return [
        {"first": _shown(first, i), "second": _shown(second, j), "kind": kind, "differ": differ}
        for i, j, kind, differ in shown
    ]


def _shown(one: Explored, index: int) -> dict[str, Any]:
    """Return an image as the page shows it: its picture, its number in the source, and its label."""
    label = None if one.digits.labels is None else int(one.digits.labels[index])
    return {"image": page.picture(one.digits.images[index]), "id": int(one.digits.ids[index]), "label": label}


def _show(result: dict[str, Any], console: "Console") -> None:
    """Print the terminal summary."""
    from rich.table import Table
    from rich.text import Text

    for figures in result["sets"]:
        table = Table(
            title=Text(f"{page.name_of(figures['data']['spec'])}: {figures['n']:,} images"),
            title_justify="left",
            box=None,
        )
        if figures["counts"]:
            for name in ("", *DIGITS):
                table.add_column(name, justify="right")
            table.add_row("images", *(f"{n:,}" for n in figures["counts"]))
            table.add_row("share", *(f"{100 * n / figures['n']:.1f}%" for n in figures["counts"]))
        console.print(table)
        for line in _findings(figures):
            console.print(Text(line), soft_wrap=True)
        console.print()
    if result["comparison"]:
        overlap = result["comparison"]["overlap"]
        first, second = (page.name_of(figures["data"]["spec"]) for figures in result["sets"])
        text = f"Of {second}, {overlap['exact']:,} images are in {first} too, and {overlap['near']:,} nearly."
        console.print(Text(text, style="bold yellow" if overlap["exact"] or overlap["near"] else ""), soft_wrap=True)
        for name, difference in result["comparison"]["measures"].items():
            if abs(difference) >= 0.2:  # a small effect, by J. Cohen's rule of thumb
                words = f"{statistics.MEASURES[name][0]}: {difference:+.2f} standard deviations in {second}."
                console.print(Text(words), soft_wrap=True)


def _findings(figures: dict[str, Any]) -> list[str]:
    """Return the sentences about one set."""
    means = {name: values["mean"] for name, values in figures["measures"].items()}
    lines = [
        f"Ink {means['ink']:.1f} of 255 on average, strokes on {100 * means['coverage']:.1f}% of the pixels, "
        f"{means['height']:.1f} high and {means['width']:.1f} wide.",
        f"Duplicates: {figures['duplicates']['exact']:,} exact, {figures['duplicates']['near']:,} near; "
        f"{figures['conflicts']['n']:,} of them with another label. Empty or nearly: {figures['empty']['n']:,}.",
    ]
    if figures["chi_square"]:
        statistic, p = figures["chi_square"]["statistic"], figures["chi_square"]["p"]
        even = "as even as chance allows" if p >= 0.05 else "not evenly spread"
        lines.append(f"The digits are {even} (chi-square {statistic:.1f}, p = {p:.2g}).")
    return lines
