"""A pool: the folder in which an ensemble's members are trained, and that in the end is a run itself.

    pool.json            what the members are made of; a pool goes on with the same settings alone
    members/007-fast     a run each, of its own seed, and of its own fold where there are folds
    members/with-NAME    a run that was trained elsewhere and taken in, a copy
    recipe.toml, ...     once members are chosen: the ensemble, a run like any other (see assemble.py)

All members hold out the same images, or a fold each, so that every choice among them is made on answers to images
that the answering member was not trained on.
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tenfold.errors import RecipeError, RunError
from tenfold.files import write_atomically
from tenfold.runs.begin import check
from tenfold.runs.run import MANIFEST, Run
from tenfold.training import recipe as recipes
from tenfold.training.recipe import Recipe

POOL, MEMBERS = "pool.json", "members"
WITH = "with-"  # what the names of runs that were taken in begin with


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
            return (self.folder / MANIFEST).is_file() and Run.open(self.folder).finished
        except RunError:
            return False


class Pool:
    """A pool's folder."""

    def __init__(self, path: Path, settings: Settings, precisions: Sequence[str] = ()) -> None:
        self.path, self.settings, self.precisions = path, settings, tuple(precisions)

    @classmethod
    def begin(cls, path: Path, settings: Settings, device: str = "auto") -> "Pool":
        """Return the pool in `path`, begun now or gone on with.

        RunError where something else stands there, or a pool of other settings; RecipeError for recipes that cannot be
        members.
        """
        loaded = [recipes.load(name, settings.overrides) for name in settings.recipes]
        for name, recipe in zip(settings.recipes, loaded, strict=True):
            if recipe.classical or recipe.model.kind == "ensemble":
                raise RecipeError(f"'{name}' is no network, and members have to be. Omit it.")
            if not recipe.data.validation and settings.folds is None:
                raise RecipeError(f"'{name}' holds nothing out, and members are chosen on that. Give --folds.")
            check(recipe, device, None)
        wanted = json.loads(json.dumps(asdict(settings)))
        file = path / POOL
        if file.is_file():
            try:
                there = dict(json.loads(file.read_text("utf-8")))
                precisions = there["precisions"]
            except (ValueError, TypeError, KeyError) as error:
                raise RunError(f"'{file}' is not what a pool begins with ({error}). Give another --out.") from None
            for key, value in wanted.items():
                if there.get(key) != value:
                    raise RunError(
                        f"The pool '{path}' was begun with {key} '{shown(there.get(key))}', not '{shown(value)}'. "
                        "Give the same, or another --out."
                    )
            return cls(path, settings, precisions)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(f"'{path}' exists already and is no pool. Give another --out.")
        try:
            (path / MEMBERS).mkdir(parents=True)
            wanted["precisions"] = [_precision(recipe, device) for recipe in loaded]
            write_atomically(file, (json.dumps(wanted, indent=2) + "\n").encode())
        except OSError as error:
            raise RunError(f"The pool '{path}' cannot be written: {error.strerror}. Give another --out.") from None
        return cls(path, settings, wanted["precisions"])

    def member(self, number: int) -> Member:
        """Return member `number`, from 0 on: the recipes take turns, and so do the folds."""
        settings = self.settings
        recipe = settings.recipes[number % len(settings.recipes)]
        name = f"{number:03d}-{Path(recipe).stem}"
        split = [f"data.split_seed={settings.seed}"]
        if settings.folds is not None:
            fold = number // len(settings.recipes) % settings.folds
            split += [f"data.folds={settings.folds}", f"data.fold={fold}"]
        if self.precisions:
            split.append(f"training.precision={self.precisions[number % len(settings.recipes)]}")
        overrides = (*settings.overrides, *split)
        return Member(name, recipe, settings.seed + number, overrides, self.path / MEMBERS / name)

    def trained(self, models: int) -> list[Member]:
        """Return those of the first `models` members whose training has ended."""
        return [member for member in map(self.member, range(models)) if member.finished()]

    def take_in(self, runs: Sequence[str | Path]) -> None:
        """Copy trained runs into the pool, where they are members from now on; one that is there already stays.

        Raises RunError for a run that cannot be a member: unfinished, no network, without answers to held-out images,
        or of a name that another one has here. Whether it was trained on the pool's data is `check_alike`'s to say.
        """
        for path in map(Path, runs):
            run = Run.open(path)
            kind = run.recipe.model.kind
            if run.recipe.classical or kind == "ensemble":
                raise RunError(f"'{path}' is '{kind}', and members have to be networks. Omit it.")
            if not run.finished or run.validation() is None:
                raise RunError(f"'{path}' is unfinished or held nothing out, and members are chosen on that. Omit it.")
            place = self.path / MEMBERS / f"{WITH}{path.resolve().name}"
            if place.exists():
                if Run.open(place).weights_sha256() != run.weights_sha256():
                    raise RunError(f"'{place}' is another run than '{path}'. Rename the latter.")
                continue
            draft = place.with_name(f".{place.name}.{os.getpid()}.part")
            try:
                shutil.copytree(path, draft)
                draft.replace(place)
            except OSError as error:
                raise RunError(
                    f"'{path}' cannot be copied to '{place}': {error.strerror}. Free space or rights."
                ) from None
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    def taken_in(self) -> list[Member]:
        """Return the members that were trained elsewhere, by name."""
        found = []
        for folder in sorted((self.path / MEMBERS).glob(f"{WITH}*")):
            run = Run.open(folder)
            found.append(Member(folder.name, run.recipe.name, run.manifest["seed"], (), folder))
        return found


def _precision(recipe: Recipe, device: str) -> str:
    """Return what all members of a recipe compute in: what is fastest here, asked once.

    Asked by each member, a busy moment would decide, and a member that is trained again would be another one.
    """
    if recipe.training.precision != "auto":
        return recipe.training.precision
    import torch

    from tenfold.models import build
    from tenfold.training import device as devices

    chosen = devices.choose(device)
    module = build(recipe.model.kind, recipe.model.arguments()).to(chosen)
    generator = torch.Generator().manual_seed(0)
    batch = torch.rand(recipe.training.batch_size, 1, 28, 28, generator=generator).to(chosen)
    labels = torch.randint(0, 10, (len(batch),), generator=generator).to(chosen)
    return devices.probe(module, batch, labels).precision


def shown(value: Any) -> str:
    """Return a setting as a message quotes it: several with commas between."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
