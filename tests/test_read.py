"""Labelling many images: every one once, in order, in bounded memory, whatever stops it on the way."""

import csv
import errno
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from typer.testing import CliRunner

from tenfold.cli import app
from tenfold.data import load
from tenfold.errors import DataError, ModelError, RunError, TenfoldError
from tenfold.files import claimed, read_npz
from tenfold.imaging.frame import to_frame
from tenfold.read import Answered, read
from tenfold.runtime import streams
from tenfold.runtime.recogniser import Recogniser
from tenfold.runtime.streams import Journal

CARD = {
    "format": 1,
    "name": "halves",
    "recipe": "by hand",
    "precision": "fp32",
    "data": {},
    "metrics": {},
    "held_out": {"n": 5000, "errors": [[0.6, 4900], [0.3, 4990]]},
    "threshold": 0.3,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model file that answers by random projections of the pixels, so that answers differ."""
    weights = np.random.default_rng(0).normal(size=(784, 10)).astype(np.float32) / 3000
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "halves",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 28, 28])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(weights, "weights")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(made, {"tenfold": json.dumps(CARD)})
    path = tmp_path_factory.mktemp("model") / "halves.onnx"
    path.write_bytes(made.SerializeToString())
    return path


@pytest.fixture
def images() -> NDArray[np.uint8]:
    """Return 100 images, (100, 28, 28) uint8, the last one blank."""
    images = np.random.default_rng(1).integers(0, 256, (100, 28, 28)).astype(np.uint8)
    images[-1] = 0
    return images


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make chunks of 16 images, so that 100 take seven."""
    monkeypatch.setattr(streams, "ROWS", 16)


def draw(path: Path) -> None:
    """Write a picture of a stroke, dark on light."""
    picture = np.full((40, 40), 250, np.uint8)
    picture[8:32, 12:17] = picture[8:12, 12:28] = 10
    Image.fromarray(picture).save(path)


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(("key", "flat"), [("X", False), ("images", True)])
def test_npz(save: Any, key: str, flat: bool, images: Any, model: Path, tmp_path: Path) -> None:
    """Every image of an array, stored or deflated, square or flat, has the answer that the recogniser gives it."""
    save(tmp_path / "in.npz", **{key: images.reshape(100, 784) if flat else images, "y": np.zeros(100)})
    result = read(tmp_path / "in.npz", tmp_path / "out.csv", model=model, quiet=True)
    expected = Recogniser.load(model).predict(images)
    found = rows(tmp_path / "out.csv")
    assert [row["index"] for row in found] == [str(index) for index in range(100)]
    assert [row["digit"] for row in found[:-1]] == [str(digit) for digit in expected.digits[:-1]]
    assert found[-1] == {"index": "99", "digit": "", "confidence": "0.000000", "abstained": "1", "reason": "blank"}
    assert [row["abstained"] == "1" for row in found] == expected.abstained.tolist()
    assert [row["reason"] or None for row in found] == [expected.reason(index) for index in range(100)]
    np.testing.assert_allclose([float(row["confidence"]) for row in found], expected.confidences, atol=1e-6)
    assert 0 < result.abstained == expected.abstained.sum() < 100
    assert result.images == 100 == result.answered + result.abstained
    assert result.counts == np.bincount(expected.digits[~expected.abstained], minlength=10).tolist()


def test_npz_of_answers(images: Any, model: Path, tmp_path: Path) -> None:
    """The answers as NPZ are the recogniser's arrays, and the same again byte for byte."""
    np.savez(tmp_path / "in.npz", X=images)
    for name in ("a.npz", "b.npz"):
        read(tmp_path / "in.npz", tmp_path / name, model=model, quiet=True)
    expected = Recogniser.load(model).predict(images)
    with np.load(tmp_path / "a.npz") as found:
        assert sorted(found) == ["abstained", "confidences", "digits", "probabilities"]
        for name in found:
            np.testing.assert_array_equal(found[name], getattr(expected, name))
            assert found[name].dtype == getattr(expected, name).dtype
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "in.npz", "a.npz", "b.npz"}


