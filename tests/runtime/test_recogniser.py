"""The recogniser: pictures of any kind to digits, in order, the same by every way."""

import asyncio
import copy
import hashlib
import io
import itertools
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto
from PIL import Image

import tenfold
from tenfold.errors import DataError, ModelError
from tenfold.imaging.frame import is_framed, to_frame
from tenfold.runtime import model_file
from tenfold.runtime.bounds import CHUNK
from tenfold.runtime.frames import framed
from tenfold.runtime.recogniser import Recogniser


@pytest.fixture(scope="module")
def reader(model_path: Path) -> Recogniser:
    """Return the recogniser of the test model, on two threads."""
    return Recogniser.load(model_path, threads=2)


def picture() -> NDArray[np.uint8]:
    """Return a picture of a one, dark on light, (60, 40) uint8."""
    image = np.full((60, 40), 240, np.uint8)
    image[10:50, 18:24] = 10
    return image


def test_agrees_with_reference(reader: Recogniser, make_model: Callable[..., ModelProto], bars: Any) -> None:
    """Probabilities are those of ONNX's own reference interpreter."""
    from onnx.reference import ReferenceEvaluator

    expected = ReferenceEvaluator(make_model()).run(None, {"images": bars})
    np.testing.assert_allclose(reader.probabilities(bars), expected[0], atol=1e-6)
    np.testing.assert_allclose(reader.predict(bars).digit_probability, expected[1], atol=1e-6)
    assert reader.predict(bars).digits.tolist() == list(range(10))


def test_every_kind_of_picture(reader: Recogniser, tmp_path: Path) -> None:
    """An array, its other dtypes, colours, polarity, a path, bytes and a PIL image of one picture give one answer."""
    image = picture()
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    path = tmp_path / "one.png"
    path.write_bytes(buffer.getvalue())
    colour = np.stack([image] * 3, axis=-1)
    kinds = [
        image,
        colour,
        np.dstack([colour, np.full_like(image, 255)]),
        image.astype(np.uint16) * 257,
        image.astype(np.float32) / 255,
        image.astype(np.float64) / 255,
        image.astype(np.int64),
        image[..., None],
        image[None],
        path,
        str(path),
        buffer.getvalue(),
        Image.fromarray(image),
        Image.fromarray(colour),
        Image.fromarray(image).convert("RGBA"),
        Image.fromarray(image).convert("P"),
    ]
    expected = reader.probabilities(to_frame(image)[None])[0]
    for kind, found in zip(kinds, reader.digits(kinds), strict=True):
        np.testing.assert_allclose(found.probabilities, expected, atol=0.02, err_msg=str(type(kind)))
    (negative, bits) = reader.digits([255 - image, image > 128])
    assert negative.digit == bits.digit == int(expected.argmax())


def test_frame_is_taken_as_it_is(reader: Recogniser, digits: Any) -> None:
    """An image that is in the frame already reaches the model unchanged, alone or among others."""
    framed = [image for image in digits.images if is_framed(image)][:20] or [to_frame(picture())]
    expected = reader.probabilities(np.stack(framed))
    for image, row, found in zip(framed, expected, reader.digits(iter(framed)), strict=True):
        np.testing.assert_array_equal(found.probabilities, row)
        np.testing.assert_allclose(reader.digits([image])[0].probabilities, row, atol=1e-6)


def test_order_and_chunks(reader: Recogniser, model_path: Path, bars: Any, digits: Any) -> None:
    """However many images and threads, every image gets its own answer, bit for bit the same."""
    order = np.random.default_rng(0).integers(0, 10, 3 * CHUNK + 5)
    several = reader.predict(bars[order])
    single = Recogniser.load(model_path, threads=1).predict(bars[order])
    np.testing.assert_array_equal(several.digits, order)
    np.testing.assert_array_equal(several.probabilities, single.probabilities)
    found = reader.digits(digits.images[index] for index in order)
    frames = np.stack([to_frame(image) for image in digits.images[:10]])
    expected = reader.probabilities(frames)[order]
    np.testing.assert_allclose([one.probabilities for one in found], expected, atol=1e-6)
    assert reader.digits([]) == [] and len(reader.predict(bars[:0]).digits) == 0


