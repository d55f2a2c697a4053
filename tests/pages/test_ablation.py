"""The ablations' tables say what the records say, and no more."""

import statistics
from typing import Any

import pytest
from scipy import stats

from tenfold.pages.ablation import rows, study_table
from tenfold.runs.results import DataUsed, Result, Trial


def result(variant: str, accuracies: list[float], study: str = "kernel", **changes: Any) -> Result:
    """Return a record of one variant, a seed for each accuracy."""
    values: dict[str, Any] = {
        "time": "2026-01-01T00:00:00+00:00",
        "recipe": "base",
        "config_sha256": "c" * 64,
        "commit": "abc",
        "machine": {"cpu": "Example CPU", "threads": 1},
        "versions": {},
        "train_data": DataUsed(spec="mnist", sha256="a" * 64, n=50_000),
        "test_data": DataUsed(spec="mnist, held out", sha256="b" * 64, n=10_000),
        "parameters": 24_058,
        "epochs": 2.0,
        "trials": [
            Trial(seed=seed, accuracy=accuracy, nll=0.03 + 0.01 * seed, seconds=10.0 + seed)
            for seed, accuracy in enumerate(accuracies)
        ],
        "protocol": "ablation",
        "study": study,
        "variant": variant,
    }
    return Result(**(values | changes))


SMALL, LARGE = result("3x3", [0.980, 0.981, 0.985]), result("5x5", [0.984, 0.986, 0.988])


def test_rows_have_means_and_paired_differences() -> None:
    """Means and deviations are over the seeds; the interval is Student's for pairs, as scipy's own test gives it."""
    small, large = rows([SMALL, LARGE], "3x3")
    assert small.accuracy == pytest.approx(0.982)
    assert small.std == pytest.approx(statistics.stdev([0.980, 0.981, 0.985]))
    assert (small.difference, small.difference_ci95) == (None, None)
    assert (small.images, small.seeds, small.parameters) == (50_000, 3, 24_058)
    assert (small.nll, small.seconds) == (pytest.approx(0.04), 11.0)
    expected = stats.ttest_rel([0.984, 0.986, 0.988], [0.980, 0.981, 0.985]).confidence_interval(0.95)
    assert large.difference == pytest.approx(0.004)
    assert large.difference_ci95 == pytest.approx([expected.low, expected.high])


def test_pairs_are_made_by_seed() -> None:
    """Only seeds that both variants have count for the difference, in whatever order they stand."""
    baseline = result("3x3", [0.9, 0.8])
    other = baseline.model_copy(
        update={"variant": "5x5", "trials": [Trial(seed=s, accuracy=a, seconds=1) for s, a in [(1, 0.85), (7, 0.5)]]}
    )
    row = rows([baseline, other], "3x3")[1]
    assert row.difference == pytest.approx(0.05)
    assert row.difference_ci95 is None
    assert row.nll is None


def test_one_seed_has_no_spread() -> None:
    """With one seed there is neither a deviation nor an interval."""
    _, row = rows([result("3x3", [0.98]), result("5x5", [0.99])], "3x3")
    assert (row.std, row.difference_ci95) == (None, None)
    assert "| **99.00** | +1.00 |" in study_table([result("3x3", [0.98]), result("5x5", [0.99])], "3x3")


def test_table_marks_the_best() -> None:
    """A row a variant, the best accuracy in bold, differences with a sign; the number of images where it varies."""
    table = study_table([SMALL, LARGE], "3x3").splitlines()
    assert table[0].startswith("| variant | accuracy, % | against 3x3 | NLL |")
    assert table[2].startswith("| 3x3 | 98.20 ± 0.26 |  | 0.0400 | 3 | 24,058 |")
    assert table[3].startswith("| **5x5** | **98.60 ± 0.20** | +0.40 (+0.15 to +0.65) |")
    few = LARGE.model_copy(update={"train_data": DataUsed(spec="mnist", sha256="a" * 64, n=500)})
    assert study_table([SMALL, few], "3x3").splitlines()[3].startswith("| **5x5** | 500 |")
    assert "−0.40" in study_table([SMALL, LARGE], "5x5")
