"""A training of an ablation is judged on what all hold out, and is the same wherever it is trained."""

from pathlib import Path

import numpy as np
import pytest

from tenfold.data.digits import image_hashes
from tenfold.errors import RunError
from tenfold.runs import ablation as trainings
from tenfold.training import recipe as recipes

RECIPE = """
name = "narrow"
model = { kind = "layers", layers = ["conv 4", "pool", "conv 8", "global max"] }
training = { epochs = 1, min_steps = 0, precision = "fp32" }
"""


@pytest.fixture
def recipe(tmp_path: Path) -> recipes.Recipe:
    """A small network."""
    (tmp_path / "narrow.toml").write_text(RECIPE)
    return recipes.load(tmp_path / "narrow.toml")


def test_a_training_is_reproducible(recipe: recipes.Recipe, tmp_path: Path) -> None:
    """The same recipe and seed give the same answers, so what another study trained can be taken over."""
    sha256 = trainings.parts("uci").sha256
    files = [tmp_path / name for name in ("a", "b")]
    for file in files:
        trainings.train(recipe.tables(), 100, 0, "uci", sha256, str(file), "cpu")
    first, second = (trainings.Outcome.model_validate_json(file.read_bytes()) for file in files)
    assert (first.trial.accuracy, first.trial.nll) == (second.trial.accuracy, second.trial.nll)
    assert first.config_sha256 == recipe.config_hash()
    assert first.machine["threads"] == 1
    with pytest.raises(RunError, match="The data 'uci' are others for the process that trains"):
        trainings.train(recipe.tables(), 100, 0, "uci", "0" * 64, str(files[0]), "cpu")


def test_held_out_images_are_the_same_for_all() -> None:
    """A sixth of the images is held out, and none of them is trained on."""
    _, training, held_out = trainings.parts("uci")
    assert len(held_out) == (len(training) + len(held_out)) // 6
    assert not np.isin(image_hashes(held_out.images), image_hashes(training.images)).any()


def test_files_are_named_after_what_is_trained(recipe: recipes.Recipe) -> None:
    """The name depends on recipe, images, data and seed, and on nothing else."""
    other = recipe.model_copy(update={"name": "another", "order": 3})
    name = trainings.file_name(recipe, 100, "s", 0)
    assert name == trainings.file_name(other, 100, "s", 0)
    assert (
        len({name, *(trainings.file_name(recipe, *rest) for rest in [(None, "s", 0), (100, "t", 0), (100, "s", 1)])})
        == 4
    )
    assert name.endswith("-0.json")
