"""The benchmarks measure what they say, on small data."""

import importlib.util
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from tenfold.data import load as load_digits
from tenfold.data.digits import Digits
from tenfold.ensemble import ensemble
from tenfold.errors import DataError
from tenfold.export import export
from tenfold.imaging.decode import decode
from tenfold.runs import ledger, records
from tenfold.runs.estimator import from_run
from tenfold.runs.run import Run
from tenfold.scoring.ensembles import FILE, EnsembleTest
from tenfold.scoring.leak import Leak
from tenfold.scoring.reading import READINGS, REFUSALS, Reading, Refusal
from tenfold.scoring.training_speed import TrainingSpeed
from tenfold.train import train
from tenfold.training.recipe import AugmentSettings, load

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
RECIPE = """
name = "small"
model = { kind = "layers", layers = ["conv 8", "pool", "conv 16", "global max"] }
training = { epochs = 3, batch_size = 32, precision = "fp32" }
augment = { rotation = 5, scale = 0.1, shear = 0.1, shift = 1, elastic = 0.5, contrast = 0.1, erasing = 0.1 }
"""


def benchmark(name: str) -> ModuleType:
    """Return a benchmark's module."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where the DataLoader's processes would look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe with every distortion, trained in a second."""
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def competition(make_digits: Callable[..., Digits], tmp_path: Path) -> Digits:
    """Write train.npz, test.npz without labels, and two files with the answers; return the test with its labels."""
    everything = make_digits(500, seed=1)
    order = np.random.default_rng(0).permutation(500)
    first, second = everything.take(order[:250]), everything.take(order[250:])
    train, test = everything.take(np.arange(300)), everything.take(np.arange(300, 500))
    np.savez(tmp_path / "train.npz", X=train.images, y=train.labels)
    np.savez(tmp_path / "test.npz", X=test.images)
    np.savez(tmp_path / "first.npz", X=first.images, y=first.labels)
    np.savez(tmp_path / "second.npz", X=second.images, y=second.labels)
    return test


