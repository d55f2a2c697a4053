"""Every corruption is scored and recorded, and the table says what the records say."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import robustness as script
from corruptions import CORRUPTIONS
from PIL import Image
from records import NOTHING, Part, read_records
from robustness import FILE, Robustness, block, robustness_table

from tenfold.data.digits import Digits
from tenfold.runs import ledger, results
from tenfold.runs.results import DataUsed
from tenfold.train import train


@pytest.mark.slow
def test_benchmark(
    make_digits: Callable[..., Digits],
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A run is scored on all fifteen, the look is in the ledger, the record gives the table, and the sheet is there."""
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache"))
    for name, seed in (("train", 1), ("test", 2)):
        made = make_digits(120, seed=seed)
        np.savez(tmp_path / f"{name}.npz", X=made.images, y=made.labels)
    train(recipe, str(tmp_path / "train.npz"), tmp_path / "run", seed=0)
    words = [f"small={tmp_path / 'run'}", "--data", str(tmp_path / "test.npz"), "--sheet", str(tmp_path / "sheet.png")]
    script.main([*words, "--record", str(tmp_path / FILE)])
    (record,) = read_records(tmp_path / FILE, Robustness)
    assert list(record.corruptions) == list(CORRUPTIONS)
    assert {part.n for part in (record.clean, *record.corruptions.values())} == {120}
    assert record.mean() == pytest.approx(1 - sum(part.errors for part in record.corruptions.values()) / 15 / 120)
    assert ledger.looks(record.data.sha256) == (1, 1)
    out = capsys.readouterr().out
    assert block(tmp_path) in out
    assert json.loads(out.splitlines()[-1])["mean"] == {"small": record.mean()}
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (2 * (20 * 29 - 1), 2 * (16 * 29 - 1))
    with pytest.raises(SystemExit, match="There is no run at 'nowhere', and no model"):
        script.main(["nowhere"])


def test_table_has_the_newest_of_each_model(tmp_path: Path) -> None:
    """The mean leaves the clean images out, a newer record replaces an older, and other images' records stay away."""
    assert block(tmp_path) == NOTHING
    used = DataUsed(spec="test", sha256="ab", n=100)

    def record(name: str, errors: int, data: DataUsed = used) -> Robustness:
        return Robustness(
            name=name,
            recipe="fast",
            config_sha256="c",
            weights_sha256="w",
            commit=None,
            versions={},
            data=data,
            seed=0,
            clean=Part(n=100, errors=1),
            corruptions={"fog": Part(n=100, errors=errors), "dotted_line": Part(n=100, errors=0)},
        )

    for each in (record("other", 9, DataUsed(spec="x", sha256="y", n=5)), record("a", 50), record("b", 20)):
        results.append(tmp_path / FILE, each)
    results.append(tmp_path / FILE, record("a", 40))
    table = block(tmp_path)
    assert table == robustness_table([record("a", 40), record("b", 20)])
    assert "| **mean of the corruptions** | **80.00%** | **90.00%** |" in table
    assert "| fog | 60.00% (40 wrong) | 80.00% (20 wrong) |" in table
    assert "| dotted line | 100.00% (0 wrong) | 100.00% (0 wrong) |" in table
