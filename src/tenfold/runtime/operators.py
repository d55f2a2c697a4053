"""What our exports write, operators and attributes, and how the shapes of what goes in decide about what comes out.

A tensor is a numpy array of its shape and type that takes no memory (one zero, broadcast); small whole numbers have
their values, since shapes are computed from them, and are told from the others by being writeable.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MAX_WHOLE_NUMBERS = 4096  # of a tensor whose values are followed
MAX_DEPTH = 1000  # of a tree: onnxruntime and XGBoost walk down by recursion
MAX_UNROLLED = 64 << 20  # numbers of an image, each repeated for every filter's place that it is in
A_NUMBER = 128  # multiplications that any other number written or read is taken for: a power of doubles takes so long
KINDS = {1: "f4", 2: "u1", 3: "i1", 6: "i4", 7: "i8", 9: "?", 10: "f2", 11: "f8"}  # onnx.TensorProto.DataType


def must(is_so: Any, what: str) -> None:
    if not is_so:
        raise ValueError(what)


def levels(left: Array, right: Array, is_leaf: Array, roots: Array) -> int:
    """Return how many levels trees have; left, right: the places of every node's children, in one list for all trees.

    ValueError where a child isn't there, a node is reached twice, or a tree is deeper than MAX_DEPTH.
    """
    reached, depth = np.zeros(len(left), bool), 0
    while len(roots):
        if depth == MAX_DEPTH or roots.min() < 0 or roots.max() >= len(left):
            raise ValueError("a tree without end")
        if reached[roots].any() or len(np.unique(roots)) < len(roots):
            raise ValueError("a node of two parents")
        reached[roots] = True
        roots = roots[~is_leaf[roots]]
        roots, depth = np.concatenate([left[roots], right[roots]]), depth + 1
    return depth


def like(kind: Any, shape: Any) -> Array:
    return np.broadcast_to(np.zeros((), kind), tuple(int(side) for side in shape))


def known(*tensors: Array | None) -> bool:
    return all(each is None or each.flags.writeable for each in tensors)


def _value(kind: Any, shape: Any, inputs: tuple[Array, ...], compute: Callable[[], Array]) -> Array:
    """Return a tensor: with its values where those of all inputs are known, whole and few."""
    tensor = like(kind, shape)
    if not known(*inputs) or tensor.dtype.kind not in "ib" or tensor.size > MAX_WHOLE_NUMBERS:
        return tensor
    return np.array(compute(), tensor.dtype).reshape(tensor.shape)


def _numbers(x: Array | None) -> list[int]:
    """Return the whole numbers that decide about a shape; ValueError where they hang on the images."""
    if x is None or not known(x):
        raise ValueError("a shape that hangs on the images")
    return [int(each) for each in x.ravel()]


def _each(function: Callable[..., Any] | None = None, kind: str = "", typed_as: int = 0) -> Callable[..., Array]:
    """Return the rule of an operator on every number, whose inputs are broadcast."""

    def shape(attributes: dict[str, Any], *inputs: Array | None) -> Array:
        there = tuple(each for each in inputs if each is not None)
        whole, of = np.broadcast_shapes(*(each.shape for each in there)), kind or there[typed_as].dtype
        return _value(of, whole, there, lambda: function(*there)) if function else like(of, whole)

    return shape


SAME = _each()


def _same(attributes: dict[str, Any], x: Array, *others: Array) -> Array:
    must(not attributes.get("training_mode"), "a graph in training")
    return like(x.dtype, x.shape)


def _divided(attributes: dict[str, Any], a: Array, b: Array) -> Array:
    must(a.dtype.kind == "f", "a division of whole numbers")  # by 0, or of the least by -1, it ends the process
    return SAME(attributes, a, b)


def _reduced(attributes: dict[str, Any], x: Array, axes: Array | None = None) -> Array:
    places = {int(axis) % x.ndim for axis in attributes.get("axes", ())} or {axis % x.ndim for axis in _numbers(axes)}
    sides = [1 if place in places else side for place, side in enumerate(x.shape)]
    return like(x.dtype, sides if attributes.get("keepdims", 1) else np.delete(x.shape, sorted(places)))


def _highest(attributes: dict[str, Any], x: Array, k: Array) -> Any:
    shape = list(x.shape)
    shape[attributes["axis"]] = _numbers(k)[0]
    return [like(x.dtype, shape), like("i8", shape)], 10 * A_NUMBER * x.size


def _matrix_product(attributes: dict[str, Any], a: Array, b: Array) -> Any:
    right = b if b.ndim > 1 else b[:, None]
    must(a.dtype.kind == "f" and a.ndim > 1 and a.shape[-1] == right.shape[-2], f"a product of {a.shape}, {b.shape}")
    shape = (*np.broadcast_shapes(a.shape[:-2], right.shape[:-2]), a.shape[-2], right.shape[-1])
    return like(a.dtype, shape if b.ndim > 1 else shape[:-1]), math.prod(shape) * a.shape[-1]


def _gemm(attributes: dict[str, Any], a: Array, b: Array, c: Array) -> Any:
    must(a.ndim == b.ndim == 2, "a product of what are no matrices")
    return _matrix_product({}, *(x.T if attributes.get(key) else x for x, key in ((a, "transA"), (b, "transB"))))


def _window(attributes: dict[str, Any], x: Array, kernel: list[int]) -> list[int]:
    """Return the sides after a window has gone over the images."""
    plain = not attributes.get("ceil_mode") and not attributes.get("storage_order")
    must(plain and attributes.get("auto_pad", b"NOTSET") == b"NOTSET" and x.ndim == 4, "another kind of window")
    pads, strides, dilations = (_numbers(attributes[key]) for key in ("pads", "strides", "dilations"))
    must(min(pads) >= 0 and min(*strides, *dilations, *kernel) >= 1, "a window of nothing")
    must(max(*pads, *strides, *dilations, *kernel) <= 1000, "a window that is too large")
    return [
        (side + pads[place] + pads[place + 2] - dilations[place] * (kernel[place] - 1) - 1) // strides[place] + 1
        for place, side in enumerate(x.shape[2:])
    ]


def _convolution(attributes: dict[str, Any], x: Array, w: Array, bias: Array | None = None) -> Any:
    must(
        attributes.get("group", 1) == 1 and w.shape[1] == x.shape[1] and x.dtype.kind == "f",
        "filters of other channels",
    )
    sides, inside = _window(attributes, x, list(w.shape[2:])), math.prod(w.shape[1:])
    must(math.prod(sides) * inside <= MAX_UNROLLED, "filters that take too much")
    shape = (len(x), len(w), *sides)
    return like(x.dtype, shape), math.prod(shape) * inside


def _pooling(attributes: dict[str, Any], x: Array) -> Any:
    kernel = attributes["kernel_shape"].tolist()
    shape = (*x.shape[:2], *_window(attributes, x, kernel))
    return like(x.dtype, shape), A_NUMBER * math.prod(shape) * math.prod(kernel)


def _padded(attributes: dict[str, Any], x: Array, pads: Array, value: Array | None = None) -> Array:
    numbers = _numbers(pads)
    must(attributes.get("mode", b"constant") == b"constant" and len(numbers) == 2 * x.ndim, "another kind of padding")
    return like(x.dtype, np.add(x.shape, numbers[: x.ndim]) + numbers[x.ndim :])


def _joint(attributes: dict[str, Any], *inputs: Array) -> Array:
    sides = list(inputs[0].shape)
    sides[attributes["axis"]] = sum(each.shape[attributes["axis"]] for each in inputs)
    return _value(inputs[0].dtype, sides, inputs, lambda: np.concatenate(inputs, attributes["axis"]))


def _gathered(attributes: dict[str, Any], x: Array, indices: Array) -> Array:
    axis = range(x.ndim)[attributes.get("axis", 0)]
    sides = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    return _value(x.dtype, sides, (x, indices), lambda: np.take(x, indices, axis))


def _sliced(attributes: dict[str, Any], x: Array, *where: Array) -> Array:
    parts = [slice(None)] * x.ndim
    starts, ends, axes, steps = map(_numbers, where)
    for axis, *bounds in zip(axes, starts, ends, steps, strict=True):
        parts[axis] = slice(*bounds)
    return x[tuple(parts)]


def _reshaped(attributes: dict[str, Any], x: Array, shape: Array) -> Array:
    must(not attributes.get("allowzero"), "sides of zero")
    return x.reshape([side or x.shape[place] for place, side in enumerate(_numbers(shape))])


def _flattened(attributes: dict[str, Any], x: Array) -> Array:
    axis = attributes.get("axis", 1)
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _filled(attributes: dict[str, Any], shape: Array) -> Array:
    value = attributes["value"]
    return _value(value.dtype, _numbers(shape), (shape, value), lambda: np.full(_numbers(shape), value.ravel()[0]))


def _trees(attributes: dict[str, Any], x: Array) -> Any:
    """Return scores, or labels and scores, of trees whose every place is within what there is."""
    end = "target" if "n_targets" in attributes else "class"
    columns = attributes["n_targets"] if end == "target" else len(attributes["classlabels_int64s"])
    nodes, trees = attributes["nodes_nodeids"], attributes["nodes_treeids"]
    for group, count in (("nodes", len(nodes)), (end, attributes[f"{end}_weights"])):
        lengths = [each for key, each in attributes.items() if key.startswith(f"{group}_")]
        must({each if isinstance(each, int) else len(each) for each in lengths} == {count}, "lists of other lengths")
    first, starts, counts = np.unique(trees, return_index=True, return_counts=True)
    of = np.searchsorted(first, trees)
    must((np.diff(trees) >= 0).all() and (nodes == np.arange(len(nodes)) - starts[of]).all(), "nodes out of order")
    is_leaf = np.array([mode == b"LEAF" for mode in attributes["nodes_modes"]])
    children = [np.where(is_leaf, 0, attributes[f"nodes_{side}nodeids"]) for side in ("true", "false")]
    owner = np.searchsorted(first, attributes[f"{end}_treeids"]).clip(max=len(first) - 1)
    must((first[owner] == attributes[f"{end}_treeids"]).all(), "a leaf of no tree")
    for what, places, most in (
        *(("child", each, counts[of]) for each in children),
        ("leaf", attributes[f"{end}_nodeids"], counts[owner]),
        ("digit", attributes[f"{end}_ids"], columns),
        ("value of a row", attributes["nodes_featureids"], x.shape[1]),
    ):
        must(((places >= 0) & (places < most)).all(), f"a {what} that isn't there")
    depth = levels(children[0] + starts[of], children[1] + starts[of], is_leaf, starts)
    scores = like("f4", (len(x), columns))
    given = [scores] if end == "target" else [like("i8", (len(x),)), scores]
    return given, A_NUMBER * len(x) * len(first) * (depth + columns)


def _linear(attributes: dict[str, Any], x: Array) -> Any:
    classes = len(attributes["classlabels_ints"])
    must(x.ndim == 2 and attributes["intercepts"] == classes, "intercepts of another number")
    must(attributes["coefficients"] == classes * x.shape[1], "coefficients of another number")
    return [like("i8", (len(x),)), like("f4", (len(x), classes))], x.size * classes


WINDOW = "auto_pad dilations kernel_shape pads strides"
NODES = (
    "nodes_featureids nodes_nodeids nodes_treeids nodes_falsenodeids nodes_truenodeids nodes_values nodes_modes "
    "nodes_missing_value_tracks_true"
)
# What our exports write: an operator's attributes, and its rule: (attributes, inputs) -> output or list of outputs, or
# these and multiplications.
OPERATORS: dict[str, tuple[str, Callable[..., Any]]] = {
    **dict.fromkeys(("Abs", "Atan", "Erf", "Exp", "Floor", "Identity", "Log", "Neg", "Relu"), ("", _same)),
    **dict.fromkeys(("Sigmoid", "Sqrt", "Tanh"), ("", _same)),
    **dict.fromkeys(("Softmax", "LogSoftmax"), ("axis", _same)),
    "BatchNormalization": ("epsilon momentum training_mode", _same),
    "ai.onnx.ml.Normalizer": ("norm", _same),
    "Add": ("", _each(np.add)),
    "Sub": ("", _each(np.subtract)),
    "Mul": ("", _each(np.multiply)),
    "Div": ("", _divided),
    **dict.fromkeys(("Clip", "Max", "Min", "Pow"), ("", SAME)),
    "Equal": ("", _each(np.equal, "?")),
    **dict.fromkeys(("Greater", "Less"), ("", _each(kind="?"))),
    "Where": ("", _each(np.where, typed_as=1)),
    "Cast": ("to", lambda attributes, x: _value(KINDS[attributes["to"]], x.shape, (x,), lambda: x)),
    "Constant": ("value", lambda attributes: attributes["value"]),
    "ConstantOfShape": ("value", _filled),
    "Shape": ("start", lambda attributes, x: np.array(x.shape, "i8")[attributes.get("start", 0) :]),
    "Reshape": ("allowzero", _reshaped),
    "Flatten": ("axis", _flattened),
    "Transpose": ("perm", lambda attributes, x: x.transpose(attributes["perm"])),
    "Unsqueeze": ("", lambda attributes, x, axes: np.expand_dims(x, tuple(_numbers(axes)))),
    "Squeeze": ("", lambda attributes, x, axes: np.squeeze(x, tuple(_numbers(axes)))),
    "Slice": ("", _sliced),
    "Concat": ("axis", _joint),
    "Pad": ("mode", _padded),
    "Gather": ("axis", _gathered),
    "GatherElements": ("axis", lambda attributes, x, indices: like(x.dtype, indices.shape)),
    "OneHot": ("axis", lambda attributes, x, depth, values: like(values.dtype, (*x.shape, *_numbers(depth)))),
    "TopK": ("axis largest sorted", _highest),
    "ArgMax": (
        "axis keepdims select_last_index",
        lambda at, x: like("i8", _reduced(at | {"axes": [at["axis"]]}, x).shape),
    ),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin"), ("axes keepdims", _reduced)),
    "ReduceSum": ("keepdims noop_with_empty_axes", _reduced),
    "MatMul": ("", _matrix_product),
    "Gemm": ("alpha beta transA transB", _gemm),
    "Conv": (f"{WINDOW} group", _convolution),
    "MaxPool": (f"{WINDOW} ceil_mode storage_order", _pooling),
    "QuantizeLinear": ("", lambda attributes, x, scale, zero: like(zero.dtype, x.shape)),
    "DequantizeLinear": ("axis", lambda attributes, x, scale, zero: like(scale.dtype, x.shape)),
    "ai.onnx.ml.LinearClassifier": ("classlabels_ints coefficients intercepts multi_class post_transform", _linear),
    "ai.onnx.ml.TreeEnsembleClassifier": (
        f"{NODES} nodes_hitrates classlabels_int64s post_transform class_ids class_nodeids class_treeids class_weights",
        _trees,
    ),
    "ai.onnx.ml.TreeEnsembleRegressor": (
        f"{NODES} n_targets aggregate_function post_transform target_ids target_nodeids target_treeids target_weights",
        _trees,
    ),
}
