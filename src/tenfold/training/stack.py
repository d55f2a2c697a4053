"""Several networks of one recipe trained in lockstep, by one process, as one program on one copy of the images.

A small network leaves an accelerator waiting for the processor that tells it what to do; twenty of them side by side
are told with the same words. Each keeps what makes it a network of its own: initial weights, order of the images,
distortions, dropout, choice of hard images, history. So it comes out as it would alone, but for the rounding of sums.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from tenfold.errors import TrainingError
from tenfold.models import build
from tenfold.models.side_by_side import side_by_side, unstackable
from tenfold.training.device import FORMATS, autocast
from tenfold.training.loop import Trainer
from tenfold.training.optimise import Average, Optimiser
from tenfold.training.predict import to_input
from tenfold.training.recipe import UNHASHED, Recipe
from tenfold.training.shards import Shards


def stackable(recipe: Recipe) -> str | None:
    """Return why networks of this recipe cannot be trained as one program, in words, or None where they can."""
    if recipe.classical or recipe.model.kind == "ensemble":
        return f"model.kind is '{recipe.model.kind}', which no training loop trains"
    if recipe.training.early_stopping:
        return f"training.early_stopping is '{recipe.training.early_stopping}', so each ends at a time of its own"
    if recipe.schedule.kind == "plateau":
        return "schedule.kind is 'plateau', so each has a learning rate of its own"
    return unstackable(build(recipe.model.kind, recipe.model.arguments()))


EachStep = Callable[[Sequence[Trainer]], bool]


def check_stackable(recipe: Recipe) -> None:
    """Raise TrainingError where networks of this recipe cannot be trained as one program."""
    if (reason := stackable(recipe)) is not None:
        raise TrainingError(f"'{recipe.name}' cannot be stacked: {reason}. Train its networks one by one.")


def train_together(trainers: Sequence[Trainer], each_step: EachStep) -> dict[Trainer, str]:
    """Train all on until they have ended; return those whose loss did not stay finite, with what is wrong.

    each_step: called after every step with those that did it; where it returns True, training stops. Those that are
    behind catch up first; those that have other numbers of steps, because they have other numbers of images, are
    trained one group after the other; what is lost the others go on without. Raises TrainingError where the trainers
    do not fit together (see `Stack`).
    """
    lost: dict[Trainer, str] = {}
    stopped = False
    while not stopped and (left := [each for each in trainers if not each.finished and each not in lost]):
        last = min(left, key=lambda trainer: trainer.position.step)
        alike = [each for each in left if _pace(each) == _pace(last)]
        ahead = {each.position.step for each in alike} - {last.position.step}
        stack = Stack([each for each in alike if each.position.step == last.position.step])
        stack.run(each_step, until=min(ahead, default=last.total_steps))
        stopped = stack.stopped
        lost |= stack.lost
    return lost


class Stack:
    """Trainers whose networks are trained as one.

    From then on the stack, or a later one, alone trains them: a trainer's own `run` is for a network by itself. What
    they give (`weights`, `state`, `history`) stays theirs. A second that passes counts for each of M members as 1/M.
    Raises TrainingError where they cannot be stacked, or differ in more than seed and data, or are at different steps.
    """

    def __init__(self, members: Sequence[Trainer]) -> None:
        _check(members)
        self.members, self.first = list(members), members[0]
        recipe, self.device = self.first.recipe, self.first.device
        self.module = side_by_side([member.module for member in members])
        self.shards = Shards(self.module, len(self.first.shards), self.first.threads)
        parts = range(len(self.shards))
        self.shards.draw_from([[member.generators[part] for member in members] for part in parts])
        self.optimiser = Optimiser(self.module, recipe.optimiser, len(parts), self.shards.each, stacked=True)
        self.optimiser.adopt([member.optimiser for member in members])
        self.average = Average(self.module, recipe.training.ema) if recipe.training.ema else None
        if self.average is not None:
            self.average.adopt([member.average for member in members if member.average is not None])
        self.loss_sum = torch.stack([member.loss_sum for member in members])  # (M,)
        for member, loss_sum in zip(members, self.loss_sum, strict=True):
            member.loss_sum = loss_sum
        self.lost: dict[Trainer, str] = {}
        self.stopped = False

    def run(self, each_step: EachStep = lambda members: False, *, until: int | None = None) -> None:
        """Train on, to step `until` or to the end.

        Ends before when `each_step` asks to stop (`stopped`), or when a loss is no longer finite (`lost` says whose).
        """
        self.shards.train()
        torch.set_num_threads(self.shards.inner_threads)
        began = time.perf_counter()
        before = {member: member.position.seconds + member.take_preparation() for member in self.members}

        def clock(member: Trainer) -> float:
            return before[member] + (time.perf_counter() - began) / len(self.members)

        while not self.first.finished and self.first.position.step != until and not (self.stopped or self.lost):
            self._train_step()
            if self.first.check_is_due and not torch.isfinite(self.loss_sum).all().item():
                pairs = zip(self.members, torch.isfinite(self.loss_sum).tolist(), strict=True)
                self.lost = {member: str(member.diverged()) for member, finite in pairs if not finite}
            going = [member for member in self.members if member not in self.lost]
            for member in going:
                member.look(partial(clock, member))
            self.stopped = each_step(going)
        for member in self.members:
            member.position.seconds = clock(member)
        self.shards.close()
        torch.set_num_threads(self.first.threads)

    def _train_step(self) -> None:
        """Train one step of all members. Below M is how many they are, B a batch, b a part of it."""
        step = self.first.position.step
        count = len(self.members)
        indices = [member.indices(step) for member in self.members]
        pairs = list(zip(self.members, indices, strict=True))
        images = to_input(torch.cat([member.images[chosen] for member, chosen in pairs])).view(count, -1, 1, 28, 28)
        labels = torch.stack([member.labels[chosen] for member, chosen in pairs])  # (M, B)
        batches, answers = images.tensor_split(len(self.shards), 1), labels.tensor_split(len(self.shards), 1)

        def forward_and_back(number: int) -> Tensor:
            """Return the losses, (M, b), of one part of the batches; its gradients stay with its own module."""
            generators = [member.generator(number) for member in self.members]
            inputs = self.first.distorted(batches[number].flatten(0, 1), generators)  # (M * b, 1, 28, 28)
            channels = inputs.reshape(count, -1, 28, 28).transpose(0, 1)  # (b, M, 28, 28)
            # A member's one channel is in either order; here that has to be said, for all layers go on in this one.
            channels = channels.contiguous(memory_format=FORMATS[self.first.arithmetic.layout])
            with autocast(self.device, self.first.arithmetic.precision):
                logits = self.shards.modules[number](channels)  # (b, M * classes)
            rows = logits.reshape(len(channels), count, -1).transpose(0, 1).flatten(0, 1)  # (M * b, classes)
            losses = self.first.losses_of(rows, inputs, answers[number].flatten())
            # The members' mean losses, summed: no weight is in two of them, so each gets its own gradient.
            (losses.sum() / self.first.batch_size).backward()  # type: ignore[no-untyped-call]
            return losses.detach().view(count, -1)

        losses = torch.cat(self.shards.each(forward_and_back), 1)
        self.shards.merge()
        self.optimiser.step(self.first.learning_rate_multiple(self.first.progress))
        if self.average is not None:
            self.average.update(step)
        self.loss_sum += losses.mean(1)
        for member, chosen, own in zip(self.members, indices, losses, strict=True):
            member.count_step(chosen, own)


def _pace(trainer: Trainer) -> tuple[int, ...]:
    """Return what trainers in lockstep have in common."""
    steps = trainer.total_steps, trainer.steps_per_epoch, trainer.evaluation_steps
    return *steps, trainer.batch_size, trainer.pass_start(trainer.recipe.training.hard_after + 1)


def _check(members: Sequence[Trainer]) -> None:
    """Raise TrainingError where these cannot be trained as one."""
    first = members[0]
    check_stackable(first.recipe)
    tables = first.recipe.tables(exclude=UNHASHED | {"data"})
    for other in members[1:]:
        theirs = other.recipe.tables(exclude=UNHASHED | {"data"})
        for name in sorted(tables.keys() | theirs.keys()):
            if tables.get(name) != theirs.get(name):
                raise TrainingError(f"The members of a stack differ in '{name}'. Stack networks of one recipe.")
        for what, ours, others in (
            ("arithmetic", "-".join(first.arithmetic), "-".join(other.arithmetic)),
            ("device", first.device, other.device),
            ("step", first.position.step, other.position.step),
            ("number of steps", _pace(first), _pace(other)),
        ):
            if ours != others:
                raise TrainingError(
                    f"The members of a stack differ in their {what}: '{ours}' and '{others}'. Train them one by one."
                )
