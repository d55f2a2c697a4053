"""Files of records only grow, give back what was put in, and name a line that is no record; counts in words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel
from records import Part, read_records
from systems import SystemResult, read

from tenfold.errors import DataError
from tenfold.runs.results import append

Make = Callable[..., Any]
LINE: dict[str, Any] = {
    "recipe": "fast",
    "config_sha256": "c",
    "commit": None,
    "machine": {},
    "versions": {},
    "train_data": {"spec": "a", "sha256": "b", "n": 1},
    "test_data": {"spec": "a", "sha256": "b", "n": 1},
    "epochs": 1,
    "trials": [{"seed": seed, "accuracy": accuracy, "seconds": 1} for seed, accuracy in enumerate((0.9970, 0.9972))],
}


def test_a_part_in_words() -> None:
    """A part is counted from a mask, added up, and said with its interval."""
    part = Part.of(np.arange(200) < 1)
    assert (part.n, part.errors, part.accuracy) == (200, 1, 0.995)
    assert Part.sum([part, part]) == Part(n=400, errors=2)
    assert part.words() == "99.50% (97.22 to 99.91; 1 wrong)"


class Weight(BaseModel):
    """A record for these tests."""

    grams: float


def test_records_round_trip(tmp_path: Path) -> None:
    """What is appended is read back in its order, the folder is made, and earlier bytes stay."""
    file = tmp_path / "new" / "weights.jsonl"
    assert read_records(file, Weight) == []
    append(file, Weight(grams=1.5))
    before = file.read_bytes()
    append(file, Weight(grams=0.1))
    assert file.read_bytes().startswith(before)
    assert read_records(file, Weight) == [Weight(grams=1.5), Weight(grams=0.1)]


@pytest.mark.parametrize(("line", "place"), [("{", "the line"), ('{"grams": "heavy"}', "grams"), ("{}", "grams")])
def test_a_bad_line_of_any_record_is_named(line: str, place: str, tmp_path: Path) -> None:
    """A line that is no record is named by file, number and field; blank lines are passed over."""
    file = tmp_path / "weights.jsonl"
    file.write_text(f'{{"grams": 1}}\n\n{line}\n')
    with pytest.raises(DataError, match=rf"line 3 is no Weight \({place}: "):
        read_records(file, Weight)


def test_round_trip(tmp_path: Path, result: Make) -> None:
    """What is appended is read back equal, oldest first, and earlier lines keep their bytes."""
    first, second = result(), result("instant", time="2026-02-01T00:00:00+00:00", note="n|1\n", protocol="kaggle")
    file = tmp_path / "new" / "a.jsonl"
    append(file, second)
    before = file.read_bytes()
    append(file, second)
    assert file.read_bytes() == before * 2
    append(file, first)
    assert read(file) == [first, second, second]
    assert read(tmp_path / "nothing.jsonl") == []


def test_old_lines_are_read(tmp_path: Path, result: Make) -> None:
    """A line from before protocols, studies and NLL were recorded is a result without them."""
    line = result().model_dump(mode="json", exclude={"protocol", "study", "variant"})
    for trial in line["trials"]:
        del trial["nll"]
    (tmp_path / "a.jsonl").write_text(json.dumps(line) + "\n")
    assert read(tmp_path / "a.jsonl") == [result()]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("{", "JSON"),
        ('{"recipe": "fast"}', "Field required"),
        (json.dumps(LINE | {"extra": 1}), "extra"),
        (json.dumps(LINE | {"trials": []}), "trials"),
        (json.dumps(LINE).replace("0.9972", "99.72"), r"trials\.1\.accuracy"),
    ],
)
def test_a_line_that_is_no_result_is_named(tmp_path: Path, line: str, named: str) -> None:
    """A line that is not a result is an error with its file, its number and what is wrong."""
    append(tmp_path / "r.jsonl", SystemResult(**LINE))
    with (tmp_path / "r.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=rf"r\.jsonl' line 2 .*{named}"):
        read(tmp_path / "r.jsonl")
