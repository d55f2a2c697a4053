"""Prediction: probabilities, and shifts that are what they claim."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tenfold.data import load
from tenfold.errors import RunError, TrainingError
from tenfold.models import build
from tenfold.models.blocks import shift_offsets
from tenfold.runs.estimator import from_run
from tenfold.runs.estimator import teacher as teacher_of
from tenfold.runs.run import Run
from tenfold.train import train
from tenfold.training import recipe as recipes
from tenfold.training.predict import Teacher, answer
from tenfold.training.recipe import DistilSettings


@pytest.mark.parametrize(("radius", "count"), [(0, 1), (1, 5), (2, 13), (3, 25)])
def test_offsets_fill_the_diamond(radius: int, count: int) -> None:
    """A radius of r pixels has 2r^2 + 2r + 1 shifts, the origin among them, and no mirror or turn."""
    offsets = shift_offsets(radius)
    assert len(set(offsets)) == count == 2 * radius**2 + 2 * radius + 1
    assert (0, 0) in offsets


class Pixel(nn.Module):
    """Says digit 1 with logit 5 where the pixel in the middle has ink, digit 0 otherwise."""

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, (B, 10)."""
        logits = torch.zeros(len(x), 10)
        logits[:, 1] = 5 * x[:, 0, 14, 14]
        return logits


def test_shifts_look_where_they_say() -> None:
    """A dot beside the middle is seen by exactly one of the five shifts, and the probabilities are the mean."""
    images = torch.zeros(3, 28, 28, dtype=torch.uint8)
    images[0, 14, 14] = images[1, 14, 15] = images[2, 0, 0] = 255
    seen, blind = np.exp(5) / (np.exp(5) + 9), 0.1
    plain = answer(Pixel(), images).probabilities
    np.testing.assert_allclose(plain[:, 1], [seen, blind, blind], rtol=1e-5)
    shifted = answer(Pixel(), images, radius=1).probabilities
    np.testing.assert_allclose(shifted[:, 1], [(seen + 4 * blind) / 5] * 2 + [blind], rtol=1e-5)
    assert shifted.dtype == np.float32
    np.testing.assert_allclose(shifted.sum(1), 1, rtol=1e-6)


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches on several threads give what they give in turn, in their order, and the number of threads stays."""
    monkeypatch.setattr("tenfold.training.predict.BATCH", 8)
    module = build("convnet", {"widths": [[8], [16]]}).eval()
    images = torch.randint(0, 256, (100, 28, 28), dtype=torch.uint8)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        in_turn = answer(module, images, radius=1)
        torch.set_num_threads(3)
        side_by_side = answer(module, images, radius=1)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    for one, other in zip(in_turn, side_by_side, strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_images_no_rows() -> None:
    """Nothing in, nothing out, in the right shape."""
    assert answer(Pixel(), torch.zeros(0, 28, 28, dtype=torch.uint8)).probabilities.shape == (0, 10)


def test_mode_is_left_as_it_was() -> None:
    """A module in training comes back in training."""
    module = Pixel().train()
    answer(module, torch.zeros(1, 28, 28, dtype=torch.uint8))
    assert module.training


SMALL = ["training.epochs=12", "model.widths=[[16],[32]]", "data.validation=0.1"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run trained on the UCI digits."""
    path = tmp_path_factory.mktemp("teacher") / "run"
    train("instant", "uci:train", path, overrides=SMALL, quiet=True)
    return path


def test_the_loss(teacher: Path) -> None:
    """It is the cross-entropy to the teacher's softened answers, times the temperature squared, beside the labels'."""
    settings = DistilSettings(teacher=str(teacher), share=0.75, temperature=2.0)
    known = from_run(Run.open(teacher), "cpu")
    assert known.module_ is not None
    told = Teacher(known.module_, settings, torch.device("cpu"), known.temperature_)
    images = load("uci:test", "evaluate").images[:20]
    inputs = torch.from_numpy(images).float().div(255).unsqueeze(1)
    logits = torch.randn(20, 11, generator=torch.Generator().manual_seed(0), requires_grad=True)
    hard = torch.arange(20.0)
    found = told.losses(logits, inputs, hard, "fp32")
    temperature = 2 * Run.open(teacher).manifest["temperature"]
    with torch.no_grad():
        answers = F.softmax(told.module(inputs) / temperature, dim=1)
    expected = 0.75 * 4 * F.cross_entropy(logits[:, :10] / 2, answers, reduction="none") + 0.25 * hard
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert logits.grad is not None
    assert logits.grad[:, :10].abs().sum() > 0
    assert all(parameter.grad is None for parameter in told.module.parameters())


def test_a_student_needs_no_labels(teacher: Path, tmp_path: Path) -> None:
    """Of images whose labels are all wrong, a student learns what the teacher knows."""
    data = load("uci:train", "train")
    assert data.labels is not None
    np.savez(tmp_path / "wrong.npz", X=data.images, y=(data.labels + 1) % 10)
    overrides = [*SMALL, f"distil.teacher={teacher}", "distil.share=1.0"]
    train("instant", str(tmp_path / "wrong.npz"), tmp_path / "run", overrides=overrides, quiet=True)
    test = load("uci:test", "evaluate")
    assert test.labels is not None
    student, known = Run.open(tmp_path / "run"), Run.open(teacher)
    right = (from_run(student, "cpu").predict(test.images) == test.labels).mean()
    assert right > (from_run(known, "cpu").predict(test.images) == test.labels).mean() - 0.03
    assert right > 0.85
    assert student.manifest["distil"]["sha256"] == known.weights_sha256()


def test_bad_teachers(tmp_path: Path) -> None:
    """What is no run, and what is no network, is named."""
    with pytest.raises(RunError, match="There is no run at"):
        teacher_of(recipes.load("instant", [f"distil.teacher={tmp_path / 'nothing'}"]), torch.device("cpu"))
    train("logistic", "uci:train", tmp_path / "classical", quiet=True)
    with pytest.raises(TrainingError, match="is no network"):
        teacher_of(recipes.load("instant", [f"distil.teacher={tmp_path / 'classical'}"]), torch.device("cpu"))
