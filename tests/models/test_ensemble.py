"""The ensemble as a model: what its members answer, averaged, and nothing else."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tenfold.errors import RecipeError
from tenfold.metrics.scores import sharpen
from tenfold.models import build
from tenfold.training import recipe as recipes
from tenfold.training.predict import answer

MEMBERS: list[dict[str, Any]] = [
    {"kind": "convnet", "widths": [[4]], "weight": 3.0, "shifts": 1, "temperature": 0.6},
    {"kind": "convnet", "widths": [[6]], "classes": 11, "weight": 1.0},
]


def members_answers(module: torch.nn.Module, images: torch.Tensor) -> list[np.ndarray[Any, Any]]:
    """Return what each member answers by itself, as a run of it would."""
    assert isinstance(module.members, torch.nn.ModuleList)
    return [
        sharpen(answer(member, images, table.get("shifts", 0)).probabilities, table.get("temperature", 1.0))
        for member, table in zip(module.members, MEMBERS, strict=True)
    ]


@pytest.fixture
def images() -> torch.Tensor:
    """Return 40 images of noise."""
    return torch.randint(0, 256, (40, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("average", ["probabilities", "logits", "votes"])
def test_the_average_of_what_members_answer(average: str, images: torch.Tensor) -> None:
    """Weights, shifts and temperatures count, and an eleventh class does not."""
    torch.manual_seed(0)
    module = build("ensemble", {"members": MEMBERS, "average": average}).eval()
    first, second = members_answers(module, images)
    if average == "logits":
        expected = F.softmax(torch.from_numpy(0.75 * np.log(first) + 0.25 * np.log(second)), dim=1).numpy()
    elif average == "votes":
        expected = 0.75 * np.eye(10)[first.argmax(1)] + 0.25 * np.eye(10)[second.argmax(1)]
    else:
        expected = 0.75 * first + 0.25 * second
    assert (first.argmax(1) != second.argmax(1)).any()
    np.testing.assert_allclose(answer(module, images).probabilities, expected, atol=1e-5)


def test_without_shifts(images: torch.Tensor) -> None:
    """A teacher answers each image once."""
    torch.manual_seed(0)
    module: Any = build("ensemble", {"members": MEMBERS[:1]}).eval()
    shifted = answer(module, images).probabilities
    module.without_shifts()
    once = sharpen(answer(module.members[0], images).probabilities, 0.6)
    np.testing.assert_allclose(answer(module, images).probabilities, once, atol=1e-5)
    assert np.abs(shifted - once).max() > 1e-4


def test_its_recipe_survives_toml(tmp_path: Any) -> None:
    """Members are tables in a list, written out and read back."""
    recipe = recipes.parse({"name": "e", "model": {"kind": "ensemble", "members": MEMBERS}}, "e")
    (tmp_path / "recipe.toml").write_text(recipe.to_toml())
    again = recipes.load(tmp_path / "recipe.toml")
    assert again.model.arguments()["members"] == MEMBERS
    assert again.config_hash() == recipe.config_hash()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"members": []}, "members are none"),
        ({"members": MEMBERS, "average": "median"}, "average is 'median'"),
        ({"members": [MEMBERS[0] | {"weight": 0}]}, "add up to '0.0'"),
        ({"members": [MEMBERS[0] | {"weight": -1}]}, "has the weight '-1.0'"),
        ({"members": [{"kind": "svm"}]}, "'svm' is no network"),
        ({"members": [{"kind": "ensemble", "members": MEMBERS}]}, "is an ensemble itself"),
    ],
)
def test_what_cannot_be(arguments: dict[str, Any], message: str) -> None:
    """One line says what is wrong."""
    with pytest.raises(RecipeError, match=message):
        build("ensemble", arguments)
