"""The search space: a recipe's [search] table checked against the recipe, and the grids that narrow down on its best.

A candidate is a dictionary of dotted keys and values, such as {"optimiser.lr": 0.05}; on the recipe it works as
`--set` does, so the schema checks every value.
"""

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenfold.errors import RecipeError, nearest
from tenfold.training import recipe as recipes
from tenfold.training.recipe import Range, Recipe

Value = bool | int | float | str
Values = dict[str, Value]
Space = dict[str, Range | list[Value]]

STAGES = 3  # of a grid
POINTS = (5, 3)  # values on an axis: more where they fit into the number of trials
MOST_POINTS = 30  # candidates of a stage where no number of trials is given
SEARCHABLE = ("model", "features", "augment", "optimiser", "schedule", "training", "prediction")
DIGITS = 4  # significant digits of a grid's values, so that a recipe made of them reads well


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


def checked(recipe: Recipe, path: str | Path) -> Space:
    """Return the search space of the recipe, which stands in the file `path`, after looking at all of it.

    Raises RecipeError where there is none, a key is unknown or may not be searched, an end of a range is no value that
    the recipe may have, or the recipe's own value is not among those searched: it is tried first, to be beaten.
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
    return recipe.search


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


def axis_points(space: Space, trials: int | None) -> int:
    """Return how many values each numeric axis gets in a stage, so that all stages fit into `trials`.

    Raises RecipeError where even the coarsest grid has more candidates than that.
    """
    most = MOST_POINTS if trials is None else (trials - 1) // STAGES  # one trial is the recipe as it is
    for points in POINTS:
        if len(grid(space, points)) <= most:
            return points
    if trials is None:
        return POINTS[-1]
    least = STAGES * len(grid(space, POINTS[-1])) + 1
    raise RecipeError(
        f"A grid over '{', '.join(space)}' does not fit into '{trials}' trials. "
        f"Give --trials {least} or more, fewer keys in [search], or --method optuna."
    )


def grid(space: Space, points: int, stage: int = 0, centre: Values | None = None) -> list[Values]:
    """Return the candidates of one stage of a coarse-to-fine grid, each once.

    points: values on each numeric axis, odd. Stage 0 spreads them over the whole range, on a logarithmic axis where the
    range has one. A later stage puts them around `centre`, the best so far, between its neighbours of the stage before
    (5 points: a third of that step apart, 3 points: half), and keeps the centre's choices where there is nothing to
    refine. What would fall outside the range is left out.
    """
    axes = [_axis(choices, points, stage, None if centre is None else centre[key]) for key, choices in space.items()]
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*axes)]


def _axis(choices: Range | list[Value], points: int, stage: int, centre: Value | None) -> list[Value]:
    """Return the values that one key takes in a stage, ascending, each once."""
    if isinstance(choices, list):
        return list(choices) if stage == 0 or centre is None else [centre]
    shares = [i / (points - 1) for i in range(points)]
    if stage > 0 and centre is not None:
        step = 1 / (points - 1) / ((points + 1) // 2) ** stage
        middle = _share(choices, float(centre))
        shares = [middle + i * step for i in range(-(points // 2), points // 2 + 1)]
    values = [_value(choices, share) for share in shares if -1e-9 <= share <= 1 + 1e-9]
    if stage > 0 and centre is not None:
        values[values.index(min(values, key=lambda value: abs(value - float(centre))))] = centre  # free of rounding
    return list(dict.fromkeys(values))


def _share(choices: Range, value: float) -> float:
    """Return where a value lies in its range: 0 at the low end, 1 at the high end."""
    if choices.log:
        return math.log(value / choices.low) / math.log(choices.high / choices.low)
    return (value - choices.low) / (choices.high - choices.low)


def _value(choices: Range, share: float) -> Any:
    """Return the value at a share of the range, whole or on a step where the range asks for it."""
    low, high = choices.low, choices.high
    value = low * (high / low) ** share if choices.log else low + share * (high - low)
    if choices.step:
        value = low + round((value - low) / choices.step) * choices.step
        value = value - choices.step if value > high + 1e-9 * abs(high) else value  # where the last step passes the end
    value = round(value) if whole(choices) else float(f"{value:.{DIGITS}g}")
    return min(max(value, low), high)
