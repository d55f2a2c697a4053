"""Chosen members -> one system: a run like any other, in the pool's own folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.ensembles.pool import shown
from tenfold.ensembles.selection import Choice
from tenfold.errors import RunError
from tenfold.metrics.scores import fit_temperature, most_confident_mistakes, sharpen
from tenfold.runs.fit import GALLERY
from tenfold.runs.provenance import commit
from tenfold.runs.run import Run
from tenfold.training import recipe as recipes


@dataclass(frozen=True, eq=False)
class HeldOutAnswers:
    """What members answer to images that they were not trained on.

    probabilities: (M, N, 10) float32, rows of NaN where a member was trained on the image. labels: (N,) int64.
    indices: (N,) int64, of the images in the training data.
    """

    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]


def answers(runs: Sequence[Run]) -> HeldOutAnswers:
    """Return what the runs answered to the images that each held out; RunError where one has no such answers."""
    found = []
    for run in runs:
        validation = run.validation()
        if validation is None:
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


def check_alike(runs: Sequence[Run], distil: bool = False) -> None:
    """Raise RunError unless all runs were begun on the same images in the same order, as choosing among them needs.

    distil: they also have to hold out the same images, on which a student is judged.
    """
    for run in runs[1:]:
        data = run.manifest["data"]
        if data["sha256"] != runs[0].manifest["data"]["sha256"]:
            raise RunError(
                f"'{run.path}' was begun on other data ('{shown(data['spec'])}') than the other members. Omit it, "
                "and give what was trained on the same."
            )
        if distil and not same_held_out([runs[0], run]):
            raise RunError(
                f"A student needs images that all members held out, and '{run.path}' held out others. Omit --distil."
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
                "average": choice.average,
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
    temperature = fit_temperature(held.labels, together)
    calibrated = sharpen(together, temperature)
    mistakes = most_confident_mistakes(held.labels, together, GALLERY)
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
        "validation_accuracy": float((calibrated.argmax(1) == held.labels).mean()),
        "temperature": temperature,
        "ensemble": {"rule": choice.rule, "average": choice.average, "members": [run.path.name for run in runs]},
    }
    with Run.rewrite(path, recipe, manifest, hashes, held_out) as run:
        run.write_weights(
            {f"members.{number}.{name}": tensor for number, each in enumerate(runs)
             for name, tensor in each.weights().items()}
        )  # fmt: skip
        run.write_metrics([])
        run.write_validation(
            indices=held.indices,
            labels=held.labels,
            probabilities=calibrated,
            mistake_indices=mistakes,
            mistake_images=images[mistakes],
        )
    return run
