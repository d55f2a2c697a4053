"""Model files: ours are opened, and everything else is refused in one line before it runs."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tenfold.errors import ModelError
from tenfold.runtime import model_file
from tenfold.runtime.model_file import check, from_bytes, open_model

Make = Callable[..., ModelProto]
Edit = Callable[[ModelProto], Any]


def replace_output(model: ModelProto, *shape: int | str, element: int = TensorProto.FLOAT) -> None:
    """Declare another shape or type of the probabilities."""
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("probabilities", element, list(shape)))


def add_external_data(model: ModelProto) -> None:
    """Say that a weight lies in another file."""
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")


def add_external_constant(model: ModelProto) -> None:
    """Say so of a tensor that hides in a node's attribute."""
    tensor = TensorProto(name="t", data_type=1, dims=[1])
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def add_if(model: ModelProto) -> None:
    """Add a branch."""
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=onnx.GraphProto()))


def add_hidden_graph(model: ModelProto) -> None:
    """Add a graph to a node that is no control flow by its name."""
    model.graph.node.append(helper.make_node("Relu", ["x"], ["y"], body=onnx.GraphProto()))


def add_function(model: ModelProto) -> None:
    """Add a function."""
    model.functions.add(name="f", domain="mine")


def add_node(operator: str, domain: str = "") -> Edit:
    """Return an edit that adds a node."""
    return lambda model: model.graph.node.append(helper.make_node(operator, ["x"], ["y"], domain=domain))


def add_opset(domain: str, version: int) -> Edit:
    """Return an edit that imports more operators."""
    return lambda model: model.opset_import.append(helper.make_opsetid(domain, version))


