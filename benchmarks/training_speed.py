"""Images a second in training: Tenfold's loop against the same network in a plain PyTorch loop, in one run.

    python benchmarks/training_speed.py                                  # every network among the recipes
    python benchmarks/training_speed.py --recipes two-conv,deep-20 --record results/training_speed.jsonl

The plain loop is the one that tutorials show: fp32, tensors in PyTorch's usual order, a Dataset that takes one image at
a time through PIL (distorted there, where the recipe distorts), a DataLoader, an optimiser of torch.optim, and
loss.item() after every step. Where it could be done in several ways it is given the quicker one: scaling to [0, 1] is
all the preparation there is (a network that normalises does so itself), there is no moving average of the weights, and
AdamW stands in for Muon, which torch.optim does not have for filters. It gets all threads, ours as many.

Both are measured in turn, round by round, after a warm-up, so that whatever else the machine does falls on both. The
medians over the rounds are what counts. The last line on stdout is JSON.
"""

import argparse
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from records import MISSING, Machine, Measured, by_place, dumped, newest, save  # beside this file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tenfold import data
from tenfold.data.digits import Digits
from tenfold.models import build
from tenfold.pages.page import table
from tenfold.runs import run
from tenfold.training import device as devices
from tenfold.training import recipe as recipes
from tenfold.training.loop import Trainer
from tenfold.training.recipe import AugmentSettings, Recipe

FILE = "training_speed.jsonl"  # in the folder of results
ENDLESS = 1e6  # epochs: nobody gets there, so the schedule's end is never measured
ELASTIC_SIGMA = 4.0  # pixels; the usual smoothing of Simard's displacement fields

Measure = Callable[[float], float]  # seconds -> images a second over about so long


class TrainingSpeed(Measured):
    """One recipe's images a second, round by round, ours and the plain loop's in turn, in one run on one machine."""

    recipe: str
    config_sha256: str
    machine: Machine
    parameters: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    ours: list[float] = Field(min_length=1)
    plain: list[float] = Field(min_length=1, description="PyTorch's DataLoader in the training process itself")
    plain_workers: list[float] = Field([], description="with DataLoader processes of its own; empty: not measured")
    workers: int = Field(0, ge=0, description="how many such processes")

    def ratio(self) -> float:
        """Return how many times as fast ours is as the plain loop, at the median of the rounds."""
        return statistics.median(self.ours) / statistics.median(self.plain)

    def workers_ratio(self) -> float | None:
        """Return the same against the plain loop with DataLoader processes, None where that was not measured."""
        return statistics.median(self.ours) / statistics.median(self.plain_workers) if self.plain_workers else None


def block(folder: Path) -> str:
    """Return the Markdown of the newest record of each recipe on each processor, the quickest first."""
    found = newest(folder / FILE, TrainingSpeed, lambda each: (_where(each), each.recipe))
    return by_place(found, _where, speed_table)


BLOCKS = {"training-speed": block}


def speed_table(measured: Sequence[TrainingSpeed]) -> str:
    """Return a Markdown table: images a second, medians over the rounds, ours and plain."""
    workers = max(record.workers for record in measured)
    head = ["recipe", "batch", "parameters", "ours, images/s", "plain loop, images/s", "times as fast"]
    if workers:
        head += [f"plain, {workers} loading processes", "times as fast"]
    rows = []
    for record in sorted(measured, key=lambda record: -statistics.median(record.ours)):
        row = [f"`{record.recipe}`", str(record.batch_size), f"{record.parameters:,}"]
        row += [_speed(record.ours), _speed(record.plain), f"{record.ratio():.1f}"]
        if workers:
            ratio = record.workers_ratio()
            row += [MISSING, MISSING] if ratio is None else [_speed(record.plain_workers), f"{ratio:.1f}"]
        rows.append(row)
    return table(head, rows)


def _speed(rounds: Sequence[float]) -> str:
    return f"{statistics.median(rounds):,.0f}"


