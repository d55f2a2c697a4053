"""The training loop: the whole data set in memory as one tensor, augmented batch by batch on its own device.

Every random choice is a function of numbers: the initial weights of the seed, the order of the images of (seed, pass),
a batch's distortions and dropout of (seed, step, part of the batch). So the state to resume from needs no generator's
inside, and training that is resumed gives the same weights as an unbroken one, bit for bit, on the same machine and
thread count.
"""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from tenfold.errors import TrainingError
from tenfold.metrics.scores import log_losses
from tenfold.models import build
from tenfold.models.integer_network import rounded
from tenfold.progress import steps
from tenfold.training.augment import augment
from tenfold.training.degrade import degrade
from tenfold.training.device import Precision, autocast, lay_out, precision_of
from tenfold.training.optimise import Average, Optimiser, multiple
from tenfold.training.predict import Answered, Teacher, answer, to_input
from tenfold.training.recipe import Recipe
from tenfold.training.sampler import Sampler
from tenfold.training.shards import Shards
from tenfold.training.synthetic import with_synthetic

CURVE_POINTS = 20  # lines of the history, at least, so that a short training has a curve too
ACCELERATOR_CHECK_STEPS = 50  # looking at the loss waits for the accelerator, so there it is looked at rarely


@dataclass
class Position:
    """How far training is: everything that must survive a crash, besides tensors."""

    step: int = 0
    seconds: float = 0.0
    loss_steps: int = 0
    plateau: float = 1.0  # the factor that ReduceLROnPlateau has come down to
    best_accuracy: float = -1.0
    best_step: int = 0
    without_gain: int = 0
    stopped_early: bool = False