REFUSED: dict[str, tuple[Edit, str]] = {
    "external data": (add_external_data, "keeps 'external data' in other files"),
    "external constant": (add_external_constant, "keeps 'external data' in other files"),
    "control flow": (add_if, "holds 'control flow"),
    "hidden graph": (add_hidden_graph, "holds 'control flow"),
    "control flow without a graph": (add_node("Loop"), "operator 'Loop', which isn't as in our exports"),
    "function": (add_function, "holds 'functions of its own'"),
    "random numbers": (add_node("RandomNormalLike"), "operator 'RandomNormalLike'"),
    "a decoder": (add_node("ImageDecoder"), "operator 'ImageDecoder'"),
    "other domain": (add_node("Evil", "com.example"), "operator 'com.example.Evil'"),
    "other opset domain": (add_opset("com.microsoft", 1), "needs the operators of 'com.microsoft'"),
    "two opsets": (add_opset("", 19), "two versions"),
    "old opset": (lambda model: setattr(model.opset_import[0], "version", 9), "opset 'ai.onnx 9'"),
    "no opset": (lambda model: model.ClearField("opset_import"), "names no opset"),
    "training": (lambda model: model.training_info.add(), "holds 'training information'"),
    "sparse weights": (lambda model: model.graph.sparse_initializer.add(), "holds 'sparse tensors'"),
    "other input name": (lambda model: setattr(model.graph.input[0], "name", "x"), "inputs 'x uint8[N, 28, 28]'"),
    "float input": (
        lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", 1),
        "inputs 'images float32[N, 28, 28]'",
    ),
    "second input": (lambda model: model.graph.input.add(name="more"), "inputs 'images uint8[N, 28, 28], more"),
    "no output": (lambda model: model.graph.ClearField("output"), "outputs 'none'"),
    "eleven classes": (lambda model: replace_output(model, "N", 11), r"float32[N, 11]"),
    "fixed batch": (lambda model: replace_output(model, 1, 10), r"float32[1, 10]"),
    "double output": (lambda model: replace_output(model, "N", 10, element=11), "type 11[N, 10]"),
    "no shape": (
        lambda model: model.graph.output[0].type.tensor_type.ClearField("shape"),
        "probabilities float32[?]",
    ),
    "map output": (lambda model: model.graph.output[0].type.map_type.SetInParent(), "holds 'maps'"),
    "no card": (lambda model: model.ClearField("metadata_props"), "'0' cards"),
    "two cards": (lambda model: model.metadata_props.add(key="tenfold", value="{}"), "'2' cards"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str, make_model: Make) -> None:
    """Each thing that an exported model never has is refused in one line that names it."""
    model = make_model()
    edit, message = REFUSED[what]
    edit(model)
    with pytest.raises(ModelError) as error:
        check(model.SerializeToString(), "m.onnx")
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", 2, "card of format '2'"),
        ("format", True, "card of format 'True'"),
        ("name", None, "its 'name' is 'None'"),
        ("precision", "fp8", "its 'precision'"),
        ("threshold", 1.5, "its 'threshold' is '1.5'"),
        ("threshold", "0.5", "its 'threshold'"),
        ("metrics", [], "its 'metrics'"),
        ("held_out", {}, "its 'held_out'"),
        ("held_out", {"n": 3, "errors": [[0.5, 4]]}, "held-out error 1"),
        ("held_out", {"n": 9, "errors": [[0.5, 4], [0.6, 5]]}, "held-out error 2"),
        ("held_out", {"n": 9, "errors": [[0.5, 4], [0.4, 3]]}, "held-out error 2"),
        ("held_out", {"n": 9, "errors": [[0.5, 1], [0.5, 1]]}, "held-out error 2"),
    ],
)
def test_malformed_card(key: str, value: Any, message: str, make_model: Make, card: dict[str, Any]) -> None:
    """A card whose values are not as they must be is refused by its key."""
    with pytest.raises(ModelError, match=message):
        check(make_model({**card, key: value}).SerializeToString(), "m.onnx")


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"format": NaN}', "[" * 100_000, '{"format": ' + "9" * 5000 + "}"])
def test_card_that_is_no_json_object(text: str, make_model: Make) -> None:
    """Text that is no JSON object, and JSON that is nested without end, are refused."""
    with pytest.raises(ModelError, match="card"):
        check(make_model(text).SerializeToString(), "m.onnx")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n", bytes(100), b"\x3a\x00" * 2, b"\x08\x08"])
def test_not_onnx(content: bytes) -> None:
    """Bytes that are no model are refused by what is wrong with them."""
    with pytest.raises(ModelError, match="is not an ONNX model|is empty"):
        check(content, "m.onnx")


def test_second_graph_is_not_merged(make_model: Make) -> None:
    """A graph that is written in two parts, which a parser would merge, is refused: we would have seen but one."""
    model = make_model()
    again = ModelProto(graph=model.graph).SerializeToString()
    with pytest.raises(ModelError, match="two fields 'graph'"):
        check(model.SerializeToString() + again, "m.onnx")


def test_graph_that_lies(make_model: Make) -> None:
    """A graph whose real shapes or values are not what it declares is refused when it is loaded or tried."""
    model = make_model(digit=False)
    model.graph.node[3].op_type = "Relu"
    model.graph.node[3].ClearField("attribute")
    with pytest.raises(ModelError, match="not probabilities"):
        from_bytes(model.SerializeToString(), "m.onnx")
    model = make_model()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((784, 11), np.float32), "columns"))
    with pytest.raises(ModelError, match=r"cannot be loaded|cannot be run|gives arrays of"):
        from_bytes(model.SerializeToString(), "m.onnx")


def test_opens(make_model: Make, tmp_path: Path) -> None:
    """A model as the exporter writes it is opened, with its card, whether or not it tells digits from what is none."""
    for digit in (True, False):
        path = tmp_path / "m.onnx"
        content = make_model(digit=digit).SerializeToString()
        path.write_bytes(content)
        opened = open_model(path, hashlib.sha256(content).hexdigest())
        assert (opened.has_digit_probability, opened.card.name, opened.card.n) == (digit, "bars", 5000)
        assert opened.card.held_out == ((0.75, 4900), (0.5, 4990))


