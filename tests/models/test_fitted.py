"""Graphs in a chain: each goes into the next, under names that do not meet; and what follows every classifier."""

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

from tenfold.graphs.run_graph import calibrated
from tenfold.metrics.scores import sharpen
from tenfold.models.fitted import chained, described

STEP = """
step (float[N, K] x) => (float[N, K] y, float[N, K] SIDE) {
    product = Mul(x, factor)
    SIDE = Neg(product)
    y = Add(product, factor)
}
"""
SAME = """
same (float[N, K] x) => (float[N, K] y) {
    y = Identity(x)
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


@pytest.mark.parametrize("temperature", [0.125, 0.7, 8.0])
def test_calibrated(temperature: float) -> None:
    """The graph's calibration is `sharpen`, for zeros, ties in the last bit and the farthest temperatures."""
    shares = np.random.default_rng(0).dirichlet(np.full(10, 0.05), 500).astype(np.float32)
    shares[0], shares[1], shares[2] = 0.1, 0, np.float32(0.1)
    shares[1, 4] = 1
    shares[2, 7] = np.nextafter(np.float32(0.1), np.float32(1))
    (given,) = run(calibrated(described(SAME), temperature), shares).values()
    expected = sharpen(shares, temperature)
    np.testing.assert_allclose(given, expected, rtol=1e-6, atol=1e-30)
    np.testing.assert_array_equal(given.argmax(1), expected.argmax(1))
