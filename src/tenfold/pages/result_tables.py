"""Records -> Markdown tables: seconds to an accuracy, and the published systems beside ours."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from tenfold.metrics.intervals import wilson
from tenfold.pages.page import MISSING
from tenfold.runs.results import Result
from tenfold.training import recipe as recipes

TUTORIAL = "tutorial"  # the system that others' speed is measured against
RATIO_TARGET = "0.9917"  # its accuracy after 14 epochs
NOTHING = "No results are recorded yet."

# The systems in the order that the tables show them: classical ones, published networks, ours. Others come last.
SYSTEMS = (
    *("logistic", "svm", "svm-hog", "xgboost", "knn", "knn-hog", "forest"),
    *("dense-128", "dense-128-64", "two-conv", "keras-classic", "deep-20", "padded-5x5", "six-conv"),
    *("six-conv-augmented", "instant", "fast", "strong", "record", "world", "tiny"),
)
# Where a published score may come from, the nearest to the protocol first, and how many of those are its own kind.
PUBLISHED_ON = {"mnist": (("test", "kaggle", "validation"), 1), "kaggle": (("validation", "kaggle", "test"), 2)}
ON = {"test": "MNIST's test images", "kaggle": "Kaggle's leaderboard", "validation": "10% of Kaggle's 42,000"}


class Published(NamedTuple):
    """A published score as a protocol's table shows it; `comparable` says whether it is on what the protocol is on."""

    score: float
    on: str  # "test", "kaggle" or "validation", as in the recipe
    source: str
    leaked: bool
    comparable: bool

    def met(self, accuracy: float) -> bool | None:
        """Return whether `accuracy` is at or above the score; None where the two cannot be compared."""
        return accuracy >= self.score - 1e-9 if self.comparable and not self.leaked else None


def published(known: recipes.Published | None, protocol: str) -> Published | None:
    """Return the score, of those that a recipe's [published] table holds, that stands nearest to the protocol."""
    if known is None:
        return None
    kinds, own = PUBLISHED_ON[protocol]
    for place, kind in enumerate(kinds):
        score = getattr(known, kind)
        if score is not None:
            return Published(score, kind, known.source, known.leaked, place < own)
    return None


def row(result: Result, known: recipes.Published | None) -> dict[str, Any]:
    """Return a JSON-able dictionary of one system on a protocol, its published score beside ours.

    Keys: name and recipe (the same), protocol, published, published_on, source, leaked, meets_published (None where
    the two scores cannot be compared), accuracy (mean over the seeds), std (None for one), ci95, n, errors (mean),
    nll, seeds, seconds (of training, mean) and parameters.
    """
    near = published(known, result.protocol)
    mean, deviation = result.accuracy()
    losses = [trial.nll for trial in result.trials if trial.nll is not None]
    return {
        "name": result.recipe,
        "recipe": result.recipe,
        "protocol": result.protocol,
        "published": near.score if near else None,
        "published_on": near.on if near else None,
        "source": near.source if near else None,
        "leaked": near.leaked if near else False,
        "meets_published": near.met(mean) if near else None,
        "accuracy": mean,
        "std": deviation,
        "ci95": list(interval(result)),
        "n": result.test_data.n,
        "errors": round((1 - mean) * result.test_data.n, 2),
        "nll": statistics.fmean(losses) if len(losses) == len(result.trials) else None,
        "seeds": len(result.trials),
        "seconds": result.seconds(),
        "parameters": result.parameters,
    }


def in_order(names: Iterable[str]) -> list[str]:
    """Return recipes' names in the order of the tables, unknown ones last."""
    return sorted(names, key=lambda name: (SYSTEMS.index(name) if name in SYSTEMS else len(SYSTEMS), name))


def newest(results: Iterable[Result]) -> list[Result]:
    """Return the last result of each recipe (and note) on each processor and data, the quickest to train first."""
    kept = {(_group(result), result.recipe, result.note): result for result in results}
    return sorted(kept.values(), key=lambda result: result.seconds())


def speed(results: Sequence[Result]) -> str:
    """Return for each machine and test set the scores, then the seconds to given accuracies."""
    blocks = []
    for title, members in _grouped(newest(results), _group):
        blocks.append(f"**{title}**\n\n{_score_table(members)}")
        if any(member.seconds_to for member in members):
            blocks.append(_speed_table(members))
    return "\n\n".join(blocks) or NOTHING


