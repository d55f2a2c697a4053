"""Tables of pixels: what is read equals what was written, however it was, and what is wrong is named by its row."""

import csv
import io
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tenfold.data.csv_format import parse_sample_submission, read_csv, read_layout
from tenfold.data.digits import Digits
from tenfold.errors import DataError

PIXELS = [f"pixel{index}" for index in range(784)]
N = 24
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (N, 28, 28)).astype(np.uint8)
IMAGES[:, [0, -1]] = 0  # the corners of real ones are empty
DIGITS = RANDOM.permutation(N) % 10
ROWS = [[int(label), *image.reshape(-1).tolist()] for label, image in zip(DIGITS, IMAGES, strict=True)]


def parse(data: bytes, name: str = "a.csv", step: int = 1 << 16) -> Digits:
    """Return the digits in the bytes of a CSV file, which come in pieces."""
    return read_csv([data[at : at + step] for at in range(0, len(data), step)], name)


def table(header: Sequence[object] | None, rows: Sequence[Sequence[object]], separator: str = ",") -> bytes:
    """Return a CSV with these cells, as they are."""
    lines = ([header] if header else []) + list(rows)
    return ("\n".join(separator.join(map(str, line)) for line in lines) + "\n").encode()


def check(digits: Digits, labels: object = DIGITS) -> None:
    """Assert that these are IMAGES with DIGITS."""
    np.testing.assert_array_equal(digits.images, IMAGES)
    assert (digits.labels is None) == (labels is None)
    if digits.labels is not None:
        np.testing.assert_array_equal(digits.labels, DIGITS)


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
    digits = parse(b"\xef\xbb\xbf" + data if seed % 2 else data)
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
    digits = parse(data)
    np.testing.assert_array_equal(digits.labels, table[:, 0])
    np.testing.assert_array_equal(digits.images.reshape(5, 784), table[:, 1:])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("nan", "is no number"),
        ("inf", "is no number"),
        ("1e999", "is no number"),
        ("9" * 5000, "is no number"),
        ("", "is blank"),
        ("  ", "is blank"),
        ("seven", "is no number"),
        ("0x1", "is no number"),
        ("1;2", "is no number"),
        ("²", "is no number"),
        ("\0", "is no number"),
    ],
)
def test_bad_value_is_named(value: str, reason: str) -> None:
    """A value that is no number is refused, its row, line and column named."""
    with pytest.raises(DataError) as error:
        parse(replaced(1, 13, value))
    message = str(error.value)
    assert message.startswith("'a.csv' row 2 (line 3), column 'pixel12': '")
    assert reason in message
    assert "\n" not in message
    assert len(message) < 200


@pytest.mark.parametrize(
    ("value", "fault"), [("10", "label '10'"), ("-3", "label '-3"), ("", "is blank"), ("x", "is no")]
)
def test_bad_label_is_named(value: str, fault: str) -> None:
    """A label outside 0 to 9 is refused, its row or image named."""
    with pytest.raises(DataError, match=r"row 3 \(line 4\), column 'label'|image 3") as error:
        parse(replaced(2, 0, value))
    assert fault in str(error.value)


def test_ragged_rows_are_named() -> None:
    """A row with a value too few or too many is refused, also when all rows are wrong alike."""
    good = make_csv(np.array([1, 2]), np.zeros((2, 28, 28), np.uint8)).decode().splitlines()
    short, long = good[1].rsplit(",", 1)[0], good[1] + ",0"
    for lines, row, count in (
        ([good[0], good[1], short], 2, 784),
        ([good[0], good[1], long], 2, 786),
        ([good[0], short, short], 1, 784),
        ([good[0], good[1], "5"], 2, 1),
    ):
        with pytest.raises(DataError, match=f"row {row} .line {row + 1}. has '{count}' values. Give 785"):
            parse("\n".join(lines).encode())


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_blank_lines(newline: str) -> None:
    """A blank line between rows is refused, because ids are row numbers; blank lines at the end are not."""
    lines = make_csv(None, np.zeros((3, 28, 28), np.uint8)).decode().splitlines()
    lines.insert(2, "")
    with pytest.raises(DataError, match=r"row 2 \(line 3\) is blank"):
        parse(newline.join(lines).encode())
    del lines[2]
    assert len(parse((newline.join(lines) + newline * 3).encode())) == 3


