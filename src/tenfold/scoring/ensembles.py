"""What an ensemble is worth on test images: the record of a pool whose choices were all made before, and its tables."""

import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from tenfold.metrics.intervals import wilson
from tenfold.pages.result_tables import table
from tenfold.runs import records
from tenfold.runs.results import DataUsed, Record
from tenfold.scoring import disputed
from tenfold.scoring.leak import Part

FILE = "ensembles.jsonl"  # in the folder of results
POOL = "forty"  # the pool that docs/ensemble.md tells of


class MemberScore(Record):
    """One member: errors on held-out and on test images, and accuracy on images that it was trained on."""

    name: str
    held_out: Part
    held_out_nll: float
    training: Part | None = None
    test: Part


class Band(Record):
    """What ensembles of one size, drawn at random, reach on the test images; fractions."""

    size: int
    draws: int
    mean: float
    p5: float
    p95: float
    least: float
    most: float


class EnsembleTest(Record):
    """A pool, what its held-out images say of the rules, and one look at the test images."""

    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    name: str
    recipes: list[str]
    seconds_a_member: float = Field(description="of training, median")
    wall_seconds_a_member: float | None = Field(None, description="of the pool's wall clock, where it was measured")
    rules: list[dict[str, Any]] = Field(description="of `selection.nested`, on held-out images")
    rule: str = Field(description="what `auto` took")
    test: DataUsed
    members: list[MemberScore]
    ensembles: dict[str, Part] = Field(description="on the test images, by what chose them")
    wrong: dict[str, list[int]] = Field({}, description="the test images that these, and the student, read wrong")
    bands: list[Band]
    student: dict[str, Part] = Field({}, description="student and the same network alone, on the test images")
    pairs: list[dict[str, Any]] = Field([], description="of `paired.compare`, in the order of their names")
    commit: str | None
    versions: dict[str, str]
    machine: dict[str, str | int | float | None]


def newest(folder: Path, name: str) -> EnsembleTest | None:
    """Return the last record of that name, None where there is none."""
    found = [each for each in records.read(folder / FILE, EnsembleTest) if each.name == name]
    return found[-1] if found else None


def scores_block(folder: Path, name: str = POOL) -> str:
    """Return the Markdown of what ensembles, student and members did on the test images."""
    record = newest(folder, name)
    if record is None:
        return "Nothing is recorded yet."
    errors = sorted(each.test.errors for each in record.members)
    n, mean = record.test.n, statistics.mean(errors)
    spread = f" ± {100 * statistics.stdev(errors) / n:.3f}" if len(errors) > 1 else ""
    low, high = wilson(n - round(mean), n)
    rows = [
        [f"one member, mean of {len(errors)}", f"{100 * (1 - mean / n):.3f}{spread}", _interval(low, high),
         f"{mean:.1f}", "–"],
        ["the best and the worst member", f"{_percent(errors[0], n)}, {_percent(errors[-1], n)}", "–",
         f"{errors[0]}, {errors[-1]}", "–"],
    ]  # fmt: skip
    for title, part in {**record.ensembles, **record.student}.items():
        wrong = record.wrong.get(title)
        rows.append([*_row(title, part), "–" if wrong is None else str(disputed.count(wrong))])
    head = [f"{record.name}, {record.test.spec}", "accuracy, %", "95% interval", "errors", "of the 15 disputed"]
    return table(head, rows)


def rules_block(folder: Path, name: str = POOL) -> str:
    """Return the Markdown of how the rules did on held-out images that they did not choose on."""
    record = newest(folder, name)
    if record is None:
        return "Nothing is recorded yet."
    rows = [
        [
            f"`{each['rule']}`",
            f"{each['members']:.1f}",
            f"{each['nll']:.5f}",
            f"{each['seen_nll']:.5f}",
            "–" if each["rule"] == "all" else f"{each['nll_difference']:+.5f} ± {each['nll_noise']:.5f}",
            f"{each['errors']:.2f}",
            "–" if each["rule"] == "all" else f"{each['errors_difference']:+.2f} ± {each['errors_noise']:.2f}",
        ]
        for each in record.rules
    ]
    head = ["rule", "members", "NLL, not chosen on", "NLL, chosen on", "NLL against `all`", "errors", "against `all`"]
    n = record.rules[0]["n"]
    return f"Of {n:,} held-out images; `auto` took `{record.rule}`.\n\n{table(head, rows)}"


def bands_block(folder: Path, name: str = POOL) -> str:
    """Return the Markdown of what random ensembles of each size reach on the test images."""
    record = newest(folder, name)
    if record is None:
        return "Nothing is recorded yet."
    rows = [
        [str(each.size), *(f"{100 * value:.3f}" for value in (each.mean, each.p5, each.p95, each.least, each.most))]
        for each in record.bands
    ]
    head = ["members drawn", "mean, %", "5% are below", "5% are above", "least", "most"]
    return f"{record.bands[0].draws:,} draws.\n\n{table(head, rows)}"


def _row(name: str, part: Part) -> list[str]:
    low, high = wilson(part.n - part.errors, part.n)
    return [name, _percent(part.errors, part.n), _interval(low, high), str(part.errors)]


def _interval(low: float, high: float) -> str:
    return f"{100 * low:.2f} to {100 * high:.2f}"


def _percent(errors: int, n: int) -> str:
    return f"{100 * (1 - errors / n):.2f}"
