"""A picture of one digit to MNIST's frame: ink 255 on 0, fitted into 20x20, its centre of mass in the middle of 28x28.

The frame is that of LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition"
(1998), section III.A: size-normalised to a 20x20 box keeping the aspect ratio, then centred by centre of mass. In
all 70,000 MNIST images the longer side is 19 or 20 and the centre of mass lies in [13.48, 14.5], counting pixels
from 0.
"""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError
from tenfold.imaging.decode import LUMINANCE, border, check_size, flatten

Ink = Literal["auto", "dark", "light"]

SIDE, BOX = 28, 20
CENTRE = 14.0
WORKING_SIDE = 400  # larger pictures are first shrunk to this: 20 times the resolution of the result
MIN_CONTRAST = 20.0  # of 255; paper and lighting alone vary less
NOISE_DEVIATIONS = 4.0
SPECK_SHARE = 0.03  # of the largest connected stroke; smaller ones are dirt
SHADOW_SHARE = 0.3  # of the largest; smaller ones at the border, where the largest does not reach, are shadows
LOCAL_SHARE = 1 / 8  # of the picture's side: strokes are thinner than this where light is judged locally
MIN_STROKE = 2.0  # pixels in the frame; a thin pen's strokes are widened to it (MNIST's are 2 to 4)
MAX_STROKE = 4.5  # a broad pen's are narrowed to it
FAINT = 32  # of 255; below this a pixel belongs to no stroke
LIGHTER = 0.05  # of the range, by which a light ground is lighter than the image with its ink
EDGE = 0.25  # of a full stroke; where the ink's extent ends, so that a blurred edge does not make a digit smaller
# What `is_framed` looks pixels up in: ink without what is faint, and where there is ink.
STROKES = bytes(value if value >= FAINT else 0 for value in range(256))
IS_STROKE = bytes(value >= FAINT for value in range(256))
ROWS, COLUMNS = (axis.reshape(-1) for axis in np.mgrid[0:SIDE, 0:SIDE].astype(np.float32))
MOMENTS = np.stack([np.ones_like(ROWS), ROWS, COLUMNS], axis=1)  # Shape: (784, 3)


def to_frame(image: NDArray[np.uint8], ink: Ink = "auto") -> NDArray[np.uint8]:
    """Return a picture of one digit in the frame, (28, 28) uint8, ink 255 on background 0.

    image: (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, uint8. ink: whether the strokes are dark or light; "auto" takes
    the border for background. A picture that is in the frame already comes back as it is, a blank one as zeros.
    """
    *_, (_, frame) = steps(image, ink)
    return np.asarray(frame, dtype=np.uint8)


def steps(image: NDArray[np.uint8], ink: Ink = "auto") -> Iterator[tuple[str, NDArray[Any]]]:
    """Give what `to_frame` makes of the picture step by step, by the step's name; the last is the result."""
    check_ink(ink)
    grey = _to_grey(image)  # Shape: at most (400, 400)
    if grey.max() == 1:  # of two values, as masks are saved
        grey = grey * np.uint8(255)
    yield "grey", grey
    if grey.shape == (SIDE, SIDE) and ink != "dark" and is_framed(grey):
        yield "as it was", grey.copy()
        return
    found = _find_ink(grey, ink)
    yield "ink", found
    kept = _keep_strokes(found)
    yield "without specks", kept
    strokes = crop(kept, EDGE)
    if strokes.size == 0:
        yield "blank", np.zeros((SIDE, SIDE), dtype=np.uint8)
        return
    yield "cropped", strokes
    wide = crop(_set_width(strokes), EDGE)
    yield "stroke width", wide
    fitted = _fit(wide)
    yield "20 pixels long", fitted
    yield "centre of mass", place(fitted)


def check_ink(ink: str) -> None:
    """Raise DataError for what says nothing of the strokes."""
    if ink not in ("auto", "dark", "light"):
        raise DataError(f"Ink is '{ink}'. Give dark, light or auto.")


