"""An ensemble's members: trained side by side, here or on Ray, and what each is worth."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.console import PlainConsole
from tenfold.ensembles.pool import HeldOutAnswers, Member, Pool, Settings
from tenfold.errors import TrainingError
from tenfold.jobs import Task, run_tasks
from tenfold.metrics.scores import log_losses
from tenfold.runs.fit import fit
from tenfold.runs.run import Run


@dataclass(frozen=True)
class Resources:
    """What members are trained with: `on`, `workers` and `threads` as of `tenfold.jobs.run_tasks`, and a device."""

    on: str | None = None
    workers: int | None = None
    threads: int = 1
    device: str = "auto"


@dataclass(frozen=True)
class MemberRow:
    """A member: what it is, how it did on the n images that it held out, if any, and its share in the ensemble."""

    name: str
    recipe: str
    seed: int
    fold: int | None
    seconds: float
    n: int
    errors: int
    nll: float | None
    weight: float


def train_member(made_of: dict[str, Any], recipe: str, folder: str, **options: Any) -> dict[str, Any]:
    """Return what training a member, or resuming it, came to; it runs wherever `tenfold.jobs` puts it.

    made_of: the pool's Settings. options: as of `tenfold.runs.fit.fit`. TrainingError where it did not finish.
    """
    pool = Settings(**made_of)
    run = fit(recipe, pool.data, Path(folder), subset=pool.subset, deduplicate=pool.deduplicate, **options)
    known = run.manifest
    if not run.finished:
        raise TrainingError(f"'{run.path}' ended '{known['status']}'. The same command resumes it.")
    accuracy, n = known["validation_accuracy"], known["data"]["n_validation"]
    return {"seconds": known["seconds"], "n": n, "errors": round((1 - accuracy) * n) if n else 0}


def train_missing(pool: Pool, count: int, resources: Resources, console: PlainConsole) -> dict[str, str]:
    """Train what is not trained yet of the first `count` members; return the names of those that could not be, and why.

    TrainingError where the pool then has no member at all.
    """
    lost: dict[str, str] = {}
    began = time.monotonic()
    missing = [member for member in map(pool.member, range(count)) if not member.finished()]
    numbers = itertools.count(count - len(missing) + 1)
    if len(missing) < count:
        console.print(f"{count - len(missing)} of {count} members are trained already")

    def done(task: Task, result: dict[str, Any]) -> None:
        wrong = f"{result['errors']} of {result['n']:,} held-out images wrong after " if result["n"] else ""
        console.print(
            f"[{next(numbers)} of {count}] {task.key}: {wrong}{result['seconds']:.1f} s of training; "
            f"{time.monotonic() - began:.0f} s so far",
        )

    def failed(task: Task, reason: str) -> None:
        lost[task.key] = reason
        console.print(f"{task.key} could not be trained: {reason}", style="yellow")

    with console.working("Training members", count) as work:
        work.done = count - len(missing)
        run_tasks(
            (_task(pool, member, resources) for member in missing),
            on=resources.on,
            workers=resources.workers,
            threads=resources.threads,
            done=done,
            failed=failed,
            shared=[pool.path],
        )
    if len(lost) == count:
        raise TrainingError("No member of '{}' could be trained; {}: {}".format(pool.path, *next(iter(lost.items()))))
    return lost


def _task(pool: Pool, member: Member, resources: Resources) -> Task:
    """Return the task of training a member, named after it."""
    arguments = {
        "made_of": asdict(pool.settings),
        "recipe": str(Path(member.recipe).resolve()) if Path(member.recipe).is_file() else member.recipe,
        "folder": str(member.folder.resolve()),
        "overrides": list(member.overrides),
        "seed": member.seed,
        "device": resources.device,
        "threads": resources.threads,
        "labels": pool.labels,
    }
    return Task(member.name, "tenfold.ensembles.members:train_member", arguments)


def rows_of(
    members: Sequence[Member], runs: Sequence[Run], held: HeldOutAnswers, weights: NDArray[np.float64]
) -> list[MemberRow]:
    """Return a row a member; weights: (M,)."""
    rows = []
    for index, (member, run) in enumerate(zip(members, runs, strict=True)):
        known = ~np.isnan(held.probabilities[index, :, 0])
        answers, labels = held.probabilities[index, known], held.labels[known]
        rows.append(
            MemberRow(
                name=member.name,
                recipe=run.recipe.name,
                seed=member.seed,
                fold=run.recipe.data.fold,
                seconds=run.manifest["seconds"],
                n=int(known.sum()),
                errors=int((answers.argmax(1) != labels).sum()),
                nll=float(log_losses(labels, answers).mean()) if len(labels) else None,
                weight=float(weights[index]),
            )
        )
    return rows
