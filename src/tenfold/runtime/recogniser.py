"""Images -> digits with their confidence, or a refusal: an exported model, run by onnxruntime, without torch."""

import html
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold import settings
from tenfold.data.digits import gallery
from tenfold.errors import ModelError
from tenfold.imaging.frame import Ink
from tenfold.runtime.abstain import guarantee, judge
from tenfold.runtime.frames import as_frames, framed, listed, ranges_of
from tenfold.runtime.model_file import Card, Model, expected_sha256, model_path, open_model

if TYPE_CHECKING:
    from tenfold.runtime.frames import Picture
    from tenfold.runtime.numbers import Page

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]

BLANK, NOT_A_DIGIT = "blank", "not a digit"
UNKNOWN = -1  # the digit of a blank image, in arrays


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What one image shows.

    digit: 0 to 9, the best guess also where the model abstains; None where the image is blank.
    confidence: 0 to 1, how likely the guess is right. probabilities: (10,) float32, of the digits 0 to 9.
    abstained: True where the guess is not to be used; reason then says why: "blank", "not a digit" or
    "unsure: 4 or 9"; else None. frame: (28, 28) uint8, what the model was shown.
    """

    digit: int | None
    confidence: float
    probabilities: Floats
    abstained: bool
    reason: str | None
    frame: Images

    def to_dict(self) -> dict[str, Any]:
        """Return all but the frame as plain Python values.

        >>> json.dumps(recogniser("seven.png").to_dict())
        '{"digit": 7, "confidence": 0.996, "probabilities": [...], "abstained": false, "reason": null}'
        """
        return _plain(self)

    def __repr__(self) -> str:
        return f"Prediction(digit={self.digit}, confidence={self.confidence:.3f}, reason={self.reason!r})"

    def _repr_html_(self) -> str:
        return gallery(self.frame[None], lambda _: self._caption())

    def _caption(self) -> str:
        """Return a bar for each digit's probability, as SVG in the page's own colour, and the answer."""
        bars = "".join(
            f'<rect x="{12 * digit}" y="{40 - height:.1f}" width="10" height="{height:.1f}"/>'
            f'<text x="{12 * digit + 5}" y="51">{digit}</text>'
            for digit, height in enumerate((36 * self.probabilities).tolist())
        )
        words = html.escape(self.reason or f"{self.digit} ({self.confidence:.3f})")
        style = 'width="118" height="54" fill="currentColor" font-size="10" text-anchor="middle"'
        return f"<svg {style}>{bars}</svg><div>{words}</div>"


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What many frames show; `answers[3]` is a Prediction.

    digits: (N,) int64, -1 where blank. confidences: (N,) float32. abstained: (N,) bool. probabilities: (N, 10)
    float32. digit_probability: (N,) float32, of being a digit at all; 1 where the model was not taught that.
    frames: (N, 28, 28) uint8, not copied.
    """

    digits: NDArray[np.int64]
    confidences: Floats
    abstained: NDArray[np.bool_]
    probabilities: Floats
    digit_probability: Floats
    frames: Images

    @classmethod
    def of(cls, frames: Images, probabilities: Floats, digit_probability: Floats, threshold: float) -> "Answers":
        """Return what a system's probabilities for frames, (N, 28, 28) uint8, mean: a blank one has no answer."""
        digits = probabilities.argmax(axis=1)
        blank = np.asarray(~frames.any(axis=(1, 2)))
        confidences, unsure = judge(probabilities, digit_probability, threshold)
        probabilities = np.where(blank[:, None], np.float32(0.1), probabilities)
        digits[blank], confidences[blank] = UNKNOWN, 0
        return cls(digits, confidences, blank | unsure, probabilities, digit_probability, frames)

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, index: int) -> Prediction:
        """Return what image `index` shows, which keeps none of the others in memory."""
        digit = None if self.digits[index] == UNKNOWN else int(self.digits[index])
        confidence, abstained = float(self.confidences[index]), bool(self.abstained[index])
        probabilities, frame = self.probabilities[index].copy(), self.frames[index].copy()
        return Prediction(digit, confidence, probabilities, abstained, self.reason(index), frame)

    def __iter__(self) -> Iterator[Prediction]:
        return map(self.__getitem__, range(len(self)))

    def reason(self, index: int) -> str | None:
        """Return why image `index` was not answered, None where it was."""
        if not self.abstained[index]:
            return None
        if self.digits[index] == UNKNOWN:
            return BLANK
        return _reason(self.probabilities[index], self.digit_probability[index])

    def to_dict(self) -> dict[str, list[Any]]:
        """Return all but the frames as lists of plain Python values, and the reasons.

        >>> recogniser.predict(frames).to_dict()["digits"]
        [7, 2, 1]
        """
        return _plain(self) | {"reasons": [self.reason(index) for index in range(len(self))]}

    def __repr__(self) -> str:
        counts = np.bincount(self.digits[~self.abstained], minlength=10).tolist()
        return f"Answers(n={len(self)}, abstained={int(self.abstained.sum())}, {counts=})"

    def _repr_html_(self) -> str:
        return repr(self) + gallery(self.frames, lambda index: self[index]._caption())


