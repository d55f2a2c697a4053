"""Pictures of numbers: what is drawn is what is said of it, the same for the same seed."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold.drawing import numbers
from tenfold.drawing.numbers import LINE_HEIGHT, LONGEST_LINE, PAGE, Box, Desk, Style, amount, line, page

Ink = NDArray[np.float32]


def plain(height: float, space: float = 0.3) -> Style:
    """Return a tidy hand: upright, unjoined, digits apart."""
    return Style(height, height * 0.1, 0.0, space, False, 1.0, 0.0, np.zeros(10, np.bool_))


def in_box(ink: Ink, box: Box) -> Ink:
    """Return the part of some ink that lies in a box."""
    top, left = round(box.y), round(box.x)
    return ink[max(0, top) : top + round(box.height), max(0, left) : left + round(box.width)]


@pytest.mark.parametrize("text", ["7", "0123456789", "#1,204.50", "-12.-", "e55%", "+3/4=", "8 8"])
def test_digits_of_a_number_are_in_its_boxes_in_order(desk: Desk, text: str) -> None:
    """A number's boxes name its digits from left to right; each is as large as the ink in it, and that is dark."""
    ink, boxes = desk.number(text, plain(30), np.random.default_rng(0))
    assert [box.digit for box in boxes] == [int(sign) for sign in text if sign.isdigit()]
    assert all(before.x < after.x for before, after in pairwise(boxes))
    for box in boxes:
        own = in_box(ink, box)
        assert own.shape[0] >= box.height - 1 and own.shape[1] >= box.width - 1  # but for the palest edge
        assert min(own[0].max(), own[-1].max(), own[:, 0].max(), own[:, -1].max()) > 0
        assert own.max() > 0.8
        assert 20 < box.height < 45


def test_a_number_of_digits_alone_has_no_ink_outside_its_boxes(desk: Desk) -> None:
    """Where digits stand apart all ink lies in their boxes but for the palest edge of it, and the ink is cropped."""
    ink, boxes = desk.number("314159", plain(30), np.random.default_rng(1))
    assert min(ink[0].max(), ink[-1].max(), ink[:, 0].max(), ink[:, -1].max()) > 0.05
    rest = ink.copy()
    for box in boxes:
        in_box(rest, box)[:] = 0
    assert rest.sum() < 0.01 * ink.sum()


@pytest.mark.parametrize(("text", "digits"), [("12,345.-", "12345"), ("#7", "7"), ("e1 000.00=", "100000")])
def test_truth_of_a_row_is_its_digits(desk: Desk, text: str, digits: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row's truth is the digits of the text that was written, in order, without signs; its picture is 32 high."""
    monkeypatch.setattr(numbers, "amount", lambda generator: text)
    for seed in range(10):
        picture, truth = line(desk, np.random.default_rng(seed))
        assert truth == digits
        assert picture.dtype == np.uint8
        assert picture.shape[0] == LINE_HEIGHT and 12 <= picture.shape[1] <= LONGEST_LINE


def test_digits_of_a_row_are_in_its_picture(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """All digits are left in the part that is cut out: a row of ones and sevens keeps as many strokes, side by side."""
    monkeypatch.setattr(numbers, "amount", lambda generator: "1111")
    monkeypatch.setattr(numbers.Style, "random", lambda height, generator: plain(height, 0.8))
    monkeypatch.setattr(numbers, "photograph", lambda ink, generator, behind: np.uint8(255 - 255 * ink))
    monkeypatch.setattr(numbers, "_with_clutter", lambda ink, *rest: ink)
    for seed in range(20):
        picture, _ = line(desk, np.random.default_rng(seed))
        inked = (picture < 128).any(axis=0).astype(int)
        assert (np.diff(np.r_[0, inked]) == 1).sum() == 4


def test_amounts_are_short_numbers_with_known_signs() -> None:
    """Every amount has 1 to 12 digits and signs that can be written; both bare and marked ones come."""
    texts = [amount(np.random.default_rng(seed)) for seed in range(500)]
    assert all(1 <= sum(sign.isdigit() for sign in text) <= 12 for text in texts)
    assert set("".join(texts)) <= set("0123456789.,-=/#+%e ")
    assert 0.2 < np.mean([text.isdigit() for text in texts]) < 0.9


def test_boxes_of_a_page_lie_on_ink(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each box's middle is on the page, and there is ink in it; a page without boxes comes as well."""
    monkeypatch.setattr(numbers, "photograph", lambda ink, generator, behind: np.uint8(255 * ink))
    counts = []
    for seed in range(60):
        ink, boxes = page(desk, np.random.default_rng(seed))
        assert ink.shape == (PAGE, PAGE)
        counts.append(len(boxes))
        for box in boxes:
            assert 0 <= box.x + box.width / 2 < PAGE and 0 <= box.y + box.height / 2 < PAGE
            assert 0 <= box.digit <= 9
            assert in_box(ink, box).max() > 80
    assert min(counts) == 0 and max(counts) > 20


def test_pictures_are_a_function_of_the_seed(desk: Desk) -> None:
    """The same seed draws the same row and page with the same truth, another seed others."""
    for seed in range(5):
        for draw in (line, page):
            (first, truth), (again, same), (other, _) = (
                draw(desk, np.random.default_rng(each)) for each in (seed, seed, seed + 1000)
            )
            assert np.array_equal(first, again) and truth == same
            assert first.shape != other.shape or not np.array_equal(first, other)


def test_words_have_ink_and_no_digits(desk: Desk) -> None:
    """A word is ink without boxes, about as high as asked, in a hand's maps, a font or strokes."""
    for hands in (desk, Desk(desk.hands, ()), Desk(type(desk.hands)(desk.hands.maps, desk.hands.labels, 0), ())):
        for seed in range(20):
            ink, boxes = hands.word(30, np.random.default_rng(seed))
            assert boxes == []
            assert ink.max() > 0.5 and ink.shape[0] < 120 and ink.shape[1] > 8
