"""An extra is declared only where code of the package imports what it brings."""

import ast
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
BROUGHT = [  # what is for working on the package itself is imported by tests
    (extra, re.split(r"[\[>=<;]", requirement)[0])
    for extra, requirements in EXTRAS.items()
    if extra not in ("dev", "docs", "all")
    for requirement in requirements
    if "== 'darwin'" not in requirement
]


def named_in_the_package() -> set[str]:
    """Return every top-level module that the package imports, and every name that it holds as a string."""
    found: set[str] = set()
    for file in (ROOT / "src" / "tenfold").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").partition(".")[0])
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):  # fonts are found by such names
                found.add(node.value)
    return found


@pytest.mark.parametrize(("extra", "distribution"), BROUGHT)
def test_what_an_extra_brings_is_imported(extra: str, distribution: str) -> None:
    """Each library of each extra is imported somewhere in the package, or named where fonts are looked for."""
    modules = [module for module, names in metadata.packages_distributions().items() if distribution in names]
    if not modules:
        pytest.skip(f"'{distribution}' is not installed")
    assert named_in_the_package() & set(modules), f"extra '{extra}' brings '{distribution}', which nothing imports"


def test_all_is_every_extra() -> None:
    """`tenfold[all]` brings what every other extra brings."""
    (whole,) = EXTRAS["all"]
    assert set(re.search(r"\[(.*)\]", whole)[1].split(",")) == EXTRAS.keys() - {"all"}  # type: ignore[index]
