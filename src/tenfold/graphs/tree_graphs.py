"""XGBoost's trees as an ONNX graph, read from XGBoost's own JSON: no converter, and no dependency, stands between."""

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold.models.estimator_graphs import OPSETS

if TYPE_CHECKING:
    from onnx import ModelProto

LEAF = -1  # what stands for a child where there is none


def boosted(content: bytes) -> "ModelProto":
    """Return the graph of XGBoost's model.json: rows (N, D) float32 in, `probabilities` (N, 10) float32 out.

    A tree adds the value of the leaf that an image comes to, to its digit's score; softmax makes probabilities of
    them. XGBoost goes left where a value is less than the threshold, and ONNX's BRANCH_LT does. ValueError for trees of
    another objective, or with categories.
    """
    from onnx import helper, numpy_helper

    learner = json.loads(content)["learner"]
    if learner["objective"]["name"] != "multi:softprob":
        raise ValueError(f"objective is '{learner['objective']['name']}', not 'multi:softprob'")
    model = learner["gradient_booster"]["model"]
    ensemble = helper.make_node("TreeEnsembleRegressor", ["rows"], ["scores"], domain="ai.onnx.ml", n_targets=10)
    ensemble.attribute.extend(helper.make_attribute(name, column) for name, column in _columns(model).items())
    start = np.broadcast_to(np.array(json.loads(learner["learner_model_param"]["base_score"]), np.float32), 10)
    nodes = [
        ensemble,
        helper.make_node("Add", ["scores", "start"], ["total"]),
        helper.make_node("Softmax", ["total"], ["probabilities"], axis=1),
    ]
    width = int(learner["learner_model_param"]["num_feature"])
    graph = helper.make_graph(
        nodes,
        "trees",
        [helper.make_tensor_value_info("rows", 1, ["N", width])],
        [helper.make_tensor_value_info("probabilities", 1, ["N", 10])],
        [numpy_helper.from_array(start.copy(), "start")],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _columns(model: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the trees as the operator takes them: a list a property, with an entry for every node of every tree."""
    columns: dict[str, list[Any]] = defaultdict(list)
    for number, (tree, digit) in enumerate(zip(model["trees"], model["tree_info"], strict=True)):
        if any(tree["split_type"]):
            raise ValueError(f"tree {number} splits by categories")
        count = len(tree["left_children"])
        is_leaf = np.array(tree["left_children"]) == LEAF
        leaves = np.flatnonzero(is_leaf).tolist()
        columns["nodes_treeids"] += [number] * count
        columns["nodes_nodeids"] += range(count)
        columns["nodes_featureids"] += tree["split_indices"]
        columns["nodes_values"] += tree["split_conditions"]
        columns["nodes_modes"] += np.where(is_leaf, "LEAF", "BRANCH_LT").tolist()
        columns["nodes_truenodeids"] += np.where(is_leaf, 0, tree["left_children"]).tolist()
        columns["nodes_falsenodeids"] += np.where(is_leaf, 0, tree["right_children"]).tolist()
        columns["nodes_missing_value_tracks_true"] += tree["default_left"]
        columns["target_treeids"] += [number] * len(leaves)
        columns["target_nodeids"] += leaves
        columns["target_ids"] += [digit] * len(leaves)
        columns["target_weights"] += [tree["split_conditions"][leaf] for leaf in leaves]
    return columns
