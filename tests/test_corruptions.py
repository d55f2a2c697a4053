"""The fifteen corruptions do what their descriptions say, and their benchmark records every one of them."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from tenfold.data.digits import Digits
from tenfold.runs import ledger, records
from tenfold.runs.results import DataUsed
from tenfold.scoring.leak import Part
from tenfold.scoring.robustness import FILE, Robustness, block, robustness_table
from tenfold.train import train

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
RECIPE = """
name = "small"
model = { kind = "layers", layers = ["conv 8", "pool", "conv 16", "global max"] }
training = { epochs = 1, batch_size = 32, precision = "fp32" }
"""


def load_benchmark(name: str) -> ModuleType:
    """Return a benchmark's module under its own name, as `python benchmarks/X.py` finds its neighbours."""
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


corruptions = load_benchmark("corruptions")


@pytest.mark.parametrize("name", corruptions.CORRUPTIONS)
def test_a_seed_fixes_the_images(digits: Digits, name: str) -> None:
    """Each corruption changes every image, keeps shape and type, leaves its input alone, and repeats at a seed."""
    images = digits.images[:20]
    before = images.copy()
    result = corruptions.corrupted(name, images, 3)
    assert (result.shape, result.dtype) == (images.shape, np.uint8)
    assert (result != before).any((1, 2)).all()
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(corruptions.corrupted(name, images, 3), result)


def test_there_are_fifteen() -> None:
    """The corruptions are the paper's fifteen."""
    assert len(corruptions.CORRUPTIONS) == 15


def test_simple_ones_are_exact(digits: Digits) -> None:
    """Stripe inverts two quarters, brightness adds 127.5, a shift moves by three pixels both ways."""
    images = digits.images[:30]
    striped = corruptions.corrupted("stripe", images, 0)
    np.testing.assert_array_equal(striped[:, :, 7:21], images[:, :, 7:21])
    np.testing.assert_array_equal(striped[:, :, :7], 255 - images[:, :, :7])
    bright = corruptions.corrupted("brightness", images, 0).astype(float)
    assert np.abs(bright - np.minimum(images + 127.5, 255)).max() <= 0.5
    moved = corruptions.corrupted("translate", images, 0)
    padded = np.pad(images, ((0, 0), (3, 3), (3, 3)))
    corners = [(0, 0), (0, 6), (6, 0), (6, 6)]
    for image, found in zip(padded, moved, strict=True):
        assert any(np.array_equal(found, image[down : down + 28, right : right + 28]) for down, right in corners)


def test_turning_keeps_the_middle() -> None:
    """Rotation, shear and scale are about the middle: a dot there stays, one above it moves as the matrix says."""
    dot = np.zeros((40, 28, 28), np.uint8)
    dot[:, 13:15, 13:15] = 200
    for name in ("rotate", "shear", "scale"):
        assert (corruptions.corrupted(name, dot, 0)[:, 13:15, 13:15] > 80).all(), name
    above = np.zeros((40, 28, 28), np.uint8)
    above[:, 3:5, 13:15] = 200
    turned = corruptions.corrupted("rotate", above, 0).astype(float)
    mass = turned.sum((1, 2))
    x = turned.sum(1) @ np.arange(28) / mass - 13.5
    y = turned.sum(2) @ np.arange(28) / mass - 13.5
    np.testing.assert_allclose(np.abs(x), 10 * np.sin(0.4), atol=0.1)
    np.testing.assert_allclose(y, -10 * np.cos(0.4), atol=0.1)
    assert 0 < (x > 0).sum() < 40


def test_noise_has_its_strength() -> None:
    """Impulse noise hits 17% of the pixels, half of them white; shot noise has a third of white's variance."""
    grey = np.full((200, 28, 28), 100, np.uint8)
    impulse = corruptions.corrupted("impulse_noise", grey, 0)
    assert abs((impulse != 100).mean() - 0.17) < 0.005
    assert abs((impulse == 255).mean() - 0.085) < 0.004
    shot = corruptions.corrupted("shot_noise", np.full((200, 28, 28), 51, np.uint8), 0) / 255
    assert abs(shot.mean() - 0.2) < 0.005
    assert abs(shot.var() - 0.2 / 3) < 0.004


def test_fog_is_a_plasma_over_the_image() -> None:
    """On black there is no fog to see; on white its brightness is (1 + 3 h) / 4 with smooth h between 0 and 1."""
    assert not corruptions.corrupted("fog", np.zeros((3, 28, 28), np.uint8), 0).any()
    foggy = corruptions.corrupted("fog", np.full((60, 28, 28), 255, np.uint8), 0).astype(float) / 255
    assert foggy.min() >= 0.25 - 0.01
    assert np.abs(np.diff(foggy, axis=2)).mean() < 0.25 * foggy.std()
    heights = corruptions._plasma(3, 1.4, np.random.default_rng(0))
    assert heights.shape == (3, 256, 256)
    assert heights.min() == 0
    assert heights.max() == 1


