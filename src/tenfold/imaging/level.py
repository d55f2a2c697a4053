"""Pictures of writing to ink on level ground: dark on light, without shadows, and about as dark everywhere."""

import numpy as np
from numpy.typing import NDArray

from tenfold.imaging.frame import opaque

JUDGED = 600  # pixels of the longer side, at which it is judged what is ink
SPREAD = 12.0  # pixels: strokes are thinner than this there, shadows wider

FAINTEST = 0.06  # of the paper's brightness: what is no darker than this is paper, however little there is on it
DARKEST = 12  # pixels that may be darker than what counts as full ink: a short thin stroke has more


def levelled(grey: NDArray[np.uint8], reach: int) -> NDArray[np.float32]:
    """Return ink, (H, W) float32, 0 on the paper and about 1 in dark strokes, of dark writing, (H, W) uint8.

    reach: pixels, of which about as many in each direction show the paper somewhere.
    """
    import cv2

    soft = cv2.GaussianBlur(grey, (0, 0), 1.0)
    side = 2 * reach + 1
    paper = cv2.dilate(soft, np.ones((side, side), np.uint8), borderType=cv2.BORDER_REPLICATE)
    light = np.asarray(cv2.blur(paper, (side, side), borderType=cv2.BORDER_REPLICATE), np.float32)
    ink = 1 - grey / np.maximum(light, 8)
    flat = ink.reshape(-1)
    full = float(np.partition(flat, -min(DARKEST, len(flat)))[-min(DARKEST, len(flat))])
    return np.asarray(ink / max(full, FAINTEST), np.float32).clip(-0.5, 1.5)


def dark(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture in grey, (H, W) uint8, its writing dark on lighter paper.

    pixels: (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, uint8; DataError for other shapes. Ink is what differs from its
    surroundings most: where that is mostly lighter, the result is the picture's negative.
    """
    import cv2

    pixels = opaque(pixels)
    grey = pixels if pixels.ndim == 2 else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    scale = min(1.0, JUDGED / max(grey.shape))
    size = [max(1, round(side * scale)) for side in grey.shape[::-1]]
    small = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.float32)
    difference = small - cv2.GaussianBlur(small, (0, 0), SPREAD)
    return grey if float((difference**3).mean()) <= 0 else np.asarray(255 - grey, np.uint8)
