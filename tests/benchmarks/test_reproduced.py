"""The documents' tables of published systems beside ours."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from records import NOTHING
from reproduced import BLOCKS, FILE
from systems import SystemTrial

from tenfold.runs import results

Make = Callable[..., Any]


def test_reproduced_row(result: Make, cells: Make, tmp_path: Path) -> None:
    """A protocol's table has the published score beside ours, and whether it was reached; the order is fixed."""
    found = [
        result("two-conv", protocol="mnist"),
        result("fast", protocol="mnist"),
        result("no-longer-shipped", protocol="mnist"),
        result("dense-128", protocol="mnist", trials=[SystemTrial(seed=0, accuracy=0.5, seconds=3)]),
        result("two-conv", protocol="kaggle"),
        result("two-conv", protocol="ablation", study="kernel"),
    ]
    for each in found:
        results.append(tmp_path / FILE, each)
    table = BLOCKS["reproduced-mnist"](tmp_path)
    assert table.index("`dense-128`") < table.index("`two-conv`") < table.index("`fast`")
    assert table.index("`fast`") < table.index("`no-longer-shipped`")
    assert table.count("two-conv") == 1
    assert cells(table, "two-conv") == [
        "`two-conv`", "MNIST's test images", "98.88", "99.720 ± 0.020", "99.60 to 99.81", "yes", "28.0 of 10,000",
        "3", "59.0", "214,000",
    ]  # fmt: skip
    assert cells(table, "dense-128")[5] == "**no**"
    assert cells(table, "fast")[1:3] == ["–", "–"]
    assert BLOCKS["reproduced-mnist"](tmp_path / "nothing") == NOTHING
