"""Ablations: files that differ from one network in one thing, and what is wrong with a file in one line."""

from pathlib import Path

import pytest

from tenfold.errors import RecipeError
from tenfold.models import build
from tenfold.training import ablation as ablations
from tenfold.training.ablation import Variant

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