def test_folder(images: Any, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Pictures in nested folders are read in the order of their names; what cannot be read has a row that says so."""
    folder = tmp_path / "in"
    (folder / "b").mkdir(parents=True)
    pictures = {"a.png": 255 - images[0], "b/1.png": images[1].repeat(2, 0).repeat(2, 1), "b/2, or.png": images[2]}
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / name)
    (folder / "b" / "broken.png").write_bytes(b"nothing")
    (folder / ".DS_Store").write_bytes(b"clutter")
    (folder / "labels.csv").write_bytes(b"a.png,4\n")
    (folder / "b" / "README.md").write_bytes(b"pictures")
    (folder / "c.png").symlink_to(folder / "nowhere.png")
    result = read(folder, tmp_path / "out.csv", model=model, quiet=True)
    found = {row["file"]: row for row in rows(tmp_path / "out.csv")}
    assert list(found) == ["a.png", "b/1.png", "b/2, or.png", "b/broken.png", "c.png"]
    expected = Recogniser.load(model).predict(np.stack([to_frame(pixels) for pixels in pictures.values()]))
    assert [found[name]["digit"] for name in pictures] == [str(digit).replace("-1", "") for digit in expected.digits]
    broken = found["b/broken.png"]
    assert (broken["digit"], broken["abstained"]) == ("", "1")
    assert broken["reason"].startswith("unreadable: 'b/broken.png' is not a picture")
    assert found["c.png"]["reason"].startswith("unreadable: 'c.png' is not a file")
    assert (result.images, result.unreadable) == (5, 2)
    assert f"'{folder}': left out 2 files that are text." in caplog.messages


def test_a_zip_that_is_damaged_is_a_row(images: Any, model: Path, tmp_path: Path) -> None:
    """A zip in a folder of pictures that cannot be read is a row that says so; the pictures are read."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(images[0]).save(folder / "a.png")
    (folder / "b.zip").write_bytes(b"PK\3\4 and no more")
    Image.fromarray(images[1]).save(folder / "c.png")
    result = read(folder, model=model, quiet=True)
    assert isinstance(result, Answered)
    assert result.names == ["a.png", "b.zip", "c.png"]
    assert [(reason or "").startswith("unreadable: ") for reason in result.reasons] == [False, True, False]


def test_other_sizes(model: Path, tmp_path: Path) -> None:
    """Images of another size are framed one by one."""
    pictures = np.full((20, 40, 30), 250, np.uint8)
    for index, picture in enumerate(pictures):
        picture[5:35, 5 : 7 + index] = 5
    np.savez_compressed(tmp_path / "in.npz", images=pictures)
    read(tmp_path / "in.npz", tmp_path / "out.npz", model=model, quiet=True)
    expected = Recogniser.load(model).predict(np.stack([to_frame(picture) for picture in pictures]))
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_allclose(found["probabilities"], expected.probabilities, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: 255 - x,
        lambda x: x.transpose(0, 2, 1),
        lambda x: (255 - x).transpose(0, 2, 1).reshape(-1, 784),
        lambda x: (x / 255).astype(np.float32),
        lambda x: np.asfortranarray(x[..., None]),
    ],
)
def test_read_as_evaluate_reads(change: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values, polarity and position of an NPZ are judged once for all of it, whatever part is answered at a time."""
    digits = load("uci:test", "evaluate")
    monkeypatch.setattr(streams, "ROWS", 100)
    np.savez(tmp_path / "in.npz", X=change(digits.images))
    read(tmp_path / "in.npz", tmp_path / "out.npz", model="tiny", quiet=True)
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_array_equal(found["digits"], Recogniser.load("tiny").predict(digits.images).digits)


@pytest.mark.parametrize("shape", [(50, 28, 28), (50, 784)])
def test_two_values_in_a_stream(shape: tuple[int, ...], images: Any, model: Path, tmp_path: Path) -> None:
    """Images of 0 and 1 are read as black and white, flat or not."""
    two = (images[:50] > 127).astype(np.uint8).reshape(shape)
    np.savez(tmp_path / "in.npz", X=two)
    read(tmp_path / "in.npz", tmp_path / "out.npz", model=model, quiet=True)
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_array_equal(found["digits"], Recogniser.load(model).predict(two).digits)


@pytest.mark.parametrize("kind", ["csv", "npz"])
@pytest.mark.parametrize("stop_at", [1, 3, 6])
def test_resumes(
    kind: str, stop_at: int, images: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed anywhere, even while it writes, resumes and gives the bytes of one that was not."""
    np.savez(tmp_path / "in.npz", X=images)
    whole = tmp_path / f"whole.{kind}"
    read(tmp_path / "in.npz", whole, model=model, quiet=True)
    out = tmp_path / f"out.{kind}"
    add = Journal.add

    def die(journal: Journal, *arguments: Any) -> None:
        if len(journal.read) == stop_at:
            journal._file.write(b'{"number": 9, "half a row')  # on the disk, but not whole
            raise KeyboardInterrupt
        add(journal, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "add", die)
        with pytest.raises(KeyboardInterrupt):
            read(tmp_path / "in.npz", out, model=model, quiet=True)
    assert not out.exists()
    result = read(tmp_path / "in.npz", out, model=model, quiet=True)
    assert result.resumed_at == 16 * stop_at
    assert out.read_bytes() == whole.read_bytes()
    assert sum(result.counts) + result.abstained == 100
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "in.npz", whole.name, out.name}


