"""The C header: compiled, it answers as the run does; and a run that has no whole numbers is refused in one line."""

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from typer.testing import CliRunner

from tenfold.cli import app
from tenfold.data import load
from tenfold.errors import ExportError
from tenfold.export import export
from tenfold.graphs.c_header import buffers, c_header
from tenfold.metrics.scores import sharpen
from tenfold.models import build
from tenfold.models.blocks import shift_offsets
from tenfold.models.cnn import Block
from tenfold.models.integer_network import rounded, taken_apart
from tenfold.runs.estimator import from_run
from tenfold.runs.run import Run
from tenfold.runtime.model_file import PRETRAINED
from tenfold.runtime.recogniser import Recogniser
from tenfold.train import train
from tenfold.training.predict import answer

STRICT = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-O2"]
MAIN = """
#include <stdio.h>
#include "model.h"

int main(int argc, char **argv)
{
    static uint8_t pixels[784];
    float probabilities[10];
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL)
        return 1;
    while (fread(pixels, 1, 784, file) == 784) {
        printf("%d", tenfold_digit(pixels, probabilities));
        for (int digit = 0; digit < 10; digit++)
            printf(" %.9g", (double)probabilities[digit]);
        printf("\\n");
    }
    return fclose(file);
}
"""
CARD: dict[str, Any] = {
    "name": "a */ int main; /*\n",
    "recipe": "mine",
    "config_sha256": "0" * 64,
    "seed": 0,
    "version": "0",
    "data": {"spec": ["mnist:train", "own.npz"], "n_train": 5},
    "metrics": {},
    "threshold": 0.0,
}
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {"widths": [[4]]},
    "residual": {"widths": [[4, 4], [6, 6]], "crop": 2, "residual": True},
    "patch": {"widths": [[5], [6], [7]], "crop": 1, "patch": 2, "pool": "both", "activation": "gelu"},
    "odd edges": {"widths": [[3], [4], [5], [6]], "pool": "mean", "activation": "silu", "first_kernel": 5},
    "even filters": {"widths": [[3], [4]], "kernel": 4, "first_kernel": 2, "activation": "tanh"},
    "points": {"widths": [[6, 6]], "kernel": 1, "patch": 4, "activation": "sigmoid", "residual": True},
}


@pytest.fixture(scope="module")
def compiler() -> str:
    """Return gcc."""
    found = shutil.which("gcc")
    if found is None:
        pytest.skip("needs gcc, to compile what is exported")
    return found


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of whole numbers, with test-time shifts, trained on UCI's digits."""
    path = tmp_path_factory.mktemp("runs") / "small"
    overrides = ["model.widths=[[6],[8,8]]", "model.patch=2", "training.epochs=12", "training.ema=0.9"]
    train("tiny", "uci", path, overrides=[*overrides, "prediction.shifts=1"], quiet=True)
    return path


