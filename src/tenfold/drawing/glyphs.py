"""Letters and signs that are no digits: from the fonts that Python packages bring, and written with our own strokes.

A font belongs to training or to the held-out part by its family, so that what is measured is drawn in faces that no
training saw. No system font is ever used: which negatives come out must not depend on the machine's desktop.
"""

import functools
import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import MissingExtraError

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

InkMap = NDArray[np.uint8]  # (H, W), 255 where the pen was
Line = NDArray[np.float64]  # (M, 2), points (x to the right, y down) in the unit square
FRACTION = 4  # binary places of OpenCV's coordinates: strokes lie between pixels

# The packages that bring fonts, under the SIL Open Font License or Apache, one family each, bold, italic and all. Each
# part has a sans, a serif and a hand-drawn face.
TRAINING = ("font_intuitive", "font_lato", "font_roboto", "font_source_serif_pro")
HELD_OUT = ("font_amatic_sc", "font_caladea", "font_fredoka_one")

# Debian's packages of handwriting (fonts-dkg-handwriting, fonts-breip, fonts-bwht, ...), by the folders that they fill.
# Where they are not installed words are written in fewer hands, and what learns from them comes out a little different.
SYSTEM_FONTS = Path("/usr/share/fonts")
HANDWRITING = ("fifthhorseman", "breip", "bwht", "dancingscript", "ecolier-court", "femkeklaver", "humor-sans",
               "kaushanscript", "kristi", "joscelyn", "levien", "leckerli-one", "comic-neue", "rufscript",
               "tomsontalks")  # fmt: skip

# Left out of training and benchmark alike, each with the digit that a reader may take it for: there is no right answer
# to a lone "O", so neither reading it nor refusing it is scored.
LOOKALIKES = {
    **dict.fromkeys("OoD", "0"),
    "Q": "0 or 2",
    **dict.fromkeys("IilJj|/\\!()[]{}',;", "1"),
    **dict.fromkeys("Zz", "2"),
    "y": "4 or 9",
    **dict.fromkeys("Ss", "5"),
    **dict.fromkeys("bG", "6"),
    ">": "7",
    **dict.fromkeys("B$", "8"),
    **dict.fromkeys("gq", "9"),
}
LETTERS = "".join(each for each in ascii_uppercase + ascii_lowercase if each not in LOOKALIKES)
WORD_LETTERS = ("aeiouaeioy", "bcdfghjklmnpqrstvwxyzttnnsrlh")
SIGNS = "+-=?#%&@*~^:"  # that all faces have

# Strokes on a grid 4 wide and 6 high (8 with what hangs below the line), a point being its x and y: straight, or
# curved through the points where the stroke begins with "~". Written for this file; look-alikes are left out here too.
HAND_LETTERS = {
    "A": "06 20 46|14 34",
    "C": "~41 20 02 04 26 45",
    "E": "40 00 06 46|03 33",
    "F": "40 00 06|03 33",
    "H": "00 06|40 46|03 43",
    "K": "00 06|40 03 46",
    "L": "00 06 46",
    "M": "06 00 24 40 46",
    "N": "06 00 46 40",
    "P": "06 00|~00 30 41 42 33 03",
    "R": "06 00|~00 30 41 42 33 03|23 46",
    "T": "00 40|20 26",
    "U": "~00 04 26 44 40",
    "V": "00 26 40",
    "W": "00 16 22 36 40",
    "X": "00 46|40 06",
    "Y": "00 23 40|23 26",
    "d": "~43 22 04 16 35 43|40 46",
    "e": "~04 44 32 12 04 16 46",
    "f": "~40 30 22 26|13 33",
    "h": "00 06|~04 23 34 36",
    "k": "00 06|33 04 36",
    "m": "03 06|~04 13 24 26|~24 33 44 46",
    "n": "03 06|~04 23 44 46",
    "p": "03 08|~04 23 44 36 06",
    "t": "~10 14 26 35|02 32",
    "u": "~03 05 26 45 43|43 46",
    "w": "03 16 24 36 43",
    "Delta": "06 20 46 06",
    "Pi": "06 00 40 46",
    "Sigma": "40 00 23 06 46",
    "Psi": "~00 03 24 43 40|20 26",
    "Sha": "00 06 46 40|20 26",
    "I with breve": "00 06 40 46",
    "Zhe": "00 46|40 06|20 26",
}
HAND_SIGNS = {
    "plus": "20 26|03 43",
    "equals": "02 42|04 44",
    "hash": "10 16|30 36|02 42|04 44",
    "star": "20 26|01 45|41 05",
    "root": "03 12 26 40",
    "arrow": "03 43|31 43 35",
    "less": "40 03 46",
    "percent": "40 06|~01 10 21 12 01|~25 34 45 36 25",
    "question": "~01 20 41 23 24|26 26",
    "ampersand": "~46 11 20 31 05 26 44",
    "check": "04 16 40",
    "not equal": "02 42|04 44|31 15",
    "euro": "~41 20 02 04 26 45|02 32|04 34",
}


