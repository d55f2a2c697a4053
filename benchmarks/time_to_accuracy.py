"""Seconds to a test accuracy on MNIST: the usual tutorial network against Tenfold's recipes, in one run on one machine.

    python benchmarks/time_to_accuracy.py                                   # tutorial (2 epochs), instant, fast
    python benchmarks/time_to_accuracy.py --systems strong --seeds 5        # an hour or more on two cores
    python benchmarks/time_to_accuracy.py --tutorial-epochs 14 --systems tutorial --seeds 1

The clock of a recipe is the whole of its training, from data in memory to the last weights: choosing the precision,
validation and checkpoints inside, the score on the test set outside. The tutorial's clock is its training loop alone.
Its seconds are those of an epoch times 14, after which its accuracy is 99.17% (the README of the PyTorch example that
it follows prints about that; --tutorial-epochs 14 measures it here). Every recipe runs as users run it, in a process of
its own, whose whole wall-clock time is "command seconds".

One system's seconds to an accuracy are its mean seconds when its mean accuracy over the seeds reaches it. A recipe is
measured at its own length and at the shorter ones in LADDER, each trained from the start with its own schedule.

Writes results/*.jsonl with --record. The last line on stdout is JSON.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from add_runs import newest_look, result_of  # beside this file
from numpy.typing import NDArray
from records import MISSING, NOTHING, dumped, save
from systems import SystemResult, SystemTrial, errors, interval, label, parameters, processor, read, score
from torch import Tensor, nn

from tenfold import data
from tenfold.pages.page import seconds, table
from tenfold.runs.results import DataUsed
from tenfold.runs.run import Run
from tenfold.runs.scoring import score_system
from tenfold.runs.systems import open_system
from tenfold.training import device as devices
from tenfold.training.recipe import load

FILE = "mnist.jsonl"  # in the folder of results
TUTORIAL = "tutorial"  # the system that others' speed is measured against
RATIO_TARGET = "0.9917"  # its accuracy after 14 epochs
TARGETS = ("0.99", "0.9917", "0.995", "0.996", "0.997")
TUTORIAL_EPOCHS = 14
TUTORIAL_ACCURACY = 0.9917
LADDER: dict[str, list[list[str]]] = {
    "instant": [[]],
    "quick": [["training.epochs=1.5"]],  # of `fast`, to fill the gap between the two
    "fast": [[]],
    "strong": [[]],
}
SHORT = ("instant", "fast", "strong", TUTORIAL)  # in the README
BASE = {"quick": "fast"}


def block(folder: Path) -> str:
    """Return the Markdown of the newest result of each recipe (and note) on each machine and test set."""
    return speed(read(folder / FILE))


def short_block(folder: Path) -> str:
    """Return the Markdown of what the README shows: the shipped recipes and the tutorial's network, in one table."""
    found = read(folder / FILE)
    shown = {
        result.recipe: result
        for result in found
        if result.recipe in SHORT and (not result.note or result.recipe == TUTORIAL)
    }
    rows = [
        [
            "the tutorials' network (14 epochs; accuracy after 2)" if result.recipe == TUTORIAL else label(result),
            score(result),
            errors(result),
            seconds(result.command_seconds() or result.seconds()),
        ]
        for result in sorted(shown.values(), key=lambda result: result.seconds())
    ]
    return table(["recipe", "MNIST test accuracy, %", "errors", "seconds"], rows) if rows else NOTHING


BLOCKS = {"speed": block, "short": short_block}


def speed(found: Sequence[SystemResult]) -> str:
    """Return for each machine and test set the scores, then the seconds to given accuracies, the quickest first."""
    kept = {(_group(result), result.recipe, result.note): result for result in found}
    groups: dict[str, list[SystemResult]] = {}
    for result in sorted(kept.values(), key=lambda result: result.seconds()):
        groups.setdefault(_group(result), []).append(result)
    blocks = []
    for title, members in sorted(groups.items()):
        blocks.append(f"**{title}**\n\n{_score_table(members)}")
        if any(member.seconds_to for member in members):
            blocks.append(_speed_table(members))
    return "\n\n".join(blocks) or NOTHING