def test_blank(reader: Recogniser, monkeypatch: pytest.MonkeyPatch) -> None:
    """A blank image, in any size and polarity, abstains as blank; alone, the model is not asked."""
    blanks = [np.zeros((28, 28), np.uint8), np.full((50, 60), 255, np.uint8), np.zeros((9, 9, 3), np.uint8)]
    for found in reader.digits(blanks):
        assert (found.digit, found.confidence, found.abstained, found.reason) == (None, 0.0, True, "blank")
    answers = reader.predict(np.zeros((1, 28, 28), np.uint8))
    assert (answers.digits[0], answers.abstained[0], answers.reason(0)) == (-1, True, "blank")
    monkeypatch.setattr(reader, "_model", None)
    assert reader.digits(blanks[:1])[0].reason == "blank"


def test_reasons(model_path: Path, bars: Any) -> None:
    """Below the threshold an answer is the best guess, with why it is not to be used; alone and among others alike."""
    both = np.maximum(bars[4], bars[9])
    full = np.full((28, 28), 255, np.uint8)
    full[0, 0] = 0
    reader = Recogniser.load(model_path, threshold=0.9)
    answers = reader.predict(np.stack([both, full, bars[3]]))
    assert answers.reason(0) == "unsure: 4 or 9"
    assert answers.reason(1) == "not a digit"
    assert reader._one(both).reason == "unsure: 4 or 9" and reader._one(both).digit in (4, 9)
    assert reader._one(full).reason == "not a digit"
    low = Recogniser.load(model_path, threshold=0.0)
    assert not low.predict(bars).abstained.any() and low.predict(bars).reason(0) is None
    assert low._one(bars[3]).abstained is False and low._one(bars[3]).reason is None
    assert [one.abstained for one in Recogniser.load(model_path, threshold=1).digits(list(bars))] == [True] * 10


def test_thresholds(model_path: Path) -> None:
    """The threshold is the card's, or the one given, or the one that keeps the promise; not two of them."""
    assert Recogniser.load(model_path).threshold == 0.6
    assert Recogniser.load(model_path, threshold=0.25).threshold == 0.25
    assert 0.5 < Recogniser.load(model_path, max_error=0.001).threshold <= 0.75 + 1e-6
    with pytest.raises(ModelError, match="Give one of them"):
        Recogniser.load(model_path, threshold=0.5, max_error=0.1)
    with pytest.raises(ModelError, match="'2' is not a confidence"):
        Recogniser.load(model_path, threshold=2)
    with pytest.raises(ModelError, match="'0' threads"):
        Recogniser.load(model_path, threads=0)


def test_single_picture(reader: Recogniser, tmp_path: Path) -> None:
    """A picture that is in no list is a list of one, whatever its kind; and the recogniser itself gives its answer."""
    path = tmp_path / "one.png"
    Image.fromarray(picture()).save(path)
    content = path.read_bytes()
    expected = reader.probabilities(to_frame(picture())[None])[0]
    for single in (
        str(path),
        path,
        content,
        bytearray(content),
        memoryview(content),
        Image.fromarray(picture()),
        picture(),
    ):
        for found in (*reader.digits(single), reader(single)):
            np.testing.assert_allclose(found.probabilities, expected, atol=1e-6, err_msg=str(type(single)))
    assert reader(picture(), ink="dark").digit == int(expected.argmax())
    for ask in (reader.digits, reader):
        with pytest.raises(DataError, match="'int'"):
            ask(7)  # type: ignore[operator]


@pytest.fixture
def frames(digits: Any) -> NDArray[np.uint8]:
    """Return ten images in the frame, (10, 28, 28) uint8, each with probabilities of its own."""
    return np.stack([to_frame(image) for image in digits.images[:10]])


