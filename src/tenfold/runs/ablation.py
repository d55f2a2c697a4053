"""An ablation: a question, and recipes that differ in one thing and answer it; each training leaves one small file.

All are judged on the same held-out sixth of the training data (10,000 of MNIST's 60,000), whatever their seed; test
images are not looked at.
"""

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, ValidationError, model_validator

from tenfold import data as digit_data
from tenfold.data import splits
from tenfold.data.digits import Digits
from tenfold.errors import RecipeError, RunError
from tenfold.files import MOST_TEXT, read_bytes, write_atomically
from tenfold.metrics.scores import nll
from tenfold.runs.results import DataUsed, Record, Result, Trial
from tenfold.runs.run import commit, versions
from tenfold.training import recipe as recipes
from tenfold.training.recipe import Recipe, Section

BASE = "base"  # the recipe that every ablation starts from
HELD_OUT_SHARE = 6  # one in so many images
SPLIT_SEED = 0  # of the images held out


class Variant(Section):
    """One of the systems compared: what it has of its own."""

    label: str = Field(min_length=1)
    images: int | None = Field(None, ge=1, description="train on so many; None: as the ablation says")
    recipe: dict[str, Any] = Field({}, description="laid over what all have in common")


class Ablation(Section):
    """A question and the variants that answer it."""

    name: str
    question: str
    answer: str = Field("", description="a sentence, written after the measurement")
    baseline: str
    images: int | None = Field(None, ge=1, description="train on so many; None: all but those held out")
    recipe: dict[str, Any] = Field({}, description="what all variants have in common")
    variants: list[Variant] = Field(min_length=2)

    @model_validator(mode="after")
    def _labels_tell_apart(self) -> "Ablation":
        labels = [variant.label for variant in self.variants]
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if twice is not None:
            raise ValueError(f"the label '{twice}' stands twice")
        if self.baseline not in labels:
            raise ValueError(f"the baseline '{self.baseline}' is no variant; give one of {', '.join(labels)}")
        return self

    def recipe_of(self, variant: Variant) -> Recipe:
        """Return the whole recipe of a variant; RecipeError where it cannot be."""
        tables = _laid_over(_laid_over(recipes.read("ablation", BASE, [BASE]), self.recipe), variant.recipe)
        return recipes.parse(tables, f"{self.name}, {variant.label}")

    def images_of(self, variant: Variant) -> int | None:
        """Return how many images a variant is trained on, None for all."""
        return variant.images or self.images


class Outcome(Record):
    """What came of one training; seconds are those of training on one thread."""

    config_sha256: str
    trial: Trial
    parameters: int
    epochs: float
    machine: dict[str, str | int | float | None]
    versions: dict[str, str]
    commit: str | None


class Parts(NamedTuple):
    """Labelled digits, apart: those to train on, and those held out, which are the same for everybody."""

    sha256: str  # of all of them
    training: Digits
    held_out: Digits


def available() -> list[str]:
    """Return the names of the shipped ablations, sorted."""
    return [name for name in recipes.available("ablation") if name != BASE]