def _where(record: TrainingSpeed) -> str:
    machine = record.machine
    return f"{machine.get('cpu') or 'unknown processor'}, {machine.get('threads')} threads"


class PlainDigits(Dataset[tuple[Tensor, int]]):
    """One image at a time: distorted through PIL as torchvision does, then a (1, 28, 28) tensor in [0, 1]."""

    def __init__(self, digits: Digits, settings: AugmentSettings) -> None:
        assert digits.labels is not None
        self.images, self.labels, self.settings = digits.images, digits.labels, settings

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = np.array(distorted(Image.fromarray(self.images[index]), self.settings))
        if self.settings.elastic:
            pixels = elastic(pixels, self.settings.elastic)
        if self.settings.contrast:
            pixels = contrasted(pixels, self.settings.contrast)
        return torch.from_numpy(pixels).float().div(255).unsqueeze(0), int(self.labels[index])


def distorted(image: Image.Image, settings: AugmentSettings) -> Image.Image:
    """Return the image under one random affine map."""
    if not (settings.rotation or settings.scale or settings.shear or settings.shift):
        return image
    angle = math.radians(random.uniform(-settings.rotation, settings.rotation))
    scale_x = 1 + random.uniform(-settings.scale, settings.scale)
    scale_y = 1 + random.uniform(-settings.scale, settings.scale)
    shear = random.uniform(-settings.shear, settings.shear)
    cosine, sine = math.cos(angle), math.sin(angle)
    # PIL maps the middles of pixels, so the image's centre is at 14, not at 13.5.
    a, b = scale_x * cosine, scale_x * (shear * cosine - sine)
    d, e = scale_y * sine, scale_y * (shear * sine + cosine)
    right = 14 - 14 * (a + b) + random.uniform(-settings.shift, settings.shift)
    down = 14 - 14 * (d + e) + random.uniform(-settings.shift, settings.shift)
    return image.transform((28, 28), Image.Transform.AFFINE, (a, b, right, d, e, down), Image.Resampling.BILINEAR)


def elastic(pixels: NDArray[np.uint8], strength: float) -> NDArray[np.uint8]:
    """Return the image displaced by a smooth random field of that standard deviation, pixels (Simard et al., 2003)."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    fields = [gaussian_filter(np.random.uniform(-1, 1, (28, 28)), ELASTIC_SIGMA) for _ in range(2)]
    rows, columns = np.mgrid[0:28, 0:28]
    down, right = (field / field.std() * strength for field in fields)
    return map_coordinates(pixels, [rows + down, columns + right], order=1)


def contrasted(pixels: NDArray[np.uint8], strength: float) -> NDArray[np.uint8]:
    """Return the image with more or less ink."""
    return np.clip(pixels * (1 + random.uniform(-strength, strength)), 0, 255).astype(np.uint8)


def plain(recipe: Recipe, digits: Digits, workers: int, threads: int) -> Measure:
    """Return the measure of the plain loop on that recipe's network."""
    device = devices.choose("auto")
    torch.manual_seed(0)
    model = build(recipe.model.kind, recipe.model.arguments()).to(device).train()
    optimiser = plain_optimiser(model, recipe)
    dataset = PlainDigits(digits, recipe.augment)
    loader = DataLoader(dataset, recipe.training.batch_size, shuffle=True, drop_last=True, num_workers=workers)

    def batches() -> Iterator[list[Tensor]]:
        while True:
            yield from loader

    stream = batches()

    def measure(seconds: float) -> float:
        torch.set_num_threads(threads)
        images, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            inputs, labels = next(stream)
            inputs, labels = inputs.to(device), labels.to(device)
            optimiser.zero_grad()
            loss = F.cross_entropy(model(inputs), labels, label_smoothing=recipe.training.label_smoothing)
            loss.backward()
            optimiser.step()
            if not math.isfinite(loss.item()):
                raise ArithmeticError(f"The plain loop of '{recipe.name}' diverged: its speed means nothing.")
            images += len(labels)
        return images / (time.perf_counter() - start)

    return measure