GRID = [f"{row}x{column}" for row in range(1, 29) for column in range(1, 29)]
SORTED = sorted(PIXELS)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " "])
@pytest.mark.parametrize(
    "header",
    [
        ["label", *PIXELS], ["label", *GRID], ["class", *(f"V{index}" for index in range(1, 785))], None,
        list(range(785)), [f"V{index}" for index in range(1, 786)], ["label", *range(784)],
        ['"label"', *(f'"{name}"' for name in PIXELS)],
    ],
)  # fmt: skip
def test_separators_and_headers(header: list[object] | None, separator: str) -> None:
    """Any separator and any header, or none, give the same digits."""
    check(parse(table(header, ROWS, separator), step=5000))


@pytest.mark.parametrize("name", ["digit", "Label", "class", "Target", "y", "what it is"])
@pytest.mark.parametrize("place", [0, 784, 400])
def test_label_anywhere(name: str, place: int) -> None:
    """The label's column may stand anywhere and have any name; a name that says nothing is noted."""
    header = [*PIXELS[:place], name, *PIXELS[place:]]
    digits = parse(table(header, [[*row[1 : place + 1], row[0], *row[place + 1 :]] for row in ROWS]))
    check(digits)
    assert (name == "Label") != (f"took '{name}' as the label" in digits.notes)


def test_label_last_without_header() -> None:
    """Without a header the label is the first column or the last, whichever holds digits."""
    check(parse(table(None, [[*row[1:], row[0]] for row in ROWS])))


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "index", "row number"])
@pytest.mark.parametrize("first", [0, 1, 500])
def test_index_column(name: str, first: int) -> None:
    """A column that only counts is left out, and that is said; with a label column and without one."""
    counted = [[at, *row] for at, row in enumerate(ROWS, first)]
    digits = parse(table([name, "label", *PIXELS], counted))
    check(digits)
    assert digits.notes == (f"left out '{name}', which only counts",)
    np.testing.assert_array_equal(digits.ids, np.arange(1, N + 1))
    check(parse(table([name, *PIXELS], [[at, *row[1:]] for at, row in enumerate(ROWS, first)])), None)
    check(parse(table(None, counted)))
    check(parse(table(None, [[at, *row[1:]] for at, row in enumerate(ROWS, first)])), None)


def test_ids_are_kept() -> None:
    """An id column, with labels and without, gives the ids."""
    for header, rows in (
        (["ImageId", *PIXELS], [[7 * at, *row[1:]] for at, row in enumerate(ROWS)]),
        (["label", "id", *PIXELS], [[row[0], 7 * at, *row[1:]] for at, row in enumerate(ROWS)]),
    ):
        digits = parse(table(header, rows))
        check(digits, DIGITS if header[0] == "label" else None)
        np.testing.assert_array_equal(digits.ids, 7 * np.arange(N))


def test_text_column_is_left_out() -> None:
    """A column of file names or of parts is left out, and that is said."""
    digits = parse(table(["file", "label", *PIXELS], [[f"{at}.png", *row] for at, row in enumerate(ROWS)]))
    check(digits)
    assert digits.notes == ("left out 'file', which holds no numbers",)


def test_pixels_in_another_order() -> None:
    """Columns sorted as text (pixel0, pixel1, pixel10) are put in the order of their numbers."""
    order = [0] + [1 + PIXELS.index(name) for name in SORTED]
    check(parse(table(["label", *SORTED], [[row[at] for at in order] for row in ROWS])))


@pytest.mark.parametrize(
    "write", [lambda value: f"{value}.0", lambda value: f'"{value}"', lambda value: f"{value:.18e}"]
)
def test_floats_and_quotes(write: Callable[[int], str]) -> None:
    """Whole numbers written as floats or in quotes, labels too, are the same digits."""
    check(parse(table(["label", *PIXELS], [list(map(write, row)) for row in ROWS])))


def test_decimal_commas() -> None:
    """Values of 0 to 1 with decimal commas, separated by semicolons, are read."""
    body = [[row[0], *(f"{value / 255:.6f}".replace(".", ",") for value in row[1:])] for row in ROWS]
    check(parse(table(["label", *PIXELS], body, ";")))


