"""The operators that may run are those that our exports write, with the attributes that they write."""

import json
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, helper

from tenfold.data.digits import Digits
from tenfold.graphs.quantise import quantised
from tenfold.graphs.run_graph import _state_shapes, calibrated, classical, network
from tenfold.models import build
from tenfold.models.classical import Classical
from tenfold.models.fitted import described
from tenfold.runtime.bounds import images_at_once
from tenfold.runtime.model_file import PRETRAINED, SHIPPED, from_bytes
from tenfold.runtime.operators import OPERATORS
from tenfold.runtime.wire import outline

ALL = {"deskew": True, "hog": True, "standardise": True, "pca": 12}
SMALL = {"kind": "convnet", "widths": [[4], [4]]}
DEEP = ["conv 4 5x5 valid norm", "pool", "norm", "pad 1", "conv 4", "dropout 0.2", "dense 12 norm", "dense 11"]
ACTIVATIONS = ["relu", "gelu", "silu", "tanh", "sigmoid"]
NETWORKS: list[dict[str, Any]] = [
    {"kind": "convnet", "widths": [[4, 4], [4]], "patch": 2, "crop": 2, "pool": "both", "residual": True},
    {"kind": "convnet", "widths": [[4], [4]], "classes": 11, "pool": "mean"},
    *({"kind": "layers", "layers": DEEP, "activation": name} for name in ACTIVATIONS),
    {"kind": "layers", "layers": ["flatten", "dense 12"], "mean": 0.1307, "std": 0.3081},
    {"kind": "layers", "layers": ["conv 4", "global max"]},
    *(
        {"kind": "ensemble", "average": average, "members": [SMALL, SMALL | {"shifts": 1, "weight": 2, "classes": 11}]}
        for average in ("probabilities", "logits", "votes")
    ),
]
CLASSICAL: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("logistic", {"tol": 0.1}, {"hog": True, "deskew": True}),
    ("svm", {}, ALL),
    ("knn", {}, {"pca": 12}),
    ("knn", {"weights": "uniform"}, {}),
    ("forest", {"n_estimators": 3}, {}),
    ("xgboost", {"n_estimators": 2}, {"deskew": True}),
]


def exports(digits: Digits) -> Iterator[tuple[str, ModelProto]]:
    """Yield a graph of each kind, in 32 bits, and in 8 where that is another."""
    torch.manual_seed(0)
    for number, table in enumerate(NETWORKS):
        arguments = dict(table)
        module = build(arguments.pop("kind"), arguments).eval()
        yield f"network {number}", calibrated(network(module, (number + 1) % 2), 1.5)
    for kind, arguments, features in CLASSICAL:
        yield kind, calibrated(classical(Classical(kind, arguments, features).fit(digits.images, digits.labels)), 1.5)


def wrote(graph: ModelProto) -> set[tuple[str, str]]:
    """Return the operators of a graph, each with "", and with each of its attributes."""
    nodes = [(f"{node.domain}.{node.op_type}".lstrip("."), node) for node in graph.graph.node]
    return {(name, each) for name, node in nodes for each in ("", *(one.name for one in node.attribute))}


@pytest.mark.slow
def test_what_exports_write_and_nothing_else(
    digits: Digits, card: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """Networks, ensembles and classical models, in 32 bits and in 8, and the models of their runs are opened."""
    found: set[tuple[str, str]] = set()
    for path in SHIPPED.values():
        found |= wrote(ModelProto.FromString((PRETRAINED / path).read_bytes()))
    for name, graph in exports(digits):
        _state_shapes(graph)
        graphs = [graph]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if name != "forest":  # in which nothing is convolved or multiplied
                graphs.append(quantised(graph.SerializeToString(), digits.images[:40]))
        for each in graphs:
            found |= wrote(each)
            helper.set_model_props(each, {"tenfold": json.dumps(card)})
            model = from_bytes(each.SerializeToString(), name)
            assert model.at_once == 256
            assert np.isfinite(model.run(digits.images)[0]).all()
    known = {(name, each) for name, (attributes, _) in OPERATORS.items() for each in ("", *attributes.split())}
    assert found == known
    assert capfd.readouterr() == ("", "")  # onnxruntime says nothing of its own


@pytest.mark.parametrize("shape", ["float[N, 12]", "float[N, 3, 4]"])
def test_shapes_are_those_of_numpy(shape: str) -> None:
    """Constants of whole numbers are followed through the operators that shapes are computed by."""
    text = """
    shapes (SHAPE x) => (float[N, K] probabilities) {
        shape = Shape(x)
        first = Slice(shape, zero, one, zero, one)
        none = ConstantOfShape <value = int64[1] {-1}> (one)
        target = Concat <axis = 0> (first, none)
        probabilities = Reshape(x, target)
    }
    """
    graph = described(text.replace("SHAPE", shape), zero=np.zeros(1, np.int64), one=np.ones(1, np.int64))
    sides = [int(side) for side in shape.strip("]").split(", ")[1:]]
    found = outline(graph.SerializeToString(), "m")
    assert images_at_once(found, "m", ("x", "f4", sides)) == 256
