"""Graphs that answer: as XGBoost, in a chain under names that do not meet, and known before they are opened."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import xgboost
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tenfold.data.digits import Digits
from tenfold.errors import RunError
from tenfold.models.classical import Classical
from tenfold.models.fitted import boosted, chained, described, knn, open_fitted

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


@pytest.fixture(scope="module")
def content(digits: Digits) -> bytes:
    """Return XGBoost's own JSON of a few trees, fitted to generated digits."""
    estimator = Classical("xgboost", {"n_estimators": 6, "max_depth": 4}, {}).estimator()
    estimator.fit(digits.images.reshape(-1, 784) / np.float32(255), digits.labels)
    return bytes(estimator.get_booster().save_raw("json"))


def test_answers_as_xgboost(content: bytes, digits: Digits) -> None:
    """Pixels, noise, and rows made of nothing but the trees' own thresholds get the probabilities of XGBoost itself."""
    trees = json.loads(content)["learner"]["gradient_booster"]["model"]["trees"]
    thresholds = np.concatenate([tree["split_conditions"] for tree in trees]).astype(np.float32)
    generator = np.random.default_rng(0)
    rows = np.concatenate(
        [
            digits.images.reshape(-1, 784) / np.float32(255),
            generator.random((100, 784), np.float32),
            generator.choice(thresholds, (300, 784)),
        ]
    )
    expected = xgboost.Booster(model_file=bytearray(content)).inplace_predict(rows)
    session = onnxruntime.InferenceSession(boosted(content).SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(["probabilities"], {"rows": rows})[0], expected, atol=1e-6)
    assert len(np.unique(expected.argmax(1))) == 10


@pytest.mark.parametrize("start", ["5E-1", "[1,2,3,4,5,6,7,8,9,0]"])
def test_the_score_before_any_tree(content: bytes, start: str, digits: Digits) -> None:
    """One start for all digits, as older versions write it, and one for each are taken."""
    model = json.loads(content)
    model["learner"]["learner_model_param"]["base_score"] = start
    trees = model["learner"]["gradient_booster"]["model"]
    trees |= {"trees": trees["trees"][:1], "tree_info": [0]}
    graph = boosted(json.dumps(model).encode())
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    answer = session.run(["probabilities"], {"rows": digits.images[:1].reshape(1, 784) / np.float32(255)})[0][0]
    scores = np.log(answer[1:] / answer[1])  # the one tree speaks of digit 0 alone
    np.testing.assert_allclose(scores, np.zeros(9) if start == "5E-1" else [0, 1, 2, 3, 4, 5, 6, 7, -2], atol=1e-5)


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
