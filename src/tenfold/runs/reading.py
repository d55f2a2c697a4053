"""Training of networks that read numbers, in a run's folder: begun, resumed, scored, and ready for `tenfold read`."""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tenfold.errors import RecipeError, RunError
from tenfold.files import claimed
from tenfold.runs.begin import free_folder, new_manifest
from tenfold.runs.fit import Watch, restore, stop_signals
from tenfold.runs.run import Run

if TYPE_CHECKING:
    from torch import Tensor

    from tenfold.console import PlainConsole
    from tenfold.data.strings import Row
    from tenfold.drawing.numbers import Desk
    from tenfold.training.reading import ReadingTrainer
    from tenfold.training.recipe import PictureSettings, Recipe

HELD_OUT = 1000  # drawn rows that a finished network is scored on; of pages a tenth


def begin(
    recipe: "Recipe",
    specs: Sequence[str],
    out: str | Path | None,
    seed: int,
    start: str | Path | None,
    console: "PlainConsole",
) -> tuple[Run, list["Row"]]:
    """Return a new run's folder, in which nothing is trained yet, and the user's own rows.

    specs: folders of rows, as `tenfold.data.strings.load_strings` takes them. start: a run's folder or "shipped".
    """
    rows = _rows(recipe, specs)
    if start is not None:
        _weights(start, recipe)  # refused now, not when a folder is made; so is a machine without MNIST
    with console.working("Making hands to write with"):
        desk(recipe)
    held_out = np.random.default_rng(seed).permutation(len(rows))[: round(recipe.data.validation * len(rows))]
    data = {
        "spec": list(specs) if len(specs) > 1 else specs[0] if specs else "drawn",
        "sha256": _hash(rows),
        "n_train": len(rows) - len(held_out),
        "n_validation": len(held_out) or held_out_count(recipe),
    }
    manifest = new_manifest(recipe, seed, data)
    if start is not None:
        manifest["start"] = str(start) if str(start) == "shipped" else str(Path(start).resolve())
    hashes = np.array([int(_hash([row])[:16], 16) for row in rows], np.uint64)
    return Run.create(
        Path(out) if out else free_folder(recipe.name), recipe, manifest, hashes, held_out.astype(np.int64)
    ), rows


def same_rows(run: Run, specs: Sequence[str]) -> list["Row"]:
    """Return the rows that a run was begun with; RunError where they are no longer the same."""
    known = run.manifest["data"]
    given = specs or ([] if known["spec"] == "drawn" else known["spec"])
    rows = _rows(run.recipe, [given] if isinstance(given, str) else given)
    if _hash(rows) != known["sha256"]:
        raise RunError(f"The data '{given}' is not what the run was started on. Give the same --data.")
    return rows


def train_reading(
    run: Run, rows: list["Row"], console: "PlainConsole", *, deadline: float | None = None, threads: int | None = None
) -> None:
    """Train a run that was begun or cut short, and leave it usable; its status says how that ended."""
    with claimed(run.path), stop_signals() as stopped:
        with console.working("Making hands to write with"):
            trainer = _trainer(run, rows, threads)
        watch = Watch(run, stopped, deadline)
        with console.working(run.recipe.name):
            finished = trainer.run(watch)
        run.write_state(*trainer.state())
        _keep(run, trainer, "finished" if finished else watch.ended_by)


def desk(recipe: "Recipe") -> "Desk":
    """Return the hands and fonts that a recipe's pictures are written with: MNIST's training images, and our shapes."""
    if recipe.pictures is None:
        raise RecipeError(f"Recipe '{recipe.name}' has no [pictures]. Add the table, or train it on images of digits.")
    return _desk(recipe.pictures)