def _group(result: SystemResult) -> str:
    """Return what results share that stand in one table: the data and the processor."""
    return f"{result.test_data.spec} on {processor(result)}"


def _score_table(found: Sequence[SystemResult]) -> str:
    rows = [
        [
            label(result),
            score(result),
            interval(result),
            errors(result),
            str(len(result.trials)),
            seconds(result.seconds()),
            seconds(result.command_seconds()),
            parameters(result),
        ]
        for result in found
    ]
    head = ["recipe", "test accuracy, %", "95% interval", "errors", "seeds", "training, s", "whole command, s"]
    return table([*head, "parameters"], rows)


def _speed_table(found: Sequence[SystemResult]) -> str:
    targets = sorted({target for result in found for target in result.seconds_to}, key=float)
    slowest = next((result.seconds_to.get(RATIO_TARGET) for result in found if result.recipe == TUTORIAL), None)
    head = ["seconds to a mean of", *(f"{100 * float(target):g}%" for target in targets)]
    if slowest:
        head.append(f"times faster to {100 * float(RATIO_TARGET):g}%")
    rows = []
    for result in found:
        if not result.seconds_to:
            continue
        row = [label(result), *(seconds(result.seconds_to.get(target)) for target in targets)]
        if slowest:
            own = result.seconds_to.get(RATIO_TARGET)
            row.append(f"{slowest / own:.3g}" if own else MISSING)
        rows.append(row)
    return table(head, rows)


class TutorialNet(nn.Module):
    """Conv 32 and conv 64, 3x3 without padding, max pool, dropout .25, dense 128, dropout .5, dense 10."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
        self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
        self.dense1, self.dense2 = nn.Linear(9216, 128), nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return log-probabilities, (B, 10)."""
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = self.dropout1(F.max_pool2d(x, 2)).flatten(1)
        return F.log_softmax(self.dense2(self.dropout2(F.relu(self.dense1(x)))), dim=1)


def tutorial(seed: int, epochs: int, spec: str) -> dict[str, Any]:
    """Return seconds an epoch and test accuracy after each, of the network as tutorials train it: fp32, batch 64."""
    torch.manual_seed(seed)
    device = devices.choose("auto")
    train, test = data.load(f"{spec}:train", "train"), data.load(f"{spec}:test", "evaluate")
    assert train.labels is not None
    assert test.labels is not None

    def normalise(images: NDArray[np.uint8]) -> Tensor:
        return ((torch.from_numpy(images).float() / 255 - 0.1307) / 0.3081).unsqueeze(1).to(device)

    inputs, labels = normalise(train.images), torch.from_numpy(train.labels).to(device)
    held_out, truth = normalise(test.images), torch.from_numpy(test.labels).to(device)
    model = TutorialNet().to(device)
    optimiser = torch.optim.Adadelta(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 1, gamma=0.7)
    taken, accuracies = [], []
    for _ in range(epochs):
        start = time.perf_counter()
        model.train()
        for indices in torch.randperm(len(inputs), device=device).split(64):
            optimiser.zero_grad()
            F.nll_loss(model(inputs[indices]), labels[indices]).backward()
            optimiser.step()
        schedule.step()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        taken.append(time.perf_counter() - start)
        model.eval()
        with torch.no_grad():
            answers = torch.cat([model(batch).argmax(1) for batch in held_out.split(1000)])
        accuracies.append((answers == truth).float().mean().item())
        say(f"tutorial seed {seed}: epoch of {taken[-1]:.1f} s, {accuracies[-1]:.2%}")
    return {"seed": seed, "seconds": taken, "accuracies": accuracies}


