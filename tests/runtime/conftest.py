"""Small models for the tests of the runtime: real graphs, made by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

CARD: dict[str, Any] = {
    "format": 1,
    "name": "bars",
    "recipe": "by hand",
    "config_sha256": "0" * 64,
    "version": "0.1.0",
    "seed": 0,
    "precision": "fp32",
    "temperature": 1.0,
    "data": {"spec": ["bars"], "sha256": "0" * 64, "n_train": 1},
    "metrics": {"validation": {"n": 5000, "errors": 2, "accuracy": 0.9996, "ci95": [0.99, 1.0]}},
    "held_out": {"n": 5000, "errors": [[0.75, 4900], [0.5, 4990]]},
    "threshold": 0.6,
}


def build(card: dict[str, Any] | str | None = None, digit: bool = True) -> ModelProto:
    """Return a model that answers with the column, of 10 wide as two or three pixels, that holds most ink.

    It is as sure as there is ink. digit: whether it also says that much ink (over 128 on average) is no digit.
    """
    columns = np.zeros((784, 10), np.float32)
    for pixel in range(784):
        columns[pixel, (pixel % 28) * 10 // 28] = 1 / 2550
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("MatMul", ["flat", "columns"], ["ink"]),
        helper.make_node("Softmax", ["ink"], ["probabilities"], axis=1),
    ]
    initializers = [numpy_helper.from_array(columns, "columns")]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 10])]
    if digit:
        initializers += [
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
            numpy_helper.from_array(np.array(128, np.float32), "half"),
            numpy_helper.from_array(np.array(16, np.float32), "step"),
        ]
        nodes += [
            helper.make_node("ReduceMean", ["flat", "axis"], ["mean"], keepdims=0),
            helper.make_node("Sub", ["half", "mean"], ["less"]),
            helper.make_node("Div", ["less", "step"], ["steps"]),
            helper.make_node("Sigmoid", ["steps"], ["digit"]),
        ]
        outputs.append(helper.make_tensor_value_info("digit", TensorProto.FLOAT, ["N"]))
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 28, 28])
    graph = helper.make_graph(nodes, "bars", [images], outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    text = card if isinstance(card, str) else json.dumps(CARD if card is None else card)
    helper.set_model_props(model, {"tenfold": text})
    return model


@pytest.fixture(scope="session")
def make_model() -> Callable[..., ModelProto]:
    """Return `build`, with which tests make models of their own."""
    return build


@pytest.fixture(scope="session")
def card() -> dict[str, Any]:
    """Return the card of the models that `build` makes."""
    return CARD


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a model."""
    path = tmp_path_factory.mktemp("model") / "bars.onnx"
    path.write_bytes(build().SerializeToString())
    return path


@pytest.fixture(scope="session")
def bars() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return ten images in the frame's size, (10, 28, 28) uint8: a bar in the column of each digit."""
    images = np.zeros((10, 28, 28), np.uint8)
    for digit in range(10):
        images[digit, 4:24, (np.arange(28) * 10 // 28) == digit] = 255
    return images
