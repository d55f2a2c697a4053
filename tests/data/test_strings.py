"""Pictures of rows with a table of what they say: what is read, and how what is not is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenfold.data.strings import load_strings
from tenfold.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two pictures, one of them in colour and in a folder of its own, and their table."""
    given = tmp_path / "rows"
    (given / "more").mkdir(parents=True)
    grey = np.arange(32 * 80, dtype=np.uint16).astype(np.uint8).reshape(32, 80)
    cv2.imwrite(str(given / "a.png"), grey)
    cv2.imwrite(str(given / "more" / "b.png"), np.dstack([grey, 255 - grey, grey // 2]))
    (given / "labels.csv").write_text("file,writer,truth\na.png,3,0042\nmore/b.png,4, 7 \n")
    return given


def test_pictures_and_digits_in_the_tables_order(folder: Path) -> None:
    """Each line gives its picture, grey or in colour, and its digits, leading zeros kept; other columns are left be."""
    (first, digits), (second, more) = load_strings(folder)
    assert (digits, more) == ("0042", "7")
    assert first.shape == (32, 80) and np.array_equal(first, cv2.imread(str(folder / "a.png"), cv2.IMREAD_GRAYSCALE))
    assert second.shape == (32, 80, 3)
    assert np.array_equal(second[..., ::-1], cv2.imread(str(folder / "more" / "b.png")))


def test_tables_of_spreadsheets(folder: Path) -> None:
    """A byte order mark, Windows' line ends and quotes are read as their program means them."""
    (folder / "labels.csv").write_bytes('\ufeff"file","truth"\r\n"a.png","12"\r\n'.encode())
    assert [digits for _, digits in load_strings(folder)] == ["12"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "cannot be read (No such file or directory). Give a folder of pictures with a labels.csv"),
        (b"", "lacks the columns 'file' and 'truth', or any row"),
        (b"file,truth\n", "lacks the columns 'file' and 'truth', or any row"),
        (b"name,number\na.png,12\n", "lacks the columns 'file' and 'truth'"),
        (b"file,truth\na.png,1\xff2\n", "is no table"),
        (b"file,truth\na.png,12\nno.png,12\n", "Line 3 of "),
        (b"file,truth\n\na.png,12\n\nno.png,12\n", "Line 5 of "),
        (b"file,truth\nno.png,12\n", "names 'no.png', which cannot be read (No such file or directory). Add it."),
        (b"file,truth\nmore,12\n", "names 'more', which cannot be read"),
        (b"file,truth\na.png,12a\n", "says '12a'. Give 1 to 40 digits alone."),
        (b"file,truth\na.png,\n", "says ''. Give 1 to 40 digits alone."),
        (b"file,truth\na.png\n", "says ''. Give 1 to 40 digits alone."),
        ("file,truth\na.png,١٢\n".encode(), "Give 1 to 40 digits alone."),
        (b"file,truth\na.png," + b"1" * 41 + b"\n", "Give 1 to 40 digits alone."),
        (b"file,truth\n../rows/../../x.png,12\n", "names '../rows/../../x.png', which lies outside the folder"),
        (b"file,truth\n/etc/hostname,12\n", "names '/etc/hostname', which lies outside the folder"),
        (b"file,truth\n,12\n", "names '', which lies outside the folder"),
        (b"file,truth\nlabels.csv,12\n", "labels.csv"),
        (b"file,truth\na.png\0,12\n", "Line 2 of "),
    ],
)
def test_refused(folder: Path, table: bytes | None, message: str) -> None:
    """Each thing that is wrong with a table is one line that names it, and the line of the table where it is in one."""
    (folder / "labels.csv").unlink()
    if table is not None:
        (folder / "labels.csv").write_bytes(table)
    with pytest.raises(DataError) as error:
        load_strings(folder)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_links_out_of_the_folder_are_refused(folder: Path) -> None:
    """A picture that is a link to a file elsewhere is not read."""
    outside = folder.parent / "outside.png"
    outside.write_bytes((folder / "a.png").read_bytes())
    (folder / "link.png").symlink_to(outside)
    (folder / "labels.csv").write_text("file,truth\nlink.png,12\n")
    with pytest.raises(DataError, match="lies outside the folder"):
        load_strings(folder)


def test_a_file_is_no_folder(folder: Path) -> None:
    """A file in the place of the folder, and a folder in the place of the table, are refused as such."""
    with pytest.raises(DataError, match="cannot be read"):
        load_strings(folder / "a.png")
    (folder / "labels.csv").unlink()
    (folder / "labels.csv").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        load_strings(folder)


TABLE = st.lists(
    st.lists(st.sampled_from(["file", "truth", "a.png", "12", "x", '"', "\0", "\r", ""]), max_size=4), max_size=4
)


@given(content=st.binary(max_size=60) | TABLE.map(lambda rows: "\n".join(map(",".join, rows)).encode()))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_table_holds(folder: Path, content: bytes) -> None:
    """Any bytes in the place of the table give rows of digits or a DataError of one line."""
    for table in (content, b"file,truth\n" + content):
        (folder / "labels.csv").write_bytes(table)
        try:
            found = load_strings(folder)
        except DataError as error:
            assert "\n" not in str(error)
        else:
            assert found and all(digits.isdigit() for _, digits in found)
