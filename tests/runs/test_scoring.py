"""Scoring: the overlap is found and named before the score, and every look leaves its record."""

import errno
import hashlib
import io
import json
import os
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold.console import PlainConsole
from tenfold.data.digits import Digits, image_hashes
from tenfold.errors import DataError, RunError, TenfoldError
from tenfold.runs import ledger, scoring
from tenfold.runs.scoring import Evaluation, kept_probabilities, score_system
from tenfold.runs.systems import System


class CornerReader:
    """A classifier that gives the digit written as a number into an image's first pixel, with confidence 0.91."""

    def answer(
        self, images: NDArray[np.uint8], shifts: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return (N, 10) probabilities, and (N,) that each is a digit: surely, but for half a chance of a 7."""
        shares = np.full((len(images), 10), 0.01, np.float32)
        shares[np.arange(len(images)), images[:, 0, 0] % 10] = 0.91
        return shares, np.where(images[:, 0, 0] == 7, np.float32(0.4), np.float32(1))


class FakeRun:
    """As much of a run as scoring needs, trained on the images given."""

    def __init__(self, path: Path, training: Digits) -> None:
        path.mkdir(exist_ok=True)
        self.path = path
        self.manifest = {"data": {"spec": "training.npz"}}
        self.recipe = SimpleNamespace(prediction=SimpleNamespace(shifts=0), classical=False)
        self._hashes = image_hashes(training.images)

    def training_hashes(self) -> NDArray[np.uint64]:
        """Return the hashes of the images trained on."""
        return self._hashes

    def weights_sha256(self) -> str:
        """Return the hash of what answers."""
        return hashlib.sha256(self.path.name.encode()).hexdigest()


def random_digits(n: int, seed: int) -> Digits:
    """Images of noise, none near another, each with its label in the first pixel."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 250, (n, 28, 28), dtype=np.uint8)
    labels = generator.integers(0, 10, n)
    images[:, 0, 0] = labels
    return Digits.of(images, labels)


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Digits:
    """The training data that `training.npz` names, 50 images."""
    digits = random_digits(50, seed=1)
    monkeypatch.setattr(ledger, "load", lambda spec, purpose: {("training.npz", "train"): digits}[spec, purpose])
    return digits


@pytest.fixture
def test_set(training: Digits) -> Digits:
    """20 images, 0 to 3 equal to ones trained on and 4 and 5 near to ones; 0, 4, 10, 11 and 12 will be misread."""
    images = random_digits(20, seed=2).images
    images[:4] = training.images[10:14]
    images[4:6] = training.images[20:22]
    images[4:6, 5:20, 5:20] += 3
    labels = images[:, 0, 0].astype(np.int64)
    labels[[0, 4, 10, 11, 12]] = (labels[[0, 4, 10, 11, 12]] + 1) % 10
    return Digits.of(images, labels)


def system(run: FakeRun, reader: Any = None, threshold: float = 0.0) -> System:
    """Return the run as what is scored, with its classifier in place."""
    opened = System(str(run.path), run.path.name, "fake", threshold, 1, run=run)  # type: ignore[arg-type]
    vars(opened)["_classifier"] = reader or CornerReader()
    return opened


def look(run: FakeRun, digits: Digits, spec: str = "test.npz", threshold: float = 0.0) -> Evaluation:
    """Return the score of one look."""
    return score_system(system(run, threshold=threshold), digits, spec).evaluation


def test_score_and_overlap(training: Digits, test_set: Digits, tmp_path: Path) -> None:
    """Accuracy is 15/20 over all images, and 11/14 without the six that were trained on."""
    scored = score_system(system(FakeRun(tmp_path / "run", training)), test_set, "test.npz")
    result, overlap = scored.evaluation, scored.evaluation.overlap
    assert (result.accuracy, result.errors, result.n) == (0.75, 5, 20)
    assert overlap is not None
    assert (overlap.exact, overlap.near, overlap.n_without) == (4, 2, 14)
    assert overlap.accuracy_without == pytest.approx(11 / 14)
    assert scored.seen is not None
    assert scored.seen.mask(20).sum() == 6
    np.testing.assert_array_equal(scored.probabilities, CornerReader().answer(test_set.images)[0])


def test_coverage_by_hand(training: Digits, tmp_path: Path) -> None:
    """Refused are a blank image, one that is hardly a digit, and from a threshold above 0.91 on, the others too."""
    images = random_digits(8, seed=3).images
    images[:, 0, 0] = [7, 1, 2, 3, 4, 5, 6, 1]
    images[1] = 0
    digits, run = Digits.of(images, np.array([7, 1, 2, 3, 4, 5, 6, 2])), FakeRun(tmp_path / "run", training)
    result = look(run, digits, threshold=0.5)
    assert result.abstentions == {"blank": 1, "not a digit": 1}
    assert (result.coverage, result.answered.n, result.answered.errors) == (6 / 8, 6, 1)
    assert result.errors_per_digit == [0, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    nothing = look(run, digits, threshold=0.95)
    assert (nothing.answered.n, nothing.answered.accuracy, nothing.answered.ci95) == (0, None, None)
    assert nothing.abstentions == {"blank": 1, "not a digit": 1, "unsure": 6}
    assert nothing.accuracy == result.accuracy, "what is refused counts for the accuracy of the best guess"


def test_overlap_is_named_before_the_score(training: Digits, test_set: Digits, tmp_path: Path) -> None:
    """The overlap is printed before the run has even predicted, and a look that came to nothing is none."""

    def fails(*_: object) -> None:
        raise RuntimeError

    out = io.StringIO()
    one = system(FakeRun(tmp_path / "other", training), SimpleNamespace(answer=fails))
    with pytest.raises(RuntimeError):
        score_system(one, test_set, "t", console=PlainConsole(file=out, width=120))
    assert "6 of these 20 images were trained on (4 exactly, 2 nearly)" in out.getvalue()
    assert ledger.looks(test_set.content_hash()) == (0, 0)


def test_looks_are_counted(training: Digits, test_set: Digits, tmp_path: Path) -> None:
    """Three looks by two models at one set, and one at another, are told apart."""
    first, second = FakeRun(tmp_path / "a", training), FakeRun(tmp_path / "b", training)
    counted = [look(run, test_set) for run in (first, first, second)]
    assert [(result.looks, result.models_looked) for result in counted] == [(1, 1), (2, 1), (3, 2)]
    result = look(second, random_digits(20, seed=3))
    assert (result.looks, result.models_looked) == (1, 1)


def test_the_record(training: Digits, test_set: Digits, tmp_path: Path) -> None:
    """A look leaves its JSON line and its arrays in the run, and a second one takes nothing away."""
    run = FakeRun(tmp_path / "run", training)
    results = [look(run, test_set, "first"), look(run, test_set, "second")]
    lines = [json.loads(line) for line in (run.path / "evaluations.jsonl").read_text().splitlines()]
    elsewhere = {"run", "model", "report"}
    assert lines == json.loads(
        json.dumps([{k: v for k, v in asdict(each).items() if k not in elsewhere} for each in results])
    )
    assert [line["file"] for line in lines] == ["evaluations/1.npz", "evaluations/2.npz"]
    assert lines[0]["data"] == {"spec": "first", "sha256": test_set.content_hash(), "n": 20}
    with np.load(run.path / lines[1]["file"], allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["labels"], test_set.labels)
        np.testing.assert_array_equal(arrays["probabilities"], CornerReader().answer(test_set.images)[0])
        np.testing.assert_array_equal(arrays["ids"], test_set.ids)
        assert arrays["mistake_indices"].tolist() == [0, 4, 10, 11, 12]
        np.testing.assert_array_equal(arrays["mistake_images"], test_set.images[[0, 4, 10, 11, 12]])
        np.testing.assert_array_equal(kept_probabilities(run.path / lines[1]["file"]), arrays["probabilities"])
    assert not list(run.path.rglob("*.part"))


def test_what_was_kept_is_damaged(tmp_path: Path) -> None:
    """Answers that cannot be read are a RunError that names the file."""
    (tmp_path / "1.npz").write_bytes(b"PK")
    for name in ("1.npz", "2.npz"):
        with pytest.raises(RunError, match=f"{name}' is damaged.*Evaluate the run again"):
            kept_probabilities(tmp_path / name)


def test_unlabelled_data_are_refused(training: Digits, tmp_path: Path) -> None:
    """Data without labels, or without images, are refused, and no look is recorded."""
    run = FakeRun(tmp_path / "run", training)
    with pytest.raises(DataError, match=r"'test\.npz' has no labels"):
        look(run, Digits.of(training.images))
    with pytest.raises(DataError, match="'0' images"):
        look(run, training.take(np.arange(0)))
    assert not (run.path / "evaluations.jsonl").exists()
    assert not ledger.path().exists()


def test_no_score_without_the_ledger(training: Digits, test_set: Digits, tmp_path: Path) -> None:
    """Where the look cannot be written down, there is no score, and none is left in the run."""
    (tmp_path / "cache").write_text("no folder")
    run = FakeRun(tmp_path / "run", training)
    with pytest.raises(TenfoldError, match="TENFOLD_CACHE"):
        look(run, test_set)
    assert not (run.path / "evaluations.jsonl").exists()


def test_a_full_disk_leaves_no_empty_answers(
    training: Digits, test_set: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers for which there is no room leave no file, so that nobody takes it for theirs, and there is no score."""

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(scoring, "write_atomically", full)
    run = FakeRun(tmp_path / "run", training)
    with pytest.raises(RunError, match="Free some space"):
        look(run, test_set)
    assert not list((run.path / "evaluations").glob("[0-9]*.npz"))
    assert not (run.path / "evaluations.jsonl").exists()


def test_a_run_that_cannot_be_written_is_named(training: Digits, test_set: Digits, tmp_path: Path) -> None:
    """A run's folder that takes no line is an error that names it."""
    run = FakeRun(tmp_path / "run", training)
    (run.path / "evaluations.jsonl").mkdir()
    with pytest.raises(RunError, match=r"'.*run'.*Make its folder writable"):
        look(run, test_set)
