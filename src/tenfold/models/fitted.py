"""What a fitted classical model leaves behind: an ONNX graph that answers, and no code that could run.

Graphs come from skl2onnx, or are written here, most as ONNX's own text; a chain of them is one graph.
"""

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import RunError
from tenfold.runtime.bounds import images_at_once
from tenfold.runtime.model_file import FLOAT, check_opsets, open_session, read_model
from tenfold.runtime.wire import ADVICE, outline

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from tenfold.models.pairwise import PairwiseSVC

PARAMETERS = "tenfold.parameters"  # the count, kept in the file
OPSETS = {"": 17, "ai.onnx.ml": 3}  # old enough for every onnxruntime that we take
NAME = "model.onnx"  # of the file, in messages
MAX_BYTES = 512 << 20  # of it: nearest neighbours and support vectors keep 60,000 images of 784 pixels in 190 MB
ROWS = 1000  # that are asked at a time at most
HEADER = f'<ir_version: 8, opset_import: ["": {OPSETS[""]}]>'  # of every graph that is written as text
STEEPNESS = 5.0  # makes the probabilities about as sure as they are right, before a temperature is fitted
LEAST_DISTANCE = 1e-6  # squared; nearer ones are the same image, for float32
LEAF = -1  # what XGBoost has for a child where there is none

Floats = NDArray[np.float32]
Constant = NDArray[Any] | np.generic | float | list[int]

# The kernel is exp(-gamma |x - s|²), with |x - s|² = |x|² + |s|² - 2 x.s. Probabilities are the softmax of every
# digit's weakest decision, times STEEPNESS. A digit that wins all its pairs, as nearly every image has one, is first
# here as in SVC, which counts votes; and how narrowly it won says more of how sure the answer is: on 3,000 held-out
# images of MNIST the NLL, with a temperature, was 0.025, of the votes' softmax 0.049, of the product of the pairs'
# probabilities 0.026 to 0.032.
SVM = """
svm (float[N, D] x) => (float[N, K] probabilities) {
    square = Mul(x, x)
    norm = ReduceSum <keepdims = 1> (square, last)
    dot = MatMul(x, support_twice)
    norms = Add(norm, support_norms)
    distance = Sub(norms, dot)
    not_negative = Relu(distance)
    exponent = Mul(not_negative, minus_gamma)
    kernel = Exp(exponent)
    weighted = MatMul(kernel, dual)
    decision = Add(weighted, intercept)
    opposite = Neg(decision)
    both = Concat <axis = 1> (decision, opposite)
    duel = Gather <axis = 1> (both, duels)
    weakest = ReduceMin <axes = [2], keepdims = 0> (duel)
    score = Mul(weakest, steepness)
    probabilities = Softmax <axis = 1> (score)
}
"""

# |x - p|² again, p the stored images; which neighbours are nearest does not depend on |x|².
NEAREST = """
nearest (float[N, D] x) => (float[N, K] probabilities) {
    dot = MatMul(x, points_twice)
    closeness = Sub(dot, points_norms)
    value, index = TopK <axis = 1, largest = 1> (closeness, neighbours)
    vote = Gather(one_hot, index)
    square = Mul(x, x)
    norm = ReduceSum <keepdims = 1> (square, last)
    distance = Sub(norm, value)
    positive = Max(distance, least_distance)
    root = Sqrt(positive)
    weight = Pow(root, power)
    column = Unsqueeze(weight, columns)
    weighted = Mul(vote, column)
    votes = ReduceSum <keepdims = 0> (weighted, middle)
    total = ReduceSum <keepdims = 1> (votes, last)
    probabilities = Div(votes, total)
}
"""


