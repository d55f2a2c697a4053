"""Evaluating: the overlap is found and named before the score, and every look leaves its record."""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from scipy.stats import binomtest

from tenfold import evaluate as verb
from tenfold.data.digits import Digits, image_hashes
from tenfold.errors import DataError, RunError, SourceError, TenfoldError
from tenfold.evaluate import score_run
from tenfold.runs import ledger, seen
from tenfold.runs.run import Run


class CornerReader:
    """A classifier that gives the digit written as a number into an image's first pixel, with confidence 0.91."""

    def predict_proba(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (N, 10) probabilities."""
        shares = np.full((len(images), 10), 0.01, np.float32)
        shares[np.arange(len(images)), images[:, 0, 0] % 10] = 0.91
        return shares


class FakeRun:
    """As much of a run as evaluating needs, trained on the images of `training` that `used` marks."""

    def __init__(self, path: Path, training: Digits, used: NDArray[np.bool_] | None = None) -> None:
        path.mkdir(exist_ok=True)
        (path / "weights.safetensors").write_bytes(b"weights of " + path.name.encode())
        self.path = path
        self.manifest = {"data": {"spec": "training.npz"}}
        self.recipe = SimpleNamespace(prediction=SimpleNamespace(shifts=0), classical=False)
        self._used = training.images if used is None else training.images[used]

    def training_hashes(self) -> NDArray[np.uint64]:
        """Return the hashes of the images trained on."""
        return image_hashes(self._used)

    def weights_sha256(self) -> str:
        """Return the hash of what answers."""
        return hashlib.sha256((self.path / "weights.safetensors").read_bytes()).hexdigest()

    def classifier(self, device: str = "auto") -> CornerReader:
        """Return the classifier."""
        assert device == "cpu"
        return CornerReader()


def random_digits(n: int, seed: int) -> Digits:
    """Images of noise, none near another, each with its label in the first pixel."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 250, (n, 28, 28), dtype=np.uint8)
    labels = rng.integers(0, 10, n)
    images[:, 0, 0] = labels
    return Digits.of(images, labels)


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Digits:
    """The training data that `training.npz` names, 50 images."""
    digits = random_digits(50, seed=1)
    monkeypatch.setattr(seen, "load", lambda spec, purpose: {("training.npz", "train"): digits}[spec, purpose])
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


def look(run: Any, digits: Digits, spec: str = "test.npz") -> tuple[dict[str, Any], str]:
    """Return the result and what was printed."""
    text = io.StringIO()
    console = Console(file=text, width=120)
    return score_run(run, digits, spec, tta=None, device="cpu", console=console), text.getvalue()


def test_overlap_by_hand(training: Digits, test_set: Digits, tmp_path: Path) -> None:
    """4 equal and 2 near images are found; accuracy is 15/20 over all, 4/6 on them and 11/14 without them."""
    result, _ = look(FakeRun(tmp_path / "run", training), test_set)
    assert (result["accuracy"], result["errors"], result["n"]) == (0.75, 5, 20)
    overlap = result["overlap"]
    assert (overlap["exact"], overlap["near"], overlap["near_checked"]) == (4, 2, True)
    assert overlap["accuracy_on_overlap"] == pytest.approx(4 / 6)
    assert overlap["accuracy_without"] == pytest.approx(11 / 14)
    assert overlap["n_without"] == 14
    theirs = binomtest(11, 14).proportion_ci(method="wilson")
    assert overlap["ci95_without"] == pytest.approx([theirs.low, theirs.high])


def test_images_held_out_do_not_count(training: Digits, test_set: Digits, tmp_path: Path) -> None:
    """An image of the training data that was held out from training is no overlap, neither equal nor near."""
    used = np.ones(50, dtype=bool)
    used[[10, 20]] = False
    result, _ = look(FakeRun(tmp_path / "run", training, used), test_set)
    assert (result["overlap"]["exact"], result["overlap"]["near"]) == (3, 1)


def test_no_overlap(training: Digits, tmp_path: Path) -> None:
    """Without overlap the accuracy without it is the accuracy, and that on it does not exist."""
    result, text = look(FakeRun(tmp_path / "run", training), random_digits(20, seed=3))
    assert result["overlap"] == {
        "exact": 0,
        "near": 0,
        "near_checked": True,
        "accuracy_on_overlap": None,
        "accuracy_without": 1.0,
        "n_without": 20,
        "ci95_without": result["ci95"],
    }
    assert "verlap" not in text


def test_nothing_but_overlap(training: Digits, tmp_path: Path) -> None:
    """Scored on its own training data, a run has no accuracy without overlap."""
    result, text = look(FakeRun(tmp_path / "run", training), training)
    assert result["overlap"]["accuracy_without"] is None
    assert result["overlap"]["ci95_without"] is None
    assert result["overlap"]["exact"] == 50
    assert "50 of these 50 images were trained on" in text


def test_overlap_is_named_before_the_score(
    training: Digits, test_set: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The overlap is printed before the run has even predicted, with the accuracy without it before the accuracy."""
    _, text = look(FakeRun(tmp_path / "run", training), test_set)
    places = [text.index(words) for words in ("6 of these 20 images", "78.57%", "75.00%")]
    assert places == sorted(places)

    def fails(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(CornerReader, "predict_proba", fails)
    out = io.StringIO()
    with pytest.raises(RuntimeError):
        run: Any = FakeRun(tmp_path / "other", training)
        score_run(run, test_set, "t", tta=None, device="cpu", console=Console(file=out, width=120))
    assert "6 of these 20 images" in out.getvalue()
    assert ledger.looks(test_set.content_hash()) == 1


@pytest.mark.parametrize(
    ("loader", "reason"),
    [
        (lambda *_: (_ for _ in ()).throw(SourceError("No data are called 'training.npz'.")), "No data are called"),
        (lambda *_: random_digits(50, seed=9), "no longer hold what the run was trained on"),
    ],
)
def test_near_images_unchecked(
    training: Digits,
    test_set: Digits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    loader: Callable[..., Digits],
    reason: str,
) -> None:
    """Without the training data, equal images are still found, and that near ones were not looked for is said."""
    with monkeypatch.context() as patch:
        patch.setattr(seen, "load", loader)
        result, text = look(FakeRun(tmp_path / "run", training), test_set)
    assert (result["overlap"]["exact"], result["overlap"]["near"]) == (4, 0)
    assert result["overlap"]["near_checked"] is False
    assert reason in text.replace("\n", " ")
    result, _ = look(FakeRun(tmp_path / "run", training), test_set)
    assert result["overlap"]["near_checked"] is True, "what could not be checked must be tried again"


def test_the_second_look_does_not_compare_again(
    training: Digits, test_set: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison is kept with the run by the data's content, and made anew when what was kept is damaged."""
    run = FakeRun(tmp_path / "run", training)
    calls = []
    find_overlap = seen.find_overlap
    monkeypatch.setattr(seen, "find_overlap", lambda *sets: (calls.append(1), find_overlap(*sets))[1])
    first, second = look(run, test_set)[0], look(run, test_set)[0]
    assert len(calls) == 1
    assert first["overlap"] == second["overlap"]
    look(run, random_digits(20, seed=5))
    assert len(calls) == 2
    (kept,) = [f for f in (run.path / "evaluations").glob("overlap-*") if test_set.content_hash()[:16] in f.name]
    kept.write_bytes(kept.read_bytes()[:100])
    assert look(run, test_set)[0]["overlap"] == first["overlap"]
    assert len(calls) == 3


def test_looks_are_counted(training: Digits, test_set: Digits, tmp_path: Path) -> None:
    """Three looks by two models at one set, and one at another, are told apart, and shown."""
    first, second = FakeRun(tmp_path / "a", training), FakeRun(tmp_path / "b", training)
    counted = [look(run, test_set)[0] for run in (first, first, second)]
    assert [(result["looks"], result["models_looked"]) for result in counted] == [(1, 1), (2, 1), (3, 2)]
    result, text = look(second, random_digits(20, seed=3))
    assert (result["looks"], result["models_looked"]) == (1, 1)
    assert "by 1 model" in text


def test_the_record(training: Digits, test_set: Digits, tmp_path: Path) -> None:
    """A look leaves its JSON line and its arrays in the run, and a second one takes nothing away."""
    run = FakeRun(tmp_path / "run", training)
    first, second = look(run, test_set, "first")[0], look(run, test_set, "second")[0]
    lines = [json.loads(line) for line in (run.path / "evaluations.jsonl").read_text().splitlines()]
    assert lines == [{k: v for k, v in result.items() if k != "run"} for result in (first, second)]
    assert [line["file"] for line in lines] == ["evaluations/1.npz", "evaluations/2.npz"]
    assert lines[0]["data"] == {"spec": "first", "sha256": test_set.content_hash(), "n": 20}
    with np.load(run.path / lines[1]["file"], allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["labels"], test_set.labels)
        np.testing.assert_array_equal(arrays["probabilities"], CornerReader().predict_proba(test_set.images))
        assert arrays["mistake_indices"].tolist() == [0, 4, 10, 11, 12]
        np.testing.assert_array_equal(arrays["mistake_images"], test_set.images[[0, 4, 10, 11, 12]])
    assert not list(run.path.rglob("*.tmp"))


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
    """Where the look cannot be written down, no score is shown."""
    (tmp_path / "cache").write_text("no folder")
    out = io.StringIO()
    run: Any = FakeRun(tmp_path / "run", training)
    with pytest.raises(TenfoldError, match="TENFOLD_CACHE"):
        score_run(run, test_set, "t", tta=None, device="cpu", console=Console(file=out, width=120))
    assert "75.00%" not in out.getvalue()


def test_a_run_that_cannot_be_written_is_named(training: Digits, test_set: Digits, tmp_path: Path) -> None:
    """A run's folder that takes no files is an error that names it."""
    run = FakeRun(tmp_path / "run", training)
    (run.path / "evaluations").write_text("a file where a folder must be")
    with pytest.raises(RunError, match=r"'.*run'.*Make its folder writable"):
        look(run, test_set)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    """A folder that `train` did not write is refused."""
    with pytest.raises(RunError, match=str(tmp_path)):
        verb.evaluate(tmp_path, "uci:test")


@pytest.fixture(scope="module")
def uci_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run: `instant` on the small digits' training part, for so many epochs that it learns them."""
    pytest.importorskip("torch")
    from tenfold.train import train

    folder = tmp_path_factory.mktemp("runs") / "uci"
    train("instant", "uci", folder, overrides=["training.epochs=4"], quiet=True)
    return folder


def test_a_real_run(uci_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A trained run is scored on unseen digits: JSON with every figure, a report, and the summary on stderr alone."""
    result = verb.evaluate(uci_run, "uci:test")
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["n"] == 360
    assert result["overlap"]["near_checked"] is True
    assert result["accuracy"] > 0.5
    assert result["ci95"][0] < result["accuracy"] < result["ci95"][1]
    assert Path(result["report"]).is_file()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "accuracy" in printed.err
    verb.evaluate(uci_run, "uci:test", quiet=True)
    assert capsys.readouterr().err == ""


def test_test_time_augmentation(uci_run: Path) -> None:
    """`tta` averages over shifts or does not, whatever the recipe says; None does as the recipe says."""
    probabilities = {}
    for tta in (None, False, True):
        result = verb.evaluate(uci_run, "uci:test", tta=tta, quiet=True)
        with np.load(uci_run / result["file"]) as arrays:
            probabilities[tta] = arrays["probabilities"]
        if tta is not None:
            assert result["tta"] is tta
    own = bool(Run.open(uci_run).recipe.prediction.shifts)
    assert not np.array_equal(probabilities[False], probabilities[True])
    np.testing.assert_array_equal(probabilities[None], probabilities[own])


def test_a_real_run_on_its_training_data(uci_run: Path) -> None:
    """Scored on what it was trained on, a run reports every image that was not held out as overlap."""
    result = verb.evaluate(uci_run, "uci:train", quiet=True)
    held_out = json.loads((uci_run / "run.json").read_text())["data"]["n_validation"]
    assert result["n"] - result["overlap"]["exact"] <= held_out
    assert result["overlap"]["n_without"] <= held_out
