"""A question in, its answer's numbers out: recipes that differ in one thing are trained, several seeds of each.

Networks this small use one core well and two badly, so several are trained side by side, each on one thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markdown import Markdown

from tenfold import options
from tenfold.console import PlainConsole
from tenfold.data.names import anywhere
from tenfold.errors import DataError, RecipeError, TrainingError
from tenfold.jobs import Place, Task, check_place, run_tasks
from tenfold.models import build
from tenfold.pages.ablation import VariantRow, rows, study_table
from tenfold.runs import ablation as ablations
from tenfold.runs import results
from tenfold.runs.ablation import Ablation
from tenfold.runs.scoring import ScoredData

NAMES = typer.Argument(metavar="NAME", help="Shipped ablations' names, or .toml files.")
SEEDS = typer.Option("--seeds", metavar="N", min=1, help="Train each variant with so many seeds.")
OUT = typer.Option("--out", metavar="FOLDER", help="Keep what is trained here, and resume from it.")
WORKERS = typer.Option("--workers", metavar="W", min=1, help="So many trainings side by side [default: one a core].")


@dataclass(frozen=True)
class Study:
    """What one ablation gave: a row a variant, all on the same held-out images, compared with that of `baseline`."""

    study: str
    question: str
    baseline: str
    held_out: ScoredData
    rows: list[VariantRow]


@dataclass(frozen=True)
class Ablated:
    """What the ablations gave, in the order that they were named in."""

    studies: list[Study]


def ablate(
    names: Annotated[str | Sequence[str], NAMES],
    data: Annotated[str, options.DATA] = "mnist",
    *,
    seeds: Annotated[int, SEEDS] = 3,
    subset: Annotated[int | None, options.SUBSET] = None,
    out: Annotated[str | Path, OUT] = "runs/ablate",
    workers: Annotated[int | None, WORKERS] = None,
    on: Annotated[str | None, options.ON] = None,
    record: Annotated[str | Path | None, options.RECORD] = None,
    quiet: Annotated[bool, options.QUIET] = False,
) -> Ablated:
    """Return what the ablations gave; what an earlier call finished is not trained again.

    seeds: from 0 on. out: has one small JSON file a training. on: a cluster's machines have to see `out` and the data.
    record: a line a variant. quiet: otherwise progress and a table an ablation go to stderr.
    Raises RecipeError, DataError, ClusterError, TrainingError, and RunError for a file in `out` that is none of ours.
    """
    console = PlainConsole(quiet=quiet)
    place = Place.parse(on)
    check_place(place)
    given = [names] if isinstance(names, str) else names
    studies = [ablations.load(name) for name in given]
    options.check_target(record, [data], "train", given, "--record")
    digits = ablations.parts(data, subset)
    _check(studies, len(digits.training), data)
    device = "auto" if place.kind == "local" else "cpu"
    common = {"data": anywhere(data), "subset": subset, "sha256": digits.sha256, "device": device}
    tasks: dict[Path, Task] = {}  # variants that ask for the same training share its file
    files: dict[str, list[list[Path]]] = {study.name: [] for study in studies}
    for study in studies:
        for variant in study.variants:
            recipe, images = study.recipe_of(variant), study.images_of(variant)
            own = [Path(out) / ablations.file_name(recipe, images, digits.sha256, seed) for seed in range(seeds)]
            files[study.name].append(own)
            for seed, file in enumerate(own):
                arguments = {"recipe": recipe.tables(), "images": images, "seed": seed, "file": str(file.absolute())}
                title = f"{study.name}, {variant.label}, seed {seed}"
                tasks.setdefault(file, Task(title, f"{ablations.__name__}:train", arguments | common))
    _train({file: task for file, task in tasks.items() if not file.exists()}, on, workers, console)
    answers = []
    for study in studies:
        measured = ablations.results(study, files[study.name], digits, data)
        console.print(f"\n{study.name}: {study.question}", style="bold")
        console.print(Markdown(study_table(measured, study.baseline)))
        if record is not None:
            for result in measured:
                results.append(Path(record), result)
        held_out = ScoredData(**measured[0].test_data.model_dump())
        answers.append(Study(study.name, study.question, study.baseline, held_out, rows(measured, study.baseline)))
    return Ablated(answers)


def listing() -> list[tuple[str, str]]:
    """Return the name and the question of each shipped ablation."""
    return [(name, ablations.load(name).question) for name in ablations.available()]


def _check(studies: Sequence[Ablation], there: int, spec: str) -> None:
    """Raise what is wrong with a study, a network or the data now, before an hour of training comes to it."""
    names = [study.name for study in studies]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RecipeError(f"Two ablations are called '{twice}'. Give each once, or rename one of the files.")
    for study in studies:
        for variant in study.variants:
            recipe = study.recipe_of(variant)
            build(recipe.model.kind, recipe.model.arguments())
            wanted = study.images_of(variant) or 1
            if wanted > there:
                what = f"'{study.name}, {variant.label}' asks for '{wanted:,}' images,"
                raise DataError(f"{what} and '{spec}' leaves {there:,} to train on. Give a larger set.")


def _train(missing: dict[Path, Task], on: str | None, workers: int | None, console: PlainConsole) -> None:
    """Train what has no file yet, side by side. TrainingError says which training failed."""
    if not missing:
        return
    out = next(iter(missing)).parent
    out.mkdir(parents=True, exist_ok=True)
    numbers = count(1)

    def done(task: Task, result: dict[str, Any]) -> None:
        trained = f"{result['accuracy']:.2%} in {result['seconds']:.1f} s"
        console.print(f"{next(numbers)} of {len(missing)}: {task.key}: {trained}")

    def failed(task: Task, reason: str) -> None:
        raise TrainingError(f"{task.key}: {reason}")

    try:
        with console.working("Training variants", len(missing)):
            run_tasks(missing.values(), on=on, workers=workers, threads=1, done=done, failed=failed, shared=[out])
    except KeyboardInterrupt:
        console.print("What is trained is kept: the same command resumes from there.")
        raise
