"""Bytes to pages: each once, upright, numbered from 1, one at a time, and one clear error for what cannot be read."""

import io
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from tenfold.errors import DataError, MissingExtraError
from tenfold.imaging import pages as module
from tenfold.imaging.pages import pages


def page(number: int, size: tuple[int, int] = (60, 40)) -> Image.Image:
    """Return a white page with a bar as long as its number says."""
    image = Image.new("L", size, 255)
    ImageDraw.Draw(image).rectangle((5, 5, 5 + 3 * number, 15), fill=0)
    return image


def tiff(images: list[Image.Image], **options: Any) -> bytes:
    """Return the bytes of a TIFF of these pages."""
    buffer = io.BytesIO()
    images[0].save(buffer, "TIFF", save_all=True, append_images=images[1:], **options)
    return buffer.getvalue()


def pdf(count: int = 1, size: tuple[float, float] = (612, 792), extra: str = "", content: str = "") -> bytes:
    """Return a PDF of so many pages, each with a black bar at its left edge, 72 points wide, unless `content` is given.

    extra: what the trailer holds besides.
    """
    drawn = content or f"0 0 72 {size[1]} re f"
    kids = " ".join(["4 0 R"] * count)
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>",
        f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {size[0]} {size[1]}] /Contents 3 0 R >>",
        "<< /Filter /Standard /V 1 /R 2 /P -1 /O <" + "41" * 32 + "> /U <" + "42" * 32 + "> >>",
    ]
    text, places = "%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(text))
        text += f"{number} 0 obj\n{each}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 6\n0000000000 65535 f \n{table}trailer\n<< /Size 6 /Root 1 0 R {extra} >>\nstartxref\n{len(text)}\n"
    return f"{text}{end}%%EOF\n".encode("latin-1")


@pytest.mark.parametrize("compression", ["raw", "group4", "tiff_lzw"])
def test_tiff(compression: str) -> None:
    """All pages of a TIFF come in order, whatever their compression, mode and size."""
    images = [page(1), page(2, (30, 90)), page(3)]
    if compression == "group4":
        images = [each.convert("1") for each in images]
    found = list(pages(tiff(images, compression=compression), "a.tif"))
    assert [number for number, _ in found] == [1, 2, 3]
    for (_, pixels), image in zip(found, images, strict=True):
        np.testing.assert_array_equal(pixels, np.array(image.convert("L")))


def test_tiff_turned() -> None:
    """Each page is turned upright by its own orientation."""
    exif = Image.Exif()
    exif[274] = 6
    (_, first), (_, second) = pages(tiff([page(1), page(2)], exif=exif), "a.tif")
    np.testing.assert_array_equal(first, np.rot90(np.array(page(1)), -1))
    assert second.shape in ((60, 40), (40, 60))


def test_small_copies_are_no_pages() -> None:
    """A frame that says it is a smaller copy of another, or a mask, is left out."""
    data = tiff([page(1), page(2), page(3)], tiffinfo={254: 0})
    entry = b"\xfe\x00\x04\x00\x01\x00\x00\x00"
    at = data.index(entry, data.index(entry) + 1) + len(entry)  # of the second frame
    found = list(pages(data[:at] + b"\1" + data[at + 1 :], "a.tif"))
    assert [number for number, _ in found] == [1, 2]
    np.testing.assert_array_equal(found[1][1], np.array(page(3)))


def test_too_many_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """A TIFF of more pages than are allowed is refused before any is decoded; as many as are allowed are read."""
    monkeypatch.setattr(module, "MAX_FRAMES", 3)
    assert len(list(pages(tiff([page(number) for number in range(3)]), "a.tif"))) == 3
    with pytest.raises(DataError, match="'a.tif' has 'over 3' pages. Give at most 3 in a file: split it."):
        next(pages(tiff([page(number) for number in range(4)]), "a.tif"))


