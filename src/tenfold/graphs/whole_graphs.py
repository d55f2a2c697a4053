"""A model from pixels to calibrated probabilities as one ONNX graph: `images` (N, 28, 28) uint8 in, (N, 10) out."""

from typing import TYPE_CHECKING

import numpy as np

from tenfold.graphs import feature_graphs, tree_graphs
from tenfold.models.estimator_graphs import chained, described

if TYPE_CHECKING:
    from onnx import ModelProto

    from tenfold.models.classical import Classical

VOTES = {"knn": "n_neighbors", "forest": "n_estimators"}  # where probabilities are shares of votes, and of how many

# Laplace's rule, as Classical has it: one vote more, spread over the ten digits.
SMOOTH = """
<ir_version: 8, opset_import: ["": 17]>
smooth (float[N, K] shares) => (float[N, K] probabilities) {
    votes = Mul(shares, count)
    with_another = Add(votes, tenth)
    probabilities = Div(with_another, count_and_one)
}
"""

# In double precision, as `tenfold.training.predict.sharpen`: whether two digits are tied is decided in the last bit.
SHARPEN = """
<ir_version: 8, opset_import: ["": 17]>
sharpen (float[N, K] shares) => (float[N, K] probabilities) {
    exact = Cast <to = 11> (shares)
    positive = Max(exact, least)
    logarithm = Log(positive)
    cooled = Div(logarithm, temperature)
    powers = Softmax <axis = 1> (cooled)
    probabilities = Cast <to = 1> (powers)
}
"""


def classical(model: "Classical") -> "ModelProto":
    """Return the graph of a fitted classical model, its features and Laplace's rule in it; not yet calibrated."""
    from onnx import ModelProto

    assert model.fitted is not None
    content = model.fitted.content
    if model.kind == "xgboost":
        answer = tree_graphs.boosted(content)
    else:
        answer = ModelProto.FromString(content)
        _only_probabilities(answer)
    links = [feature_graphs.features(model.features), answer]
    if model.kind in VOTES:
        count = getattr(model.arguments, VOTES[model.kind])
        numbers = {"count": count, "tenth": 0.1, "count_and_one": count + 1}
        links.append(described(SMOOTH, **{name: np.float32(number) for name, number in numbers.items()}))
    return chained(*links)


def calibrated(graph: "ModelProto", temperature: float) -> "ModelProto":
    """Return the graph with its first output, probabilities, to the power 1 / temperature, and summing to 1 again."""
    sharpen = described(SHARPEN, least=np.array(1e-30), temperature=np.array(temperature))
    return chained(graph, sharpen)


def _only_probabilities(model: "ModelProto") -> None:
    """Drop the other outputs of a graph: scikit-learn's also give the digit, which follows from the probabilities."""
    kept = [output for output in model.graph.output if output.name == "probabilities"]
    del model.graph.output[:]
    model.graph.output.extend(kept)
