"""Who wrote an image: found by the image itself, in MNIST's order of QMNIST's labels."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tenfold.data import load, names, writers
from tenfold.data.digits import Digits
from tenfold.data.writers import series, with_writers
from tenfold.errors import DataError, SourceError
from tenfold.training import recipe as recipes

PARTS = ("train", "test")
Idx = Callable[[np.ndarray, int, str], bytes]


def test_writers_are_found_by_the_images(written_mnist: Path) -> None:
    """Whatever the order and the name, each image has its writer; what is not MNIST's has none."""
    train, test = load("mnist:train"), load("mnist:test")
    mixed = Digits.of(np.concatenate([test.images[::-1], train.images[:50], np.full((1, 28, 28), 7, np.uint8)]))
    found = with_writers(mixed, needed=False).writers
    assert found is not None
    expected = [*(2100 + np.arange(100) // 10)[::-1], *(np.arange(50) // 10), writers.UNKNOWN]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(with_writers(mixed, needed=False).take(np.array([120, 3])).writers, found[[120, 3]])
    kinds = series(found)
    assert {kind: int(which.sum()) for kind, which in kinds.items()} == {"employees": 50, "students": 100}


def test_no_writer_is_on_both_sides(written_mnist: Path) -> None:
    """A recipe that splits by writers holds out whole ones; at random each is on both sides."""
    digits = with_writers(load("mnist:train"), needed=True)
    assert digits.writers is not None
    for how, shared in (("writers", 0), ("random", 20)):
        split = recipes.load("instant", [f"data.split={how}", "data.validation=0.4"]).data
        train, held = split.hold_out(load("mnist:train"), 1)
        assert len(set(digits.writers[train]) & set(digits.writers[held])) == shared


def test_unknown_writers(written_mnist: Path, digits: Digits) -> None:
    """A single image whose writer is not known is too many for a split, and is said with the way on."""
    assert with_writers(digits, needed=False) is digits
    with pytest.raises(DataError, match="The writers of '200' of 200 images are not known.*Omit --split writers"):
        with_writers(digits, needed=True)


def test_without_the_files(tmp_path: Path, digits: Digits) -> None:
    """To look at data nothing is downloaded; a split names the files and where to put them."""
    assert with_writers(digits, needed=False) is digits
    writers._table.cache_clear()
    with pytest.raises(SourceError, match="'qmnist' is not on this machine.*qmnist-train-labels"):
        with_writers(digits, needed=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda idx, raw: gzip.compress(gzip.decompress(raw)[:-9]), "bytes, but its header promises"),
        (lambda idx, raw: raw[: len(raw) // 2], "qmnist-train-labels-idx2-int.gz"),
        (lambda idx, raw: idx(np.zeros((405, 7), int), 12, ">i4"), "holds an array of '\\(405, 7\\)'"),
        (lambda idx, raw: idx(np.zeros((300, 8), int), 12, ">i4"), "not 400 labels of 8 numbers"),
        (lambda idx, raw: idx(np.zeros((405, 8), int), 12, ">i4"), "does not belong to 'mnist:train'"),
    ],
)
def test_damaged_labels(written_mnist: Path, idx: Idx, damage: Callable[[Idx, bytes], bytes], message: str) -> None:
    """A file that is cut, of other length, or of other images is named in one line."""
    path = written_mnist / "qmnist/qmnist-train-labels-idx2-int.gz"
    path.write_bytes(damage(idx, path.read_bytes()))
    with pytest.raises(DataError, match=message):
        with_writers(load("mnist:train"), needed=True)


@pytest.mark.data
def test_mnist_has_836_writers() -> None:
    """539 people wrote the training images, 297 others the test images, half of each by students, as published."""
    if not names.qmnist(download=False):
        pytest.skip("needs qmnist/ in TENFOLD_DATA")
    writers._table.cache_clear()
    found = [with_writers(load(f"mnist:{part}"), needed=True).writers for part in PARTS]
    people = [set(each.tolist()) for each in found if each is not None]
    assert [len(each) for each in people] == [539, 297]
    assert not people[0] & people[1]
    assert found[1] is not None and int(series(found[1])["students"].sum()) == 5001
    kaggle = with_writers(load("kaggle:train"), needed=True).writers
    assert kaggle is not None and set(kaggle.tolist()) <= people[0] | people[1]
