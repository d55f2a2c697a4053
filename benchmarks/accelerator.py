"""What an accelerator makes of it: seconds to an accuracy, images a second, then as many networks as the time holds.

    python benchmarks/accelerator.py --out runs/accelerator --seconds 540 --record results/accelerator.jsonl

Each recipe of --recipes is trained once and looked at twenty times; then --champion, seed after seed, until no other
would be ready in time. All hold out the same images. OUT has each network's weights (.safetensors), its answers to the
held-out images (.npz) and its record (.json, written last): the same command goes on after what is there. The seconds
count from the start of `main`.

A whole training step is one CUDA graph: batch, distortions, network, optimiser and moving average, in channels_last and
bf16 where the device has it. A graph repeats the same kernels on the same memory, so what changes from step to step are
tensors here: the learning rate, Adam's count, the average's weight. Random numbers come from the device's own
generator, known to every graph. The host copies a batch's indices and starts the graph; it waits for the device at
looks and at every hundredth step. On a processor the same step runs without a graph, which is what the tests do; it has
not been run on an accelerator yet. The last line on stdout is JSON.
"""

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from records import MISSING, Machine, Measured, Part, by_place, dumped, read_records, save, versions  # beside this file
from torch import Tensor

from tenfold import data
from tenfold.data.digits import Digits
from tenfold.errors import RecipeError
from tenfold.files import npz, write_atomically
from tenfold.models import build
from tenfold.models.blocks import shift_offsets
from tenfold.pages.page import table
from tenfold.runs.results import DataUsed
from tenfold.runs.run import commit, save_tensors
from tenfold.training import device as devices
from tenfold.training import recipe as recipes
from tenfold.training.augment import augment
from tenfold.training.optimise import ADAM_EPSILON, AdamW, Average, Muon, Optimiser, multiple
from tenfold.training.predict import answer, to_input
from tenfold.training.recipe import Recipe
from tenfold.training.sampler import Sampler

FILE = "accelerator.jsonl"  # in the folder of results
TARGETS = ("0.99", "0.993", "0.996")
LOOKS = 20  # at the held-out images, in a training whose seconds to an accuracy are asked for
WARM_STEPS = 3  # without a graph, in which cuDNN and the allocator settle
CHECK_STEPS = 100  # between two looks at the clock, for which the device has to have done what it was asked
RESERVE = 0.03  # of the time: for writing


class Accelerated(Measured):
    """One network, trained with a step in a graph; seconds are of training, capture included and looks left out."""

    recipe: str
    config_sha256: str
    machine: Machine
    data: DataUsed
    seed: int
    parameters: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    epochs: float
    seconds: float = Field(ge=0)
    images_per_second: float = Field(ge=0)
    held_out: Part
    seconds_to: dict[str, float | None] = Field({}, description="to that share of right answers on the held-out images")


def block(folder: Path) -> str:
    """Return the Markdown of all records, a table a device, a row a recipe."""
    return by_place(read_records(folder / FILE, Accelerated), lambda each: str(each.machine["device"]), device_table)


BLOCKS = {"accelerator": block}


def device_table(found: Sequence[Accelerated]) -> str:
    """Return a Markdown table of means over a recipe's networks."""
    rows = []
    for name in dict.fromkeys(each.recipe for each in found):
        some = [each for each in found if each.recipe == name]
        reached = [[each.seconds_to[target] for each in some if each.seconds_to.get(target)] for target in TARGETS]
        rows.append(
            [f"`{name}`", str(len(some)), f"{some[-1].parameters:,}", Part.sum(each.held_out for each in some).words(),
             f"{statistics.fmean(each.seconds for each in some):.2f}",
             f"{statistics.fmean(each.images_per_second for each in some):,.0f}",
             *(f"{statistics.fmean(each):.2f}" if each else MISSING for each in reached)]
        )  # fmt: skip
    goals = [f"seconds to {100 * float(target):g}%" for target in TARGETS]
    return table(["recipe", "networks", "parameters", "held out", "seconds", "images/s", *goals], rows)