class Recogniser:
    """An open model with a threshold. All methods may be called from several threads at once, and after a fork.

    card: what the model says of itself. threshold: the confidence from which it answers. sha256: of the model file,
    which a pickle names by its path and this hash: where it is opened again, the same file has to lie.
    """

    def __init__(self, model: Model, threshold: float, threads: int, path: str | Path) -> None:
        self.card: Card = model.card
        self.sha256, self.threshold, self.threads = model.sha256, threshold, threads
        self._path, self._model = path, model
        self._pool, self._process = _pool(threads), os.getpid()

    def __repr__(self) -> str:
        return f"Recogniser({self.card.name[:60]!r}, threshold={self.threshold:.3f}, threads={self.threads})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how a pickle or a copy is opened: as this one was."""
        again = partial(type(self).load, threads=self.threads, threshold=self.threshold, sha256=self.sha256)
        return again, (self._path,)

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        threads: int | None = None,
        max_error: float | None = None,
        threshold: float | None = None,
        sha256: str | None = None,
    ) -> "Recogniser":
        """Return the recogniser of a model file that `tenfold export` wrote.

        path: the file; None or "shipped" for the model that comes with Tenfold, "tiny" for the small one.
        threads: that a list of images is spread over; all processors by default. max_error: abstain so often that at
        most this share of the answers is wrong, 95% certain (see `abstain`). threshold: or answer from this
        confidence on; by default from the card's. sha256: refuse any other file; a shipped one's is always checked.
        Raises ModelError for a model that is refused or cannot promise max_error, and for values out of range.
        """
        if max_error is not None and threshold is not None:
            raise ModelError(f"Both max_error '{max_error}' and threshold '{threshold}' are given. Give one of them.")
        if threshold is not None and not 0 <= threshold <= 1:
            raise ModelError(f"The threshold '{threshold}' is not a confidence. Give 0 to 1.")
        if threads is not None and threads < 1:
            raise ModelError(f"'{threads}' threads cannot work. Give 1 or more.")
        file = model_path(path)
        model = open_model(file, sha256 or expected_sha256(file))
        if max_error is not None:
            threshold = guarantee(model.card, max_error).threshold
        elif threshold is None:
            threshold = model.card.threshold
        # By where it lies, which holds in other folders too; or by a shipped one's name.
        name = file.absolute() if file == Path(str(path)) else str(path or "shipped")
        return cls(model, threshold, threads or settings.threads(), name)

    def __call__(self, image: "Picture", *, ink: Ink = "auto") -> Prediction:
        """Return the Prediction for a picture of one digit, as `digits` takes them.

        >>> recogniser("seven.png")
        Prediction(digit=7, confidence=0.996, reason=None)
        """
        return self._one(framed(image, 0, ink))  # 0.02 ms besides the model's own time

    def digits(self, images: "Picture | Iterable[Picture]", *, ink: Ink = "auto") -> list[Prediction]:
        """Return a Prediction for each picture of one digit, in their order; a list of one for a single picture.

        >>> [each.digit for each in recogniser.digits(["seven.png", "two.webp"])]
        [7, 2]

        images: paths, bytes of picture files, PIL images, or arrays (H, W), (H, W, 1), (H, W, 3) RGB, (H, W, 4) RGBA;
        of any size, dark on light or light on dark; or one array, of a picture or of N. Arrays other than uint8 may
        have any range, which all of a dtype in a list share. A (28, 28) uint8 array in MNIST's frame is taken as it
        is. ink: "dark" or "light" strokes, where it is known.
        Raises DataError, naming which image, for what is no picture.
        """
        if type(images) is list and len(images) == 1:  # the fast path
            return [self(images[0], ink=ink)]
        return list(self.stream(images, ink=ink))

    async def digits_async(self, images: "Picture | Iterable[Picture]", *, ink: Ink = "auto") -> list[Prediction]:
        """Return what `digits` returns, worked out on another thread, so that the event loop goes on.

        >>> (answer,) = await recogniser.digits_async(await request.body())
        """
        import asyncio

        return await asyncio.to_thread(self.digits, images, ink=ink)

    def read(self, picture: "Picture", *, line: bool = False, rotate: str = "none") -> "Page":
        """Return the numbers in a picture of any size, with their boxes and digits, by the shipped `Reader`.

        >>> recogniser.read("sheet.jpg").text
        '12345 67891'

        line, rotate: as of `tenfold.runtime.reader.Reader.read`, whose `load` has further settings. Raises as it does.
        """
        from tenfold.runtime.reader import shipped

        return shipped().read(picture, line=line, rotate=rotate)

    def stream(
        self, images: "Picture | Iterable[Picture]", *, ink: Ink = "auto", batch_size: int | None = None
    ) -> Iterator[Prediction]:
        """Return an iterator over the Predictions for any number of pictures, in their order, in bounded memory.

        >>> for answer in recogniser.stream(Path("scans").rglob("*.png")):
        ...     print(answer.digit)

        images, ink: as `digits`. batch_size: how many are read before they are answered together: 1 answers each as it
        comes, None as fast as can be. Raises as `digits` where a batch is read, and ModelError for a batch of none.
        """
        if batch_size is not None and batch_size < 1:
            raise ModelError(f"A batch of '{batch_size}' pictures is none. Give 1 or more.")
        images = listed(images)
        ranges = ranges_of(images) if isinstance(images, list | tuple) else {}  # of what comes one by one, its own
        source, size = enumerate(images), batch_size or self._model.at_once * self.threads
        while frames := [framed(image, number, ink, ranges) for number, image in islice(source, size)]:
            yield from self.predict(np.stack(frames))

    def predict(self, frames: ArrayLike) -> Answers:
        """Return the answers to images that are in MNIST's frame, (N, 28, 28) uint8, ink 255 on 0, all at once.

        Other dtypes, ranges and axes are taken as `as_frames` takes them. Raises DataError for any other array.
        """
        images = as_frames(frames)
        return Answers.of(images, *self._run(images), self.threshold)

    def probabilities(self, frames: ArrayLike) -> Floats:
        """Return the model's own probabilities, (N, 10) float32, of images in MNIST's frame, as `predict`."""
        return self._run(as_frames(frames))[0]

    def _one(self, frame: Images) -> Prediction:
        """Return the prediction for one frame, without whatever only many images need."""
        if not frame.any():
            return Prediction(None, 0.0, np.full(10, 0.1, np.float32), True, BLANK, frame.copy())
        probabilities, digit_probability = (each[0] for each in self._answer(frame[None]))
        digit = int(probabilities.argmax())
        confidence, abstained = judge(probabilities, digit_probability, self.threshold)
        reason = _reason(probabilities, digit_probability) if abstained else None
        return Prediction(digit, float(confidence), probabilities, bool(abstained), reason, frame.copy())

    def _run(self, frames: Images) -> tuple[Floats, Floats]:
        """Return probabilities (N, 10) and digit_probability (N,) of frames, chunk by chunk, side by side."""
        size = self._model.at_once
        chunks = [frames[start : start + size] for start in range(0, len(frames), size)]
        if self._process != os.getpid():  # a fork has the threads' pool, but not the threads
            self._pool, self._process = _pool(self.threads), os.getpid()
        parts = list((map if self.threads == 1 or len(chunks) < 2 else self._pool.map)(self._answer, chunks))
        if not parts:
            return np.zeros((0, 10), np.float32), np.zeros(0, np.float32)
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _answer(self, frames: Images) -> list[Floats]:
        """Return the probabilities (N, 10) and digit_probability (N,) of one chunk; ModelError where they are none."""
        answers = self._model.run(np.ascontiguousarray(frames))
        if not self._model.has_digit_probability:
            answers = [answers[0], np.ones(len(frames), np.float32)]
        if not all(np.isfinite(each).all() for each in answers):
            raise ModelError(f"'{self.card.name}' gave an answer that is no probability. Export the model again.")
        return answers


def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="tenfold")  # starts a thread when it needs one


def _plain(answer: Prediction | Answers) -> dict[str, Any]:
    """Return the fields but the images as plain Python values."""
    values = {field.name: getattr(answer, field.name) for field in fields(answer) if not field.name.startswith("frame")}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}


def _reason(probabilities: Floats, digit_probability: np.float32) -> str:
    if digit_probability < 0.5:
        return NOT_A_DIGIT
    first, second = sorted(np.argsort(-probabilities, kind="stable")[:2].tolist())
    return f"unsure: {first} or {second}"
