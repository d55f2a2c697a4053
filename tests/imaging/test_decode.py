"""Bytes to pixels: every mode as it looks, and nothing but a DataError for what is no picture."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFile

from tenfold.errors import DataError
from tenfold.imaging.decode import decode, flatten

GREY = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Return a picture as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF"])
def test_grey_round_trip(kind: str) -> None:
    """Grey pixels come back as they were from every lossless format."""
    decoded = decode(saved(Image.fromarray(GREY), kind), "a")
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded if decoded.ndim == 2 else decoded[..., 1], GREY)


def test_colour_round_trip() -> None:
    """Colours come back as they were, (H, W, 3)."""
    colour = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    np.testing.assert_array_equal(decode(saved(Image.fromarray(colour)), "a"), colour)
    np.testing.assert_array_equal(decode(saved(Image.fromarray(colour), "WEBP", lossless=True), "a"), colour)


def test_one_bit_and_palette() -> None:
    """1-bit pixels become 0 and 255; palette pixels the colours they stand for."""
    bits = Image.fromarray(GREY).point(lambda value: 255 * (value > 100)).convert("1")
    np.testing.assert_array_equal(decode(saved(bits), "a"), np.where(GREY > 100, 255, 0))
    palette = Image.fromarray(GREY % 2).convert("P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    np.testing.assert_array_equal(decode(saved(palette), "a")[0, :2], [[255, 0, 0], [0, 0, 255]])


def test_sixteen_bits() -> None:
    """16-bit grey keeps its upper byte instead of being cut off at 255."""
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    assert deep.mode == "I;16"
    np.testing.assert_array_equal(decode(saved(deep), "a"), GREY)
    np.testing.assert_array_equal(decode(saved(deep, "TIFF"), "a"), GREY)


def test_floats() -> None:
    """Floating-point pixels are stretched to 0 to 255; those that are not finite are refused."""
    floats = GREY.astype(np.float32) / 239
    np.testing.assert_array_equal(decode(saved(Image.fromarray(floats), "TIFF"), "a"), np.rint(floats * 255))
    floats[0, 0] = np.nan
    with pytest.raises(DataError, match="damaged picture"):
        decode(saved(Image.fromarray(floats), "TIFF"), "a")


def test_exif_orientation() -> None:
    """A picture that its camera says lies on its side comes out upright."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    np.testing.assert_array_equal(decode(saved(Image.fromarray(GREY), exif=exif), "a"), np.rot90(GREY, -1))


@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (255, 0)])
def test_ink_on_nothing(ink: int, paper: int) -> None:
    """Ink on a transparent ground is laid on the ground against which it shows, half-transparent edges mixed."""
    image = np.zeros((9, 9, 4), np.uint8)  # the transparent pixels are black, as drawing programs leave them
    image[2:7, 4] = [ink, ink, ink, 255]
    image[2:7, 5] = [ink, ink, ink, 51]
    flat = decode(saved(Image.fromarray(image)), "a")
    assert flat.shape == (9, 9)
    assert (flat[0] == paper).all() and (flat[2:7, 4] == ink).all()
    assert (flat[2:7, 5] == paper * 0.8 + ink * 0.2).all()


def test_hole_in_opaque_picture() -> None:
    """A hole in an opaque picture takes the picture's own background, not black."""
    image = np.full((20, 20, 4), [250, 240, 230, 255], np.uint8)
    image[8:12, 8:12] = 0
    np.testing.assert_array_equal(flatten(image), np.full((20, 20, 3), [250, 240, 230]))


def test_transparent_modes() -> None:
    """Grey with alpha, a transparent palette entry and an empty picture are laid on white alike."""
    grey_alpha = np.zeros((6, 6, 2), np.uint8)
    grey_alpha[2:4, 2:4, 1] = 255
    expected = np.full((6, 6), 255)
    expected[2:4, 2:4] = 0
    np.testing.assert_array_equal(decode(saved(Image.fromarray(grey_alpha)), "a"), expected)
    entries = Image.fromarray(np.where(expected == 255, 1, 0).astype(np.uint8)).convert("P")
    entries.putpalette([0, 0, 0, 0, 255, 0])
    np.testing.assert_array_equal(decode(saved(entries, transparency=1), "a"), expected)
    assert (decode(saved(Image.new("RGBA", (3, 3))), "a") == 255).all()


def test_too_many_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file that declares very many pixels is refused by its header, before anything is decompressed."""
    bomb = bytearray(saved(Image.new("1", (8, 8))))
    bomb[16:24] = struct.pack(">2I", 12_000, 12_000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decompressed"))
    with pytest.raises(DataError, match="has '12000x12000' pixels. Give at most 16 million"):
        decode(bytes(bomb), "a.png")


def test_far_too_many_pixels() -> None:
    """Where Pillow itself refuses the size, the answer is still a DataError."""
    bomb = bytearray(saved(Image.new("1", (8, 8))))
    bomb[16:24] = struct.pack(">2I", 60_000, 60_000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    with pytest.raises(DataError, match="has too many pixels"):
        decode(bytes(bomb), "a.png")


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>"])
def test_not_a_picture(data: bytes) -> None:
    """What is not a picture, or of a format that is not wanted, is named in one line."""
    with pytest.raises(DataError, match=r"^'a\.png' is not a picture\. Give a PNG"):
        decode(data, "a.png")


def test_heic() -> None:
    """A picture of an iPhone that cannot be decoded here gets its own advice."""
    with pytest.raises(DataError, match="is a 'HEIC' picture.*save or export it as JPEG"):
        decode(b"\0\0\0\x18ftypheic" + bytes(50), "a.heic")


SAMPLES = [
    saved(Image.fromarray(GREY)),
    saved(Image.fromarray(GREY), "JPEG"),
    saved(Image.fromarray(GREY), "TIFF"),
    saved(Image.fromarray(GREY), "GIF"),
    saved(Image.fromarray(GREY), "WEBP"),
    saved(Image.fromarray(GREY), "BMP"),
]


def test_truncated() -> None:
    """A picture that breaks off is refused, not filled with grey."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 100)).astype(np.uint8))
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF"):
        data = saved(noise, kind)
        with pytest.raises(DataError, match="is a damaged picture"):
            decode(data[: len(data) * 3 // 4], "a")


@given(
    st.sampled_from(SAMPLES), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6), st.binary()
)
@settings(max_examples=300, deadline=None)
def test_random_bytes(sample: bytes, edits: list[tuple[int, int]], noise: bytes) -> None:
    """Noise, and pictures with any bytes changed, give an array of pixels or a DataError of one line."""
    changed = bytearray(sample)
    for place, value in edits:
        changed[place % len(changed)] = value
    for data in (bytes(changed), noise, sample[:20] + noise):
        try:
            pixels: NDArray[np.uint8] = decode(data, "a")
            assert pixels.dtype == np.uint8 and pixels.size and pixels.ndim in (2, 3)
        except DataError as error:
            assert "\n" not in str(error)
