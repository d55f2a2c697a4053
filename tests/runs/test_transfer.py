"""Training that starts from a run: what stays, what moves, what is recorded, and which runs are refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tenfold.data.digits import Digits, image_hashes
from tenfold.errors import RunError
from tenfold.evaluate import evaluate
from tenfold.runs.run import Run
from tenfold.train import train
from tenfold.training.loop import Trainer

QUICK = (
    "model.widths=[[8],[16]]",
    "training.batch_size=32",
    "training.epochs=4",
    "training.min_steps=0",
    "training.evaluate_every=0.5",
    "training.shards=2",
    "training.precision=fp32",
    "data.validation=0.2",
)
HEAD = ("head.weight", "head.bias")


@pytest.fixture
def write(tmp_path: Path, make_digits: Callable[..., Digits]) -> Callable[..., str]:
    """Return a function (name, n, seed, ink) that writes generated digits and gives their path."""

    def write(name: str, n: int = 200, seed: int = 0, ink: float = 1.0) -> str:
        digits = make_digits(n, seed)
        np.savez(tmp_path / name, X=(digits.images * ink).astype(np.uint8), y=digits.labels)
        return str(tmp_path / name)

    return write


@pytest.fixture
def source(write: Callable[..., str], tmp_path: Path) -> Path:
    """Return a finished run."""
    train("fast", write("first.npz"), tmp_path / "source", overrides=QUICK, quiet=True)
    return tmp_path / "source"


def weights(run: Path) -> dict[str, Tensor]:
    """Return a run's weights by name."""
    return Run.open(run).weights()


def test_all_layers_start_from_the_run(source: Path, write: Callable[..., str], tmp_path: Path) -> None:
    """Without a learning rate only the batch norms' statistics leave the run's; with one the weights do too."""
    new = write("second.npz", seed=1, ink=0.4)
    still = (*QUICK, "optimiser.lr=1e-12", "optimiser.side_lr=1e-12", "optimiser.weight_decay=0", "training.ema=0")
    train("fast", new, tmp_path / "still", overrides=still, from_run=source, quiet=True)
    train("fast", new, tmp_path / "moved", overrides=QUICK, from_run=source, quiet=True)
    for name, tensor in weights(source).items():
        if tensor.is_floating_point() and "running" not in name:
            torch.testing.assert_close(weights(tmp_path / "still")[name], tensor, atol=1e-6, rtol=0)
            assert not torch.equal(weights(tmp_path / "moved")[name], tensor), name
        elif "running" in name:
            assert not torch.equal(weights(tmp_path / "still")[name], tensor), name


def test_head_alone_moves(source: Path, write: Callable[..., str], tmp_path: Path) -> None:
    """Layers "head" leaves every other tensor bit for bit the run's, statistics included, also after validations."""
    new = write("second.npz", seed=1, ink=0.4)
    train("fast", new, tmp_path / "head", overrides=QUICK, from_run=source, layers="head", quiet=True)
    moved = {
        name for name, tensor in weights(tmp_path / "head").items() if not torch.equal(tensor, weights(source)[name])
    }
    assert moved == set(HEAD)


def test_fine_tuning_helps(source: Path, write: Callable[..., str], tmp_path: Path) -> None:
    """On few digits of another kind a run that starts from a trained one beats one that starts from nothing."""
    few, test = write("few.npz", 40, seed=5, ink=0.5), write("test.npz", 200, seed=6, ink=0.5)
    quick = (*QUICK, "data.validation=0")
    train("fast", few, tmp_path / "tuned", overrides=quick, from_run=source, quiet=True)
    train("fast", few, tmp_path / "scratch", overrides=quick, quiet=True)
    tuned, scratch = (evaluate(tmp_path / name, test, quiet=True).accuracy for name in ("tuned", "scratch"))
    assert tuned > scratch + 0.1


def test_source_is_recorded_and_counts_as_seen(
    source: Path, write: Callable[..., str], tmp_path: Path, make_digits: Callable[..., Digits]
) -> None:
    """The manifest names the run, and `evaluate` names its training images, exact and near, as trained on."""
    new = write("second.npz", 100, seed=1)
    train("fast", new, tmp_path / "tuned", overrides=QUICK, from_run=source, layers="head", quiet=True)
    tuned = Run.open(tmp_path / "tuned")
    record = tuned.manifest["from"]
    assert (record["run"], record["layers"], record["held_out_seen"]) == (str(source.resolve()), "head", 0)
    assert len(record["weights_sha256"]) == 64
    expected = {*Run.open(source).training_hashes(), *image_hashes(make_digits(100, 1).images[training_part(tuned)])}
    assert set(tuned.training_hashes()) == expected
    images = make_digits(200, 0).images  # the source's
    near = np.clip(images.astype(int) + 2, 0, 255).astype(np.uint8)
    np.savez(tmp_path / "again.npz", X=np.concatenate([images, near]), y=np.tile(make_digits(200, 0).labels, 2))
    overlap = evaluate(tmp_path / "tuned", str(tmp_path / "again.npz"), quiet=True).overlap
    assert overlap is not None
    assert overlap.near_checked
    assert overlap.exact == 160  # all but those that the source held out
    assert overlap.near >= 160
    # A run that starts from this one has seen the images of both.
    train("fast", write("third.npz", 50, seed=2), tmp_path / "third", overrides=QUICK, from_run=tuned.path, quiet=True)
    assert set(tuned.training_hashes()) < set(Run.open(tmp_path / "third").training_hashes())
    assert "first.npz" in json.dumps(Run.open(tmp_path / "third").manifest["from"]["data"])


