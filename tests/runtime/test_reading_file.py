"""Files of networks that read: ours are opened, and everything else is refused in one line before it runs."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from tenfold.errors import ModelError
from tenfold.runtime import model_file
from tenfold.runtime.model_file import PRETRAINED, open_reading

Edit = Callable[[ModelProto], Any]
FILES = {kind: PRETRAINED / f"{kind}.onnx" for kind in ("lines", "page")}


@pytest.mark.parametrize(("kind", "shape"), [("lines", (2, 16, 11)), ("page", (2, 13, 8, 16))])
def test_the_shipped_ones_open(kind: str, shape: tuple[int, ...]) -> None:
    """Each opens with its card, as its own SHA-256, and gives probabilities of eleven classes of several pictures."""
    digest = hashlib.sha256(FILES[kind].read_bytes()).hexdigest()
    opened = open_reading(FILES[kind], kind, digest.upper())
    assert (opened.sha256, opened.card.recipe, opened.card.precision) == (digest, kind, "fp16")
    pixels = np.random.default_rng(0).uniform(0, 1, (2, 1, 32, 64)).astype(np.float32)
    (answers,) = opened.session.run(None, {"pixels": pixels})
    assert answers.shape == shape
    shares = answers if kind == "lines" else answers[:, :11].transpose(0, 2, 3, 1)
    assert shares.min() >= 0
    assert shares.sum(axis=-1) == pytest.approx(np.ones(shares.shape[:-1]), abs=1e-4)


@pytest.mark.parametrize(("file", "kind"), [("page", "lines"), ("lines", "page"), ("world", "lines"), ("tiny", "page")])
def test_another_kind_of_network_is_refused(file: str, kind: str) -> None:
    """A network of pages is none of rows, and the other way round; a digit's recogniser is neither."""
    with pytest.raises(ModelError, match=f"is no network of '{kind}', which `tenfold train {kind}` makes"):
        open_reading(PRETRAINED / f"{file}.onnx", kind)


def test_another_file_than_expected_is_refused(tmp_path: Path) -> None:
    """A file with another SHA-256, one that is cut, one that is none, and a folder each have their message."""
    with pytest.raises(ModelError, match="not the expected 'aa'"):
        open_reading(FILES["lines"], "lines", "aa")
    content = FILES["lines"].read_bytes()
    for name, part in (("cut", content[: len(content) // 2]), ("empty", b""), ("text", b"hello")):
        (tmp_path / name).write_bytes(part)
        with pytest.raises(ModelError, match="is not an ONNX model|is empty"):
            open_reading(tmp_path / name, "lines")
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(ModelError, match="There is no model at"):
            open_reading(path, "lines")


def declare(axes: list[Any], element: int = TensorProto.FLOAT, name: str = "answers") -> Edit:
    """Return an edit that declares another answer."""
    return lambda model: model.graph.output[0].CopyFrom(helper.make_tensor_value_info(name, element, axes))


def add_external_data(model: ModelProto) -> None:
    """Say that a weight lies in another file."""
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")


def add_if(model: ModelProto) -> None:
    """Add a branch."""
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=onnx.GraphProto()))


def add_much(model: ModelProto) -> None:
    """Add a node that makes a tensor of 8 GB out of the picture."""
    shape = onnx.numpy_helper.from_array(np.array([1 << 31], np.int64), "endless")
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("ConstantOfShape", ["endless"], ["much"]))


REFUSED: dict[str, tuple[Edit, str]] = {
    "another answer's name": (declare(["N", "T", 11], name="said"), "is no network of 'lines'"),
    "another answer's type": (declare(["N", "T", 11], TensorProto.DOUBLE), "is no network of 'lines'"),
    "another answer's axes": (declare(["N", 11]), "is no network of 'lines'"),
    "a second answer": (
        lambda model: model.graph.output.append(helper.make_tensor_value_info("more", 1, ["N"])),
        "is no network of 'lines'",
    ),
    "another input's name": (lambda model: setattr(model.graph.input[0], "name", "x"), "is no network of 'lines'"),
    "a second input": (
        lambda model: model.graph.input.append(helper.make_tensor_value_info("more", 1, ["N"])),
        "is no network of 'lines'",
    ),
    "no card": (lambda model: model.ClearField("metadata_props"), "is no network of 'lines'"),
    "two cards": (lambda model: model.metadata_props.add(key="tenfold", value="{}"), "is no network of 'lines'"),
    "a card that is none": (lambda model: setattr(model.metadata_props[0], "value", "{}"), "card"),
    "external data": (add_external_data, "keeps 'external data' in other files"),
    "control flow": (add_if, "holds 'control flow"),
    "functions": (lambda model: model.functions.add(name="f", domain="mine"), "holds 'functions of its own'"),
    "an operator of others": (
        lambda model: model.graph.node.append(helper.make_node("Evil", ["x"], ["y"], domain="com.example")),
        "operator 'com.example.Evil'",
    ),
    "old operators": (lambda model: setattr(model.opset_import[0], "version", 9), "opset 'ai.onnx 9'"),
    "a bomb": (add_much, "operator 'ConstantOfShape', which isn't as in our exports"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str, tmp_path: Path) -> None:
    """Each thing that a training's network never has is refused in one line that names it."""
    model = onnx.load(FILES["lines"])
    edit, message = REFUSED[what]
    edit(model)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=message) as error:
        open_reading(tmp_path / "m.onnx", "lines")
    assert "\n" not in str(error.value)


@given(
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.floats(0, 1),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mutated_bytes(tmp_path: Path, edits: list[tuple[float, int]], cut: float) -> None:
    """Whatever bytes outside the weights are changed or cut off, it opens or is refused in one line."""
    model = onnx.load(FILES["lines"])
    weights = [bytes(each.raw_data) for each in model.graph.initializer if len(each.raw_data) > 200]
    content = bytearray(FILES["lines"].read_bytes())
    spans = sorted((content.find(each), len(each)) for each in weights)
    walked, last = [], 0  # places of what is not weights
    for start, length in spans:
        walked += range(last, start)
        last = start + length
    walked += range(last, len(content))
    for place, value in edits:
        content[walked[int(place * len(walked))]] = value
    for changed in (bytes(content), bytes(content[: int(cut * len(content))])):
        (tmp_path / "m.onnx").write_bytes(changed)
        try:
            assert 0 <= open_reading(tmp_path / "m.onnx", "lines").card.threshold <= 1
        except ModelError as error:
            assert "\n" not in str(error)


def test_a_large_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beyond the bound is refused by its size."""
    shutil.copy(FILES["lines"], tmp_path / "m.onnx")
    monkeypatch.setattr(model_file, "MAX_BYTES", 1000)
    with pytest.raises(ModelError, match="over '1000' bytes"):
        open_reading(tmp_path / "m.onnx", "lines")