class Trainer:
    """One network in training.

    images: (N, 28, 28) uint8; labels: (N,) int64; validation: the same two for held-out data, or None.
    start: called once with the fresh network, to fill in weights and freeze some (`requires_grad`; a module with a true
    attribute `frozen` stays in evaluation mode).
    teacher: whose answers the network learns from too, where the recipe has a [distil] table.
    sample_weight: (N,), what each image counts in the loss, beside the others; None: all alike.
    `run` trains until the end or until it is told to stop; `state` and `restore` carry it over a crash; `finish` gives
    the network with the weights to answer with.
    """

    def __init__(
        self,
        recipe: Recipe,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        validation: tuple[NDArray[np.uint8], NDArray[np.int64]] | None,
        *,
        seed: int,
        device: torch.device,
        precision: Precision | None = None,
        threads: int = 1,
        start: Callable[[nn.Module], None] | None = None,
        teacher: Teacher | None = None,
        sample_weight: NDArray[np.floating] | None = None,
    ) -> None:
        self.recipe, self.seed, self.device, self.threads, self.teacher = recipe, seed, device, threads, teacher
        began = time.perf_counter()
        if recipe.synthetic is not None:
            images, labels = with_synthetic(images, labels, recipe.synthetic, seed)
        self.images, self.labels = self._on_device(images), self._on_device(labels)
        self.image_weights: Tensor | None = None
        if sample_weight is not None:
            scaled = (sample_weight / sample_weight.mean()).astype(np.float32)  # the learning rate means what it did
            self.image_weights = self._on_device(np.pad(scaled, (0, len(images) - len(scaled)), constant_values=1))
        self.validation = None if validation is None else (self._on_device(validation[0]), validation[1])
        self.sampler = Sampler(len(images), recipe.training, seed, device)
        self.batch_size, self.steps_per_epoch = self.sampler.batch_size, self.sampler.steps_per_epoch
        asked = max(1, round(recipe.training.epochs * self.steps_per_epoch))
        self.total_steps = max(asked, recipe.training.min_steps)
        longer = self.total_steps / asked  # a small set's epochs are short: validate as many times
        self.evaluation_steps = max(1, round(recipe.training.evaluate_every * self.steps_per_epoch * longer))
        self.curve_steps = max(1, self.total_steps // CURVE_POINTS)
        torch.manual_seed(seed)
        self.module: nn.Module = build(recipe.model.kind, recipe.model.arguments()).to(device)
        if start is not None:
            start(self.module)
        self.precision = precision or precision_of(recipe.training.precision, device)
        lay_out(self.module)
        parts = recipe.training.shards if device.type == "cpu" else 1  # an accelerator is busy with the whole batch
        self.shards = Shards(self.module, max(1, min(parts, self.batch_size // 2)), threads)
        self.generators = [torch.Generator(device) for _ in range(len(self.shards))]
        self.shards.draw_from(self.generators)
        self.optimiser = Optimiser(self.module, recipe.optimiser, len(self.shards), self.shards.each)
        self.average = Average(self.module, recipe.training.ema) if recipe.training.ema else None
        self.best: dict[str, Tensor] = {}
        self.history: list[dict[str, Any]] = []
        self.position = Position()
        self.loss_sum = torch.zeros((), device=device)
        self.answered: Answered | None = None  # the held-out images, by the finished network
        self._before = time.perf_counter() - began

    def run(self, each_step: Callable[["Trainer"], bool] = lambda trainer: False) -> bool:
        """Train on; return True when done, False when `each_step`, called after every step, asked to stop."""
        position = self.position
        self.shards.train()
        torch.set_num_threads(self.shards.inner_threads)
        started = time.perf_counter() - position.seconds - self._before
        self._before = 0.0  # what making this trainer took is counted once
        with steps(self.total_steps) as step:
            step(position.step)
            while not self.finished:
                self._train_step()
                if (
                    self.device.type == "cpu" or position.step % ACCELERATOR_CHECK_STEPS == 0
                ) and not self.loss_sum.isfinite():
                    _refuse(self, "The loss is", self.loss_sum.item())  # before anything of it is saved
                position.seconds = time.perf_counter() - started
                step(position.step)
                if position.step % self.evaluation_steps == 0 or position.step == self.total_steps:
                    self._evaluate()
                    if not self.finished:  # scoring the finished network is no part of its training
                        position.seconds = time.perf_counter() - started
                elif position.step % self.curve_steps == 0:
                    self._note(None, None)
                if each_step(self):
                    break
        self.shards.close()
        torch.set_num_threads(self.threads)
        return self.finished

    @property
    def finished(self) -> bool:
        """True when no step is left, or early stopping has come."""
        return self.position.stopped_early or self.position.step >= self.total_steps

    @property
    def progress(self) -> float:
        """The share of training that is done, 0 to 1."""
        return self.position.step / self.total_steps

    @property
    def epoch(self) -> float:
        """Epochs trained so far."""
        return self.position.step / self.steps_per_epoch

    def _train_step(self) -> None:
        recipe, step, parts = self.recipe, self.position.step, len(self.shards)
        indices = self.sampler.batch(step)
        batches = to_input(self.images[indices]).tensor_split(parts)  # Shape: (B / parts, 1, 28, 28) each
        answers = self.labels[indices].tensor_split(parts)
        weights = None if self.image_weights is None else self.image_weights[indices].tensor_split(parts)

        def forward_and_back(number: int) -> Tensor:
            """Return the losses of one part of the batch; its gradients stay with its own module."""
            generator = self.generators[number].manual_seed(_step_seed(self.seed, step, number))
            inputs = batches[number]
            if self.progress < 1 - recipe.augment.calm_end:
                inputs = augment(inputs, recipe.augment, generator)
            if recipe.degrade is not None:
                inputs = degrade(inputs, recipe.degrade, generator)
            seen = inputs  # the teacher always sees the images as they are
            if self.progress < recipe.training.small_share:
                seen = F.interpolate(inputs, size=recipe.training.small_edge, mode="bilinear", antialias=True)
            with autocast(self.device, self.precision):
                logits = self.shards.modules[number](seen)
            smoothing = recipe.training.label_smoothing
            losses = F.cross_entropy(logits.float(), answers[number], label_smoothing=smoothing, reduction="none")
            if self.teacher is not None:
                losses = self.teacher.losses(logits, inputs, losses, self.precision)
            weighted = losses if weights is None else losses * weights[number]
            (weighted.sum() / self.batch_size).backward()  # type: ignore[no-untyped-call]
            return losses.detach()

        losses = torch.cat(self.shards.each(forward_and_back))
        self.shards.merge()
        self.optimiser.step(self.learning_rate_multiple(self.progress))
        if self.average:
            self.average.update(step)
        self.loss_sum += losses.mean()
        self.sampler.losses[indices] = losses
        self.position.loss_steps += 1
        self.position.step += 1

    def learning_rate_multiple(self, progress: float) -> float:
        """Return the schedule's multiple at `progress`, times what the plateau rule has brought it down to."""
        return multiple(self.recipe.schedule, progress) * self.position.plateau

    def _evaluate(self) -> None:
        """Add a line to the history; note the best weights, the plateau and early stopping."""
        position, training, schedule = self.position, self.recipe.training, self.recipe.schedule
        if self.validation is None:
            self._note(None, None)
            return
        labels = self.validation[1]
        # Weights that are the last ones, and not rounded, are those that answer: asked as they will be.
        last = position.step == self.total_steps and training.keep == "last" and not training.weight_bits
        probabilities = self.look(final=last)
        if not np.isfinite(probabilities).all():
            _refuse(self, "The network answers", math.nan)
        accuracy = float((probabilities.argmax(1) == labels).mean())
        self._note(accuracy, float(log_losses(labels, probabilities).mean()))
        if accuracy > position.best_accuracy:
            position.best_accuracy, position.best_step, position.without_gain = accuracy, position.step, 0
            if training.keep == "best":
                self.best = {name: tensor.clone() for name, tensor in self._latest().items()}
            return
        position.without_gain += 1
        if schedule.kind == "plateau" and position.without_gain % schedule.patience == 0:
            lowest = min(1.0, schedule.floor / self.recipe.optimiser.lr)
            position.plateau = max(position.plateau * schedule.factor, lowest)
        if training.early_stopping and position.without_gain >= training.early_stopping:
            position.stopped_early = True

    def _note(self, accuracy: float | None, nll: float | None) -> None:
        """Add a line to the history: the mean loss since the last one, and what validation gave, where it ran."""
        position = self.position
        progress = (position.step - 1) / self.total_steps
        self.history.append(
            {
                "epoch": round(self.epoch, 4),
                "step": position.step,
                "images": position.step * self.batch_size,
                "seconds": round(position.seconds, 3),
                "loss": self.loss_sum.item() / max(1, position.loss_steps),
                "learning_rate": self.recipe.optimiser.lr * self.learning_rate_multiple(progress),
                "images_per_second": round(position.step * self.batch_size / max(position.seconds, 1e-9), 1),
                "validation_accuracy": accuracy,
                "validation_nll": nll,
            }
        )
        self.loss_sum.zero_()
        position.loss_steps = 0

    def look(self, *, final: bool = False) -> NDArray[np.float32]:
        """Return the probabilities of the held-out images as of now, (N, 10); training goes on as if nobody had looked.

        With averaged weights where the recipe has them; at training's precision, without test-time augmentation.
        final: as the finished network answers, in fp32, all of which is kept: it need not be asked again.
        """
        assert self.validation is not None
        shifts = self.recipe.prediction.shifts if final else 0
        precision: Precision = "fp32" if final else self.precision
        torch.set_num_threads(self.threads)
        with self.average.in_place() if self.average else nullcontext():
            answered = answer(self.module, self.validation[0], shifts, precision)
        torch.set_num_threads(self.shards.inner_threads)
        self.answered = answered if final else None
        return answered.unshifted

    def finish(self) -> tuple[nn.Module, Answered | None]:
        """End training: return the network that answers, and its answers to the held-out images, where there are."""
        weights = self.weights()
        if not all(tensor.isfinite().all() for tensor in weights.values()):
            _refuse(self, "A weight is", math.nan)
        self.module.load_state_dict(weights)
        module = lay_out(self.module).eval()
        if self.answered is None and self.validation is not None:
            self.answered = answer(module, self.validation[0], self.recipe.prediction.shifts)
        return module, self.answered

    def weights(self) -> dict[str, Tensor]:
        """Return the weights to answer with: the best or the last ones, as the recipe says; averaged where it does.

        With `training.weight_bits` they are rounded; training itself, and its state, go on with the unrounded ones.
        """
        tensors = self.best or self._latest()
        return rounded(self.module, tensors) if self.recipe.training.weight_bits else tensors

    def _latest(self) -> dict[str, Tensor]:
        tensors = self.module.state_dict()
        return self.average.weights(tensors) if self.average else tensors

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that resuming needs: tensors, and a JSON-able rest."""
        tensors = prefixed("module", self.module.state_dict()) | prefixed("best", self.best)
        tensors |= prefixed("optimiser", self.optimiser.state()) | {
            "loss_sum": self.loss_sum,
            "losses": self.sampler.losses,
            "order": self.sampler.order,
        }
        if self.average:
            tensors |= prefixed("average", self.average.state())
        return tensors, {"position": asdict(self.position), "history": self.history}

    def restore(self, tensors: dict[str, Tensor], rest: dict[str, Any]) -> None:
        """Put back what `state` gave; RuntimeError, KeyError, TypeError or ValueError where it was another training."""
        order, best = tensors["order"], under("best", tensors)
        if order.dtype != torch.int64 or order.ndim != 1 or not ((order >= 0) & (order < len(self.images))).all():
            raise ValueError("its order is not one of these images")
        shapes = [{name: tensor.shape for name, tensor in each.items()} for each in (best, self.module.state_dict())]
        if best and shapes[0] != shapes[1]:
            raise ValueError("its best weights are another network's")
        self.module.load_state_dict(under("module", tensors))
        self.shards.spread()
        self.optimiser.restore(under("optimiser", tensors))
        self.best = {name: tensor.to(self.device) for name, tensor in best.items()}
        self.loss_sum.copy_(tensors["loss_sum"])
        self.sampler.losses.copy_(tensors["losses"])
        self.sampler.order = order.to(self.device)
        if self.average:
            self.average.restore(under("average", tensors))
        self.position = Position(**rest["position"])
        self.history = rest["history"]

    def _on_device(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def _refuse(trainer: Trainer, what: str, value: float) -> NoReturn:
    """Raise TrainingError for a training that has come to what is no number."""
    raise TrainingError(
        f"{what} '{value}' at step {trainer.position.step} (epoch {trainer.epoch:.2f}). "
        "Lower optimiser.lr or set optimiser.clip_norm=1; the last checkpoint is intact."
    )


def _step_seed(seed: int, step: int, part: int = 0) -> int:
    """Return a well-mixed 63-bit seed for one part of one step."""
    high, low = np.random.SeedSequence((seed, step, part)).generate_state(2)
    return (int(high) << 31) ^ int(low)


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the same tensors with `prefix/` before every name."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with `prefix/`, without it: the inverse of `prefixed`."""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}/")}
