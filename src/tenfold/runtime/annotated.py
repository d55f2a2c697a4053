"""A page and the numbers read on it -> a copy with boxes, digits and confidences, and pictures of the doubtful ones."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import TenfoldError, unwritten
from tenfold.files import write_atomically
from tenfold.runtime.numbers import Box, Page

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

ANSWERED, ABSTAINED = (0, 88, 190), (200, 70, 0)  # blue and orange: told apart by the colour-blind too
LEAST_SIDE, MOST_SIDE = 1000, 6000  # of a copy's longer side, so that words fit on it, and it is a file that opens
CROPS, CROP_SIZE = 20, (480, 96)  # of the least sure numbers of a page
DASH = 4  # pens long


def crops(pixels: NDArray[np.uint8], page: Page) -> list[tuple[int, str]]:
    """Return the places in `page.numbers` of the least sure, those abstained from first, and a JPEG (data URI) each."""
    unsure = sorted(range(len(page.numbers)), key=lambda n: (not page.numbers[n].abstained, page.numbers[n].confidence))
    image = _upright(pixels, page)
    found = []
    for number in unsure[:CROPS]:
        left, top, width, height = page.numbers[number].box
        edge = max(2, height // 4)
        part = image.crop((max(0, left - edge), max(0, top - edge), left + width + edge, top + height + edge))
        part.thumbnail(CROP_SIZE)
        buffer = io.BytesIO()
        part.save(buffer, "JPEG", quality=70)
        found.append((number, "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()))
    return found


def write(path: Path, pixels: NDArray[np.uint8], page: Page) -> None:
    """Write the picture (H, W) or (H, W, 3) as a JPEG with its numbers marked. TenfoldError where that is impossible.

    What is not to be used has another colour and dashed boxes.
    """
    from PIL import Image, ImageDraw

    image = _upright(pixels, page)
    longest = max(image.size)
    scale = min(max(longest, LEAST_SIDE), MOST_SIDE) / longest
    wide, high = (max(1, round(side * scale)) for side in image.size)
    image = image.resize((wide, high), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for number in page.numbers:
        colour = ABSTAINED if number.abstained else ANSWERED
        boxes = [_scaled(box, scale) for box in (number.box, *(digit.box for digit in number.digits))]
        for place, box in enumerate(boxes):
            _rectangle(draw, box, colour, max(1, max(image.size) // (500 if place == 0 else 1000)), number.abstained)
        (left, top, _, height), *digits = boxes
        size = min(max(height // 3, max(image.size) // 70), max(image.size) // 30)
        _label(draw, (left, top - size - size // 3), f"{number.text or '?'}  {number.confidence:.1%}", size, colour)
        for box, digit in zip(digits, number.digits, strict=True):
            fits = min(size, max(9, round(box[2] / 2.6)))  # so that the words of a digit stay below it
            _label(draw, (box[0], top + height + 2), f"{digit.digit}\n{digit.confidence:.0%}", fits, colour)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise TenfoldError(unwritten(path, error, "Give --annotated another folder.")) from error


def _upright(pixels: NDArray[np.uint8], page: Page) -> "Image.Image":
    """Return the picture as its numbers were read, in colour."""
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(np.rot90(pixels, page.turned // 90))).convert("RGB")


def _scaled(box: Box, scale: float) -> Box:
    left, top, width, height = (round(each * scale) for each in box)
    return left, top, width, height


def _rectangle(draw: "ImageDraw.ImageDraw", box: Box, colour: tuple[int, ...], pen: int, dashed: bool) -> None:
    left, top, right, bottom = box[0] - pen, box[1] - pen, box[0] + box[2] + pen, box[1] + box[3] + pen
    if not dashed:
        draw.rectangle((left, top, right, bottom), outline=colour, width=pen)
        return
    for start in range(0, max(right - left, bottom - top), 2 * DASH * pen):
        across, down = min(left + start + DASH * pen, right), min(top + start + DASH * pen, bottom)
        for level in (top, bottom) if left + start < right else ():
            draw.line((left + start, level, across, level), colour, pen)
        for column in (left, right) if top + start < bottom else ():
            draw.line((column, top + start, column, down), colour, pen)


def _label(draw: "ImageDraw.ImageDraw", place: tuple[int, int], text: str, size: int, colour: tuple[int, ...]) -> None:
    """Write text, white on the colour, at a place or as near to it as it is within the picture."""
    from PIL import ImageFont

    font = ImageFont.load_default(size)
    left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font)
    edge = max(1, size // 6)
    width, height = right - left + 2 * edge, bottom - top + 2 * edge
    x, y = (
        max(0, min(start, side - own)) for start, side, own in zip(place, draw.im.size, (width, height), strict=True)
    )
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.multiline_text((x + edge - left, y + edge - top), text, "white", font)
