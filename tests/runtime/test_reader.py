"""The reader of numbers: the same number whatever door its picture comes by, and nothing where there is none."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tenfold import Recogniser
from tenfold.drawing.numbers import Desk, Style
from tenfold.errors import DataError, ModelError
from tenfold.runtime import reader as module
from tenfold.runtime.model_file import PRETRAINED
from tenfold.runtime.numbers import Digit, Number, Page
from tenfold.runtime.reader import LINE_HEIGHT, LONGEST, Reader, box_of, cut, digit_model, resized_row
from tenfold.runtime.rows import Found

Grey = NDArray[np.uint8]
TEXTS = ("4071", "26", "93158", "7")


def on_paper(neat: Desk, text: str, seed: int) -> Grey:
    """Return a number on clean paper, with room around it."""
    style = Style(40, 4.0, 0.1, 0.25, False, 1.0, 0.02, np.zeros(10, np.bool_))
    ink = np.pad(neat.number(text, style, np.random.default_rng(seed)).ink, 40)
    return np.asarray(235 * (1 - 0.8 * ink), np.uint8)


@pytest.fixture(scope="module")
def reader() -> Reader:
    """Return the shipped reader."""
    return Reader.load()


@pytest.fixture(scope="module")
def read_right(neat: Desk, reader: Reader) -> list[tuple[Grey, str]]:
    """Return numbers on clean paper that the shipped reader reads right, and is sure of: nearly all that are drawn."""
    drawn = [(on_paper(neat, text, seed), text) for seed in range(4) for text in TEXTS]
    return [(picture, text) for picture, text in drawn if reader.read(picture).text == text]


def test_numbers_on_clean_paper_are_read(read_right: list[tuple[Grey, str]], reader: Reader) -> None:
    """Most drawn numbers are read right, as a page and as a row; their box lies around their ink."""
    assert len(read_right) >= 10
    as_rows = [reader.read(picture, line=True).text == text for picture, text in read_right]
    assert np.mean(as_rows) >= 0.75
    for picture, _ in read_right:
        (number,) = reader.read(picture).numbers
        left, top, width, height = number.box
        rows, columns = np.nonzero(picture < 150)
        assert abs(left - columns.min()) < 16 and abs(left + width - columns.max()) < 16
        assert abs(top - rows.min()) < 16 and abs(top + height - rows.max()) < 16
        assert 0 < number.confidence <= 1


def test_digits_of_a_number_stand_in_it(read_right: list[tuple[Grey, str]], reader: Reader) -> None:
    """Digits come with the number that is read, from left to right, each within its box."""
    for picture, text in read_right:
        (number,) = reader.read(picture).numbers
        if number.digits:
            assert "".join(str(each.digit) for each in number.digits) == text
            assert [each.box[0] for each in number.digits] == sorted(each.box[0] for each in number.digits)
            assert all(number.box[0] <= each.box[0] + 1 for each in number.digits)
    assert any(reader.read(picture).numbers[0].digits for picture, _ in read_right)


def test_light_on_dark_is_read_as_dark_on_light(read_right: list[tuple[Grey, str]], reader: Reader) -> None:
    """The negative of a picture is read as the picture itself, to the last figure."""
    for picture, _ in read_right[:4]:
        assert reader.read(255 - picture) == reader.read(picture)


def test_turned_pictures_are_read_where_asked(read_right: list[tuple[Grey, str]], reader: Reader) -> None:
    """With rotate="auto" a page that lies on its side is read, and the page says by how much it was turned."""
    longer = [(picture, text) for picture, text in read_right if len(text) > 3]
    right = []
    for picture, text in longer:
        page = reader.read(np.rot90(picture, -1), rotate="auto")
        right.append(page.text == text and page.turned == 90)
        assert page.size == picture.shape[::-1] if page.turned == 90 else True
    assert np.mean(right) >= 0.7
    assert reader.read(longer[0][0], rotate="none").turned == 0


def test_every_door_gives_the_same(read_right: list[tuple[Grey, str]], reader: Reader, tmp_path: Path) -> None:
    """A path, its name, bytes, a PIL image, and arrays grey, in colour and with alpha give the same numbers."""
    picture, text = read_right[0]
    path = tmp_path / "number.png"
    Image.fromarray(picture).save(path)
    wanted = reader.read(picture)
    assert wanted.text == text
    held = io.BytesIO()
    Image.fromarray(picture).save(held, "PNG")
    colour = np.dstack([picture] * 3)
    doors: list[Any] = [
        *(path, str(path), held.getvalue(), bytearray(held.getvalue()), Image.fromarray(picture), picture[..., None]),
        *(colour, np.dstack([colour, np.full_like(picture, 255)]), Image.fromarray(colour)),
    ]
    for door in doors:
        assert reader.read(door) == wanted


def test_a_number_on_transparent_ground_is_read(read_right: list[tuple[Grey, str]], reader: Reader) -> None:
    """Black ink on a transparent ground, whose own colour is black as well, is read."""
    right = []
    for picture, text in read_right:
        alpha = np.uint8(np.clip((235 - picture.astype(int)) * 1.3, 0, 255))
        clear = np.dstack([np.zeros((*picture.shape, 3), np.uint8), alpha])
        right.append(reader.read(clear).text == text)
    assert np.mean(right) >= 0.75


def test_rows_of_a_page_in_order(neat: Desk, reader: Reader) -> None:
    """Numbers below and beside each other come in reading order, a line a row, with a space between numbers."""
    made = np.full((420, 900), 235, np.uint8)
    for at, (text, left, top) in enumerate((("3604", 20, 10), ("825", 560, 10), ("19", 20, 230), ("470", 560, 230))):
        picture = on_paper(neat, text, at + 2)
        made[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    page = reader.read(made)
    assert page.rows == [2, 2] and page.size == (900, 420)
    lengths = [[len(number) for number in row.split(" ")] for row in page.text.split("\n")]
    assert lengths == [[4, 3], [2, 3]]
    agree = sum(a == b for a, b in zip(page.text, "3604 825\n19 470", strict=True))
    assert agree >= len(page.text) - 2


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("shape", [(1, 1), (5, 400), (300, 300)])
def test_blank_pictures_have_no_number(reader: Reader, shape: tuple[int, int], value: int) -> None:
    """Paper of one colour, a single pixel too, gives no number, as a page and as a row."""
    picture = np.full(shape, value, np.uint8)
    for line in (False, True):
        page = reader.read(picture, line=line, rotate="auto")
        assert [each for each in page.numbers if not each.abstained] == []
        assert page.text == "" or all(each.abstained for each in page.numbers)


def test_noise_has_no_number(reader: Reader) -> None:
    """Grain gives no number that is not abstained; nor do spots as wide as strokes one that is sure."""
    for seed in range(3):
        fine = np.random.default_rng(seed).integers(0, 256, (200, 300)).astype(np.uint8)
        grain = np.uint8(200 + fine / 16)
        assert [each.text for each in reader.read(grain).numbers if not each.abstained] == []
        spots = np.asarray(cv2.normalize(cv2.GaussianBlur(fine, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX))
        assert [each for each in reader.read(spots).numbers if each.confidence > 0.9] == []


def test_an_unsure_number_is_abstained(read_right: list[tuple[Grey, str]]) -> None:
    """Asked for more confidence than there is, it keeps its guess and says so; asked for none, nothing is abstained."""
    picture, text = read_right[0]
    (strict,), (free,) = (Reader.load(min_confidence=each).read(picture).numbers for each in (1.0, 0.0))
    assert (strict.text, strict.abstained) == (text, True)
    assert strict.reason is not None and strict.reason.startswith(f"unsure: {text}")
    assert (free.text, free.abstained, free.reason) == (text, False, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_error": 0.01, "min_confidence": 0.5}, "Both max_error '0.01' and min_confidence '0.5' are given"),
        ({"min_confidence": 1.5}, "The confidence '1.5' is none. Give 0 to 1."),
        ({"min_confidence": -0.1}, "The confidence '-0.1' is none"),
        ({"min_confidence": float("nan")}, "The confidence 'nan' is none"),
        ({"max_error": 2.0}, "2.0"),
        ({"max_error": -1.0}, "-1.0"),
        ({"max_error": 1e-9}, "1e-09"),
    ],
)
def test_promises_that_cannot_be_kept(options: dict[str, float], message: str) -> None:
    """Two limits at once, and limits that are none or cannot be promised, are refused in one line."""
    with pytest.raises(ModelError) as error:
        Reader.load(**options)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_models_that_are_none(tmp_path: Path) -> None:
    """A folder without a network, a file that is none, and a digit's recogniser are refused."""
    with pytest.raises(ModelError, match="There is no model at"):
        Reader.load(tmp_path)
    with pytest.raises(ModelError, match="is no network of 'lines'"):
        Reader.load(PRETRAINED / "world.onnx")


