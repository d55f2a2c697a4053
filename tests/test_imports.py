"""What is imported when: nothing heavy before it is needed, and the core without any extra."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tenfold.cli import VERBS

HEAVY = ["torch", "sklearn", "scipy", "cv2", "pandas", "numpy", "onnxruntime", "PIL", "optuna", "ray"]
EXTRAS = [
    "torch",
    "safetensors",
    "sklearn",
    "scipy",
    "xgboost",
    "optuna",
    "onnx",
    "skl2onnx",
    "ray",
    "cleanlab",
    "mlflow",
    "tensorboardX",
]
INVOKE = "from typer.testing import CliRunner; from tenfold.cli import app; result = CliRunner().invoke(app"
SOURCE = Path(__file__).parent.parent / "src" / "tenfold"
COMPUTING = ("tenfold.models.", "tenfold.training.", "tenfold.runs.estimator", "tenfold.graphs.")
DESCRIBING = ("tenfold.training.recipe", "tenfold.training.synthetic", "tenfold.graphs.exported")


def run(code: str) -> str:
    """Return what the code prints in a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(code: str) -> list[str]:
    """Return which heavy libraries are loaded once the code has run."""
    return ast.literal_eval(
        run(f"{code}\nimport sys\nprint([name for name in {HEAVY} if name in sys.modules])").splitlines()[-1]
    )


@pytest.mark.parametrize(
    "code", ["import tenfold; dir(tenfold); tenfold.__version__", "import tenfold.cli", f"{INVOKE}, ['--help'])"]
)
def test_nothing_heavy_is_imported_early(code: str) -> None:
    """Importing Tenfold and asking for help load no library that takes long to load."""
    assert loaded(code) == []


def test_training_loads_no_library_that_it_does_not_need(tmp_path: Path) -> None:
    """A network is trained without scikit-learn, scipy and torch's compiler, each of which takes a second to load."""
    code = f"""
import sys
import numpy as np
from tenfold.train import train
images = np.random.default_rng(0).integers(0, 256, (60, 28, 28), np.uint8)
np.savez({str(tmp_path / "digits.npz")!r}, X=images, y=np.arange(60) % 10)
small = ["training.min_steps=2", "training.epochs=1", "training.batch_size=20", "data.validation=0.5"]
train("instant", {str(tmp_path / "digits.npz")!r}, {str(tmp_path / "run")!r}, overrides=small, quiet=True)
print([name for name in ("sklearn", "scipy", "torch._dynamo", "sympy") if name in sys.modules])
"""
    assert run(code) == "[]\n"


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_explains_itself_without_what_computes(verb: str) -> None:
    """A verb's own help loads no library that takes long to load, but for numpy."""
    assert set(loaded(f"{INVOKE}, ['{verb}', '--help'])")) <= {"numpy"}


def modules() -> list[str]:
    """Return every module that has to import without an extra: all but those that compute with one."""
    files = sorted(file.relative_to(SOURCE.parent) for file in SOURCE.rglob("*.py") if file.name != "__main__.py")
    names = [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files]
    return [name for name in names if not name.startswith(COMPUTING) or name in DESCRIBING]


def test_core_imports_without_extras() -> None:
    """Every other module imports where no extra is installed."""
    block = f"import sys\nfor name in {EXTRAS}: sys.modules[name] = None\n"
    run(block + "".join(f"import {name}\n" for name in modules()))


@pytest.mark.parametrize("verb", ["train instant --data mnist", "tune instant --data uci"])
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


WITHOUT_EXTRAS = f"""
import sys
for name in {EXTRAS}: sys.modules[name] = None
import inspect, pydoc, tenfold
from tenfold import *
pydoc.render_doc(tenfold)
assert dir(tenfold) == sorted(tenfold.__all__) == [name for name, _ in inspect.getmembers(tenfold)]
assert isinstance(DigitClassifier, type)
class Mine(DigitClassifier): pass
for estimator in (tenfold.DigitClassifier, Mine):
    try:
        estimator(recipe="instant")
    except tenfold.errors.MissingExtraError as error:
        print(error)
"""


def test_looking_around_needs_no_extra() -> None:
    """Without extras, help, dir and `import *` work; the estimator, and what is made of it, name theirs when used."""
    needs = "'sklearn', which 'DigitClassifier' needs, is not installed. Run: pip install 'tenfold[train]'"
    assert run(WITHOUT_EXTRAS).splitlines() == [needs, needs]


def test_another_missing_library_is_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library of the core that is missing is not hidden behind an extra."""
    import tenfold

    monkeypatch.setitem(sys.modules, "tenfold.runs.estimator", None)
    with pytest.raises(ModuleNotFoundError, match="tenfold.runs.estimator"):
        _ = tenfold.DigitClassifier


LIBRARIES = [
    *("cv2", "jinja2", "numpy", "onnxruntime", "onnxruntime.quantization", "PIL.Image", "pydantic", "requests", "rich"),
    *(
        "typer",
        "torch",
        "safetensors.numpy",
        "sklearn",
        "xgboost",
        "optuna",
        "onnx",
        "skl2onnx",
        "ray",
        "cleanlab.filter",
    ),
]
WATCHED = """
import importlib
import tenfold
importlib.import_module(sys.argv[1])
if sys.argv[1] == "onnxruntime":
    tenfold.Recogniser.load("tiny")
files = [f"/proc/self/fd/{number}" for number in range(3, 64)]
sockets = [file for file in files if os.path.lexists(file) and os.readlink(file).startswith("socket:")]
assert not opened + sockets, (opened, sockets)
"""


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_that_is_loaded_tells_nobody(library: str, watching: str, tmp_path: Path) -> None:
    """No library that we load looks up an address, leaves a socket open, or writes into the user's folders."""
    pytest.importorskip(library.partition(".")[0])
    folders = {name: str(tmp_path / name) for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TMPDIR")}
    for folder in folders.values():
        Path(folder).mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"} | folders
    command = [sys.executable, "-B", "-c", watching + WATCHED, library]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(folders)
