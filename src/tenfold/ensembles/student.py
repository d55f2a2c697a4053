"""A student: one network that learns from the ensemble's answers, beside the same network taught alone."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.ensembles.members import Resources, trained
from tenfold.ensembles.pool import Member, Pool
from tenfold.errors import RunError
from tenfold.metrics import intervals
from tenfold.runs.run import MANIFEST, Run
from tenfold.training import recipe as recipes

if TYPE_CHECKING:
    from rich.console import Console

STUDENT, ALONE = "student", "alone"


@dataclass(frozen=True)
class Distilled:
    """A student, beside its teacher and the same network alone, on the n images that all of them held out.

    run, alone: folders. seconds: of the student's training. accuracy: of ensemble, student, alone. pairs: of these in
    that order, as `tenfold.metrics.paired.Pair` has them.
    """

    run: str
    alone: str
    seconds: float
    n: int
    accuracy: dict[str, float]
    pairs: list[dict[str, Any]]


def teach(
    recipe: str, pool: Pool, teacher: Run, members: Sequence[Member], resources: Resources, console: "Console"
) -> Distilled:
    """Return how a network of this recipe does that learnt from the ensemble `teacher`, trained now where it is not."""
    made_of = pool.settings

    def taught(folder: Path, *distil: str) -> Run:
        overrides = [*made_of.overrides, f"data.split_seed={made_of.seed}", *distil]
        threads, quiet = resources.processors, console.quiet
        return trained(made_of, recipe, folder, overrides=overrides, seed=made_of.seed, device=resources.device,
                       threads=threads, quiet=quiet)  # fmt: skip

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
    console.print(f"Wrong of {n:,} held-out images: {shown}. The student: {student.path}", markup=False)
    return Distilled(
        run=str(student.path),
        alone=str(alone.path),
        seconds=student.manifest["seconds"],
        n=n,
        accuracy={name: float(each.mean()) for name, each in right.items()},
        pairs=[pair._asdict() for pair in intervals.compare(list(right.values()))],
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
