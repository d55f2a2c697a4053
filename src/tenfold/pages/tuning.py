"""A search's page: one self-contained HTML file that shows what was tried, what mattered, and what came of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.pages import page, plots, tuning_plots
from tenfold.tuning.search import Space
from tenfold.tuning.study import Tried, rank

if TYPE_CHECKING:
    from markupsafe import Markup

FLOOR = 1e-4  # what a logarithmic axis shows of an objective of 0: no mistake among the held-out images
NAMES = {"nll": "negative log-likelihood", "accuracy": "accuracy"}
SHORT = {"nll": "NLL", "accuracy": "accuracy"}
METHODS = {"optuna": "Optuna (TPE, median pruning)", "grid": "coarse-to-fine grid of three stages"}


def write_page(
    path: Path,
    *,
    plan: Mapping[str, Any],
    space: Space,
    tried: Sequence[Tried],
    importances: dict[str, float],
    comparison: Mapping[str, Any] | None,
    verdict: str,
    recipe: str,
) -> Path:
    """Return `path`, the page of a search, written whole.

    plan: what was asked for (recipe, method, metric, seed, spec, sha256, images, started, versions ...). tried: all
    trials. comparison: of base and best on unused seeds, or None. recipe: the new one as TOML.
    """
    shown = [each for each in tried if each.state != "lost"]
    complete = sorted((each for each in shown if each.objective is not None), key=rank)
    best = complete[0] if complete else None
    html = page.render(
        "tuning.html",
        plan=plan,
        metric=NAMES[plan["metric"]],
        method=METHODS[plan["method"]],
        counts={state: sum(each.state == state for each in shown) for state in ("complete", "pruned", "failed")},
        best=best,
        base=next((each for each in complete if each.base), None),
        rows=_rows(space, [*complete, *(each for each in shown if each.objective is None)]),
        keys=list(space),
        changed=_changed(space, complete, best),
        charts=_charts(plan["metric"], space, shown, best, importances) if best is not None else None,
        comparison=comparison,
        verdict=verdict,
        recipe=recipe,
        provenance=_provenance(plan),
    )
    return page.write(path, html)


def _charts(
    metric: str, space: Space, tried: Sequence[Tried], best: Tried, importances: dict[str, float]
) -> dict[str, Any]:
    """Return every chart that there is something to draw for."""
    text: plots.Text = plots.accuracy_text if metric == "accuracy" else lambda value: f"{value:.3g}"
    name = NAMES[metric]
    charts: dict[str, Markup | list[tuple[str, Markup]] | None] = {
        "history": tuning_plots.history(tried, text=text, floor=FLOOR, label=f"{name} of every trial in its order"),
        "curves": None,
        "importances": None,
        "parallel": tuning_plots.parallel(
            space, tried, name=SHORT[metric], text=text, floor=FLOOR, label=f"Values of every trial and {name}"
        ),
        "slices": tuning_plots.slices(space, tried, best, text=text, floor=FLOOR),
    }
    if any(each.curve for each in tried):
        label = f"{name} of every trial while it was trained"
        charts["curves"] = tuning_plots.curves(tried, best, text=text, floor=FLOOR, label=label)
    if importances:
        charts["importances"] = tuning_plots.importances(importances, label="How much each key matters")
    return charts


def _rows(space: Space, tried: Sequence[Tried]) -> list[dict[str, Any]]:
    """Return a table's row for each trial."""
    return [
        {
            "number": each.number,
            "what": "the recipe as it is" if each.base else each.reason or each.state,
            "values": [_shown(each.values.get(key)) for key in space],
            "nll": each.nll,
            "accuracy": each.accuracy,
            "seconds": each.seconds,
        }
        for each in tried
    ]


def _changed(space: Space, complete: Sequence[Tried], best: Tried | None) -> list[tuple[str, str, str]]:
    """Return (key, value before, value after) for every key."""
    base = next((each for each in complete if each.base), None)
    if best is None or base is None:
        return []
    return [(key, _shown(base.values.get(key)), _shown(best.values.get(key))) for key in space]


def _shown(value: Any) -> str:
    if value is None:
        return page.MISSING
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _provenance(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the rows (what, value) that say where the search comes from."""
    rows = [
        ("Started", f"{plan['started'][:16].replace('T', ' ')} UTC"),
        ("Seed", plan["seed"]),
        ("Data", plan["spec"]),
        ("Images", page.count(plan["images"])),
        ("Data SHA-256", plan["sha256"]),
        ("Versions", ", ".join(f"{name} {version}" for name, version in plan["versions"].items())),
        ("Commit", plan["commit"]),
    ]
    return [(name, str(value)) for name, value in rows if value is not None]
