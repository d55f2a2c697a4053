"""Pictures -> numbers: three networks, run by onnxruntime, without torch.

The network of pages says where digits are, and which. What stands together is cut out and read anew, in a few views, by
the network of rows; and digit by digit by the recogniser's. Each votes for the texts that it holds possible, with their
probabilities: the text with the most votes is the number, and its share of them says how sure that is.
"""

import functools
import hashlib
import math
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import ModelError
from tenfold.imaging.frame import to_frame
from tenfold.imaging.level import dark, levelled
from tenfold.runtime.abstain import guarantee
from tenfold.runtime.ctc import decoded
from tenfold.runtime.doubts import doubts
from tenfold.runtime.finder import find
from tenfold.runtime.frames import as_pixels
from tenfold.runtime.model_file import PRETRAINED, Card, Model, expected_sha256, model_path, open_model, open_reading
from tenfold.runtime.numbers import Box, Digit, Number, Page
from tenfold.runtime.rows import Found, bounds, numbers, rows

if TYPE_CHECKING:
    from tenfold.runtime.frames import Picture

Grey = NDArray[np.uint8]
Votes = dict[str, float]

LINE_HEIGHT, LONGEST, LINE_REACH = 32, 640, 12  # pixels of a row; and for `levelled`
# Of the page, and of the recogniser of single digits, beside one of each view of a row.
PAGE_VOTES, DIGIT_VOTES = 0.7, 0.6
LEAST_SHARE = 0.08  # of the votes: what has less is no number
OFFSET, SLOPE = 1.19, 1.32  # of `calibrated`, fitted to 500 drawn rows: benchmarks/reading.py --calibrate --seed 7
NARROW = 0.87  # of a row's width, in one of its views