@pytest.mark.slow
def test_leak(
    competition: Digits,
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without the answers no test image was trained on, with them all were but those held out; a second call trains
    nothing."""
    monkeypatch.chdir(tmp_path)
    words = ["--out", "runs", "--recipe", str(recipe), "--record", "results/leak.jsonl", "--validation", "0.2"]
    words += ["--train", "train.npz", "--test", "test.npz", "--answers", "first.npz", "second.npz"]
    leak = benchmark("leak")
    leak.main(words)
    alone, merged = records.read(Path("results/leak.jsonl"), Leak)
    assert (alone.variant, merged.variant) == ("alone", "merged")
    assert (alone.n_train, alone.validation.n, alone.contained, alone.exact.n) == (240, 60, 0, 0)
    assert (merged.n_train, merged.validation.n, merged.contained) == (640, 160, 200)
    assert merged.exact.n + merged.near.n + merged.unseen.n == 200
    assert 0 < merged.unseen.n < 80
    assert merged.validation_known > 0
    assert merged.whole().errors <= merged.whole().n
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["leak"][1]["contained"] == 200
    before = Path("runs/merged/run.json").read_bytes()
    leak.main(words)
    assert Path("runs/merged/run.json").read_bytes() == before
    again = records.read(Path("results/leak.jsonl"), Leak)[-1]
    assert again.model_dump(exclude={"time"}) == merged.model_dump(exclude={"time"})
    with pytest.raises(SystemExit, match="was trained with other settings"):
        leak.main([*words, "--seed", "5"])


def test_labels_are_recovered_exactly_or_not_at_all(competition: Digits, make_digits: Callable[..., Digits]) -> None:
    """Equal images give their labels; an image that is not there, or has two labels, is an error that counts it."""
    leak = benchmark("leak")
    images = Digits.of(competition.images)
    shuffled = competition.take(np.random.default_rng(1).permutation(200))
    assert competition.labels is not None
    np.testing.assert_array_equal(leak.recover_labels(images, [shuffled, make_digits(9)]).labels, competition.labels)
    with pytest.raises(DataError, match="'150' of the 200 test images"):
        leak.recover_labels(images, [competition.take(np.arange(50))])
    contradicting = Digits.of(competition.images[:3], (competition.labels[:3] + 1) % 10)
    with pytest.raises(DataError, match="'3' of the 200 test images"):
        leak.recover_labels(images, [competition, contradicting])


@pytest.mark.slow
def test_stacking(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both ways to train are measured for each number of members, and so are the three programs of a pass."""
    benchmark("stacking").main(
        ["--recipe", str(recipe), "--stacks", "1,2", "--steps", "1", "--device", "cpu", "--precision", "fp32"]
    )
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    for table, names in (("steps", {"alone", "stack"}), ("passes", {"loop", "side by side", "vmap"})):
        assert [row["members"] for row in printed[table]] == [1, 2]
        assert all(row.keys() == {"members", *names} and min(row.values()) > 0 for row in printed[table])


def test_training_speed(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both loops are measured round by round, and the ratio is that of the medians."""
    file = tmp_path / "results" / "training_speed.jsonl"
    words = ["--recipes", str(recipe), "--data", "uci", "--rounds", "2", "--seconds", "0.05", "--workers", "0"]
    benchmark("training_speed").main([*words, "--record", str(file)])
    (record,) = records.read(file, TrainingSpeed)
    assert (len(record.ours), len(record.plain), record.plain_workers) == (2, 2, [])
    assert record.ratio() == statistics.median(record.ours) / statistics.median(record.plain)
    assert record.config_sha256 == load(recipe).config_hash()
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["ratios"] == {record.recipe: record.ratio()}


def test_plain_images_are_those_of_the_data(digits: Digits) -> None:
    """Without distortions the plain loop trains on the images themselves, scaled to [0, 1]."""
    module = benchmark("training_speed")
    pixels, label = module.PlainDigits(digits, AugmentSettings())[7]
    assert digits.labels is not None
    assert label == digits.labels[7]
    torch.testing.assert_close(pixels, torch.from_numpy(digits.images[7]).unsqueeze(0) / 255)


def test_plain_distortions_are_about_the_centre(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotation by 90 degrees through PIL turns the image as numpy does, and a shift moves it by whole pixels."""
    module = benchmark("training_speed")
    monkeypatch.setattr(module.random, "uniform", lambda low, high: high)
    image = Image.fromarray(digits.images[3])
    turned = np.array(module.distorted(image, AugmentSettings(rotation=90))).astype(int)
    assert min(np.abs(turned - np.rot90(digits.images[3], k)).mean() for k in (1, 3)) < 1
    moved = np.array(module.distorted(image, AugmentSettings(shift=3)))
    np.testing.assert_array_equal(moved[:-3, :-3], digits.images[3][3:, 3:])


def test_frame_steps(tmp_path: Path) -> None:
    """The sheet has a row for each of its own pictures, or of a user's, and is the one in the documentation."""
    steps, own = benchmark("frame_steps"), tmp_path / "own.png"
    steps.main(["--out", str(own)])
    picture = np.full((60, 40), 255, np.uint8)
    picture[10:50, 18:23] = 0
    Image.fromarray(picture).save(tmp_path / "one.png")
    steps.main(["--out", str(tmp_path / "sheet.png"), str(tmp_path / "one.png")])
    sheets = [decode(path.read_bytes(), path.name) for path in (own, tmp_path / "sheet.png")]
    documented = decode((BENCHMARKS.parent / "docs" / "frame.png").read_bytes(), "frame.png")
    assert sheets[0].shape == documented.shape
    assert np.abs(sheets[0].astype(int) - documented).mean() < 2  # another OpenCV may draw an edge another way
    assert sheets[0].shape[0] == len(steps.examples()) * sheets[1].shape[0]


@pytest.mark.data
def test_recogniser(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model reads a set in the frame and one as it was found, and refuses what is no digit; all is recorded."""
    train("logistic", ["uci:train"], tmp_path / "run", quiet=True)
    export(tmp_path / "run", tmp_path / "model.onnx", data="uci:test", quiet=True)
    test = load_digits("uci:test", "evaluate")
    assert test.labels is not None
    count = np.array([len(test)], ">u4").tobytes()
    pictures = b"\0\0\x08\x03" + count + np.array([28, 28], ">u4").tobytes() + (255 - test.images).tobytes()
    (tmp_path / "others-images-idx3-ubyte").write_bytes(pictures)
    labels = b"\0\0\x08\x01" + count + test.labels.astype(np.uint8).tobytes()
    (tmp_path / "others-labels-idx1-ubyte").write_bytes(labels)
    words = [f"small={tmp_path / 'model.onnx'}", "--data", "uci:test", "--sets", str(tmp_path / "others")]
    benchmark("recogniser").main([*words, "--negatives", "28", "--record", str(tmp_path / "results")])
    found = records.read(tmp_path / "results" / READINGS, Reading)
    assert [each.data.spec for each in found] == ["uci:test", "others"]  # too few held out for the promise
    assert found[0].total() == found[1].total()
    assert sum(part.n for part in found[0].digits) == len(test)
    (refused,) = records.read(tmp_path / "results" / REFUSALS, Refusal)
    assert refused.total().n == 28
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["refusals"][0]["name"] == "small"


def test_ensemble(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Members, their mean and a student are scored in one go, each look goes to the ledger, and mistakes are drawn."""
    pool = tmp_path / "pool"
    ensemble([str(recipe)], "uci:train", pool, models=2, distil=str(recipe), workers=1, quiet=True)
    script, test = benchmark("ensemble"), load_digits("uci:test", "evaluate")
    words = [str(pool), "--data", "uci:test", "--record", str(tmp_path / FILE)]
    script.main([*words, "--errors", str(tmp_path / "errors.png")])
    script.main([*words, "--mean-alone", "--name", "mean"])
    full, alone = records.read(tmp_path / FILE, EnsembleTest)
    runs = [Run.open(path) for path in sorted((pool / "members").iterdir())]
    answers = np.stack([from_run(run, "cpu").predict_proba(test.images) for run in runs])
    assert [each.test.errors for each in full.members] == (answers.argmax(2) != test.labels).sum(1).tolist()
    assert full.ensembles["`all`"].errors == (answers.mean(0).argmax(1) != test.labels).sum()
    assert len(full.student) == 2
    assert len(full.pairs) == 3
    assert [each.training is None for each in (*full.members, *alone.members)] == [False, False, True, True]
    assert alone.ensembles["`all`"] == full.ensembles["`all`"]
    assert set(alone.ensembles) == {"`auto`: all", "`all`"}
    assert ledger.looks(test.content_hash()) == 6  # twice two members and the student
    with Image.open(tmp_path / "errors.png") as sheet:
        assert sheet.width == script.WIDTH * script.COLUMNS
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["name"] == "mean"