class Fitted:
    """A fitted model: the content of its file, how many numbers were fitted, and answers.

    content: an ONNX graph with an output `probabilities`. width: of the rows that it takes.
    ModelError, ValueError, or an error of onnxruntime's, for content that is broken or of another kind.
    """

    def __init__(self, content: bytes, threads: int, width: int) -> None:
        self.content, self.threads, self.width = content, threads, width
        found = outline(content, NAME)
        check_opsets(found, NAME)
        if [value.element for value in found.inputs] != [FLOAT]:
            raise ValueError("it has other inputs than rows of numbers")
        self.input = found.inputs[0].name
        self.rows = images_at_once(found, NAME, (self.input, "f4", [width]), ROWS)
        self.parameters = int(dict(found.metadata).get(PARAMETERS, 0))
        self.sessions = {os.getpid(): open_session(content, NAME, threads)}

    def answer(self, rows: Floats) -> Floats:
        """Return probabilities, (N, 10) float32, of rows (N, D) float32."""
        # A fork has none of the threads of the session before, and would wait for them for ever, also to close it.
        if os.getpid() not in self.sessions:
            self.sessions[os.getpid()] = open_session(self.content, NAME)
        parts = [rows[start : start + self.rows] for start in range(0, max(1, len(rows)), self.rows)]
        session = self.sessions[os.getpid()]
        return np.concatenate([session.run(["probabilities"], {self.input: part})[0] for part in parts])

    def __reduce__(self) -> "tuple[type[Fitted], tuple[bytes, int, int]]":
        """Return how a copy is made, as scikit-learn does for its own processes: from the bytes."""
        return type(self), (self.content, self.threads, self.width)


def open_fitted(path: Path, width: int, threads: int) -> Fitted:
    """Return the model in the file; RunError where that is broken, or does not take rows of `width` values."""
    try:
        content = read_model(path, MAX_BYTES)
        fitted = Fitted(content, threads, width)
        answer = fitted.answer(np.zeros((2, width), np.float32))
    except Exception as error:  # onnxruntime's exceptions share no base
        reason = str(error).removesuffix(ADVICE).strip().rstrip(".").splitlines() or [type(error).__name__]
        raise RunError(
            f"'{path}' cannot be read as this run's model: {reason[0][:200]}. Train the run again."
        ) from error
    if answer.shape != (2, 10) or not np.allclose(answer.sum(1), 1, atol=1e-3):
        raise RunError(
            f"'{path}' answers with shape '{answer.shape}', not with ten probabilities. Train the run again."
        )
    return fitted


def svm(machine: "PairwiseSVC") -> "ModelProto":
    """Return the graph of a fitted PairwiseSVC."""
    vectors = machine.support_vectors_
    return described(
        SVM,
        last=[1],
        support_twice=2 * vectors.T,
        support_norms=(vectors**2).sum(1),
        minus_gamma=-float(machine.gamma_),
        dual=machine.dual_coef_,
        intercept=machine.intercept_,
        duels=machine.duels_,
        steepness=STEEPNESS,
    )


