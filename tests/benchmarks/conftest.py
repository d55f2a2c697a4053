"""The scripts of benchmarks/ are imported as they import each other: as plain modules of that folder."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tenfold.runs.results import DataUsed

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

MACHINE: dict[str, Any] = {"cpu": "Example CPU", "cores": 2, "threads": 2, "device": "cpu", "precision": "bf16"}
RECIPE = """
name = "small"
model = { kind = "layers", layers = ["conv 8", "pool", "conv 16", "global max"] }
training = { epochs = 3, batch_size = 32, precision = "fp32" }
augment = { rotation = 5, scale = 0.1, shear = 0.1, shift = 1, elastic = 0.5, contrast = 0.1 }
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe with every distortion, trained in a second."""
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def result() -> Callable[..., Any]:
    """Return a function that makes a result of three seeds, 0.9970, 0.9972 and 0.9974, in 58, 59 and 60 seconds."""

    def make(recipe: str = "fast", **changes: Any) -> Any:
        from systems import SystemResult, SystemTrial

        values: dict[str, Any] = {
            "time": "2026-01-01T00:00:00+00:00",
            "recipe": recipe,
            "config_sha256": "c" * 64,
            "commit": "abc",
            "machine": MACHINE,
            "versions": {"python": "3.11.2"},
            "train_data": DataUsed(spec="mnist:train", sha256="a" * 64, n=60_000),
            "test_data": DataUsed(spec="mnist:test", sha256="b" * 64, n=10_000),
            "parameters": 214_000,
            "epochs": 4.0,
            "trials": [
                SystemTrial(seed=i, accuracy=0.9970 + 0.0002 * i, seconds=58.0 + i, command_seconds=62.0 + i)
                for i in range(3)
            ],
        }
        return SystemResult(**(values | changes))

    return make


@pytest.fixture
def cells() -> Callable[[str, str], list[str]]:
    """Return a function that gives the cells of a recipe's first row in a Markdown table."""

    def of(table: str, recipe: str) -> list[str]:
        line = next(line for line in table.splitlines() if line.startswith(f"| `{recipe}`"))
        return [cell.strip() for cell in line.strip("|").split("|")]

    return of
