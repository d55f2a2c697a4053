"""The proof of an exported graph: what is equal passes, and everything else is refused by name."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold.errors import ExportError
from tenfold.graphs.proven import BATCHES, prove

Floats = NDArray[np.float32]
IMAGES = np.arange(130, dtype=np.uint8)[:, None, None].repeat(28, 1).repeat(28, 2)  # each says which one it is
EXPECTED = np.random.default_rng(0).dirichlet(np.full(10, 0.2), 130).astype(np.float32)


def lookup(table: Floats, sizes: list[int] | None = None) -> object:
    """Return a graph that answers image i with row i of the table, and keeps the sizes of its batches."""

    def answer(images: NDArray[np.uint8]) -> Sequence[Floats]:
        if sizes is not None:
            sizes.append(len(images))
        return [table[images[:, 0, 0]]]

    return answer


def compare(table: Floats, expected: Floats = EXPECTED) -> object:
    """Return the proof that the table is what was expected."""
    return prove(lookup(table), lookup(table), IMAGES, [expected], "some")  # type: ignore[arg-type]


def test_equal_answers() -> None:
    """Equal answers pass; every image was asked at every batch size, the rest that does not fill a batch too."""
    sizes: list[int] = []
    proof = prove(lookup(EXPECTED, sizes), lookup(EXPECTED), IMAGES, [EXPECTED], "some")  # type: ignore[arg-type]
    assert (proof.images, proof.largest_difference, proof.ties) == (130, 0, [])
    assert list(proof.seconds) == list(BATCHES) == [1, 2, 7, 64]
    assert sizes == [1] * 130 + [2] * 65 + [7] * 18 + [4] + [64, 64, 2]
    np.testing.assert_array_equal(proof.answers[0], EXPECTED)


def test_a_small_difference_is_reported() -> None:
    """A difference within the tolerance passes, and is told."""
    table = EXPECTED.copy()
    table[7, EXPECTED[7].argmax()] += np.float32(5e-5)
    assert compare(table).largest_difference == pytest.approx(5e-5, rel=0.01)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("difference", "shown"), [(2e-4, "0.0002"), (np.nan, "nan")])
def test_the_worst_image_is_named(difference: float, shown: str) -> None:
    """A difference above the tolerance, or no number, is refused with the image, counted from 1, and how far off."""
    table = EXPECTED.copy()
    table[3, 0] += np.float32(1.5e-4)
    table[98, 2] += np.float32(difference)
    with pytest.raises(ExportError, match=f"image '99' of 'some', in batches of 1, differs by '{shown}'"):
        compare(table)


def test_another_digit() -> None:
    """Another best digit is refused as a near tie; where rounding alone parts the two, it is told."""
    near, tied = EXPECTED.copy(), EXPECTED.copy()
    near[4], tied[4] = 0.1, 0.1
    near[4, 6] += np.float32(2e-5)
    tied[4, 6] += np.float32(5e-7)
    table = tied.copy()
    table[4, 6], table[4, 8] = 0.1, tied[4, 6]
    assert compare(table, tied).ties == [4]  # type: ignore[attr-defined]
    table = near.copy()
    table[4, 6], table[4, 8] = 0.1, near[4, 6]
    with pytest.raises(
        ExportError, match="image '5' of 'some', in batches of 1, as '8' and the run as '6': a near tie"
    ):
        compare(table, near)


def test_a_load_that_answers_otherwise() -> None:
    """A graph that answers otherwise when it is loaded again is refused, though both are near enough."""
    other = EXPECTED.copy()
    other[0, 0] += np.float32(1e-6)
    with pytest.raises(ExportError, match="otherwise when it is loaded again"):
        prove(lookup(EXPECTED), lookup(other), IMAGES, [EXPECTED], "some")  # type: ignore[arg-type]


def test_another_shape() -> None:
    """Answers of another shape are refused."""
    with pytest.raises(ExportError, match=r"shape '\(130, 9\)', the run with '\(130, 10\)'"):
        compare(EXPECTED[:, :9])
