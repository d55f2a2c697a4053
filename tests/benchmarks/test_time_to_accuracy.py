"""Seconds to an accuracy: the tables that are made of the results."""

import statistics
from collections.abc import Callable
from typing import Any

import pytest
from systems import SystemTrial
from time_to_accuracy import speed

Make = Callable[..., Any]


def test_score_row(result: Make, cells: Make) -> None:
    """The row gives mean and sample standard deviation, the interval of the mean, errors, seeds and seconds."""
    found = cells(speed([result()]), "fast")
    deviation = 100 * statistics.stdev([0.9970, 0.9972, 0.9974])
    assert deviation == pytest.approx(0.02)
    assert found == ["`fast`", "99.720 ± 0.020", "99.60 to 99.81", "28.0 of 10,000", "3", "59.0", "63.0", "214,000"]


def test_one_seed_has_no_deviation_and_unknown_is_a_dash(result: Make, cells: Make) -> None:
    """A single seed shows no spread, and what was not measured shows as a dash."""
    single = result(trials=[SystemTrial(seed=0, accuracy=0.99, seconds=3.456)], parameters=None)
    assert cells(speed([single]), "fast")[1:] == [
        "99.000",
        "98.79 to 99.18",
        "100 of 10,000",
        "1",
        "3.46",
        "–",
        "–",
    ]


def test_the_newest_counts_and_machines_stand_apart(result: Make, cells: Make) -> None:
    """A recipe's newest result replaces older ones on its machine only; the quickest recipe stands first."""
    gpu = result().machine | {"device": "Example GPU"}
    quick = [SystemTrial(seed=0, accuracy=0.99, seconds=2.0)]
    text = speed(
        [
            result("fast"),
            result("instant", trials=quick),
            result("fast", trials=[SystemTrial(seed=0, accuracy=0.5, seconds=61.0)]),
            result("fast", machine=gpu),
        ]
    )
    assert cells(text, "fast")[1] == "50.000"
    assert text.count("| `fast` |") == 2
    assert text.index("`instant`") < text.index("`fast`")
    assert "**mnist:test on Example CPU, 2 threads**" in text
    assert "**mnist:test on Example GPU**" in text


def test_speed_table(result: Make, cells: Make) -> None:
    """Seconds to each accuracy stand in a second table, with how many times faster than the tutorial each system is."""
    text = speed(
        [
            result("tutorial", seconds_to={"0.99": 120.0, "0.9917": 430.0, "0.997": None}),
            result("instant", seconds_to={"0.99": 1.5, "0.9917": 3.5, "0.997": None}),
            result("strong"),
        ]
    )
    table = text[text.index("| seconds to a mean of") :]
    assert "| 99% | 99.17% | 99.7% | times faster to 99.17% |" in table
    assert cells(table, "instant") == ["`instant`", "1.50", "3.50", "–", "123"]
    assert cells(table, "tutorial") == ["`tutorial`", "120", "430", "–", "1"]
    assert "strong" not in table
