"""How a run begins: what cannot work is refused, the data are gathered and split, and the folder is made.

A run that is resumed finds the same data again.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.console import PlainConsole
from tenfold.data import decisions, merge
from tenfold.data.digits import Digits, image_hashes
from tenfold.errors import RecipeError, RunError, TrainingError, printable
from tenfold.models import build
from tenfold.models.classical import Classical, only_processor
from tenfold.runs.run import Run, commit, versions
from tenfold.runs.transfer import Start
from tenfold.training.recipe import Recipe

LONGEST = 200  # bytes of a name, to which numbers are added


def check(recipe: Recipe, device: str, max_seconds: float | None) -> None:
    """Raise what is wrong with the model, the device or the limit now, before a folder is made for nothing."""
    kind, arguments = recipe.model.kind, recipe.model.arguments()
    if recipe.reads:
        raise RecipeError(f"'{recipe.name}' reads numbers, not images of a digit. Train it alone: tenfold train {kind}")
    if recipe.classical:
        Classical(kind, arguments, recipe.features.model_dump())
        only_processor(kind, device)
        if max_seconds is not None:
            what = f"'{kind}' is fitted in one go, which '{max_seconds:g}' seconds cannot cut short."
            raise TrainingError(f"{what} Omit --max-seconds, or take fewer images: --subset N.")
        return
    import torch

    from tenfold.training import device as devices

    try:
        with torch.no_grad():  # not on the meta device, for which torch imports its compiler: that takes a second
            build(kind, arguments).eval()(torch.zeros(1, 1, 28, 28))
    except RuntimeError as error:  # a size that cannot be, which no other error says as well as PyTorch's own
        what = f"Model '{kind}' cannot read an image of 28x28 as '{arguments}': {error}."
        raise RecipeError(f"{what} Mend the [model] table.") from None
    devices.choose(device)


def begin(
    recipe: Recipe,
    specs: Sequence[str],
    out: Path | None,
    *,
    seed: int,
    subset: int | None,
    deduplicate: bool,
    start: Start | None,
    labels: Path | None = None,
    console: PlainConsole,
) -> tuple[Run, Digits]:
    """Return a new run's folder, in which nothing is trained yet, and its data.

    Arguments as of `tenfold.train.train`. What several sets share, and which held-out images are known to the training
    part, is told on the console and kept in the manifest.
    """
    merged, decided = _gathered(specs, console, len(specs) > 1, deduplicate, labels)
    if decided is not None:
        console.print(f"By '{labels}': {decisions.described(decided)}", soft_wrap=True)
    for line in merge.describe(merged.copies) if merged.copies else ():
        console.print(line, soft_wrap=True)
    merged = merged.subset(subset, recipe.data.seed_of(seed))
    digits = merged.digits
    kept, held_out = recipe.data.hold_out(digits, seed)
    hashes = image_hashes(digits.images)
    data = {
        "spec": specs[0] if len(specs) == 1 else list(specs),
        "sha256": digits.content_hash(),
        "subset": subset,
        "deduplicated": deduplicate,
        "labels": decided,
        "n_train": len(kept),
        "n_validation": len(held_out),
    }
    manifest = new_manifest(recipe, seed, data)
    if merged.copies is not None:
        held_out_copies = merged.copied(held_out)
        manifest["data"]["copies"] = merged.copies | {"held_out": held_out_copies}
        advice = " To leave copies out: --deduplicate"
        _warn_of_known(console, held_out_copies, len(held_out), "have a copy in the training part", advice)
    if recipe.distil is not None:
        teacher = recipe.distil.teacher
        manifest["distil"] = {"teacher": teacher, "sha256": Run.open(teacher).weights_sha256()}
    if start is not None:
        inherited = start.run.training_hashes()
        known = int(np.isin(hashes[held_out], inherited).sum())
        manifest["from"] = start.record() | {"held_out_seen": known}
        _warn_of_known(console, known, len(held_out), "were trained on by the run that this one starts from")
        hashes = np.concatenate([hashes, inherited])  # behind the images, whose numbers `held_out` holds
    return Run.create(out or free_folder(recipe.name), recipe, manifest, hashes, held_out, labels), digits


def new_manifest(recipe: Recipe, seed: int, data: dict[str, Any]) -> dict[str, Any]:
    """Return what a run's manifest says as it begins; data: what it is trained on."""
    return {
        "recipe": recipe.name,
        "config_sha256": recipe.config_hash(),
        "seed": seed,
        "status": "running",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": data,
        "versions": versions(recipe),
        "commit": commit(),
    }


def same_data(run: Run, specs: Sequence[str], console: PlainConsole) -> Digits:
    """Return the data that the run was started on; RunError when it is no longer the same."""
    known = run.manifest["data"]
    specs = specs or ([known["spec"]] if isinstance(known["spec"], str) else known["spec"])
    merged, _ = _gathered(specs, console, False, known.get("deduplicated", False), run.labels)
    digits = merged.subset(known["subset"], run.recipe.data.seed_of(run.manifest["seed"])).digits
    if digits.content_hash() != known["sha256"] or (run.held_out() >= len(digits)).any():
        raise RunError(f"The data '{' + '.join(specs)}' is not what the run was started on. Give the same --data.")
    return digits


def _gathered(
    specs: Sequence[str], console: PlainConsole, look: bool, deduplicate: bool, labels: Path | None
) -> tuple[merge.Merged, dict[str, Any] | None]:
    """Return the data by these names, compared with each other where asked for, and what came of the decisions."""
    sets, decided = decisions.apply(merge.load_sets(specs), labels)
    with console.working("Comparing the images with each other") if look or deduplicate else nullcontext():
        return merge.merge(sets, look=look, deduplicate=deduplicate), decided


def free_folder(name: str) -> Path:
    """Return the first of runs/NAME-1, runs/NAME-2, ... that is not there; RecipeError for what names no folder."""
    numbered = (Path("runs") / f"{folder_name(name)}-{number}" for number in count(1))
    return next(path for path in numbered if not path.exists())


def folder_name(name: str) -> str:
    """Return the recipe's name; RecipeError where no folder can be called so, or the folder would lie elsewhere."""
    plain = name == Path(name).name == printable(name) and "\\" not in name
    if not plain or name in ("", "..") or len(name.encode()) > LONGEST:
        raise RecipeError(f"The name '{name[:60]}' names no folder for a run. Give --out, or another --set name=NAME.")
    return name


def _warn_of_known(console: PlainConsole, known: int, held_out: int, why: str, advice: str = "") -> None:
    """Say that the held-out part is not new to the training part, where it is not."""
    if known:
        warning = f"{known:,} of {held_out:,} held-out images {why}, so the validation accuracy will flatter.{advice}"
        console.print(warning, style="yellow", soft_wrap=True)
