"""Whatever answers, opened by one function: a run's folder, an ensemble's (a run too), or an exported model.

Whether a name stands for a folder or for a model is decided here and nowhere else. A model needs nothing of training.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from tenfold import settings
from tenfold.errors import RunError, UsageError
from tenfold.runtime import abstain
from tenfold.runtime.card import Card
from tenfold.runtime.recogniser import UNKNOWN, Answers, Recogniser
from tenfold.runtime.shipped import SHIPPED

if TYPE_CHECKING:
    from tenfold.runs.estimator import DigitClassifier
    from tenfold.runs.run import Run


@dataclass(frozen=True, eq=False)
class System(ABC):
    """What answers images of digits.

    path: as the user gave it. name: its last part. recipe: the name of the recipe that it was trained by. threshold:
    the confidence from which it answers. threads: that it computes with. run: None for a model.
    """

    kind: ClassVar[Literal["run", "model"]]
    path: str
    name: str
    recipe: str
    threshold: float
    threads: int
    run: "Run | None"

    @property
    @abstractmethod
    def sha256(self) -> str:
        """The SHA-256 (hex) of what answers."""

    @abstractmethod
    def load(self) -> None:
        """Make ready, so that the first answer takes no longer than the others."""

    @abstractmethod
    def shifts(self, tta: bool | None) -> int | None:
        """Return how far images are shifted to be averaged over, None for a model, which answers as it was exported.

        tta: average over shifts, or not; None leaves it to the recipe. Raises where it cannot be chosen.
        """

    @abstractmethod
    def answers(self, images: NDArray[np.uint8], tta: bool | None = None) -> Answers:
        """Return the answers to images in MNIST's frame, (N, 28, 28) uint8, ink 255 on 0; a blank one has none."""

    @abstractmethod
    def probabilities(self, images: NDArray[np.uint8], tta: bool | None = None) -> NDArray[np.float32]:
        """Return the system's own probabilities, (N, 10) float32, those of blank images too."""


@dataclass(frozen=True, eq=False)
class TrainedSystem(System):
    """A run, which answers once its weights are there."""

    kind = "run"
    run: "Run"
    device: str

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 (hex) of what answers; RunError where it cannot be read."""
        return self.run.weights_sha256()

    def load(self) -> None:
        """Read the weights; RunError where they are missing."""
        _ = self._classifier

    def shifts(self, tta: bool | None) -> int:
        """Return the recipe's word, or at least 1 or 0 where `tta` says so; RunError for what is no network."""
        if tta and self.run.recipe.classical:
            raise RunError(f"'{self.run.recipe.model.kind}' is no network, so it answers each image once. Omit --tta.")
        own = self.run.recipe.prediction.shifts
        return own if tta is None else max(own, 1) if tta else 0

    def answers(self, images: NDArray[np.uint8], tta: bool | None = None) -> Answers:
        """Return the answers, with a threshold and a blank image as an exported model has them."""
        probabilities, digitness = self._classifier.answer(images, self.shifts(tta))
        digits, blank = probabilities.argmax(axis=1), ~images.any(axis=(1, 2))
        sure, unsure = abstain.judge(probabilities, digitness, self.threshold)
        probabilities[blank], sure[blank], digits[blank] = 0.1, 0, UNKNOWN
        return Answers(digits, sure, unsure | blank, probabilities, digitness)

    def probabilities(self, images: NDArray[np.uint8], tta: bool | None = None) -> NDArray[np.float32]:
        """Return the run's own probabilities."""
        return self._classifier.answer(images, self.shifts(tta))[0]

    @cached_property
    def _classifier(self) -> "DigitClassifier":
        from tenfold.runs.estimator import from_run
        from tenfold.training import device as devices

        classifier = from_run(self.run, self.device)
        devices.use_threads(self.threads)
        return classifier