def test_stream(reader: Recogniser, frames: NDArray[np.uint8]) -> None:
    """A stream gives each picture's answer in order, and reads no more than a batch ahead of what is asked of it."""
    expected, read = reader.probabilities(frames), []

    def endless() -> Iterator[Any]:
        for number in itertools.count():
            read.append(number)
            yield frames[number % 10]

    answers = reader.stream(endless(), batch_size=4)
    assert read == []
    for number in range(15):
        np.testing.assert_allclose(next(answers).probabilities, expected[number % 10], atol=1e-6)
        assert len(read) == 4 * (number // 4 + 1)
    for streamed in (reader.stream(frames), reader.stream(iter(frames), batch_size=1)):
        np.testing.assert_allclose([each.probabilities for each in streamed], expected, atol=1e-6)
    assert list(reader.stream([])) == []
    with pytest.raises(ModelError, match="A batch of '0' pictures"):
        next(reader.stream(frames, batch_size=0))


def test_the_event_loop_goes_on(reader: Recogniser, frames: NDArray[np.uint8]) -> None:
    """While pictures are read with `digits_async`, the loop does other work: a picture waits for it here."""
    ticked = threading.Event()

    def late() -> Iterator[Any]:
        assert ticked.wait(timeout=60), "the loop stands still"
        yield from frames

    async def tick() -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        ticked.set()

    async def ask() -> list[Any]:
        answers, _ = await asyncio.gather(reader.digits_async(late()), tick())
        return answers

    assert [each.to_dict() for each in asyncio.run(ask())] == [each.to_dict() for each in reader.digits(frames)]


def test_what_a_prediction_says(reader: Recogniser, frames: NDArray[np.uint8]) -> None:
    """A prediction is plain values for JSON, one line, and HTML with what the model saw; text in it is escaped."""
    found = reader(frames[3])
    probabilities = [float(each) for each in found.probabilities]
    expected = {"digit": found.digit, "confidence": found.confidence, "abstained": True, "reason": found.reason}
    assert json.loads(json.dumps(found.to_dict())) == expected | {"probabilities": probabilities}
    assert repr(found) == f"Prediction(digit={found.digit}, confidence={found.confidence:.3f}, reason={found.reason!r})"
    np.testing.assert_array_equal(found.frame, frames[3])
    assert not np.shares_memory(found.frame, frames)
    shown = found._repr_html_()
    assert (shown.count("data:image/png;base64,"), shown.count("<rect"), shown.count("src=")) == (1, 10, 1)
    assert found.reason is not None and found.reason in shown
    assert f"{found.digit} ({found.confidence:.3f})" in replace(found, reason=None)._repr_html_()
    assert "<b>" not in replace(found, reason="<b>")._repr_html_()


def test_what_answers_say(model_path: Path, bars: Any) -> None:
    """Answers are a sequence of predictions, plain values for JSON, one line, and HTML; a blank one among them."""
    reader = Recogniser.load(model_path, threads=2)
    images = np.concatenate([bars, np.zeros_like(bars[:1])])
    answers = reader.predict(images)
    plain = json.loads(json.dumps(answers.to_dict()))
    assert plain["digits"] == [*range(10), -1] and plain["reasons"] == [None] * 10 + ["blank"]
    for index, (each, image) in enumerate(zip(answers, images, strict=True)):
        assert each.to_dict() == answers[index].to_dict()
        assert (each.digit, each.reason) == (reader._one(image).digit, reader._one(image).reason)
        assert plain["probabilities"][index] == each.to_dict()["probabilities"]
        np.testing.assert_array_equal(each.frame, image)
        assert each.frame.base is None  # one that is kept keeps none of the others
    assert repr(answers) == f"Answers(n=11, abstained=1, counts={[1] * 10})"
    assert answers._repr_html_().startswith(repr(answers))
    assert answers._repr_html_().count("<figure") == 11
    assert repr(reader) == "Recogniser('bars', threshold=0.600, threads=2)"


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((5, 5), np.nan), "values from 'nan'"),
        (np.zeros((0, 5), np.uint8), r"shape '\(0, 5\)'"),
        (np.zeros((5, 5, 2), np.uint8), r"shape '\(5, 5, 2\)'"),
        (np.zeros(5, np.uint8), r"shape '\(5,\)'"),
        (np.zeros((5, 5), object), "dtype 'object'"),
        (7, "has the type 'int'"),
        (b"not a picture", "'image 2' is not a picture"),
        ("missing.png", "'missing.png' is not a file"),
        ("a\0b", "'a.*b' "),
    ],
)
def test_bad_image(reader: Recogniser, bars: Any, image: Any, message: str) -> None:
    """What is no picture is one error that says what was given."""
    with pytest.raises(DataError, match=message):
        reader.digits([bars[0], image])


@pytest.mark.parametrize("change", [lambda x: x.astype(float), lambda x: x / 255, lambda x: x.reshape(-1, 784)])
def test_arrays_of_any_kind(reader: Recogniser, bars: Any, change: Callable[[Any], Any]) -> None:
    """Values and axes make no difference; an array stands for a list, and one picture for a list of one."""
    expected = reader.predict(bars)
    np.testing.assert_array_equal(reader.predict(change(bars)).probabilities, expected.probabilities)
    listed = reader.digits(list(bars))
    for given, wanted in ((change(bars), listed), (bars[..., None], listed), (bars[0], listed[:1])):
        assert [each.digit for each in reader.digits(given)] == [each.digit for each in wanted]


