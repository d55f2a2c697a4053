"""Graphs in a chain: each goes into the next, under names that do not meet."""

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

from tenfold.models.fitted import chained, described

STEP = """
step (float[N, K] x) => (float[N, K] y, float[N, K] SIDE) {
    product = Mul(x, factor)
    SIDE = Neg(product)
    y = Add(product, factor)
}
"""


def run(graph: ModelProto, x: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return the graph's outputs by name."""
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: x}), strict=True))


def test_chained() -> None:
    """Links of the same names go into each other in order; what each gives beside comes out under its own name."""
    links = [described(STEP.replace("SIDE", f"side_{n}"), factor=np.float32(n)) for n in (2, 3, 5)]
    x = np.array([[1, 2], [3, 4]], np.float32)
    first, second = 2 * x, 3 * (2 * x + 2)
    third = 5 * (second + 3)
    given = run(chained(*links), x)
    assert list(given) == ["y", "side_2", "side_3", "side_5"]
    for name, expected in (("side_2", -first), ("side_3", -second), ("side_5", -third), ("y", third + 5)):
        np.testing.assert_array_equal(given[name], expected)
