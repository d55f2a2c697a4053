"""Recipe and data in, a run out: `train` makes a folder that answers, and that continues after any crash."""

import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold.data.digits import Digits
from tenfold.errors import RunError
from tenfold.runs import transfer
from tenfold.runs.begin import begin, check, gathered, same_data
from tenfold.runs.interrupt import stop_signals
from tenfold.runs.run import MANIFEST, Run
from tenfold.training import recipe as recipes

if TYPE_CHECKING:
    from rich.console import Console

    from tenfold.training.loop import Trainer

CHECKPOINT_SECONDS = 10.0  # of a stack of M networks M times that, so that as little of the time goes into writing
GALLERY = 200  # mistakes whose pictures the run keeps


def train(
    recipe: str | Path = recipes.DEFAULT_RECIPE,
    data: str | Sequence[str] | None = None,
    out: Path | None = None,
    *,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    subset: int | None = None,
    deduplicate: bool = False,
    from_run: Path | None = None,
    layers: str | None = None,
    max_seconds: float | None = None,
    device: str = "auto",
    threads: int | None = None,
    resume: Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    quiet: bool = False,
) -> dict[str, Any]:
    """Return what came of training `recipe` on `data`, or of continuing the run `resume`; the run's folder is written.

    data: a name or a path, or several, which are merged; images that they share are then named, and `deduplicate`
    drops all but the first of equal or nearly equal ones (also within a single set).
    out: the new run's folder (default: runs/RECIPE-N). subset: train on so many images, the classes in proportion.
    from_run: a finished run of the same network, whose weights to start from; layers: "all" (default) of them are
    trained on, or the "head" alone.
    max_seconds: end, with a usable and resumable run, when so much time has passed since the call.
    Keys: run, recipe, status ("finished", "interrupted", "out_of_time"), seconds (of training: from data in memory to
    the last weights, validation included), total_seconds, epochs (None for a classical model), images_per_second,
    parameters, validation_accuracy (with the recipe's test-time augmentation; None without held-out data),
    validation_ci95, copies (what `tenfold.data.merge.find_copies` found; None where it did not look), report.
    Raises TenfoldError: RecipeError, DataError, RunError, TrainingError.
    """
    from rich.console import Console

    began = time.monotonic()
    console = Console(stderr=True, quiet=quiet, highlight=False)
    specs = [data] if isinstance(data, str) else list(data or ())
    if resume is not None:
        _refuse_with_resume(
            {"--set": overrides, "--seed": seed, "--subset": subset, "--deduplicate": deduplicate, "--from": from_run,
             "--layers": layers}
        )  # fmt: skip
        run = Run.open(resume)
        if out is not None and out.resolve() != run.path.resolve():
            raise RunError(f"--out '{out}' is not the run '{resume}' to resume. Leave --out away.")
        check(run.recipe, device, max_seconds)
        digits = same_data(run, specs, console)
    else:
        chosen = recipes.load(recipe, overrides)
        check(chosen, device, max_seconds)
        source = _source(from_run, chosen, layers)
        run, digits = begin(
            chosen,
            specs or ["mnist"],
            out,
            seed=chosen.seed if seed is None else seed,
            subset=subset,
            deduplicate=deduplicate,
            source=source,
            console=console,
        )
    if run.manifest["status"] != "finished":
        if run.recipe.classical:
            _fit_classical(run, digits, threads, console)
        else:
            deadline = None if max_seconds is None else began + max_seconds
            _fit(run, digits, deadline, device, threads, checkpoint_seconds, quiet)
    return _summary(run) | {"total_seconds": round(time.monotonic() - began, 3)}