def test_two_values_are_black_and_white(reader: Recogniser, bars: Any) -> None:
    """Images of 0 and 1 are read as those of 0 and 255, whatever their dtype, alone and among others."""
    two = bars > 127
    plain = np.where(two, np.uint8(255), np.uint8(0))
    expected = [each.digit for each in reader.digits(list(plain))]
    for dtype in (bool, np.uint8, np.int64, np.float32):
        given = two.astype(dtype)
        np.testing.assert_array_equal(reader.predict(given).digits, reader.predict(plain).digits)
        for found in (reader.digits(given), [reader.digits([each])[0] for each in given]):
            assert [each.digit for each in found] == expected


def test_arrays_share_their_range(reader: Recogniser, bars: Any) -> None:
    """Arrays of a list are read by the range of all: a faint one stays faint; a flat sheet of any value is blank."""
    faint, full = (bars[0] // 20).astype(np.int32), bars[1].astype(np.int32)
    assert reader.digits([faint, full])[0].reason == "blank"
    assert reader.digits([bars[1].astype(np.int32) * 200])[0].digit == reader.digits([bars[1]])[0].digit
    assert [each.reason for each in reader.digits([np.full((5, 5), 2.5), np.zeros((5, 5), int)])] == ["blank"] * 2


@pytest.mark.parametrize("frames", [[1], np.zeros((2, 27, 28), np.uint8), np.full((1, 28, 28), np.nan)])
def test_bad_frames(reader: Recogniser, frames: Any) -> None:
    """For many images at once, what is no set of finite numbers of 28x28 is refused."""
    for method in (reader.predict, reader.probabilities):
        with pytest.raises(DataError, match="The array of frames has"):
            method(frames)


def test_answer_that_is_no_probability(model_path: Path, bars: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN from a model that was fine when it was tried is an error, not an answer; alone and among others."""
    reader = Recogniser.load(model_path)
    honest = reader._model.run

    def nonsense(images: Any) -> list[Any]:
        return [answer * np.float32("nan") for answer in honest(images)]

    monkeypatch.setattr(reader, "_model", SimpleNamespace(run=nonsense, has_digit_probability=True, at_once=2))
    for ask in (lambda: reader.predict(bars), lambda: reader._one(bars[3])):
        with pytest.raises(ModelError, match="no probability"):
            ask()


def test_threads_at_once(reader: Recogniser, bars: Any) -> None:
    """Eight threads that ask one recogniser get what one gets."""
    expected = reader.predict(np.tile(bars, (60, 1, 1))).probabilities
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: reader.predict(np.tile(bars, (60, 1, 1))).probabilities, range(16)):
            np.testing.assert_array_equal(found, expected)


IN_A_FORK = """
import os, sys, numpy as np, tenfold
reader = tenfold.Recogniser.load(sys.argv[1], threads=2)
frames = np.random.default_rng(0).integers(0, 256, (1000, 28, 28)).astype(np.uint8)
expected = reader.predict(frames).digits
child = os.fork()
if child == 0:
    os._exit(0 if (reader.predict(frames).digits == expected).all() else 3)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
def test_fork(model_path: Path) -> None:
    """A fork of a process whose threads have read many images answers as it does, on threads of its own."""
    done = subprocess.run([sys.executable, "-c", IN_A_FORK, model_path], timeout=100, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("name", ["a path", "tiny", None])
def test_pickle_and_copy(name: str | None, model_path: Path, bars: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle and a copy have the threshold, the threads and the answers, in whatever folder they are opened."""
    monkeypatch.chdir(model_path.parent)
    reader = Recogniser.load(model_path.name if name == "a path" else name, threads=2, threshold=0.9)
    content = pickle.dumps(reader)
    monkeypatch.chdir("/")
    assert len(content) < 1000
    for other in (pickle.loads(content), copy.copy(reader), copy.deepcopy(reader)):
        assert (other.threshold, other.threads, other.sha256) == (0.9, 2, reader.sha256)
        np.testing.assert_array_equal(other.probabilities(bars), reader.probabilities(bars))


def test_pickle_of_a_file_that_has_changed(tmp_path: Path, model_path: Path) -> None:
    """A pickle is not opened with another model than it was made of."""
    path = tmp_path / "m.onnx"
    path.write_bytes(model_path.read_bytes())
    content = pickle.dumps(Recogniser.load(path))
    path.write_bytes((model_file.PRETRAINED / "tiny.onnx").read_bytes())
    with pytest.raises(ModelError, match="not the expected"):
        pickle.loads(content)


def test_other_processes_and_asyncio(reader: Recogniser, bars: Any) -> None:
    """A process that is spawned, and asyncio's threads, are given the recogniser as it is."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert pool.submit(reader.predict, bars).result().digits.tolist() == list(range(10))

    async def ask() -> list[Any]:
        return await asyncio.gather(*(asyncio.to_thread(reader.predict, bars) for _ in range(4)))

    assert [answers.digits.tolist() for answers in asyncio.run(ask())] == [list(range(10))] * 4


def test_shipped_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_path: Path) -> None:
    """Without a path it is the shipped model, checked against its card; where it is not there, the error says so."""
    monkeypatch.setattr(model_file, "PRETRAINED", tmp_path)
    for name in (None, "shipped", "tiny"):
        with pytest.raises(ModelError, match=r"shipped model '\w+.onnx' is not installed"):
            Recogniser.load(name)
    content = model_path.read_bytes()
    (tmp_path / "tiny.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"does not say what 'tiny.onnx' must be"):
        Recogniser.load("tiny")
    card = {"models": {"tiny.onnx": {"sha256": hashlib.sha256(content).hexdigest()}}}
    (tmp_path / "card.json").write_text(json.dumps(card))
    assert Recogniser.load("tiny").card.name == "bars"
    (tmp_path / "tiny.onnx").write_bytes(content + b"\x00\x00")
    with pytest.raises(ModelError, match=r"has the SHA-256 '\w+', not the expected"):
        Recogniser.load("tiny")
    assert tenfold.Recogniser is Recogniser


def test_light(model_path: Path) -> None:
    """Reading a framed image loads neither OpenCV nor Pillow, pydantic, torch or onnx."""
    code = (
        "import sys, numpy as np, tenfold; frame = np.zeros((28, 28), np.uint8); frame[4:24, 12:17] = 255\n"
        f"assert tenfold.Recogniser.load({str(model_path)!r}).digits([frame])[0].digit == 5\n"
        "print([name for name in ('cv2', 'PIL', 'pydantic', 'torch', 'onnx', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize("shape", [(100_000, 100_000), (100_000, 100_000, 3), (5000, 5000, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64, np.bool_])
def test_arrays_have_the_bounds_of_files(reader: Recogniser, shape: tuple[int, ...], dtype: Any) -> None:
    """An array of more pixels than a file may have is refused before any of them is looked at."""
    array = np.broadcast_to(np.zeros((), dtype), shape)
    for images in ([array], [array, array], array):
        with pytest.raises(DataError, match=f"has '{shape[1]}x{shape[0]}' pixels. Give at most 16 million"):
            reader.digits(images)


def test_pil_images_have_the_bounds_of_files(reader: Recogniser) -> None:
    """A PIL image of more pixels than a file may have is refused."""
    with pytest.raises(DataError, match="image 1' has '5000x5000' pixels"):
        reader.digits([Image.new("1", (5000, 5000))])


MODES = "1 L P RGB RGBA CMYK YCbCr HSV I F LA PA RGBX RGBa La I;16 I;16B I;16L"


@pytest.mark.parametrize("mode", MODES.split())
def test_every_mode_of_pil(reader: Recogniser, mode: str) -> None:
    """Each of PIL's modes gives the picture that it shows."""
    grey = Image.fromarray(picture())
    through = {"HSV": "RGB", "RGBa": "RGBA", "La": "LA", "I;16B": "I;16", "I;16L": "I;16"}.get(mode)
    image = (grey.convert(through) if through else grey).convert(mode)
    expected = to_frame(picture())
    found = framed(image, 0, "auto")
    assert np.abs(found.astype(int) - expected).max() <= 8, mode
    assert reader.digits([image])[0].reason != "blank"


@pytest.mark.parametrize("image", [picture(), np.zeros((28, 28), np.uint8)])
def test_ink_that_is_none(reader: Recogniser, image: NDArray[np.uint8]) -> None:
    """Another word than dark, light and auto is refused, whatever the picture."""
    with pytest.raises(DataError, match="Ink is 'purple'. Give dark, light or auto."):
        reader.digits([image], ink="purple")  # type: ignore[arg-type]
