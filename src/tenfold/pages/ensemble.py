"""An ensemble's page: one self-contained HTML file that shows what was chosen, why, and what averaging does."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.ensembles import diversity
from tenfold.ensembles.averaging import answered, combine
from tenfold.ensembles.selection import Choice, Nested, best_rule
from tenfold.errors import DataError
from tenfold.metrics.scores import nll
from tenfold.pages import ensemble_plots, page, plots

DRAWS = 200  # random ensembles of each size
SHOWN_LOST, SHOWN_SAVED = 48, 24
SHOWN_MEMBERS = 40  # in the heat maps
SIZES = (1, 2, 3, 4, 5, 7, 10, 14, 20, 28, 40, 57, 80, 113, 160, 226, 320, 453, 640)
NOT_CHOSEN_ON = ("all", "random")  # rules that look at no label


def write(
    path: Path,
    result: Mapping[str, Any],
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    images: NDArray[np.uint8] | None,
    choice: Choice,
) -> Path:
    """Return `path`, the page of an ensemble, written whole.

    result: as `tenfold.ensemble` returns it; of it are used pool (a row a member: name, recipe, seed, fold, n, errors,
    nll, seconds), rules (of `selection.as_json`), errors, n, validation_accuracy, validation_ci95, and
    mean_member_accuracy. probabilities: (M, N, 10), NaN where a member does not answer. labels: (N,). images: (N, 28,
    28) uint8, or None where there are no pictures. choice: the members and their weights.
    Raises DataError where the page cannot be written.
    """
    weights = choice.weights
    together = combine(probabilities, weights, choice.average)
    known = answered(probabilities, weights)
    html = page.render(
        "ensemble.html",
        result=result,
        choice=choice,
        chosen=len(choice.members),
        nll=nll(labels[known], together[known]),
        unanswered=int((~known).sum()),
        per_image=float((~np.isnan(probabilities[list(choice.members), :, 0])).sum(axis=0)[known].mean()),
        recipes=_recipes(result["pool"], weights),
        best=min(result["pool"], key=lambda row: (row["errors"] / row["n"], row["nll"])),
        blind=_rule(choice.rule) in NOT_CHOSEN_ON,
        members=_members(result["pool"], weights),
        folds=any(row["fold"] is not None for row in result["pool"]),
        **_rules(result["rules"], choice),
        **_sizes(probabilities, labels, choice, float(result["validation_accuracy"])),
        **_pairs(probabilities, labels, result["pool"], weights),
        **_pictures(probabilities, labels, images, together, choice),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return page.write(path, html)
    except OSError as error:
        raise DataError(f"The page '{path}' cannot be written: {error.strerror}. Free it or move it.") from None


def _recipes(pool: Sequence[Mapping[str, Any]], weights: NDArray[np.float64]) -> list[tuple[str, int, int]]:
    """Return each recipe with how many of its members were chosen, of how many, in the order of the pool."""
    names = [row["recipe"] for row in pool]
    taken = [row["recipe"] for row, weight in zip(pool, weights, strict=True) if weight > 0]
    return [(name, taken.count(name), names.count(name)) for name in dict.fromkeys(names)]


def _members(pool: Sequence[Mapping[str, Any]], weights: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Return a row a member, the lowest log-loss first, with the length of its weight's bar."""
    most = float(weights.max())
    rows = [dict(row) | {"weight": float(w), "bar": float(w) / most} for row, w in zip(pool, weights, strict=True)]
    return sorted(rows, key=lambda row: row["nll"])


def _rules(found: Sequence[Mapping[str, Any]], choice: Choice) -> dict[str, Any]:
    """Return the table of rules, and in words which is the default and why."""
    names = {each.name for each in fields(Nested)}
    rows = [Nested(**{key: value for key, value in row.items() if key in names}) for row in found]
    if not rows:
        return {"rules": [], "default": None, "verdict": "", "own": None}
    # What is drawn at random may lie far off, and would leave the rest no room.
    reach = max(
        (abs(each.nll_difference) + 2 * each.nll_noise for each in rows if _rule(each.rule) != "random"), default=0
    )
    default = best_rule(rows, choice.average)
    shown = []
    for each in rows:
        label = f"log-loss against all: {_signed(each.nll_difference, 4)}, give or take {2 * each.nll_noise:.4f}"
        strip = ensemble_plots.difference(each.nll_difference, each.nll_noise, reach or 1, label=label)
        shown.append(
            {
                "row": each,
                "strip": strip,
                "nll_difference": _signed(each.nll_difference, 4),
                "errors_difference": _signed(each.errors_difference, 1),
                "default": each.rule == default and each.average == choice.average,
                "reference": each.rule == "all",
            }
        )
    own = next((each for each in rows if each.rule == choice.rule and each.average == choice.average), None)
    return {"rules": shown, "default": default, "verdict": _verdict(rows, default, choice.average), "own": own}


