"""Graphs that would take gigabytes, minutes or the process are refused by their bytes alone."""

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tenfold.errors import ModelError
from tenfold.runtime import bounds
from tenfold.runtime.bounds import images_at_once
from tenfold.runtime.model_file import check, from_bytes
from tenfold.runtime.operators import levels
from tenfold.runtime.wire import outline

Make = Callable[..., ModelProto]
Hostile = tuple[list[NodeProto], dict[str, NDArray[Any]], str]

BIG = np.array([46_000, 46_000], np.int64)  # 8 GB of floats
ONE = numpy_helper.from_array(np.ones(1, np.float32))


def node(operator: str, *inputs: str, outputs: str = "bad", **attributes: Any) -> NodeProto:
    """Return a node."""
    return helper.make_node(operator, list(inputs), outputs.split(), **attributes)


def whole(*numbers: int) -> NDArray[np.int64]:
    """Return whole numbers."""
    return np.array(numbers, np.int64)


def chain(operator: str, count: int, *others: str) -> list[NodeProto]:
    """Return nodes in a chain that begins with `pixels`."""
    names = ["pixels", *(f"c{number}" for number in range(count))]
    return [node(operator, before, *(others or [before]), outputs=after) for before, after in itertools.pairwise(names)]


SIDE = np.ones((1, 30_000), np.float32)
HOSTILE: dict[str, Hostile] = {
    "filled": ([node("ConstantOfShape", "big", value=ONE)], {"big": BIG}, "'8464000000' bytes of constants"),
    "filled a little, often": (
        [node("ConstantOfShape", "big", value=ONE, outputs=f"f{number}") for number in range(20)],
        {"big": whole(4000, 4000)},
        "'1280000000' bytes of constants",
    ),
    "expanded": ([node("Expand", "one", "big")], {"one": whole(1), "big": BIG}, "operator 'Expand'"),
    "tiled": ([node("Tile", "one", "big")], {"one": whole(1), "big": BIG}, "operator 'Tile'"),
    "resized": ([node("Resize", "pixels", "", "big")], {"big": BIG}, "operator 'Resize'"),
    "counted": ([node("Range", "a", "b", "a")], {"a": whole(1), "b": whole(2**40)}, "operator 'Range'"),
    "one hot": (
        [node("OneHot", "a", "depth", "two", axis=-1)],
        {"a": whole(1, 2), "depth": whole(2**31), "two": whole(0, 1)},
        "'34359738368' bytes of constants",
    ),
    "padded": (
        [node("Pad", "pixels", "pads", mode="constant")],
        {"pads": whole(0, 0, 0, 0, 30_000, 30_000)},
        "bytes for 2 images",
    ),
    "an outer product": ([node("MatMul", "column", "row")], {"column": SIDE.T, "row": SIDE}, "bytes of constants"),
    "an outer sum": ([node("Add", "column", "row")], {"column": SIDE.T, "row": SIDE}, "bytes of constants"),
    "images by images": (
        [
            node("Flatten", "pixels", outputs="f", axis=1),
            node("Transpose", "f", outputs="t", perm=[1, 0]),
            node("MatMul", "f", "t", outputs="square"),
            node("Unsqueeze", "square", "last", outputs="column"),
            node("Mul", "column", "row"),
        ],
        {"last": whole(2), "row": np.ones((1, 1, 1000), np.float32)},
        "for 256 images",
    ),
    "many products": (
        [
            node("ConstantOfShape", "size", value=ONE, outputs="c0"),
            *(node("MatMul", "c0", f"c{number}", outputs=f"c{number + 1}") for number in range(200)),
        ],
        {"size": whole(3000, 3000)},
        "'7236000000' bytes of constants",
    ),
    "doubled": (
        [node("Concat", f"c{number}", f"c{number}", outputs=f"c{number + 1}", axis=0) for number in range(40)],
        {"c0": SIDE},
        "bytes of constants",
    ),
    "a division of whole numbers": ([node("Div", "a", "b")], {"a": whole(1), "b": whole(0)}, "division of whole"),
    "a remainder": ([node("Mod", "a", "b")], {"a": whole(1), "b": whole(0)}, "operator 'Mod'"),
    "in training": ([node("Dropout", "pixels", "ratio", "yes")], {"ratio": SIDE[0, :1]}, "operator 'Dropout'"),
    "norm in training": (
        [node("BatchNormalization", "pixels", *["s"] * 4, training_mode=1)],
        {"s": SIDE[0, :28]},
        "a graph in training",
    ),
    "without end": ([node("Loop", "a", "")], {"a": whole(2**62)}, "operator 'Loop'"),
    "a shape of the images'": (
        [node("Cast", "pixels", outputs="whole", to=TensorProto.INT64), node("Reshape", "pixels", "whole")],
        {},
        "hangs on the images",
    ),
    "filters over much": (
        [
            node("Unsqueeze", "pixels", "one", outputs="image"),
            node("Conv", "image", "w", "b", pads=[999] * 4, strides=[1, 1], dilations=[1, 1], kernel_shape=[900, 900]),
        ],
        {"one": whole(1), "w": np.ones((1, 1, 900, 900), np.float32), "b": np.ones(1, np.float32)},
        "filters that take too much",
    ),
    "too many nodes": (chain("Add", bounds.MAX_NODES, "a"), {"a": SIDE[0, :1]}, "operators, over"),
    "much work": (chain("Mul", 1000, "a"), {"a": np.ones((10_000, 1, 1, 1), np.float32)}, "multiplications for"),
    "an input that is omitted": ([node("Max", "pixels", "")], {}, "an input that is omitted"),
    "a constant that is missing": (chain("Add", 2, "nothing"), {}, "nothing"),
}


