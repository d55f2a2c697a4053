"""What is published: the wheel holds the package alone, and reads a picture where nothing else is installed."""

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import tenfold

ROOT = Path(__file__).parent.parent
UNREACHED = re.compile(
    r"NewConnectionError|Connection (refused|broken|error)|name resolution|ConnectTimeout|ReadTimeout", re.I
)


def pip(*arguments: str | Path, python: str | Path = sys.executable) -> None:
    """Run pip; the test is skipped where the package index cannot be reached."""
    command = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "--retries", "1", *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode and UNREACHED.search(done.stderr):
        pytest.skip("needs a package index, and none is reached")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built of this source."""
    folder = tmp_path_factory.mktemp("dist")
    pip("wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_wheel_holds_the_package_alone(wheel: Path) -> None:
    """The wheel holds every file of the package, templates, recipes and models too, and no test or document."""
    package = ROOT / "src"
    there = {
        file.relative_to(package).as_posix()
        for file in package.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == there
    for kind in ("recipes/fast.toml", "ablations/base.toml", "pretrained/world.onnx", "pages/templates/base.html"):
        assert f"tenfold/{kind}" in held


@pytest.mark.slow
def test_reads_a_picture_where_nothing_else_is(wheel: Path, tmp_path: Path) -> None:
    """Installed with its dependencies alone, without PyTorch, the command reads the README's picture."""
    venv.create(tmp_path, with_pip=True)
    scripts = tmp_path / ("Scripts" if sys.platform == "win32" else "bin")
    pip("install", wheel, python=scripts / "python")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    for command, said in [
        ([str(scripts / "tenfold"), "read", "--digits", "docs/seven.png"], r"docs/seven\.png 7 0\.99\d\n"),
        ([str(scripts / "tenfold"), "read", "docs/seven.png"], r"docs/seven\.png 7 [\d.]+ [\d,]+\n"),
        ([str(scripts / "python"), "-c", "import importlib.util as u; print(u.find_spec('torch'))"], r"None\n"),
    ]:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        assert re.fullmatch(said, done.stdout)


def test_citation_is_of_this_version() -> None:
    """CITATION.cff names the version and the licence of the package."""
    stated = dict(re.findall(r"^(version|license): (.*)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert stated == {"version": tenfold.__version__, "license": project["license"]}
