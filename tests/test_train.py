"""The verb: what it writes, how it ends early, and what it refuses."""

import json
import os
import signal
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tenfold.cli import app
from tenfold.data.digits import Digits, image_hashes
from tenfold.errors import DataError, RecipeError, RunError, TenfoldError
from tenfold.evaluate import evaluate
from tenfold.runs.estimator import from_run
from tenfold.runs.run import Run
from tenfold.train import train
from tenfold.training.loop import Trainer

QUICK = (
    "model.widths=[[8],[16]]",
    "training.batch_size=32",
    "training.epochs=4",
    "training.min_steps=0",
    "training.precision=fp32",
    "data.validation=0.2",
)


@pytest.fixture
def spec(digits: Digits, tmp_path: Path) -> str:
    """Return the path of 200 generated digits."""
    np.savez(tmp_path / "digits.npz", X=digits.images, y=digits.labels)
    return str(tmp_path / "digits.npz")


def test_run_folder_is_whole(spec: str, digits: Digits, tmp_path: Path) -> None:
    """A run holds recipe, manifest, metrics, weights, state, hashes, held-out answers and report, and they agree."""
    result = train("fast", spec, str(tmp_path / "run"), overrides=QUICK, seed=3, quiet=True)
    run = Run.open(tmp_path / "run")
    assert result.status == run.manifest["status"] == "finished"
    assert json.loads(json.dumps(asdict(result)))["validation_n"] == 40
    names = {path.name for path in run.path.iterdir()}
    assert names == {
        "recipe.toml", "run.json", "metrics.jsonl", "weights.safetensors",
        "state.safetensors", "data.npz", "validation.npz", "report.html",
    }  # fmt: skip
    assert run.recipe.model.arguments()["widths"] == [[8], [16]]
    assert (run.manifest["data"]["n_train"], run.manifest["data"]["n_validation"]) == (160, 40)
    held_out = run.held_out()
    kept = np.setdiff1d(np.arange(200), held_out)
    assert (run.training_hashes() == image_hashes(digits.images[kept])).all()
    answers = run.validation()
    assert answers is not None
    assert (answers["labels"] == digits.labels[held_out]).all()
    assert result.validation_accuracy == (answers["probabilities"].argmax(1) == answers["labels"]).mean()
    assert result.epochs == 4
    assert run.metrics()[-1]["step"] == 20
    again = from_run(run).predict_proba(digits.images[held_out])
    np.testing.assert_allclose(again, answers["probabilities"], atol=1e-6)


def test_says_that_nothing_was_learnt(
    spec: str, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training on labels of other images ends with where to look; a good one, or one of a single digit, does not."""
    labels = np.random.default_rng(0).integers(0, 10, len(digits))
    np.savez(tmp_path / "their labels.npz", X=digits.images, y=labels)
    np.savez(tmp_path / "ones.npz", X=digits.images, y=np.ones(len(digits), int))
    quick = (*QUICK, "training.epochs=12")
    for name in ("digits.npz", "their labels.npz", "ones.npz"):
        train("fast", str(tmp_path / name), tmp_path / f"{name} run", overrides=quick, seed=3)
        said = " ".join(capsys.readouterr().err.split())
        assert ("Nothing was learnt" in said) == (name == "their labels.npz")
        assert (f"tenfold explore --data '{tmp_path / name}'" in said) == (name == "their labels.npz")


def test_default_folders_are_numbered(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --out a run goes to runs/RECIPE-1, the next to runs/RECIPE-2."""
    monkeypatch.chdir(tmp_path)
    runs = [train("instant", spec, overrides=QUICK, quiet=True).run for _ in range(2)]
    assert runs == [str(Path("runs/instant-1")), str(Path("runs/instant-2"))]


def test_existing_folder_is_kept(spec: str, tmp_path: Path) -> None:
    """A folder with something in it is never written over."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="exists already. Give another --out, or --resume"):
        train("fast", spec, tmp_path / "run", overrides=QUICK, quiet=True)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_out_of_time_is_usable_and_resumes(spec: str, tmp_path: Path) -> None:
    """--max-seconds ends after a step with weights that answer; resuming gives the unbroken run's weights."""
    short = train("fast", spec, tmp_path / "short", overrides=QUICK, max_seconds=1e-6, quiet=True)
    assert short.status == "out_of_time"
    assert short.epochs < 4
    assert from_run(Run.open(tmp_path / "short")).predict_proba(np.zeros((1, 28, 28), np.uint8)).shape == (1, 10)
    assert (tmp_path / "short" / "report.html").exists()
    resumed = train(resume=tmp_path / "short", quiet=True)
    train("fast", spec, tmp_path / "whole", overrides=QUICK, quiet=True)
    assert resumed.status == "finished"
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("short", "whole")]
    assert weights[0] == weights[1]


