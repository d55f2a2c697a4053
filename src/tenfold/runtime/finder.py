"""Where digits are on a page, how large and which: one network, which looks at the page in several sizes."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.imaging.level import levelled
from tenfold.runtime.rows import Found, distinct

Grey = NDArray[np.uint8]
Floats = NDArray[np.float32]

PAGE_REACH, STRIDE = 24, 4  # pixels: for `levelled`; and for one place of an answer
LARGEST, SMALLEST = 1536, 24  # pixels of the longer side of a page, in the sizes that it is searched in
STEP = math.sqrt(2)  # between two sizes
LEAST, MOST = 10.0, 54.0  # pixels: a digit that is smaller or larger is found in another size
SHOWN = 0.35  # probability from which on a digit is there
MARGIN = 16  # pixels of paper put around a page


def find(session: Any, grey: Grey) -> list[Found]:
    """Return the digits on a page, (H, W) uint8, dark on light, wherever and however large they are."""
    import cv2

    longer = max(grey.shape)
    found: list[Found] = []
    size = float(min(LARGEST, max(longer, SMALLEST)))
    while size >= SMALLEST:
        scale = size / longer
        sides = [max(1, round(side * scale)) for side in grey.shape[::-1]]
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        found += _in_one_size(session, np.asarray(cv2.resize(grey, sides, interpolation=way)), scale)
        size /= STEP
    return distinct(found)


def _in_one_size(session: Any, grey: Grey, scale: float) -> list[Found]:
    """Return the digits that a page shows in one size, with their places in the page itself."""
    import cv2

    below, right = (-(side + MARGIN) % 16 for side in grey.shape)
    padded = cv2.copyMakeBorder(grey, MARGIN, below, MARGIN, right, cv2.BORDER_REPLICATE)
    maps = session.run(None, {"pixels": levelled(np.asarray(padded), PAGE_REACH)[None, None]})[0][0]
    shown = 1 - maps[10]
    peaks = (shown > SHOWN) & (shown >= cv2.dilate(shown, np.ones((3, 3), np.uint8)))
    weights = np.where(shown > SHOWN, shown, 0)
    total = np.maximum(_around(weights), 1e-6)
    y, x = np.mgrid[: shown.shape[0], : shown.shape[1]].astype(np.float32) * STRIDE + (STRIDE - 1) / 2
    # A digit's middle covers a few places: what they say is averaged.
    x, y, *said = (_around(each * weights) / total for each in (x, y, *maps[:10], *maps[11:]))
    found = []
    for at in zip(*np.nonzero(peaks), strict=True):
        shares, (wide, tall) = np.array([each[at] for each in said[:10]]), (float(each[at]) for each in said[10:])
        if LEAST <= max(wide, tall) <= MOST:
            across, down = ((float(axis[at]) - MARGIN + 0.5) / scale for axis in (x, y))
            shares = shares / shares.sum()
            found.append(Found(across, down, wide / scale, tall / scale, shares, float(shown[at])))
    return found


def _around(field: Floats) -> Floats:
    """Return the sum of each place and its eight neighbours."""
    import cv2

    return np.asarray(cv2.boxFilter(field, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT), np.float32)
