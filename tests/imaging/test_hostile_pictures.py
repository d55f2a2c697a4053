"""Hostile pictures: bombs, impossible sizes and odd files give the right answer or one clear error, in bounds."""

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from tenfold.errors import DataError
from tenfold.imaging.decode import MAX_PIXELS, decode

GREY = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
MEGABYTE = 1 << 20
# Decodes each file in a process of its own (forked, so that its peak is its own) and prints how each ended.
MEASURE = """
import json, os, resource, sys
from PIL import Image
Image.init()
from tenfold.errors import DataError
from tenfold.imaging.decode import decode
for path in sys.argv[1:]:
    data = open(path, "rb").read()
    sys.stdout.flush()
    if os.fork() == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            ending = list(decode(data, "a").shape)
        except DataError as error:
            ending = str(error)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(json.dumps([os.path.basename(path), ending, grown * 1024]), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, path
"""


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Return a picture as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a PNG chunk."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, pixels: bytes, *extra: bytes) -> bytes:
    """Return a grey PNG with these compressed pixels and further chunks before them."""
    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def gif(width: int, height: int) -> bytes:
    """Return a GIF whose one frame is larger than its screen says."""
    data = bytearray(saved(Image.fromarray(GREY), "GIF"))
    frame = data.index(b"\x2c", 13 + 3 * 256)  # after the palette
    data[frame + 5 : frame + 9] = struct.pack("<2H", width, height)
    return bytes(data)


def jpeg(width: int, height: int) -> bytes:
    """Return a JPEG that declares another size."""
    data = bytearray(saved(Image.fromarray(GREY), "JPEG"))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">2H", height, width)
    return bytes(data)


def bmp(width: int, height: int) -> bytes:
    """Return a BMP that declares another size."""
    data = bytearray(saved(Image.fromarray(GREY), "BMP"))
    data[18:26] = struct.pack("<2i", width, height)
    return bytes(data)


