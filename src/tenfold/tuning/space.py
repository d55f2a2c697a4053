"""The search space: a recipe's [search] table, checked against the recipe.

A candidate is a dictionary of dotted keys and values, such as {"optimiser.lr": 0.05}; on the recipe it works as
`--set` does, so the schema checks every value.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tenfold.errors import RecipeError, nearest
from tenfold.training import recipe as recipes
from tenfold.training.recipe import Range, Recipe

Value = bool | int | float | str
Values = dict[str, Value]
Space = dict[str, Range | list[Value]]

SEARCHABLE = ("model", "features", "augment", "optimiser", "schedule", "training", "prediction")


@dataclass(frozen=True)
class Figures:
    """What a candidate comes to on n held-out images, and the seconds that its training took."""

    nll: float
    accuracy: float
    n: int
    seconds: float


def objective(metric: str, nll: float, accuracy: float) -> float:
    """Return what is minimised: the negative log-likelihood ("nll"), or the share of mistakes ("accuracy")."""
    return nll if metric == "nll" else 1 - accuracy


def overrides(values: Mapping[str, Value]) -> tuple[str, ...]:
    """Return the values as the KEY=VALUE strings that a recipe is loaded with."""
    return tuple(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in values.items())


def own_values(recipe: Recipe) -> Values:
    """Return the recipe's own values of the keys that its [search] table names."""
    return {key: _own(recipe, key) for key in recipe.search}


def check(recipe: Recipe, path: str | Path) -> None:
    """Raise RecipeError where the recipe, which stands in the file `path`, has no search space, or one that cannot be.

    A key is unknown or may not be searched, an end of a range is no value that the recipe may have, or the recipe's own
    value is not among those searched: it is tried first, to be beaten.
    """
    if not recipe.search:
        raise RecipeError(
            f"Recipe '{recipe.name}' has no [search] table. Add one, for example "
            '"optimiser.lr" = { low = 0.001, high = 0.1, log = true } below a line [search].'
        )
    for key, choices in recipe.search.items():
        own = _own(recipe, key)
        for end in choices if isinstance(choices, list) else (choices.low, choices.high):
            recipes.load(path, overrides({key: end}))
        if not _contains(choices, own):
            raise RecipeError(
                f"Recipe '{recipe.name}' has {key} = '{own}', which its [search] table leaves out. "
                "Make that range hold the recipe's own value: it is tried first, to be beaten."
            )


def whole(choices: Range) -> bool:
    """Return True for a range of whole numbers."""
    return all(isinstance(value, int) for value in (choices.low, choices.high, choices.step or 1))


def _own(recipe: Recipe, key: str) -> Value:
    """Return the recipe's value of a dotted key; RecipeError where there is none, or it may not be searched."""
    title, _, name = key.partition(".")
    tables = {each: recipe.tables().get(each, {}) for each in SEARCHABLE}
    similar = nearest(key, [f"{each}.{known}" for each, table in tables.items() for known in table])
    if title not in SEARCHABLE or not name:
        raise RecipeError(
            f"Recipe '{recipe.name}' searches for '{key}', which is no setting of the system."
            f"{similar} Name a key of {', '.join(f'[{each}]' for each in SEARCHABLE)}."
        )
    if name not in tables[title]:
        raise RecipeError(
            f"Recipe '{recipe.name}' searches for '{key}', which it has not.{similar} "
            f"Mend the key, or give the recipe a value: {name} = ... below [{title}]."
        )
    value: Value = tables[title][name]
    return value


def _contains(choices: Range | list[Value], value: Value) -> bool:
    if isinstance(choices, list):
        return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in choices)
    if isinstance(value, (bool, str, list)) or not choices.low <= value <= choices.high:
        return False
    if whole(choices) and value != round(value):
        return False
    steps = (value - choices.low) / choices.step if choices.step else 0.0
    return math.isclose(steps, round(steps), abs_tol=1e-6)