class TensorMuon(Muon):
    """Muon whose learning rate is a tensor."""

    @torch.no_grad()
    def _update(self, weight: Tensor, buffer: Tensor, lr: Any) -> None:
        direction, size = self._direction(weight, buffer)
        weight.mul_(1 - lr * self.weight_decay).sub_(direction * (lr * size))


class TensorAdamW(AdamW):
    """AdamW whose learning rate and count of steps are tensors."""

    @torch.no_grad()
    def step(self, lr: Any) -> None:
        """Update the weights at that learning rate."""
        steps, (beta1, beta2) = self.state["steps"][0].add_(1), self.betas
        mean, divisor = self._moments(lr)
        torch._foreach_div_(divisor, (1 - beta2**steps).sqrt().float())
        torch._foreach_add_(divisor, ADAM_EPSILON)
        change = torch._foreach_div(mean, divisor)
        torch._foreach_mul_(change, (lr / (1 - beta1**steps)).float())
        torch._foreach_sub_(self.weights, change)


IN_GRAPHS = {Muon: TensorMuon, AdamW: TensorAdamW}


def in_graphs(optimiser: Optimiser, device: torch.device) -> Optimiser:
    """Return the optimiser with rules that a graph can repeat; RecipeError where there is none of a kind."""
    for rule in optimiser.rules:
        if type(rule) not in IN_GRAPHS:
            raise RecipeError(f"'{type(rule).__name__}' is not written for a graph. Give a recipe with muon or adamw.")
        rule.__class__ = IN_GRAPHS[type(rule)]
        if "steps" in rule.state:
            rule.state["steps"] = [each.to(device) for each in rule.state["steps"]]
    return optimiser


class TensorAverage(Average):
    """The moving average, whose weight is a tensor."""

    @torch.no_grad()
    def update(self, step: Any) -> None:
        """Move towards the live weights, as far as `Average.update` does; step: () float32."""
        towards = (9 / (10 + step)).clamp(min=1 - self.decay)
        change = torch._foreach_sub(self.live, self.slow)
        torch._foreach_mul_(change, towards)
        torch._foreach_add_(self.slow, change)


