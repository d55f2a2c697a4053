"""An ensemble's members: trained side by side, here or on Ray, what each is worth, and a student of all of them."""

import itertools
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold import settings
from tenfold.ensembles.pool import HeldOutAnswers, Member, Pool, Settings
from tenfold.errors import RunError, TrainingError
from tenfold.jobs import Task, run_tasks
from tenfold.metrics import intervals
from tenfold.metrics.scores import log_losses
from tenfold.runs.fit import fit
from tenfold.runs.run import MANIFEST, Run
from tenfold.training import recipe as recipes

if TYPE_CHECKING:
    from tenfold.console import PlainConsole

STUDENT, ALONE = "student", "alone"


@dataclass(frozen=True)
class Resources:
    """What members are trained with: `on`, `workers` and `threads` as of `tenfold.jobs.run_tasks`, and a device."""

    on: str | None = None
    workers: int | None = None
    threads: int = 1
    device: str = "auto"

    @property
    def processors(self) -> int:
        """How many threads there are for a network that is trained alone."""
        return self.threads * (self.workers or max(1, settings.threads() // self.threads))


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


@dataclass(frozen=True)
class Distilled:
    """A student, beside its teacher and the same network alone, on the n images that all of them held out.

    run, alone: folders. seconds: of the student's training. accuracy: of ensemble, student, alone. pairs: of these in
    that order, as `tenfold.metrics.intervals.Pair` has them.
    """

    run: str
    alone: str
    seconds: float
    n: int
    accuracy: dict[str, float]
    pairs: list[dict[str, Any]]


def trained(made_of: Settings, recipe: str, folder: Path, **options: Any) -> Run:
    """Return a run of the pool's data that is finished, begun or resumed now where it was not; else TrainingError.

    options: as of `tenfold.runs.fit.fit`.
    """
    run = fit(recipe, made_of.data, folder, subset=made_of.subset, deduplicate=made_of.deduplicate, **options)
    if not run.finished:
        raise TrainingError(f"'{run.path}' ended '{run.manifest['status']}'. The same command resumes it.")
    return run


def train_member(made_of: dict[str, Any], recipe: str, folder: str, **options: Any) -> dict[str, Any]:
    """Return what training a member came to; it runs wherever `tenfold.jobs` puts it. made_of: the pool's Settings."""
    known = trained(Settings(**made_of), recipe, Path(folder), **options).manifest
    accuracy, n = known["validation_accuracy"], known["data"]["n_validation"]
    return {"seconds": known["seconds"], "n": n, "errors": round((1 - accuracy) * n) if n else 0}


def train_missing(pool: Pool, count: int, resources: Resources, console: "PlainConsole") -> dict[str, str]:
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


def teach(
    recipe: str, pool: Pool, teacher: Run, members: Sequence[Member], resources: Resources, console: "PlainConsole"
) -> Distilled:
    """Return how a network of this recipe does that learnt from the ensemble `teacher`, trained now where it is not."""
    made_of = pool.settings

    def taught(folder: Path, *distil: str) -> Run:
        overrides = [*made_of.overrides, f"data.split_seed={made_of.seed}", *distil]
        where = {"device": resources.device, "threads": resources.processors, "quiet": console.quiet}
        where |= {"seed": made_of.seed, "labels": pool.labels}
        return trained(made_of, recipe, folder, overrides=overrides, **where)

    _check_free(pool.path / STUDENT, recipe, teacher)
    student = taught(pool.path / STUDENT, f"distil.teacher={os.fspath(teacher.path.resolve())}")
    same = [member.folder for member in members if member.recipe == recipe and member.seed == made_of.seed]
    alone = Run.open(same[0]) if same else taught(pool.path / ALONE)
    right = {}
    for name, run in {"ensemble": teacher, "student": student, "alone": alone}.items():
        answers = run.validation()
        assert answers is not None
        right[name] = answers["probabilities"].argmax(1) == answers["labels"]
    n = len(right["student"])
    shown = ", ".join(f"{name} {int((~each).sum())}" for name, each in right.items())
    console.print(f"Wrong of {n:,} held-out images: {shown}. The student: {student.path}")
    return Distilled(
        run=str(student.path),
        alone=str(alone.path),
        seconds=student.manifest["seconds"],
        n=n,
        accuracy={name: float(each.mean()) for name, each in right.items()},
        pairs=[asdict(pair) for pair in intervals.compare(range(len(right)), list(right.values()))],
    )


def _check_free(folder: Path, recipe: str, teacher: Run) -> None:
    """Raise RunError where another student stands: its figures would pass for those of this ensemble's."""
    if not (folder / MANIFEST).is_file():
        return
    there = Run.open(folder)
    teacher_then = there.manifest.get("distil", {}).get("sha256")
    if teacher_then != teacher.weights_sha256() or there.recipe.name != recipes.load(recipe).name:
        raise RunError(
            f"'{folder}' is '{there.recipe.name}', taught by another ensemble or of another recipe. "
            "Rename or remove it, and run the same command."
        )