def hostile(make: Make, what: str) -> tuple[bytes, str]:
    """Return the bytes of a model that has those nodes beside its own, and what is said of it."""
    model = make()
    nodes, constants, message = HOSTILE[what]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    return model.SerializeToString(), message


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_graphs(what: str, make_model: Make) -> None:
    """Each is refused in one line that names what is wrong."""
    content, message = hostile(make_model, what)
    with pytest.raises(ModelError) as error:
        check(content, "m.onnx")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_little_memory_is_taken(make_model: Make, tmp_path: Path) -> None:
    """All of them together are refused by a process that may take but 1 GB more than it has."""
    for what in HOSTILE:
        (tmp_path / f"{what}.onnx").write_bytes(hostile(make_model, what)[0])
    code = f"""
import pathlib, resource, numpy
from tenfold.errors import ModelError
from tenfold.runtime.model_file import open_model
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in pathlib.Path({str(tmp_path)!r}).glob("*.onnx"):
    try:
        open_model(path)
    except ModelError:
        continue
    raise SystemExit(f"{{path}} opens")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert sys.platform != "linux" or int(done.stdout) < 200  # MB


def test_a_model_that_needs_room_is_asked_less_at_once(make_model: Make) -> None:
    """Where 256 images would take over half a gigabyte, fewer are asked at once; the answers are the same."""
    model = make_model(digit=False)
    graph = model.graph
    graph.node[0].output[0] = "one"
    graph.node.insert(1, node("Unsqueeze", "one", "end", outputs="column"))
    graph.node.insert(2, node("Mul", "column", "row", outputs="wide"))
    graph.node.insert(3, node("ReduceMean", "wide", "end", outputs="pixels", keepdims=0))
    graph.initializer.append(numpy_helper.from_array(whole(3), "end"))
    graph.initializer.append(numpy_helper.from_array(np.ones((1, 1, 1, 1000), np.float32), "row"))
    opened = from_bytes(model.SerializeToString(), "m")
    assert 100 < opened.at_once < 256


TREE: dict[str, Any] = {
    "nodes_treeids": [0, 0, 0, 1],
    "nodes_nodeids": [0, 1, 2, 0],
    "nodes_featureids": [3, 0, 0, 0],
    "nodes_values": [0.5, 0.0, 0.0, 0.0],
    "nodes_modes": ["BRANCH_LT", "LEAF", "LEAF", "LEAF"],
    "nodes_truenodeids": [1, 0, 0, 0],
    "nodes_falsenodeids": [2, 0, 0, 0],
    "target_treeids": [0, 0, 1],
    "target_nodeids": [1, 2, 0],
    "target_ids": [0, 9, 3],
    "target_weights": [1.0, 2.0, 3.0],
    "n_targets": 10,
}


def trees(**changed: Any) -> int:
    """Return what `images_at_once` says of two trees with these attributes changed."""
    made = helper.make_node("TreeEnsembleRegressor", ["x"], ["scores"], domain="ai.onnx.ml", **TREE | changed)
    model = helper.make_model(helper.make_graph([made], "g", [], []))
    return images_at_once(outline(model.SerializeToString(), "m"), "m", ("x", "f4", [4]))


def test_trees() -> None:
    """Two trees pass."""
    assert trees() == 256


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("nodes_featureids", [4, 0, 0, 0]),
        ("nodes_featureids", [-1, 0, 0, 0]),
        ("nodes_truenodeids", [3, 0, 0, 0]),
        ("nodes_truenodeids", [0, 0, 0, 0]),
        ("nodes_falsenodeids", [1, 0, 0, 0]),
        ("nodes_falsenodeids", [-1, 0, 0, 0]),
        ("nodes_nodeids", [0, 2, 1, 0]),
        ("nodes_treeids", [0, 0, 1, 0]),
        ("nodes_values", [0.5]),
        ("nodes_modes", ["BRANCH_LT", "BRANCH_LT", "LEAF", "LEAF"]),
        ("target_ids", [0, 10, 3]),
        ("target_ids", [0, 9]),
        ("target_treeids", [0, 0, 2]),
        ("target_nodeids", [1, 3, 0]),
        ("n_targets", 0),
        ("base_values", [1.0]),
    ],
)
def test_trees_that_cannot_be(key: str, value: Any) -> None:
    """Children, values of a row, digits and lists that aren't there, which onnxruntime would read from its memory."""
    with pytest.raises(ModelError, match="'ai.onnx.ml.TreeEnsembleRegressor', which isn't as in our exports"):
        trees(**{key: value})


def test_levels() -> None:
    """A tree's levels are counted; one that is deeper than a stack, and one that comes back to itself, are refused."""
    leaf = np.array([False, True, True])
    assert levels(np.array([1, 0, 0]), np.array([2, 0, 0]), leaf, np.array([0])) == 2
    deep = np.arange(3000)
    ends = np.arange(3000) % 2 == 1
    with pytest.raises(ValueError, match="without end"):
        levels((deep + 1) % 3000, (deep + 2) % 3000, ends, np.array([0]))
    with pytest.raises(ValueError, match="two parents"):
        levels(np.array([1, 0, 0]), np.array([1, 0, 0]), leaf, np.array([0]))