@functools.cache
def font_files(held_out: bool = False) -> tuple[Path, ...]:
    """Return the font files of the training families, or of the held-out ones, in the order of their names.

    Which of the packages are installed decides how many; the two parts never share a family.
    Raises MissingExtraError where not one is installed.
    """
    found: list[Path] = []
    for package in HELD_OUT if held_out else TRAINING:
        spec = importlib.util.find_spec(package)  # finds, imports nothing
        for place in (spec and spec.submodule_search_locations) or ():
            found += Path(place, "files").glob("*.ttf")
    if not found:
        raise MissingExtraError("A package with fonts, such as font-lato,", "train")
    return tuple(sorted(found, key=lambda path: path.name))


@functools.cache
def handwriting() -> tuple[Path, ...]:
    """Return the training fonts, and those of HANDWRITING that are there, in the order of their names."""
    there = [path for family in HANDWRITING for path in SYSTEM_FONTS.glob(f"*/{family}/*.[ot]tf")]
    return (*font_files(), *sorted(there, key=lambda path: path.name))


def word(generator: np.random.Generator) -> str:
    """Return letters that read like a word, or two of them: 2 to 9, sometimes in capitals."""
    first, count = int(generator.integers(2)), int(generator.integers(2, 10))
    kinds = [WORD_LETTERS[(first + number + int(generator.random() < 0.15)) % 2] for number in range(count)]
    text = "".join(choose(kind, generator) for kind in kinds)
    text = text.upper() if generator.random() < 0.15 else text.capitalize() if generator.random() < 0.3 else text
    return f"{text} {''.join(choose('aeinorstlhf', generator) for _ in range(4))}" if generator.random() < 0.2 else text


def printed(character: str, file: Path, side: int) -> InkMap:
    """Return a character in a font, its ink 255 on 0, cropped to the ink: (H, W) uint8 with the type size `side`."""
    mask = _font(file, side).getmask(character, mode="L")
    return np.asarray(mask, dtype=np.uint8).reshape(mask.size[::-1])


@functools.lru_cache(maxsize=512)
def _font(file: Path, side: int) -> "FreeTypeFont":
    from PIL import ImageFont

    return ImageFont.truetype(str(file), side)


def written(strokes: str, generator: np.random.Generator) -> list[Line]:
    """Return a letter's strokes as lines of (x, y) in [0, 1], every point of the grid moved a little."""
    lines = []
    for stroke in strokes.split("|"):
        points = np.array([[int(point[0]), int(point[1])] for point in stroke.lstrip("~").split()], dtype=np.float64)
        points = points / (4, 6) + generator.normal(0, 0.035, points.shape)
        lines.append(curve(points) if stroke.startswith("~") else points)
    return lines


def draw(lines: Sequence[Line], side: int, pen: float) -> InkMap:
    """Return lines drawn with a round pen `pen` pixels wide, (side, side) uint8."""
    import cv2

    ink = np.zeros((side, side), dtype=np.uint8)
    for line in lines:
        points = np.rint(line * side * 2**FRACTION).astype(np.int32)
        cv2.polylines(ink, [points], False, (255,), max(1, round(pen)), cv2.LINE_AA, FRACTION)
    return ink


def width(side: int, generator: np.random.Generator) -> float:
    """Return a pen's width in pixels: 4% to 12% of the picture's side, at least 1."""
    return max(1.0, side * float(generator.uniform(0.04, 0.12)))


def curve(points: Line, steps: int = 6) -> Line:
    """Return a smooth line through the points, (M, 2): a Catmull-Rom spline, each span in `steps` straight pieces."""
    before, after = 2 * points[:1] - points[1:2], 2 * points[-1:] - points[-2:-1]
    padded = np.concatenate([before, points, after])
    first, second, third, fourth = (padded[i : len(points) - 1 + i, None] for i in range(4))
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    spans = second + 0.5 * t * (
        third - first + t * (2 * first - 5 * second + 4 * third - fourth + t * (3 * (second - third) + fourth - first))
    )
    return np.concatenate([spans.reshape(-1, 2), points[-1:]])


def turned(line: Line, degrees: float, generator: np.random.Generator) -> Line:
    """Return the line turned about the picture's middle by up to so many degrees either way, kept inside it."""
    angle = math.radians(degrees) * generator.uniform(-1, 1)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.asarray(np.clip(0.5 + (line - 0.5) @ turn.T, 0.03, 0.97))


def choose(options: Sequence[str], generator: np.random.Generator) -> str:
    """Return one of the options, all equally likely."""
    return options[int(generator.integers(len(options)))]