def test_starts_again_for_other_answers(
    images: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was left by a run with another threshold or on other images is not resumed."""
    np.savez(tmp_path / "in.npz", X=images)
    out = tmp_path / "out.csv"
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "finish", lambda *_: None)
        read(tmp_path / "in.npz", out, model=model, quiet=True, threshold=0.9)
    assert read(tmp_path / "in.npz", out, model=model, quiet=True).resumed_at == 0
    assert "0" in {row["abstained"] for row in rows(out)}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"Z": np.zeros(3)}, "holds labels alone"),
        ({"X": np.full((2, 28, 28), np.nan)}, "has the value 'nan'"),
        ({"X": np.zeros((0, 28, 28), np.uint8)}, "has the shape"),
        ({"X": np.zeros((2, 3), np.uint8)}, "has the shape"),
        ({"X": np.zeros((1, 1, 5000), np.uint8)}, "has the shape"),
    ],
)
def test_bad_npz(arrays: dict[str, Any], message: str, model: Path, tmp_path: Path) -> None:
    """An archive without images, or with others than can be read, is one error."""
    np.savez(tmp_path / "in.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "in.npz", tmp_path / "out.csv", model=model, quiet=True)


def test_broken_npz(images: Any, model: Path, tmp_path: Path) -> None:
    """An array that ends before its header says, one that is damaged, and what is no array are DataErrors."""
    header = (
        b"\x93NUMPY\1\0\x76\0" + b"{'descr': '|u1', 'fortran_order': False, 'shape': (9, 28, 28)}".ljust(117) + b"\n"
    )
    for content, message in (
        (header + bytes(784), "its header promises 7184"),
        (b"hello", "is text that begins with 'hello'"),
    ):
        with zipfile.ZipFile(tmp_path / "in.npz", "w") as archive:
            archive.writestr("X.npy", content)
        with pytest.raises(DataError, match=message):
            read(tmp_path / "in.npz", tmp_path / "out.csv", model=model, quiet=True)
    np.savez(tmp_path / "in.npz", X=images)
    damaged = bytearray((tmp_path / "in.npz").read_bytes())
    damaged[5000] ^= 1
    (tmp_path / "in.npz").write_bytes(damaged)
    with pytest.raises(DataError, match="damaged"):
        read(tmp_path / "in.npz", tmp_path / "out.csv", model=model, quiet=True)


def test_bad_targets(images: Any, model: Path, tmp_path: Path) -> None:
    """A target of an unknown kind, a folder, and one among the images are refused; so is a source that is neither."""
    np.savez(tmp_path / "in.npz", X=images)
    (tmp_path / "folder.csv").mkdir()
    for out, message in (
        (tmp_path / "out.txt", "ends in '.txt'"),
        (tmp_path / "folder.csv", "is a folder"),
        (tmp_path / "in.npz", "among the images"),
    ):
        with pytest.raises(TenfoldError, match=message):
            read(tmp_path / "in.npz", out, model=model, quiet=True)
    with pytest.raises(TenfoldError, match="among the images"):
        read(tmp_path, tmp_path / "out.csv", model=model, quiet=True)
    with pytest.raises(DataError, match="is no file or folder, and no name"):
        read(tmp_path / "missing", tmp_path / "out.csv", model=model, quiet=True)
    with pytest.raises(DataError, match="holds no pictures"):
        read(tmp_path / "folder.csv", tmp_path / "out.csv", model=model, quiet=True)
    with pytest.raises(ModelError, match="There is no model at"):
        read(tmp_path / "in.npz", tmp_path / "out.csv", model=tmp_path / "none.onnx", quiet=True)
    with pytest.raises(RunError, match="There is no run at"):
        read(tmp_path / "in.npz", tmp_path / "out.csv", model=tmp_path / "none", quiet=True)


def test_a_full_disk_is_said(images: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk is full, the error says to free space there, not to look for another folder."""

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    np.savez(tmp_path / "set.npz", X=images)
    monkeypatch.setattr("tenfold.runtime.streams.write_atomically", full)
    with pytest.raises(TenfoldError, match="Free some space there"):
        read(tmp_path / "set.npz", tmp_path / "labels.csv", model=model, quiet=True)


def test_a_run_reads_too(tmp_path: Path) -> None:
    """A run's folder answers as an exported model does, from the confidence that most of its held-out images reach."""
    pytest.importorskip("torch")
    from tenfold.runs.estimator import from_run
    from tenfold.runs.fit import fit

    run = fit("logistic", ["uci"], tmp_path / "run", subset=500)
    images = load("uci:test", "evaluate").images[:40]
    np.savez(tmp_path / "in.npz", X=images)
    result = read(str(tmp_path / "in.npz"), str(tmp_path / "out.npz"), model=str(run.path), quiet=True)
    expected = from_run(run).answer(images)[0]
    found = read_npz(tmp_path / "out.npz")
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)
    assert (result.model, result.images, result.unreadable, result.problem) == ("logistic", 40, 0, None)
    assert 0 < result.threshold < 1
    assert (found["abstained"] == (found["confidences"] < result.threshold)).all()


