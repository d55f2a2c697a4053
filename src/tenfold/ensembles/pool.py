"""A pool: the folder in which an ensemble's members are trained, and that in the end is a run itself.

    pool.json            what the members are made of; a pool is resumed with the same settings alone
    labels.csv           decisions on labels, where there were any
    members/007-fast     a run each, of its own seed, and of its own fold where there are folds
    recipe.toml, ...     once members are chosen: the ensemble, a run like any other (`assemble`)

All members hold out the same images, or a fold each, so that every choice among them is made on answers to images
that the answering member was not trained on.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tenfold.ensembles.selection import Choice
from tenfold.errors import RecipeError, RunError, unwritten
from tenfold.files import MOST_TEXT, parse_json, read_bytes, refuse_odd, write_atomically
from tenfold.metrics.scores import fit_temperature, most_confident_mistakes, sharpen
from tenfold.runs.begin import check
from tenfold.runs.fit import GALLERY
from tenfold.runs.run import LABELS, Run, commit
from tenfold.training import recipe as recipes

POOL, MEMBERS = "pool.json", "members"


@dataclass(frozen=True)
class Settings:
    """What decides what the members are: recipes in turn, seeds from `seed` on, a fold each or one shared split."""

    recipes: tuple[str, ...]
    data: tuple[str, ...]
    seed: int = 0
    subset: int | None = None
    deduplicate: bool = False
    folds: int | None = None
    overrides: tuple[str, ...] = ()
    labels: str | None = None  # SHA-256 of the decisions on labels, which the pool keeps as labels.csv


@dataclass(frozen=True)
class Begun(Settings):
    """pool.json: the settings, and what each recipe's members compute in."""

    precisions: tuple[Literal["fp32", "bf16"], ...] = ()


@dataclass(frozen=True)
class Member:
    """One member: its name in the pool, and what `train` is told."""

    name: str
    recipe: str
    seed: int
    overrides: tuple[str, ...]
    folder: Path

    def finished(self) -> bool:
        """Return True where its training has ended."""
        try:
            return Run.open(self.folder).finished
        except RunError:
            return False


@dataclass(frozen=True, eq=False)
class HeldOutAnswers:
    """What members answer to images that they were not trained on.

    probabilities: (M, N, 10) float32, rows of NaN where a member was trained on the image. labels: (N,) int64.
    indices: (N,) int64, of the images in the training data.
    """

    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]


class Pool:
    """A pool's folder."""

    def __init__(self, path: Path, settings: Settings, precisions: Sequence[str]) -> None:
        # Of each recipe's members: those that other hardware trains, or resumes, compute in the same.
        self.path, self.settings, self.precisions = path, settings, tuple(precisions)

    @classmethod
    def begin(cls, path: Path, settings: Settings, device: str = "auto") -> "Pool":
        """Return the pool in `path`, begun now or resumed.

        RunError where something else stands there, or a pool of other settings; RecipeError for recipes that cannot be
        members.
        """
        from tenfold.training.device import choose, precision_of

        loaded = [recipes.load(name, settings.overrides) for name in settings.recipes]
        for name, recipe in zip(settings.recipes, loaded, strict=True):
            if recipe.classical or recipe.model.kind == "ensemble":
                raise RecipeError(f"'{name}' is no network, and members have to be. Omit it.")
            check(recipe, device, None)
        file = path / POOL
        if os.path.lexists(file):
            refuse_odd(path)
            try:
                there = parse_json(read_bytes(file, MOST_TEXT), Begun)
                if len(there.precisions) != len(there.recipes):
                    raise ValueError("it has no precision for each recipe")
            except (OSError, ValueError) as error:
                raise RunError(f"'{file}' is not what a pool begins with ({error}). Give another --out.") from None
            for key, value in asdict(settings).items():
                if (before := getattr(there, key)) != value:
                    raise RunError(
                        f"The pool '{path}' was begun with {key} '{shown(before)}', not '{shown(value)}'. "
                        "Give the same, or another --out."
                    )
            return cls(path, settings, there.precisions)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(f"'{path}' exists already and is no pool. Give another --out.")
        try:
            path.mkdir(parents=True, exist_ok=True)  # nothing in it before pool.json makes it a pool
            precisions = tuple(precision_of(recipe.training.precision, choose(device)) for recipe in loaded)
            begun = Begun(**asdict(settings), precisions=precisions)
            write_atomically(file, (json.dumps(asdict(begun), indent=2) + "\n").encode())
        except OSError as error:
            raise RunError(f"The pool {unwritten(path, error, 'Give another --out.')}") from None
        return cls(path, settings, precisions)

    @property
    def labels(self) -> str | None:
        """The file with the decisions on labels; None without any."""
        return None if self.settings.labels is None else str(self.path.resolve() / LABELS)

    def member(self, number: int) -> Member:
        """Return member `number`, from 0 on: the recipes take turns, and so do the folds."""
        settings = self.settings
        recipe = settings.recipes[number % len(settings.recipes)]
        name = f"{number:03d}-{Path(recipe).stem}"
        split = [f"data.split_seed={settings.seed}"]
        if settings.folds is not None:
            fold = number // len(settings.recipes) % settings.folds
            split += [f"data.folds={settings.folds}", f"data.fold={fold}"]
        split.append(f"training.precision={self.precisions[number % len(settings.recipes)]}")
        overrides = (*settings.overrides, *split)
        return Member(name, recipe, settings.seed + number, overrides, self.path / MEMBERS / name)

    def trained(self, models: int) -> list[Member]:
        """Return those of the first `models` members whose training has ended."""
        return [member for member in map(self.member, range(models)) if member.finished()]