def is_dark(images: NDArray[np.uint8]) -> bool:
    """Return True where a set of images, (N, H, W) uint8, has dark ink: most borders are lighter than their images.

    One answer for the set: it is surer from the borders of all than from one border.
    """
    edges = border(images).astype(np.float32)  # Shape: (N, 2 H + 2 W)
    ground = np.median(edges, axis=1)
    spread = np.median(np.abs(edges - ground[:, None]), axis=1)  # of noise alone it is large
    lighter = ground - images.mean(axis=(1, 2)) > np.maximum(255 * LIGHTER, spread)
    return float(np.mean((ground > 191) | lighter)) > 0.5


def is_framed(grey: NDArray[np.uint8]) -> bool:
    """Return True where a (28, 28) uint8 image is as MNIST's are: 20x20 at most, in the middle.

    By tables and without OpenCV, in 7 microseconds: one image is to be read in 60 in all.
    """
    content = grey.tobytes()
    by_row, by_column = content.translate(IS_STROKE), grey.T.tobytes().translate(IS_STROKE)
    top, left = by_row.find(1) // SIDE, by_column.find(1) // SIDE  # -1 where there is no stroke
    bottom, right = by_row.rfind(1) // SIDE, by_column.rfind(1) // SIDE
    if top < 0 or grey.max() < 128 or not BOX - 3 <= max(bottom - top, right - left) + 1 <= BOX:
        return False
    # Whole numbers below 2^24, which float32 adds up exactly.
    strokes = np.frombuffer(content.translate(STROKES), np.uint8).astype(np.float32)
    mass, rows, columns = (strokes @ MOMENTS).tolist()
    return bool(abs(rows / mass - CENTRE) <= 0.6 and abs(columns / mass - CENTRE) <= 0.6)


