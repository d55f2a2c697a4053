"""A page and the numbers read on it -> a copy with boxes, digits and confidences, and pictures of the doubtful ones."""

import base64
import io
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import TenfoldError, unwritten
from tenfold.files import write_atomically
from tenfold.runtime.numbers import Page

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

ANSWERED, ABSTAINED = (0, 88, 190), (200, 70, 0)  # blue and orange: told apart by the colour-blind too
LEAST_SIDE, MOST_SIDE = 1000, 6000  # of a copy's longer side, so that words fit on it, and it is a file that opens
CROPS, CROP_SIZE = 20, (480, 96)  # of the least sure numbers of a page


def crops(pixels: NDArray[np.uint8], page: Page) -> list[tuple[int, str]]:
    """Return the places in `page.numbers` of the least sure, those abstained from first, and a JPEG (data URI) each."""
    unsure = sorted(range(len(page.numbers)), key=lambda n: (not page.numbers[n].abstained, page.numbers[n].confidence))
    image, found = _upright(pixels, page), []
    for number in unsure[:CROPS]:
        left, top, width, height = page.numbers[number].box
        edge = max(2, height // 4)
        part = image.crop((max(0, left - edge), max(0, top - edge), left + width + edge, top + height + edge))
        part.thumbnail(CROP_SIZE)
        found.append((number, "data:image/jpeg;base64," + base64.b64encode(_jpeg(part, 70)).decode()))
    return found


def write(path: Path, pixels: NDArray[np.uint8], page: Page) -> None:
    """Write the picture (H, W) or (H, W, 3) as a JPEG with its numbers marked. TenfoldError where that is impossible.

    What is not to be used has another colour and dashed boxes.
    """
    from PIL import Image, ImageDraw, ImageFont

    image = _upright(pixels, page)
    longest = min(max(*image.size, LEAST_SIDE), MOST_SIDE)
    scale = longest / max(image.size)
    wide, high = (max(1, round(side * scale)) for side in image.size)
    image = image.resize((wide, high), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for number in page.numbers:
        colour = ABSTAINED if number.abstained else ANSWERED
        left, top, _, height = box = [each * scale for each in number.box]
        size = min(max(height / 3, longest / 70), longest / 30)
        words = [(left, top - 1.4 * size, size, f"{number.text or '?'}  {number.confidence:.1%}")]
        _rectangle(draw, box, colour, max(2, longest // 500), number.abstained)
        for digit in number.digits:
            box = [each * scale for each in digit.box]
            _rectangle(draw, box, colour, max(1, longest // 1000), number.abstained)
            fits = min(size, max(9, box[2] / 2.6))  # so that the words of a digit stay below it
            words.append((box[0], top + height + fits / 4, fits, f"{digit.digit}\n{digit.confidence:.0%}"))
        for across, down, tall, text in words:
            font, edge = ImageFont.load_default(tall), tall / 6
            _, _, right, bottom = draw.multiline_textbbox((0, 0), text, font)
            x, y = max(0, min(across, wide - right - 2 * edge)), max(0, min(down, high - bottom - 2 * edge))
            draw.rectangle((x, y, x + right + 2 * edge, y + bottom + edge), fill=colour)
            draw.multiline_text((x + edge, y), text, "white", font)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _jpeg(image, 88))
    except OSError as error:
        raise TenfoldError(unwritten(path, error, "Give --annotated another folder.")) from error


def _upright(pixels: NDArray[np.uint8], page: Page) -> "Image.Image":
    """Return the picture as its numbers were read, in colour."""
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(np.rot90(pixels, page.turned // 90))).convert("RGB")


def _jpeg(image: "Image.Image", quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _rectangle(draw: "ImageDraw.ImageDraw", box: list[float], colour: tuple[int, ...], pen: int, dashed: bool) -> None:
    left, top, right, bottom = box[0] - pen, box[1] - pen, box[0] + box[2] + pen, box[1] + box[3] + pen
    for (x, y), (u, v) in pairwise([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]):
        parts = 2 * round((abs(u - x) + abs(v - y)) / (8 * pen)) + 1 if dashed else 1  # every other one is a gap
        for part in range(0, parts, 2):
            ends = [(x + (u - x) * each / parts, y + (v - y) * each / parts) for each in (part, part + 1)]
            draw.line(ends, colour, pen)