def answers(
    compiler: str, header: Path, images: NDArray[np.uint8], *, language: tuple[str, ...] = ("-std=c99",)
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the digits (N,) and probabilities (N, 10) of a program with this header, compiled without a warning."""
    folder = header.parent / "program"
    folder.mkdir(exist_ok=True)
    (folder / "main.c").write_text(MAIN)
    shutil.copy(header, folder / "model.h")
    images.tofile(folder / "images")
    words = [compiler, *language, *STRICT, "main.c", "-o", "main", "-lm"]
    compiled = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert (compiled.returncode, compiled.stderr) == (0, "")
    printed = subprocess.run(["./main", "images"], cwd=folder, capture_output=True, text=True, check=True)
    table = np.loadtxt(printed.stdout.splitlines(), ndmin=2)
    return table[:, 0].astype(np.int64), table[:, 1:]


def whole(arguments: dict[str, Any], seed: int = 0) -> nn.Module:
    """Return a network of random weights in whole numbers, whose norms had statistics of their own."""
    torch.manual_seed(seed)
    module = build("convnet", arguments).eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.1)
            nn.init.uniform_(part.running_var, 0.05, 0.2)
            nn.init.normal_(part.bias, std=0.3)
    module.load_state_dict(rounded(module, module.state_dict()))
    return module


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_of_network(name: str, compiler: str, tmp_path: Path) -> None:
    """Whatever pool, activation, filters and shifts: whole numbers and compiled header answer as the network."""
    module, radius = whole(SHAPES[name]), list(SHAPES).index(name) % 3
    images = np.random.default_rng(1).integers(0, 256, (30, 28, 28)).astype(np.uint8)
    images[0], images[1] = 0, 255
    expected = sharpen(answer(module, torch.from_numpy(images), radius)[0], 0.7)
    network = taken_apart(module, shift_offsets(radius), 0.7)
    np.testing.assert_allclose(network.probabilities(images), expected, atol=1e-5)
    header = tmp_path / "model.h"
    header.write_text(c_header(network, CARD), "ascii")
    digits, probabilities = answers(compiler, header, images)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert np.array_equal(digits, probabilities.argmax(1))
    assert np.ptp(expected, 0).max() > 0.01  # so that the comparison is not one of constants


def test_the_header_answers_as_the_run(small: Path, compiler: str, tmp_path: Path) -> None:
    """Exported by the command and compiled, as C and as C++, it reads unseen digits as the run does."""
    out = tmp_path / "small.h"
    words = ["export", str(small), "--out", str(out), "--quiet"]
    result = CliRunner().invoke(app, words)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    test = load("uci:test", "evaluate")
    expected = from_run(Run.open(small), "cpu").predict_proba(test.images)
    digits, probabilities = answers(compiler, out, test.images)
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    assert np.array_equal(digits, expected.argmax(1))
    assert (digits == test.labels).mean() > 0.7
    as_cpp, same = answers(compiler, out, test.images, language=("-x", "c++"))
    assert np.array_equal(digits, as_cpp)
    np.testing.assert_allclose(same, probabilities, atol=1e-6)


@pytest.mark.data
@pytest.mark.slow
def test_the_header_reads_mnist_as_the_run(compiler: str, tmp_path: Path) -> None:
    """A briefly trained `tiny`, compiled, gives all of MNIST's test images the digits and probabilities of its run."""
    overrides = ["training.epochs=2", "training.ema=0.98"]
    train("tiny", "mnist:train", tmp_path / "run", overrides=overrides, subset=4000, quiet=True)
    export(tmp_path / "run", tmp_path / "tiny.h", quiet=True)
    images = load("mnist:test", "submit").images
    expected = from_run(Run.open(tmp_path / "run"), "cpu").predict_proba(images)
    digits, probabilities = answers(compiler, tmp_path / "tiny.h", images)
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    assert np.array_equal(digits, expected.argmax(1))
    assert len(np.unique(digits)) == 10


@pytest.mark.data
@pytest.mark.slow
def test_the_shipped_header_answers_as_the_shipped_graph(compiler: str, tmp_path: Path) -> None:
    """tiny.h names the same digit as tiny.onnx for all of MNIST's test images."""
    shutil.copy(PRETRAINED / "tiny.h", tmp_path)
    images = load("mnist:test", "submit").images
    digits, probabilities = answers(compiler, tmp_path / "tiny.h", images)
    expected = Recogniser.load("tiny").probabilities(images)
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    assert np.array_equal(digits, expected.argmax(1))


def test_what_it_says_and_how_it_is_proven(small: Path, tmp_path: Path) -> None:
    """The result counts bytes and images; the comment gives the card's facts; the same run gives the same bytes."""
    out = tmp_path / "small.h"
    result = export(small, out, quiet=True)
    text, run = out.read_text("ascii"), Run.open(small)
    assert (result.data, result.images, result.precision) == ("uci:test", 360, "int8")
    assert result.largest_difference <= 1e-5
    assert result.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    assert result.bytes == len(text)
    weights = 4 * 6 * 9 + 6 * 8 * 9 + 8 * 8 * 9 + 8 * 10
    planes = 6 * 12 * 12, 4 * 12 * 12  # what the first layer writes, and what it reads
    assert (result.weight_bytes, result.buffer_bytes) == (weights, 4 * sum(planes))
    held_out, accuracy = run.manifest["data"]["n_validation"], 100 * run.manifest["validation_accuracy"]
    scales = 4 * 2 * (6 + 8 + 8 + 10)
    for fact in (
        'recipe: "tiny"', "seed: 0", run.manifest["config_sha256"], f"of {held_out} held-out pictures {accuracy:.2f}%",
        f"{weights:,} bytes of weights",
        f"{scales} bytes of scales and biases", f"{4 * sum(planes):,} bytes of static buffers",
    ):  # fmt: skip
        assert fact in text
    assert str(small) not in text
    shutil.copytree(small, tmp_path / "elsewhere")
    assert export(tmp_path / "elsewhere", tmp_path / "again.h", quiet=True).sha256 == result.sha256


def test_a_name_cannot_leave_the_comment() -> None:
    """Whatever a recipe is called, its name stays inside the comment."""
    network = taken_apart(whole(SHAPES["plain"]), [(0, 0)], 1.0)
    comment, _, code = c_header(network, CARD).partition("*/")
    assert "int main" in comment
    assert "int main" not in code
    assert "/*" not in comment[2:]


def test_the_buffers_hold_every_plane() -> None:
    """For each shape the two buffers are as large as the largest planes that torch's layers read and write by turns."""
    for arguments in SHAPES.values():
        module = whole(arguments)
        sizes: list[int] = []

        def note(_: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor, sizes: list[int] = sizes) -> None:
            sizes.extend([*([] if sizes else [inputs[0].numel()]), output.numel()])

        for block in module.modules():
            if isinstance(block, Block):
                block.register_forward_hook(note)
        module(torch.zeros(1, 1, 28, 28))
        needed = max(sizes[0::2]) + max(sizes[1::2])
        assert buffers(taken_apart(module, [(0, 0)], 1.0)) == 4 * needed


def test_a_network_without_whole_numbers_is_refused(small: Path, tmp_path: Path) -> None:
    """Weights that are not rounded, norms not folded, other models and --int8 are one line; nothing is written."""
    plain = ["model.widths=[[4]]", "training.epochs=0.1", "training.min_steps=0"]
    train("instant", "uci", tmp_path / "plain", overrides=plain, quiet=True)
    train("logistic", "uci", tmp_path / "logistic", subset=200, quiet=True)
    out = tmp_path / "out" / "model.h"
    out.parent.mkdir()
    messages = {
        tmp_path / "plain": "weights of 'stages.0.0.conv' are not rounded",
        tmp_path / "logistic": "'logistic' is no network",
    }
    for run, message in messages.items():
        with pytest.raises(ExportError, match=message):
            export(run, out, quiet=True)
    with pytest.raises(ExportError, match="in whole numbers of eight bits anyway. Omit --int8"):
        export(small, out, int8=True, quiet=True)
    with pytest.raises(
        ExportError, match="The network 'Layers' has no weights in whole numbers. Give a run of a convnet"
    ):
        taken_apart(build("layers", {"layers": ["flatten"]}), [(0, 0)], 1.0)
    eleven = whole({"widths": [[4]], "classes": 11})
    with pytest.raises(ExportError, match="has '11' classes"):
        taken_apart(eleven, [(0, 0)], 1.0)
    unfolded = whole({"widths": [[4]]})
    next(part for part in unfolded.modules() if isinstance(part, nn.BatchNorm2d)).running_mean += 1
    with pytest.raises(ExportError, match="batch norm of '4' channels is not folded"):
        taken_apart(unfolded, [(0, 0)], 1.0)
    assert list(out.parent.iterdir()) == []


def test_whole_numbers_that_answer_otherwise_are_refused(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the whole numbers do not give the run's probabilities, no header is written."""
    from tenfold.graphs import proven

    apart = proven.taken_apart

    def altered(*arguments: Any) -> Any:
        network = apart(*arguments)
        network.head.biases[0] += 0.1
        return network

    monkeypatch.setattr(proven, "taken_apart", altered)
    with pytest.raises(ExportError, match=r"image '\d+' of 'uci:test', in batches of 1, differs"):
        export(small, tmp_path / "model.h", quiet=True)
    assert list(tmp_path.iterdir()) == []