def _verdict(rows: Sequence[Nested], default: str, average: str) -> str:
    """Return in words which rule is the default, and why."""
    rivals = [each for each in rows if each.rule != "all" and each.average == average]
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
        return {"size_chart": None, "at_size": None, "draws": 0}
    sizes = sorted({*(each for each in SIZES if each < count), size, count})
    points = diversity.size_curve(probabilities, labels, sizes, draws=DRAWS, average=choice.average)
    label = f"Accuracy against the number of members; {size} chosen members: {page.percent(accuracy)}"
    chart = ensemble_plots.band(points, (size, accuracy), n=len(labels), label=label)
    at = next(each for each in points if each.size == size)
    place = "above" if accuracy > at.high else "below" if accuracy < at.low else "within"
    return {
        "size_chart": chart,
        "at_size": at if 1 < size < count else None,
        "place": place,
        "draws": DRAWS,
    }


def _pairs(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    pool: Sequence[Mapping[str, Any]],
    weights: NDArray[np.float64],
) -> dict[str, Any]:
    """Return the heat maps of pairs and what they come to; those of largest weight where there are too many."""
    if len(pool) < 2:
        return {"heat": [], "summary": []}
    errors = diversity.errors_of(probabilities, labels)
    order = sorted(range(len(pool)), key=lambda i: (-weights[i], pool[i]["nll"]))[:SHOWN_MEMBERS]
    # Members of one fold side by side: the others share no image with them.
    order.sort(key=lambda i: (pool[i]["fold"] or 0, pool[i]["recipe"], pool[i]["nll"]))
    names = [f"{pool[i]['recipe']} {pool[i]['seed']}" for i in order]
    shown, chosen = diversity.pairwise(errors[order]), diversity.pairwise(errors[np.flatnonzero(weights)])
    everyone = diversity.pairwise(errors)
    whole: plots.Text = lambda value: f"{100 * value:.0f}%"  # noqa: E731
    fine: plots.Text = lambda value: f"{100 * value:.2f}%"  # noqa: E731
    heat = [
        {
            "title": "Errors in common",
            "text": "Of the images that one of the two gets wrong, the share that both do (Jaccard). Pale is diverse.",
            "svg": ensemble_plots.heat_map(shown.overlap, names, text=whole, label="Errors in common, pair by pair"),
        },
        {
            "title": "Disagreement",
            "text": "The share of images that only one of the two gets right. Strong is diverse, or bad.",
            "svg": ensemble_plots.heat_map(shown.disagreement, names, text=fine, label="Disagreement, pair by pair"),
        },
    ]
    tables = [
        ("Disagreement", "one right, the other wrong, of all images", "disagreement", 3),
        ("Double fault", "both wrong, of all images", "double_fault", 3),
        ("Errors in common", "both wrong, of the images that either gets wrong", "overlap", 1),
    ]
    summary = [
        (name, what, page.percent(_pair(everyone, key), digits), page.percent(_pair(chosen, key), digits))
        for name, what, key, digits in tables
    ]
    summary.append(
        (
            "Yule’s Q",
            "0 where errors fall together by chance alone, 1 where one’s errors are among the other’s",
            page.number(_pair(everyone, "q"), 3),
            page.number(_pair(chosen, "q"), 3),
        )
    )
    return {"heat": heat, "summary": summary, "hidden": len(pool) - len(order)}


def _pair(measures: diversity.Pairwise, key: str) -> float:
    return diversity.mean_pair(getattr(measures, key))


def _pictures(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    images: NDArray[np.uint8] | None,
    together: NDArray[np.float32],
    choice: Choice,
) -> dict[str, Any]:
    """Return what the average loses and saves of its members' answers, counted and pictured."""
    own = probabilities[list(choice.members)]
    errors = diversity.errors_of(own, labels)
    found = diversity.rescued(own, labels, together)
    right = together.argmax(axis=1) == labels
    contested = (errors == 1).any(axis=0)

    def items(indices: NDArray[np.int64], most: int) -> list[dict[str, Any]]:
        if images is None:
            return []
        hits = (errors[:, indices] == 0).sum(axis=0)
        order = indices[np.argsort(-hits if len(hits) and not right[indices[0]] else hits, kind="stable")][:most]
        return [_item(int(i), images, labels, own, errors, together) for i in order]

    return {
        "contested": int(contested.sum()),
        "settled": int((contested & right).sum()),
        "lost": len(found.lost),
        "saved": len(found.saved),
        "hopeless": int((~right).sum()) - len(found.lost),
        "lost_shown": items(found.lost, SHOWN_LOST),
        "saved_shown": items(found.saved, SHOWN_SAVED),
        "pictures": images is not None,
    }


def _item(
    i: int,
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    own: NDArray[np.floating],
    errors: NDArray[np.float64],
    together: NDArray[np.float32],
) -> dict[str, Any]:
    """Return an image's picture and label, the average's digit, that of most members that err, how many are right."""
    wrong = own[errors[:, i] == 1, i].argmax(axis=1)
    return {
        "image": page.picture(images[i]),
        "index": i,
        "label": int(labels[i]),
        "given": int(together[i].argmax()),
        "mistaken": int(np.bincount(wrong, minlength=10).argmax()) if len(wrong) else None,
        "right": int((errors[:, i] == 0).sum()),
        "of": int((~np.isnan(errors[:, i])).sum()),
    }


def _rule(text: str) -> str:
    return text.partition(":")[0]


def _signed(value: float, digits: int) -> str:
    """Return a number with its sign, a true minus, and no sign on zero: -0.00312 gives "−0.0031"."""
    shown = f"{value:+.{digits}f}"
    return (shown if float(shown) else shown[1:]).replace("-", "−")
