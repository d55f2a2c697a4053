"""Grey pictures of writing to ink on level ground: without shadows, and about as dark everywhere."""

import numpy as np
from numpy.typing import NDArray

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
