"""Records of how numbers are read, their tables, and the pictures and programs that are measured."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import readers
import reading as script
import reading_sets
from readers import Answer, edits
from reading import FILE, OWN, TENFOLD, NumbersRead
from reading_sets import AMOUNTS, WORDS, Sample, note, write_sheet
from records import NOTHING, Part

from tenfold.data.strings import load_strings
from tenfold.drawing.hands import Hands
from tenfold.drawing.numbers import Desk, Style, page
from tenfold.runs import results


def sample(truth: str = "123", half: str = "even", path: Path = Path("a.png"), **changes: Any) -> Sample:
    """Return a cheque's amount."""
    values: dict[str, Any] = {"group": AMOUNTS, "condition": f"{half} rows", "name": "a", "path": path, "line": True}
    return Sample(**(values | {"truth": truth} | changes))


def answer(text: str, confidence: float = 0.9, answered: bool = True) -> Answer:
    """Return what was read, in two seconds of the clock and one of the processor."""
    return Answer(text, text if answered else "", answered and bool(text), confidence, 2.0, 1.0)


def made(name: str = TENFOLD, errors: int = 1) -> NumbersRead:
    """Return the record of ten amounts in two halves, one of them misread, and of two pages of words."""
    samples = [sample(half="even" if number % 2 else "odd") for number in range(10)]
    samples += [sample("", group=WORDS, condition="", line=False)] * 2
    answers = [answer("12", 0.1) if number < errors else answer("123") for number in range(10)]
    answers += [answer("7", answered=False), answer("")]
    return NumbersRead(
        name=name,
        version="1.0",
        commit=None,
        versions={},
        seed=1,
        machine={"cpu": "Example CPU"},
        groups=script.grouped(samples, answers),
    )


@pytest.fixture
def desk() -> Desk:
    """Return hands of drawn digits and of plain strokes, without fonts."""
    strokes = np.zeros((10, 28, 28), np.uint8)
    strokes[:, 4:24, 12:15] = 255
    return Desk(Hands.of(strokes, np.arange(10), 60, 0), ())


@pytest.mark.parametrize(
    ("truth", "text", "expected"),
    [
        ("", "", 0),
        ("12", "", 2),
        ("", "12", 2),
        ("123", "123", 0),
        ("123", "13", 1),
        ("123", "1923", 1),
        ("69", "96", 2),
    ],
)
def test_edits(truth: str, text: str, expected: int) -> None:
    """Digits to put in, to leave out and to change are counted, as few as possible."""
    assert edits(truth, text) == expected


def test_places_do_not_count_without_an_order() -> None:
    """Of a picture whose digits have no order only the digits have to be the same."""
    assert readers.wrong_digits(sample("123", any_order=True), "312") == 0
    assert readers.wrong_digits(sample("123", any_order=True), "3129") == 1


def test_scores() -> None:
    """Best guesses, answers, the surest 80%, and what is read without digits are told apart."""
    samples = [sample("12"), sample("34"), sample("56"), sample("78"), sample("90")]
    answers = [answer("12"), answer("34"), answer("56", 0.8), answer("7", 0.2, answered=False), answer("91", 0.7)]
    its = script.scores(samples, answers)
    assert (its.pictures, its.digits) == (Part(n=5, errors=2), Part(n=10, errors=2))
    assert (its.answered, its.surest) == (Part(n=4, errors=1), Part(n=4, errors=1))
    assert (its.used, its.read, its.claimed) == (Part(n=5, errors=2), Part(n=5, errors=5), Part(n=5, errors=4))
    assert (its.read_digits, its.claimed_digits, its.seconds, its.cpu_seconds) == (9, 8, 2.0, 1.0)


