"""Pictures -> numbers: two networks and the recogniser of digits, run by onnxruntime, without torch.

The page's network says where digits are, how large, and which; it looks at the picture in several sizes, since it knows
digits of 13 to 42 pixels. What stands together is cut out and read anew by the network of rows, which decides. Where
both agree, the number is as good as sure.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.imaging.level import levelled
from tenfold.runtime.ctc import decoded
from tenfold.runtime.numbers import Digit, Number, Page
from tenfold.runtime.rows import Found, distinct, numbers, rows

if TYPE_CHECKING:
    from tenfold.runtime.frames import Picture

Grey = NDArray[np.uint8]
Floats = NDArray[np.float32]

LINE_HEIGHT, LONGEST = 32, 640  # pixels of a row
LINE_REACH, PAGE_REACH, STRIDE = 12, 24, 4  # as in training
LARGEST, SMALLEST = 1536, 24  # pixels of the longer side of a page, in the sizes that it is searched in
STEP = math.sqrt(2)  # between two sizes
LEAST, MOST = 10.0, 54.0  # pixels: digits outside are found in another size
SHOWN = 0.35  # probability from which on a digit is there
MARGIN = 16  # pixels of paper put around a page


class Reader:
    """Reads the numbers in pictures. All methods may be called from several threads at once."""

    def __init__(self, page: Any, lines: Any, threshold: float) -> None:
        self._page, self._lines, self.threshold = page, lines, threshold

    def read(self, picture: "Picture", *, line: bool = False, rotate: str = "none") -> Page:
        grey = dark(picture)
        return self._line(grey) if line else self._whole(grey)

    def _line(self, grey: Grey) -> Page:
        height, width = grey.shape
        text, sure, other, columns, size = self._row(grey)
        return Page([Number(text, sure, (0, 0, width, height))] if text else [], [1] if text else [], (width, height))

    def _whole(self, grey: Grey) -> Page:
        made: list[Number] = []
        counts = []
        for row in rows(self.find(grey)):
            parts = [self._number(grey, each) for each in numbers(row)]
            made += parts
            counts.append(len(parts))
        return Page(made, counts, (grey.shape[1], grey.shape[0]))

    def _number(self, grey: Grey, digits: list[Found]) -> Number:
        boxes = [(round(d.left), round(d.y - d.height / 2), round(d.width), round(d.height)) for d in digits]
        own = "".join(str(int(d.shares.argmax())) for d in digits)
        sure = float(np.prod([d.shares.max() * d.score for d in digits]))
        text, likely, _, _, _ = self._row(cut(grey, digits))
        left, top = min(b[0] for b in boxes), min(b[1] for b in boxes)
        box = (left, top, max(b[0] + b[2] for b in boxes) - left, max(b[1] + b[3] for b in boxes) - top)
        return Number(
            text,
            likely if text == own else likely * 0.5,
            box,
            [Digit(int(d.shares.argmax()), float(d.shares.max()), b) for d, b in zip(digits, boxes)],
            False,
            own,
        )

    def _row(self, grey: Grey) -> tuple[str, float, str, list[int], int]:
        """Return a row's text, its probability, the next likely text, and each digit's column of so many."""
        small = resized_row(grey)
        size = small.shape[1]
        pixels = np.zeros((1, 1, LINE_HEIGHT, -(-size // 16) * 16), np.float32)
        pixels[0, 0, :, :size] = levelled(np.asarray(small), LINE_REACH)
        shares = self._lines.run(None, {"pixels": pixels})[0][0]
        return *decoded(shares), len(shares)

    def find(self, grey: Grey) -> list[Found]:
        """Return the digits on a page, (H, W) uint8, dark on light, wherever and however large they are."""
        import cv2

        longer = max(grey.shape)
        found: list[Found] = []
        size = float(min(LARGEST, max(longer, SMALLEST)))
        while size >= SMALLEST:
            scale = size / longer
            way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            found += self._found(np.asarray(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=way)), scale)
            size /= STEP
        return distinct(found)

    def _found(self, grey: Grey, scale: float) -> list[Found]:
        """Return the digits that a page shows in one size, with their places in the page itself."""
        import cv2

        height, width = grey.shape
        below, right = -(height + MARGIN) % 16 + 0, -(width + MARGIN) % 16
        padded = cv2.copyMakeBorder(grey, MARGIN, below, MARGIN, right, cv2.BORDER_REPLICATE)
        maps = self._page.run(None, {"pixels": levelled(np.asarray(padded), PAGE_REACH)[None, None]})[0][0]
        shown = 1 - maps[10]
        peaks = (shown > SHOWN) & (shown >= cv2.dilate(shown, np.ones((3, 3), np.uint8)))
        weights = np.where(shown > SHOWN, shown, 0)
        total = np.maximum(_around(weights), 1e-6)
        down, right = np.mgrid[: maps.shape[1], : maps.shape[2]].astype(np.float32) * STRIDE + (STRIDE - 1) / 2
        found = []
        # A digit's middle covers a few places: what they say is averaged.
        x, y, wide, tall = (_around(each * weights) / total for each in (right, down, maps[11], maps[12]))
        shares = np.stack([_around(each * weights) / total for each in maps[:10]])
        for row, column in np.argwhere(peaks):
            at = row, column
            if LEAST <= max(wide[at], tall[at]) <= MOST:
                place = (float(x[at]) - MARGIN + 0.5) / scale, (float(y[at]) - MARGIN + 0.5) / scale
                own = shares[:, row, column] / shares[:, row, column].sum()
                found.append(Found(*place, float(wide[at]) / scale, float(tall[at]) / scale, own, float(shown[at])))
        return found


def _around(field: Floats) -> Floats:
    """Return the sum of each place and its eight neighbours."""
    import cv2

    return np.asarray(cv2.boxFilter(field, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT), np.float32)


def resized_row(grey: Grey) -> Grey:
    """Return the picture of a row 32 pixels high."""
    import cv2

    height, width = grey.shape
    size = int(np.clip(round(width * LINE_HEIGHT / height), 12, LONGEST))
    way = cv2.INTER_AREA if height > LINE_HEIGHT else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(grey, (size, LINE_HEIGHT), interpolation=way), np.uint8)


def cut(grey: Grey, digits: list[Found]) -> Grey:
    """Return the part of a page that holds the digits of one number, turned so that their row is level."""
    import cv2

    x, y = np.array([each.x for each in digits]), np.array([each.y for each in digits])
    tall = float(np.median([each.height for each in digits]))
    slope = 0.0
    if len(digits) > 2 and np.ptp(x) > 2 * tall:
        slope = float(np.clip(np.polyfit(x - x.mean(), y, 1)[0], -0.35, 0.35))
    angle = math.atan(slope)
    along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    places = np.stack([x, y], 1)
    rise, reach = places @ across, places @ along
    half = np.array([each.height for each in digits]) / 2
    wide = np.array([each.width for each in digits]) / 2
    margin = 0.15 * tall
    top, bottom = (rise - half).min() - margin, (rise + half).max() + margin
    left, right = (reach - wide).min() - 2 * margin, (reach + wide).max() + 2 * margin
    scale = LINE_HEIGHT / (bottom - top)
    size = max(12, round((right - left) * scale))
    origin = left * along + top * across
    turn = np.array(
        [[along[0] / scale, across[0] / scale, origin[0]], [along[1] / scale, across[1] / scale, origin[1]]]
    )
    if scale < 0.5:  # smoothed first, so that no stroke is missed
        grey = cv2.GaussianBlur(grey, (0, 0), 0.35 / scale)
    return np.asarray(
        cv2.warpAffine(
            grey,
            turn,
            (size, LINE_HEIGHT),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    )


def dark(image: Any) -> Grey:
    """Return (H, W) uint8, its writing dark."""
    import cv2

    grey = image if image.ndim == 2 else np.asarray(cv2.cvtColor(image[..., :3], cv2.COLOR_RGB2GRAY))
    small = cv2.resize(
        grey, None, fx=min(1, 600 / max(grey.shape)), fy=min(1, 600 / max(grey.shape)), interpolation=cv2.INTER_AREA
    )
    fine = small.astype(np.float32) - cv2.GaussianBlur(small.astype(np.float32), (0, 0), 12)
    return grey if float((fine**3).mean()) <= 0 else 255 - grey
