"""What the pages share: pictures inside the page, numbers in words, and Markdown tables."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tenfold.errors import DataError
from tenfold.pages import page


def test_pictures_keep_their_ink() -> None:
    """The PNG's opacity is the ink, to sixteen levels."""
    ink = np.random.default_rng(0).integers(0, 256, (28, 28)).astype(np.uint8)
    uri = page.picture(ink)
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGBA")
    pixels = np.asarray(image).astype(int)
    assert (pixels[..., :3] == 0).all()
    assert np.abs(pixels[..., 3] - ink).max() <= 9


def test_sheet_lays_images_row_by_row() -> None:
    """Three 1x1 images in two columns with a gap of one pixel."""
    images = np.array([[[1]], [[2]], [[3]]], np.uint8)
    assert page.sheet(images, columns=2, gap=1).tolist() == [[1, 0, 2], [0, 0, 0], [3, 0, 0]]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (page.percent(0.9971), "99.71%"),
        (page.percent(1.0), "100%"),
        (page.percent(0.999999), "99.9999%"),
        (page.percent(None), page.MISSING),
        (page.percent(float("nan")), page.MISSING),
        (page.span([0.9955, 0.9977]), "99.55% to 99.77%"),
        (page.points(0.00314), "+0.31"),
        (page.points(-0.02), "−2.00"),
        (page.points(0.000001), "0.00"),
        (page.points(-0.000001), "0.00"),
        (page.signed(-0.00312, 4), "−0.0031"),
        (page.count(60000), "60,000"),
        (page.counted(1, "image"), "1 image"),
        (page.counted(2000, "image"), "2,000 images"),
        (page.number(0.01234), "0.0123"),
        (page.short(214321), "214k"),
        (page.short(4.0), "4"),
        (page.duration(3.414), "3.41\xa0s"),
        (page.duration(58.23), "58.2\xa0s"),
        (page.duration(872), "14\xa0min\xa032\xa0s"),
        (page.duration(7260), "2\xa0h\xa01\xa0min"),
        (page.seconds(1398.2), "1,398"),
        (page.minute("2025-11-21T08:12:59+00:00"), "2025-11-21 08:12 UTC"),
        (page.minute(None), ""),
        (page.setting(0.0123456), "0.01235"),
        (page.setting(True), "true"),
        (page.setting(None), page.MISSING),
        (page.name_of("/data/digit-recognizer.zip"), "digit-recognizer.zip"),
        (page.name_of("mnist:test"), "mnist:test"),
    ],
)
def test_numbers_are_worded_for_people(shown: str, expected: str) -> None:
    """Numbers are short, and none is rounded up to a perfect score."""
    assert shown == expected


def test_table_is_markdown() -> None:
    """The first columns are set left, the others right, and a bar in a cell does not end it."""
    lines = page.table(["a", "b", "c"], [["x|y", "1", "2"]], left=2).splitlines()
    assert lines == ["| a | b | c |", "| --- | --- | ---: |", "| x\\|y | 1 | 2 |"]


def test_old_page_survives_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the new page cannot be put in place the old one stays, and no half page lies beside it."""
    path = page.write(tmp_path / "page.html", "old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(DataError, match=r"The page '.*page.html' cannot be written: No space left on device"):
        page.write(path, "new")
    assert path.read_text("utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]