def test_outline_agrees_with_onnx(make_model: Make) -> None:
    """What the walk finds is what the `onnx` package finds."""
    model = make_model()
    found = model_file.outline(model.SerializeToString(), "m")
    assert [each["op_type"] for each in found.nodes] == [node.op_type for node in model.graph.node]
    assert [each["output_name"] for each in found.nodes] == [list(node.output) for node in model.graph.node]
    assert [each["name"] for each in found.tensors] == [each.name for each in model.graph.initializer]
    assert found.opsets == [(one.domain, one.version) for one in model.opset_import]
    assert found.metadata == [(one.key, one.value) for one in model.metadata_props]
    assert [value.name for value in found.inputs + found.outputs] == ["images", "probabilities", "digit"]


def test_runs_of_numbers_hide_nothing(make_model: Make) -> None:
    """A long attribute of numbers or names, which is read in one step, leaves what follows it in sight."""
    model = make_model()
    node = helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        nodes_values=[float(value) for value in range(25_000)],
        nodes_ids=[3**value for value in range(39)] * 700,
        nodes_modes=["LEAF", "BRANCH_LEQ"] * 11_000,
    )
    model.graph.node.append(node)
    add_opset("ai.onnx.ml", 1)(model)
    read = {each["name"]: each for each in model_file.outline(model.SerializeToString(), "m").nodes[-1]["attribute"]}
    assert np.concatenate(read["nodes_ids"]["ints"]).tolist() == list(node.attribute[0].ints)
    assert (sum(read["nodes_values"]["floats"]), len(read["nodes_modes"]["strings"])) == (25_000, 22_000)
    assert read["nodes_modes"]["strings"][:3] == [b"LEAF", b"BRANCH_LEQ", b"LEAF"]
    node.attribute[0].g.SetInParent()
    model.graph.node.append(node)
    with pytest.raises(ModelError, match="control flow"):
        check(model.SerializeToString(), "m")


def test_file(model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file, a folder, another hash and too large a file each have their own message."""
    for path in (tmp_path / "nothing.onnx", tmp_path):
        with pytest.raises(ModelError, match="There is no model at"):
            open_model(path)
    with pytest.raises(ModelError, match="has the SHA-256 '[0-9a-f]{64}', not the expected 'aa'"):
        open_model(model_path, "aa")
    monkeypatch.setattr(model_file, "MAX_BYTES", 1000)
    with pytest.raises(ModelError, match="over '1000' bytes"):
        open_model(model_path)
    with pytest.raises(ModelError, match="Give a model of at most 1000"):
        check(model_path.read_bytes(), "m")


@given(
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    cut=st.floats(0, 1),
    noise=st.binary(max_size=30),
    at=st.floats(0, 1),
)
@settings(max_examples=400, deadline=None)
def test_mutated_bytes(make_model: Make, edits: list[tuple[float, int]], cut: float, noise: bytes, at: float) -> None:
    """Whatever bytes are changed, added or cut off, `check` returns a card or raises a ModelError of one line."""
    whole = make_model().SerializeToString()
    # The weights are half of the bytes; away with them, so that the edits hit what is walked.
    changed = bytearray(whole.replace(numpy_helper.to_array(make_model().graph.initializer[0]).tobytes(), b""))
    for place, value in edits:
        changed[int(place * len(changed))] = value
    position = int(at * len(changed))
    for content in (
        bytes(changed),
        changed[: int(cut * len(changed))],
        changed[:position] + noise + changed[position:],
    ):
        try:
            assert json.dumps(check(bytes(content), "m")[0].fields)
        except ModelError as error:
            assert "\n" not in str(error)


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_noise(content: bytes) -> None:
    """Noise is refused, as bytes and as the graph of a model."""
    for noise in (content, b"\x08\x08\x3a" + bytes([len(content) & 127]) + content):
        with pytest.raises(ModelError):
            check(noise, "m")


@pytest.mark.parametrize("name", ["", "weights.safetensors"])
def test_a_run_is_named_as_one(name: str, tmp_path: Path) -> None:
    """A run's folder or weights in the place of a model are named, with the command that makes the model."""
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "weights.safetensors").write_bytes(bytes(100))
    with pytest.raises(ModelError, match=f"is a run's, and no model. Make one: tenfold export '{tmp_path}' --out"):
        open_model(tmp_path / name)