def test_a_runs_folder_and_the_file_in_it_are_the_same(tmp_path: Path, reader: Reader) -> None:
    """A folder with a lines.onnx, and that file, open as the network in it; its name is what was asked for."""
    content = (PRETRAINED / "lines.onnx").read_bytes()
    (tmp_path / "lines.onnx").write_bytes(content)
    by_folder, by_file = Reader.load(tmp_path), Reader.load(str(tmp_path / "lines.onnx"))
    assert by_folder.sha256 == by_file.sha256 == reader.sha256
    assert (by_folder.name, reader.name) == (str(tmp_path), "shipped")


@pytest.mark.parametrize(
    "given",
    [
        b"no picture",
        "nothing.png",
        7,
        np.zeros((3, 3, 3, 3), np.uint8),
        np.zeros((9, 9, 2), np.uint8),
        np.zeros((0, 9), np.uint8),
        np.zeros(9, np.uint8),
    ],
)
def test_what_is_no_picture(reader: Reader, given: Any) -> None:
    """Bytes, paths and values that are no picture are refused in one line."""
    with pytest.raises(DataError) as error:
        reader.read(given)
    assert "\n" not in str(error.value)


def test_the_recogniser_reads_with_the_shipped_reader(
    read_right: list[tuple[Grey, str]], reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Recogniser.read` gives what the shipped reader gives, passes its options on, and opens it once."""
    picture, _ = read_right[0]
    module.shipped.cache_clear()
    recogniser = Recogniser.load()
    assert recogniser.read(picture) == reader.read(picture)
    monkeypatch.setattr(Reader, "load", lambda: pytest.fail("opened again"))
    assert recogniser.read(picture, line=True, rotate="auto") == reader.read(picture, line=True, rotate="auto")


def placed(places: list[tuple[float, float]], height: float = 40) -> list[Found]:
    """Return digits at some places."""
    return [Found(x, y, height * 0.6, height, np.eye(10, dtype=np.float32)[0], 1.0) for x, y in places]


@pytest.mark.parametrize("turn", [-0.2, 0.0, 0.2])
def test_a_tilted_number_is_cut_out_level(turn: float) -> None:
    """A bar through the digits of a row that rises or falls lies level in the middle of what is cut out."""
    grey = np.full((400, 500), 255, np.uint8)
    places = [(100 + 60 * at, 200 + 60 * at * turn) for at in range(5)]
    ends = [(round(x), round(y)) for x, y in (places[0], places[-1])]
    cv2.line(grey, ends[0], ends[1], (0,), 5)
    row = cut(grey, placed(places))
    assert row.shape[0] == LINE_HEIGHT and row.shape[1] > 4 * LINE_HEIGHT
    darkest = row[:, 30:-30].astype(int).argmin(axis=0)
    assert np.abs(darkest - (LINE_HEIGHT - 1) / 2).max() <= 2.5


def test_a_large_number_is_cut_out_as_a_small_one() -> None:
    """Eight times as large, in a corner of its page too, the cut is about the same."""
    small = np.full((60, 200), 255, np.uint8)
    cv2.putText(small, "471", (20, 45), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (0,), 3, cv2.LINE_AA)
    large = cv2.resize(small, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    places = [(34.0, 31.0), (62.0, 31.0), (90.0, 31.0)]
    one = cut(small, placed(places, 30)).astype(int)
    other = cut(np.asarray(large), placed([(8 * x + 3.5, 8 * y + 3.5) for x, y in places], 240)).astype(int)
    assert one.shape == other.shape
    assert np.abs(one - other).mean() < 14


@pytest.mark.parametrize(("shape", "width"), [((64, 320), 160), ((16, 40), 80), ((100, 10), 12), ((4, 4000), LONGEST)])
def test_rows_are_resized_to_their_height(shape: tuple[int, int], width: int) -> None:
    """A row becomes 32 pixels high and as wide in proportion, within bounds."""
    assert resized_row(np.zeros(shape, np.uint8)).shape == (LINE_HEIGHT, width)


def test_a_page_as_text() -> None:
    """The text has a line a row and a space between numbers; a number is plain values when asked."""
    numbers = [Number(text, 0.9, (0, 0, 1, 1)) for text in ("1", "23", "456")]
    assert Page(numbers, [2, 1], (9, 9)).text == "1 23\n456"
    assert Page([], [], (9, 9)).text == ""
    full = Number("1", 0.5, (1, 2, 3, 4), [Digit(1, 0.5, (1, 2, 3, 4))], True, "unsure: 1")
    assert full.to_dict() == {
        "text": "1",
        "confidence": 0.5,
        "box": (1, 2, 3, 4),
        "digits": [{"digit": 1, "confidence": 0.5, "box": (1, 2, 3, 4)}],
        "abstained": True,
        "reason": "unsure: 1",
    }
    assert box_of(placed([(100, 100), (160, 110)])) == (88, 80, 84, 50)


def stand_in(texts: list[str]) -> Callable[..., Any]:
    """Return a network of rows that is sure of each view's text in turn, whatever it is shown."""

    class Session:
        def run(self, _: None, given: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
            shares = np.zeros((len(given["pixels"]), 40, 11), np.float32)
            shares[:, :, 10] = 1
            for view, text in zip(shares, texts, strict=False):
                for at, digit in enumerate(text):
                    view[2 * at + 1] = np.eye(11)[int(digit)]
            return [shares]

    return Session


def test_what_most_views_say_is_read(read_right: list[tuple[Grey, str]], reader: Reader) -> None:
    """Where two of three views agree, and the page does not speak against it, their text is taken, with its share."""
    picture = np.full((40, 120), 235, np.uint8)
    voted = Reader(reader._page, stand_in(["12", "12", "17"])(), digit_model(), None, 0.0).read(picture, line=True)
    assert voted.text == "12"
    agreed = Reader(reader._page, stand_in(["12", "12", "12"])(), digit_model(), None, 0.0).read(picture, line=True)
    assert agreed.numbers[0].confidence > voted.numbers[0].confidence > 0.3
    assert (
        Reader(reader._page, stand_in(["", "", ""])(), digit_model(), None, 0.0).read(picture, line=True).numbers == []
    )
