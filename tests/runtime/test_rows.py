"""Digits that stand on a page -> rows and numbers, in the order in which they are read."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.runtime.rows import Found, distinct, numbers, rows


def digit(x: float, y: float, said: int = 0, height: float = 30, score: float = 0.9) -> Found:
    """Return a digit around (x, y), two thirds as wide as high."""
    return Found(x, y, height * 2 / 3, height, np.eye(10, dtype=np.float32)[said], score)


def text(row: list[Found]) -> str:
    """Return what a row's digits say."""
    return "".join(str(int(each.shares.argmax())) for each in row)


def written(words: str, x: float, y: float, *, turn: float = 0.0, height: float = 30) -> list[Found]:
    """Return the digits of words, from (x, y) on, on a line that falls by `turn` radians."""
    found, along = [], 0.0
    for sign in words:
        if sign != " ":
            place = x + along * math.cos(turn), y + along * math.sin(turn)
            found.append(digit(*place, int(sign), height))
        along += height * (1.0 if sign != " " else 1.5)
    return found


def shuffled(found: list[Found], seed: int = 0) -> list[Found]:
    """Return digits in no order."""
    return [found[at] for at in np.random.default_rng(seed).permutation(len(found))]


def read(found: list[Found]) -> list[list[str]]:
    """Return the numbers of each row."""
    return [[text(each) for each in numbers(row)] for row in rows(found)]


@given(seed=st.integers(0, 10**6))
def test_rows_are_read_from_top_to_bottom(seed: int) -> None:
    """In whatever order digits are found, rows come from top to bottom and each from left to right."""
    found = [*written("123", 40, 50), *written("45678", 20, 110), *written("90", 90, 170)]
    assert read(shuffled(found, seed)) == [["123"], ["45678"], ["90"]]


@pytest.mark.parametrize("turn", [-0.12, -0.05, 0.05, 0.12])
def test_tilted_rows_stay_rows(turn: float) -> None:
    """Rows that rise or fall across the page, by more than their distance, are told apart."""
    found = [each for at in range(4) for each in written("1234567890" * 2, 50, 200 + 55 * at, turn=turn)]
    assert read(shuffled(found)) == [["1234567890" * 2]] * 4


def test_two_columns_are_one_row_of_two_numbers() -> None:
    """What stands at one height is one row, though far apart: the left number, then the right one."""
    found = [
        each for at in range(3) for each in [*written(f"12{at}", 50, 60 + 60 * at), *written("78", 600, 62 + 60 * at)]
    ]
    assert read(shuffled(found)) == [[f"12{at}", "78"] for at in range(3)]


def test_a_wide_gap_divides_a_row() -> None:
    """A gap of one and a half heights divides digits that are a third of one apart; even wide spacing does not."""
    assert read(written("123 45 6", 30, 50)) == [["123", "45", "6"]]
    wide = [digit(30 + 60 * at, 50, at) for at in range(6)]
    assert read(wide) == [["012345"]]
    assert read([digit(30, 50, 4)]) == [["4"]]


def test_small_and_large_writing_are_apart() -> None:
    """A row of small digits beside a large digit is a row of its own."""
    found = [*written("12", 50, 60, height=80), *written("345", 240, 60, height=25)]
    assert sorted(text(row) for row in rows(shuffled(found))) == ["12", "345"]


def test_nothing_found_is_no_row() -> None:
    """Without digits there are no rows, and nothing to keep apart."""
    assert rows([]) == [] and distinct([]) == []


def test_no_digit_is_lost_or_made() -> None:
    """Of random places every digit is in one row, once, and every row's numbers are that row."""
    generator = np.random.default_rng(0)
    for _ in range(50):
        places = generator.uniform(0, 500, (int(generator.integers(1, 40)), 2))
        found = [digit(*place, height=generator.uniform(10, 60)) for place in places.tolist()]
        made = rows(found)
        assert sorted(id(each) for row in made for each in row) == sorted(id(each) for each in found)
        assert all([each for part in numbers(row) for each in part] == row for row in made)
        assert all(before.x <= after.x for row in made for before, after in pairwise(row))


def test_of_two_that_overlap_the_surer_is_kept() -> None:
    """One digit that was found twice, in two sizes too, is kept once, the surest; neighbours that touch stay."""
    sure, unsure, inner = digit(50, 50, 1, score=0.9), digit(53, 51, 7, score=0.5), digit(50, 50, 7, 12, score=0.8)
    neighbour = digit(70, 50, 2, score=0.4)
    assert distinct([unsure, neighbour, sure, inner]) == [sure, neighbour]
    assert distinct([unsure]) == [unsure]


def test_edges_are_half_a_width_from_the_middle() -> None:
    """Left and right are where a digit's box ends."""
    assert (digit(50, 50).left, digit(50, 50).right) == (40, 60)
