"""What arrays mean, judged once for a whole set and behind every door: values, polarity, position, labels -> Digits.

Values: 0 and 1, 0 to 1, -1 to 1 and 0 to 255 are known ranges; any other is stretched from the set's own lowest to its
highest value. Polarity: what most borders show is background. Position: where the small shipped model reads a set
badly as it is and well in one of the seven other positions of a square (EMNIST is transposed), it is turned. Whatever
was assumed is a note.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.data.digits import IMAGE_SHAPE, Digits
from tenfold.data.walk import quoted
from tenfold.errors import DataError
from tenfold.imaging.frame import is_dark, is_framed, to_frame

MODEL = Path(__file__).parent.parent / "pretrained" / "tiny.onnx"
SAMPLE = 500  # images that polarity and position are judged by
SURE = 0.95  # confidence of a reading that counts, where there are no labels
# Share of the sample that is read rightly (or surely): upright 0.77 to 1.0 over MNIST, UCI's sets, digits drawn on
# screen, also binary, thin, bold, faint or shifted; in the other positions at most 0.48 (surely 0.78, upside down).
GOOD, BETTER = 0.75, 0.2
FEW = 50  # fewer images are never turned, and don't tell a range
CHUNK = 4096  # images that are converted at a time, to hold few floats
MAX_SIDE = 4096
LEAST_SIDE = 7  # of square images in rows, which (N, H * W) may be
KNOWN = ((0.0, 1.0), (0.0, 255.0), (-1.0, 1.0))
# How images lie: they are put upright by a transposition (from the fifth on), then so many quarter turns to the left.
POSITIONS = (
    "upright", "turned to the right", "upside down", "turned to the left",
    "transposed", "mirrored top to bottom", "transposed and upside down", "mirrored",
)  # fmt: skip


@dataclass(frozen=True)
class Meaning:
    """What the arrays of one set mean.

    low, high: the values that stand for 0 and 255. dark: the ink is darker than its ground. framed: images are in
    the 28x28 frame already. position: how they lie, of `POSITIONS`. notes: what was assumed, a sentence each.
    """

    low: float = 0.0
    high: float = 255.0
    dark: bool = False
    framed: bool = True
    position: int = 0
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        array: NDArray[Any],
        where: str,
        *,
        labels: NDArray[np.int64] | None = None,
        seen: "Meaning | None" = None,
        turn: bool = True,
        extremes: tuple[float, float] | None = None,
    ) -> "Meaning":
        """Return what a whole set, (N, H, W), means.

        seen: what was found before on images of the same origin, which a few images are then read by. turn: whether
        the position is judged. extremes: the set's lowest and highest value, where array is a part of it. DataError
        for NaN and infinity, and for a value far outside of what the others are.
        """
        chosen = np.unique(np.linspace(0, len(array) - 1, SAMPLE).astype(np.int64))
        sample, labels = array[chosen], None if labels is None else labels[chosen]
        low, high, notes = _range(array, sample, extremes or (float(array.min()), float(array.max())), where, seen)
        images = cls(low, high)._eight_bits(sample)
        dark, framed = is_dark(images), sample.shape[1:] == IMAGE_SHAPE
        if dark:
            notes.append("dark ink on a light ground: turned to light on dark")
            framed = framed and float(np.mean([is_framed(image) for image in 255 - images])) > 0.5
        found = cls(low, high, dark, framed)
        position = _position(found.frames(sample), labels) if turn and len(sample) >= FEW else 0
        if position:
            notes.append(f"the digits were {POSITIONS[position]}: put upright")
        return replace(found, position=position, notes=tuple(notes))

    def frames(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Return images of the set, (n, H, W), as (n, 28, 28) uint8, ink 255 on 0, upright."""
        images = self._eight_bits(values)
        if not self.framed:
            images = np.stack([to_frame(image, "dark" if self.dark else "light") for image in images])
        elif self.dark:
            images = 255 - images
        return upright(images, self.position)

    def _eight_bits(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        if (self.low, self.high) == KNOWN[1] and values.dtype == np.uint8:
            return np.require(values, requirements=["C", "W"])  # PyTorch warns of what is not writable
        images = np.empty(values.shape, np.uint8)
        scale = 255 / (self.high - self.low)
        for start in range(0, len(values), CHUNK):
            some = (values[start : start + CHUNK].astype(np.float64) - self.low) * scale
            images[start : start + CHUNK] = np.rint(some).clip(0, 255)
        return images


def digits_of(
    images: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    name: str = "",
    labels_name: str = "",
    ids: NDArray[np.int64] | None = None,
) -> Digits:
    """Return the digits of a set of arrays: the one way from what was read to Digits.

    images: any numeric dtype and range; (N, 28, 28), (N, 784), (N, H, W), also with axes of length 1. labels: (N,) or
    (N, 1), whole numbers of any dtype or text. name: what messages call the set; labels_name: and its labels, where
    they lie apart. ids: (N,), by default 1 to N.
    DataError, with the place and the value, for what is neither.
    """
    where = quoted(name) if name else "The set"
    array = as_stack(images, where)
    place = quoted(labels_name) if labels_name else where
    classes = None if labels is None else as_labels(labels, len(array), where, place)
    meaning = Meaning.of(array, where, labels=classes)
    numbers = np.arange(1, len(array) + 1, dtype=np.int64) if ids is None else ids
    return Digits(meaning.frames(array), classes, numbers, meaning.notes)


def as_stack(values: ArrayLike, where: str) -> NDArray[Any]:
    """Return arrays of images as one, (N, H, W) of a real dtype; a single (28, 28) is one image. DataError if none."""
    try:
        array: NDArray[Any] = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise DataError(f"{where}: '{error}'. Give (N, 28, 28) or (N, 784).") from error
    if array.dtype.kind not in "buif":
        raise DataError(f"{where} has dtype '{array.dtype}'. Give numbers: 0 to 255, or 0 to 1.")
    shape, given = array.shape, array.shape
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    while len(shape) > 2 and shape[1] == 1:
        shape = (shape[0], *shape[2:])
    if shape in (IMAGE_SHAPE, (math.prod(IMAGE_SHAPE),)):
        shape = (1, *shape)
    if len(shape) == 2 and (side := math.isqrt(shape[1])) ** 2 == shape[1] and side >= LEAST_SIDE:
        shape = (shape[0], side, side)
    if len(shape) != 3 or not array.size or max(shape[1:]) > MAX_SIDE:
        raise DataError(f"{where} has the shape '{given}'. Give (N, 28, 28) or (N, 784), at least one image.")
    return array.reshape(shape)


def as_labels(values: ArrayLike, n: int, where: str, place: str | None = None) -> NDArray[np.int64]:
    """Return labels as (n,) int64, 0 to 9: whole numbers of any dtype, or their text, one an image. DataError else.

    where: what messages call the set, and the labels too, unless `place` says where these are.
    """
    array: NDArray[Any] = np.asarray(values)
    if array.size != n or array.shape.count(1) < array.ndim - 1:
        table = array.ndim == 2 and array.dtype.kind in "buif"
        one_hot = table and (array.max(1) == 1).all() and (array.sum(1) == 1).all()
        advice = "The labels are one-hot: give y.argmax(1)" if one_hot else "Give (N,), one digit an image"
        raise DataError(f"{where} has {n} images, but labels of the shape '{array.shape}'. {advice}.")
    array = array.reshape(-1)
    real = array.dtype.kind in "buif"
    numbers = array.astype(np.float64) if real else np.array([_number(each) for each in array.tolist()])
    wrong = ~((numbers >= 0) & (numbers <= 9) & (numbers == np.floor(numbers)))  # also NaN
    if wrong.any():
        at = int(wrong.argmax())
        shown = str(array[at])[:60]
        raise DataError(f"{place or where} has the label '{shown}' at [{at}] (image {at + 1}). Give digits, 0 to 9.")
    return numbers.astype(np.int64)


def known_range(low: float, high: float) -> tuple[float, float] | None:
    """Return the known range, of 0 to 1, 0 to 255 and -1 to 1, that values from `low` to `high` are of, or None."""
    for least, most in KNOWN:
        slack = (most - least) / 1000  # of what was interpolated
        reaches = high > 0 if most == 1 else high > 127
        if least - slack <= low and high <= most + slack and reaches and (least == 0 or low < -0.5):
            return least, most
    return None


def _position(frames: NDArray[np.uint8], labels: NDArray[np.int64] | None) -> int:
    """Return how a sample of frames, (n, 28, 28), lies, of `POSITIONS`: upright unless another is clearly better."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])

    def score(position: int, step: int = 1) -> float:
        probabilities = session.run(["probabilities"], {"images": upright(frames[::step], position)})[0]
        read = probabilities.argmax(1)
        if labels is not None:
            return float((read == labels[::step]).mean())
        if position and np.bincount(read).max() > len(read) / 2:  # as of noise, whatever its position
            return 0.0
        return float((probabilities.max(1) > SURE).mean())

    if score(0, max(1, len(frames) // FEW)) >= GOOD:  # a tenth of them is enough where they are upright
        return 0
    now = score(0)
    if now >= GOOD:
        return 0
    best, position = max((score(position), position) for position in range(1, len(POSITIONS)))
    return position if best >= max(GOOD, now + BETTER) else 0


def upright(images: NDArray[np.uint8], position: int) -> NDArray[np.uint8]:
    """Return images, (N, 28, 28), that lie in one of the `POSITIONS` upright."""
    if position == 0:
        return images
    turned = images.transpose(0, 2, 1) if position >= 4 else images
    return np.ascontiguousarray(np.rot90(turned, position % 4, (1, 2)))


def _range(
    array: NDArray[Any], sample: NDArray[Any], extremes: tuple[float, float], where: str, seen: Meaning | None
) -> tuple[float, float, list[str]]:
    """Return the values that stand for 0 and 255, and what was assumed of them."""
    low, high = extremes
    if not math.isfinite(low + high):
        raise _fault(array, ~np.isfinite(array), where, "Give finite numbers")
    known = known_range(low, high)
    typical = known_range(*(float(np.median(bound(axis=(1, 2)))) for bound in (sample.min, sample.max)))
    if typical is not None and typical != known:
        wrong = (array < typical[0]) | (array > typical[1])
        raise _fault(array, wrong, where, "Most images lie within {:g} to {:g}: correct or clip it".format(*typical))
    if known is None and low == high and 0 <= low <= 255:  # blank
        known = KNOWN[1]
    if known is None and seen is not None and len(sample) < FEW and seen.low <= low and high <= seen.high:
        return seen.low, seen.high, []
    whole = sample.dtype.kind != "f" or bool((sample == np.floor(sample)).all())
    if known == KNOWN[1]:
        return *known, [] if whole else ["the values are not whole: rounded"]
    if known is None:
        known = low, high if high > low else low + 1
    if known == KNOWN[0] and whole:
        return *known, ["the values are 0 and 1: taken as 0 and 255"]
    return *known, [f"the values are {known[0]:g} to {known[1]:g}: taken as 0 to 255"]


def _number(value: Any) -> float:
    """Return a label's number, NaN where it is none."""
    try:
        return float(value.decode() if isinstance(value, bytes) else value)
    except (TypeError, ValueError):
        return math.nan


def _fault(array: NDArray[Any], wrong: NDArray[np.bool_], where: str, advice: str) -> DataError:
    """Return the error that names the first of the values that are wrong; without place where array lacks it."""
    if not wrong.any():
        return DataError(f"{where} has a value that is unlike all others. {advice}.")
    index = tuple(int(axis) for axis in np.argwhere(wrong)[0])
    return DataError(f"{where} has the value '{array[index]}' at {list(index)} (image {index[0] + 1}). {advice}.")
