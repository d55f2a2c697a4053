"""What a graph takes, known before onnxruntime sees a byte: a shape for every tensor, bytes, and multiplications."""

import math
from typing import Any

import numpy as np

from tenfold.runtime.operators import A_NUMBER, KINDS, MAX_WHOLE_NUMBERS, OPERATORS, Array, like, must
from tenfold.runtime.wire import Outline, refused

TREES = "ai.onnx.ml"  # the domain of trees, and of scikit-learn's other models
MAX_NODES = 10_000  # an ensemble of five of our largest networks has 500
FEW = 2  # images of the trial when a model is opened
CHUNK = 256  # images a run: their tensors stay in the processor's cache
# Of a graph opened with FEW images: what is computed from constants alone, which onnxruntime keeps; what its other
# tensors have at a time; and multiplications, seconds of them. `strong` averaged over 13 shifts
# has 4 kB, 2 MB and 1 billion, five far wider networks 14 kB, 10 MB and 32 billion.
MAX_BYTES, MAX_MULTIPLICATIONS = 256 << 20, 50_000_000_000
ROOM = 512 << 20  # bytes, for the tensors that a graph has at any moment
MAY_OMIT = ("Clip", "Pad")  # a later input; onnxruntime crashes where others do
PAYLOAD = {"f4": "float_data", "f8": "double_data", "i8": "int64_data"}  # "int32_data" of all others
# onnx.AttributeProto.AttributeType
VALUES = {1: "f", 2: "i", 3: "s", 4: "tensor", 6: "floats", 7: "ints", 8: "strings"}


def images_at_once(found: Outline, name: str, source: tuple[str, str, list[int]], most: int = CHUNK) -> int:
    """Return how many images, `most` at most, fit into ROOM. ModelError where the graph isn't ours or takes too much.

    source: the input's name, its type as of numpy, and the shape of one image.
    """
    if len(found.nodes) > MAX_NODES:
        raise refused(name, f"has '{len(found.nodes)}' operators, over {MAX_NODES}")
    folded, bytes_of_few, work_of_few = _cost(found, name, source, FEW)
    _, bytes_of_many, work_of_many = _cost(found, name, source, most)
    for what, have, limit in (
        ("bytes of constants", folded, MAX_BYTES),
        (f"bytes for {FEW} images", bytes_of_few, MAX_BYTES),
        (f"multiplications for {FEW} images", work_of_few, MAX_MULTIPLICATIONS),
        # Of many no more than in proportion: what grows with the square of the images is refused.
        (f"bytes for {most} images", bytes_of_many, bytes_of_few * most // FEW),
        (f"multiplications for {most} images", work_of_many, work_of_few * most // FEW),
    ):
        if have > limit:
            raise refused(name, f"takes '{have}' {what}, over {limit}")
    return max(1, min(most, ROOM * most // max(1, bytes_of_many)))


def _cost(found: Outline, name: str, source: tuple[str, str, list[int]], count: int) -> tuple[int, int, int]:
    """Return for some images: bytes that follow from constants, the most bytes at a time of others, multiplications."""
    operator = ""
    try:
        tensors = {each["name"]: _constant(each) for each in found.tensors}
        must(len(tensors) == len(found.tensors) and source[0] not in tensors, "a name that stands for two tensors")
        constant = {"", *tensors}
        tensors[source[0]] = like(source[1], (count, *source[2]))
        last = {used: at for at, node in enumerate(found.nodes) for used in node.get("input_name", ())}
        folded = now = most = work = 0
        for at, node in enumerate(found.nodes):
            operator = f"{node.get('domain', '')}.{node.get('op_type', '')}".lstrip(".")
            must(operator in OPERATORS, "none of them has it")
            sources, names = node.get("input_name", []), node.get("output_name", [])
            must(all(sources[:1] if operator in MAY_OMIT else sources), "an input that is omitted")
            inputs = [tensors[each] if each else None for each in sources]
            given, more = _run(operator, _attributes(operator, node), inputs)
            for each, tensor in zip(names, given, strict=True):
                must(each and each not in tensors, "outputs that it cannot have")
                tensors[each] = tensor
            work += more
            if constant.issuperset(sources):
                constant |= set(names)
                folded += sum(each.nbytes for each in given)
                continue
            now += sum(each.nbytes for each in given)
            most = max(most, now)
            now -= sum(tensors[each].nbytes for each in {*sources, *names} - constant if last.get(each, at) <= at)
    except Exception as error:  # whatever a malformed node makes numpy say
        shown, why = ascii(operator)[1:-1][:60], ascii(str(error))[1:-1][:100]
        raise refused(name, f"has the operator '{shown}', which isn't as in our exports: {why}") from error
    return folded, most, work


def _constant(message: dict[str, Any]) -> Array:
    """Return a constant's array; ValueError where its content isn't of its shape."""
    kind, shape = np.dtype(KINDS[message.get("data_type", 0)]), [int(side) for side in _joined(message.get("dims"))]
    payload = message.get(PAYLOAD.get(kind.str[1:], "int32_data"))
    raw = message.get("raw_data", b"")
    numbers = _joined(payload) if kind.kind != "f" else np.empty(0)
    count = len(raw) // kind.itemsize if raw else len(numbers) if kind.kind != "f" else sum(payload or ())
    whole = not raw or not (payload or len(raw) % kind.itemsize)
    must(whole and count == math.prod(shape), "a constant that isn't of its shape")
    if kind.kind != "i" or count > MAX_WHOLE_NUMBERS:
        return like(kind, shape)
    return (np.frombuffer(raw, kind) if raw else numbers.astype(kind)).reshape(shape).copy()


def _joined(parts: list[Array] | None) -> Array:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _attributes(operator: str, node: dict[str, Any]) -> dict[str, Any]:
    """Return a node's attributes: numbers, lists of them, texts, arrays; of floats how many; ValueError for others."""
    found: dict[str, Any] = {}
    known = OPERATORS[operator][0].split()
    for each in node.get("attribute", ()):
        key = VALUES[each.get("type", 0)]
        must(each["name"] in known and each["name"] not in found, f"attribute {each['name']}")
        must(all(other not in each for other in VALUES.values() if other != key), "an attribute of two kinds")
        value = each.get(key, {"i": 0, "s": b"", "f": 0}.get(key))
        if key == "ints":
            value = _joined(value)
        elif key == "floats":
            value = sum(value or ())
        found[each["name"]] = _constant(value) if key == "tensor" else bytes(value) if key == "s" else value
    return found


def _run(operator: str, attributes: dict[str, Any], inputs: list[Array | None]) -> tuple[list[Array], int]:
    """Return an operator's outputs, and its multiplications."""
    given, work = OPERATORS[operator][1](attributes, *inputs), 0
    if isinstance(given, tuple):
        given, work = given
    outputs = given if isinstance(given, list) else [given]
    return outputs, int(work) + A_NUMBER * sum(each.size for each in (*inputs, *outputs) if each is not None)
