"""An ensemble's page: one self-contained HTML file that shows what was chosen, why, and what averaging does."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.ensembles import diversity
from tenfold.ensembles.averaging import answered, combine
from tenfold.ensembles.diversity import SizePoint
from tenfold.ensembles.members import MemberRow
from tenfold.ensembles.selection import Choice, Nested, best_rule
from tenfold.metrics.intervals import wilson
from tenfold.metrics.scores import nll
from tenfold.pages import page, plots
from tenfold.pages.plots import BOTTOM, LEFT, RIGHT, TOP, VALUE, Axis, accuracy_text

if TYPE_CHECKING:
    from markupsafe import Markup

DRAWS = 200  # random ensembles of each size
SHOWN_LOST, SHOWN_SAVED = 48, 24
SIZES = (1, 2, 3, 4, 5, 7, 10, 14, 20, 28, 40, 57, 80, 113, 160, 226, 320, 453, 640)
NOT_CHOSEN_ON = ("all", "random")  # rules that look at no label


def band(points: Sequence[SizePoint], chosen: tuple[int, float], *, n: int, label: str) -> "Markup":
    """Return accuracy against the number of members: mean, 5th to 95th percentile, and the extremes of random draws.

    chosen: members and accuracy of the ensemble that was chosen, a dot. n: images; accuracy is drawn by the logarithm
    of its error, at least that of half an image.
    """
    floor = 0.5 / n

    def wrong(accuracy: float) -> float:
        return max(1 - accuracy, floor)

    values = [wrong(value) for each in points for value in (each.lowest, each.highest)] + [wrong(chosen[1])]
    vertical = plots.log_axis(values, TOP, BOTTOM)
    most = max(2, chosen[0], *(each.size for each in points))
    horizontal = Axis(1, most, LEFT + 6, RIGHT - VALUE, True)

    def line(accuracies: Sequence[float]) -> list[plots.Point]:
        return [(horizontal(each.size), vertical(wrong(a))) for each, a in zip(points, accuracies, strict=True)]

    upper, lower = line([each.high for each in points]), line([each.low for each in points])
    mean = line([each.mean for each in points])
    x, y = horizontal(chosen[0]), vertical(wrong(chosen[1]))
    body = [
        plots.grid(vertical, accuracy_text, RIGHT - VALUE),
        plots.below(horizontal, "{:g}".format, 7, whole=True),
        plots.words(RIGHT - VALUE, BOTTOM + 32, "members", "sub", "end"),
        plots.path("band", [*upper, *lower[::-1]], "polygon"),
        plots.path("extreme", line([each.highest for each in points])),
        plots.path("extreme", line([each.lowest for each in points])),
        plots.path("line", mean),
        *(plots.dot("dot", *point, 2) for point in mean),
        plots.dot("last", x, y, 3.5),
        plots.words(x + 8, y - 6, accuracy_text(1 - chosen[1]), "value", "start"),
    ]
    return plots.drawing(label, body)


def difference(value: float, noise: float, reach: float) -> "Markup":
    """Return a strip for a table's cell: a difference in log-loss, twice its noise to either side, and where none is.

    reach: the largest difference that the strip has room for, to either side.
    """
    axis = Axis(-reach, reach, 6, 124)
    body = [
        plots.line("grid", 6, 8, 124, 8),
        plots.line("axis", 65, 2, 65, 14),
        plots.line("whisker", axis(value - 2 * noise), 8, axis(value + 2 * noise), 8),
        plots.dot("last", axis(value), 8, 3.5),
    ]
    label = f"log-loss against all: {value:+.4f}, give or take {2 * noise:.4f}"
    return plots.drawing(label, body, width=130, height=16)


def write(
    path: Path,
    rows: Sequence[MemberRow],
    rules: Sequence[Nested],
    choice: Choice,
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    images: NDArray[np.uint8],
) -> Path:
    """Return `path`, the page of an ensemble, written whole.

    rows: of all members. rules: those compared, maybe none. probabilities: (M, N, 10), NaN where a member does not
    answer. labels: (N,). images: (N, 28, 28) uint8. Raises DataError where the page cannot be written.
    """
    weights, n = choice.weights, len(labels)
    together = combine(probabilities, weights)
    known = answered(probabilities, weights)
    errors = int((together.argmax(axis=1) != labels).sum())
    accuracy = (n - errors) / n
    html = page.render(
        "ensemble.html",
        choice=choice,
        chosen=len(choice.members),
        n=n,
        errors=errors,
        accuracy=accuracy,
        interval=wilson(n - errors, n),
        mean_accuracy=float(np.mean([1 - row.errors / row.n for row in rows])),
        nll=nll(labels[known], together[known]),
        unanswered=int((~known).sum()),
        per_image=float((~np.isnan(probabilities[list(choice.members), :, 0])).sum(axis=0)[known].mean()),
        recipes=_recipes(rows),
        best=min(rows, key=lambda row: (row.errors / row.n, row.nll)),
        blind=_rule(choice.rule) in NOT_CHOSEN_ON,
        members=sorted(rows, key=lambda row: row.nll),
        most=float(weights.max()),
        folds=any(row.fold is not None for row in rows),
        **_rules(rules, choice),
        **_sizes(probabilities, labels, choice, accuracy),
        **_pairs(probabilities, labels, weights),
        **_pictures(probabilities, labels, images, together, choice),
    )
    return page.write(path, html)


def _recipes(rows: Sequence[MemberRow]) -> list[tuple[str, int, int]]:
    """Return each recipe with how many of its members were chosen, of how many, in the order of the pool."""
    names, taken = [row.recipe for row in rows], [row.recipe for row in rows if row.weight > 0]
    return [(name, taken.count(name), names.count(name)) for name in dict.fromkeys(names)]


def _rules(rows: Sequence[Nested], choice: Choice) -> dict[str, Any]:
    """Return the table of rules, and in words which is the default and why."""
    if not rows:
        return {"rules": [], "judged": None}
    # What is drawn at random may lie far off, and would leave the rest no room.
    reach = max(
        (abs(each.nll_difference) + 2 * each.nll_noise for each in rows if _rule(each.rule) != "random"), default=0
    )
    default = best_rule(rows)
    shown = [(each, difference(each.nll_difference, each.nll_noise, reach or 1)) for each in rows]
    own = next((each for each in rows if each.rule == choice.rule and _rule(each.rule) not in NOT_CHOSEN_ON), None)
    judged = own and {"result": own, "interval": wilson(round(own.n - own.errors), own.n)}
    return {"rules": shown, "default": default, "verdict": _verdict(rows, default), "judged": judged}


def _verdict(rows: Sequence[Nested], default: str) -> str:
    """Return in words which rule is the default, and why."""
    rivals = [each for each in rows if each.rule != "all"]
    if not rivals:
        return "There was no other rule to compare with."
    if default != "all":
        won = next(each for each in rivals if each.rule == default)
        times = -won.nll_difference / won.nll_noise if won.nll_noise else float("inf")
        return (
            f"Choosing by {default} is the default here: on images that it did not choose on its log-loss is "
            f"{-won.nll_difference:.4f} below that of all members together, {times:.1f} times its noise, and it "
            "makes no more errors."
        )
    best = min(rivals, key=lambda each: each.nll_difference)
    if best.nll_difference >= 0:
        return (
            "All members together stay the default: no rule has a lower log-loss on images that it did not choose on. "
            f"The nearest, {best.rule}, is {best.nll_difference:.4f} above it."
        )
    return (
        f"All members together stay the default: the lowest log-loss, that of {best.rule}, is "
        f"{-best.nll_difference:.4f} below theirs, which may be noise (±{best.nll_noise:.4f}) or brings more errors."
    )


def _sizes(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], choice: Choice, accuracy: float
) -> dict[str, Any]:
    """Return the chart of accuracy against size, and where the chosen ensemble lies among random ones of its size."""
    count, size = len(probabilities), len(choice.members)
    if count < 2:
        return {"size_chart": None, "at_size": None}
    sizes = sorted({*(each for each in SIZES if each < count), size, count})
    points = diversity.size_curve(probabilities, labels, sizes, draws=DRAWS)
    label = f"Accuracy against the number of members; {size} chosen members: {page.percent(accuracy)}"
    chart = band(points, (size, accuracy), n=len(labels), label=label)
    at = next(each for each in points if each.size == size)
    place = "above" if accuracy > at.high else "below" if accuracy < at.low else "within"
    return {"size_chart": chart, "at_size": at if 1 < size < count else None, "place": place, "draws": DRAWS}


def _pairs(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], weights: NDArray[np.float64]
) -> dict[str, Any]:
    """Return how pairs of members differ in the mean, of all members and of the chosen; nothing for a single one."""
    if len(weights) < 2:
        return {"pairs": []}
    errors = diversity.errors_of(probabilities, labels)
    means = diversity.pairwise(errors), diversity.pairwise(errors[np.flatnonzero(weights)])
    table = [
        ("Disagreement", "one right, the other wrong, of all images", "disagreement", page.percent, 3),
        ("Double fault", "both wrong, of all images", "double_fault", page.percent, 3),
        ("Errors in common", "both wrong, of the images that either gets wrong", "overlap", page.percent, 1),
        ("Yule’s Q", "0: together by chance alone; 1: one’s are all the other’s too", "q", page.number, 3),
    ]
    rows = [(name, what, *(words(getattr(mean, key), n) for mean in means)) for name, what, key, words, n in table]
    return {"pairs": rows}


def _pictures(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    images: NDArray[np.uint8],
    together: NDArray[np.float32],
    choice: Choice,
) -> dict[str, Any]:
    """Return what the average loses and saves of its members' answers, counted and pictured."""
    own = probabilities[list(choice.members)]
    errors = diversity.errors_of(own, labels)
    lost, saved = diversity.rescued(own, labels, together)
    right = together.argmax(axis=1) == labels
    contested = (errors == 1).any(axis=0)

    def items(indices: NDArray[np.int64], most: int, best_first: bool) -> list[dict[str, Any]]:
        hits = (errors == 0).sum(axis=0)
        order = indices[np.argsort(-hits[indices] if best_first else hits[indices], kind="stable")][:most]
        return [
            {
                "image": page.picture(images[i]),
                "index": int(i),
                "label": int(labels[i]),
                "given": int(together[i].argmax()),
                # What most of the members that err take it for.
                "mistaken": int(np.bincount(own[errors[:, i] == 1, i].argmax(axis=1), minlength=10).argmax()),
                "right": int(hits[i]),
                "of": int((~np.isnan(errors[:, i])).sum()),
            }
            for i in order
        ]

    return {
        "contested": int(contested.sum()),
        "settled": int((contested & right).sum()),
        "lost": len(lost),
        "saved": len(saved),
        "hopeless": int((~right).sum()) - len(lost),
        "lost_shown": items(lost, SHOWN_LOST, True),
        "saved_shown": items(saved, SHOWN_SAVED, False),
    }


def _rule(text: str) -> str:
    return text.partition(":")[0]
