"""Who watches a training: callbacks, the lines that people read, a notebook's picture, MLflow and TensorBoard."""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import MissingExtraError, TrainingError, UsageError
from tenfold.metrics.scores import confusion

if TYPE_CHECKING:
    from tenfold.console import PlainConsole
    from tenfold.progress import Work
    from tenfold.runs.run import Run
    from tenfold.training.loop import Trainer
    from tenfold.training.recipe import Recipe

REFRESH_SECONDS = 0.2  # reading the loss waits for an accelerator, so not every step
EXPERIMENT = "tenfold"
TENSORBOARD = "tensorboard:"
PLACES = "Give a folder, http://HOST:PORT or tensorboard:FOLDER."
MOST_PARAMETERS = 100  # that MLflow takes at a time
SILENT = dict.fromkeys(("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"), "true")
DEFAULTS = {
    "MLFLOW_ALLOW_FILE_STORE": "true",  # the one store that mlflow-skinny brings
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # by MLflow's own seven a server that is not there is noticed after 247 s
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
UNSENT = ("name", "summary", "order", "seed", "published", "search")  # of the recipe: no parameters of the training


class Callback:
    """Watches the training of a network; a subclass overrides what it needs.

    Each method is called between two steps. `trainer` (`tenfold.training.loop.Trainer`) is there to be read:
    `trainer.position`, `.epoch`, `.progress`, `.history`, `.module`. A method that raises ends training with one line
    that names the callback; what was trained is kept.
    """

    def step(self, trainer: "Trainer") -> bool | None:
        """Called after every step; True asks training to end here, as Ctrl-C does."""

    def evaluation(self, trainer: "Trainer", line: dict[str, Any]) -> None:
        """Called with each line of the curve; a resumed training begins with those that it had.

        line: epoch, step, images, seconds, loss, learning_rate, images_per_second; validation_accuracy and
        validation_nll, None where it was no validation.
        """

    def end(self, trainer: "Trainer") -> None:
        """Called once, however training ended."""


class Callbacks:
    """Callbacks around one training, the first failure among them kept until what was trained is safe.

    Raises UsageError for what is no callback, TrainingError for a model that has no steps to watch.
    """

    def __init__(self, callbacks: Sequence[Callback], recipe: "Recipe") -> None:
        for each in callbacks:
            if not isinstance(each, Callback):
                raise UsageError(f"'{each}' is no callback. Give an instance of a subclass of {__name__}.Callback.")
        if callbacks and recipe.classical:
            raise TrainingError(f"'{recipe.model.kind}' is fitted in one go, without steps to watch. Omit callbacks.")
        self.members = list(callbacks)
        self._told = 0  # lines of the history
        self._failure: str | None = None

    def run(self, trainer: "Trainer", stop: "Callable[[Trainer], bool]" = lambda trainer: False) -> None:
        """Train until the end, or until a callback fails, or one or `stop` (called after every step) asks to end."""

        def each_step(trainer: "Trainer") -> bool:
            asked = stop(trainer)
            lines, self._told = trainer.history[self._told :], len(trainer.history)
            for callback in self.members:
                with self._guarded(callback, trainer):
                    for line in lines:
                        callback.evaluation(trainer, line)
                    asked = callback.step(trainer) is True or asked
            return asked or self._failure is not None

        try:
            trainer.run(each_step)
        finally:
            for callback in self.members:
                with self._guarded(callback, trainer):
                    callback.end(trainer)

    @contextmanager
    def _guarded(self, callback: Callback, trainer: "Trainer") -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of any kind: it is the user's code
            name, at = type(callback).__name__, trainer.position.step
            self._failure = self._failure or f"The callback '{name}' failed at step {at}: '{_one_line(error)}'."

    def check(self, kept: str) -> None:
        """Raise TrainingError where a callback failed; `kept` says where what was trained is."""
        if self._failure:
            raise TrainingError(f"{self._failure} Mend or omit it; what was trained is kept in {kept}.")


class Curve(Callback):
    """Prints a line for each validation, and says beside the bar how training goes."""

    def __init__(self, console: "PlainConsole", work: "Work") -> None:
        self.console, self.work = console, work
        self._name, self._refreshed = work.doing, 0.0

    def step(self, trainer: "Trainer") -> None:
        """Say where training is, now and then."""
        if not self.console.quiet and time.monotonic() - self._refreshed > REFRESH_SECONDS:
            position, epochs = trainer.position, trainer.total_steps / trainer.steps_per_epoch
            words = [f"{position.step * trainer.batch_size / max(position.seconds, 1e-9):,.0f} images/s"]
            if position.loss_steps:
                words.insert(0, f"loss {trainer.loss_sum.item() / position.loss_steps:.3f}")
            self.work.doing = f"{self._name}, epoch {trainer.epoch:.1f} of {epochs:.4g}"
            self.work.words, self._refreshed = "  ".join(words), time.monotonic()

    def evaluation(self, trainer: "Trainer", line: dict[str, Any]) -> None:
        """Print the line, unless it is a point of the curve between two validations."""
        accuracy = line["validation_accuracy"]
        if accuracy is not None or trainer.validation is None:
            held_out = "" if accuracy is None else f"  validation {accuracy:.2%}"
            self.console.print(
                f"epoch {line['epoch']:6.2f}  loss {line['loss']:.4f}{held_out}"
                f"  {line['images_per_second']:,.0f} images/s  {line['seconds']:.1f} s"
            )


def picture(history: list[dict[str, Any]], labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> str:
    """Return HTML for a notebook: the curves of loss and validation accuracy, and the held-out images' confusion."""
    parts = []
    for key, name, form in (("loss", "loss", ".3f"), ("validation_accuracy", "validation accuracy", ".2%")):
        points = [(line["epoch"], line[key]) for line in history if line[key] is not None]
        if len(points) > 1:
            x, y = (np.interp(each, (min(each), max(each)), (0, 1)) for each in zip(*points, strict=True))
            way = " ".join(f"{5 + 230 * a:.0f},{75 - 70 * b:.0f}" for a, b in zip(x, y, strict=True))
            line = f'<polyline points="{way}" fill="none" stroke="steelblue"/>'
            caption = f"<figcaption>{name}: {points[-1][1]:{form}}</figcaption>"
            parts.append(f'<figure>{caption}<svg width="240" height="80">{line}</svg></figure>')
    table = confusion(labels, probabilities)
    errors = np.log1p(table * (1 - np.eye(10, dtype=int)))  # which differ by powers of ten
    rows = [f"<tr><th>{digit}</th>" for digit in range(10)]
    for (true, given), n in np.ndenumerate(table):
        shade = errors[true, given] / max(errors.max(), 1)
        rows[true] += f'<td style="background:rgba(220,80,60,{shade:.2f})">{n or ""}</td>'
    head = "".join(f"<th>{digit}</th>" for digit in range(10))
    parts.append(f"<table><caption>true digit, given digit</caption><tr><th></th>{head}</tr>{''.join(rows)}</table>")
    return f'<div style="display:flex">{"".join(parts)}</div>'


class Tracker(Callback):
    """Sends a run elsewhere: the recipe's values, the curve as it grows, the weights' SHA-256 and the report.

    What cannot be sent ends no training: `close` raises it when the run is whole.
    """

    def __init__(self, uri: str, place: "MLflow | TensorBoard") -> None:
        self.uri, self.place, self._sent = uri, place, 0
        self._failure: Exception | None = None

    def begin(self, run: "Run") -> None:
        """Send what is known before training."""
        tables = run.recipe.tables(exclude=set(UNSENT))
        values = {f"{title}.{key}": table[key] for title, table in tables.items() for key in table}
        values |= {"recipe": run.recipe.name, "seed": run.manifest["seed"], "data": run.manifest["data"]["spec"]}
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
        self._attempt(self.place.begin, run.path.name, texts)

    def evaluation(self, trainer: "Trainer", line: dict[str, Any]) -> None:
        """Send the line."""
        step = line.get("step", 0)  # a classical model has but one line
        values = {key: line[key] for key in line if key != "step" and line[key] is not None}
        self._attempt(self.place.point, step, values)
        self._sent += 1

    def close(self, run: "Run", report: str | None) -> None:
        """Send what is left of the curve, and what came of the training. TrainingError where anything was not sent."""
        for line in run.metrics()[self._sent :]:
            self.evaluation(None, line)  # type: ignore[arg-type] # who trained is not looked at
        self._attempt(self.place.close, "FINISHED" if run.finished else "KILLED", run.weights_sha256(), report)
        if self._failure is not None:
            raise TrainingError(
                f"Not all could be sent to '{self.uri}': '{_one_line(self._failure)}'. The run '{run.path}' is whole; "
                f"to send it again: tenfold train --resume {run.path} --track {self.uri}"
            )

    def abandon(self) -> None:
        """Say that training failed."""
        self._attempt(self.place.close, "FAILED", None, None)

    def _attempt(self, action: Callable[..., None], *arguments: Any) -> None:
        if self._failure is None:
            try:
                action(*arguments)
            except Exception as error:  # of the library, its stores or the network
                self._failure = error


class MLflow:
    """A run of MLflow's experiment "tenfold", in a folder or on a server."""

    library = ("mlflow", "MLflow")  # what is imported, and what messages call it

    def __init__(self, uri: str) -> None:
        os.environ.update(DEFAULTS | os.environ | SILENT)  # MLflow reads them when it is imported
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=uri)
        known = self.client.get_experiment_by_name(EXPERIMENT)
        self._experiment = known.experiment_id if known else self.client.create_experiment(EXPERIMENT)

    def begin(self, name: str, values: dict[str, str]) -> None:
        """Begin a run there, with its recipe."""
        from mlflow.entities import Param

        self._run = self.client.create_run(self._experiment, run_name=name).info.run_id
        parameters = [Param(key, value) for key, value in values.items()]
        for start in range(0, len(parameters), MOST_PARAMETERS):
            self.client.log_batch(self._run, params=parameters[start : start + MOST_PARAMETERS])

    def point(self, step: int, values: dict[str, float]) -> None:
        """Send a line of the curve."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self.client.log_batch(self._run, [Metric(key, value, now, step) for key, value in values.items()])

    def close(self, status: str, sha256: str | None, report: str | None) -> None:
        """End it, with what came of the training."""
        if sha256 is not None:
            self.client.set_tag(self._run, "weights_sha256", sha256)
        if report is not None:
            self.client.log_artifact(self._run, report)
        self.client.set_terminated(self._run, status)


class TensorBoard:
    """TensorBoard's event file, in a folder of the run's own name; it takes no report."""

    library = ("tensorboardX", "tensorboardX")

    def __init__(self, uri: str) -> None:
        import tensorboardX  # noqa: F401

        self.folder = Path(uri.removeprefix(TENSORBOARD))
        self.folder.mkdir(parents=True, exist_ok=True)

    def begin(self, name: str, values: dict[str, str]) -> None:
        from tensorboardX import SummaryWriter

        self.writer = SummaryWriter(str(self.folder / name))
        self.writer.add_text("recipe", "\n".join(f"    {key} = {value}" for key, value in values.items()))

    def point(self, step: int, values: dict[str, float]) -> None:
        for key, value in values.items():
            self.writer.add_scalar(key, value, step)

    def close(self, status: str, sha256: str | None, report: str | None) -> None:
        if sha256 is not None:
            self.writer.add_text("weights_sha256", sha256)
        self.writer.close()


def open_tracker(uri: str) -> Tracker:
    """Return what sends a run to `uri`: tensorboard:FOLDER, or what MLflow takes, such as a folder or http://HOST:PORT.

    Raises UsageError for no place, MissingExtraError without the library, TrainingError for what cannot be reached now.
    """
    if uri.removeprefix(TENSORBOARD) == "":
        raise UsageError(f"'{uri}' names no place to track at. {PLACES}")
    kind = TensorBoard if uri.startswith(TENSORBOARD) else MLflow
    try:
        return Tracker(uri, kind(uri))
    except Exception as error:  # of the library, its stores or the network
        if isinstance(error, ModuleNotFoundError) and error.name == kind.library[0]:
            raise MissingExtraError(kind.library[1], "track") from None
        raise TrainingError(f"'{uri}' cannot be tracked at: '{_one_line(error)}'. {PLACES}") from None


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
