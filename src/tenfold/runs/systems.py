"""Whatever answers, opened by one function: a run's folder, an ensemble's (a run too), or an exported model.

Whether a name stands for a folder or for a model is decided here and nowhere else. A model needs nothing of training.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tenfold import settings
from tenfold.errors import RunError, UsageError
from tenfold.runtime import abstain
from tenfold.runtime.model_file import SHIPPED, Card
from tenfold.runtime.recogniser import Answers, Recogniser

if TYPE_CHECKING:
    from tenfold.runs.estimator import DigitClassifier
    from tenfold.runs.run import Run


@dataclass(frozen=True, eq=False)
class System:
    """What answers images of digits: a run, whose weights are read when they are needed, or else an open model.

    path: as the user gave it; name: its last part. recipe: the name of that which it was trained by. threshold: the
    confidence from which it answers. threads: that it computes with. device: of a run.
    """

    path: str
    name: str
    recipe: str
    threshold: float
    threads: int
    run: "Run | None" = None
    model: Recogniser | None = None
    device: str = "auto"

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 (hex) of what answers; RunError where it cannot be read."""
        return self._run.weights_sha256() if self.model is None else self.model.sha256

    def load(self) -> None:
        """Read a run's weights, so that the first answer takes no longer than others; RunError where there are none."""
        if self.model is None:
            _ = self._classifier

    def shifts(self, tta: bool | None = None) -> int | None:
        """Return up to how many pixels an image is shifted to average over; None for a model, which has that built in.

        tta: average or not; None leaves it to the recipe. UsageError, RunError where that cannot be chosen.
        """
        if self.model is not None:
            if tta is not None:
                what = f"'{self.path}' is a model, which answers as it was exported."
                raise UsageError(f"{what} Omit --tta and --no-tta.")
            return None
        recipe = self._run.recipe
        if tta and recipe.classical:
            raise RunError(f"'{recipe.model.kind}' is no network, so it answers each image once. Omit --tta.")
        own = recipe.prediction.shifts
        return own if tta is None else max(own, 1) if tta else 0

    def answers(self, images: NDArray[np.uint8], tta: bool | None = None) -> Answers:
        """Return the answers to images in MNIST's frame, (N, 28, 28) uint8, ink 255 on 0; a blank one has none."""
        shifts = self.shifts(tta)
        if self.model is not None:
            return self.model.predict(images)
        return Answers.of(images, *self._classifier.answer(images, shifts), self.threshold)

    def probabilities(self, images: NDArray[np.uint8], tta: bool | None = None) -> NDArray[np.float32]:
        """Return the probabilities, (N, 10) float32, those of blank images too as they are."""
        shifts = self.shifts(tta)
        return self._classifier.answer(images, shifts)[0] if self.model is None else self.model.probabilities(images)

    @property
    def _run(self) -> "Run":
        assert self.run is not None
        return self.run

    @cached_property
    def _classifier(self) -> "DigitClassifier":
        from tenfold.runs.estimator import from_run
        from tenfold.training import device as devices

        classifier = from_run(self._run, self.device)
        devices.use_threads(self.threads)
        return classifier


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
    on; by default from that which 99% of the held-out images reach. device: of a run; a model runs on the processor.
    Raises RunError or ModelError for what is neither, or cannot promise max_error; UsageError for what does not go
    together.
    """
    if max_error is not None and threshold is not None:
        raise UsageError(f"Both '--max-error {max_error}' and '--threshold {threshold}' are given. Give one of them.")
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"The threshold '{threshold}' is not a confidence. Give 0 to 1.")
    path, shipped = Path(name), str(name) in SHIPPED
    if path.is_dir() and not shipped:
        from tenfold.runs.run import Run

        run = Run.open(path)
        run.check_digits()
        chosen = _threshold(run, max_error) if threshold is None else threshold
        short, threads = path.name or path.resolve().name, threads or settings.threads()
        return System(str(name), short, run.recipe.name, chosen, threads, run=run, device=device)
    if not shipped and path.suffix != ".onnx" and not path.is_file():
        what = f"There is no run at '{name}', and no model."
        raise RunError(f"{what} Give the folder that `tenfold train` wrote, or an .onnx.")
    if device not in ("auto", "cpu"):
        raise UsageError(f"'{name}' is a model, which runs on the processor, not on '{device}'. Omit --device.")
    model = Recogniser.load(name, max_error=max_error, threshold=threshold, threads=threads)
    return System(str(name), path.name, model.card.name, model.threshold, model.threads, model=model)


def _threshold(run: "Run", max_error: float | None) -> float:
    """Return the confidence from which a run answers, judged by its held-out images as an exported model's card does.

    A run without such images always answers. Raises RunError where `max_error` is asked of it.
    """
    held_out = run.validation()
    taught = run.recipe.model.arguments().get("classes") == 11  # what is no digit; older runs did not keep how sure
    if not held_out or not len(held_out["labels"]) or (taught and "digit_probability" not in held_out):
        if max_error is None:
            return 0.0
        what = f"'{run.path}' kept no held-out answers, so that '{max_error:g}' cannot be proven of it."
        raise RunError(f"{what} Omit --max-error, or train it again with data.validation above 0.")
    sure = abstain.confidences(held_out["probabilities"], held_out.get("digit_probability"))
    if max_error is None:
        return abstain.default_threshold(sure)
    errors = abstain.held_out_errors(sure, held_out["probabilities"].argmax(1) == held_out["labels"])
    known = tuple((confidence, answered) for confidence, answered in errors)
    card = Card(run.recipe.name, run.recipe.name, "fp32", 0.0, len(sure), known, {})
    return abstain.guarantee(card, max_error).threshold
