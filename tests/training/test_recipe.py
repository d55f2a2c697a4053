"""Recipes: what parses, what is refused, and how clearly."""

import tomllib
from pathlib import Path

import pytest

from tenfold.errors import RecipeError
from tenfold.models import build
from tenfold.models.classical import Classical
from tenfold.training.recipe import available, load, parse


@pytest.mark.parametrize("name", available())
def test_shipped_recipe_builds(name: str) -> None:
    """Every shipped recipe passes the schema, says what it is, and its model can be built."""
    recipe = load(name)
    assert recipe.name == name
    assert recipe.summary
    if recipe.classical:
        Classical(recipe.model.kind, recipe.model.arguments(), recipe.features.model_dump()).estimator()
        return
    assert sum(p.numel() for p in build(recipe.model.kind, recipe.model.arguments()).parameters()) > 1000


def test_three_sizes_are_shipped() -> None:
    """The three sizes that the README names are there."""
    assert {"instant", "fast", "strong"} <= set(available())


def test_to_toml_is_whole() -> None:
    """A recipe written as TOML and read again is the same recipe, hash included."""
    search = "search={'optimiser.lr' = {low = 0.01, high = 1, log = true}, 'training.batch_size' = [32, 64]}"
    recipe = load("fast", ["optimiser.lr=0.5", 'summary="says \\"so\\""', search])
    assert set(recipe.search) == {"optimiser.lr", "training.batch_size"}
    again = parse(tomllib.loads(recipe.to_toml()), "again")
    assert again == recipe
    assert again.config_hash() == recipe.config_hash()


def test_overrides_change_single_values() -> None:
    """KEY=VALUE sets one value with TOML's types; a bare word is a string; the rest stays."""
    recipe = load("fast", ["optimiser.lr=0.02", "optimiser.kind=sgd", "model.widths=[[8],[8]]", "seed=7"])
    assert (recipe.optimiser.lr, recipe.optimiser.kind, recipe.seed) == (0.02, "sgd", 7)
    assert recipe.model.arguments()["widths"] == [[8], [8]]
    assert recipe.augment == load("fast").augment


def test_config_hash_ignores_name_and_seed() -> None:
    """The hash tells settings apart, not names, seeds, published scores or what a search may try."""
    base = load("fast")
    published = 'published={test = 0.99, source = "a paper"}'
    assert load("fast", [published, "search={'optimiser.lr' = [1, 2]}"]).config_hash() == base.config_hash()
    assert load("fast", ["seed=3", "name=other"]).config_hash() == base.config_hash()
    assert load("fast", ["training.epochs=1"]).config_hash() != base.config_hash()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimiser.lrr=1", "unknown key 'optimiser.lrr'. Did you mean 'lr'?"),
        ("optimizer.lr=1", "unknown key 'optimizer'. Did you mean 'optimiser'?"),
        ("optimiser.lr=-1", "optimiser.lr = '-1'"),
        ("optimiser.lr=nan", "optimiser.lr = 'nan'"),
        ("training.epochs=many", "training.epochs = 'many'"),
        ("training.keep=first", "training.keep = 'first'"),
        ("optimiser.lr", "'optimiser.lr' is not KEY=VALUE"),
        ("features.pca=30", "the model 'convnet' is a network and has no 'features.pca'"),
        ("model={kind='svm'}", "the model 'svm' is fitted in one go and has no 'augment."),
        ("published.test=0.5", "lacks the key 'published.source'"),
        ("search={'optimiser.lr'={low=2,high=1}}", "the range from 2 to 1 is empty"),
        ("search={'optimiser.lr'={low=0,high=1,log=true}}", "a log range needs low above 0"),
        ("search={'optimiser.lr'=[]}", 'search."optimiser.lr"'),
        ("name.lr=1", "goes into 'name', which is no table"),
    ],
)
def test_bad_override_is_named(override: str, message: str) -> None:
    """A wrong override is refused in one line that holds the key, the value, or the nearest known key."""
    with pytest.raises(RecipeError) as caught:
        load("fast", [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_recipe_names_the_nearest() -> None:
    """A misspelt recipe is answered with the nearest one."""
    with pytest.raises(RecipeError, match="No recipe is called 'fst'. Did you mean 'fast'?"):
        load("fst")


def test_recipe_from_a_path(tmp_path: Path) -> None:
    """A TOML file of the user's own is a recipe; a broken or incomplete one is an error that names the file."""
    path = tmp_path / "mine.toml"
    path.write_text(load("fast", ["name=mine"]).to_toml())
    assert load(path).name == "mine"
    path.write_text("name = ")
    with pytest.raises(RecipeError, match="is not valid TOML"):
        load(path)
    path.write_text('name = "x"')
    with pytest.raises(RecipeError, match="lacks the key 'model'"):
        load(path)
    with pytest.raises(RecipeError, match="cannot be read"):
        load(tmp_path / "none.toml")


def test_unknown_model_and_argument_are_named() -> None:
    """A network or an argument that is not there is answered with the nearest that is."""
    with pytest.raises(RecipeError, match="No model is called 'convnt'. Did you mean 'convnet'?"):
        build("convnt", {})
    with pytest.raises(RecipeError, match="has no argument 'width'. Did you mean 'widths'?"):
        build("convnet", {"width": [[8]]})


@pytest.mark.parametrize("name", ["a\x7fb", 'a"b', "a\nb", "[/x]"])
def test_names_survive_toml(name: str) -> None:
    """Whatever letters a name has, what is written is read again."""
    recipe = load("instant").model_copy(update={"name": name})
    assert parse(tomllib.loads(recipe.to_toml()), "again").name == name


@pytest.mark.parametrize(
    "override",
    ["seed=18446744073709551616", "training.batch_size=1000000000", "training.epochs=1e300", "data.folds=1000000000",
     "synthetic.negatives=1000000000", "name=a\udcff"],
)  # fmt: skip
def test_sizes_have_bounds(override: str) -> None:
    """A seed, a count or a size beyond all use, and a name that is no text, are refused in one line."""
    with pytest.raises(RecipeError, match="'instant'") as caught:
        load("instant", [override])
    str(caught.value).encode(errors="backslashreplace")


def test_a_length_that_is_asked_for_is_the_length() -> None:
    """`training.epochs` set by hand leaves no least number of steps of the recipe's, unless that is set too."""
    assert load("instant").training.min_steps > 0
    assert load("instant", ["training.epochs=1"]).training.min_steps == 0
    assert load("instant", ["training.epochs=1", "training.min_steps=7"]).training.min_steps == 7
    assert load("instant", ["optimiser.lr=0.1"]).training.min_steps == load("instant").training.min_steps


def test_an_earlier_runs_recipe_is_read() -> None:
    """The 0 of a distortion that is no more is dropped; asked for, it is an unknown key."""
    old = load("fast").to_toml().replace("contrast = 0.0\n", "contrast = 0.0\nerasing = 0.0\n")
    assert "erasing" in old
    assert parse(tomllib.loads(old), "old") == load("fast")
    with pytest.raises(RecipeError, match=r"unknown key 'augment\.erasing'"):
        load("fast", ["augment.erasing=0.5"])