def measure_tutorial(seeds: int, epochs: int, spec: str) -> SystemResult:
    """Return the tutorial's record: 14 epochs' seconds, and its published accuracy unless 14 epochs were run."""
    runs = [tutorial(seed, epochs, spec) for seed in range(seeds)]
    train, test = data.load(f"{spec}:train", "train"), data.load(f"{spec}:test", "evaluate")
    trials = [
        SystemTrial(
            seed=run["seed"],
            accuracy=run["accuracies"][-1],
            seconds=statistics.median(run["seconds"]) * (TUTORIAL_EPOCHS if epochs < TUTORIAL_EPOCHS else epochs),
        )
        for run in runs
    ]
    whole = epochs >= TUTORIAL_EPOCHS or spec != "mnist"  # what is known is known of MNIST alone
    mean = statistics.fmean(trial.accuracy for trial in trials) if whole else TUTORIAL_ACCURACY
    mean_seconds = statistics.fmean(trial.seconds for trial in trials)
    note = f"seconds of {max(epochs, TUTORIAL_EPOCHS)} epochs, accuracy after {epochs}"
    return SystemResult(
        recipe=TUTORIAL,
        config_sha256="",
        commit=None,
        machine=devices.describe(devices.choose("auto")) | {"precision": "fp32", "layout": "contiguous"},
        versions={"torch": torch.__version__},
        train_data=DataUsed(spec=f"{spec}:train", sha256=train.content_hash(), n=len(train)),
        test_data=DataUsed(spec=f"{spec}:test", sha256=test.content_hash(), n=len(test)),
        parameters=sum(p.numel() for p in TutorialNet().parameters()),
        epochs=epochs,
        trials=trials,
        seconds_to={target: mean_seconds if mean >= float(target) else None for target in TARGETS},
        note=note,
    )


def measure(recipe: str, overrides: list[str], seeds: int, spec: str, folder: Path) -> SystemResult:
    """Return one recipe's record over the seeds; runs that an earlier call finished in `folder` stay as they are."""
    runs, commands = [], {}
    for seed in range(seeds):
        out = folder / f"{'-'.join([recipe, *overrides])}-seed{seed}"
        timing = out / "command_seconds"
        if not timing.exists():
            shutil.rmtree(out, ignore_errors=True)
            command = [sys.executable, "-m", "tenfold", "train", recipe, "--data", spec, "--out", str(out)]
            command += ["--seed", str(seed), "--quiet", *(word for o in overrides for word in ("--set", o))]
            start = time.perf_counter()
            subprocess.run(command, check=True)
            timing.write_text(str(time.perf_counter() - start))
        run = Run.open(out)
        if not (out / "evaluations.jsonl").exists():
            score_system(open_system(out), data.load(f"{spec}:test", "evaluate"), f"{spec}:test")
        commands[seed] = float(timing.read_text())
        runs.append(run)
        accuracy = newest_look(run)["accuracy"]
        say(f"{recipe} {' '.join(overrides)} seed {seed}: {run.manifest['seconds']:.2f} s, {accuracy:.2%}")
    result = result_of(runs, ", ".join(overrides))
    trials = [trial.model_copy(update={"command_seconds": commands[trial.seed]}) for trial in result.trials]
    mean, mean_seconds = result.accuracy()[0], result.seconds()
    reached = {target: mean_seconds if mean >= float(target) else None for target in TARGETS}
    return result.model_copy(update={"trials": trials, "seconds_to": reached})


def main() -> None:
    """Measure, print the tables, and record where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--systems", default="tutorial,instant,quick,fast", help=f"of tutorial, {', '.join(LADDER)}")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tutorial-epochs", type=int, default=2)
    parser.add_argument("--data", default="mnist", help="a name with a training and a test part: mnist or uci")
    parser.add_argument("--runs", type=Path, help="keep the runs here, and resume where an earlier call stopped")
    parser.add_argument("--record", type=Path, help="append to this file, such as results/mnist.jsonl")
    options = parser.parse_args()
    systems = options.systems.split(",")
    unknown = [name for name in systems if name not in LADDER and name != "tutorial"]
    if unknown:
        parser.error(f"'{unknown[0]}' is no system. Give some of tutorial, {', '.join(LADDER)}.")
    devices.use_threads()
    measured = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.runs or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in systems:
            if name == "tutorial":
                measured.append(measure_tutorial(min(options.seeds, 2), options.tutorial_epochs, options.data))
                continue
            for overrides in LADDER[name]:
                recipe = BASE.get(name, name)
                load(recipe, overrides)  # a misspelt override shall fail now, not in an hour
                measured.append(measure(recipe, overrides, options.seeds, options.data, folder))
    save(options.record, measured)
    print(speed(measured))
    print(json.dumps({"results": dumped(measured)}))


def say(line: str) -> None:
    """Print a line of progress on stderr."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
