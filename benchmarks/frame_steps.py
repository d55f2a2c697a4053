"""The steps from a picture of a digit to MNIST's frame, as one sheet for the documentation.

    python benchmarks/frame_steps.py --out docs/frame.png
    python benchmarks/frame_steps.py --out steps.png my-photo.jpg another.png

Without pictures it draws its own: a pencil on shaded paper with a speck, a thin pen on a large canvas, a felt pen, a
mouse on a transparent background, 16x16 pixels in black and white, a digit off the centre, and a blank sheet.
"""

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tenfold.drawing.variants import Stroke, draw, four_like_lightning, nine_with_foot, one_with_flag, seven_with_bar
from tenfold.files import write_atomically
from tenfold.imaging.decode import decode
from tenfold.imaging.frame import SIDE, steps

CELL, GAP, TITLE = 140, 12, 26
PAPER, TEXT = 250, 60


def examples() -> dict[str, NDArray[np.uint8]]:
    """Return pictures drawn here, by what they stand for."""
    random = np.random.default_rng(4)

    def strokes(shape: Any) -> NDArray[np.uint8]:
        drawn: list[Stroke] = shape(random)
        return draw(drawn, random)

    def placed(digit: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float64]:
        canvas = np.zeros((height, width))
        top, left = (height - digit.shape[0]) // 3, (width - digit.shape[1]) * 2 // 3
        canvas[top : top + digit.shape[0], left : left + digit.shape[1]] = digit / 255
        return canvas

    shade = np.linspace(215, 140, 150)[None, :] + random.normal(0, 3, (150, 150))
    pencil = shade - 90 * placed(strokes(four_like_lightning), 150, 150)
    pencil[120:123, 20:23] -= 80
    thin = np.full((300, 220), 255, np.uint8)
    cv2.polylines(thin, [np.array([[60, 60], [160, 60], [100, 240]], np.int32)], False, 20, 2, cv2.LINE_AA)
    felt = np.full((160, 160), 255, np.uint8)
    cv2.line(felt, (75, 30), (85, 130), 0, 40, cv2.LINE_AA)
    mouse = np.zeros((140, 180, 4), np.uint8)
    mouse[..., 3] = (placed(strokes(nine_with_foot), 140, 180) * 255).astype(np.uint8)
    coarse = cv2.resize(strokes(seven_with_bar)[12:84, 12:84], (16, 16), interpolation=cv2.INTER_AREA)
    one = strokes(one_with_flag)
    return {
        "pencil, shaded paper, a speck": pencil.clip(0, 255).astype(np.uint8),
        "thin pen, large canvas": thin,
        "felt pen": felt,
        "mouse, transparent": mouse,
        "16x16, black and white": ((coarse > 90) * 255).astype(np.uint8),
        "light on dark, off centre": np.pad(one, ((0, 60), (50, 0))),
        "blank, grainy": random.normal(200, 4, (90, 90)).clip(0, 255).astype(np.uint8),
    }


def sheet(pictures: dict[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return one row a picture, (H, W) uint8: the picture and what each step makes of it, with its name."""
    rows = []
    for name, picture in pictures.items():
        shown = picture[..., 3] if picture.shape[2:] == (4,) else picture
        shown = 255 - shown if picture.shape[2:] == (4,) else shown
        if shown.ndim == 3:
            shown = cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY)
        rows.append([cell(shown, name)] + [cell(array, title) for title, array in steps(picture)])
    columns = max(len(row) for row in rows)
    blank = np.full_like(rows[0][0], PAPER)
    return np.concatenate([np.concatenate(row + [blank] * (columns - len(row)), 1) for row in rows])


def cell(array: NDArray[Any], title: str) -> NDArray[np.uint8]:
    """Return a picture or ink, fitted into a square with its title above and a frame around it."""
    pixels = array if array.dtype == np.uint8 else np.rint(array * 255).astype(np.uint8)
    scale = CELL / max(pixels.shape)
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST if scale > 1 else cv2.INTER_AREA)
    square = np.full((CELL + TITLE + GAP, CELL + 2 * GAP), PAPER, np.uint8)
    top, left = TITLE + (CELL - size[1]) // 2, GAP + (CELL - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = pixels
    cv2.rectangle(square, (left - 1, top - 1), (left + size[0], top + size[1]), 190, 1)
    if array.shape == (SIDE, SIDE):  # the 20x20 box
        inner = round(4 * scale)
        cv2.rectangle(square, (left + inner, top + inner), (left + size[0] - inner, top + size[1] - inner), 110, 1)
    cv2.putText(square, title, (GAP, TITLE - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.36, TEXT, 1, cv2.LINE_AA)
    return square


def main(arguments: list[str] | None = None) -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="*", type=Path, help="picture files [default: pictures drawn here]")
    parser.add_argument("--out", type=Path, required=True, help="the PNG to write")
    options = parser.parse_args(arguments)
    pictures = {path.name: decode(path.read_bytes(), path.name) for path in options.pictures} or examples()
    write_atomically(options.out, cv2.imencode(".png", sheet(pictures))[1].tobytes())


if __name__ == "__main__":
    main()
