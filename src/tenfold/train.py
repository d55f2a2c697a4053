"""Recipe and data in, a run out: `train` makes a folder that answers, and that continues after any crash."""

import platform
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold import data as digit_data
from tenfold.data import splits
from tenfold.data.digits import Digits, image_hashes
from tenfold.errors import RunError
from tenfold.training import recipe as recipes
from tenfold.training.run import Run

if TYPE_CHECKING:
    from tenfold.training.loop import Trainer

CHECKPOINT_SECONDS = 10.0
GALLERY = 200  # mistakes whose pictures the run keeps


def train(
    recipe: str | Path = recipes.DEFAULT_RECIPE,
    data: str | None = None,
    out: Path | None = None,
    *,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    subset: int | None = None,
    max_seconds: float | None = None,
    device: str = "auto",
    threads: int | None = None,
    resume: Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    quiet: bool = False,
) -> dict[str, Any]:
    """Return what came of training `recipe` on `data`, or of continuing the run `resume`; the run's folder is written.

    out: the new run's folder (default: runs/RECIPE-N). subset: train on so many images, the classes in proportion.
    max_seconds: end, with a usable and resumable run, when so much time has passed since the call.
    Keys: run, recipe, status ("finished", "interrupted", "out_of_time"), seconds (of training: from data in memory to
    the last weights, validation included), total_seconds, epochs, images_per_second, parameters, validation_accuracy
    (with the recipe's test-time augmentation; None without held-out data), validation_ci95, report.
    Raises TenfoldError: RecipeError, DataError, RunError, TrainingError.
    """
    began = time.monotonic()
    if resume is not None:
        run = Run.open(resume)
        if out is not None and out.resolve() != run.path.resolve():
            raise RunError(f"--out '{out}' is not the run '{resume}' to resume. Leave --out away.")
        digits = _same_data(run, data)
    else:
        chosen = recipes.load(recipe, overrides)
        _check(chosen, device)
        spec = data or "mnist"
        digits = _load(spec, subset, seed if seed is not None else chosen.seed)
        run = _new_run(chosen, spec, digits, out, chosen.seed if seed is None else seed, subset)
    if run.manifest["status"] != "finished":
        deadline = None if max_seconds is None else began + max_seconds
        _fit(run, digits, deadline, device, threads, checkpoint_seconds, quiet)
    return _summary(run) | {"total_seconds": round(time.monotonic() - began, 3)}


def _check(recipe: recipes.Recipe, device: str) -> None:
    """Raise what is wrong with the network or the device now, before a folder is made for nothing."""
    from tenfold.models import build
    from tenfold.training import device as devices

    build(recipe.model.kind, recipe.model.arguments())
    devices.choose(device)


def _load(spec: str, subset: int | None, seed: int) -> Digits:
    """Return the labelled digits to train on."""
    digits = digit_data.load(spec, "train")
    assert digits.labels is not None  # load's promise to "train"
    return digits if subset is None else digits.take(splits.subset(digits.labels, subset, seed))


def _same_data(run: Run, spec: str | None) -> Digits:
    """Return the data that the run was started on; RunError when it is no longer the same."""
    known = run.manifest["data"]
    digits = _load(spec or known["spec"], known["subset"], run.manifest["seed"])
    if digits.content_hash() != known["sha256"]:
        raise RunError(f"The data '{spec or known['spec']}' is not what the run was started on. Give the same --data.")
    return digits


def _new_run(recipe: recipes.Recipe, spec: str, digits: Digits, out: Path | None, seed: int, subset: int | None) -> Run:
    """Return the folder of a run that has not begun."""
    from tenfold.training.estimator import hold_out

    assert digits.labels is not None
    kept, held_out = hold_out(digits.labels, recipe, seed)
    manifest = {
        "recipe": recipe.name,
        "config_sha256": recipe.config_hash(),
        "seed": seed,
        "status": "running",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {
            "spec": spec,
            "sha256": digits.content_hash(),
            "subset": subset,
            "n_train": len(kept),
            "n_validation": len(held_out),
        },
        "versions": _versions(),
        "commit": _commit(),
    }
    return Run.create(out or _free_folder(recipe.name), recipe, manifest, image_hashes(digits.images), held_out)