def training_part(run: Run) -> np.ndarray:
    """Return the indices of 100 images that the run did not hold out."""
    return np.setdiff1d(np.arange(100), run.held_out())


def test_held_out_images_that_the_source_saw_are_named(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Started on the same data with another seed, the run says how many held-out images are not new to it."""
    train("fast", str(tmp_path / "first.npz"), tmp_path / "same", overrides=QUICK, seed=9, from_run=source)
    count = Run.open(tmp_path / "same").manifest["from"]["held_out_seen"]
    assert 0 < count <= 40
    assert f"{count} of 40 held-out images were trained on by the run" in capsys.readouterr().err


def test_cut_run_resumes(
    source: Path, write: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut before or after its first checkpoint, a run from a run ends with the unbroken one's weights."""
    new = write("second.npz", seed=1, ink=0.5)
    options = {"overrides": QUICK, "from_run": source, "layers": "head", "quiet": True}
    train("fast", new, tmp_path / "whole", **options)  # type: ignore[arg-type]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", lambda *_: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            train("fast", new, tmp_path / "early", **options)  # type: ignore[arg-type]
    train("fast", new, tmp_path / "late", max_seconds=1e-6, **options)  # type: ignore[arg-type]
    for name in ("early", "late"):
        if name == "late":  # its own state is enough
            source.rename(tmp_path / "moved")
        assert train(resume=tmp_path / name, quiet=True).status == "finished"
        assert (tmp_path / name / "weights.safetensors").read_bytes() == (
            tmp_path / "whole" / "weights.safetensors"
        ).read_bytes()


def test_resume_refuses_a_source_that_changed(
    source: Path, write: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was cut before its first checkpoint needs the very weights that it was to start from."""
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", lambda *_: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            train("fast", write("second.npz"), tmp_path / "cut", overrides=QUICK, from_run=source, quiet=True)
    file = source / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunError, match="have changed since they were started from"):
        train(resume=tmp_path / "cut", quiet=True)
    file.unlink()
    with pytest.raises(RunError, match="Cannot read the weights"):
        train(resume=tmp_path / "cut", quiet=True)


@pytest.mark.parametrize(
    ("recipe", "overrides", "layers", "message"),
    [
        ("fast", ["model.widths=[[8],[24]]"], "all", r"model.widths is '\[\[8\], \[16\]\]', not '\[\[8\], \[24\]\]'"),
        ("dense-128", [], "all", "model.kind is 'convnet', not 'layers'. Train its own recipe"),
        ("fast", [*QUICK, "model.kernel=5"], "all", "model.kernel is '3', not '5'"),
        ("logistic", [], "all", "'logistic' is a 'logistic', which is fitted anew each time"),
        ("fast", QUICK, "heads", "Layers 'heads' are unknown. Did you mean 'head'"),
    ],
)
def test_refused(source: Path, tmp_path: Path, recipe: str, overrides: list[str], layers: str, message: str) -> None:
    """A source that is another network than the recipe, or unknown layers, are named before a folder is made."""
    with pytest.raises(RunError, match=message):
        train(
            recipe, str(tmp_path / "first.npz"), tmp_path / "new", overrides=overrides, from_run=source, layers=layers,
            quiet=True,
        )  # fmt: skip
    assert not (tmp_path / "new").exists()


def test_defaults_written_out_are_no_difference(source: Path, tmp_path: Path) -> None:
    """A default argument of the network may be written out in one recipe and omitted in the other."""
    overrides = (*QUICK, "model.residual=false", "training.epochs=1")
    data = str(tmp_path / "first.npz")
    assert train("fast", data, tmp_path / "new", overrides=overrides, from_run=source, quiet=True).epochs == 1


def test_unfinished_source_is_refused(write: Callable[..., str], tmp_path: Path) -> None:
    """A run that was cut has to be finished first; the message says how."""
    data = write("first.npz")
    train("fast", data, tmp_path / "cut", overrides=QUICK, max_seconds=1e-6, quiet=True)
    with pytest.raises(RunError, match=r"is 'out_of_time'. First: tenfold train --resume .*cut"):
        train("fast", data, tmp_path / "new", overrides=QUICK, from_run=tmp_path / "cut", quiet=True)


def test_options_that_need_or_exclude_each_other(source: Path, tmp_path: Path) -> None:
    """--layers needs --from; --from, --deduplicate, --seed, --subset and --set do not go with --resume."""
    with pytest.raises(RunError, match="--layers 'head' .* Add --from"):
        train("fast", str(tmp_path / "first.npz"), overrides=QUICK, layers="head", quiet=True)
    for name, options in {
        "--from": {"from_run": source},
        "--layers": {"layers": "head"},
        "--deduplicate": {"deduplicate": True},
        "--seed": {"seed": 0},
        "--subset": {"subset": 10},
        "--set": {"overrides": ["optimiser.lr=1"]},
    }.items():
        with pytest.raises(RunError, match=f"'{name}' does not go with --resume"):
            train(resume=source, quiet=True, **options)  # type: ignore[arg-type]