def test_edges_are_those_of_a_square() -> None:
    """A bright square comes out as one closed line about its border, whatever other images are beside it."""
    square = np.zeros((1, 28, 28), np.uint8)
    square[:, 8:20, 8:20] = 255
    edges = corruptions.corrupted("canny_edges", square, 0)[0]
    assert set(np.unique(edges)) == {0, 255}
    rows, columns = np.nonzero(edges)
    assert np.maximum(np.abs(rows - 13.5), np.abs(columns - 13.5)).min() >= 4.5
    assert np.maximum(np.abs(rows - 13.5), np.abs(columns - 13.5)).max() <= 7.5
    beside = np.concatenate([np.full_like(square, 90), square, np.full_like(square, 255)])
    np.testing.assert_array_equal(corruptions.corrupted("canny_edges", beside, 0)[1], edges)


def test_lines_cross_the_image() -> None:
    """Dotted lines have every other two columns, zigzags reach from left to right without a gap."""
    nothing = np.zeros((40, 28, 28), np.uint8)
    dotted = corruptions.corrupted("dotted_line", nothing, 0).max((0, 1)) > 0
    np.testing.assert_array_equal(dotted, (np.arange(28) // 2 % 2 == 1) & (np.arange(28) < 27))
    zigzag = corruptions.corrupted("zigzag", nothing, 0)
    assert (zigzag.max((0, 1))[3:24] > 200).all()
    assert not zigzag[:, :, :1].any()


@pytest.mark.slow
def test_benchmark(
    make_digits: Callable[..., Digits],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A run is scored on all fifteen, the look is in the ledger, the record gives the table, and the sheet is there."""
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache"))
    for name, seed in (("train", 1), ("test", 2)):
        made = make_digits(120, seed=seed)
        np.savez(tmp_path / f"{name}.npz", X=made.images, y=made.labels)
    (tmp_path / "small.toml").write_text(RECIPE)
    train(str(tmp_path / "small.toml"), str(tmp_path / "train.npz"), tmp_path / "run", seed=0)
    words = [f"small={tmp_path / 'run'}", "--data", str(tmp_path / "test.npz"), "--sheet", str(tmp_path / "sheet.png")]
    robustness = load_benchmark("robustness")
    robustness.main([*words, "--record", str(tmp_path / FILE)])
    (record,) = records.read(tmp_path / FILE, Robustness)
    assert list(record.corruptions) == list(corruptions.CORRUPTIONS)
    assert {part.n for part in (record.clean, *record.corruptions.values())} == {120}
    assert record.mean() == pytest.approx(1 - sum(part.errors for part in record.corruptions.values()) / 15 / 120)
    assert ledger.looks(record.data.sha256) == 1
    out = capsys.readouterr().out
    assert block(tmp_path) in out
    assert json.loads(out.splitlines()[-1])["mean"] == {"small": record.mean()}
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (2 * (20 * 29 - 1), 2 * (16 * 29 - 1))
    with pytest.raises(SystemExit, match="There is no model 'nowhere'"):
        robustness.main(["nowhere"])


def test_table_has_the_newest_of_each_model(tmp_path: Path) -> None:
    """The mean leaves the clean images out, a newer record replaces an older, and other images' records stay away."""
    assert block(tmp_path) == "No robustness is recorded yet."
    used = DataUsed(spec="test", sha256="ab", n=100)

    def record(name: str, errors: int, data: DataUsed = used) -> Robustness:
        return Robustness(
            name=name,
            recipe="fast",
            config_sha256="c",
            weights_sha256="w",
            commit=None,
            versions={},
            data=data,
            seed=0,
            clean=Part(n=100, errors=1),
            corruptions={"fog": Part(n=100, errors=errors), "dotted_line": Part(n=100, errors=0)},
        )

    for each in (record("other", 9, DataUsed(spec="x", sha256="y", n=5)), record("a", 50), record("b", 20)):
        records.append(tmp_path / FILE, each)
    records.append(tmp_path / FILE, record("a", 40))
    table = block(tmp_path)
    assert table == robustness_table([record("a", 40), record("b", 20)])
    assert "| **mean of the corruptions** | **80.00%** | **90.00%** |" in table
    assert "| fog | 60.00% (40 wrong) | 80.00% (20 wrong) |" in table
    assert "| dotted line | 100.00% (0 wrong) | 100.00% (0 wrong) |" in table