def test_ctrl_c_is_usable_and_resumes(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a step ends after it, cleanly; resuming gives the unbroken run's weights."""
    step = Trainer._train_step

    def interrupted(self: Trainer) -> None:
        if self.position.step == 7:
            os.kill(os.getpid(), signal.SIGINT)
        step(self)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", interrupted)
        result = train("fast", spec, tmp_path / "cut", overrides=QUICK, quiet=True)
    assert result.status == "interrupted"
    assert result.epochs == 8 / 5
    assert signal.getsignal(signal.SIGINT) is before
    train(resume=tmp_path / "cut", quiet=True)
    train("fast", spec, tmp_path / "whole", overrides=QUICK, quiet=True)
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("cut", "whole")]
    assert weights[0] == weights[1]


def test_resume_refuses_other_data(spec: str, digits: Digits, tmp_path: Path) -> None:
    """A run goes on with the very data that it was started on, or not at all."""
    train("fast", spec, tmp_path / "run", overrides=QUICK, max_seconds=1e-6, quiet=True)
    np.savez(tmp_path / "digits.npz", X=digits.images[::-1], y=digits.labels[::-1])
    with pytest.raises(RunError, match="is not what the run was started on"):
        train(resume=tmp_path / "run", quiet=True)


def test_resume_of_a_finished_run_changes_nothing(spec: str, tmp_path: Path) -> None:
    """Resuming what is finished reports it again and trains nothing."""
    first = train("fast", spec, tmp_path / "run", overrides=QUICK, quiet=True)
    before = (tmp_path / "run" / "weights.safetensors").stat().st_mtime_ns
    second = train(resume=tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "weights.safetensors").stat().st_mtime_ns == before
    assert replace(first, total_seconds=0) == replace(second, total_seconds=0)


@pytest.mark.parametrize(
    ("overrides", "device", "message"),
    [(["model.depth=3"], "cpu", "has no argument 'depth'"), ([], "abacus", "Device 'abacus' is not available here")],
)
def test_no_folder_for_what_cannot_run(
    spec: str, tmp_path: Path, overrides: list[str], device: str, message: str
) -> None:
    """A network or a device that does not exist is refused before a folder is made."""
    with pytest.raises(TenfoldError, match=message):
        train("fast", spec, tmp_path / "run", overrides=overrides, device=device, quiet=True)
    assert not (tmp_path / "run").exists()


def test_precision_overrides_the_processor(spec: str, tmp_path: Path) -> None:
    """What --precision gives is what the network computes in; another word, or one for a resumed run, is refused."""
    quick = [each for each in QUICK if "precision" not in each]
    train("fast", spec, tmp_path / "run", overrides=quick, precision="bf16", quiet=True)
    assert Run.open(tmp_path / "run").manifest["machine"]["precision"] == "bf16"
    with pytest.raises(RecipeError, match="training.precision = 'fp8'"):
        train("fast", spec, tmp_path / "other", precision="fp8", quiet=True)
    with pytest.raises(RunError, match="'--precision' does not go with --resume"):
        train(resume=tmp_path / "run", precision="fp32", quiet=True)


def test_resume_needs_a_run(tmp_path: Path) -> None:
    """A path that is no run is named."""
    with pytest.raises(RunError, match="There is no run at"):
        train(resume=tmp_path / "none", quiet=True)


def test_subset_is_stratified(spec: str, tmp_path: Path) -> None:
    """--subset trains on so many images, the classes in proportion, and a resumed run takes the same ones."""
    result = train("fast", spec, tmp_path / "run", overrides=QUICK, subset=100, max_seconds=1e-6, quiet=True)
    assert result.validation_n == 20
    answers = Run.open(tmp_path / "run").validation()
    assert answers is not None
    assert (np.bincount(answers["labels"]) == 2).all()
    assert train(resume=tmp_path / "run", quiet=True).status == "finished"


