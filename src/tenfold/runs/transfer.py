"""Transfer: training that starts from a finished run's weights, in all layers or in the last one alone.

all    every weight is trained on, and batch norm gathers the statistics of the new images
head   the last linear layer alone is trained; the rest gives the very features that the run gave, so its batch
       norm keeps the run's statistics too (a dropout before the last layer still drops, in training)
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.errors import RunError, nearest
from tenfold.models import build
from tenfold.runs.run import Run, training_specs
from tenfold.training.recipe import ModelSettings, Recipe

if TYPE_CHECKING:
    from torch import nn

LAYERS = ("all", "head")


@dataclass(frozen=True)
class Start:
    """A finished run whose weights training starts from, and which layers are trained on."""

    run: Run
    layers: str

    def record(self) -> dict[str, Any]:
        """Return what the new run's manifest keeps: run, recipe, weights_sha256, layers, and data, all specs so far."""
        return {
            "run": str(self.run.path.resolve()),
            "recipe": self.run.recipe.name,
            "weights_sha256": self.run.weights_sha256(),
            "layers": self.layers,
            "data": training_specs(self.run.manifest),
        }


def open_start(path: Path, recipe: Recipe, layers: str) -> Start:
    """Return the run at `path` as a start for `recipe`; RunError says why it cannot be one."""
    if layers not in LAYERS:
        raise RunError(f"Layers '{layers}' are unknown.{nearest(layers, LAYERS)} Give all or head.")
    run = Run.open(path)
    for classical, name in ((recipe, recipe.name), (run.recipe, str(path))):
        if classical.classical:
            what = f"'{name}' is a '{classical.model.kind}', which is fitted anew each time"
            raise RunError(f"{what} and has no weights to go on from. Give a network's recipe and run.")
    if run.manifest["status"] != "finished":
        raise RunError(f"The run '{path}' is '{run.manifest['status']}'. First: tenfold train --resume {path}")
    different = [f"model.kind is '{run.recipe.model.kind}', not '{recipe.model.kind}'"]
    if run.recipe.model.kind == recipe.model.kind:
        old, new = _resolved(run.recipe.model), _resolved(recipe.model)
        different = [f"model.{key} is '{old[key]}', not '{new[key]}'" for key in old if old[key] != new[key]]
    if different:
        what = f"The run '{path}' is another network than recipe '{recipe.name}': {'; '.join(different)}."
        raise RunError(f"{what} Train its own recipe: tenfold train {path / 'recipe.toml'} --from {path}")
    return Start(run, layers)


def starter(manifest: dict[str, Any], begun: bool) -> "Callable[[nn.Module], None] | None":
    """Return what a run's training calls with its fresh network; None for a run that starts from nothing.

    begun: its weights come from a state of its own, so that the run it started from is no longer needed.
    Raises RunError where that run is needed, and gone or not what it was.
    """
    record = manifest.get("from")
    if record is None:
        return None
    source = None if begun else Run.open(record["run"])
    if source is not None and source.weights_sha256() != record["weights_sha256"]:
        raise RunError(f"The weights of '{record['run']}' have changed since they were started from. Begin a new run.")

    def fill(module: "nn.Module") -> None:
        if source is not None:
            source.fill(module)
        freeze(module, record["layers"])

    return fill


def freeze(module: "nn.Module", layers: str) -> None:
    """Leave only the last linear layer trainable where `layers` is "head"; nothing changes for "all".

    Batch norms get the attribute `frozen`, which keeps them in evaluation mode. Raises RunError for a network without
    a linear layer.
    """
    from torch import nn

    if layers == "all":
        return
    linear = [part for part in module.modules() if isinstance(part, nn.Linear)]
    if not linear:
        raise RunError(f"The network '{type(module).__name__}' has no linear layer to train alone. Give --layers all.")
    module.requires_grad_(False)
    linear[-1].requires_grad_(True)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.frozen = True  # type: ignore[assignment]  # read by Shards.train


def _resolved(model: ModelSettings) -> dict[str, Any]:
    """Return all of a network's arguments, so that a default written out equals an omitted one."""
    parameters = inspect.signature(type(build(model.kind, model.arguments()))).parameters.values()
    return {each.name: each.default for each in parameters} | model.arguments()
