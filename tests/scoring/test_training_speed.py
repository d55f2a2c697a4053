"""The table of training speeds says what the records say."""

from pathlib import Path
from typing import Any

import pytest

from tenfold.runs import records
from tenfold.scoring.training_speed import FILE, TrainingSpeed, block, speed_table


def speed(recipe: str = "two-conv", **changes: Any) -> TrainingSpeed:
    """Return a record whose medians are 4,000 and 1,000 images a second."""
    values: dict[str, Any] = {
        "recipe": recipe,
        "config_sha256": "c" * 64,
        "commit": "abc",
        "machine": {"cpu": "Example CPU", "threads": 2},
        "versions": {},
        "parameters": 429_258,
        "batch_size": 64,
        "ours": [3900.0, 9000.0, 4000.0],
        "plain": [1000.0, 1.0, 1010.0],
    }
    return TrainingSpeed(**(values | changes))


def test_ratio_is_that_of_the_medians() -> None:
    """A round that something else slowed down does not count."""
    assert speed().ratio() == 4
    assert speed().workers_ratio() is None
    assert speed(plain_workers=[500.0, 800.0], workers=2).workers_ratio() == pytest.approx(4000 / 650)


def test_table() -> None:
    """A row a recipe, the quickest first; the columns of the loading processes only where they were measured."""
    slow = speed("deep-20", ours=[300.0])
    lines = speed_table([slow, speed()]).splitlines()
    assert lines[0].endswith("| plain loop, images/s | times as fast |")
    assert lines[2:] == [
        "| `two-conv` | 64 | 429,258 | 4,000 | 1,000 | 4.0 |",
        "| `deep-20` | 64 | 429,258 | 300 | 1,000 | 0.3 |",
    ]
    both = speed_table([speed(), speed("deep-20", ours=[2.0], plain_workers=[500.0], workers=2)]).splitlines()
    assert both[0].endswith("| plain, 2 loading processes | times as fast |")
    assert both[2].endswith("| 4.0 | – | – |")


def test_block_takes_the_newest(tmp_path: Path) -> None:
    """Of each recipe the last line counts, on each processor by itself."""
    assert block(tmp_path) == "No training speeds are recorded yet."
    elsewhere = speed(machine={"cpu": "Other CPU", "threads": 8})
    for record in (speed(ours=[1.0]), elsewhere, speed()):
        records.append(tmp_path / FILE, record)
    assert block(tmp_path) == (
        f"**On Example CPU, 2 threads**\n\n{speed_table([speed()])}\n\n"
        f"**On Other CPU, 8 threads**\n\n{speed_table([elsewhere])}"
    )
