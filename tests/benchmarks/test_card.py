"""The shipped models' card: made from records of those very files, and stale where one is missing."""

import json
import shutil
from pathlib import Path
from typing import Any

import card as script
import pytest

from tenfold.runtime.model_file import PRETRAINED, SHIPPED

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Return arguments that name copies of the models and of the results."""
    shutil.copytree(PRETRAINED, tmp_path / "pretrained")
    shutil.copytree(RESULTS, tmp_path / "results")
    return ["--results", str(tmp_path / "results"), "--pretrained", str(tmp_path / "pretrained")]


def test_card_is_made_of_records(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The card in the repository is up to date; a changed number is noticed, and mended by --write."""
    assert script.main(["--check", *folders]) == 0
    file = tmp_path / "pretrained" / "card.json"
    card: dict[str, Any] = json.loads(file.read_text())
    assert set(card["models"]) == set(SHIPPED.values())
    card["models"]["world.onnx"]["readings"][0]["errors"] = 0
    file.write_text(json.dumps(card))
    assert script.main(["--check", *folders]) == 1
    assert "is stale. Run: python benchmarks/card.py --write" in capsys.readouterr().err
    assert script.main(["--write", *folders]) == 0
    assert script.main(["--check", *folders]) == 0


def test_every_number_needs_a_record(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a measurement of the file as it is there is no card."""
    (tmp_path / "results" / "latency.jsonl").unlink()
    assert script.main(["--write", *folders]) == 1
    assert "'latency.jsonl' has no record of 'world.onnx' as it is" in capsys.readouterr().err
