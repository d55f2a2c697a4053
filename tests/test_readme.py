"""The README tells the truth: its tree names every file, and its commands run."""

import re
import shlex
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tenfold.cli import app

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "tenfold"
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.split("  #")[0].strip() for language, text in BLOCKS if language == "sh" for line in text.splitlines() if line
]


def files_in_tree(text: str) -> set[str]:
    """Return the paths that a tree of one file a line names; a folder ends in / and its files are indented deeper."""
    folders: list[tuple[int, str]] = []
    files = set()
    for line in text.splitlines():
        if not line.strip():
            continue
        indent, name = len(line) - len(line.lstrip()), line.split()[0]
        folders = [(depth, folder) for depth, folder in folders if depth < indent]
        path = "".join(folder for _, folder in folders) + name
        if name.endswith("/"):
            folders.append((indent, name))
        else:
            files.add(path)
    return files


def test_tree_names_every_file() -> None:
    """The README's tree has every file of the package that is not empty, and no other."""
    trees = [text for language, text in BLOCKS if not language and text.startswith("src/tenfold/")]
    there = {
        file.relative_to(ROOT).as_posix()
        for file in PACKAGE.rglob("*")
        if file.is_file() and file.stat().st_size and "__pycache__" not in file.parts and not file.name.startswith(".")
    }
    assert len(trees) == 1
    assert files_in_tree(trees[0]) == there


def test_tree_says_what_each_file_is() -> None:
    """Each line of the tree that names a file has words beside the name."""
    (tree,) = [text for language, text in BLOCKS if not language and text.startswith("src/tenfold/")]
    assert [
        line for line in tree.splitlines() if line.strip() and not line.endswith("/") and len(line.split()) < 2
    ] == []


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

    So that it stays quick, `strong` is cut short, and resuming it too; the search is short and the pool small.
    """
    from tenfold import reproduce
    from tenfold.data import load

    monkeypatch.chdir(tmp_path)
    write_competition(tmp_path / "digit-recognizer.zip")
    mine = load("uci:train", "train").take(np.arange(300))
    np.savez(tmp_path / "my-digits.npz", X=mine.images, y=mine.labels)
    (tmp_path / "pictures").mkdir()
    for number, image in enumerate(mine.images[:3]):
        Image.fromarray(image).save(tmp_path / "pictures" / f"{number}.png")
    for name, protocol in reproduce.PROTOCOLS.items():
        small = replace(protocol, train="uci:train", test=protocol.test and "uci:test")
        monkeypatch.setitem(reproduce.PROTOCOLS, name, small)
    for command in COMMANDS:
        quick = command.replace("mnist", "uci").replace("--max-seconds 600", "--max-seconds 3")
        quick = quick.replace("--models 40", "--models 2 --set training.epochs=1")
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
    """The README's Python blocks run as they stand, and the example's accuracy is that of a classifier."""
    for language, code in BLOCKS:
        if language == "python":
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert 0.9 < float(done.stdout.split()[-1]) <= 1
