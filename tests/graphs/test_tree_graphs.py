"""XGBoost's trees as a graph answer as XGBoost does, on the thresholds too."""

import json

import numpy as np
import onnxruntime
import pytest
import xgboost

from tenfold.data.digits import Digits
from tenfold.graphs.tree_graphs import boosted
from tenfold.models.classical import Classical


@pytest.fixture(scope="module")
def content(digits: Digits) -> bytes:
    """Return the JSON of a few trees, fitted to generated digits."""
    fitted = Classical("xgboost", {"n_estimators": 6, "max_depth": 4}, {}).fit(digits.images, digits.labels).fitted
    assert fitted
    return fitted.content


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


def test_other_trees_are_refused(content: bytes) -> None:
    """Another objective, and splits by category, are no digits' trees of ours."""
    model = json.loads(content)
    model["learner"]["objective"]["name"] = "reg:squarederror"
    with pytest.raises(ValueError, match="objective is 'reg:squarederror'"):
        boosted(json.dumps(model).encode())
    model = json.loads(content)
    model["learner"]["gradient_booster"]["model"]["trees"][2]["split_type"][0] = 1
    with pytest.raises(ValueError, match="tree 2 splits by categories"):
        boosted(json.dumps(model).encode())