class Reader:
    """Reads the numbers in pictures. All methods may be called from several threads at once.

    card: what the network of rows says of itself, where it does. threshold: the confidence of an answer. sha256: of
    all three networks. name: what they were opened as.
    """

    def __init__(
        self,
        page: Any,
        lines: Any,
        digits: Model,
        card: Card | None,
        threshold: float,
        sha256: str = "",
        name: str = "",
    ) -> None:
        self._page, self._lines, self._digits, self.card = page, lines, digits, card
        self.threshold, self.sha256, self.name = threshold, sha256, name

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        max_error: float | None = None,
        min_confidence: float | None = None,
        threads: int = 1,
    ) -> "Reader":
        """Return the shipped reader, or one with the network that a run trained.

        path: None or "shipped"; a run's folder of `tenfold train lines`, or the `lines.onnx` in it. max_error: abstain
        so often that at most this share of the numbers is wrong, 95% certain, on numbers like those held out when the
        network was trained. min_confidence: or answer from this confidence on. threads: of onnxruntime.
        Raises ModelError for a model that is refused or cannot promise max_error, and for values out of range.
        """
        if max_error is not None and min_confidence is not None:
            raise ModelError(f"Both max_error '{max_error}' and min_confidence '{min_confidence}' are given. Give one.")
        if min_confidence is not None and not 0 <= min_confidence <= 1:
            raise ModelError(f"The confidence '{min_confidence}' is none. Give 0 to 1.")
        files = {kind: PRETRAINED / f"{kind}.onnx" for kind in ("page", "lines")}
        if path is not None and str(path) != "shipped":
            given = Path(path)
            files["lines"] = given / "lines.onnx" if given.is_dir() else given
        opened = {kind: open_reading(file, kind, expected_sha256(file), threads) for kind, file in files.items()}
        card = opened["lines"].card
        threshold = card.threshold if min_confidence is None else min_confidence
        if max_error is not None:
            threshold = guarantee(card, max_error).threshold
        digits = digit_model()
        hashes = [*(each.sha256 for each in opened.values()), digits.sha256]
        digest = hashlib.sha256("".join(hashes).encode()).hexdigest()
        sessions = opened["page"].session, opened["lines"].session
        return cls(*sessions, digits, card, threshold, digest, str(path or "shipped"))

    def read(self, picture: "Picture", *, line: bool = False, rotate: str = "none") -> Page:
        """Return the numbers in a picture: a path, bytes, a PIL image, or (H, W), (H, W, 3), (H, W, 4) uint8.

        line: it shows one number alone. rotate: "none", or "auto" to try quarter turns, of which that is taken in which
        most is read, and most surely.
        Raises DataError for what is no picture.
        """
        grey = dark(as_pixels(picture))
        turns = range(4) if rotate == "auto" else (0,)
        read = self._line if line else self._page_of
        pages = [read(np.ascontiguousarray(np.rot90(grey, turn)), 90 * turn) for turn in turns]
        return max(pages, key=lambda page: sum(len(each.text) * each.confidence**2 for each in page.numbers))

    def _line(self, grey: Grey, turned: int) -> Page:
        """Return what a picture of one number shows: the row as a whole, and its digits where they are found."""
        height, width = grey.shape
        row = max(rows(find(self._page, grey)), key=len, default=[])
        number = self._number(grey, row, grey, box=(0, 0, width, height))
        return Page([] if number is None else [number], [] if number is None else [1], (width, height), turned)

    def _page_of(self, grey: Grey, turned: int) -> Page:
        """Return what a page shows."""
        groups = [numbers(row) for row in rows(find(self._page, grey))]
        against = iter(doubts(grey, [group for row in groups for group in row]))
        made: list[Number] = []
        counts = []
        for row in groups:
            parts = [self._number(grey, group, cut(grey, group), against=next(against)) for group in row]
            read = [each for each in parts if each is not None]
            made += read
            counts += [len(read)] if read else []
        return Page(made, counts, (grey.shape[1], grey.shape[0]), turned)

    def _number(
        self, grey: Grey, found: list[Found], row: Grey, *, box: Box | None = None, against: str | None = None
    ) -> Number | None:
        """Return the number that a row's picture shows; None where it is none.

        found: its digits on the page. box: where it is, if not around these. against: why it should not be used.
        """
        votes, views = self._votes(row)
        own = "".join(str(int(each.shares.argmax())) for each in found)
        likely = math.prod(float(each.shares.max()) * each.score for each in found)
        if own:
            votes[own] += PAGE_VOTES * likely
            one_by_one, each_sure = self._one_by_one(grey, found)
            votes[one_by_one] += DIGIT_VOTES * each_sure
        texts = sorted((text for text in votes if text), key=lambda text: -votes[text])
        share = votes[texts[0]] / (views + PAGE_VOTES + DIGIT_VOTES) if texts else 0.0
        if share < LEAST_SHARE:
            return None
        text, sure = texts[0], calibrated(share)
        if against is not None:
            return Number("", sure, box or box_of(found), [], True, against)
        reason = None
        if sure < self.threshold:
            reason = f"unsure: {text} or {texts[1]}" if len(texts) > 1 else f"unsure: {text}"
        boxes = [box_of([each]) for each in found]
        digits = []
        if len(found) == len(text):
            shares = (float(each.shares[int(digit)]) for each, digit in zip(found, text, strict=True))
            digits = [Digit(int(d), s, b) for d, s, b in zip(text, shares, boxes, strict=True)]
        return Number(text, sure, box or box_of(found), digits, reason is not None, reason)

    def _one_by_one(self, grey: Grey, found: list[Found]) -> tuple[str, float]:
        """Return what the recogniser of single digits makes of each, and how likely that is right."""
        frames = []
        for each in found:
            high, wide = 0.58 * each.height, each.width / 2 + 0.08 * each.height
            rows, columns = ((max(0, int(at - far)), int(at + far) + 1) for at, far in ((each.y, high), (each.x, wide)))
            part = grey[slice(*rows), slice(*columns)]
            frames.append(to_frame(part, "dark") if part.size else np.zeros((28, 28), np.uint8))
        probabilities, *known = self._digits.run(np.stack(frames))
        sure = probabilities.max(axis=1) * (known[0] if known else 1)
        return "".join(map(str, probabilities.argmax(axis=1).tolist())), float(sure.prod())

    def _votes(self, row: Grey) -> tuple[Votes, int]:
        """Return the texts that views of a row hold possible, with the sum of their probabilities; and how many views.

        As it is, with paper at both ends, for digits that the edge touches, and narrower.
        """
        import cv2

        small = resized_row(row)
        ends = cv2.copyMakeBorder(small, 0, 0, 5, 5, cv2.BORDER_REPLICATE)
        narrow = cv2.resize(small, (max(8, round(small.shape[1] * NARROW)), LINE_HEIGHT), interpolation=cv2.INTER_AREA)
        views = [small, np.asarray(ends, np.uint8), np.asarray(narrow, np.uint8)]
        pixels = np.zeros((len(views), 1, LINE_HEIGHT, -(-max(each.shape[1] for each in views) // 16) * 16), np.float32)
        for each, view in zip(pixels, views, strict=True):
            each[0, :, : view.shape[1]] = levelled(view, LINE_REACH)
        votes: Votes = defaultdict(float)
        for shares in self._lines.run(None, {"pixels": pixels})[0]:
            for text, probability in decoded(shares):
                votes[text] += probability
        return votes, len(views)


def digit_model() -> Model:
    """Return the shipped model of single digits."""
    file = model_path("shipped")
    return open_model(file, expected_sha256(file))


@functools.cache
def shipped() -> Reader:
    """Return the reader that comes with Tenfold, opened once."""
    return Reader.load()


def calibrated(share: float) -> float:
    """Return how likely a text is right that has such a share of the votes: a logistic curve over its log-odds."""
    odds = math.log(max(share, 1e-6) / max(1 - share, 1e-6))
    return 1 / (1 + math.exp(-(OFFSET + SLOPE * odds)))


def resized_row(grey: Grey) -> Grey:
    """Return the picture of a row 32 pixels high."""
    import cv2

    height, width = grey.shape
    size = int(np.clip(round(width * LINE_HEIGHT / height), 12, LONGEST))
    way = cv2.INTER_AREA if height > LINE_HEIGHT else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(grey, (size, LINE_HEIGHT), interpolation=way), np.uint8)


def box_of(found: list[Found]) -> Box:
    """Return the smallest box around digits: left, top, width, height."""
    left, top, right, bottom = bounds(found)
    return round(left), round(top), round(right - left), round(bottom - top)


def cut(grey: Grey, digits: list[Found]) -> Grey:
    """Return the part of a page that holds the digits of one number, 32 pixels high, turned level."""
    import cv2

    x, y, wide, tall = np.array([(each.x, each.y, each.width, each.height) for each in digits]).T
    usual = float(np.median(tall))
    slope = 0.0
    if len(digits) > 2 and np.ptp(x) > 2 * usual:
        slope = float(np.clip(np.polyfit(x - x.mean(), y, 1)[0], -0.35, 0.35))
    angle = math.atan(slope)
    along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    places = np.stack([x, y], 1)
    rise, reach = places @ across, places @ along
    top, bottom = (rise - tall / 2).min() - 0.15 * usual, (rise + tall / 2).max() + 0.15 * usual
    left, right = (reach - wide / 2).min() - 0.3 * usual, (reach + wide / 2).max() + 0.3 * usual
    scale = LINE_HEIGHT / (bottom - top)
    size = int(np.clip(round((right - left) * scale), 12, LONGEST))
    corner = left * along + top * across
    turn = np.column_stack([along / scale, across / scale, corner])
    if scale < 0.5:  # smoothed first, so that no stroke is missed
        grey, turn = _around_smooth(grey, places, bottom - top + right - left, scale, turn)
    way = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(grey, turn, (size, LINE_HEIGHT), flags=way, borderMode=cv2.BORDER_REPLICATE))


def _around_smooth(
    grey: Grey, places: NDArray[np.float64], reach: float, scale: float, turn: NDArray[np.float64]
) -> tuple[Grey, NDArray[np.float64]]:
    """Return the part of a page within reach of some places, smoothed, and the transform for that part."""
    import cv2

    low = np.clip(np.floor(places.min(axis=0) - reach), 0, None).astype(int)
    high = np.ceil(places.max(axis=0) + reach).astype(int)
    part = cv2.GaussianBlur(grey[low[1] : high[1], low[0] : high[0]], (0, 0), 0.35 / scale)
    return np.asarray(part), turn - np.array([[0, 0, low[0]], [0, 0, low[1]]])
