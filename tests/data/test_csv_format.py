"""Kaggle's CSV: what is read equals what numpy reads, and what is wrong is named by row and column."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tenfold.data.csv_format import HEADERS, parse_csv, parse_sample_submission
from tenfold.errors import DataError

PIXELS = HEADERS[0]


def make_csv(labels: NDArray[np.integer] | None, images: NDArray[np.uint8], newline: str = "\n") -> bytes:
    """Return Kaggle's CSV, written value by value."""
    lines = [",".join(["label"] * (labels is not None) + PIXELS)]
    for index, image in enumerate(images):
        values = [] if labels is None else [labels[index]]
        lines.append(",".join(str(value) for value in [*values, *image.reshape(-1)]))
    return (newline.join(lines) + newline).encode()


def replaced(row: int, column: int, value: str) -> bytes:
    """Return a labelled CSV of 3 rows with one value (row and column from 0) replaced."""
    lines = make_csv(np.array([1, 2, 3]), np.zeros((3, 28, 28), np.uint8)).decode().splitlines()
    cells = lines[row + 1].split(",")
    cells[column] = value
    lines[row + 1] = ",".join(cells)
    return "\n".join(lines).encode()


@given(st.integers(0, 2**32), st.integers(1, 4), st.booleans(), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_round_trip(seed: int, rows: int, labelled: bool, newline: str, last_newline: bool) -> None:
    """Any labels and pixels come back as written, with LF, CRLF or CR, with or without a last newline or a BOM."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (rows, 28, 28)).astype(np.uint8)
    labels = random.integers(0, 10, rows) if labelled else None
    data = make_csv(labels, images, newline)
    data = data if last_newline else data.rstrip(b"\r\n")
    digits = parse_csv(b"\xef\xbb\xbf" + data if seed % 2 else data, "a.csv")
    np.testing.assert_array_equal(digits.images, images)
    np.testing.assert_array_equal(digits.ids, np.arange(1, rows + 1))
    if labels is None:
        assert digits.labels is None
    else:
        np.testing.assert_array_equal(digits.labels, labels)


def test_agrees_with_genfromtxt() -> None:
    """The table equals what numpy's other, independent reader makes of the same text."""
    random = np.random.default_rng(0)
    data = make_csv(random.integers(0, 10, 5), random.integers(0, 256, (5, 28, 28)).astype(np.uint8))
    table = np.genfromtxt(io.BytesIO(data), delimiter=",", skip_header=1, dtype=np.int64)
    digits = parse_csv(data, "a.csv")
    np.testing.assert_array_equal(digits.labels, table[:, 0])
    np.testing.assert_array_equal(digits.images.reshape(5, 784), table[:, 1:])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("256", "is out of range"),
        ("-1", "is out of range"),
        ("-0", "is out of range"),
        ("65537", "is out of range"),
        ("4294967297", "is out of range"),
        ("9" * 5000, "is out of range"),
        ("1.0", "is not a whole number"),
        ("1e2", "is not a whole number"),
        ("nan", "is not a finite number"),
        ("NaN", "is not a finite number"),
        ("inf", "is not a finite number"),
        ("", "is blank"),
        ("  ", "is blank"),
        ("seven", "is not a number"),
        ('"5"', "is not a number"),
        ("0x1", "is not a number"),
        ("1;2", "is not a number"),
        ("²", "is not a number"),
        ("\0", "is not a number"),
    ],
)
def test_bad_value_is_named(value: str, reason: str) -> None:
    """A value that is not a whole number from 0 to 255 is refused, its row, line and column named."""
    with pytest.raises(DataError) as error:
        parse_csv(replaced(1, 13, value), "a.csv")
    message = str(error.value)
    assert message.startswith("'a.csv' row 2 (line 3), column 'pixel12': '")
    assert reason in message
    assert "\n" not in message
    assert len(message) < 200


@pytest.mark.parametrize(("value", "fault"), [("10", "'10' is not a digit"), ("-3", "out of range"), ("", "is blank")])
def test_bad_label_is_named(value: str, fault: str) -> None:
    """A label outside 0 to 9 is refused, its row named."""
    with pytest.raises(DataError, match=r"row 3 \(line 4\), column 'label'.*Give a whole number, 0 to 9") as error:
        parse_csv(replaced(2, 0, value), "a.csv")
    assert fault in str(error.value)


