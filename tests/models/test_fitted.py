"""Graphs in a chain: each goes into the next, under names that do not meet."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tenfold.errors import RunError
from tenfold.models.fitted import chained, described, knn, open_fitted

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


def loop(graph: ModelProto) -> None:
    """Add a loop of 2^62 rounds."""
    graph.graph.node.append(helper.make_node("Loop", ["rounds"], ["end"]))


def beside(graph: ModelProto) -> None:
    """Say that a constant lies in another file."""
    constant = graph.graph.initializer.add(name="more", dims=[2], data_type=1, data_location=TensorProto.EXTERNAL)
    constant.external_data.add(key="location", value="secret.bin")


def huge(graph: ModelProto) -> None:
    """Add 8 GB that are computed from sixteen bytes."""
    graph.graph.initializer.append(numpy_helper.from_array(np.array([46_000, 46_000]), "size"))
    value = numpy_helper.from_array(np.ones(1, np.float32))
    graph.graph.node.append(helper.make_node("ConstantOfShape", ["size"], ["filled"], value=value))


@pytest.mark.parametrize(
    ("edit", "message"), [(loop, "operator 'Loop'"), (beside, "external data"), (huge, "'8464000000' bytes")]
)
def test_a_runs_graph_passes_the_door(edit: Callable[[ModelProto], None], message: str, tmp_path: Path) -> None:
    """A run's own model.onnx is known before it is opened, as an exported one is."""
    rows = np.random.default_rng(0).random((40, 784)).astype(np.float32)
    estimator = SimpleNamespace(n_neighbors=3, weights="distance")
    graph = knn(estimator, rows, np.arange(40) % 10)
    path = tmp_path / "model.onnx"
    (tmp_path / "run.json").write_text("{}")
    path.write_bytes(graph.SerializeToString())
    assert open_fitted(path, 784, 1).answer(rows).shape == (40, 10)
    edit(graph)
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(RunError, match=message) as error:
        open_fitted(path, 784, 1)
    assert "\n" not in str(error.value)