def opaque(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture as (H, W) or (H, W, 3) uint8, transparency laid on its background; DataError for none."""
    if image.dtype != np.uint8 or image.size == 0 or not (image.ndim == 2 or image.shape[2:] in ((3,), (4,))):
        raise DataError(f"A picture has shape '{image.shape}' and dtype '{image.dtype}'. Give (H, W[, 3 or 4]) uint8.")
    height, width = (*image.shape, 1, 1)[:2]
    check_size(width, height, "The picture")
    return flatten(image) if image.shape[2:] == (4,) else image


def _to_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = opaque(image)
    longer = max(image.shape[:2])
    if longer > WORKING_SIDE:
        import cv2

        height, width = (max(1, round(side * WORKING_SIDE / longer)) for side in image.shape[:2])
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    if image.ndim == 3:
        return np.asarray(np.rint(image @ LUMINANCE), dtype=np.uint8)
    return image


def _find_ink(grey: NDArray[np.uint8], ink: Ink) -> NDArray[np.float32]:
    """Return how much ink each pixel holds, (H, W) float32, 0 on the background to 1 in a full stroke.

    First with light that falls from one side; where that shows no digit, with light judged locally (shadows).
    """
    bright = _split(grey)
    dark = ink == "dark" or (ink == "auto" and bool(border(bright).mean() + bright.mean() > 1))
    height = (255 - grey if dark else grey).astype(np.float32)  # higher: more ink
    strokes = bright != dark
    found = _rise(height - _plane(height, ~strokes), strokes)
    if not found.any() and np.ptp(grey) >= MIN_CONTRAST:
        for each in (height,) if ink != "auto" else (height, 255 - height):
            above = each - _local(each)
            found = np.maximum(found, _rise(above, _split(np.clip(above, 0, 255).astype(np.uint8))))
            if found.any():
                break
    return found


def _split(grey: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which pixels are in the brighter of two classes (Otsu, 1979), (H, W) bool."""
    import cv2

    threshold, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return np.asarray(grey > threshold)


def _rise(height: NDArray[np.float32], strokes: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the height above the background's noise, 1 at the strokes' own height; zeros where that is no more."""
    if strokes.all() or not strokes.any():
        return np.zeros_like(height)
    height = height - np.median(height[~strokes])
    full = float(np.median(height[strokes]))
    # The deviation by the median: the soft edges of strokes lie among the background's pixels, but are few.
    noise = NOISE_DEVIATIONS * 1.4826 * float(np.median(np.abs(height[~strokes])))
    if full < MIN_CONTRAST or full <= noise:
        return np.zeros_like(height)
    return np.asarray(np.clip((height - noise) / (full - noise), 0, 1), dtype=np.float32)


def _plane(height: NDArray[np.float32], background: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return a plane through the background's pixels, by least squares, the second time without outliers."""
    if not background.any():
        return np.zeros_like(height)
    rows, columns = np.mgrid[0 : height.shape[0], 0 : height.shape[1]].astype(np.float32)
    terms = np.stack([np.ones_like(rows), rows / height.shape[0], columns / height.shape[1]], axis=-1)
    plane = np.full_like(height, np.median(height[background]))
    for _ in range(2):
        distance = np.abs(height - plane)
        chosen = background & (distance <= 3 * 1.4826 * float(np.median(distance[background])))
        if np.ptp(height[chosen]) == 0 or chosen.sum() < height.size / 4:
            return plane
        solution = np.linalg.lstsq(terms[chosen], height[chosen], rcond=None)[0]
        plane = (terms @ solution).astype(np.float32)
    return plane


def _local(height: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the height without whatever is narrower than `LOCAL_SHARE` of the picture (morphological opening)."""
    import cv2

    side = max(3, round(max(height.shape) * LOCAL_SHARE))
    opened = cv2.morphologyEx(cv2.medianBlur(height, 3), cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    return np.asarray(cv2.blur(opened, (side, side)), dtype=np.float32)


def _keep_strokes(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the ink without specks: connected parts much smaller than the largest."""
    import cv2

    visible = (ink >= FAINT / 255).astype(np.uint8)
    count, parts, statistics, _ = cv2.connectedComponentsWithStats(visible, connectivity=8)
    if count == 1:
        return np.zeros_like(ink)
    areas = statistics[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0  # the background
    large = areas >= max(SPECK_SHARE * areas.max(), 1)
    at_border = np.unique(border(parts))
    if areas.argmax() not in at_border:
        large[at_border] &= areas[at_border] >= SHADOW_SHARE * areas.max()
    # Soft edges, fainter than `visible`, belong to the stroke they touch.
    kept = cv2.dilate(large[parts].astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.where(kept, ink, 0).astype(np.float32)


def crop(ink: NDArray[Any], least: float) -> NDArray[Any]:
    """Return the smallest box of an (H, W) picture that holds all values of `least` or more; (0, 0) without any."""
    import cv2

    left, top, width, height = cv2.boundingRect((ink >= least).astype(np.uint8))
    return ink[top : top + height, left : left + width]


def _set_width(strokes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cropped ink with strokes that are `MIN_STROKE` to `MAX_STROKE` wide in the frame."""
    import cv2

    scale = max(strokes.shape) / BOX  # pixels here that are one pixel there
    padded = np.pad(strokes, int(MIN_STROKE * scale) + 1)
    # Across a stroke of width w the distance to its edge averages w / 4; pixels count from their middle.
    distance = cv2.distanceTransform((padded >= 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    if not distance.any():
        return strokes
    width = 4 * (float(distance[distance > 0].mean()) - 0.5)
    grow, shrink = round(MIN_STROKE * scale - width), round(width - MAX_STROKE * scale)  # one is below 0
    if max(grow, shrink) < 1:
        return strokes
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(grow, shrink) + 1,) * 2)
    changed = np.asarray((cv2.dilate if grow >= 1 else cv2.erode)(padded, disc), dtype=np.float32)
    return changed if (changed >= EDGE).any() else strokes


def _fit(strokes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cropped ink with its longer side 20, as floats 0 to 1."""
    import cv2

    height, width = strokes.shape
    scale = BOX / max(height, width)
    if scale == 1:
        return strokes
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(strokes, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return np.asarray(small / small.max(), dtype=np.float32)  # a thin pen's strokes must not fade


def place(box: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return a box of ink, 0 to 1, in 28x28: its centre of mass within half a pixel of (14, 14), if there is room."""
    frame = np.zeros((SIDE, SIDE), dtype=np.uint8)
    corner = []
    for axis in (0, 1):
        profile = box.sum(axis=1 - axis)
        centre = float(profile @ np.arange(len(profile)) / profile.sum())
        corner.append(int(np.clip(np.ceil(CENTRE - 0.5 - centre), 0, SIDE - len(profile))))
    top, left = corner
    frame[top : top + box.shape[0], left : left + box.shape[1]] = np.rint(box * 255)
    return frame