def test_ragged_rows_are_named() -> None:
    """A row with a value too few or too many is refused, also when all rows are wrong alike."""
    good = make_csv(np.array([1, 2]), np.zeros((2, 28, 28), np.uint8)).decode().splitlines()
    short, long = good[1].rsplit(",", 1)[0], good[1] + ",0"
    for lines, row, count in (
        ([good[0], good[1], short], 2, 784),
        ([good[0], long, good[2]], 1, 786),
        ([good[0], short, short], 1, 784),
        ([good[0], good[1], "5"], 2, 1),
    ):
        with pytest.raises(DataError, match=f"row {row} .line {row + 1}. has '{count}' values. Give 785"):
            parse_csv("\n".join(lines).encode(), "a.csv")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_blank_lines(newline: str) -> None:
    """A blank line between rows is refused, because ids are row numbers; blank lines at the end are not."""
    lines = make_csv(None, np.zeros((3, 28, 28), np.uint8)).decode().splitlines()
    lines.insert(2, "")
    with pytest.raises(DataError, match=r"row 2 \(line 3\) is blank"):
        parse_csv(newline.join(lines).encode(), "a.csv")
    del lines[2]
    assert len(parse_csv((newline.join(lines) + newline * 3).encode(), "a.csv")) == 3


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        (",".join(PIXELS[:-1]), "has '783' columns in its header"),
        (",".join(["label", *PIXELS, "pixel784"]), "has '786' columns"),
        (",".join([*PIXELS, "label"]), "has 'label' as column 785"),
        (",".join(["label", "label", *PIXELS[1:]]), "has 'label' as column 2"),
        (",".join(["label", PIXELS[1], PIXELS[0], *PIXELS[2:]]), "column 'pixel1' where 'pixel0' belongs"),
        (",".join(["0"] * 785), "has no header"),
        (";".join(["label", *PIXELS]), "has '1' columns"),
        ("digit," + ",".join(PIXELS), "has '785' columns"),
    ],
)
def test_bad_header(header: str, fault: str) -> None:
    """A header of other, fewer, more or shuffled columns is refused: the pixels would be in the wrong places."""
    with pytest.raises(DataError) as error:
        parse_csv((header + "\n" + ",".join(["0"] * 785) + "\n").encode(), "a.csv")
    assert fault in str(error.value)


@pytest.mark.parametrize("data", [b"", b"\n\n", b"  ", ("label," + ",".join(PIXELS)).encode() + b"\r\n\r\n"])
def test_nothing_in_it(data: bytes) -> None:
    """An empty file and a header alone are refused."""
    with pytest.raises(DataError, match="is empty|has a header but no row"):
        parse_csv(data, "a.csv")


def test_other_common_header() -> None:
    """The header 1x1 to 28x28, and quotes round the names as R writes them, are understood."""
    rows = "\n" + ",".join(["7"] + ["0"] * 784)
    for names in (HEADERS[1], [f'"{name}"' for name in PIXELS]):
        assert parse_csv((",".join(["label", *names]) + rows).encode(), "a.csv").labels == [7]


@given(st.binary(max_size=300), st.integers(0, 5000), st.booleans())
@settings(max_examples=200, deadline=None)
def test_random_bytes(noise: bytes, place: int, inside: bool) -> None:
    """Whatever the bytes, alone or within a good file, the answer is Digits or a DataError of one line."""
    good = make_csv(np.array([1, 2]), np.full((2, 28, 28), 200, np.uint8))
    try:
        digits = parse_csv(good[: -place - 1] + noise + good[-place:] if inside else noise, "a.csv")
        assert digits.images.shape[1:] == (28, 28)
    except DataError as error:
        assert "\n" not in str(error)


def test_sample_submission() -> None:
    """The ids come in the file's order; another header or an id that is no number is refused by row."""
    np.testing.assert_array_equal(parse_sample_submission(b"ImageId,Label\r\n3,0\r\n1,0\r\n", "s.csv"), [3, 1])
    with pytest.raises(DataError, match="row 2 is 'x,0'"):
        parse_sample_submission(b"ImageId,Label\n1,0\nx,0\n", "s.csv")
    with pytest.raises(DataError, match="row 1 is ''"):
        parse_sample_submission(b"ImageId,Label\n\n1,0\n", "s.csv")
    with pytest.raises(DataError, match="has the header 'id,label'"):
        parse_sample_submission(b"id,label\n1,0\n", "s.csv")


@given(st.binary(max_size=100))
def test_sample_submission_random_bytes(noise: bytes) -> None:
    """Whatever the bytes, the answer is ids or a DataError."""
    for data in (noise, b"ImageId,Label\n" + noise):
        try:
            assert parse_sample_submission(data, "s.csv").dtype == np.int64
        except DataError as error:
            assert "\n" not in str(error)