def webp(width: int, height: int) -> bytes:
    """Return an extended WebP that declares another canvas."""
    data = bytearray(saved(Image.new("RGBA", (16, 16), (1, 2, 3, 4)), "WEBP", lossless=True, exif=b"Exif\0\0MM"))
    assert data[12:16] == b"VP8X"
    data[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(data)


def tiff(edits: dict[int, int]) -> bytes:
    """Return a little-endian TIFF of 20x12 pixels in which these tags have other values."""
    tags = {256: 20, 257: 12, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 12, 279: 240} | edits
    entries = b"".join(struct.pack("<2H2I", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    pixels = GREY.tobytes()
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory


BOMB = zlib.compress(bytes(200 * MEGABYTE), 9)  # 200 KB
REFUSED = {
    "empty": b"",
    "png of 0x0": png(0, 0, zlib.compress(b"")),
    "png of 65535x65535": png(65535, 65535, BOMB),
    "png of 200 megapixels": png(20_000, 10_000, BOMB),
    "png of 17 megapixels": png(4096, 4097, BOMB),
    "png without its pixels": png(4096, 4096, zlib.compress(bytes(1000))),
    "jpeg of 65535x65535": jpeg(65535, 65535),
    "jpeg of 0x0": jpeg(0, 0),
    "gif of 65535x65535": gif(65535, 65535),
    "bmp of 65535x65535": bmp(65535, 65535),
    "bmp of negative size": bmp(-5, -2_000_000_000),
    "webp of 16383x16383": webp(16383, 16383),
    "tiff of 65535x65535": tiff({256: 65535, 257: 65535}),
    "tiff with huge tiles": tiff({259: 8, 322: 1 << 16, 323: 1 << 16, 324: 8, 325: 240}),
    "tiff of strips elsewhere": tiff({273: 1 << 31}),
    "tiff of huge strips": tiff({259: 5, 278: 0xFFFFFFFF, 279: 0xFFFFFFF0}),
    "tiff of too few strips": tiff({257: 60_000}),
    "tiff of an unknown compression": tiff({259: 34712}),
    "tiff of many samples": tiff({277: 65535}),
    "jpeg of very many scans": saved(Image.fromarray(GREY), "JPEG", progressive=True) + b"\xff\xda" * 200,
}
ACCEPTED = {
    "png with text bombs": png(
        20,
        12,
        zlib.compress(b"".join(b"\0" + bytes(row) for row in GREY)),
        *[chunk(b"zTXt", b"Comment\0\0" + BOMB)] * 3,
        *[chunk(b"iTXt", b"Comment\0\1\0\0\0" + BOMB)] * 3,
        chunk(b"iCCP", b"profile\0\0" + BOMB),
    ),
    "tiff as it should be": tiff({}),
}


def measure(files: dict[str, bytes], folder: Path) -> dict[str, tuple[object, int]]:
    """Return each file's ending (a shape or an error) and by how many bytes the process that decoded it grew."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    paths = [str(folder / name) for name in files]
    done = subprocess.run([sys.executable, "-c", MEASURE, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: (ending, grown) for name, ending, grown in map(json.loads, done.stdout.splitlines())}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="measures memory in forked processes")
def test_refused_in_little_memory(tmp_path: Path) -> None:
    """Bombs and impossible sizes are refused by one line within 64 MB; harmless pictures with bombs beside the pixels
    are read within as much."""
    found = measure(REFUSED | ACCEPTED, tmp_path)
    assert list(found) == [*REFUSED, *ACCEPTED]
    for name, (ending, grown) in found.items():
        assert grown < 64 * MEGABYTE, f"{name}: {grown / MEGABYTE:.0f} MB"
        assert ending == [12, 20] if name in ACCEPTED else isinstance(ending, str) and "\n" not in ending, name


@pytest.mark.skipif(not hasattr(os, "fork"), reason="measures memory in forked processes")
@pytest.mark.slow
def test_accepted_in_bounded_memory(tmp_path: Path) -> None:
    """The largest pictures that are accepted take at most 20 bytes a pixel."""
    small = Image.linear_gradient("L")
    colour = Image.merge("RGB", [small, small.rotate(90), small]).resize((4096, 4096))
    transparent = colour.copy()
    transparent.putalpha(small.resize((4096, 4096)))
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "colour.png": saved(colour, compress_level=1),
        "turned.jpg": saved(colour, "JPEG", exif=exif),
        "progressive.jpg": saved(colour, "JPEG", progressive=True),
        "large.jpg": saved(colour.resize((8192, 8192)), "JPEG"),
        "transparent.png": saved(transparent, compress_level=1),
        "lossy.webp": saved(colour, "WEBP", quality=10, method=0),
        "deep.png": saved(Image.fromarray(np.zeros((4096, 4096), np.uint16)), compress_level=1),
    }
    for name, (ending, grown) in measure(files, tmp_path).items():
        assert isinstance(ending, list) and ending[:2] == [4096, 4096], f"{name}: {ending}"
        assert grown < 20 * MAX_PIXELS * 1.1, f"{name}: {grown / MAX_PIXELS:.1f} bytes a pixel"


def test_large_jpeg_comes_back_smaller() -> None:
    """A JPEG of over 16 million pixels is the same picture at half the size; a progressive one is refused."""
    picture = Image.new("L", (5000, 4000), 255)
    picture.paste(0, (1000, 1000, 2000, 3000))
    decoded = decode(saved(picture, "JPEG"), "a.jpg")
    assert decoded.shape == (2000, 2500)
    assert decoded[505:1495, 505:995].max() < 10 and decoded[:, 1010:].min() > 245
    with pytest.raises(DataError, match="'5000x4000' pixels. Give at most 16 million"):
        decode(saved(picture, "JPEG", progressive=True), "a.jpg")


def test_too_many_bytes() -> None:
    """A file of over 64 MB is refused unseen."""
    with pytest.raises(DataError, match="has '67108865' bytes"):
        decode(bytes((64 << 20) + 1), "a")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_of_several(kind: str) -> None:
    """Of an animation or of several pages the first is read."""
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (200, 10, 90)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    assert len(list(ImageSequence.Iterator(Image.open(io.BytesIO(data))))) == 3
    assert abs(decode(data, "a").astype(int) - 200).max() <= 6


def test_cmyk() -> None:
    """A CMYK picture comes back in the colours that it shows."""
    red = Image.new("RGB", (9, 9), (255, 0, 0)).convert("CMYK")
    assert np.abs(decode(saved(red, "JPEG", quality=95), "a").astype(int) - [255, 0, 0]).max() < 10
    np.testing.assert_array_equal(decode(saved(red, "TIFF"), "a"), np.full((9, 9, 3), [255, 0, 0]))


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "group4", "jpeg"])
def test_tiff_compressions(compression: str) -> None:
    """A TIFF is read however it is compressed, in strips of a row or eight too."""
    image = Image.fromarray(GREY).convert("1") if compression == "group4" else Image.fromarray(GREY)
    data = saved(image, "TIFF", compression=compression, tiffinfo={278: 8 if compression == "jpeg" else 1})
    tolerance = 30 if compression == "jpeg" else 0
    assert np.abs(decode(data, "a").astype(int) - np.array(image.convert("L"))).max() <= tolerance


@pytest.mark.parametrize("kind", ["PPM", "AVIF", "ICO", "PDF", "TGA", "PCX"])
def test_other_formats(kind: str) -> None:
    """A picture of a format that is not named is refused, even where Pillow could read it."""
    try:
        data = saved(Image.new("RGB", (16, 16)), kind)
    except (OSError, KeyError):
        pytest.skip(f"Pillow is built without {kind}")
    with pytest.raises(DataError, match="is not a picture"):
        decode(data, "a")


def test_libtiff_prints_nothing() -> None:
    """Of what is wrong with a TIFF libtiff says nothing on stderr: it is in the error that is raised."""
    code = """
import io, random
from PIL import Image
from tenfold.errors import DataError
from tenfold.imaging.decode import decode
generator = random.Random(0)
for compression in ("tiff_lzw", "packbits", "group4", "jpeg"):
    buffer = io.BytesIO()
    Image.new("1" if compression == "group4" else "L", (60, 60)).save(buffer, "TIFF", compression=compression)
    for _ in range(60):
        content = bytearray(buffer.getvalue())
        for _ in range(3):
            content[generator.randrange(len(content))] = generator.randrange(256)
        try:
            decode(bytes(content), "a")
        except DataError:
            pass
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
