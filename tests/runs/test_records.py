"""Files of records only grow, give back what was put in, and name a line that is no record."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from tenfold.errors import DataError
from tenfold.runs import records


class Weight(BaseModel):
    """A record for these tests."""

    grams: float


def test_round_trip(tmp_path: Path) -> None:
    """What is appended is read back in its order, the folder is made, and earlier bytes stay."""
    file = tmp_path / "new" / "weights.jsonl"
    assert records.read(file, Weight) == []
    records.append(file, Weight(grams=1.5))
    before = file.read_bytes()
    records.append(file, Weight(grams=0.1))
    assert file.read_bytes().startswith(before)
    assert records.read(file, Weight) == [Weight(grams=1.5), Weight(grams=0.1)]


@pytest.mark.parametrize(("line", "place"), [("{", "the line"), ('{"grams": "heavy"}', "grams"), ("{}", "grams")])
def test_a_bad_line_is_named(line: str, place: str, tmp_path: Path) -> None:
    """A line that is no record is named by file, number and field; blank lines are passed over."""
    file = tmp_path / "weights.jsonl"
    file.write_text(f'{{"grams": 1}}\n\n{line}\n')
    with pytest.raises(DataError, match=rf"line 3 is no Weight \({place}: "):
        records.read(file, Weight)
