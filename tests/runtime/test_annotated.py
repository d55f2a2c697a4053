"""Copies of pages with their numbers marked: every number, in place, legible on pages of any size."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tenfold.errors import TenfoldError
from tenfold.runtime.annotated import ABSTAINED, ANSWERED, CROP_SIZE, CROPS, crops, write
from tenfold.runtime.numbers import Digit, Number, Page


def paper(width: int, height: int) -> NDArray[np.uint8]:
    """Return an empty grey page."""
    return np.full((height, width), 200, np.uint8)


def opened(path: Path) -> NDArray[np.uint8]:
    """Return a picture's pixels, (H, W, 3)."""
    with Image.open(path) as image:
        return np.array(image)


def found(width: int, height: int, abstained: bool, turned: int = 0) -> Page:
    """Return a page with a number in its middle."""
    box = width // 4, height // 4, width // 2, height // 4
    digits = [Digit(4, 0.9, (box[0] + box[2] // 2 * place, box[1], box[2] // 2, box[3])) for place in range(2)]
    return Page(
        [Number("44", 0.8, box, digits, abstained, "unsure" if abstained else None)], [1], (width, height), turned
    )


def like(pixels: NDArray[np.uint8], colour: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return where a picture has a colour, about."""
    return np.asarray(np.abs(pixels.astype(int) - colour).max(axis=2) < 40)


@pytest.mark.parametrize("abstained", [False, True])
@pytest.mark.parametrize("size", [(28, 28), (60, 20), (1200, 900), (4000, 3000)])
def test_marks(size: tuple[int, int], abstained: bool, tmp_path: Path) -> None:
    """The box stands around the number, in the colour of what may be used or not; words are 11 pixels high or more."""
    write(tmp_path / "new" / "a.jpg", paper(*size), found(*size, abstained))
    pixels = opened(tmp_path / "new" / "a.jpg")
    height, width, _ = pixels.shape
    assert 1000 <= max(width, height) <= 6000
    assert width / height == pytest.approx(size[0] / size[1], rel=0.01)
    colour, other = (ABSTAINED, ANSWERED) if abstained else (ANSWERED, ABSTAINED)
    here = like(pixels, colour)
    assert not like(pixels, other).any()
    left = here[height // 4 : height // 2, width // 4 - 20 : width // 4 + 20].any(axis=1).mean()  # of the left edge
    assert (0.3 < left < 0.8) if abstained else left > 0.95  # dashes
    assert here[: height // 4].any(axis=1).sum() >= 11  # the label above
    assert here[height // 2 :].any(axis=1).sum() >= 11  # those below
    assert like(pixels, (255, 255, 255)).any()


def test_turned(tmp_path: Path) -> None:
    """A page that was turned to be read is turned in its copy."""
    pixels = paper(300, 100)
    pixels[:, :20] = 0
    write(tmp_path / "a.jpg", pixels, Page([], [], (100, 300), 90))
    copy = opened(tmp_path / "a.jpg")
    assert copy.shape == (1000, 333, 3)
    assert (copy[-40:] < 20).all()  # what was left is below, counterclockwise


def test_odd_pages(tmp_path: Path) -> None:
    """A strip of 70,000 pixels, colours, a box that sticks out and a number without text have a copy too."""
    write(tmp_path / "a.jpg", paper(70_000, 3), found(70_000, 3, False))
    assert opened(tmp_path / "a.jpg").shape == (1, 6000, 3)
    outside = Page([Number("", 0.0, (-20, -20, 500, 500), [], True, "unreadable")], [1], (40, 30))
    write(tmp_path / "b.jpg", np.zeros((30, 40, 3), np.uint8), outside)
    assert opened(tmp_path / "b.jpg").shape == (750, 1000, 3)


def test_not_writable(tmp_path: Path) -> None:
    """A folder that cannot be made is one error that names the copy."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TenfoldError, match="a.jpg' cannot be written: .* Give --annotated another folder."):
        write(tmp_path / "file" / "a.jpg", paper(9, 9), Page([], [], (9, 9)))


def test_crops() -> None:
    """Those abstained from come first, then the least sure; each picture shows its number, small enough for a page."""
    boxes = [(10 * place, 5, 8, 8) for place in range(30)]
    numbers = [Number("1", 0.5 + place / 100, box, [], place == 29) for place, box in enumerate(boxes)]
    pixels = paper(300, 20)
    pixels[5:13, 290:298] = 0
    found = crops(pixels, Page(numbers, [30], (300, 20)))
    assert [place for place, _ in found] == [29, *range(CROPS - 1)]
    images = [Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) for _, uri in found]
    assert np.array(images[0].convert("L"))[4:8, 4:8].max() < 40
    assert np.array(images[1].convert("L")).min() > 150
    (_, uri), *_ = crops(paper(4000, 1000), found_large())
    assert len(uri) < 10_000
    assert Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size[0] <= CROP_SIZE[0]


def found_large() -> Page:
    """Return a page of one huge number."""
    return Page([Number("1", 0.5, (0, 0, 4000, 1000))], [1], (4000, 1000))
