"""A training of an ablation is judged on what all hold out, and is the same wherever it is trained."""

from pathlib import Path

import numpy as np
import pytest

from tenfold.data.digits import image_hashes
from tenfold.errors import RecipeError, RunError
from tenfold.models import build
from tenfold.runs import ablation as ablations
from tenfold.runs import ablation as trainings
from tenfold.runs.ablation import Variant
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
        trainings.train(recipe.tables(), 100, 0, "uci", None, sha256, str(file), "cpu")
    first, second = (trainings.Outcome.model_validate_json(file.read_bytes()) for file in files)
    assert (first.trial.accuracy, first.trial.nll) == (second.trial.accuracy, second.trial.nll)
    assert first.config_sha256 == recipe.config_hash()
    assert first.machine["threads"] == 1
    with pytest.raises(RunError, match="The data 'uci' are others for the process that trains"):
        trainings.train(recipe.tables(), 100, 0, "uci", None, "0" * 64, str(files[0]), "cpu")


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


GOOD = """
question = "Which?"
baseline = "a"
[[variants]]
label = "a"
[[variants]]
label = "b"
recipe.optimiser.lr = 0.5
"""


def write(folder: Path, text: str) -> str:
    """Return the path of an ablation's file with this text."""
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", ablations.available())
def test_shipped_ablations_can_be_trained(name: str) -> None:
    """Every shipped ablation has variants that differ, and a network can be built of each."""
    study = ablations.load(name)
    systems = {(study.recipe_of(variant).config_hash(), study.images_of(variant)) for variant in study.variants}
    assert len(systems) == len(study.variants) >= 2
    for variant in study.variants:
        model = study.recipe_of(variant).model
        build(model.kind, model.arguments())


def test_every_question_has_its_ablation() -> None:
    """What the sources talk of is all there, one file each."""
    asked = {"kernel", "filters", "dropout", "norm", "regularisation", "pooling", "learning-rate", "batch-size"}
    assert asked | {"activation", "augmentation", "training-size"} == set(ablations.available())


def test_tables_are_laid_over_each_other(tmp_path: Path) -> None:
    """A variant changes its own keys, the ablation's recipe those of all, and the other keys stay as in the base."""
    study = ablations.load(
        write(tmp_path, GOOD.replace('baseline = "a"', 'baseline = "a"\nimages = 9\nrecipe.training.epochs = 7'))
    )
    a, b = (study.recipe_of(variant) for variant in study.variants)
    assert (a.training.epochs, b.training.epochs, b.optimiser.lr) == (7, 7, 0.5)
    assert a.training.batch_size == b.training.batch_size == 64
    assert a.optimiser.lr != 0.5
    assert a.model == b.model
    assert (study.name, study.images_of(study.variants[0])) == ("mine", 9)


def test_another_kind_brings_its_own_arguments(tmp_path: Path) -> None:
    """A variant of another kind of model starts from that kind's defaults, not from the base network's layers."""
    study = ablations.load(write(tmp_path, GOOD))
    other = study.recipe_of(Variant(label="c", recipe={"model": {"kind": "convnet", "widths": [[8]]}}))
    assert other.model.arguments() == {"widths": [[8]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('baseline = "a"', 'baseline = "x"'), "the baseline 'x' is no variant; give one of a, b"),
        (('label = "b"', 'label = "a"'), "the label 'a' stands twice"),
        (('question = "Which?"', ""), "at 'question': Field required"),
        (('question = "Which?"', 'questoin = "Which?"'), "at 'questoin'"),
        (('question = "Which?"', "question ="), "is not valid TOML"),
        (('[[variants]]\nlabel = "a"\n', ""), "at least 2"),
    ],
)
def test_bad_files(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    """A file that makes no ablation is one line that names the file and what is wrong."""
    with pytest.raises(RecipeError) as caught:
        ablations.load(write(tmp_path, GOOD.replace(*change, 1)))
    assert message in str(caught.value)
    assert "mine.toml" in str(caught.value)


def test_bad_names(tmp_path: Path) -> None:
    """An unknown name says which is nearest; a file that is not there, or is no text, says so."""
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="No ablation is called 'kernle'. Did you mean 'kernel'?"):
        ablations.load("kernle")
    with pytest.raises(RecipeError, match="No ablation is called 'base'."):
        ablations.load("base")
    with pytest.raises(RecipeError, match="cannot be read: No such file"):
        ablations.load(tmp_path / "none.toml")
    with pytest.raises(RecipeError, match="not UTF-8"):
        ablations.load(tmp_path / "binary.toml")


def test_bad_recipe_names_the_variant(tmp_path: Path) -> None:
    """A variant whose recipe cannot be is named, with the key."""
    study = ablations.load(write(tmp_path, GOOD.replace("optimiser.lr", "optimiser.lrr")))
    with pytest.raises(RecipeError, match="Recipe 'mine, b' has an unknown key 'optimiser.lrr'. Did you mean 'lr'?"):
        study.recipe_of(study.variants[1])
