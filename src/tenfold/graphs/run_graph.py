"""A run as one ONNX graph, from pixels to calibrated probabilities: `images` (N, 28, 28) uint8 in, (N, 10) out."""

from typing import TYPE_CHECKING

import numpy as np

from tenfold.graphs import feature_graphs, tree_graphs
from tenfold.models.estimator_graphs import chained, described

if TYPE_CHECKING:
    from onnx import ModelProto

    from tenfold.models.classical import Classical
    from tenfold.runs.estimator import DigitClassifier

# Laplace's rule, as Classical has it: one vote more, spread over the ten digits.
SMOOTH = """
smooth (float[N, K] shares) => (float[N, K] probabilities) {
    votes = Mul(shares, count)
    with_another = Add(votes, tenth)
    probabilities = Div(with_another, count_and_one)
}
"""

# In double precision, as `tenfold.metrics.calibration.sharpen`: whether two digits are tied is decided in the last bit.
SHARPEN = """
sharpen (float[N, K] shares) => (float[N, K] probabilities) {
    exact = Cast <to = 11> (shares)
    positive = Max(exact, least)
    logarithm = Log(positive)
    cooled = Div(logarithm, temperature)
    powers = Softmax <axis = 1> (cooled)
    probabilities = Cast <to = 1> (powers)
}
"""


def run_graph(classifier: "DigitClassifier") -> "ModelProto":
    """Return the graph of a trained classifier on the processor: `images` in, `probabilities` and maybe `digit` out."""
    if classifier.model_ is not None:
        graph = classical(classifier.model_)
    else:
        from tenfold.graphs.network_graph import network

        assert classifier.module_ is not None
        graph = network(classifier.module_, classifier.recipe_.prediction.shifts)
    whole = calibrated(graph, classifier.temperature_) if classifier.temperature_ != 1 else chained(graph)
    _state_shapes(whole)
    return whole


def classical(model: "Classical") -> "ModelProto":
    """Return the graph of a fitted classical model, its features and Laplace's rule in it; not yet calibrated."""
    from onnx import ModelProto

    assert model.fitted is not None
    if model.kind == "xgboost":
        answer = tree_graphs.boosted(model.fitted.content)
    else:
        answer = ModelProto.FromString(model.fitted.content)
        # scikit-learn's graphs also give the digit, which follows from the probabilities.
        kept = [output for output in answer.graph.output if output.name == "probabilities"]
        del answer.graph.output[:]
        answer.graph.output.extend(kept)
    links = [feature_graphs.features(model.features), answer]
    if model.votes is not None:
        links.append(described(SMOOTH, count=float(model.votes), tenth=0.1, count_and_one=model.votes + 1.0))
    return chained(*links)


def calibrated(graph: "ModelProto", temperature: float) -> "ModelProto":
    """Return the graph with its first output, probabilities, to the power 1 / temperature, and summing to 1 again."""
    return chained(graph, described(SHARPEN, least=np.float64(1e-30), temperature=np.float64(temperature)))


def _state_shapes(graph: "ModelProto") -> None:
    """Write out what goes in and comes out: the links of a chain know it by the letters of their own texts."""
    from onnx import TensorProto, helper

    shapes: dict[str, list[str | int | None]] = {"probabilities": ["N", 10], "digit": ["N"]}
    outputs = [
        helper.make_tensor_value_info(output.name, TensorProto.FLOAT, shapes[output.name])
        for output in graph.graph.output
    ]
    del graph.graph.input[:], graph.graph.output[:]
    graph.graph.input.append(helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 28, 28]))
    graph.graph.output.extend(outputs)
