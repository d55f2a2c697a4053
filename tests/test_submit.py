"""Submitting: the file is what Kaggle takes, byte for byte, and nothing wrong gets that far."""

import csv
import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold import settings
from tenfold.ablate import ablate
from tenfold.compare import compare
from tenfold.data import load
from tenfold.data.digits import Digits, image_hashes
from tenfold.errors import DataError, TenfoldError
from tenfold.explore import explore
from tenfold.export import export
from tenfold.reproduce import reproduce
from tenfold.runs.protocols import Protocol
from tenfold.runs.run import Run
from tenfold.runs.systems import System
from tenfold.runtime.recogniser import Recogniser
from tenfold.submit import Submission, render, submit
from tenfold.training import recipe as recipes


class CornerReader:
    """A classifier that gives the digit written as a number into an image's first pixel."""

    def answer(
        self, images: NDArray[np.uint8], shifts: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return (N, 10) probabilities, and (N,) that each is a digit."""
        return np.eye(10, dtype=np.float32)[images[:, 0, 0]], np.ones(len(images), np.float32)


def unlabelled(n: int = 300, digits: int = 10) -> Digits:
    """Images of noise whose first pixels count from 0 to `digits` - 1, over and over."""
    images = np.random.default_rng(0).integers(0, 256, (n, 28, 28), dtype=np.uint8)
    images[:, 0, 0] = np.arange(n) % digits
    return Digits.of(images)


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Submission]:
    """Return `submit` for images that are loaded already, by a run that was trained on `trained_on`."""
    another = np.full((1, 28, 28), 7, np.uint8)

    def call(
        digits: Digits,
        spec: str,
        out: Path,
        *,
        force: bool = False,
        sample_ids: NDArray[np.int64] | None = None,
        reader: Any = None,
        trained_on: NDArray[np.uint8] = another,
    ) -> Submission:
        recipe = SimpleNamespace(prediction=SimpleNamespace(shifts=0), classical=False)
        run = SimpleNamespace(recipe=recipe, training_hashes=lambda: image_hashes(trained_on))
        system = System("run", "run", "fake", 0.0, 1, run=run)  # type: ignore[arg-type]
        vars(system)["_classifier"] = reader or CornerReader()
        monkeypatch.setattr("tenfold.submit.open_system", lambda *_, **__: system)
        monkeypatch.setattr("tenfold.submit.load", lambda *_: digits)
        monkeypatch.setattr("tenfold.submit.locate", lambda *_: out)
        monkeypatch.setattr("tenfold.submit.sample_submission_ids", lambda _: sample_ids)
        return submit("run", spec, str(out), force=force, quiet=True)

    return call


def test_the_file(answer: Callable[..., Submission], tmp_path: Path) -> None:
    """The file holds the header and a row an image, in order, with ids from 1, LF and a final newline."""
    out = tmp_path / "submission.csv"
    result = answer(unlabelled(12), "test.csv", out)
    expected = "ImageId,Label\n" + "".join(f"{i + 1},{i % 10}\n" for i in range(12))
    assert out.read_bytes() == expected.encode()
    assert asdict(result) == {
        "rows": 12,
        "out": str(out),
        "sha256": hashlib.sha256(expected.encode()).hexdigest(),
        "counts": [2, 2, 1, 1, 1, 1, 1, 1, 1, 1],
        "trained_on": 0,
        "warnings": [],
    }
    assert list(tmp_path.iterdir()) == [out]


def test_csv_reads_it_back(answer: Callable[..., Submission], tmp_path: Path) -> None:
    """The csv module reads back the ids and answers."""
    digits = unlabelled(300)
    answer(digits, "test.csv", tmp_path / "s.csv")
    rows = list(csv.DictReader((tmp_path / "s.csv").read_text().splitlines()))
    assert [int(row["ImageId"]) for row in rows] == digits.ids.tolist()
    assert [int(row["Label"]) for row in rows] == digits.images[:, 0, 0].tolist()


@pytest.mark.data
def test_bytes_equal_the_sample_submission() -> None:
    """With every answer 0, the 28,000 rows equal the competition's sample_submission.csv byte for byte."""
    folder = settings.data_folder()
    archive = folder / "kaggle" / "digit-recognizer.zip" if folder else None
    if archive is None or not archive.exists():
        pytest.skip("TENFOLD_DATA holds no kaggle/digit-recognizer.zip")
    sample = zipfile.ZipFile(archive).read("sample_submission.csv")
    assert render(np.arange(1, 28_001), np.zeros(28_000, np.int64)) == sample


def test_ids_of_the_sample_submission(answer: Callable[..., Submission], tmp_path: Path) -> None:
    """Data whose ids or count differ from the sample submission's are refused, with the first difference."""
    digits, out = unlabelled(300), tmp_path / "s.csv"
    assert answer(digits, "d", out, sample_ids=np.arange(1, 301)).rows == 300
    before = out.read_bytes()
    with pytest.raises(DataError, match="'300' images and its sample_submission.csv '299' rows"):
        answer(digits, "d", out, sample_ids=np.arange(1, 300))
    swapped = np.arange(1, 301)
    swapped[[4, 5]] = swapped[[5, 4]]
    with pytest.raises(DataError, match="Image 5 of 'd' has the id '5' where its sample_submission.csv has '6'"):
        answer(digits, "d", out, sample_ids=swapped)
    assert out.read_bytes() == before


def test_labelled_data_are_refused_unless_forced(answer: Callable[..., Submission], tmp_path: Path) -> None:
    """Labelled data are no test set: refused with nothing written, taken with force."""
    digits = unlabelled(300)
    labelled, out = Digits.of(digits.images, np.zeros(300, np.int64)), tmp_path / "new" / "s.csv"
    with pytest.raises(DataError, match="'mnist:test' has labels.*--force"):
        answer(labelled, "mnist:test", out)
    assert not out.parent.exists()
    assert answer(labelled, "mnist:test", out, force=True).rows == 300
    assert out.exists()


def test_empty_data_are_refused(answer: Callable[..., Submission], tmp_path: Path) -> None:
    """Data without an image are refused."""
    with pytest.raises(DataError, match="'0' images"):
        answer(unlabelled(0), "d", tmp_path / "s.csv")


def test_uneven_answers_are_warned_of(answer: Callable[..., Submission], tmp_path: Path) -> None:
    """Answers far from a tenth each are named; even ones, and few ones, are not."""
    out = tmp_path / "s.csv"
    assert answer(unlabelled(300), "d", out).warnings == []
    assert answer(unlabelled(30, digits=2), "d", out).warnings == []
    (warning,) = answer(unlabelled(300, digits=2), "d", out).warnings
    assert "0 (50.0%), 1 (50.0%), 2 (0.0%)" in warning


def test_images_trained_on_are_warned_of(answer: Callable[..., Submission], tmp_path: Path) -> None:
    """Images that the run was trained on are counted and named."""
    digits = unlabelled(300)
    result = answer(digits, "d", tmp_path / "s.csv", trained_on=digits.images[::100])
    assert result.trained_on == 3
    assert "3 of these 300 images were trained on" in result.warnings[0]


def test_an_old_file_stays_when_prediction_fails(
    answer: Callable[..., Submission], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is there is replaced by a whole new one, and stays as it was when anything fails before."""
    out = tmp_path / "s.csv"
    out.write_text("old")

    def fails(*_: object) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        answer(unlabelled(), "d", out, reader=SimpleNamespace(answer=fails))
    assert out.read_text() == "old"
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(TenfoldError, match="'.*s.csv' .No space left on device"):
            answer(unlabelled(), "d", out)
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]
    answer(unlabelled(), "d", out)
    assert out.read_bytes().startswith(b"ImageId,Label\n1,0\n")


def test_places_that_cannot_be_written_are_named(answer: Callable[..., Submission], tmp_path: Path) -> None:
    """A folder, a path through a file, and the data themselves are refused as the output, before predicting."""
    call = partial(answer, reader=SimpleNamespace(answer=None))  # calling that would be a TypeError
    (tmp_path / "file").write_text("x")
    (tmp_path / "test.csv").write_text("the data")
    with pytest.raises(TenfoldError, match="is a folder"):
        call(unlabelled(), "d", tmp_path)
    with pytest.raises(TenfoldError, match="Cannot write '.*file/s.csv'"):
        call(unlabelled(), "d", tmp_path / "file" / "s.csv")
    with pytest.raises(TenfoldError, match="another file"):
        call(unlabelled(), str(tmp_path / "test.csv"), tmp_path / "test.csv")
    assert (tmp_path / "test.csv").read_text() == "the data"


def kaggle_zip(path: Path, digits: Digits, rows: int) -> Path:
    """Write a Kaggle zip with `digits` as its test.csv and a sample submission of so many rows."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([f"pixel{i}" for i in range(784)])
    writer.writerows(digits.images.reshape(len(digits), -1).tolist())
    train = text.getvalue().replace("pixel0,", "label,pixel0,", 1).replace("\n", "\n3,").removesuffix("3,")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.csv", train)
        archive.writestr("test.csv", text.getvalue())
        archive.writestr("sample_submission.csv", render(np.arange(1, rows + 1), np.zeros(rows, np.int64)))
    return path


def test_a_real_run(tmp_path: Path) -> None:
    """A trained run answers a Kaggle zip's test.csv, and a zip whose sample submission disagrees is refused."""
    pytest.importorskip("torch")
    from tenfold.train import train

    train("instant", "uci", tmp_path / "run", quiet=True)
    good = kaggle_zip(tmp_path / "good.zip", unlabelled(25), rows=25)
    result = submit(tmp_path / "run", str(good), str(tmp_path / "s.csv"), quiet=True)
    assert (tmp_path / "s.csv").read_text().count("\n") == 26
    assert result.rows == sum(result.counts) == 25
    bad = kaggle_zip(tmp_path / "bad.zip", unlabelled(25), rows=24)
    with pytest.raises(DataError, match="sample_submission.csv '24' rows"):
        submit(str(tmp_path / "run"), str(bad), tmp_path / "s.csv", quiet=True)


def test_a_model(tmp_path: Path) -> None:
    """A model file answers too; what it was trained on is not known, so that no image of it is counted."""
    good = kaggle_zip(tmp_path / "good.zip", unlabelled(25), rows=25)
    result = submit("tiny", str(good), str(tmp_path / "s.csv"), quiet=True)
    assert (result.rows, result.trained_on) == (25, None)
    digits = load(str(good), "submit").images
    expected = Recogniser.load("tiny").probabilities(digits).argmax(1)
    assert (tmp_path / "s.csv").read_bytes() == render(np.arange(1, 26), expected)


@pytest.mark.parametrize("name", ["data/train.csv", "link.csv", "hard.csv", "run/weights.safetensors", "hard.onnx"])
@pytest.mark.parametrize("verb", ["submit", "explore", "compare", "markdown", "export", "ablate", "reproduce"])
def test_nothing_that_is_read_is_written_over(
    verb: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data and runs, by whatever name or link they are named as a target, stay as they are; the error says so."""
    data, folder = tmp_path / "data" / "train.csv", tmp_path / "run"
    data.parent.mkdir()
    data.write_text("0," * 784 + "0\n")
    (tmp_path / "link.csv").symlink_to(data)
    (tmp_path / "hard.csv").hardlink_to(data)
    (tmp_path / "hard.onnx").hardlink_to(data)
    manifest = {"seed": 0, "status": "finished", "data": {"spec": "uci", "sha256": "00"}}
    run = Run.create(folder, recipes.load("instant"), manifest, np.arange(1, dtype=np.uint64), np.arange(0))
    (folder / "weights.safetensors").touch()
    out = tmp_path / name
    if verb in ("ablate", "reproduce", "export") and "run" in name:
        return  # these read none, or write no such file
    if verb == "export":
        out = tmp_path / "hard.onnx"
    monkeypatch.setattr("tenfold.reproduce.PROTOCOLS", {"mine": Protocol("mine", "Mine", str(data), None)})
    with pytest.raises(TenfoldError, match="is among what is read"):
        match verb:
            case "submit":
                submit(run.path, str(data.parent), out, quiet=True)
            case "explore":
                explore(str(data.parent) if "run" not in name else str(run.path), out, quiet=True)
            case "compare":
                compare([run.path, tmp_path / "other"], str(data), page=out, quiet=True)
            case "markdown":
                compare([run.path, tmp_path / "other"], str(data), markdown=out, quiet=True)
            case "export":
                export(run.path, out, data=str(data), force=True, quiet=True)
            case "ablate":
                ablate("kernel", str(data), out=tmp_path / "parts", record=out, quiet=True)
            case "reproduce":
                reproduce(recipes="instant", protocol="mine", out=tmp_path / "all", markdown=out, quiet=True)
    assert data.read_text() == "0," * 784 + "0\n"
    assert (folder / "weights.safetensors").read_bytes() == b""
