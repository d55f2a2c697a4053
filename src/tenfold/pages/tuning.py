"""A search as one self-contained page, tune.html: its course, every trial, and the new recipe."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tenfold.pages import page, plots
from tenfold.pages.plots import BOTTOM, LEFT, RIGHT, TOP, VALUE, Axis, Text, accuracy_text
from tenfold.tuning.comparison import SeedComparison
from tenfold.tuning.journal import Tried, best_of, rank
from tenfold.tuning.plan import Plan
from tenfold.tuning.space import Space

if TYPE_CHECKING:
    from markupsafe import Markup

FLOOR = 1e-4  # what a logarithmic axis shows of an objective of 0: no mistake among the held-out images
UNFINISHED = BOTTOM - 3  # where trials stand that have no final figure
NAMES = {"nll": "negative log-likelihood", "accuracy": "accuracy"}


def write_page(
    path: Path,
    *,
    plan: Plan,
    space: Space,
    tried: Sequence[Tried],
    comparison: SeedComparison | None,
    verdict: str,
    recipe: str,
) -> Path:
    """Return `path`, the page of a search, written whole.

    tried: all trials. comparison: of base and best on unused seeds, or None. recipe: the new one as TOML.
    """
    shown = [each for each in tried if each.state != "lost"]
    complete = sorted((each for each in shown if each.objective is not None), key=rank)
    best = best_of(shown)
    base = next((each for each in complete if each.base), None)
    text: Text = accuracy_text if plan.metric == "accuracy" else lambda value: f"{value:.3g}"
    label = f"{NAMES[plan.metric]} of every trial in its order"
    html = page.render(
        "tuning.html",
        plan=plan,
        metric=NAMES[plan.metric],
        counts={state: sum(each.state == state for each in shown) for state in ("complete", "pruned", "failed")},
        best=best,
        base=base,
        rows=[*complete, *(each for each in shown if each.objective is None)],
        keys=list(space),
        breakable=[key.replace(".", ".\N{ZERO WIDTH SPACE}").replace("_", "_\N{ZERO WIDTH SPACE}") for key in space],
        history=None if best is None else history(shown, best, text=text, label=label),
        comparison=comparison,
        verdict=verdict,
        recipe=recipe,
        provenance=[
            ("Started", page.minute(plan.started)),
            ("Seed", plan.seed),
            ("Data", plan.spec),
            ("Images", page.count(plan.images)),
            ("Data SHA-256", plan.sha256),
            ("Versions", ", ".join(f"{name} {version}" for name, version in plan.versions.items())),
            ("Commit", plan.commit),
        ],
    )
    return page.write(path, html)


def history(tried: Sequence[Tried], best: Tried, *, text: Text, label: str) -> "Markup":
    """Return the objective of each trial in its order, the best so far as a stepped line, the base as a dashed one.

    Trials without a final figure are marks along the bottom. The axis is logarithmic, down to `FLOOR`, the best on top.
    """
    values = {each.number: max(each.objective, FLOOR) for each in tried if each.objective is not None}
    axis = plots.log_axis(list(values.values()), TOP, BOTTOM - 12)
    last, right = max(each.number for each in tried), RIGHT - VALUE
    across = Axis(0, max(1, last), LEFT + 4, right)
    body = [
        plots.grid(axis, text, right),
        plots.words(LEFT - 8, BOTTOM + 17, "trial", "sub", "end"),
        plots.below(across, "{:g}".format, 5, whole=True),
    ]
    so_far: list[plots.Point] = []
    dots = []
    for each in tried:
        x = across(each.number)
        if each.number not in values:
            body.append(plots.line("pruned", x, UNFINISHED - 5, x, UNFINISHED))
            continue
        y = axis(values[each.number])
        dots.append(plots.dot("last", x, y, 3.5) if each is best else plots.dot("dot", x, y, 2))
        if each.base:
            body.append(plots.line("ideal", LEFT, y, right, y))
        so_far.append((x, min(y, so_far[-1][1] if so_far else y)))  # better is above
    so_far.append((across(last), so_far[-1][1]))
    body += [plots.path("line", plots.stepped(so_far)), *dots]
    body.append(plots.words(so_far[-1][0] + 9, so_far[-1][1] + 4.5, text(values[best.number]), "value", "start"))
    return plots.drawing(label, body)