def test_a_model_needs_nothing_of_training(images: Any, model: Path, tmp_path: Path) -> None:
    """With a model file neither torch nor scikit-learn is loaded: reading works on the core install."""
    np.savez(tmp_path / "in.npz", X=images)
    code = (
        "import sys; from tenfold.read import read\n"
        f"read({str(tmp_path / 'in.npz')!r}, {str(tmp_path / 'out.csv')!r}, model={str(model)!r}, quiet=True)\n"
        "print([name for name in ('torch', 'sklearn', 'scipy', 'onnx', 'safetensors') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_pictures_are_answered_on_stdout(images: Any, model: Path, tmp_path: Path) -> None:
    """`tenfold read --digits` prints a line a picture, a refusal with its reason; a name can't act on a terminal."""
    bad = {"a": "a.png", "blank": "blank.png", "broken": "bro\x1bken.png", "none": "none.png"}
    names = {key: str(tmp_path / name) for key, name in bad.items()}
    draw(Path(names["a"]))
    Image.fromarray(images[-1]).save(names["blank"])
    Path(names["broken"]).write_bytes(b"nothing")
    command = ["read", "--digits", *names.values(), "--model", str(model), "--threshold", "0"]
    result = CliRunner().invoke(app, command)
    (first,) = Recogniser.load(model, threshold=0).digits([names["a"]])
    lines = result.stdout.splitlines()
    assert lines[:2] == [f"{names['a']} {first.digit} {first.confidence:.3f}", f"{names['blank']} - 0.000 blank"]
    assert lines[2].startswith(f"{tmp_path}/bro\\x1bken.png - 0.000 unreadable: ")
    assert lines[3].startswith(f"{names['none']} - 0.000 unreadable: '{names['none']}' is not a file.")
    assert (result.exit_code, result.stderr) == (1, "Error: '2' of 4 pictures could not be read: see above.\n")
    found = json.loads(CliRunner().invoke(app, [*command, "--json", "--probabilities"]).stdout)
    assert found["digits"] == [first.digit, None, None, None]
    assert found["confidences"] == [pytest.approx(first.confidence, abs=1e-6), 0, 0, 0]
    assert found["reasons"][:2] == [None, "blank"]
    np.testing.assert_allclose(found["probabilities"][0], first.probabilities, atol=1e-6)


def test_a_refusal_is_no_digit(model: Path, tmp_path: Path) -> None:
    """Where the model is not sure, the digit is left out and the reason says between which it wavers."""
    draw(tmp_path / "a.png")
    result = read(pictures=[tmp_path / "a.png"], digits=True, model=model, threshold=1, quiet=True)
    assert isinstance(result, Answered)
    assert (result.digits, result.problem) == ([None], None)
    assert str(result.reasons[0]).startswith("unsure: ")
    assert result.lines == [f"{tmp_path / 'a.png'} - {result.confidences[0]:.3f} {result.reasons[0]}"]


def test_pictures_or_a_frame() -> None:
    """Neither and both are wrong usage."""
    for words in (["read"], ["read", "a.png", "--frame", "b"]):
        assert CliRunner().invoke(app, words).exit_code == 2


@pytest.mark.parametrize("kind", ["csv", "idx", "zip", "folder", "name", "npz of parts"])
def test_whatever_is_data_is_read(kind: str, model: Path, tmp_path: Path) -> None:
    """CSV, IDX, a zip, a folder of data and a name give the answers to what `load` reads."""
    test = load("uci:test", "evaluate").take(np.arange(40))
    head = ",".join(f"pixel{number}" for number in range(784))
    text = "\n".join([head, *(",".join(map(str, row)) for row in test.images.reshape(40, -1).tolist())])
    source: Any = tmp_path / {"idx": "some-images-idx3-ubyte", "zip": "in.zip", "npz of parts": "in.npz"}.get(
        kind, "in.csv"
    )
    if kind == "name":
        source, test = "uci:test", load("uci:test", "evaluate")
    elif kind == "idx":
        source.write_bytes(b"\0\0\x08\x03" + np.array(test.images.shape, ">u4").tobytes() + test.images.tobytes())
    elif kind == "npz of parts":
        np.savez(source, x_train=test.images[:3], y_train=test.labels[:3], x_test=test.images, y_test=test.labels)
    elif kind == "zip":
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("test.csv", text)
    else:
        Path(source).write_text(text)
    if kind == "folder":
        (tmp_path / "in").mkdir()
        source = source.rename(tmp_path / "in" / "test.csv").parent
    read(source, tmp_path / "out.npz", model=model, quiet=True)
    expected = Recogniser.load(model).predict(test.images)
    np.testing.assert_array_equal(read_npz(tmp_path / "out.npz")["digits"], expected.digits)


def test_pictures_on_their_side_in_a_folder_and_a_zip(tmp_path: Path) -> None:
    """Pictures that all lie on their side are read upright, and from a zip, also one in a folder, as from a folder."""
    digits = load("uci:test", "evaluate").take(np.arange(80))
    for number, image in enumerate(digits.images):
        folder = tmp_path / "in" / str(number % 2)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.T.copy()).save(folder / f"{number:02}.png")
    (tmp_path / "in" / "README.md").write_text("mine")
    shutil.make_archive(str(tmp_path / "in"), "zip", tmp_path / "in")
    read(tmp_path / "in", tmp_path / "folder.csv", model="tiny", quiet=True)
    read(tmp_path / "in.zip", tmp_path / "zip.csv", model="tiny", quiet=True)
    assert (tmp_path / "folder.csv").read_bytes() == (tmp_path / "zip.csv").read_bytes()
    found = {Path(row["file"]).stem: row["digit"] for row in rows(tmp_path / "zip.csv")}
    expected = Recogniser.load("tiny").predict(digits.images).digits
    assert [found[f"{number:02}"] for number in range(80)] == [str(digit) for digit in expected]
    (tmp_path / "around").mkdir()
    (tmp_path / "in.zip").rename(tmp_path / "around" / "in.zip")
    read(tmp_path / "around", tmp_path / "around.csv", model="tiny", quiet=True)
    found = {row["file"]: row["digit"] for row in rows(tmp_path / "around.csv")}
    assert [found[f"in.zip/{number % 2}/{number:02}.png"] for number in range(80)] == [str(digit) for digit in expected]