@dataclass(frozen=True, eq=False)
class ExportedSystem(System):
    """A model that `tenfold export` wrote."""

    kind = "model"
    run: None
    recogniser: Recogniser

    @property
    def sha256(self) -> str:
        """The SHA-256 (hex) of the file."""
        return self.recogniser.sha256

    def load(self) -> None:
        """Do nothing: a model is ready once it is open."""

    def shifts(self, tta: bool | None) -> None:
        """Return None; UsageError where `tta` asks for one or the other."""
        if tta is not None:
            raise UsageError(f"'{self.path}' is a model, which averages as it was exported. Omit '--tta', '--no-tta'.")

    def answers(self, images: NDArray[np.uint8], tta: bool | None = None) -> Answers:
        """Return the recogniser's answers."""
        self.shifts(tta)
        return self.recogniser.predict(images)

    def probabilities(self, images: NDArray[np.uint8], tta: bool | None = None) -> NDArray[np.float32]:
        """Return the model's own probabilities."""
        self.shifts(tta)
        return self.recogniser.probabilities(images)


def open_system(
    name: str | Path,
    *,
    max_error: float | None = None,
    threshold: float | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> System:
    """Return the system of that name: a folder that `train` or `ensemble` wrote, a model file, "shipped" or "tiny".

    A folder that is called as a shipped model is meant by its path, `./tiny`. max_error: abstain so often that at most
    this share of the answers is wrong, 95% certain (see `runtime.abstain`). threshold: or answer from this confidence
    on; by default from the one that 99% of the held-out images reach. device: of a run; a model runs on the processor.
    Raises RunError or ModelError for what is neither, or cannot promise max_error; UsageError for what does not go
    together.
    """
    if max_error is not None and threshold is not None:
        raise UsageError(f"Both '--max-error {max_error}' and '--threshold {threshold}' are given. Give one of them.")
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"The threshold '{threshold}' is not a confidence. Give 0 to 1.")
    path = Path(name)
    if str(name) not in SHIPPED and path.is_dir():
        from tenfold.runs.run import Run

        run = Run.open(path)
        chosen = _threshold(run, max_error) if threshold is None else threshold
        short = path.name or path.resolve().name
        return TrainedSystem(str(name), short, run.recipe.name, chosen, threads or settings.threads(), run, device)
    if str(name) not in SHIPPED and path.suffix != ".onnx" and not path.is_file():
        raise RunError(f"There is no run at '{name}', and no model. Give the folder that `tenfold train` wrote.")
    if device not in ("auto", "cpu"):
        raise UsageError(f"'{name}' is a model, which runs on the processor, not on '{device}'. Omit '--device'.")
    model = Recogniser.load(name, max_error=max_error, threshold=threshold, threads=threads)
    return ExportedSystem(str(name), path.name, model.card.name, model.threshold, model.threads, None, model)


def _threshold(run: "Run", max_error: float | None) -> float:
    """Return the confidence from which a run answers, judged by its held-out images as an exported model's card does.

    Raises RunError where `max_error` is asked of a run that holds no such images, or not all that is needed of them.
    """
    held_out = run.validation()
    n = 0 if held_out is None else len(held_out["labels"])
    if held_out is None or not n:
        if max_error is not None:
            raise RunError(
                f"'{run.path}' held no images out, so '{max_error:g}' cannot be promised of it. Omit --max-error, or "
                "train it with --set data.validation=0.1."
            )
        return 0.0
    sure = abstain.confidences(held_out["probabilities"], digitness := held_out.get("digit_probability"))
    if max_error is None:
        return abstain.default_threshold(sure)
    if digitness is None and run.recipe.model.arguments().get("classes") == 11:
        raise RunError(
            f"'{run.path}' kept no chance of a digit for its held-out images, so '{max_error:g}' cannot be promised of "
            "it. Train it again, or export it and give that model."
        )
    errors = abstain.held_out_errors(sure, held_out["probabilities"].argmax(1) == held_out["labels"])
    known = tuple((confidence, count) for confidence, count in errors)
    return abstain.guarantee(Card(run.recipe.name, run.recipe.name, "fp32", 0.0, n, known, {}), max_error).threshold