@functools.lru_cache(maxsize=1)  # the training's is the held-out pictures' too, and takes seconds to make
def _desk(settings: "PictureSettings") -> "Desk":
    from tenfold.data import load
    from tenfold.drawing.glyphs import handwriting
    from tenfold.drawing.hands import Hands
    from tenfold.drawing.numbers import Desk

    known = load("mnist:train")
    assert known.labels is not None
    fonts = handwriting()
    chosen = np.random.default_rng(0).permutation(len(known.labels))[: settings.images]
    return Desk(Hands.of(known.images[chosen], known.labels[chosen], settings.drawn, 0, fonts), fonts)


def _trainer(run: Run, rows: list["Row"], threads: int | None) -> "ReadingTrainer":
    import torch

    from tenfold.training import device as devices
    from tenfold.training.reading import ReadingTrainer, as_line

    known = run.manifest.get("machine", {})
    devices.use_threads(threads or known.get("threads"))
    place = torch.device("cpu")
    precision = known.get("precision") or devices.precision_of(run.recipe.training.precision, place)
    kept = np.setdiff1d(np.arange(len(rows)), run.held_out())
    start = run.manifest.get("start")
    trainer = ReadingTrainer(
        run.recipe,
        desk(run.recipe),
        run.manifest["seed"],
        precision,
        own=[as_line(*rows[index]) for index in kept],
        start=None if start is None else _weights(start, run.recipe),
    )
    restore(run, trainer, run.state())
    parameters = sum(parameter.numel() for parameter in trainer.module.parameters())
    run.update_manifest({"machine": devices.describe(place, precision), "parameters": parameters, "status": "running"})
    return trainer


def _keep(run: Run, trainer: "ReadingTrainer", status: str) -> None:
    """Leave a usable run: weights, metrics and status."""
    module = trainer.finish()
    run.write_weights(module.state_dict())
    run.write_metrics(trainer.history)
    run.update_manifest(
        {
            "seconds": round(trainer.seconds, 3),
            "epochs": None,
            "images_per_second": round(trainer.step * trainer.batch_size / max(trainer.seconds, 1e-9), 1),
            "status": status,
        }
    )


def _rows(recipe: "Recipe", specs: Sequence[str]) -> list["Row"]:
    from tenfold.data.strings import load_strings

    if specs and recipe.model.kind != "lines":
        raise RecipeError(f"'{recipe.name}' learns from drawn pages alone. Omit --data '{specs[0]}'.")
    return [row for spec in specs for row in load_strings(Path(spec))]


def _weights(start: str | Path, recipe: "Recipe") -> "dict[str, Tensor]":
    """Return the weights of a finished run of the same network, or of the shipped one."""
    if str(start) == "shipped":
        from tenfold.runtime.model_file import PRETRAINED
        from tenfold.training.recipe import load

        if load(recipe.model.kind).model != recipe.model:
            raise RunError(
                f"The '{start}' network is another one than '{recipe.name}'. Omit --from, or its model.* keys."
            )
        return _weights_of((PRETRAINED / f"{recipe.model.kind}.onnx").read_bytes())
    run = Run.open(start)
    if run.recipe.model != recipe.model or run.manifest["status"] != "finished":
        raise RunError(f"The run '{start}' is another network than '{recipe.name}', or not finished. Give one that is.")
    return run.weights()


def _weights_of(content: bytes) -> "dict[str, Tensor]":
    """Return the weights that an exported network's file keeps in 16 bits, by their names in the network."""
    import torch
    from onnx import ModelProto, numpy_helper

    kept = {}
    for tensor in ModelProto.FromString(content).graph.initializer:
        if (name := tensor.name.removesuffix(".half")).startswith("network."):
            kept[name.removeprefix("network.")] = torch.tensor(numpy_helper.to_array(tensor)).float()
    return kept


def held_out_count(recipe: "Recipe") -> int:
    """Return how many drawn pictures a network is scored on."""
    return HELD_OUT if recipe.model.kind == "lines" else HELD_OUT // 10


def _hash(rows: list["Row"]) -> str:
    digest = hashlib.sha256()
    for picture, text in rows:
        digest.update(f"{picture.shape} {text} ".encode() + picture.tobytes())
    return digest.hexdigest()
