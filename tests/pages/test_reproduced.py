"""Published scores beside ours: which of them a protocol shows, and what it is compared with."""

from typing import Any

import pytest

from tenfold.pages.reproduced import SystemRow, markdown, place, row
from tenfold.runs.results import DataUsed, Result, Trial
from tenfold.training import recipe as recipes
from tenfold.training.recipe import Published


def of(accuracy: float, protocol: str, known: Published | None) -> SystemRow:
    """Return the row of a system with this accuracy."""
    values: dict[str, Any] = {
        "recipe": "two-conv",
        "config_sha256": "c" * 64,
        "commit": None,
        "machine": {},
        "versions": {},
        "train_data": DataUsed(spec="train", sha256="a", n=60_000),
        "test_data": DataUsed(spec="test", sha256="b", n=10_000),
        "epochs": 1.0,
        "trials": [Trial(seed=0, accuracy=accuracy, seconds=9.5)],
        "protocol": protocol,
    }
    return row(Result(**values), known, ["runs/a"])


def test_the_nearest_published_score() -> None:
    """A protocol shows the score nearest to it, and compares only what was measured alike and without a leak."""
    both = Published(test=0.99, validation=0.98, kaggle=0.97, source="a page")
    on_test, on_held_out = of(0.99, "mnist", both), of(0.99, "kaggle", both)
    assert (on_test.published, on_test.published_on, on_test.source) == (0.99, "test", "a page")
    assert (on_held_out.published, on_held_out.published_on) == (0.98, "validation")
    leaderboard = Published(kaggle=0.97, source="a page")
    met = [of(0.99, "mnist", leaderboard), of(0.97, "kaggle", leaderboard), of(0.9699, "kaggle", leaderboard)]
    assert [each.meets_published for each in met] == [None, True, False]
    leaked = of(0.99, "kaggle", Published(kaggle=0.97, source="a page", leaked=True))
    assert leaked.meets_published is None
    assert leaked.where() == "Kaggle's leaderboard, which it was trained on"


@pytest.mark.parametrize("known", [None, Published(source="a page")])
def test_nothing_published(known: Published | None) -> None:
    """A system without a published score has dashes."""
    found = of(0.9871, "mnist", known)
    assert (found.published, found.published_on, found.source, found.leaked) == (None, None, None, False)
    assert markdown([found]).splitlines()[2] == (
        "| two-conv | – | – | 98.71% | 98.47% to 98.91% | – | 129 of 10,000 | 1 | 9.50 | – |"
    )


def test_every_shipped_recipe_has_its_place() -> None:
    """Each shipped recipe names a place of its own; one without stands behind them, by name."""
    shipped = [recipes.load(name) for name in recipes.available()]
    assert None not in {recipe.order for recipe in shipped}
    assert len({recipe.order for recipe in shipped}) == len(shipped)
    mine = shipped[0].model_copy(update={"order": None, "name": "ape"})
    assert sorted([mine, *shipped], key=place)[-1] == mine
    names = [recipe.name for recipe in sorted(shipped, key=place)]
    assert names.index("svm") < names.index("two-conv") < names.index("fast") < names.index("strong")