def shown(value: Any) -> str:
    """Return a setting as a message quotes it: several with commas between."""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def answers(runs: Sequence[Run]) -> HeldOutAnswers:
    """Return what the runs answered to the images that each held out, to no image where one was to hold none out.

    RunError where one has lost its answers.
    """
    if not all(run.manifest["data"]["n_validation"] for run in runs):
        return HeldOutAnswers(np.zeros((len(runs), 0, 10), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64))
    found = []
    for run in runs:
        if (validation := run.validation()) is None:
            raise RunError(f"'{run.path}' has no answers to held-out images. Train it again.")
        found.append(validation)
    indices = np.unique(np.concatenate([each["indices"] for each in found]))
    labels = np.zeros(len(indices), np.int64)
    probabilities = np.full((len(runs), len(indices), 10), np.nan, np.float32)
    for number, each in enumerate(found):
        places = np.searchsorted(indices, each["indices"])
        labels[places] = each["labels"]
        probabilities[number, places] = each["probabilities"]
    return HeldOutAnswers(probabilities, labels, indices)


def check_alike(runs: Sequence[Run]) -> None:
    """Raise RunError unless all runs were begun on the same images in the same order, as choosing among them needs."""
    for run in runs[1:]:
        data = run.manifest["data"]
        if data["sha256"] != runs[0].manifest["data"]["sha256"]:
            raise RunError(
                f"'{run.path}' was begun on other data ('{shown(data['spec'])}') than the other members. Omit it, "
                "and give what was trained on the same."
            )


def same_held_out(runs: Sequence[Run]) -> bool:
    """Return True where all runs hold out the same images."""
    return all(np.array_equal(run.held_out(), runs[0].held_out()) for run in runs[1:])


def assemble(
    path: Path,
    members: Sequence[Run],
    choice: Choice,
    held: HeldOutAnswers,
    together: NDArray[np.float32],
    images: NDArray[np.uint8],
) -> Run:
    """Write the ensemble of the chosen members into the pool's folder, where it is a run like any other; return that.

    members: all of them. held: their answers to held-out images, which are `images`, (N, 28, 28) uint8. together:
    (N, 10), what the chosen ones answer to these. The manifest comes last, so that a folder that is cut off before is
    no run.
    """
    runs = [members[index] for index in choice.members]
    first, names = runs[0], ", ".join(sorted({run.recipe.name for run in runs}))
    recipe = recipes.parse(
        {
            "name": "ensemble",
            "summary": f"{len(runs)} of {names}, chosen by {choice.rule}",
            "model": {
                "kind": "ensemble",
                "members": [
                    {
                        "kind": run.recipe.model.kind,
                        **run.recipe.model.arguments(),
                        "weight": float(choice.weights[index]),
                        "shifts": run.recipe.prediction.shifts,
                        "temperature": run.manifest["temperature"],
                    }
                    for run, index in zip(runs, choice.members, strict=True)
                ],
            },
            "data": first.recipe.data.model_dump(exclude_none=True),
        },
        str(path),
    )
    hashes = first.hashes()
    held_out = first.held_out() if same_held_out(runs) else np.zeros(0, np.int64)  # else most members know each image
    n = len(held.labels)
    temperature = fit_temperature(held.labels, together) if n else 1.0
    calibrated = sharpen(together, temperature)
    manifest = {
        **{key: first.manifest[key] for key in ("versions", "machine")},
        "recipe": recipe.name,
        "config_sha256": recipe.config_hash(),
        "seed": first.manifest["seed"],
        "status": "finished",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "data": first.manifest["data"] | {"n_train": len(hashes) - len(held_out), "n_validation": len(held_out)},
        "parameters": sum(run.manifest["parameters"] for run in runs),
        "seconds": round(sum(run.manifest["seconds"] for run in runs), 3),
        "epochs": None,
        "images_per_second": None,
        "validation_accuracy": float((calibrated.argmax(1) == held.labels).mean()) if n else None,
        "temperature": temperature,
        "ensemble": {"rule": choice.rule, "members": [run.path.name for run in runs]},
    }
    with Run.rewrite(path, recipe, manifest, hashes, held_out, first.labels) as run:
        run.write_weights(
            {f"members.{number}.{name}": tensor for number, each in enumerate(runs)
             for name, tensor in each.weights().items()}
        )  # fmt: skip
        run.write_metrics([])
        if n:
            mistakes = most_confident_mistakes(held.labels, together, GALLERY)
            run.write_validation(
                indices=held.indices,
                labels=held.labels,
                probabilities=calibrated,
                mistake_indices=mistakes,
                mistake_images=images[mistakes],
            )
    return run
