"""Recipe and data in, a run out: a folder that answers, and that can be resumed after any crash; and its report."""

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from tenfold import options
from tenfold.console import PlainConsole
from tenfold.errors import RunError, TenfoldError, UsageError
from tenfold.metrics.intervals import wilson
from tenfold.pages.page import drawn
from tenfold.pages.report import write_report
from tenfold.runs import begin as beginnings
from tenfold.runs import reading, transfer
from tenfold.runs.fit import train_run
from tenfold.runs.run import Run
from tenfold.runs.tracking import Callbacks, open_tracker
from tenfold.training import recipe as recipes

PRECISION_HELP = "auto, fp32 or bf16 [default: the recipe's; auto is what the processor computes in]."
TRACK_HELP = "Send curves and report to MLflow (a folder, http://HOST:PORT), or tensorboard:FOLDER."
LAYERS_HELP = "With --from: train on all layers or the head [default: all]."


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    status: "finished", "interrupted" or "out_of_time". seconds: of training, from data in memory to the last weights,
    validation included. epochs: None for a classical model. validation_accuracy: with the recipe's test-time
    augmentation; None without held-out images. copies: what `tenfold.data.merge.find_copies` found; None where it did
    not look. labels: what decisions on labels came to: changed, left_out, sha256 of their file; None without any.
    """

    run: str
    recipe: str
    status: str
    seed: int
    seconds: float
    epochs: float | None
    images_per_second: float
    parameters: int
    validation_accuracy: float | None
    validation_ci95: tuple[float, float] | None
    validation_n: int
    copies: dict[str, Any] | None
    labels: dict[str, Any] | None
    report: str | None
    total_seconds: float


def train(
    recipe: Annotated[
        str | Path, typer.Argument(metavar="RECIPE", help="A shipped recipe's name, or a .toml file.")
    ] = "fast",
    data: Annotated[str | Sequence[str], options.SETS] = (),
    out: Annotated[
        str | Path | None, typer.Option("--out", metavar="FOLDER", help="Folder for the run [default: runs/RECIPE-N].")
    ] = None,
    *,
    overrides: Annotated[Sequence[str], options.OVERRIDES] = (),
    precision: Annotated[str | None, typer.Option("--precision", metavar="P", help=PRECISION_HELP)] = None,
    seed: Annotated[int | None, options.SEED] = None,
    split: Annotated[str | None, options.SPLIT] = None,
    subset: Annotated[int | None, options.SUBSET] = None,
    deduplicate: Annotated[bool, options.DEDUPLICATE] = False,
    labels: Annotated[str | Path | None, options.LABELS] = None,
    from_run: Annotated[
        str | Path | None, typer.Option("--from", metavar="RUN", help="Start from the weights of a finished run.")
    ] = None,
    layers: Annotated[str | None, typer.Option("--layers", metavar="LAYERS", help=LAYERS_HELP)] = None,
    max_seconds: Annotated[float | None, options.MAX_SECONDS] = None,
    resume: Annotated[
        str | Path | None, typer.Option("--resume", metavar="RUN", help="Resume a run that was cut short.")
    ] = None,
    device: Annotated[str, options.DEVICE] = "auto",
    threads: Annotated[int | None, options.THREADS] = None,
    track: Annotated[str | None, typer.Option("--track", metavar="URI", help=TRACK_HELP)] = None,
    callbacks: Sequence[Any] = (),
    quiet: Annotated[bool, options.QUIET] = False,
) -> Trained:
    """Return what came of training `recipe` on `data`, or of resuming the run `resume`; the run's folder is written.

    data: a name or a path, or several, which are merged; images that they share are then named, and `deduplicate`
    drops all but the first of equal or nearly equal ones (also within a single set).
    labels: a file of decisions, which change labels and leave images out before a subset and a held-out part are drawn.
    max_seconds: end, with a usable and resumable run, when so much time has passed since the call.
    callbacks: of `tenfold.runs.tracking.Callback`, from Python alone; they watch a network's training.
    Raises TenfoldError: UsageError, RecipeError, DataError, RunError, TrainingError, MissingExtraError.
    """
    began = time.monotonic()
    console = PlainConsole(quiet=quiet)
    specs = [data] if isinstance(data, str) else list(data)
    tracker = None if track is None else open_tracker(track)
    if resume is not None:
        _refuse(
            RunError("--resume: a run is resumed as it began. Omit it, or begin a new run."),
            {"--set": overrides, "--precision": precision, "--seed": seed, "--split": split, "--subset": subset,
             "--deduplicate": deduplicate, "--labels": labels, "--from": from_run, "--layers": layers}
        )  # fmt: skip
        run = Run.open(resume)
        if out is not None and Path(out).resolve() != run.path.resolve():
            raise RunError(f"--out '{out}' is not the run '{resume}' to resume. Omit --out.")
        if run.recipe.reads:
            return _read_on(run, reading.same_rows(run, specs), console, began, max_seconds, threads)
        beginnings.check(run.recipe, device, max_seconds)
        watching = Callbacks(callbacks, run.recipe)
        digits = beginnings.same_data(run, specs, console)
    else:
        given = [*options.split_by(split), *([f"training.precision={precision}"] if precision else [])]
        chosen = recipes.load(recipe, [*overrides, *given])
        if chosen.reads:
            _refuse(
                UsageError(f"'{chosen.name}', which learns from pictures of numbers. Omit it."),
                {"--split": split, "--subset": subset, "--labels": labels, "--layers": layers, "--track": track,
                 "--deduplicate": deduplicate, "--device": None if device in ("auto", "cpu") else device}
            )  # fmt: skip
            begun = reading.begin(chosen, specs, out, chosen.seed if seed is None else seed, from_run, console)
            return _read_on(*begun, console, began, max_seconds, threads)
        if not specs:
            raise UsageError("There is no '--data'. Give --data DATA, such as --data mnist, or --resume RUN.")
        beginnings.check(chosen, device, max_seconds)
        watching = Callbacks(callbacks, chosen)
        run, digits = beginnings.begin(
            chosen,
            specs,
            None if out is None else Path(out),
            seed=chosen.seed if seed is None else seed,
            subset=subset,
            deduplicate=deduplicate,
            start=_start(from_run, chosen, layers),
            labels=None if labels is None else Path(labels),
            console=console,
        )
    if tracker is not None:
        watching.members.append(tracker)
        tracker.begin(run)
    if not run.finished:
        deadline = None if max_seconds is None else began + max_seconds
        try:
            train_run(run, digits, console, deadline=deadline, device=device, threads=threads, callbacks=watching)
        except BaseException:
            if tracker is not None:
                tracker.abandon()
            raise
    result = _told(run, digits.labels, console, began)
    if tracker is not None:
        tracker.close(run, result.report)
    return result


def _told(run: Run, labels: NDArray[np.int64] | None, console: PlainConsole, began: float) -> Trained:
    """Return how the training of a run ended, told on the console, its report written."""
    result = _summary(run, drawn(write_report, run), time.monotonic() - began)
    console.print(describe(result), soft_wrap=True)
    if result.status == "finished":
        name = str(run.manifest["data"]["spec"]).partition(":")[0]
        console.next("tenfold", "evaluate", result.run, "--data", f"{name if name == 'uci' else 'mnist'}:test")
    if (warning := nothing_learnt(result, labels, run.manifest["data"]["spec"])) is not None:
        console.print(warning, style="yellow", soft_wrap=True)
    return result


def _read_on(
    run: Run, rows: list[Any], console: PlainConsole, began: float, max_seconds: float | None, threads: int | None
) -> Trained:
    """Return what came of training a network that reads numbers; its file for `tenfold read` lies in the run."""
    from tenfold.graphs.reading import write_reader

    if not run.finished:
        deadline = None if max_seconds is None else began + max_seconds
        reading.train_reading(run, rows, console, deadline=deadline, threads=threads)
    file = write_reader(run, rows, console)
    result = _summary(run, drawn(write_report, run), time.monotonic() - began)
    console.print(describe(result), soft_wrap=True)
    if result.status == "finished" and file.name == "lines.onnx":
        console.next("tenfold", "read", "PICTURE", "--model", result.run)
    return result


def nothing_learnt(result: Trained, labels: NDArray[np.int64] | None, spec: str | list[str]) -> str | None:
    """Return where to look when a finished training may be no better than one answer for all, None otherwise."""
    counts = np.bincount(() if labels is None else labels, minlength=1)
    chance, digit = counts.max() / max(counts.sum(), 1), int(counts.argmax())
    if result.status != "finished" or result.validation_ci95 is None or not result.validation_ci95[0] <= chance < 1:
        return None
    named = " ".join(f"--data {shlex.quote(each)}" for each in ([spec] if isinstance(spec, str) else spec))
    return (
        f"Nothing was learnt: always answering '{digit}', which {chance:.1%} of the images are, may be as good. Look "
        f"whether labels belong to their images, ink is light on dark and digits are upright: tenfold explore {named}"
    )


def listing() -> list[tuple[str, str]]:
    """Return the name and the summary of each shipped recipe."""
    return [(name, recipes.load(name).summary) for name in recipes.available()]


def _refuse(what: TenfoldError, given: dict[str, Any]) -> None:
    """Raise an error like `what`, which says what options do not go with, naming the first that is given."""
    for option, value in given.items():
        if value is not None and value is not False and value not in ([], ()):  # a seed of 0 is one
            raise type(what)(f"'{option}' does not go with {what}")


def _start(path: str | Path | None, recipe: recipes.Recipe, layers: str | None) -> transfer.Start | None:
    """Return the run to start from, or None."""
    if path is not None:
        return transfer.open_start(Path(path), recipe, layers or transfer.LAYERS[0])
    if layers is not None:
        raise RunError(f"--layers '{layers}' says what of a run is trained on. Add --from RUN.")
    return None


def _summary(run: Run, report: str | None, total_seconds: float) -> Trained:
    manifest = run.manifest
    accuracy, n = manifest["validation_accuracy"], manifest["data"]["n_validation"]
    keys = ("recipe", "status", "seed", "seconds", "epochs", "images_per_second", "parameters", "validation_accuracy")
    return Trained(
        run=str(run.path),
        **{key: manifest[key] for key in keys},
        validation_ci95=None if accuracy is None else wilson(round(accuracy * n), n),
        validation_n=n,
        copies=manifest["data"].get("copies"),
        labels=manifest["data"].get("labels"),
        report=report,
        total_seconds=round(total_seconds, 3),
    )


def describe(result: Trained) -> str:
    """Return how training ended, and where the run is."""
    length = "Fitted" if result.epochs is None else f"{result.epochs:.4g} epochs"  # a classical model has none
    lines = [f"{length} in {result.seconds:.1f} s"]
    if result.validation_accuracy is not None and result.validation_ci95 is not None:
        low, high = result.validation_ci95
        lines[0] += f", validation accuracy {result.validation_accuracy:.2%} (95% interval {low:.2%} to {high:.2%})"
    if result.status != "finished":
        lines.append(f"Cut short. To resume: tenfold train --resume {result.run}")
    return "\n".join([*lines, f"Run: {result.run}", *([f"Report: {result.report}"] if result.report else [])])