def reproduced(protocol: str) -> Callable[[Sequence[Result]], str]:
    """Return the renderer of a protocol's table: for each machine, each system's published score beside ours."""
    return partial(_reproduced, protocol)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table; the first `left` columns are set left, the others right."""
    lines = [head, ["---"] * left + ["---:"] * (len(head) - left), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def seconds(value: float | None) -> str:
    """Return seconds with about three digits: "3.42", "49.6", "1,398"."""
    if value is None:
        return MISSING
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def score(result: Result) -> str:
    """Return the mean accuracy in per cent, and the standard deviation between seeds where there are several."""
    mean, deviation = result.accuracy()
    return f"{100 * mean:.3f}" + ("" if deviation is None else f" ± {100 * deviation:.3f}")


def interval(result: Result) -> tuple[float, float]:
    """Return the 95% interval of the mean accuracy: what other test images would have changed."""
    n = result.test_data.n
    return wilson(round(result.accuracy()[0] * n), n)


def errors(result: Result) -> str:
    """Return the mean number of errors: "27.2 of 10,000", or with one seed "27 of 10,000"."""
    n = result.test_data.n
    return f"{(1 - result.accuracy()[0]) * n:,.{int(result.accuracy()[1] is not None)}f} of {n:,}"


def processor(result: Result) -> str:
    """Return what a result was measured on, for a heading: the processor and its threads, or the accelerator."""
    machine = result.machine
    name, device = str(machine.get("cpu") or "unknown processor"), str(machine.get("device", "cpu"))
    if device == "cpu":
        threads = machine.get("threads")
        return f"{name}, {threads} {'thread' if threads == 1 else 'threads'}" if threads else name
    return f"{name}, {device}" if device == "mps" else device  # else the GPU's name


def _reproduced(protocol: str, results: Sequence[Result]) -> str:
    kept = {(processor(one), one.recipe, one.note): one for one in results if one.protocol == protocol}
    order = in_order({one.recipe for one in kept.values()})
    members = sorted(kept.values(), key=lambda one: (order.index(one.recipe), one.note))
    blocks = [f"**On {where}**\n\n{_reproduced_table(protocol, some)}" for where, some in _grouped(members, processor)]
    return "\n\n".join(blocks) or NOTHING


def _reproduced_table(protocol: str, results: Sequence[Result]) -> str:
    rows = []
    for result in results:
        shipped = recipes.load(result.recipe).published if result.recipe in recipes.available() else None
        known = published(shipped, protocol)
        met = None if known is None else known.met(result.accuracy()[0])
        on = MISSING if known is None else ON[known.on] + (", which it was trained on" if known.leaked else "")
        low, high = interval(result)
        rows.append(
            [
                _label(result),
                on,
                MISSING if known is None else f"{100 * known.score:.2f}",
                score(result),
                f"{100 * low:.2f} to {100 * high:.2f}",
                MISSING if met is None else "yes" if met else "**no**",
                errors(result),
                str(len(result.trials)),
                seconds(result.seconds()),
                _parameters(result),
            ]
        )
    head = ["recipe", "published on", "published, %", "ours, %", "95% interval", "reached", "errors", "seeds"]
    return table([*head, "training, s", "parameters"], rows, left=2)


def _score_table(results: Sequence[Result]) -> str:
    rows = []
    for result in results:
        low, high = interval(result)
        rows.append(
            [
                _label(result),
                score(result),
                f"{100 * low:.2f} to {100 * high:.2f}",
                errors(result),
                str(len(result.trials)),
                seconds(result.seconds()),
                seconds(result.command_seconds()),
                _parameters(result),
            ]
        )
    head = ["recipe", "test accuracy, %", "95% interval", "errors", "seeds", "training, s", "whole command, s"]
    return table([*head, "parameters"], rows)


def _speed_table(results: Sequence[Result]) -> str:
    targets = sorted({target for result in results for target in result.seconds_to}, key=float)
    slowest = next((result.seconds_to.get(RATIO_TARGET) for result in results if result.recipe == TUTORIAL), None)
    head = ["seconds to a mean of", *(f"{100 * float(target):g}%" for target in targets)]
    if slowest:
        head.append(f"times faster to {100 * float(RATIO_TARGET):g}%")
    rows = []
    for result in results:
        if not result.seconds_to:
            continue
        row = [_label(result), *(seconds(result.seconds_to.get(target)) for target in targets)]
        if slowest:
            own = result.seconds_to.get(RATIO_TARGET)
            row.append(f"{slowest / own:.3g}" if own else MISSING)
        rows.append(row)
    return table(head, rows)


def _label(result: Result) -> str:
    return f"`{result.recipe}`" + (f" ({result.note})" if result.note else "")


def _parameters(result: Result) -> str:
    return MISSING if result.parameters is None else f"{result.parameters:,}"


def _group(result: Result) -> str:
    """Return what results share that stand in one table: the data and the processor."""
    return f"{result.test_data.spec} on {processor(result)}"


def _grouped(results: Iterable[Result], key: Callable[[Result], str]) -> list[tuple[str, list[Result]]]:
    """Return (key, its results in their order), sorted by key."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return sorted(groups.items())