class GraphTrainer:
    """One network, a step of which is one CUDA graph where the device has them; arguments as of `Trainer`."""

    def __init__(
        self, recipe: Recipe, images: NDArray[np.uint8], labels: NDArray[np.int64], seed: int, device: torch.device
    ) -> None:
        settings = recipe.training
        left_out = (recipe.distil, recipe.degrade, recipe.synthetic, settings.weight_bits, settings.early_stopping)
        if recipe.classical or any(left_out) or recipe.schedule.kind == "plateau":
            raise RecipeError(f"'{recipe.name}' does more than this step knows. Give a plain network's recipe.")
        self.recipe, self.device = recipe, device
        self.images, self.labels = torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)
        self.sampler = Sampler(len(images), settings, seed, device)
        self.done = 0
        self.total = max(round(settings.epochs * self.sampler.steps_per_epoch), settings.min_steps, 1)
        torch.manual_seed(seed)
        self.module = devices.lay_out(build(recipe.model.kind, recipe.model.arguments()).to(device)).train()
        self.precision = devices.precision_of(settings.precision, device)
        self.optimiser = in_graphs(Optimiser(self.module, recipe.optimiser), device)
        self.average = TensorAverage(self.module, settings.ema) if settings.ema else None
        # What a step reads and what changes from one to the next: always the same memory.
        self.indices = torch.zeros(self.sampler.batch_size, dtype=torch.int64, device=device)
        self.step = torch.zeros((), device=device)
        shares = [multiple(recipe.schedule, step / self.total) for step in range(self.total)]
        self.multiples = torch.tensor(shares, device=device)
        self.graphs: dict[tuple[bool, bool], torch.cuda.CUDAGraph] = {}  # by what kind of step it is
        self.warm: Counter[tuple[bool, bool]] = Counter()
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    def on_stream(self) -> AbstractContextManager[object]:
        """Return the context in which all is asked of the device, in this order."""
        return nullcontext() if self.stream is None else torch.cuda.stream(self.stream)

    def train_step(self) -> None:
        """Take one step; on an accelerator it is asked for, and may not be done yet."""
        progress = self.done / self.total
        kind = progress < 1 - self.recipe.augment.calm_end, progress < self.recipe.training.small_share
        with self.on_stream():
            self.indices.copy_(self.sampler.batch(self.done))
            if self.stream is None or self.warm[kind] < WARM_STEPS:
                self.repeated(*kind)
                self.warm[kind] += 1
            else:
                if kind not in self.graphs:
                    graph = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(graph, stream=self.stream):  # nothing is computed meanwhile
                        self.repeated(*kind)
                    self.graphs[kind] = graph
                self.graphs[kind].replay()
        self.done += 1

    def repeated(self, distorted: bool, small: bool) -> None:
        """Do what a graph repeats: nothing here may ask a tensor for its value, or hang on a number that changes."""
        inputs = to_input(self.images[self.indices])
        if distorted:
            inputs = augment(inputs, self.recipe.augment)
        if small:
            inputs = F.interpolate(inputs, size=self.recipe.training.small_edge, mode="bilinear", antialias=True)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        # What autocast keeps would outlive the capture.
        with torch.autocast(self.device.type, torch.bfloat16, self.precision == "bf16", cache_enabled=False):
            logits = self.module(inputs)
        smoothing = self.recipe.training.label_smoothing
        losses = F.cross_entropy(logits.float(), self.labels[self.indices], label_smoothing=smoothing, reduction="none")
        losses.mean().backward()
        self.optimiser.step(self.multiples.index_select(0, self.step.long().view(1)).view(()))
        if self.average:
            self.average.update(self.step)
        self.sampler.losses[self.indices] = losses.detach()
        self.step.add_(1)

    def answer(self, images: Tensor) -> NDArray[np.float32]:
        """Return the probabilities of images on the device, (N, 10), as the recipe answers, in fp32."""
        with self.on_stream(), self.average.in_place() if self.average else nullcontext():
            return answer(self.module, images, self.recipe.prediction.shifts).probabilities

    def weights(self) -> dict[str, Tensor]:
        """Return the weights to answer with."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        tensors = self.module.state_dict()
        return self.average.weights(tensors) if self.average else tensors


class Task(NamedTuple):
    """What all networks share."""

    data: DataUsed
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    device: torch.device
    deadline: float  # of time.monotonic
    out: Path
    record: Path | None


def network(recipe: Recipe, seed: int, looks: int, task: Task) -> Accelerated | None:
    """Return the record of one network, trained now or before; None where it would not be ready in time."""
    place = task.out / f"{recipe.name}-seed{seed}"
    if (known := place.with_suffix(".json")).exists():
        record = Accelerated.model_validate_json(known.read_text())
        if record.config_sha256 != recipe.config_hash():
            raise RecipeError(f"'{known}' is of another recipe than '{recipe.name}' is now. Give another --out.")
        return record
    kept, held_out = recipe.data.hold_out(Digits.of(task.images, task.labels), 0)  # the same for every seed
    if not len(held_out):
        raise RecipeError(f"'{recipe.name}' holds nothing out. Set data.validation above 0.")
    shown, truth = torch.from_numpy(task.images[held_out]).to(task.device), task.labels[held_out]
    began, looking, started = time.monotonic(), 0.0, (0, 0.0)
    trainer = GraphTrainer(recipe, task.images[kept], task.labels[kept], seed, task.device)
    # So many steps take no less than answering in the end: with every shift, but without a way back.
    shifts, batch_size = len(shift_offsets(recipe.prediction.shifts)), trainer.sampler.batch_size
    whole = trainer.total + len(held_out) * shifts / batch_size
    seconds_to: dict[str, float | None] = dict.fromkeys(TARGETS) if looks > 1 else {}
    while trainer.done < trainer.total:
        trainer.train_step()
        look = trainer.done * looks // trainer.total > (trainer.done - 1) * looks // trainer.total
        if not look and task.device.type != "cpu" and trainer.done % CHECK_STEPS:
            continue
        if task.device.type != "cpu":
            torch.accelerator.synchronize(task.device)
        now = time.monotonic()
        spent = now - began - looking
        started = started if started[0] else (trainer.done, spent)  # from when on the pace counts
        pace = (spent - started[1]) / max(trainer.done - started[0], 1)
        if now + pace * (whole - trainer.done) > task.deadline:
            return None
        if look:
            probabilities = trainer.answer(shown)
            right = float((probabilities.argmax(1) == truth).mean())
            reached = {each for each in seconds_to if seconds_to[each] is None and right >= float(each)}
            seconds_to |= dict.fromkeys(reached, round(spent, 3))
            looking += time.monotonic() - now
    record = Accelerated(
        commit=commit(),
        versions=versions("numpy", "torch"),
        recipe=recipe.name,
        config_sha256=recipe.config_hash(),
        machine=devices.describe(task.device, trainer.precision),
        data=task.data,
        seed=seed,
        parameters=sum(parameter.numel() for parameter in trainer.module.parameters()),
        batch_size=batch_size,
        epochs=trainer.done / trainer.sampler.steps_per_epoch,
        seconds=round(spent, 3),
        images_per_second=round(trainer.done * batch_size / max(spent, 1e-9), 1),
        held_out=Part.of(probabilities.argmax(1) != truth),
        seconds_to=seconds_to,
    )
    save_tensors(place.with_suffix(".safetensors"), trainer.weights())
    arrays = {"indices": held_out, "labels": truth, "probabilities": probabilities}
    write_atomically(place.with_suffix(".npz"), npz(arrays))
    write_atomically(known, record.model_dump_json().encode())
    save(task.record, [record])
    print(f"{place.name}: {spent:.2f} s, {record.held_out.words()} of the held-out images", file=sys.stderr, flush=True)
    return record


def main(words: Sequence[str] | None = None) -> None:
    """Train, print the table, and record where asked."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", default="instant,fast", help="trained once each, for seconds to an accuracy")
    parser.add_argument("--champion", default="champion", help="a recipe, trained as often as fits; '' for none")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the champion's recipe")
    parser.add_argument("--networks", type=int, default=10_000, help="of the champion, at most")
    parser.add_argument("--seconds", type=float, default=540)
    parser.add_argument("--data", default="mnist", help="of whose training part some images are held out")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, required=True, help="the folder for weights and answers")
    parser.add_argument("--record", type=Path, help="append to this file, such as results/accelerator.jsonl")
    options = parser.parse_args(words)
    tasks = [(recipes.load(name), 0, LOOKS) for name in filter(None, options.recipes.split(","))]
    if options.champion:
        champion = recipes.load(options.champion, options.set)
        tasks += [(champion, seed, 1) for seed in range(options.networks)]
    device = devices.choose(options.device)
    devices.use_threads(1)  # the host computes next to nothing
    torch.backends.cudnn.benchmark = True  # sizes never change, and what is chosen is chosen before the capture
    digits = data.load(f"{options.data}:train", "train")
    assert digits.labels is not None
    used = DataUsed(spec=f"{options.data}:train", sha256=digits.content_hash(), n=len(digits))
    options.out.mkdir(parents=True, exist_ok=True)
    deadline = began + options.seconds * (1 - RESERVE)
    task = Task(used, digits.images, digits.labels, device, deadline, options.out, options.record)
    found = []
    for recipe, seed, looks in tasks:
        if (record := network(recipe, seed, looks, task)) is not None:
            found.append(record)
        elif looks == 1:
            break
    print(device_table(found))
    print(json.dumps({"results": dumped(found)}))


if __name__ == "__main__":
    main()