def test_a_damaged_frame() -> None:
    """The pages before a damaged one are there."""
    data = tiff([page(1, (600, 400)), page(2, (600, 400))], compression="tiff_lzw")
    found = pages(data[:-300] if data.index(b"II") == 0 else data, "a.tif")
    with pytest.raises(DataError, match="'a.tif' is a damaged picture"):
        list(found)


def test_a_picture_is_one_page() -> None:
    """A PNG is a page; of a moving GIF the first picture is; what is neither is the error that `decode` raises."""
    buffer = io.BytesIO()
    page(4).save(buffer, "PNG")
    ((number, pixels),) = pages(buffer.getvalue(), "a.png")
    assert number == 1
    np.testing.assert_array_equal(pixels, np.array(page(4)))
    with pytest.raises(DataError, match="'a.txt' is not a picture"):
        list(pages(b"text", "a.txt"))


def test_too_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of too many bytes is refused."""
    monkeypatch.setattr(module, "MAX_FILE", 10)
    with pytest.raises(DataError, match="has '11' bytes"):
        list(pages(b"%PDF-123456", "a.pdf"))


def test_without_pypdfium2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra a PDF is one error that says how to get it."""
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    with pytest.raises(MissingExtraError, match=r"'a.pdf', is not installed. Run: pip install 'tenfold\[pdf\]'"):
        list(pages(pdf(), "a.pdf"))


class TestPDF:
    """PDF files, where the extra is installed."""

    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        """Skip without pypdfium2."""
        pytest.importorskip("pypdfium2")

    def test_pages(self) -> None:
        """Every page comes once, in 200 dots an inch, as it is printed."""
        found = list(pages(pdf(3), "a.pdf"))
        assert [number for number, _ in found] == [1, 2, 3]
        for _, pixels in found:
            assert pixels.shape == (2200, 1700, 3)
            assert pixels.dtype == np.uint8
            assert (pixels[1100, 10:190] == 0).all()
            assert (pixels[1100, 210:] == 255).all()

    def test_colours(self) -> None:
        """Red is red."""
        ((_, pixels),) = pages(pdf(content="1 0 0 rg 0 0 612 792 re f"), "a.pdf")
        assert pixels[100, 100].tolist() == [255, 0, 0]

    @pytest.mark.parametrize(("size", "shape"), [((7200, 3600), (1500, 3000)), ((14400, 1), (1, 3000))])
    def test_large_pages(self, size: tuple[float, float], shape: tuple[int, int]) -> None:
        """The longer side of a page has at most 3,000 pixels."""
        ((_, pixels),) = pages(pdf(size=size), "a.pdf")
        assert pixels.shape[:2] == shape

    def test_one_at_a_time(self) -> None:
        """A page is drawn when it is asked for, so that of 500 one is in memory."""
        found = pages(pdf(500), "a.pdf")
        assert next(found)[0] == 1
        found.close()  # type: ignore[attr-defined]

    def test_refused(self) -> None:
        """A password, damage, no page and too many pages are one clear error each."""
        for data, message in (
            (pdf(extra="/Encrypt 5 0 R /ID [<00> <00>]"), "'a.pdf' is protected by a password. Save it without one."),
            (b"%PDF-1.4\nnothing", "'a.pdf' is a damaged PDF."),
            (pdf()[:200], "'a.pdf' is a damaged PDF."),
            (pdf(0), "'a.pdf' is a damaged PDF."),
            (pdf(10_000), "'a.pdf' has '10000' pages. Give at most 500 in a file: split it."),
        ):
            with pytest.raises(DataError, match=message):
                list(pages(data, "a.pdf"))

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 600), st.binary(min_size=1, max_size=8))
    def test_damaged(self, at: int, other: bytes) -> None:
        """A PDF in which some bytes are others is read, or is one DataError."""
        data = pdf(size=(20, 20))
        try:
            for _, pixels in pages(b"%PDF-" + data[5:at] + other + data[at + len(other) :], "a.pdf"):
                assert max(pixels.shape) <= 3000
        except DataError:
            pass
