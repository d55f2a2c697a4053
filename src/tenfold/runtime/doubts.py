"""What speaks against a number that was found: letters beside it, or that the page's other numbers are quite different.

A letter alone is often a digit's twin, and no network can tell them apart; but a number stands by itself, and a word's
letters stand together. What shines through from the back of a sheet is fainter than what is written on it, and specks
are smaller.
"""

import numpy as np
from numpy.typing import NDArray

from tenfold.imaging.level import levelled
from tenfold.runtime.rows import Found, bounds

Grey = NDArray[np.uint8]

LETTERS = "beside letters"
ALIKE = 3  # times a digit's height, up to which letters are of its line
SURE = 0.9  # of a page's network, from which on a digit is what the others are compared with
FAR_SMALLER, FAR_FAINTER = 0.2, 0.4  # of the largest and the darkest of those
NEAR, CLEAR, OWN = 0.45, 0.08, 0.4  # of the height: how near a letter stands, and how far a digit's own strokes reach
WORD = 0.9  # of the height, by which strokes are wider than the digits in them, where they are a word
HEIGHT = 24  # pixels of a digit, in which its surroundings are looked at
INK = 0.35  # of full ink
LOW, HIGH = 0.4, 1.7  # of the height: marks are lower than letters, a form's boxes higher


def doubts(grey: Grey, groups: list[list[Found]]) -> list[str | None]:
    """Return for each number's digits on a page, (H, W) uint8, why it should not be used; None where nothing is."""
    tall = [float(np.median([each.height for each in group])) for group in groups]
    dark = [_darkness(grey, group) for group in groups]
    sure = [number for number, group in enumerate(groups) if max(each.score for each in group) >= SURE]
    largest, darkest = (max((values[number] for number in sure), default=0.0) for values in (tall, dark))
    found = [each for group in groups for each in group]
    reasons: list[str | None] = []
    for group, height, darkness in zip(groups, tall, dark, strict=True):
        if height < FAR_SMALLER * largest:
            reasons.append("far smaller than the others")
        elif darkness < FAR_FAINTER * darkest:
            reasons.append("far fainter than the others")
        else:
            others = [each for each in found if all(each is not own for own in group)]
            reasons.append(LETTERS if _has_letters(grey, group, height, others) else None)
    # A lone digit in a line of words is rather one of their letters.
    lettered = [group[0] for group, reason in zip(groups, reasons, strict=True) if reason == LETTERS]
    for number, group in enumerate(groups):
        first, height = group[0], tall[number]
        if len(group) == 1 and reasons[number] is None:
            line = [each for each in lettered if abs(each.y - first.y) < height and each.height < ALIKE * height]
            reasons[number] = LETTERS if line else None
    return reasons


def _darkness(grey: Grey, group: list[Found]) -> float:
    """Return by how much the strokes of digits are darker than the paper around them, 0 to 1."""
    found = []
    for each in group:
        part = _part(grey, *bounds([each]))
        paper, ink = np.percentile(part, (90, 4))
        found.append(1 - ink / max(float(paper), 1.0))
    return float(np.median(found))


def _has_letters(grey: Grey, group: list[Found], height: float, others: list[Found]) -> bool:
    """Return True where ink as high as a letter stands close by a number, at either end, and is no digit."""
    import cv2

    left, top, right, bottom = bounds(group)
    reach, scale = 1.6 * height, HEIGHT / height
    x, y = max(0, int(left - reach)), max(0, int(top - 0.5 * height))
    part = _part(grey, x, y, right + reach, bottom + 0.5 * height)
    size = [max(1, round(side * scale)) for side in part.shape[::-1]]
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    ink = levelled(np.asarray(cv2.resize(part, size, interpolation=way), np.uint8), HEIGHT) > INK
    for each in others:  # the next number's digits are no letters
        rows = slice(max(0, round((each.top - y) * scale)), round((each.bottom - y) * scale))
        ink[rows, max(0, round((each.left - x) * scale)) : max(0, round((each.right - x) * scale))] = False
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=8)
    first, last = round((top - y) * scale), round((bottom - y) * scale)
    own = set(np.unique(labels[first:last, max(0, round((left - x) * scale)) : round((right - x) * scale)]))
    edges = [(labels[:, 0], x == 0), (labels[0], y == 0), (labels[:, -1], right + reach >= grey.shape[1]),
             (labels[-1], bottom + 0.5 * height >= grey.shape[0])]  # fmt: skip
    table = {0}.union(*(np.unique(side) for side, is_end in edges if is_end))  # what comes in at the picture's edge
    for edge, way in ((left, -1), (right, 1)):
        for label in set(np.unique(labels[first:last])) - table:
            # A digit's own strokes reach a little beyond its box; a word that it is a part of reaches further.
            near, far = (OWN, OWN + NEAR) if label in own else (CLEAR, CLEAR + NEAR)
            if label in own and stats[label, cv2.CC_STAT_WIDTH] < (right - left) * scale + WORD * HEIGHT:
                continue
            columns = sorted(max(0, round((edge + way * share * height - x) * scale)) for share in (near, far))
            rows_of = np.flatnonzero((labels[first:last, slice(*columns)] == label).any(axis=1))
            is_high = len(rows_of) > 0 and np.ptp(rows_of) + 1 >= LOW * HEIGHT
            if is_high and stats[label, cv2.CC_STAT_HEIGHT] <= HIGH * (last - first):
                return True
    return False


def _part(grey: Grey, left: float, top: float, right: float, bottom: float) -> Grey:
    """Return the part of a page within these edges, and never nothing."""
    rows, columns = (
        slice(max(0, int(low)), max(int(low) + 1, round(high))) for low, high in ((top, bottom), (left, right))
    )
    part = grey[rows, columns]
    return part if part.size else np.full((1, 1), 255, np.uint8)