def _fit(
    run: Run,
    digits: Digits,
    deadline: float | None,
    device: str,
    threads: int | None,
    checkpoint_seconds: float,
    quiet: bool,
) -> None:
    """Train until the end, the deadline or a signal, leaving a checkpoint every so often and a usable run at last."""
    from tenfold.training import device as devices
    from tenfold.training.loop import Trainer
    from tenfold.training.progress import TrainingProgress

    known = run.manifest.get("machine", {})
    count = devices.use_threads(threads or known.get("threads"))
    state = run.state()
    trainer = Trainer(
        run.recipe,
        *_parts(run, digits),
        seed=run.manifest["seed"],
        device=devices.choose(device),
        arithmetic=devices.Arithmetic(known["precision"], known["layout"]) if known else None,
        threads=count,
    )
    if state is not None:
        trainer.restore(*state)
    machine = devices.describe(trainer.device, trainer.arithmetic)
    parameters = sum(parameter.numel() for parameter in trainer.module.parameters())
    run.update_manifest({"machine": machine, "parameters": parameters, "status": "running"})
    progress = TrainingProgress(run.recipe.name, quiet)
    last_checkpoint = time.monotonic()

    with _stop_signals() as stopped:

        def each_step(trainer: Trainer) -> bool:
            nonlocal last_checkpoint
            progress.update(trainer)
            if time.monotonic() - last_checkpoint >= checkpoint_seconds:
                run.write_state(*trainer.state())
                run.write_metrics(trainer.history)
                last_checkpoint = time.monotonic()
            return stopped.is_set() or (deadline is not None and time.monotonic() >= deadline)

        try:
            finished = trainer.run(each_step)
        finally:
            progress.close()
        run.write_state(*trainer.state())
        _keep(run, trainer, digits)
    status = "finished" if finished else "interrupted" if stopped.is_set() else "out_of_time"
    run.update_manifest({"status": status})
    _report(run)


def _parts(run: Run, digits: Digits) -> tuple[Any, Any, Any]:
    """Return training images, training labels, and the held-out (images, labels) or None."""
    assert digits.labels is not None
    held_out = run.held_out()
    kept = np.setdiff1d(np.arange(len(digits)), held_out)
    validation = (digits.images[held_out], digits.labels[held_out]) if len(held_out) else None
    return digits.images[kept], digits.labels[kept], validation


def _keep(run: Run, trainer: "Trainer", digits: Digits) -> None:
    """Write weights, metrics, the answers on the held-out images, and the headline numbers."""
    from tenfold.scoring.metrics import most_confident_mistakes

    run.write_weights(trainer.weights())
    run.write_metrics(trainer.history)
    seconds = trainer.position.seconds
    accuracy, temperature = None, 1.0
    held_out = run.held_out()
    if len(held_out):
        assert digits.labels is not None
        images, labels = digits.images[held_out], digits.labels[held_out]
        classifier = run.classifier(trainer.device.type)
        probabilities = classifier.calibrate(images, labels)
        temperature = classifier.temperature_
        accuracy = float((probabilities.argmax(1) == labels).mean())
        mistakes = most_confident_mistakes(labels, probabilities, GALLERY)
        run.write_validation(
            indices=held_out,
            labels=labels,
            probabilities=probabilities,
            mistake_indices=mistakes,
            mistake_images=images[mistakes],
        )
    run.update_manifest(
        {
            "seconds": round(seconds, 3),
            "epochs": round(trainer.epoch, 4),
            "images_per_second": round(trainer.position.step * trainer.batch_size / max(seconds, 1e-9), 1),
            "validation_accuracy": accuracy,
            "temperature": temperature,
            "weights_step": trainer.position.best_step if trainer.best else trainer.position.step,
        }
    )


def _report(run: Run) -> None:
    from tenfold.scoring.report import write_report

    write_report(run)


def _summary(run: Run) -> dict[str, Any]:
    """Return the JSON-able result of a run."""
    from tenfold.scoring.intervals import wilson

    manifest = run.manifest
    accuracy, n = manifest["validation_accuracy"], manifest["data"]["n_validation"]
    keys = ("recipe", "status", "seed", "seconds", "epochs", "images_per_second", "parameters", "validation_accuracy")
    return {
        "run": str(run.path),
        **{key: manifest[key] for key in keys},
        "validation_ci95": None if accuracy is None else list(wilson(round(accuracy * n), n)),
        "validation_n": n,
        "report": str(run.path / "report.html"),
    }


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
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


def _free_folder(name: str) -> Path:
    """Return the first of runs/NAME-1, runs/NAME-2, ... that is not there."""
    number = 1
    while (path := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return path


def _versions() -> dict[str, str]:
    import torch

    from tenfold import __version__

    return {
        "tenfold": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def _commit() -> str | None:
    """Return the commit of the checkout that this code lies in, or None for an installed package."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
