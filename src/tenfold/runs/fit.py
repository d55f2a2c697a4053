"""Train or resume in a folder: after it the run answers, or can be resumed, whatever cut it off."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.console import PlainConsole
from tenfold.data.digits import Digits
from tenfold.errors import RunError
from tenfold.files import claimed
from tenfold.metrics.scores import fit_temperature, log_losses, most_confident_mistakes, sharpen
from tenfold.runs import transfer
from tenfold.runs.begin import begin, check, same_data
from tenfold.runs.run import MANIFEST, Run
from tenfold.runs.tracking import Callbacks, Curve
from tenfold.training import recipe as recipes

if TYPE_CHECKING:
    from tenfold.training.loop import Trainer
    from tenfold.training.reading import ReadingTrainer

CHECKPOINT_SECONDS = 10.0
GALLERY = 200  # mistakes whose pictures the run keeps


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C or a termination request sets, so that training ends between two steps, not within one.

    A second Ctrl-C interrupts at once, as usual. Outside the main thread signals cannot be caught: nothing changes.
    """
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()
        signal.signal(number, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Watch:
    """Called after every step, with its trainer: leaves a checkpoint every so often; True where training is to end.

    deadline: of time.monotonic, or None. ended_by: why training was cut short, as the manifest's status has it.
    """

    def __init__(self, run: Run, stopped: threading.Event, deadline: float | None) -> None:
        self.run, self.stopped, self.deadline = run, stopped, deadline
        self.last_checkpoint = time.monotonic()

    def __call__(self, trainer: "Trainer | ReadingTrainer") -> bool:
        """Return True where a signal or the deadline ends training."""
        if time.monotonic() - self.last_checkpoint >= CHECKPOINT_SECONDS:
            self.run.write_state(*trainer.state())
            self.run.write_metrics(trainer.history)
            self.last_checkpoint = time.monotonic()
        return self.stopped.is_set() or self._late()

    def _late(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    @property
    def ended_by(self) -> str:
        """Either "interrupted" or "out_of_time"."""
        return "interrupted" if self.stopped.is_set() or not self._late() else "out_of_time"


def restore(run: Run, trainer: "Trainer | ReadingTrainer", state: tuple[dict[str, Any], dict[str, Any]] | None) -> None:
    """Bring a trainer to where a run was left, if it was; RunError where that is another recipe's."""
    try:
        if state is not None:
            trainer.restore(*state)
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise RunError(f"The state of '{run.path}' does not fit its recipe: {reason}. Begin a new run.") from None


def fit(
    recipe: str | Path,
    data: Sequence[str],
    folder: Path,
    *,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    subset: int | None = None,
    deduplicate: bool = False,
    labels: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    quiet: bool = True,
) -> Run:
    """Return the run in `folder`, trained or resumed now, or as it stands where it was finished before.

    Arguments as of `tenfold.train.train`. Whether it was finished says its status: Ctrl-C ends training between two
    steps. Raises TenfoldError: RecipeError, DataError, RunError, TrainingError.
    """
    console = PlainConsole(quiet=quiet)
    if (folder / MANIFEST).is_file():
        run = Run.open(folder)
        check(run.recipe, device, None)
        digits = None if run.finished else same_data(run, data, console)
    else:
        chosen = recipes.load(recipe, overrides)
        check(chosen, device, None)
        run, digits = begin(
            chosen,
            data,
            folder,
            seed=chosen.seed if seed is None else seed,
            subset=subset,
            deduplicate=deduplicate,
            start=None,
            labels=None if labels is None else Path(labels),
            console=console,
        )
    if digits is not None:
        train_run(run, digits, console, device=device, threads=threads)
    return run


def train_run(
    run: Run,
    digits: Digits,
    console: PlainConsole,
    *,
    deadline: float | None = None,
    device: str = "auto",
    threads: int | None = None,
    callbacks: Callbacks | None = None,
) -> None:
    """Train a run that was begun or cut short, on its own data, and leave it usable; its status says how that ended.

    deadline: of time.monotonic. A network leaves a checkpoint every so often; a classical model is fitted anew.
    RunError where another process trains it; TrainingError where a callback fails, once all is written.
    """
    if run.recipe.classical:
        with claimed(run.path):
            _fit_classical(run, digits, threads, console)
        return
    with claimed(run.path), stop_signals() as stopped:
        trainer = _trainer(run, digits, device, threads)
        callbacks = callbacks or Callbacks((), run.recipe)
        watch = Watch(run, stopped, deadline)
        with console.working(run.recipe.name) as work:
            callbacks.members.append(Curve(console, work))
            settings, steps = run.recipe.training, trainer.total_steps
            if steps == settings.min_steps > settings.epochs * trainer.steps_per_epoch:
                found = f"{steps / trainer.steps_per_epoch:.4g} epochs of these few images, not {settings.epochs:g}."
                advice = "Set training.epochs to have so many."
                console.print(f"The recipe asks for '{steps}' steps at least: {found} {advice}", soft_wrap=True)
            callbacks.run(trainer, watch)
        run.write_state(*trainer.state())
        _keep(run, trainer, digits, "finished" if trainer.finished else watch.ended_by)
        callbacks.check(f"'{run.path}', to be resumed")


def _trainer(run: Run, digits: Digits, device: str, threads: int | None) -> "Trainer":
    """Return what trains the run, where it was left. The manifest then says what it computes with."""
    from tenfold.training import device as devices
    from tenfold.training.loop import Trainer

    known = run.manifest.get("machine", {})
    count = devices.use_threads(threads or known.get("threads"))
    state, place, teacher = run.state(), devices.choose(device), None
    if run.recipe.distil is not None:
        from tenfold.runs import estimator  # and with it scikit-learn, which takes a second

        teacher = estimator.teacher(run.recipe, place)
    trainer = Trainer(
        run.recipe,
        *_parts(run, digits),
        seed=run.manifest["seed"],
        device=place,
        precision=known.get("precision"),
        threads=count,
        start=transfer.starter(run.manifest, begun=state is not None),
        teacher=teacher,
    )
    restore(run, trainer, state)
    machine = devices.describe(trainer.device, trainer.precision)
    parameters = sum(parameter.numel() for parameter in trainer.module.parameters())
    run.update_manifest({"machine": machine, "parameters": parameters, "status": "running"})
    return trainer


def _parts(run: Run, digits: Digits) -> tuple[Any, Any, Any]:
    """Return training images, training labels, and the held-out (images, labels) or None."""
    assert digits.labels is not None
    held_out = run.held_out()
    kept = np.setdiff1d(np.arange(len(digits)), held_out)
    validation = (digits.images[held_out], digits.labels[held_out]) if len(held_out) else None
    return digits.images[kept], digits.labels[kept], validation


def _keep(run: Run, trainer: "Trainer", digits: Digits, status: str) -> None:
    """Leave a usable run: weights, metrics, the answers to the held-out images, status and the headline numbers."""
    position, seconds = trainer.position, trainer.position.seconds
    weights_step = position.best_step if trainer.best else position.step
    module, answered = trainer.finish()
    run.write_weights(module.state_dict())
    run.write_metrics(trainer.history)
    knows_no_digit = run.recipe.model.arguments().get("classes") == 11  # it has an answer for what is none
    own = answered.digit_probability if answered and knows_no_digit else None
    accuracy, temperature, _ = _validated(run, digits, answered.probabilities if answered else None, own)
    run.update_manifest(
        {
            "seconds": round(seconds, 3),
            "epochs": round(trainer.epoch, 4),
            "images_per_second": round(position.step * trainer.batch_size / max(seconds, 1e-9), 1),
            "validation_accuracy": accuracy,
            "temperature": temperature,
            "weights_step": weights_step,
            "status": status,
        }
    )


def _fit_classical(run: Run, digits: Digits, threads: int | None, console: PlainConsole) -> None:
    """Fit a classical model, from the start: it cannot be cut, so a run that was is fitted anew."""
    from tenfold.runs.estimator import classical
    from tenfold.training import device as devices

    recipe = run.recipe
    count = devices.use_threads(threads or run.manifest.get("machine", {}).get("threads"))
    run.update_manifest({"machine": devices.describe(devices.choose("cpu")), "status": "running"})
    images, labels, validation = _parts(run, digits)
    began = time.perf_counter()
    doing = f"Fitting {recipe.name} to {len(images):,} images"
    if not console.is_terminal:
        console.print(doing)
    try:
        with console.working(doing):
            model = classical(recipe, run.manifest["seed"], count).fit(images, labels)
            model.save(run.path)
            probabilities = None if validation is None else model.probabilities(validation[0])
            accuracy, temperature, nll = _validated(run, digits, probabilities)
    except KeyboardInterrupt:
        run.update_manifest({"status": "interrupted"})
        console.print(f"Nothing is fitted yet. To begin again: tenfold train --resume {run.path}")
        raise
    seconds = round(time.perf_counter() - began, 3)
    speed = round(len(images) / max(seconds, 1e-9), 1)
    run.write_metrics(
        [{"epoch": None, "images": len(images), "seconds": seconds, "loss": None, "images_per_second": speed,
          "validation_accuracy": accuracy, "validation_nll": nll}]
    )  # fmt: skip
    run.update_manifest(
        {
            "status": "finished",
            "seconds": seconds,
            "epochs": None,
            "images_per_second": speed,
            "parameters": model.parameters,
            "validation_accuracy": accuracy,
            "temperature": temperature,
        }
    )


def _validated(
    run: Run,
    digits: Digits,
    probabilities: NDArray[np.float32] | None,
    digit_probability: NDArray[np.float32] | None = None,
) -> tuple[float | None, float, float | None]:
    """Return accuracy, temperature and calibrated NLL on the held-out images; the run keeps the calibrated answers.

    Without held-out images accuracy and NLL are None.
    """
    if probabilities is None:
        return None, 1.0, None
    held_out = run.held_out()
    assert digits.labels is not None
    images, labels = digits.images[held_out], digits.labels[held_out]
    temperature = fit_temperature(labels, probabilities)
    calibrated = sharpen(probabilities, temperature)
    mistakes = most_confident_mistakes(labels, calibrated, GALLERY)
    run.write_validation(
        indices=held_out,
        labels=labels,
        probabilities=calibrated,
        mistake_indices=mistakes,
        mistake_images=images[mistakes],
        **({} if digit_probability is None else {"digit_probability": digit_probability}),
    )
    accuracy = float((calibrated.argmax(1) == labels).mean())
    return accuracy, temperature, float(log_losses(labels, calibrated).mean())