def knn(estimator: Any, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> "ModelProto":
    """Return the graph of a KNeighborsClassifier (Euclidean) that was fitted to rows (N, D) with these labels."""
    return described(
        NEAREST,
        points_twice=2 * rows.T,
        points_norms=(rows**2).sum(1),
        neighbours=[estimator.n_neighbors],
        one_hot=np.eye(10, dtype=np.float32)[labels],
        last=[1],
        middle=[1],
        columns=[2],
        least_distance=LEAST_DISTANCE,
        power=-1.0 if estimator.weights == "distance" else 0.0,
    )


def converted(estimator: Any) -> "ModelProto":
    """Return the graph that skl2onnx makes of a fitted estimator; ask for its output `probabilities`."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    inputs = [("x", FloatTensorType([None, estimator.n_features_in_]))]
    model: ModelProto = to_onnx(estimator, initial_types=inputs, options={"zipmap": False}, target_opset=OPSETS)
    for node in model.graph.node:
        if node.op_type == "TreeEnsembleClassifier":
            _omit_zeros(node)
    return model


def _omit_zeros(node: "NodeProto") -> None:
    """Take the leaves' zeros out of an ensemble of trees: most leaves have seen one digit or two, and list all ten."""
    columns = {each.name: each for each in node.attribute if each.name.startswith("class_")}
    kept = np.flatnonzero(columns["class_weights"].floats)
    for name in ("class_ids", "class_nodeids", "class_treeids", "class_weights"):
        values = columns[name].floats if name == "class_weights" else columns[name].ints
        values[:] = np.array(values)[kept].tolist()


def boosted(content: bytes) -> "ModelProto":
    """Return the graph of XGBoost's own JSON: rows (N, D) float32 in, `probabilities` (N, 10) float32 out.

    A tree adds the value of the leaf that an image comes to, to its digit's score; softmax makes probabilities of
    them. XGBoost goes left where a value is less than the threshold, and ONNX's BRANCH_LT does.
    """
    from onnx import helper, numpy_helper

    learner = json.loads(content)["learner"]
    model = learner["gradient_booster"]["model"]
    # Not as the trees' own base_values: onnxruntime 1.32 omits those of a digit that no tree speaks of.
    start = np.full(10, json.loads(learner["learner_model_param"]["base_score"]), np.float32)
    trees = _columns(model)
    nodes = [
        helper.make_node("TreeEnsembleRegressor", ["rows"], ["scores"], domain="ai.onnx.ml", n_targets=10, **trees),
        helper.make_node("Add", ["scores", "start"], ["total"]),
        helper.make_node("Softmax", ["total"], ["probabilities"], axis=1),
    ]
    rows = helper.make_tensor_value_info("rows", 1, ["N", int(learner["learner_model_param"]["num_feature"])])
    probabilities = helper.make_tensor_value_info("probabilities", 1, ["N", 10])
    graph = helper.make_graph(nodes, "trees", [rows], [probabilities], [numpy_helper.from_array(start, "start")])
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _columns(model: dict[str, Any]) -> dict[str, Any]:
    """Return the trees as the operator takes them: a list a property, with an entry for every node of every tree."""
    columns: dict[str, list[Any]] = defaultdict(list)
    for number, (tree, digit) in enumerate(zip(model["trees"], model["tree_info"], strict=True)):
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


def described(text: str, **constants: Constant) -> "ModelProto":
    """Return the graph that this text describes, with its constants filled in under the names that it uses.

    Python's own floats become float32, and whole numbers int64.
    """
    from onnx import numpy_helper, parser

    model: ModelProto = parser.parse_model(HEADER + text)
    for name, value in constants.items():
        array = np.ascontiguousarray(np.float32(value) if type(value) is float else value)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def chained(*links: "ModelProto") -> "ModelProto":
    """Return one graph of several, each link's first output going into the next one's only input.

    The first link's input keeps its name, and so do the last one's first output and what a link gives beside its
    first. All other names get their link's number before them, so that links may share names.
    """
    from onnx import ModelProto, helper

    whole = ModelProto(ir_version=max(link.ir_version for link in links), producer_name="tenfold")
    versions = dict(OPSETS)
    last = links[-1].graph.output[0]
    joint, beside = links[0].graph.input[0].name, []
    for number, link in enumerate(links):
        following = last.name if number == len(links) - 1 else f"{number}/{link.graph.output[0].name}"
        names = {link.graph.input[0].name: joint, link.graph.output[0].name: following}
        names |= {output.name: output.name for output in link.graph.output[1:]}
        _append(whole, link, names, f"{number}/")
        beside += list(link.graph.output[1:])
        versions |= {each.domain: max(each.version, versions.get(each.domain, 1)) for each in link.opset_import}
        joint = following
    whole.graph.name = "tenfold"
    whole.graph.input.append(links[0].graph.input[0])
    whole.graph.output.extend([last, *beside])
    whole.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in sorted(versions.items()))
    return whole


def _append(whole: "ModelProto", link: "ModelProto", names: dict[str, str], prefix: str) -> None:
    """Append a link's nodes and constants; `names` says what its names become, `prefix` what precedes all others."""

    def renamed(name: str) -> str:
        return names.get(name, prefix + name) if name else ""  # an operator's optional input that is omitted

    for node in link.graph.node:
        copy = whole.graph.node.add()
        copy.CopyFrom(node)
        copy.input[:] = [renamed(name) for name in node.input]
        copy.output[:] = [renamed(name) for name in node.output]
        copy.name = prefix + node.name if node.name else ""
        # Exporters write where in whose source a node comes from, with that machine's paths.
        copy.ClearField("doc_string")
        copy.ClearField("metadata_props")
    for constant in link.graph.initializer:
        copied = whole.graph.initializer.add()
        copied.CopyFrom(constant)
        copied.name = renamed(constant.name)
        copied.ClearField("doc_string")
