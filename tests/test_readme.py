"""The README tells the truth: its map is the order that is checked, and its commands run."""

import ast
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tenfold.cli import app
from tenfold.training import recipe as recipes
from tenfold.training.recipe import Recipe

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "tenfold"
CONTRACT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.split("  #")[0].strip() for language, text in BLOCKS if language == "sh" for line in text.splitlines() if line
]


def rooms_in_map() -> list[str]:
    """Return the rooms and files that the README's map names, in its order."""
    (text,) = [text for language, text in BLOCKS if not language]
    heads = [re.split(r" {2,}", line)[0] for line in text.splitlines()]
    return [name.rstrip("/").removesuffix(".py") for head in heads for name in head.split()]


def test_map_is_the_order_that_is_checked() -> None:
    """The README's map names the rooms in the order of the import contract, lowest first, all of them."""
    layers = CONTRACT["tool"]["importlinter"]["contracts"][0]["layers"]
    checked = [name.strip() for layer in reversed(layers) for name in layer.split(":")]
    shown = rooms_in_map()
    assert [name for name in shown if name in checked] == [*shown[: shown.index("*")], "cli"]
    assert [layer for layer in checked if (PACKAGE / layer).is_dir() and layer not in shown] == []
    ranks = [len(layers) - next(i for i, layer in enumerate(layers) if name in layer.split(" : ")) for name in shown
             if name in checked]  # fmt: skip
    assert ranks == sorted(ranks)


def test_contributing_states_the_contract() -> None:
    """CONTRIBUTING's order of imports is the contract's."""
    layers = CONTRACT["tool"]["importlinter"]["contracts"][0]["layers"]
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    stated = [line.strip() for line in re.search(r"^((?: {4}.*\n)+)", text, re.MULTILINE)[1].splitlines()]  # type: ignore[index]
    order = [part.strip() for part in " ".join(stated).split(" < ")]
    assert order == [layer.replace(" : ", ", ") for layer in reversed(layers)]


def test_readme_is_short() -> None:
    """The README is read in a few minutes."""
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_every_module_says_what_it_is(file: Path) -> None:
    """Each module that holds anything begins with a docstring, whose first line is a sentence."""
    text = file.read_text(encoding="utf-8")
    if text:
        first = (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
        assert (first.endswith(".") and first[0].isupper()) or first[0] in "`*"


def test_links_lead_somewhere() -> None:
    """Every relative link and picture of the README is there."""
    links = [link for link in re.findall(r"\]\(([^)#]+)\)|src(?:set)?=\"([^\"]+)\"", README) for link in link if link]
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make ")])
def test_make_targets_exist(command: str) -> None:
    """Each `make` command of the README names a target of the Makefile."""
    done = subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_command_is_known() -> None:
    """The README's shell blocks hold nothing but `make` and `tenfold` commands, which the other tests run."""
    assert [command for command in COMMANDS if not command.startswith(("make ", "tenfold "))] == []


def write_competition(path: Path) -> None:
    """Write a zip like the competition's, of scikit-learn's digits."""
    from tenfold.data import load

    train, test = load("uci:train", "train"), load("uci:test", "evaluate")
    assert train.labels is not None
    pixels = ",".join(f"pixel{number}" for number in range(784))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, head, table in [
            ("train.csv", f"label,{pixels}", np.column_stack([train.labels, train.images.reshape(len(train), -1)])),
            ("test.csv", pixels, test.images.reshape(len(test), -1)),
            (
                "sample_submission.csv",
                "ImageId,Label",
                np.column_stack([np.arange(1, len(test) + 1), np.zeros(len(test), int)]),
            ),
        ]:
            rows = [",".join(map(str, row)) for row in table.tolist()]
            archive.writestr(name, "\n".join([head, *rows]) + "\n")


@pytest.mark.slow
def test_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `tenfold` command of the README runs as typed, with scikit-learn's digits in the place of the large sets.

    So that it stays quick, trainings are cut short, and resuming too; the search is short and the pool small.
    """
    from tenfold.data import load
    from tenfold.runs.protocols import PROTOCOLS

    def shorter(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
        recipe = whole(name, overrides)
        return recipe if recipe.classical else whole(name, [*overrides, "training.min_steps=20"])

    whole = recipes.load
    monkeypatch.setattr(recipes, "load", shorter)
    monkeypatch.chdir(tmp_path)
    write_competition(tmp_path / "digit-recognizer.zip")
    mine = load("uci:train", "train").take(np.arange(300))
    np.savez(tmp_path / "my-digits.npz", X=mine.images, y=mine.labels)
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "seven.png", tmp_path / "docs")
    (tmp_path / "pictures").mkdir()
    for number, image in enumerate(mine.images[:3]):
        Image.fromarray(image).save(tmp_path / "pictures" / f"{number}.png")
    for name, protocol in list(PROTOCOLS.items()):
        small = replace(protocol, train="uci:train", test=protocol.test and "uci:test")
        monkeypatch.setitem(PROTOCOLS, name, small)
    for command in COMMANDS:
        quick = command.replace("mnist", "uci").replace("--max-seconds 600", "--max-seconds 3")
        quick = quick.replace("--models 40", "--models 2 --set training.min_steps=20")
        words = shlex.split(quick.replace("--trials 30", "--trials 2 --seeds 1"))
        if "--resume" in words:
            words += ["--max-seconds", "3"]
        if words[0] == "tenfold":
            result = CliRunner().invoke(app, words[1:])
            assert result.exit_code == 0, f"{command}\n{result.output}"
    assert len((tmp_path / "submission.csv").read_text().splitlines()) == 361
    assert len((tmp_path / "labels.csv").read_text().splitlines()) == 4


@pytest.mark.slow
def test_python_runs() -> None:
    """The README's Python blocks run as they stand: a picture is read as it says, and a classifier learns."""
    reads, learns = (code for language, code in BLOCKS if language == "python")
    answers = [
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for code in (reads, learns)
    ]
    (digit, confidence, abstained), said = answers[0].split(), reads.rpartition("# ")[2].split()
    assert [digit, abstained] == [said[0], said[2]]
    assert float(confidence) == pytest.approx(float(said[1]), abs=0.01)  # 8 bits differ between processors
    assert 0.9 < float(answers[1].split()[-1]) <= 1