def plain_optimiser(model: torch.nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return torch.optim's counterpart of the recipe's rule, at a constant rate low enough for any network."""
    settings = recipe.optimiser
    weights, lr, decay = model.parameters(), 1e-4, settings.weight_decay
    betas = (settings.momentum, settings.beta2)
    if settings.kind == "sgd":
        return torch.optim.SGD(weights, lr, settings.momentum, weight_decay=decay, nesterov=settings.momentum > 0)
    if settings.kind == "rmsprop":
        return torch.optim.RMSprop(weights, lr, alpha=settings.beta2, weight_decay=decay)
    if settings.kind == "adam":
        return torch.optim.Adam(weights, lr, betas, weight_decay=decay)
    return torch.optim.AdamW(weights, lr, betas, weight_decay=decay)


def ours(recipe: Recipe, digits: Digits, threads: int) -> tuple[Measure, Trainer]:
    """Return the measure of Tenfold's loop on that recipe, and the trainer that it drives."""
    endless = recipe.training.model_copy(update={"epochs": ENDLESS})
    assert digits.labels is not None
    trainer = Trainer(
        recipe.model_copy(update={"training": endless}),
        digits.images,
        digits.labels,
        None,
        seed=0,
        device=devices.choose("auto"),
        threads=threads,
    )

    def measure(seconds: float) -> float:
        first, start = trainer.position.step, time.perf_counter()
        trainer.run(lambda trainer: time.perf_counter() - start >= seconds)
        if trainer.device.type != "cpu":
            torch.accelerator.synchronize(trainer.device)
        return (trainer.position.step - first) * trainer.batch_size / (time.perf_counter() - start)

    return measure, trainer


def compare(name: str, digits: Digits, rounds: int, seconds: float, workers: int) -> TrainingSpeed:
    """Return one recipe's record: every contender warmed up, then all of them in turn."""
    recipe, threads = recipes.load(name), devices.use_threads()
    measure, trainer = ours(recipe, digits, threads)
    contenders = {"ours": measure, "plain": plain(recipe, digits, 0, threads)}
    if workers:
        contenders["plain_workers"] = plain(recipe, digits, workers, threads)
    for contender in contenders.values():
        contender(seconds)
    speeds: dict[str, list[float]] = {key: [] for key in contenders}
    for _ in range(rounds):
        for key, contender in contenders.items():
            speeds[key].append(round(contender(seconds), 1))
    torch.set_num_threads(threads)
    return TrainingSpeed(
        recipe=recipe.name,
        config_sha256=recipe.config_hash(),
        commit=run.commit(),
        machine=devices.describe(trainer.device, trainer.precision),
        versions=run.versions(recipe),
        parameters=sum(parameter.numel() for parameter in trainer.module.parameters()),
        batch_size=trainer.batch_size,
        workers=workers,
        **speeds,
    )


def networks() -> list[str]:
    """Return the shipped recipes that are networks, and learn from images of a digit."""
    shipped = {name: recipes.load(name) for name in recipes.available()}
    return [name for name, recipe in shipped.items() if not (recipe.classical or recipe.reads)]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the table, and record where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", help="names or .toml files, with commas between [default: every network]")
    parser.add_argument("--data", default="mnist:train", help="what is trained on: a name or a path")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each contender in a round")
    parser.add_argument("--workers", type=int, default=2, help="loading processes of a second plain loop; 0: leave out")
    parser.add_argument("--record", type=Path, help="append to this file, such as results/training_speed.jsonl")
    options = parser.parse_args(arguments)
    names = options.recipes.split(",") if options.recipes else networks()
    digits = data.load(options.data, "train")
    measured: list[TrainingSpeed] = []
    for name in names:
        record = compare(name, digits, options.rounds, options.seconds, options.workers)
        measured.append(record)
        print(f"{name}: {record.ratio():.1f} times as fast", file=sys.stderr, flush=True)
        save(options.record, [record])
    print(speed_table(measured))
    result: dict[str, Any] = {"speeds": dumped(measured)}
    result["ratios"] = {record.recipe: record.ratio() for record in measured}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
