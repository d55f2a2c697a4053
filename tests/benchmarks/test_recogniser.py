"""Records of reading and refusing, and their tables."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recogniser as script
from pydantic import ValidationError
from recogniser import READINGS, REFUSALS, Reading, Refusal, readings_block, refusals_block
from records import NOTHING, Part, read_records

from tenfold.data import load
from tenfold.export import export
from tenfold.runs import results
from tenfold.runs.results import DataUsed
from tenfold.train import train

MODEL: dict[str, Any] = {
    "name": "world",
    "recipe": "world",
    "precision": "int8",
    "config_sha256": "1" * 64,
    "model_sha256": "2" * 64,
    "commit": None,
    "versions": {"tenfold": "0.1.0"},
    "threshold": 0.9,
}


def reading(spec: str = "others", errors: int = 5, max_error: float | None = None) -> Reading:
    """Return a record of 1,000 images, 100 a digit, all errors among the nines, 980 answered with one error."""
    digits = [Part(n=100, errors=0) for _ in range(9)] + [Part(n=100, errors=errors)]
    data = DataUsed(spec=spec, sha256="3" * 64, n=1000)
    answered = Part(n=980, errors=1)
    return Reading(**MODEL, data=data, given_as="pictures", max_error=max_error, digits=digits, answered=answered)


def refusal(name: str = "world", answered: int = 3) -> Refusal:
    """Return a record of two kinds of 50 pictures, of which so many letters were answered."""
    kinds = {"blank": Part(n=50, errors=0), "letter": Part(n=50, errors=answered)}
    return Refusal(**(MODEL | {"name": name}), seed=1, kinds=kinds)


def test_the_newest_reading_of_each_set_counts(tmp_path: Path) -> None:
    """One row a set and promise, with intervals and the digits misread; an older record of the same is left out."""
    assert readings_block(tmp_path) == NOTHING
    for each in (reading(errors=9), reading(errors=5), reading(max_error=0.001), reading("mnist:test", 0)):
        results.append(tmp_path / READINGS, each)
    rows = readings_block(tmp_path).splitlines()[2:]
    assert len(rows) == 3
    assert rows[0] == (
        "| `world` | others | 1,000 | 99.50% (98.83 to 99.79; 5 wrong) | 98.00% | "
        "99.90% (99.42 to 99.98; 1 wrong) | 9 (5) |"
    )
    assert "others (at most 0.1% wrong)" in rows[1]
    assert rows[2].endswith("| none |")


def test_refusals_of_several_models_stand_side_by_side(tmp_path: Path) -> None:
    """A column a model, the share refused of each kind and of all."""
    assert refusals_block(tmp_path) == NOTHING
    for each in (refusal(answered=9), refusal(answered=3), refusal("tiny", 50)):
        results.append(tmp_path / REFUSALS, each)
    assert refusals_block(tmp_path).splitlines() == [
        "| what is no digit | pictures | refused by `world` | refused by `tiny` |",
        "| --- | ---: | ---: | ---: |",
        "| **all** | 100 | **97.0%** | **50.0%** |",
        "| blank | 50 | 100.0% | 100.0% |",
        "| letter | 50 | 94.0% | 0.0% |",
    ]


def test_a_reading_has_ten_digits() -> None:
    """A record without all ten digits is refused."""
    with pytest.raises(ValidationError):
        Reading.model_validate(reading().model_dump() | {"digits": [{"n": 1, "errors": 0}]})


@pytest.mark.data
def test_recogniser(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model reads a set in the frame and one as it was found, and refuses what is no digit; all is recorded."""
    train("logistic", ["uci:train"], tmp_path / "run", quiet=True)
    export(tmp_path / "run", tmp_path / "model.onnx", data="uci:test", quiet=True)
    test = load("uci:test", "evaluate")
    assert test.labels is not None
    count = np.array([len(test)], ">u4").tobytes()
    pictures = b"\0\0\x08\x03" + count + np.array([28, 28], ">u4").tobytes() + (255 - test.images).tobytes()
    (tmp_path / "others-images-idx3-ubyte").write_bytes(pictures)
    labels = b"\0\0\x08\x01" + count + test.labels.astype(np.uint8).tobytes()
    (tmp_path / "others-labels-idx1-ubyte").write_bytes(labels)
    words = [f"small={tmp_path / 'model.onnx'}", "--data", "uci:test", "--sets", str(tmp_path / "others")]
    script.main([*words, "--negatives", "28", "--record", str(tmp_path / "results")])
    found = read_records(tmp_path / "results" / READINGS, Reading)
    assert [each.data.spec for each in found] == ["uci:test", "others"]  # too few held out for the promise
    assert found[0].total() == found[1].total()
    assert sum(part.n for part in found[0].digits) == len(test)
    (refused,) = read_records(tmp_path / "results" / REFUSALS, Refusal)
    assert refused.total().n == 28
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["refusals"][0]["name"] == "small"
