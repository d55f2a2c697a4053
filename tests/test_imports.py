"""What is imported when: nothing heavy before it is needed, and the core without any extra."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ["torch", "sklearn", "scipy", "matplotlib", "cv2", "pandas", "numpy", "onnxruntime", "PIL"]
EXTRAS = ["torch", "safetensors", "sklearn", "scipy", "matplotlib", "jinja2", "xgboost", "optuna", "onnx"]
INVOKE = "from typer.testing import CliRunner; from tenfold.cli import app; result = CliRunner().invoke(app"
SOURCE = Path(__file__).parent.parent / "src" / "tenfold"


def run(code: str) -> str:
    """Return what the code prints in a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import tenfold; dir(tenfold); tenfold.__version__",
        "import tenfold.cli",
        f"{INVOKE}, ['--help'])",
        f"{INVOKE}, ['train', '--help'])",
    ],
)
def test_nothing_heavy_is_imported_early(code: str) -> None:
    """Importing Tenfold and asking for help load no library that takes long to load."""
    printed = run(f"{code}\nimport sys\nprint([name for name in {HEAVY} if name in sys.modules])")
    assert printed.splitlines()[-1] == "[]"


def modules() -> list[str]:
    """Return every module that has to import without an extra: all but those that train."""
    files = sorted(file.relative_to(SOURCE.parent) for file in SOURCE.rglob("*.py") if file.name != "__main__.py")
    names = [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files]
    training = ("tenfold.models", "tenfold.train", "tenfold.tuning")
    return [name for name in names if not name.startswith(training) or name == "tenfold.training.recipe"]


def test_core_imports_without_extras() -> None:
    """Every module outside models, training and tuning imports where no extra is installed."""
    block = f"import sys\nfor name in {EXTRAS}: sys.modules[name] = None\n"
    run(block + "".join(f"import {name}\n" for name in modules()))


@pytest.mark.parametrize("verb", ["train instant --data mnist", f"evaluate {SOURCE} --data mnist"])
def test_missing_extra_is_one_line(verb: str) -> None:
    """Where no extra is installed, a verb that needs one says in one line how to install it."""
    block = f"import sys\nfor name in {EXTRAS}: sys.modules[name] = None\n"
    answer = run(f"{block}{INVOKE}, {verb.split()})\nprint(result.exit_code, result.stderr)")
    assert answer.startswith("1 Error: ")
    assert "pip install 'tenfold[train]'" in answer
    assert answer.strip().count("\n") == 0


def test_public_names_load_when_used() -> None:
    """`import tenfold` offers what it lists, and an unknown name is an AttributeError."""
    import tenfold
    from tenfold.data.digits import Digits

    assert tenfold.Digits is Digits
    assert all(hasattr(tenfold, name) and name in dir(tenfold) for name in tenfold.__all__)
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = tenfold.nothing
