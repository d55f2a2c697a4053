"""What a run was made with and from: versions, commit, data."""

import importlib
import platform
import subprocess
from pathlib import Path
from typing import Any

from tenfold.training.recipe import Recipe

# What computes, by the model's kind; every other classical model is scikit-learn's.
LIBRARIES = {"xgboost": ("xgboost", "sklearn")}
DISTRIBUTIONS = {"sklearn": "scikit-learn"}  # where it has another name than the module


def versions(recipe: Recipe) -> dict[str, str]:
    """Return the versions of Tenfold, Python, and the libraries that fit this recipe's model, by name."""
    from tenfold import __version__

    libraries = LIBRARIES.get(recipe.model.kind, ("sklearn",)) if recipe.classical else ("torch",)
    found = {DISTRIBUTIONS.get(name, name): importlib.import_module(name).__version__ for name in (*libraries, "numpy")}
    return {"tenfold": __version__, "python": platform.python_version(), **found}


def commit() -> str | None:
    """Return the commit of the checkout that this code lies in, or None for an installed package."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def training_specs(manifest: dict[str, Any]) -> list[str]:
    """Return the names and paths of all data behind a run's weights: its own, then those of the runs it began from."""
    spec = manifest["data"]["spec"]
    own = [spec] if isinstance(spec, str) else spec
    return list(dict.fromkeys([*own, *manifest.get("from", {}).get("data", [])]))
