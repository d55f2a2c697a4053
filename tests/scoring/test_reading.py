"""Records of reading and refusing, and their tables."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tenfold.runs import records
from tenfold.runs.results import DataUsed
from tenfold.scoring.leak import Part
from tenfold.scoring.reading import READINGS, REFUSALS, Reading, Refusal, readings_block, refusals_block

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
    assert readings_block(tmp_path) == "Nothing is recorded yet."
    for each in (reading(errors=9), reading(errors=5), reading(max_error=0.001), reading("mnist:test", 0)):
        records.append(tmp_path / READINGS, each)
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
    assert refusals_block(tmp_path) == "Nothing is recorded yet."
    for each in (refusal(answered=9), refusal(answered=3), refusal("tiny", 50)):
        records.append(tmp_path / REFUSALS, each)
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