def train_stack(
    members: Sequence[dict[str, Any]],
    data: str | Sequence[str],
    *,
    subset: int | None = None,
    deduplicate: bool = False,
    device: str = "auto",
    threads: int | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> list[dict[str, Any]]:
    """Return what came of training networks of one recipe as one program: for each what `train` returns.

    members: what tells them apart, as keyword arguments of `train`: recipe, overrides, seed, out. Each has a run of its
    own, begun now or gone on with, and may be gone on with alone. Other arguments as of `train`; nothing is shown.
    Of what is returned, status may also be "failed", with the key `reason`, for a network whose loss did not stay
    finite; the others go on without it. seconds: of the stack, divided among those in it, so that sums are right.
    Raises TenfoldError: RecipeError, DataError, RunError, TrainingError.
    """
    from rich.console import Console

    from tenfold.training.stack import check_stackable

    began = time.monotonic()
    console = Console(stderr=True, quiet=True)
    gather = functools.lru_cache(maxsize=2)(gathered)  # read once for all
    specs = [data] if isinstance(data, str) else list(data)
    opened = []
    for member in members:
        if (member["out"] / MANIFEST).is_file():
            run = Run.open(member["out"])
            opened.append((run, same_data(run, specs, console, gather)))
            continue
        chosen = recipes.load(member["recipe"], member["overrides"])
        check(chosen, device, None)
        check_stackable(chosen)
        opened.append(
            begin(chosen, specs, member["out"], seed=member["seed"], subset=subset, deduplicate=deduplicate,
                  source=None, console=console, gather=gather)
        )  # fmt: skip
    left = [(run, digits) for run, digits in opened if run.manifest["status"] != "finished"]
    lost = _fit_stack(left, device, threads, checkpoint_seconds * len(left)) if left else {}
    results = []
    for run, _ in opened:
        if run.path in lost:
            results.append({"run": str(run.path), "status": "failed", "reason": lost[run.path]})
        else:
            results.append(_summary(run) | {"total_seconds": round(time.monotonic() - began, 3)})
    return results


def _refuse_with_resume(options: dict[str, Any]) -> None:
    """Raise RunError naming an option that a run which goes on would ignore."""
    for option, value in options.items():
        if value is not None and value is not False and value not in ([], ()):  # a seed of 0 is one
            raise RunError(
                f"'{option}' does not go with --resume: a run goes on as it began. Leave it away, or begin a new run."
            )


def _source(path: Path | None, recipe: recipes.Recipe, layers: str | None) -> transfer.Source | None:
    """Return the run to start from, or None."""
    if path is not None:
        return transfer.open_source(path, recipe, layers or transfer.LAYERS[0])
    if layers is not None:
        raise RunError(f"--layers '{layers}' says what of a run is trained on. Add --from RUN.")
    return None


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
    from tenfold.training.progress import TrainingProgress

    trainer = _trainer(run, digits, device, threads)
    progress = TrainingProgress(run.recipe.name, quiet)
    last_checkpoint = time.monotonic()

    with stop_signals() as stopped:

        def each_step(trainer: "Trainer") -> bool:
            nonlocal last_checkpoint
            progress.update(trainer)
            if time.monotonic() - last_checkpoint >= checkpoint_seconds:
                _checkpoint(run, trainer)
                last_checkpoint = time.monotonic()
            return stopped.is_set() or (deadline is not None and time.monotonic() >= deadline)

        try:
            trainer.run(each_step)
        finally:
            progress.close()
        _end(run, trainer, digits, stopped.is_set())
    _report(run)


def _fit_stack(
    opened: Sequence[tuple[Run, Digits]], device: str, threads: int | None, checkpoint_seconds: float
) -> dict[Path, str]:
    """Train these together as `_fit` does one; return the folders of those whose loss did not stay finite, and why."""
    from tenfold.training.loop import Trainer
    from tenfold.training.stack import train_together

    trainers: dict[Trainer, tuple[Run, Digits]] = {}
    for run, digits in opened:
        trainers[_trainer(run, digits, device, threads, next(iter(trainers), None))] = run, digits
    last_checkpoint = time.monotonic()

    with stop_signals() as stopped:

        def each_step(going: Sequence[Trainer]) -> bool:
            nonlocal last_checkpoint
            if time.monotonic() - last_checkpoint >= checkpoint_seconds:
                for trainer in going:
                    _checkpoint(trainers[trainer][0], trainer)
                last_checkpoint = time.monotonic()
            return stopped.is_set()

        lost = train_together(list(trainers), each_step)
        for trainer, (run, digits) in trainers.items():
            if trainer not in lost:
                _end(run, trainer, digits, stopped.is_set())
    for trainer, (run, _) in trainers.items():
        if trainer not in lost:
            _report(run)
    return {trainers[trainer][0].path: reason for trainer, reason in lost.items()}


def _trainer(run: Run, digits: Digits, device: str, threads: int | None, like: "Trainer | None" = None) -> "Trainer":
    """Return what trains the run, where it was left; `like` as in Trainer. The manifest says what it computes with."""
    from tenfold.training import device as devices
    from tenfold.training.loop import Trainer

    known = run.manifest.get("machine", {})
    count = devices.use_threads(threads or known.get("threads"))
    state = run.state()
    alike = None if like is None else like.arithmetic
    trainer = Trainer(
        run.recipe,
        *_parts(run, digits),
        seed=run.manifest["seed"],
        device=devices.choose(device),
        arithmetic=devices.Arithmetic(known["precision"], known["layout"]) if known else alike,
        threads=count,
        start=transfer.starter(run.manifest, begun=state is not None),
        like=like,
    )
    if state is not None:
        trainer.restore(*state)
    machine = devices.describe(trainer.device, trainer.arithmetic)
    parameters = sum(parameter.numel() for parameter in trainer.module.parameters())
    run.update_manifest({"machine": machine, "parameters": parameters, "status": "running"})
    return trainer


def _checkpoint(run: Run, trainer: "Trainer") -> None:
    """Write what training resumes from, and the history so far."""
    run.write_state(*trainer.state())
    run.write_metrics(trainer.history)


def _end(run: Run, trainer: "Trainer", digits: Digits, stopped: bool) -> None:
    """Leave a usable run: the last checkpoint, weights, answers and status."""
    run.write_state(*trainer.state())
    _keep(run, trainer, digits)
    status = "finished" if trainer.finished else "interrupted" if stopped else "out_of_time"
    run.update_manifest({"status": status})


def _parts(run: Run, digits: Digits) -> tuple[Any, Any, Any]:
    """Return training images, training labels, and the held-out (images, labels) or None."""
    assert digits.labels is not None
    held_out = run.held_out()
    kept = np.setdiff1d(np.arange(len(digits)), held_out)
    validation = (digits.images[held_out], digits.labels[held_out]) if len(held_out) else None
    return digits.images[kept], digits.labels[kept], validation


def _keep(run: Run, trainer: "Trainer", digits: Digits) -> None:
    """Write weights, metrics, the answers on the held-out images, and the headline numbers."""
    run.write_weights(trainer.weights())
    run.write_metrics(trainer.history)
    seconds = trainer.position.seconds
    accuracy, temperature, _ = _validate(run, digits, trainer.device.type)
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


def _fit_classical(run: Run, digits: Digits, threads: int | None, console: "Console") -> None:
    """Fit a classical model, from the start: it cannot be cut, so a run that was is fitted anew."""
    from tenfold.models.classical import Classical
    from tenfold.training import device as devices

    recipe = run.recipe
    count = devices.use_threads(threads or run.manifest.get("machine", {}).get("threads"))
    machine = devices.describe(devices.choose("cpu"), devices.Arithmetic("fp32", "contiguous"))
    machine = {key: value for key, value in machine.items() if key not in devices.Arithmetic._fields}  # a network's
    run.update_manifest({"machine": machine, "status": "running"})
    images, labels, _ = _parts(run, digits)
    began = time.perf_counter()
    doing = f"Fitting {recipe.name} to {len(images):,} images"
    if not console.is_terminal:
        console.print(doing, markup=False)
    try:
        with console.status(doing):
            model = Classical(
                recipe.model.kind, recipe.model.arguments(), recipe.features.model_dump(), run.manifest["seed"], count
            ).fit(images, labels)
            model.save(run.path)
            accuracy, temperature, nll = _validate(run, digits, "cpu")
    except KeyboardInterrupt:
        run.update_manifest({"status": "interrupted"})
        console.print(f"Nothing is fitted yet. To begin again: tenfold train --resume {run.path}", markup=False)
        raise
    seconds = time.perf_counter() - began
    speed = round(len(images) / max(seconds, 1e-9), 1)
    run.write_metrics(
        [{"epoch": None, "images": len(images), "seconds": round(seconds, 3), "loss": None, "images_per_second": speed,
          "validation_accuracy": accuracy, "validation_nll": nll}]
    )  # fmt: skip
    run.update_manifest(
        {
            "status": "finished",
            "seconds": round(seconds, 3),
            "epochs": None,
            "images_per_second": speed,
            "parameters": model.parameters,
            "validation_accuracy": accuracy,
            "temperature": temperature,
        }
    )
    _report(run)


def _validate(run: Run, digits: Digits, device: str) -> tuple[float | None, float, float | None]:
    """Return accuracy, temperature and NLL on the held-out images; the answers are written to the run's folder.

    Without held-out images accuracy and NLL are None.
    """
    from tenfold.metrics.scores import log_losses, most_confident_mistakes

    held_out = run.held_out()
    if not len(held_out):
        return None, 1.0, None
    assert digits.labels is not None
    images, labels = digits.images[held_out], digits.labels[held_out]
    classifier = run.classifier(device)
    probabilities = classifier.calibrate(images, labels)
    mistakes = most_confident_mistakes(labels, probabilities, GALLERY)
    run.write_validation(
        indices=held_out,
        labels=labels,
        probabilities=probabilities,
        mistake_indices=mistakes,
        mistake_images=images[mistakes],
    )
    nll = float(log_losses(labels, probabilities).mean())
    return float((probabilities.argmax(1) == labels).mean()), classifier.temperature_, nll


def _report(run: Run) -> None:
    from tenfold.pages.report import write_report

    write_report(run)


def _summary(run: Run) -> dict[str, Any]:
    """Return the JSON-able result of a run."""
    from tenfold.metrics.intervals import wilson

    manifest = run.manifest
    accuracy, n = manifest["validation_accuracy"], manifest["data"]["n_validation"]
    keys = ("recipe", "status", "seed", "seconds", "epochs", "images_per_second", "parameters", "validation_accuracy")
    return {
        "run": str(run.path),
        **{key: manifest[key] for key in keys},
        "validation_ci95": None if accuracy is None else list(wilson(round(accuracy * n), n)),
        "validation_n": n,
        "copies": manifest["data"].get("copies"),
        "report": str(run.path / "report.html"),
    }