def test_one_hot_labels_are_refused(images: Any, model: Path, tmp_path: Path) -> None:
    """An NPZ whose labels every other verb refuses is refused here too, though its labels aren't needed."""
    np.savez(tmp_path / "in.npz", X=images, y=np.eye(10)[np.arange(100) % 10])
    with pytest.raises(DataError, match="one-hot: give y.argmax"):
        read(tmp_path / "in.npz", tmp_path / "out.csv", model=model, quiet=True)
    assert not (tmp_path / "out.csv").exists()


def test_probabilities_in_the_csv(images: Any, model: Path, tmp_path: Path) -> None:
    """With --probabilities the CSV has those of all ten digits, and what was begun without is begun again."""
    np.savez(tmp_path / "in.npz", X=images)
    read(tmp_path / "in.npz", tmp_path / "out.csv", model=model, probabilities=True, quiet=True)
    found = [[float(row[f"p{digit}"]) for digit in range(10)] for row in rows(tmp_path / "out.csv")]
    np.testing.assert_allclose(found, Recogniser.load(model).predict(images).probabilities, atol=1e-6)


def test_one_process_writes_a_file(images: Any, model: Path, tmp_path: Path) -> None:
    """A file that another process writes is refused in one line, and nothing of its work is touched."""
    np.savez(tmp_path / "in.npz", X=images)
    out = tmp_path / "out.csv"
    with claimed(out):
        (tmp_path / "out.csv.partial").write_bytes(b"theirs")
        with pytest.raises(TenfoldError, match="out.csv' is being written by another process"):
            read(tmp_path / "in.npz", out, model=model, quiet=True)
        assert (tmp_path / "out.csv.partial").read_bytes() == b"theirs"
    assert read(tmp_path / "in.npz", out, model=model, quiet=True).images == 100
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "in.npz", "out.csv"}