def test_rows_with_names() -> None:
    """R's write.table gives each row a name, and that column no header; quotes are single ones at times."""
    rows = [[f'"{at}"', f"'{row[0]}'", *row[1:]] for at, row in enumerate(ROWS, 1)]
    digits = parse(table(['"label"', *(f'"{name}"' for name in PIXELS)], rows, " "))
    check(digits)
    assert digits.notes == ("left out '', which only counts",)


def test_csv_module() -> None:
    """What Python's own csv module writes in any dialect, also after Excel's line about the separator, is read."""
    for dialect in ("excel", "excel-tab", "unix"):
        file = io.StringIO()
        csv.writer(file, dialect).writerows([["label", *PIXELS], *ROWS])
        check(parse(file.getvalue().encode()))
    check(parse(b"sep=;\n" + table(["label", *PIXELS], ROWS, ";")))
    check(parse(b"# my digits\n" + table(None, ROWS)))


@pytest.mark.parametrize("header", [None, ["label", *PIXELS, ""]])
def test_separators_at_the_ends(header: list[str] | None) -> None:
    """A separator at the end of each line makes no column."""
    check(parse(table(header, [[*row, ""] for row in ROWS])))


def test_a_float_far_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of whole numbers and of others make one set."""
    body = [list(row) for row in ROWS]
    body[-1][400] = f"{body[-1][400]}.25"
    digits = parse(table(["label", *PIXELS], body), step=4000)
    check(digits)
    assert digits.notes == ("the values are not whole: rounded",)


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        (["label", *PIXELS[:-1]], "has 784 columns, of which '783' look like pixels"),
        (["label", *PIXELS[1:], PIXELS[1]], "has the column 'pixel1' where pixel 2 of 784 belongs"),
        (["a", "b", *PIXELS], "has the columns 'a, b', each of which may be the label"),
        (["label", "digit", *PIXELS], "has the columns 'label, digit'"),
        (["label", "x", "y", "z"], "of which '1' look like pixels; it begins with 'label,x,y,z'"),
    ],
)
def test_bad_header(header: list[str], fault: str) -> None:
    """Columns missing, twice, or of which several may be the label are refused with what is there."""
    with pytest.raises(DataError) as error:
        parse(table(header, [["3"] * len(header)] * 3))
    assert fault in str(error.value)
    assert "Give one image a row" in str(error.value) or "Leave one" in str(error.value)


@pytest.mark.parametrize(
    "data", [b"0," * 200_000, b"label," + b"x" * 200_000 + b"\n1", b"1,2,3\n" * 9, b"\0" * 200_000]
)
def test_endless_rows_and_no_table(data: bytes) -> None:
    """A row without an end is refused before it is held, and so is what is no table, on one short line."""
    taken = 0

    def chunks() -> object:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield data

    with pytest.raises(DataError) as error:
        read_csv(chunks(), "a.csv")  # type: ignore[arg-type]
    assert taken <= 2
    assert len(str(error.value)) < 300 and "\n" not in str(error.value)


def test_layout_tells_of_labels() -> None:
    """Whether a table may have labels is seen in its first line alone."""
    for header, labelled in (
        (["label", *PIXELS], True),
        (["ImageId", *PIXELS], False),
        (["", *PIXELS], False),
        (PIXELS, False),
    ):
        layout = read_layout([table(header, [])], "a.csv")
        assert layout is not None and layout.may_have_labels == labelled


@pytest.mark.parametrize("data", [b"", b"\n\n", b"  ", ("label," + ",".join(PIXELS)).encode() + b"\r\n\r\n"])
def test_nothing_in_it(data: bytes) -> None:
    """An empty file and a header alone are refused."""
    with pytest.raises(DataError, match="is empty|has a header but no row"):
        parse(data)


@given(st.binary(max_size=300), st.integers(0, 5000), st.booleans())
@settings(max_examples=200, deadline=None)
def test_random_bytes(noise: bytes, place: int, inside: bool) -> None:
    """Whatever the bytes, alone or within a good file, the answer is Digits or a DataError of one line."""
    good = make_csv(np.array([1, 2]), np.full((2, 28, 28), 200, np.uint8))
    try:
        digits = parse(good[: -place - 1] + noise + good[-place:] if inside else noise)
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
