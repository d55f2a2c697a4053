"""A set of digits: what does not belong together is refused, and equal content has equal hashes."""

import base64
import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tenfold.data import load
from tenfold.data.digits import SHOWN, Digits, image_hashes
from tenfold.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)
IDS = np.array([5, 6, 7])


@pytest.mark.parametrize(
    ("images", "labels", "ids", "fault"),
    [
        (IMAGES[:, :20], None, IDS, r"shape '\(3, 20, 28\)' and dtype 'uint8'"),
        (IMAGES.astype(float), None, IDS, "dtype 'float64'"),
        (IMAGES, None, IDS[:2], "'2' ids for '3' images"),
        (IMAGES, np.array([1, 2]), IDS, "'2' labels for '3' images"),
        (IMAGES, np.array([1, 10, 2]), IDS, "Label '10' of image 2 is not a digit"),
        (IMAGES, np.array([-1, 1, 2]), IDS, "Label '-1' of image 1"),
    ],
)
def test_parts_that_do_not_fit(
    images: NDArray[np.uint8], labels: NDArray[np.int64] | None, ids: NDArray[np.int64], fault: str
) -> None:
    """Images of another form, other numbers of ids or labels, and labels that are no digit are named."""
    with pytest.raises(DataError, match=fault):
        Digits(images, labels, ids)


def test_take() -> None:
    """Images are taken by indices or by a mask, in that order, with their labels and ids."""
    digits = Digits(IMAGES, np.array([1, 2, 3]), IDS)
    taken = digits.take(np.array([2, 0]))
    assert np.array_equal(taken.images, IMAGES[[2, 0]])
    assert taken.labels is not None
    assert (taken.labels.tolist(), taken.ids.tolist()) == ([3, 1], [7, 5])
    assert digits.take(np.array([False, True, False])).ids.tolist() == [6]
    assert Digits.of(IMAGES).take(np.array([1])).labels is None


def test_what_a_notebook_shows() -> None:
    """Digits are one line of text; in HTML few of many images, whole and within the page, with their labels."""
    many = Digits.of(np.concatenate([IMAGES] * 700), np.arange(2100) % 10)
    assert repr(many) == f"Digits(n=2100, counts={[210] * 10})"
    assert repr(Digits.of(IMAGES)) == "Digits(n=3, counts=None)"
    shown = many._repr_html_()
    sources = re.findall(r'src="(.*?)"', shown)
    assert len(sources) == shown.count("<figure") == shown.count("</figure>") == SHOWN
    pictures = [Image.open(io.BytesIO(base64.b64decode(source.partition("base64,")[2]))) for source in sources]
    assert all(np.array_equal(picture, many.images[105 * at]) for at, picture in enumerate(pictures))
    assert re.findall("<figcaption>(.*?)</figcaption>", shown) == ["0", "5"] * (SHOWN // 2)
    assert Digits.of(IMAGES)._repr_html_().count("<figcaption></figcaption>") == 3
    assert "<figure" not in Digits.of(IMAGES[:0])._repr_html_()


def test_loaded_to_look_at(tmp_path: Path) -> None:
    """Loaded for no purpose, data are there to look at: all of `uci`, without labels too; a Path is never a name."""
    np.savez(tmp_path / "uci", X=IMAGES)
    (tmp_path / "uci.npz").rename(tmp_path / "uci")
    with contextlib.chdir(tmp_path):
        assert load(Path("uci")).labels is None
    pytest.importorskip("sklearn")
    assert len(load("uci")) == 1797


def test_content_hash() -> None:
    """The hash is that of images and labels, wherever they lie in memory, and whatever the ids are."""
    digits = Digits(IMAGES, np.array([1, 2, 3]), IDS)
    same = Digits.of(np.asfortranarray(IMAGES), np.array([1, 2, 3], np.uint8))
    assert digits.content_hash() == same.content_hash()
    assert len({each.content_hash() for each in (digits, Digits.of(IMAGES), digits.take(np.array([0, 2, 1])))}) == 3


def test_image_hashes() -> None:
    """Equal images alone have equal hashes."""
    hashes = image_hashes(IMAGES[[0, 1, 0]])
    assert hashes.dtype == np.uint64
    assert (hashes[0] == hashes[2], hashes[0] == hashes[1]) == (True, False)
    assert image_hashes(IMAGES[:0]).shape == (0,)
