"""The ablations' tables say what the records say, and no more."""

import statistics
from collections.abc import Callable

import pytest
from scipy import stats

from tenfold.pages.ablation import rows, study_table
from tenfold.runs.results import DataUsed, Result, Trial


def test_rows_have_means_and_paired_differences(kernels: tuple[Result, Result]) -> None:
    """Means and deviations are over the seeds; the interval is Student's for pairs, as scipy's own test gives it."""
    small, large = rows([kernels[0], kernels[1]], "3x3")
    assert small.accuracy == pytest.approx(0.982)
    assert small.std == pytest.approx(statistics.stdev([0.980, 0.981, 0.985]))
    assert (small.difference, small.difference_ci95) == (None, None)
    assert (small.images, small.seeds, small.parameters) == (50_000, 3, 24_058)
    assert (small.nll, small.seconds) == (pytest.approx(0.04), 11.0)
    expected = stats.ttest_rel([0.984, 0.986, 0.988], [0.980, 0.981, 0.985]).confidence_interval(0.95)
    assert large.difference == pytest.approx(0.004)
    assert large.difference_ci95 == pytest.approx([expected.low, expected.high])


def test_pairs_are_made_by_seed(ablation: Callable[..., Result]) -> None:
    """Only seeds that both variants have count for the difference, in whatever order they stand."""
    baseline = ablation("3x3", [0.9, 0.8])
    other = baseline.model_copy(
        update={"variant": "5x5", "trials": [Trial(seed=s, accuracy=a, seconds=1) for s, a in [(1, 0.85), (7, 0.5)]]}
    )
    row = rows([baseline, other], "3x3")[1]
    assert row.difference == pytest.approx(0.05)
    assert row.difference_ci95 is None
    assert row.nll is None


def test_one_seed_has_no_spread(ablation: Callable[..., Result]) -> None:
    """With one seed there is neither a deviation nor an interval."""
    _, row = rows([ablation("3x3", [0.98]), ablation("5x5", [0.99])], "3x3")
    assert (row.std, row.difference_ci95) == (None, None)
    assert "| **99.00** | +1.00 |" in study_table([ablation("3x3", [0.98]), ablation("5x5", [0.99])], "3x3")


def test_table_marks_the_best(kernels: tuple[Result, Result]) -> None:
    """A row a variant, the best accuracy in bold, differences with a sign; the number of images where it varies."""
    table = study_table([kernels[0], kernels[1]], "3x3").splitlines()
    assert table[0].startswith("| variant | accuracy, % | against 3x3 | NLL |")
    assert table[2].startswith("| 3x3 | 98.20 ± 0.26 |  | 0.0400 | 3 | 24,058 |")
    assert table[3].startswith("| **5x5** | **98.60 ± 0.20** | +0.40 (+0.15 to +0.65) |")
    few = kernels[1].model_copy(update={"train_data": DataUsed(spec="mnist", sha256="a" * 64, n=500)})
    assert study_table([kernels[0], few], "3x3").splitlines()[3].startswith("| **5x5** | 500 |")
    assert "−0.40" in study_table([kernels[0], kernels[1]], "5x5")
