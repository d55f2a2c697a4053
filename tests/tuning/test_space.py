"""The search space: what is refused."""

from pathlib import Path
from typing import Any

import pytest

from tenfold.errors import RecipeError
from tenfold.training import recipe as recipes
from tenfold.training.recipe import Range
from tenfold.tuning import space as spaces

HEAD = 'name = "mine"\n[model]\nkind = "convnet"\ndropout = 0.1\n[optimiser]\nlr = 0.01\n'


def write(folder: Path, table: str) -> Path:
    """Return the path of a recipe with this [search] table."""
    path = folder / "mine.toml"
    path.write_text(HEAD + ("[search]\n" + table if table else ""), "utf-8")
    return path


def test_every_shipped_search_table_is_sound() -> None:
    """Each shipped recipe with a [search] table names keys that it has, and ranges that hold its own values."""
    searched = [name for name in recipes.available() if recipes.load(name).search]
    classical = {name for name in recipes.available() if recipes.load(name).classical}
    assert {"fast", "instant", "strong", *classical} <= set(searched)
    for name in searched:
        recipe = recipes.load(name)
        spaces.check(recipe, name)
        assert list(recipe.search) == list(spaces.own_values(recipe))


def test_own_values_and_overrides(tmp_path: Path) -> None:
    """What the recipe has of the keys to search, and how values go back into it, as `--set` does."""
    path = write(tmp_path, '"optimiser.lr" = { low = 1e-3, high = 0.1, log = true }\n"model.dropout" = [0.0, 0.1]')
    recipe = recipes.load(path)
    spaces.check(recipe, path)
    assert spaces.own_values(recipe) == {"optimiser.lr": 0.01, "model.dropout": 0.1}
    changed = recipes.load(path, spaces.overrides({"optimiser.lr": 1e-5, "model.dropout": 0.0}))
    assert (changed.optimiser.lr, changed.model.arguments()["dropout"]) == (1e-5, 0.0)
    text = recipes.load(path, spaces.overrides({"model.activation": 'it\'s "so"'}))
    assert text.model.arguments()["activation"] == 'it\'s "so"'


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "Recipe 'mine' has no [search] table. Add one"),
        ('"optimiser.lr" = { low = 0.1, high = 0.1 }', "is empty"),
        ('"optimiser.lr" = { low = 0.2, high = 0.1 }', "is empty"),
        ('"optimiser.lr" = { low = 0.0, high = 0.1, log = true }', "low above 0"),
        ('"optimiser.lr" = { low = 0.0, high = 0.1, step = 0 }', "search.\"optimiser.lr\""),
        ('"optimiser.lr" = []', "search.\"optimiser.lr\""),
        ('"optimiser.rl" = { low = 0.0, high = 0.1 }', "Did you mean 'optimiser.lr'?"),
        ('"optimizer.lr" = { low = 0.0, high = 0.1 }', "Did you mean 'optimiser.lr'?"),
        ('"seed" = [0, 1, 2]', "'seed', which is no setting of the system"),
        ('"data.validation" = [0.05, 0.1]', "'data.validation', which is no setting of the system"),
        ('"features.pca" = [0, 50]', "'features.pca', which it has not"),
        ('"optimiser.lr" = { low = -0.5, high = 0.1 }', "optimiser.lr = '-0.5'"),
        ('"optimiser.kind" = ["adamw", "adamv"]', "optimiser.kind = 'adamv'"),
        ('"optimiser.lr" = { low = 0.02, high = 0.1 }', "optimiser.lr = '0.01', which its [search] table leaves out"),
        ('"training.batch_size" = { low = 100, high = 200, step = 50 }', "training.batch_size = '128', which"),
        ('"optimiser.clip_norm" = [false, true]', "optimiser.clip_norm = '0.0', which its [search] table leaves out"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_one_line(tmp_path: Path, table: str, message: str) -> None:
    """An empty range, an unknown key, an impossible end, a space without the own value: named."""
    path = write(tmp_path, table)
    with pytest.raises(RecipeError) as caught:
        spaces.check(recipes.load(path), path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("choices", "value", "inside"),
    [
        (Range(low=0.0, high=0.5, step=0.1), 0.3, True),
        (Range(low=0.0, high=0.5, step=0.1), 0.35, False),
        (Range(low=1, high=10), 2.5, False),
        (Range(low=1, high=10), 2.0, True),
        (Range(low=1, high=10), True, False),
        ([False, True], 0, False),
        (["a", 1], 1, True),
    ],
)
def test_own_value_among_those_searched(choices: Any, value: Any, inside: bool) -> None:
    """A value is searched where it lies in the range, on a step of it, and is of its kind."""
    assert spaces._contains(choices, value) is inside