@pytest.fixture
def two(digits: Digits, tmp_path: Path) -> list[str]:
    """Return the paths of two sets: 200 digits, and 100 others with 40 of the first among them, one label changed.

    Noise keeps the other images apart: drawn as they are, some are nearly equal.
    """
    noise = np.random.default_rng(0).integers(0, 128, (260, 28, 28))
    assert digits.labels is not None
    images = (np.concatenate([digits.images, digits.images[:60]]) // 2 + noise).astype(np.uint8)
    labels = np.concatenate([digits.labels, digits.labels[:60]])
    np.savez(tmp_path / "digits.npz", X=images[:200], y=labels[:200])
    labels[160] = 9
    np.savez(tmp_path / "others.npz", X=images[160:], y=labels[160:])
    return [str(tmp_path / name) for name in ("digits.npz", "others.npz")]


def test_merged_sets_name_their_copies(two: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Several sets are one; copies, their other labels, and held-out images known to the training part are told."""
    result = train("fast", two, tmp_path / "run", overrides=QUICK)
    data = Run.open(tmp_path / "run").manifest["data"]
    assert data["spec"] == two
    assert (data["n_train"], data["n_validation"], data["deduplicated"]) == (240, 60, False)
    assert data["copies"] == result.copies
    assert data["copies"]["pairs"] == [{"sets": two, "exact": 40, "near": 0}]
    assert data["copies"]["conflicts"] == 1
    told = " ".join(capsys.readouterr().err.split())
    assert f"Of '{two[1]}', in '{two[0]}' too: 40 images exactly, 0 nearly." in told
    assert "image 161 of" in told and "is 0, image 1 of" in told
    assert f"{data['copies']['held_out']} of 60 held-out images have a copy in the training part" in told
    images = np.concatenate([np.load(path)["X"] for path in two])
    held_out = Run.open(tmp_path / "run").held_out()
    training = {image.tobytes() for image in np.delete(images, held_out, axis=0)}
    assert data["copies"]["held_out"] == sum(image.tobytes() in training for image in images[held_out]) > 0


def test_deduplicated_split_shares_nothing(two: list[str], tmp_path: Path) -> None:
    """With --deduplicate the later copies are gone, so no held-out image is in the training part."""
    train("fast", two, tmp_path / "run", overrides=QUICK, deduplicate=True, quiet=True)
    run = Run.open(tmp_path / "run")
    assert (run.manifest["data"]["n_train"], run.manifest["data"]["n_validation"]) == (208, 52)
    assert (run.manifest["data"]["copies"]["dropped"], run.manifest["data"]["copies"]["held_out"]) == (40, 0)
    assert len(set(run.training_hashes().tolist())) == 208


@pytest.mark.parametrize("deduplicate", [False, True])
def test_merged_run_resumes(two: list[str], tmp_path: Path, deduplicate: bool) -> None:
    """A run on merged data goes on with the same images, and ends with the unbroken run's weights."""
    options = {"overrides": QUICK, "deduplicate": deduplicate, "subset": 200, "quiet": True}
    train("fast", two, tmp_path / "cut", max_seconds=1e-6, **options)  # type: ignore[arg-type]
    train("fast", two, tmp_path / "whole", **options)  # type: ignore[arg-type]
    assert train(resume=tmp_path / "cut", quiet=True).status == "finished"
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("cut", "whole")]
    assert weights[0] == weights[1]
    with pytest.raises(RunError, match=r"digits\.npz' is not what the run was started on"):
        train(resume=tmp_path / "cut", data=two[::-1], quiet=True)


def test_merged_run_is_evaluated_and_reported(two: list[str], tmp_path: Path) -> None:
    """`evaluate` finds exact and near images of every merged set, and the report says how to train it again."""
    train("fast", two, tmp_path / "run", overrides=QUICK, deduplicate=True, quiet=True)
    images = np.concatenate([np.load(two[0])["X"], np.load(two[1])["X"][40:]])
    near = np.clip(images.astype(int) + 2, 0, 255).astype(np.uint8)
    np.savez(tmp_path / "near.npz", X=near, y=np.zeros(260, int))
    overlap = evaluate(tmp_path / "run", str(tmp_path / "near.npz"), quiet=True).overlap
    assert overlap is not None
    assert overlap.near_checked
    assert overlap.exact == 0
    assert overlap.near == 208
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "digits.npz + others.npz" in page
    assert f"--data {two[0]} --data {two[1]} --deduplicate --seed 0" in page
    assert "40 exact, 0 near, left out" in page


def test_set_without_labels_is_named(two: list[str], digits: Digits, tmp_path: Path) -> None:
    """Of several sets the one that has no labels is named, and no folder is made."""
    np.savez(tmp_path / "bare.npz", X=digits.images)
    with pytest.raises(DataError, match=r"bare\.npz"):
        train("fast", [*two, str(tmp_path / "bare.npz")], tmp_path / "run", overrides=QUICK, quiet=True)
    assert not (tmp_path / "run").exists()


def test_command_line_takes_data_more_than_once(two: list[str], tmp_path: Path) -> None:
    """`--data A --data B --deduplicate` is what `train([A, B], deduplicate=True)` is."""
    words = ["train", "fast", "--data", two[0], "--data", two[1], "--deduplicate", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, [*words, "--json", *(word for key in QUICK for word in ("--set", key))])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["copies"]["dropped"] == 40
    assert "40 later copies are left out." in result.stderr
