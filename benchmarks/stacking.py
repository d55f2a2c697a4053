"""Seconds a training step of networks in a stack, against the same networks one after the other.

    python benchmarks/stacking.py                                             # the default recipe, here
    python benchmarks/stacking.py --device cuda --recipe fast --stacks 1,2,4,8,16,32

Two tables, in seconds a member and step. The first is whole steps of `tenfold.training`: M ordinary trainers in turn,
and a stack of M. The second is the forward and backward pass alone, by three programs: the members in a loop, side by
side as channels (which is what a stack runs), and torch.func.vmap over a functional call.

All programs are measured in turn, round by round, after a warm-up; medians over the rounds. The images are random: how
long a step takes does not depend on them. The last line on stdout is JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tenfold.models import build
from tenfold.models.side_by_side import side_by_side
from tenfold.training import device as devices
from tenfold.training import recipe as recipes
from tenfold.training.loop import Trainer
from tenfold.training.recipe import Recipe
from tenfold.training.stack import Stack

IMAGES, WARM_UP = 4096, 2

Program = Callable[[], None]


def whole_steps(recipe: Recipe, members: int, device: torch.device, threads: int, shards: int) -> dict[str, Program]:
    """Return what trains one step of every member, as ordinary trainers and as a stack."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (IMAGES, 28, 28), np.uint8)
    labels = random.integers(0, 10, IMAGES)
    tables = recipe.tables()
    tables["training"] |= {"epochs": 1e6, "shards": shards}  # endless: the schedule's end is never measured
    endless = recipes.parse(tables, "the benchmark")

    def trainers() -> list[Trainer]:
        made: list[Trainer] = []
        for seed in range(members):
            like = made[0] if made else None
            made.append(Trainer(endless, images, labels, None, seed=seed, device=device, threads=threads, like=like))
            made[-1].shards.train()
        return made

    alone, stack = trainers(), Stack(trainers())
    stack.shards.train()

    def one_by_one() -> None:
        for trainer in alone:
            trainer._train_step()

    return {"alone": one_by_one, "stack": stack._train_step}


def passes(recipe: Recipe, members: int, device: torch.device, precision: devices.Precision) -> dict[str, Program]:
    """Return what runs all members forward and back, by three programs."""
    inputs = torch.rand(members, recipe.training.batch_size, 1, 28, 28, device=device)
    labels = torch.randint(0, 10, inputs.shape[:2], device=device)

    def modules() -> list[nn.Module]:
        made = (build(recipe.model.kind, recipe.model.arguments()).to(device).train() for _ in range(members))
        return [devices.lay_out(module, "channels_last") for module in made]

    def back(logits: Tensor, labels: Tensor) -> None:
        F.cross_entropy(logits.float(), labels, reduction="sum").backward()  # type: ignore[no-untyped-call]

    single = modules()

    def loop() -> None:
        for module, batch, answers in zip(single, inputs, labels, strict=True):
            with devices.autocast(device, precision):
                logits = module(batch)
            back(logits, answers)

    together = side_by_side(modules())
    channels = inputs.squeeze(2).transpose(0, 1).contiguous(memory_format=torch.channels_last)

    def grouped() -> None:
        with devices.autocast(device, precision):
            logits = together(channels)
        back(logits.view(len(channels), members, -1).transpose(1, 2), labels.T)

    stacked = side_by_side(modules())  # for its tensors, which have the members' names
    parameters, buffers, network = dict(stacked.named_parameters()), dict(stacked.named_buffers()), modules()[0]

    def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], batch: Tensor) -> Tensor:
        logits: Tensor = torch.func.functional_call(network, (parameters, buffers), (batch,))
        return logits

    def vmap() -> None:
        with devices.autocast(device, precision):
            logits = torch.func.vmap(one)(parameters, buffers, inputs)
        back(logits.flatten(0, 1), labels.flatten())

    return {"loop": loop, "side by side": grouped, "vmap": vmap}


def measure(programs: dict[str, Program], steps: int, members: int, device: torch.device) -> dict[str, float]:
    """Return each program's seconds a member and step: the median over `steps` rounds in turn."""
    timings: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(WARM_UP + steps):
        for name, program in programs.items():
            devices.synchronise(device)
            start = time.perf_counter()
            program()
            devices.synchronise(device)
            if number >= WARM_UP:
                timings[name].append((time.perf_counter() - start) / members)
    return {name: statistics.median(seconds) for name, seconds in timings.items()}


def show(title: str, rows: list[dict[str, Any]], names: list[str]) -> None:
    """Print a table of milliseconds."""
    print(f"{title}, ms a member and step")
    print(f"{'members':>8}" + "".join(f"{name:>14}" for name in names))
    for row in rows:
        print(f"{row['members']:>8}" + "".join(f"{1000 * row[name]:>14.2f}" for name in names))


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print, as the command line `words` (default: this process's own) asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--stacks", default="1,2,4,8", help="numbers of members")
    parser.add_argument("--steps", type=int, default=10, help="rounds that are measured")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shards", type=int, default=1, help="parts of a batch, on a processor")
    arguments = parser.parse_args(words)
    device, threads = devices.choose(arguments.device), devices.use_threads(arguments.threads)
    recipe = recipes.load(arguments.recipe, [f"training.precision={arguments.precision}"])
    steps, forward_and_back = [], []
    for members in map(int, arguments.stacks.split(",")):
        programs = whole_steps(recipe, members, device, threads, arguments.shards)
        steps.append({"members": members} | measure(programs, arguments.steps, members, device))
        programs = passes(recipe, members, device, arguments.precision)
        forward_and_back.append({"members": members} | measure(programs, arguments.steps, members, device))
    show("Whole steps", steps, ["alone", "stack"])
    show("Forward and backward pass", forward_and_back, ["loop", "side by side", "vmap"])
    arithmetic = devices.Arithmetic(arguments.precision, "channels_last")
    machine = devices.describe(device, arithmetic)
    print(json.dumps({"recipe": recipe.name, "machine": machine, "steps": steps, "passes": forward_and_back}))


if __name__ == "__main__":
    main()
