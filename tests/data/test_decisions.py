"""Decisions about labels: a table that people edit, found again in any data, and refused where it does not fit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.data import decisions
from tenfold.data.decisions import COLUMNS, DROP, KEEP, RELABEL, Decision
from tenfold.data.digits import Digits
from tenfold.errors import DataError

HEAD = ",".join(COLUMNS)
HASH = "x0123456789abcdef"


def rows(*lines: str) -> list[Decision]:
    """Return what is parsed of these lines below a header."""
    return decisions.parse("\n".join([HEAD, *lines]).encode(), "d.csv")


def about(digits: Digits, index: int, decision: str, label: int | None = None) -> Decision:
    """Return a decision about an image."""
    assert digits.labels is not None
    given = int(digits.labels[index])
    hashed = decisions.hashes_of(digits)[index]
    return Decision(str(index + 1), given, (given + 1) % 10, "0.9", decision, label, hashed)  # type: ignore[arg-type]


def written(folder: Path, made: list[Decision]) -> Path:
    """Return a file of these decisions."""
    file = folder / "d.csv"
    file.write_text(decisions.render(made))
    return file


WRITTEN = st.builds(
    Decision,
    image=st.integers(1, 10**9).map(str),
    given=st.just(3),
    suggested=st.integers(4, 9),
    confidence=st.floats(0, 1).map("{:.4f}".format),
    decision=st.sampled_from([KEEP, RELABEL, DROP]),
    label=st.none(),
    hash=st.integers(0, 2**64 - 1).map("x{:016x}".format),
)


@given(st.lists(WRITTEN, unique_by=lambda row: row.key))
def test_what_is_written_is_read(made: list[Decision]) -> None:
    """A file gives back the rows that it was made of, also where a spreadsheet saved it with semicolons and a mark."""
    content = decisions.render(made).encode()
    assert decisions.parse(content, "d.csv") == made
    assert decisions.parse(b"\xef\xbb\xbf" + content.replace(b",", b";").replace(b"\n", b"\r\n"), "d.csv") == made


@given(st.one_of(st.binary(), st.text(alphabet='x012,;\n"\tkeprlabdo').map(lambda text: f"{HEAD}\n{text}".encode())))
def test_other_bytes_are_refused(content: bytes) -> None:
    """Whatever is no such table is a DataError that names the file, and nothing else."""
    try:
        decisions.parse(content, "d.csv")
    except DataError as error:
        assert str(error).startswith("'d.csv' ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"1,3,5,0.9,maybe,,{HASH}", "at '2.decision': input should be 'keep', 'relabel' or 'drop'"),
        (f"1,x,5,0.9,keep,,{HASH}", "at '2.given': input should be a valid integer"),
        (f"1,,5,0.9,keep,,{HASH}", "at '2.given': input should be a valid integer"),
        (f"1,3,5,0.9,relabel,10,{HASH}", "at '2.label': input should be less than or equal to 9"),
        ("1,3,5,0.9,keep,,1.2E+15", "at '2.hash': string should match pattern"),
        ("1,3,5", "at '2.decision'"),
        (f"1,3,5,0.9,keep,,{HASH},8", "line '2' has too many cells"),
        (f"1,3,,0.9,relabel,,{HASH}", "disagrees with itself in line 2, of image '1': relabel, label 'None'"),
        (f"1,3,5,0.9,keep,5,{HASH}", "disagrees with itself in line 2, of image '1': keep, label '5'"),
        (f"1,3,5,0.9,relabel,3,{HASH}", "disagrees with itself in line 2, of image '1': relabel, label '3'"),
        (f"1,3,5,0.9,drop,,{HASH}\n1,3,5,0.9,keep,,{HASH}", "disagrees with itself in line 3, of image '1': keep"),
        (f"1,3,5,0.9,relabel,,{HASH}\n1,3,5,0.9,relabel,6,{HASH}", "disagrees with itself in line 3"),
    ],
)
def test_what_is_wrong_is_named(line: str, message: str) -> None:
    """A wrong cell is named with its line and column, and so is a contradiction, within a row or between two."""
    with pytest.raises(DataError) as caught:
        rows(line)
    assert message in str(caught.value)


def test_other_columns(tmp_path: Path) -> None:
    """A table of other columns is refused with those that it should have, and so is what is no file."""
    with pytest.raises(DataError, match=f"its columns are 'id,label', not {HEAD}."):
        decisions.parse(b"id,label\n1,2\n", "d.csv")
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            decisions.read(path)


def test_too_large_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file larger than any that is written is not read."""
    monkeypatch.setattr(decisions, "MOST_TEXT", 10)
    (tmp_path / "d.csv").write_text(HEAD)
    with pytest.raises(DataError, match="more than 10"):
        decisions.read(tmp_path / "d.csv")


def test_decisions_are_found_in_any_order(tmp_path: Path, make_digits: Callable[..., Digits]) -> None:
    """Labels change and images go by their pixels: in another order, in a part, beside another set, and every copy."""
    digits = make_digits(30)
    assert digits.labels is not None
    made = [about(digits, 3, RELABEL), about(digits, 4, RELABEL, 9), about(digits, 5, DROP), about(digits, 6, KEEP)]
    order = np.r_[np.random.default_rng(0).permutation(30), 3, 5]
    sets = [("other", make_digits(20, seed=1)), ("mixed", digits.take(order))]
    applied, counts = decisions.apply(sets, written(tmp_path, made))
    assert counts is not None
    assert (counts["changed"], counts["left_out"]) == (3, 2)
    assert decisions.apply(sets, None) == (sets, None)
    expected = digits.labels.copy()
    expected[3:5] = 4, 9
    kept = order[order != 5]
    assert applied[0][1].content_hash() == sets[0][1].content_hash()
    assert applied[1][1].content_hash() == Digits.of(digits.images[kept], expected[kept]).content_hash()
    assert applied[1][1].ids.tolist() == (kept + 1).tolist()
    assert decisions.described(counts) == "labels changed: 3, images left out: 2"


def test_other_data_is_named(tmp_path: Path, make_digits: Callable[..., Digits]) -> None:
    """What was made for other data, names an image that is not there, or another label than it has, is an error."""
    digits, other = make_digits(20), make_digits(20, seed=1)
    here, there = about(digits, 1, DROP), about(other, 2, KEEP)
    with pytest.raises(DataError, match="d.csv' was made for other data: none of its '1' images is in 'a'"):
        decisions.apply([("a", digits)], written(tmp_path, [there]))
    with pytest.raises(DataError, match="d.csv' names an image that is not there, '3', in 'a'"):
        decisions.apply([("a", digits)], written(tmp_path, [here, there]))
    with pytest.raises(DataError, match="says that image '2' is labelled 8, and it is labelled otherwise in 'a'"):
        decisions.apply([("a", digits)], written(tmp_path, [replace(here, given=8)]))
    with pytest.raises(DataError, match="leaves out all '20' images"):
        decisions.apply([("a", digits)], written(tmp_path, [about(digits, index, DROP) for index in range(20)]))
