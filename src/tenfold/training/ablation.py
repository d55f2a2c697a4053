"""An ablation: one question, answered by recipes that differ in one thing.

A TOML file of `ablations/` holds the question, what its variants have in common, and each variant's own part, all as
tables that are laid over the small network of `ablations/base.toml`:

    question = "How large should the filters be?"
    baseline = "3x3"                      # the variant that the others are compared with
    images = 10_000                       # train on so many images; omitted: on all
    recipe.training.epochs = 10           # for all variants

    [[variants]]
    label = "3x3"

    [[variants]]
    label = "5x5"
    recipe.model.layers = ["conv 16 5x5", "pool", "conv 32 5x5", "global max"]
"""

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from tenfold.errors import RecipeError
from tenfold.training import recipe as recipes
from tenfold.training.recipe import Recipe, Section

BASE = "base"  # the recipe that every ablation starts from


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
        under = merged.get(key)
        if (
            isinstance(value, dict)
            and isinstance(under, dict)
            and value.get("kind", under.get("kind")) == under.get("kind")
        ):
            merged[key] = _laid_over(under, value)
        else:
            merged[key] = value
    return merged
