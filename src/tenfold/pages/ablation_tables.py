"""The ablations' records -> tables: a question, its answer, and the variants side by side."""

import math
import statistics
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tenfold.pages.result_tables import processor, table
from tenfold.runs.results import Result
from tenfold.training import ablation as ablations


def rows(results: Sequence[Result], baseline: str) -> list[dict[str, Any]]:
    """Return one JSON-able dictionary a variant; `baseline` is the label that the others are compared with.

    Keys: variant, images (trained on), accuracy and nll (means over the seeds), std (of the accuracy between seeds),
    seeds, seconds (mean), parameters, difference (of the mean accuracy to the baseline's) and difference_ci95
    (Student's interval of the differences between trainings with the same seed, all judged on the same images).
    None where there is no number: one seed has no spread, the baseline no difference.
    """
    own = {result.variant: result for result in results}
    return [_row(result, own.get(baseline)) for result in results]


def _row(result: Result, baseline: Result | None) -> dict[str, Any]:
    accuracy, std = result.accuracy()
    known = [trial.nll for trial in result.trials if trial.nll is not None]
    difference, interval = (None, None) if baseline in (None, result) else _difference(result, baseline)
    return {
        "variant": result.variant,
        "images": result.train_data.n,
        "accuracy": accuracy,
        "std": std,
        "nll": statistics.fmean(known) if len(known) == len(result.trials) else None,
        "seeds": len(result.trials),
        "seconds": result.seconds(),
        "parameters": result.parameters,
        "difference": difference,
        "difference_ci95": interval,
    }


def _difference(result: Result, baseline: Result) -> tuple[float | None, list[float] | None]:
    """Return the mean difference in accuracy of runs with the same seed, and its 95% interval."""
    others = {trial.seed: trial.accuracy for trial in baseline.trials}
    found = [trial.accuracy - others[trial.seed] for trial in result.trials if trial.seed in others]
    if len(found) < 2:
        return (found[0] if found else None), None
    from scipy.stats import t

    mean, error = statistics.fmean(found), statistics.stdev(found) / math.sqrt(len(found))
    reach = float(t.ppf(0.975, len(found) - 1)) * error
    return mean, [mean - reach, mean + reach]


def study_table(results: Sequence[Result], baseline: str) -> str:
    """Return a Markdown table of one ablation's variants, the most accurate in bold."""
    found = rows(results, baseline)
    best = max(row["accuracy"] for row in found)
    several_sizes = len({row["images"] for row in found}) > 1
    head = ["variant", "accuracy, %", f"against {baseline}", "NLL", "seeds", "parameters"]
    body = [_cells(row, row["accuracy"] == best) for row in found]
    if several_sizes:
        head.insert(1, "images")
        for cells, row in zip(body, found, strict=True):
            cells.insert(1, f"{row['images']:,}")
    return table(head, body)


def _cells(row: dict[str, Any], best: bool) -> list[str]:
    accuracy = f"{100 * row['accuracy']:.2f}"
    if row["std"] is not None:
        accuracy += f" ± {100 * row['std']:.2f}"
    return [
        f"**{row['variant']}**" if best else row["variant"],
        f"**{accuracy}**" if best else accuracy,
        _difference_text(row["difference"], row["difference_ci95"]),
        "–" if row["nll"] is None else f"{row['nll']:.4f}",
        str(row["seeds"]),
        "–" if row["parameters"] is None else f"{row['parameters']:,}",
    ]


def _difference_text(difference: float | None, interval: list[float] | None) -> str:
    if difference is None:
        return ""
    text = _points(difference)
    return text if interval is None else f"{text} ({_points(interval[0])} to {_points(interval[1])})"


def _points(difference: float) -> str:
    """Return a difference in percentage points, with a sign."""
    return f"{100 * difference:+.2f}".replace("-", "−")


def render(results: Sequence[Result]) -> str:
    """Return the Markdown of all studies, by name: the question, its answer, and the newest record of each variant."""
    studies: dict[str, dict[str, Result]] = {}
    for result in sorted(results, key=lambda result: datetime.fromisoformat(result.time)):
        if result.protocol == "ablation":
            studies.setdefault(result.study, {})[result.variant] = result
    shipped = ablations.available()
    shown = {name: newest for name, newest in sorted(studies.items()) if name in shipped}
    if not shown:
        return "No ablations are recorded yet."
    return "\n\n".join([_measured_on(shown), *(_study(name, newest) for name, newest in shown.items())])


def _measured_on(studies: dict[str, dict[str, Result]]) -> str:
    """Return the line that says on which images and where all of it was measured."""
    every = [result for newest in studies.values() for result in newest.values()]
    images = sorted({f"{result.test_data.n:,} images ({result.test_data.spec})" for result in every})
    return f"Judged on {' or '.join(images)}; trained on {' or '.join(sorted({processor(each) for each in every}))}."


def _study(name: str, newest: dict[str, Result]) -> str:
    """Return one ablation's heading, answer and table; its variants in the order of its file."""
    study = ablations.load(name)
    measured = [newest[variant.label] for variant in study.variants if variant.label in newest]
    if not measured:
        return f"### {study.question}\n\nIts variants have changed since they were measured."
    answer = f"{study.answer}\n\n" if study.answer else ""
    return f"### {study.question}\n\n{answer}{study_table(measured, study.baseline)}"
