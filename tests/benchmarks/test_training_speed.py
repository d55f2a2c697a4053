"""The table of training speeds says what the records say."""

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_speed as script
from PIL import Image
from records import NOTHING, read_records
from training_speed import FILE, TrainingSpeed, block, speed_table

from tenfold.data.digits import Digits
from tenfold.runs import results
from tenfold.training.recipe import AugmentSettings, load


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
    assert block(tmp_path) == NOTHING
    elsewhere = speed(machine={"cpu": "Other CPU", "threads": 8})
    for record in (speed(ours=[1.0]), elsewhere, speed()):
        results.append(tmp_path / FILE, record)
    assert block(tmp_path) == (
        f"**On Example CPU, 2 threads**\n\n{speed_table([speed()])}\n\n"
        f"**On Other CPU, 8 threads**\n\n{speed_table([elsewhere])}"
    )


def test_training_speed(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both loops are measured round by round, and the ratio is that of the medians."""
    file = tmp_path / "results" / "training_speed.jsonl"
    words = ["--recipes", str(recipe), "--data", "uci", "--rounds", "2", "--seconds", "0.05", "--workers", "0"]
    script.main([*words, "--record", str(file)])
    (record,) = read_records(file, TrainingSpeed)
    assert (len(record.ours), len(record.plain), record.plain_workers) == (2, 2, [])
    assert record.ratio() == statistics.median(record.ours) / statistics.median(record.plain)
    assert record.config_sha256 == load(recipe).config_hash()
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["ratios"] == {record.recipe: record.ratio()}


def test_plain_images_are_those_of_the_data(digits: Digits) -> None:
    """Without distortions the plain loop trains on the images themselves, scaled to [0, 1]."""
    pixels, label = script.PlainDigits(digits, AugmentSettings())[7]
    assert digits.labels is not None
    assert label == digits.labels[7]
    torch.testing.assert_close(pixels, torch.from_numpy(digits.images[7]).unsqueeze(0) / 255)


def test_plain_distortions_are_about_the_centre(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotation by 90 degrees through PIL turns the image as numpy does, and a shift moves it by whole pixels."""
    monkeypatch.setattr(script.random, "uniform", lambda low, high: high)
    image = Image.fromarray(digits.images[3])
    turned = np.array(script.distorted(image, AugmentSettings(rotation=90))).astype(int)
    assert min(np.abs(turned - np.rot90(digits.images[3], k)).mean() for k in (1, 3)) < 1
    moved = np.array(script.distorted(image, AugmentSettings(shift=3)))
    np.testing.assert_array_equal(moved[:-3, :-3], digits.images[3][3:, 3:])