def test_tables(tmp_path: Path) -> None:
    """Each kind and condition has a row, from the newest record; what a rival was not measured on stays empty."""
    assert [block(tmp_path) for block in script.BLOCKS.values()] == [NOTHING] * 3
    rival = made(script.RAPIDOCR, 5).model_copy(update={"groups": {AMOUNTS: made(errors=5).groups[AMOUNTS]}})
    for each in (made(errors=9), made(), rival, made(OWN.format("even"), 0)):
        results.append(tmp_path / FILE, each)
    rows = script.block(tmp_path).splitlines()
    assert rows[2].startswith("| **cheque amounts** | 10 | 90.0% (59.6 to 98.2; 1 wrong) | 3.33% | 100.0% | 100.0% |")
    assert rows[2].endswith("| 90.0% | 1 | 50.0%; 16.67%; 1 |")
    assert [row.split(" | ")[0] for row in rows[3:5]] == ["| odd rows", "| even rows"]
    assert rows[-1] == "| drawn words alone | 2 | none | 1 on 1 | – |"
    assert script.short_block(tmp_path).splitlines()[2:] == [
        "| tenfold 1.0 | 90.0% | 0 |",
        "| RapidOCR 1.0 | 50.0% | – |",
    ]
    assert [row.count("|") for row in rows if row] == [11] * 5 + [6] * 3  # a cell in every column
    own = script.own_block(tmp_path).splitlines()[2:]
    assert [row.split(" | ")[0] for row in own] == ["| odd rows, as shipped", "| odd rows, trained on the even rows"]


def test_rows_are_written_to_train_on(tmp_path: Path) -> None:
    """The half that is trained on is what `tenfold train lines --data` reads."""
    picture = np.full((20, 60), 200, np.uint8)
    reading_sets.save(tmp_path / "00007.png", picture)
    folder = tmp_path / "half"
    folder.mkdir()
    reading_sets.write_rows(folder, [sample("407", path=tmp_path / "00007.png")])
    ((pixels, truth),) = load_strings(folder)
    assert truth == "407"
    assert np.array_equal(pixels.reshape(picture.shape), picture)


def test_generated_pages(desk: Desk) -> None:
    """A page of words has no digits; a note has those that it says, none where its rows are too low for any."""
    assert page(desk, np.random.default_rng(0), "words")[1] == []
    generator = np.random.default_rng(3)
    pixels, truth = note(desk, generator, Style.random(30.0, generator))
    assert pixels.shape == (480, 640)
    assert truth.isdigit()


def test_a_program_that_is_missing_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Without RapidOCR there is no record of it, and stderr says so."""
    assert readers.rapidocr("/no/python", [sample()]) is None
    assert readers.rapidocr(sys.executable, [sample()]) is None
    said = capsys.readouterr().err
    assert "No RapidOCR: '/no/python' cannot be run" in said
    assert f"No RapidOCR in '{sys.executable}'" in said


def test_only_digits_of_an_answer_count() -> None:
    """Letters and marks of a general reader's answer are left out."""
    assert readers.digits_of("R$ 1.024,50 -") == "102450"


@pytest.mark.data
def test_the_whole_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the found pictures the drawn ones are read, recorded and printed; the last line is JSON."""
    monkeypatch.setattr(reading_sets, "TEST_DIGITS", 50)
    monkeypatch.setattr(reading_sets, "SHAPES", 50)
    monkeypatch.setattr(script, "data_folder", lambda: None)
    record = tmp_path / "reading.jsonl"
    script.main(["--limit", "2", "--only", reading_sets.ROWS, WORDS, "--record", str(record)])
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("| what is read | pictures |")
    (found,) = json.loads(out[-1])["reading"]
    assert found["groups"][WORDS]["all"]["read"]["n"] == 2
    assert NumbersRead.model_validate_json(record.read_text()).limit == 2


@pytest.mark.data
def test_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The generator's sheet is the same whenever it is drawn."""
    monkeypatch.setattr(reading_sets, "TEST_DIGITS", 50)
    monkeypatch.setattr(reading_sets, "SHAPES", 50)
    for name in ("a.png", "b.png"):
        write_sheet(tmp_path / name, 1)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
