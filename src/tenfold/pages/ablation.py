"""An ablation's variants side by side: each one's figures, and what it gains on the baseline."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.pages import page
from tenfold.runs.results import Result


@dataclass(frozen=True)
class VariantRow:
    """One variant of an ablation.

    images: trained on. accuracy, nll and seconds are means over the seeds, std is the accuracy's deviation between
    them. difference: of the mean accuracy to the baseline's; difference_ci95: Student's interval of the differences
    between trainings with the same seed, all judged on the same images. None where there is no number: one seed has no
    spread, the baseline no difference.
    """

    variant: str
    images: int
    accuracy: float
    std: float | None
    nll: float | None
    seeds: int
    seconds: float
    parameters: int | None
    difference: float | None
    difference_ci95: tuple[float, float] | None


def rows(results: Sequence[Result], baseline: str) -> list[VariantRow]:
    """Return a row a variant; `baseline` is the label that the others are compared with."""
    own = {result.variant: result for result in results}
    return [_row(result, own.get(baseline)) for result in results]


def _row(result: Result, baseline: Result | None) -> VariantRow:
    accuracy, std = result.accuracy()
    difference, interval = (None, None) if baseline in (None, result) else _difference(result, baseline)
    return VariantRow(
        variant=result.variant,
        images=result.train_data.n,
        accuracy=accuracy,
        std=std,
        nll=result.nll(),
        seeds=len(result.trials),
        seconds=result.seconds(),
        parameters=result.parameters,
        difference=difference,
        difference_ci95=interval,
    )


def _difference(result: Result, baseline: Result) -> tuple[float | None, tuple[float, float] | None]:
    """Return the mean difference in accuracy of runs with the same seed, and its 95% interval."""
    others = {trial.seed: trial.accuracy for trial in baseline.trials}
    found = [trial.accuracy - others[trial.seed] for trial in result.trials if trial.seed in others]
    if len(found) < 2:
        return (found[0] if found else None), None
    from scipy.stats import t

    mean, error = statistics.fmean(found), statistics.stdev(found) / math.sqrt(len(found))
    reach = float(t.ppf(0.975, len(found) - 1)) * error
    return mean, (mean - reach, mean + reach)


def study_table(results: Sequence[Result], baseline: str) -> str:
    """Return a Markdown table of one ablation's variants, the most accurate in bold."""
    found = rows(results, baseline)
    best = max(row.accuracy for row in found)
    head = ["variant", "accuracy, %", f"against {baseline}", "NLL", "seeds", "parameters"]
    body = [_cells(row, row.accuracy == best) for row in found]
    if len({row.images for row in found}) > 1:
        head.insert(1, "images")
        for cells, row in zip(body, found, strict=True):
            cells.insert(1, page.count(row.images))
    return page.table(head, body)


def _cells(row: VariantRow, best: bool) -> list[str]:
    accuracy = f"{100 * row.accuracy:.2f}" + ("" if row.std is None else f" ± {100 * row.std:.2f}")
    return [
        f"**{row.variant}**" if best else row.variant,
        f"**{accuracy}**" if best else accuracy,
        _gain(row),
        page.number(row.nll),
        str(row.seeds),
        page.count(row.parameters),
    ]


def _gain(row: VariantRow) -> str:
    if row.difference is None:
        return ""
    text = page.points(row.difference)
    if row.difference_ci95 is None:
        return text
    return f"{text} ({page.points(row.difference_ci95[0])} to {page.points(row.difference_ci95[1])})"