def load(name_or_path: str | Path) -> Ablation:
    """Return the ablation of that name or at that path. Raises RecipeError that names what is wrong."""
    tables = recipes.read("ablation", name_or_path, available())
    try:
        return Ablation.model_validate({"name": Path(name_or_path).stem} | tables)
    except ValidationError as error:
        # A misspelt key makes two errors, unknown and missing; the unknown one shows what was written.
        first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RecipeError(f"Ablation '{name_or_path}' is wrong at '{place}': {first['msg']}. Mend that.") from None


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return the tables with those of `above` put in, table by table; neither is changed.

    Another `model.kind` replaces the whole model: one kind's arguments mean nothing to another.
    """
    merged = dict(below)
    for key, value in above.items():
        under: Any = merged.get(key)
        tables = isinstance(value, dict) and isinstance(under, dict)
        if tables and value.get("kind", under.get("kind")) == under.get("kind"):
            merged[key] = _laid_over(under, value)
        else:
            merged[key] = value
    return merged


def parts(spec: str, subset: int | None = None) -> Parts:
    """Return the two parts of the data that a name or a path stands for, or of so many of them, chosen stratified."""
    digits = digit_data.load(spec, "train")
    if subset is not None and digits.labels is not None:
        digits = digits.take(splits.subset(digits.labels, subset, SPLIT_SEED))
    assert digits.labels is not None  # load's promise to "train"
    kept, held_out = splits.stratified_split(digits.labels, len(digits) // HELD_OUT_SHARE, SPLIT_SEED)
    return Parts(digits.content_hash(), digits.take(kept), digits.take(held_out))


_parts = functools.lru_cache(maxsize=1)(parts)  # in a process that trains one variant after the other


def file_name(recipe: Recipe, images: int | None, sha256: str, seed: int) -> str:
    """Return the name of the file of one training: of all that decides its outcome."""
    system = json.dumps([recipe.config_hash(), images, sha256])
    return f"{hashlib.sha256(system.encode()).hexdigest()[:16]}-{seed}.json"


def train(
    recipe: dict[str, Any],
    images: int | None,
    seed: int,
    data: str,
    subset: int | None,
    sha256: str,
    file: str,
    device: str,
) -> dict[str, float]:
    """Return accuracy and seconds of one training on one thread, written down in `file`; a task of `tenfold.jobs`.

    recipe: its tables. images: how many to train on, None for all. data, subset: as of `parts`. sha256: of what they
    are to be.
    """
    from tenfold.training import device as devices
    from tenfold.training.loop import Trainer

    chosen = recipes.parse(recipe, "of an ablation")
    found, training, held_out = _parts(data, subset)
    if found != sha256:
        raise RunError(f"The data '{data}' are others for the process that trains. Give data that do not change.")
    if images is not None and training.labels is not None:
        training = training.take(splits.subset(training.labels, images, seed))
    assert training.labels is not None
    assert held_out.labels is not None
    trainer = Trainer(
        chosen,
        training.images,
        training.labels,
        (held_out.images, held_out.labels),
        seed=seed,
        device=devices.choose(device),
        threads=devices.use_threads(1),
    )
    trainer.run()
    module, answered = trainer.finish()
    assert answered is not None  # there are held-out images
    trial = Trial(
        seed=seed,
        accuracy=float((answered.probabilities.argmax(1) == held_out.labels).mean()),
        nll=nll(held_out.labels, answered.probabilities),
        seconds=round(trainer.position.seconds, 3),
    )
    outcome = Outcome(
        config_sha256=chosen.config_hash(),
        trial=trial,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        epochs=round(trainer.epoch, 4),
        machine=devices.describe(trainer.device, trainer.precision),
        versions=versions(chosen),
        commit=commit(),
    )
    write_atomically(Path(file), (outcome.model_dump_json(indent=2) + "\n").encode())
    return {"accuracy": trial.accuracy, "seconds": trial.seconds}


def results(study: Ablation, files: Sequence[Sequence[Path]], digits: Parts, spec: str) -> list[Result]:
    """Return the record of each variant of a study over its seeds, of which each has a file.

    Raises RunError for a file that is none of ours, and for trainings of several machines.
    """
    name, trained_on = Path(spec).name, digits.training.content_hash()
    held_out = DataUsed(spec=f"{name}, held out", sha256=digits.held_out.content_hash(), n=len(digits.held_out))
    found = []
    for variant, own in zip(study.variants, files, strict=True):
        outcomes = [_read(file) for file in own]
        first = outcomes[0]
        if any(other.machine["cpu"] != first.machine["cpu"] for other in outcomes):
            raise RunError(f"'{own[0].parent}' holds trainings of several machines. Give another --out.")
        n = study.images_of(variant) or len(digits.training)
        found.append(
            Result(
                recipe=study.recipe_of(variant).name,
                config_sha256=first.config_sha256,
                commit=", ".join(sorted({outcome.commit or "unknown" for outcome in outcomes})),
                machine=first.machine,
                versions=first.versions,
                train_data=DataUsed(spec=name, sha256=trained_on, n=n),
                test_data=held_out,
                parameters=first.parameters,
                epochs=first.epochs,
                trials=[outcome.trial for outcome in outcomes],
                protocol="ablation",
                study=study.name,
                variant=variant.label,
            )
        )
    return found


def _read(file: Path) -> Outcome:
    try:
        return Outcome.model_validate_json(read_bytes(file, MOST_TEXT))
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not what `tenfold ablate` wrote"
        raise RunError(f"'{file}' cannot be used ({reason}). Delete it, and run the same again.") from None
