"""What a user sees while a network trains: a live bar in a terminal, a line an evaluation in a log."""

import time
from typing import TYPE_CHECKING

from tenfold.training.loop import Trainer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

REFRESH_SECONDS = 0.2  # reading the loss waits for an accelerator, so not every step


class TrainingProgress:
    """Shows loss, validation accuracy, images a second and the time left on a console; nothing on a quiet one."""

    def __init__(self, title: str, console: "Console") -> None:
        self.title, self.console = title, console
        self.live = console.is_terminal and not console.quiet
        self.shown = 0  # lines of the history that have been shown
        self._refreshed = 0.0
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def update(self, trainer: Trainer) -> None:
        """Show where `trainer` is; called after every step."""
        if self.live and time.monotonic() - self._refreshed > REFRESH_SECONDS:
            self._update_bar(trainer)
            self._refreshed = time.monotonic()
        for line in trainer.history[self.shown :]:
            accuracy = line["validation_accuracy"]
            if accuracy is None and trainer.validation is not None:
                continue  # a point of the curve between two validations
            held_out = "" if accuracy is None else f"  validation {accuracy:.2%}"
            self.console.print(
                f"epoch {line['epoch']:6.2f}  loss {line['loss']:.4f}{held_out}"
                f"  {line['images_per_second']:,.0f} images/s  {line['seconds']:.1f} s"
            )
        self.shown = len(trainer.history)

    def _update_bar(self, trainer: Trainer) -> None:
        position = trainer.position
        if self._bar is None:
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[speed]}"),
                TimeRemainingColumn(compact=True),
                TextColumn("left"),
                console=self.console,
                transient=True,
            )
            self._task = self._bar.add_task(self.title, total=trainer.total_steps, speed="")
            self._bar.start()
        assert self._task is not None
        loss = trainer.loss_sum.item() / max(1, position.loss_steps)
        speed = position.step * trainer.batch_size / max(position.seconds, 1e-9)
        numbers = f"loss {loss:.3f}  {speed:,.0f} images/s" if position.loss_steps else f"{speed:,.0f} images/s"
        validated = [line["validation_accuracy"] for line in trainer.history if line["validation_accuracy"] is not None]
        if validated:
            numbers = f"validation {validated[-1]:.2%}  {numbers}"
        self._bar.update(
            self._task,
            completed=position.step,
            speed=numbers,
            description=f"{self.title}  epoch {trainer.epoch:.1f} of {trainer.recipe.training.epochs:g}",
        )

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.stop()
