"""A run's folder lies where it is meant to, whatever its recipe is called."""

import pytest

from tenfold.errors import RecipeError
from tenfold.runs.begin import folder_name, free_folder


@pytest.mark.parametrize("name", ["../x", "/abs/x", "a/b", "..", ".", "", "a\\b", "a\0b", "a\x7f", "a\x1b", "x" * 300])
def test_a_name_that_leads_elsewhere(name: str) -> None:
    """A recipe's name that is no plain name of a folder is refused, and --out is the way on."""
    for make in (folder_name, free_folder):
        with pytest.raises(RecipeError, match="names no folder for a run. Give --out"):
            make(name)
    assert free_folder("zwölf [1]").name == "zwölf [1]-1"