def test_a_replaced_picture_is_read_again(images: Any, model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """A picture replaced between two parts by another of its size and time has its own answer."""
    folder, out, first = tmp_path / "in", tmp_path / "out.csv", tmp_path / "in" / "00.bmp"
    folder.mkdir()
    for number, image in enumerate(images[:40]):
        Image.fromarray(image).save(folder / f"{number:02d}.bmp")
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "finish", lambda *_: None)
        read(folder, out, model=model, quiet=True)
    before = first.stat()
    Image.fromarray(images[-1]).save(first)
    os.utime(first, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert first.stat().st_size == before.st_size
    assert read(folder, out, model=model, quiet=True).resumed_at == 0
    assert rows(out)[0]["reason"] == "blank"


def test_command(images: Any, model: Path, tmp_path: Path) -> None:
    """`tenfold read` prints its JSON, and fails with a count where pictures could not be read."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(images[0]).save(folder / "a.png")
    command = ["read", "--frame", folder, "--model", model, "--out", tmp_path / "out.csv", "--json"]
    result = CliRunner().invoke(app, [str(word) for word in command])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["images"] == 1
    (folder / "b.png").write_bytes(b"")
    result = CliRunner().invoke(app, [str(word) for word in command])
    assert result.exit_code == 1
    assert "Error: '1' of 2 pictures could not be read." in result.stderr
    assert json.loads(result.stdout)["unreadable"] == 1
    both = CliRunner().invoke(app, [str(word) for word in (*command, "--threshold", 0.5, "--max-error", 0.1)])
    assert both.exit_code == 2
