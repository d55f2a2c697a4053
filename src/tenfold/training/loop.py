"""The training loop: the whole data set in memory as one tensor, augmented batch by batch on its own device.

Every random choice is a function of numbers: the initial weights of the seed, the order of the images of (seed, pass),
a batch's distortions and dropout of (seed, step, part of the batch). So the state to resume from needs no generator's
inside, and training that is resumed gives the same weights as an unbroken one, bit for bit, on the same machine and
thread count.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from tenfold.errors import TrainingError
from tenfold.metrics.scores import log_losses
from tenfold.models import build
from tenfold.runs.checkpoint import prefixed, under
from tenfold.training.augment import augment
from tenfold.training.degrade import degrade
from tenfold.training.device import Arithmetic, autocast, lay_out, probe
from tenfold.training.distil import Teacher
from tenfold.training.optimise import Average, Optimiser, multiple
from tenfold.training.predict import predict, to_input
from tenfold.training.recipe import Recipe
from tenfold.training.rounding import rounded
from tenfold.training.shards import Shards
from tenfold.training.synthetic import with_synthetic

CURVE_POINTS = 20  # lines of the history, at least, so that a short training has a curve too
RANDOM_PART = 0.3  # of a pass over hard images: drawn from the others, so that none is forgotten
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
    like: a trainer on the same device, whose images, labels and teacher are shared as far as they are the same.
    `run` trains until the end or until it is told to stop; `state` and `restore` carry it over a crash.
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
        arithmetic: Arithmetic | None = None,
        threads: int = 1,
        start: Callable[[nn.Module], None] | None = None,
        like: "Trainer | None" = None,
    ) -> None:
        self.recipe, self.seed, self.device, self.threads = recipe, seed, device, threads
        began = time.perf_counter()
        if recipe.synthetic is not None:
            images, labels = with_synthetic(images, labels, recipe.synthetic, seed)
        self.images, self.labels = self._on_device(images), self._on_device(labels)
        self.validation = None if validation is None else (self._on_device(validation[0]), validation[1])
        if like is not None:
            self._share(like)
        self.batch_size = min(recipe.training.batch_size, len(images))
        self.steps_per_epoch = len(images) // self.batch_size
        asked = round(recipe.training.epochs * self.steps_per_epoch)
        self.total_steps = max(1, asked, recipe.training.min_steps)
        longer = max(1.0, self.total_steps / max(1, asked))  # a small set's epochs are short: validate as many times
        self.evaluation_steps = max(1, round(recipe.training.evaluate_every * self.steps_per_epoch * longer))
        self.curve_steps = max(1, self.total_steps // CURVE_POINTS)
        known = like.teacher if like is not None and like.recipe.distil == recipe.distil else None
        self.teacher: Teacher | None = known or (None if recipe.distil is None else Teacher(recipe.distil, device))
        self.losses = torch.full((len(images),), torch.inf, device=device)  # each image's last seen loss
        self.order = torch.zeros(0, dtype=torch.int64, device=device)  # the images of the present pass
        torch.manual_seed(seed)
        self.module: nn.Module = build(recipe.model.kind, recipe.model.arguments()).to(device)
        if start is not None:
            start(self.module)
        self.arithmetic = arithmetic or self._choose_arithmetic()
        lay_out(self.module, self.arithmetic.layout)
        parts = recipe.training.shards if device.type == "cpu" else 1  # an accelerator is busy with the whole batch
        self.shards = Shards(self.module, min(parts, self.batch_size // 2), threads)
        self.generators = [torch.Generator(device) for _ in range(len(self.shards))]
        self.shards.draw_from(self.generators)
        self.optimiser = Optimiser(self.module, recipe.optimiser, len(self.shards), self.shards.each)
        self.average = Average(self.module, recipe.training.ema) if recipe.training.ema else None
        self.best: dict[str, Tensor] = {}
        self.history: list[dict[str, Any]] = []
        self.position = Position()
        self.loss_sum = torch.zeros((), device=device)
        self._before = time.perf_counter() - began

    # -- the loop ------------------------------------------------------------------------------------------------

    def run(self, each_step: Callable[["Trainer"], bool] = lambda trainer: False) -> bool:
        """Train on; return True when done, False when `each_step`, called after every step, asked to stop."""
        self.shards.train()
        torch.set_num_threads(self.shards.inner_threads)
        started = time.perf_counter() - self.position.seconds - self.take_preparation()
        while not self.finished:
            self._train_step()
            if self.check_is_due and not math.isfinite(self.loss_sum.item()):
                raise self.diverged()
            self.look(lambda: time.perf_counter() - started)
            if each_step(self):
                break
        self.shards.close()
        torch.set_num_threads(self.threads)
        return self.finished

    def take_preparation(self) -> float:
        """Return the seconds that making this trainer took, the first time; then 0, as they are counted."""
        seconds, self._before = self._before, 0.0
        return seconds

    def look(self, clock: Callable[[], float]) -> None:
        """Evaluate, or note a point of the curve, where the step just done calls for it; `clock` gives the seconds."""
        position = self.position
        position.seconds = clock()
        if position.step % self.evaluation_steps == 0 or position.step == self.total_steps:
            self._evaluate()
            position.seconds = clock()
        elif position.step % self.curve_steps == 0:
            self._note(None, None)

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
        step = self.position.step
        batch, labels, indices = self._batch(step)
        batches, answers = batch.tensor_split(len(self.shards)), labels.tensor_split(len(self.shards))

        def forward_and_back(number: int) -> Tensor:
            """Return the losses of one part of the batch; its gradients stay with its own module."""
            inputs = self.distorted(batches[number], [self.generator(number)])
            with autocast(self.device, self.arithmetic.precision):
                logits = self.shards.modules[number](inputs)
            losses = self.losses_of(logits, inputs, answers[number])
            (losses.sum() / self.batch_size).backward()  # type: ignore[no-untyped-call]
            return losses.detach()

        losses = torch.cat(self.shards.each(forward_and_back))
        self.shards.merge()
        self.optimiser.step(self.learning_rate_multiple(self.progress))
        if self.average:
            self.average.update(step)
        self.loss_sum += losses.mean()
        self.count_step(indices, losses)

    def generator(self, part: int) -> torch.Generator:
        """Return what a part of the present step's batch draws its distortions and its dropout from."""
        return self.generators[part].manual_seed(_step_seed(self.seed, self.position.step, part))

    def distorted(self, inputs: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Return the present step's inputs, (B, 1, 28, 28), as the recipe distorts them.

        Each of the generators draws for an equal part of them, in their order.
        """
        if self.progress < 1 - self.recipe.augment.calm_end:
            inputs = augment(inputs, self.recipe.augment, generators)
        worse = self.recipe.degrade
        if worse is not None:
            pairs = zip(inputs.chunk(len(generators)), generators, strict=True)
            inputs = torch.cat([degrade(part, worse, generator) for part, generator in pairs])
        return inputs

    def losses_of(self, logits: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return each image's loss, (B,), by its label and where there is a teacher by that one's answer."""
        smoothing = self.recipe.training.label_smoothing
        losses = F.cross_entropy(logits.float(), labels, label_smoothing=smoothing, reduction="none")
        return losses if self.teacher is None else self.teacher.losses(logits, inputs, losses, self.arithmetic)

    def count_step(self, indices: Tensor, losses: Tensor) -> None:
        """Count a step that was done, and remember the losses, (B,), of its images."""
        self.losses[indices] = losses
        self.position.loss_steps += 1
        self.position.step += 1

    def _batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the step's inputs, (B, 1, 28, 28) float in [0, 1], its labels, (B,), and its indices, (B,)."""
        indices = self.indices(step)
        return to_input(self.images[indices]), self.labels[indices], indices

    def indices(self, step: int) -> Tensor:
        """Return which images the step is on, (B,)."""
        number, start = self._pass_of(step)
        if step == start or not len(self.order):
            self.order = self._on_device(self._pass_order(number))
        at = (step - start) * self.batch_size
        return self.order[at : at + self.batch_size]

    def _pass_of(self, step: int) -> tuple[int, int]:
        """Return the number of the pass over the images that `step` falls in, and the pass's first step."""
        whole = self.recipe.training.hard_after
        if step < whole * self.steps_per_epoch:
            number = step // self.steps_per_epoch
        else:
            number = whole + (step - whole * self.steps_per_epoch) // self._hard_steps
        return number, self.pass_start(number)

    def pass_start(self, number: int) -> int:
        """Return the first step of a pass."""
        whole = min(number, self.recipe.training.hard_after)
        return whole * self.steps_per_epoch + (number - whole) * self._hard_steps

    @property
    def _hard_steps(self) -> int:
        """Steps in a pass over hard images; with a hard share of 1 those are all."""
        return max(1, int(len(self.images) * self.recipe.training.hard_share) // self.batch_size)

    def _pass_order(self, number: int) -> NDArray[np.int64]:
        """Return the images of a pass in their order, a function of seed, pass, and the losses seen so far.

        After the first `hard_after` passes, most images are learnt: a pass then takes those whose loss was highest
        when last seen, and a random part of the others (after Jiang et al., 2019, with the losses that training
        computes anyway in place of a forward pass over all images). The very highest losses are left out where the
        recipe asks for it: they belong, most of them, to images with a wrong label.
        """
        random = np.random.default_rng((self.seed, number))
        count = len(self.images)
        settings = self.recipe.training
        if settings.hard_share == 1 or number < settings.hard_after:
            return random.permutation(count)
        taken = min(self._hard_steps * self.batch_size, count - int(count * settings.doubtful_share))
        by_loss = np.argsort(-self.losses.cpu().numpy(), kind="stable")[int(count * settings.doubtful_share) :]
        hardest = taken - int(taken * RANDOM_PART)
        others = random.choice(by_loss[hardest:], taken - hardest, replace=False)
        return random.permutation(np.concatenate([by_loss[:hardest], others]))

    def learning_rate_multiple(self, progress: float) -> float:
        """Return the schedule's multiple at `progress`, times what the plateau rule has brought it down to."""
        return multiple(self.recipe.schedule, progress) * self.position.plateau

    @property
    def check_is_due(self) -> bool:
        """True where it is time to see whether the loss is still finite, before anything of it is saved."""
        return self.device.type == "cpu" or self.position.step % ACCELERATOR_CHECK_STEPS == 0

    def diverged(self) -> TrainingError:
        """Return what to raise when the loss is no longer finite."""
        return TrainingError(
            f"The loss is '{self.loss_sum.item()}' at step {self.position.step} (epoch {self.epoch:.2f}). "
            "Lower optimiser.lr or set optimiser.clip_norm=1; the last checkpoint is intact."
        )

    # -- validation ----------------------------------------------------------------------------------------------

    def _evaluate(self) -> None:
        """Add a line to the history; note the best weights, the plateau and early stopping."""
        position, training, schedule = self.position, self.recipe.training, self.recipe.schedule
        accuracy, nll = self._validate()
        self._note(accuracy, nll)
        if accuracy is None:
            return
        if accuracy > position.best_accuracy:
            position.best_accuracy, position.best_step, position.without_gain = accuracy, position.step, 0
            if training.keep == "best":
                self.best = {name: tensor.clone() for name, tensor in self._weights(latest=True).items()}
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

    def _validate(self) -> tuple[float | None, float | None]:
        """Return accuracy and mean negative log-likelihood on the held-out images, without test-time augmentation."""
        if self.validation is None:
            return None, None
        images, labels = self.validation
        if self.average:
            self.average.swap()
        torch.set_num_threads(self.threads)
        probabilities = predict(self.module, images, 0, self.arithmetic.precision)
        torch.set_num_threads(self.shards.inner_threads)
        if self.average:
            self.average.swap()
        accuracy = float((probabilities.argmax(1) == labels).mean())
        return accuracy, float(log_losses(labels, probabilities).mean())

    # -- weights and state ---------------------------------------------------------------------------------------

    def weights(self, *, latest: bool = False) -> dict[str, Tensor]:
        """Return the weights to answer with: the best or the last ones, as the recipe says; averaged where it does.

        With `training.weight_bits` they are rounded; training itself, and its state, go on with the unrounded ones.
        """
        tensors = self._weights(latest=latest)
        return rounded(self.module, tensors) if self.recipe.training.weight_bits else tensors

    def _weights(self, *, latest: bool) -> dict[str, Tensor]:
        """Return `weights` before any rounding."""
        if self.best and not latest:
            return self.best
        tensors = self.module.state_dict()
        return self.average.weights(tensors) if self.average else tensors

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that resuming needs: tensors, and a JSON-able rest."""
        tensors = prefixed("module", self.module.state_dict()) | prefixed("optimiser", self.optimiser.state())
        tensors |= prefixed("best", self.best)
        tensors |= {"loss_sum": self.loss_sum, "losses": self.losses, "order": self.order}
        if self.average:
            tensors |= prefixed("average", self.average.state())
        return tensors, {"position": asdict(self.position), "history": self.history}

    def restore(self, tensors: dict[str, Tensor], rest: dict[str, Any]) -> None:
        """Put back what `state` gave."""
        self.module.load_state_dict(under("module", tensors))
        self.shards.spread()
        self.optimiser.restore(under("optimiser", tensors))
        self.best = {name: tensor.to(self.device) for name, tensor in under("best", tensors).items()}
        self.loss_sum.copy_(tensors["loss_sum"])
        self.losses.copy_(tensors["losses"])
        self.order = tensors["order"].to(self.device)
        if self.average:
            self.average.restore(under("average", tensors))
        self.position = Position(**rest["position"])
        self.history = rest["history"]

    def _choose_arithmetic(self) -> Arithmetic:
        wanted = self.recipe.training.precision
        if wanted != "auto":
            return Arithmetic(wanted, "channels_last")
        batch, labels, _ = self._batch(0)
        part = len(batch) // self.recipe.training.shards or 1
        return probe(self.module, batch[:part], labels[:part])

    def _share(self, like: "Trainer") -> None:
        """Let go of what `like` has on the device too."""
        if torch.equal(self.images, like.images) and torch.equal(self.labels, like.labels):
            self.images, self.labels = like.images, like.labels
        if self.validation is not None and like.validation is not None:
            (images, labels), (other, _) = self.validation, like.validation
            self.validation = (other if torch.equal(images, other) else images, labels)

    def _on_device(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def _step_seed(seed: int, step: int, part: int = 0) -> int:
    """Return a well-mixed 63-bit seed for one part of one step."""
    high, low = np.random.SeedSequence((seed, step, part)).generate_state(2)
    return (int(high) << 31) ^ int(low)
