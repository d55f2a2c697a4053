"""An ONNX file's bytes to an outline of what is in it, without the `onnx` package and without running anything.

ONNX is a Protocol Buffers message (onnx.proto, `ModelProto`). This walks the wire format as far as a refusal needs:
field by field, by what a message may hold. Graphs within nodes, functions, external data and training information are
not among it, so nothing nests deeper than five messages.
Encoding: https://protobuf.dev/programming-guides/encoding.
"""

import functools
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import ModelError

ADVICE = "Give a model that 'tenfold export' wrote."
VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5  # the wire types; 3 and 4 are groups, which ONNX never had
MAX_FIELDS = 500_000  # outside runs; read in half a second. A forest of a million nodes has runs alone
MAX_PACKED, MAX_NUMBERS = 1 << 20, 64 << 20  # bytes of whole numbers in one field, and in all
EXTERNAL = 1  # TensorProto.DataLocation

# What each message may hold, as in onnx.proto: the number and the name of a field; "*" where it may be there repeatedly
# (of the others Protocol Buffers would merge or overwrite a second one, after we had looked at the first), "=" where
# it is kept, and after ":" its type where that is not bytes.
FIELDS = {
    "model": "1 ir_version=:int 2 producer_name 3 producer_version 4 domain 5 model_version:int 6 doc_string 7 graph= "
    "8 opset_import*= 14 metadata_props*=",
    "opset_import": "1 domain= 2 version=:int",
    "metadata_props": "1 key= 2 value=",
    "graph": "1 node*= 2 name 5 tensor*= 10 doc_string 11 input*= 12 output*= 13 value_info* "
    "14 quantization_annotation* 16 graph_metadata*",
    "node": "1 input_name*= 2 output_name*= 3 name 4 op_type= 5 attribute*= 6 doc_string 7 domain= 9 node_metadata*",
    "attribute": "1 name= 2 f=:float 3 i=:int 4 s=:raw 5 tensor= 7 floats*=:floats 8 ints*=:ints 9 strings*=:raw "
    "13 doc_string 20 type=:int",
    "tensor": "1 dims*=:ints 2 data_type=:int 4 float_data*=:floats 5 int32_data*=:ints 7 int64_data*=:ints 8 name= "
    "9 raw_data=:raw 10 double_data*=:doubles 12 doc_string 13 external_data* 14 data_location:int "
    "16 tensor_metadata*",
    "value_info": "1 name= 2 type= 3 doc_string 4 value_metadata*",
    "type": "1 tensor_type= 6 denotation",
    "tensor_type": "1 elem_type=:int 2 shape=",
    "shape": "1 dim*=",
    "dim": "1 dim_value=:int 2 dim_param= 3 denotation",
}
# The wire types of a field's type; a repeated number may be packed into one BYTES field.
TYPES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("bytes", "raw"), (BYTES,)), "int": (VARINT,), "ints": (VARINT, BYTES),
    "float": (FOUR,), "floats": (FOUR, BYTES), "doubles": (EIGHT, BYTES),
}  # fmt: skip
INSIDE = {name: name for name in FIELDS} | {"input": "value_info", "output": "value_info"}
FORBIDDEN = {
    ("model", 20): "training information",
    **dict.fromkeys((("model", 25), ("attribute", 21)), "functions of its own"),
    **dict.fromkeys((("graph", 15), ("attribute", 22), ("attribute", 23), ("type", 8)), "sparse tensors"),
    ("attribute", 6): "control flow (a graph in a node)",
    ("attribute", 11): "control flow (graphs in a node)",
    ("type", 4): "sequences",
    ("type", 5): "maps",
    ("type", 9): "optional values",
}
# A tree of a forest is written as millions of fields with the same tag: floats, ints and "LEAF" or "BRANCH_LEQ". These
# runs are read by one match each instead of a step a field: 0.1 s instead of 15 s for a forest of 52 MB.
RUNS = {
    0x3D: re.compile(rb"(?:\x3d.{4}){2,10000}+", re.DOTALL),
    0x40: re.compile(rb"(?:\x40[\x80-\xff]{0,9}+[\x00-\x7f]){2,10000}+"),
    0x4A: re.compile(rb"(?:\x4a(?:\x04.{4}|\x0a.{10})){2,10000}+", re.DOTALL),
}
MODES = re.compile(rb"\x4a(?:\x04(.{4})|\x0a(.{10}))", re.DOTALL)


class Field(NamedTuple):
    """A field that a message may have."""

    name: str
    kind: str
    wires: tuple[int, ...]
    once: bool
    kept: bool


@functools.cache
def fields_of(message: str) -> dict[int, Field]:
    """Return the fields that a message may have by their numbers."""
    fields = {}
    for number, name, repeated, kept, kind in re.findall(r"(\d+) (\w+)(\*?)(=?):?(\w*)", FIELDS[message]):
        fields[int(number)] = Field(name, kind or "bytes", TYPES[kind or "bytes"], not repeated, bool(kept))
    return fields


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output: its name, ONNX element type (1: float32, 2: uint8) and shape, with None where it is free."""

    name: str
    element: int
    shape: list[int | None] | None  # None where the model gives none


@dataclass(frozen=True, slots=True)
class Outline:
    """What a model consists of, as far as it decides whether the model may be run."""

    opsets: list[tuple[str, int]]  # (domain, version)
    nodes: list[dict[str, Any]]  # the messages as they are, with lists of whole numbers as arrays, of others how many
    tensors: list[dict[str, Any]]
    inputs: list[Value]
    outputs: list[Value]
    metadata: list[tuple[str, str]]


def refused(name: str, how: str) -> ModelError:
    """Return the ModelError for a model that is not as our exports are."""
    return ModelError(f"'{name}' {how}. {ADVICE}")


def outline(content: bytes, name: str) -> Outline:
    """Return what a model's bytes consist of. ModelError where they are not ONNX or hold what is never run."""
    if not content:
        raise refused(name, "is empty")
    walk = _Walk(content, name)
    model = walk.message("model", 0, len(content))
    if "graph" not in model:
        raise walk.broken("it has no graph")
    graph = model["graph"]
    return Outline(
        opsets=[(each.get("domain", ""), each.get("version", 0)) for each in model.get("opset_import", ())],
        nodes=graph.get("node", []),
        tensors=graph.get("tensor", []),
        inputs=[_value(each) for each in graph.get("input", ())],
        outputs=[_value(each) for each in graph.get("output", ())],
        metadata=[(each.get("key", ""), each.get("value", "")) for each in model.get("metadata_props", ())],
    )


def _value(message: dict[str, Any]) -> Value:
    tensor = message.get("type", {}).get("tensor_type", {})
    shape = [each.get("dim_value") for each in tensor["shape"].get("dim", ())] if "shape" in tensor else None
    return Value(message.get("name", ""), tensor.get("elem_type", 0), shape)


class _Walk:
    """One walk over the bytes, which counts the fields that it meets."""

    def __init__(self, content: bytes, name: str) -> None:
        self.content, self.name = content, name
        self.fields = self.numbers = 0

    def message(self, kind: str, start: int, end: int) -> dict[str, Any]:
        """Return what is kept of a message by name: numbers, texts, the messages inside; lists where it repeats."""
        table, seen, content, at = fields_of(kind), set(), self.content, start
        kept: dict[str, Any] = {}
        while at < end:
            if kind == "attribute" and (run := RUNS.get(content[at])) and (match := run.match(content, at, end)):
                self._keep_run(kept, match[0])
                at = match.end()
                continue
            self.fields += 1
            if self.fields > MAX_FIELDS:
                raise ModelError(f"'{self.name}' has more than '{MAX_FIELDS}' fields. Give a smaller model.")
            tag, at = self._varint(at, end)
            number, wire = tag >> 3, tag & 7
            if (kind, number) in FORBIDDEN:
                raise refused(self.name, f"holds '{FORBIDDEN[kind, number]}'")
            known = table.get(number)
            if known is None or wire not in known.wires:
                raise self.broken(f"its {kind.replace('_', ' ')} has an unknown field '{number}' at byte {at}")
            if known.once and number in seen:
                raise self.broken(f"its {kind.replace('_', ' ')} has two fields '{known.name}'")
            seen.add(number)
            first, integer = at, 0
            if wire == VARINT:
                integer, at = self._varint(at, end)
            elif wire == BYTES:
                length, first = self._varint(at, end)
                at = first + length
            else:
                at += 8 if wire == EIGHT else 4
            if at > end:
                raise self.broken(f"it breaks off at byte '{end}'")
            if known.name == "external_data" or (known.name == "data_location" and integer == EXTERNAL):
                raise refused(self.name, "keeps 'external data' in other files")
            value: Any = integer
            if wire == BYTES and known.name in INSIDE:
                value = self.message(INSIDE[known.name], first, at)
            elif known.kind == "ints":
                value = self._whole_numbers(content[first:at])
            elif known.kind in ("floats", "doubles"):
                value = (at - first) // (4 if known.kind == "floats" else 8)
            elif wire == BYTES and known.kept:
                value = memoryview(content)[first:at] if known.kind == "raw" else self._text(first, at)
            elif known.kind == "int":
                value = integer - (integer >> 63 << 64)  # negative ones have 64 bits
            if known.kept and known.once:
                kept[known.name] = value
            elif known.kept:
                kept.setdefault(known.name, []).append(value)
        return kept

    def _keep_run(self, kept: dict[str, Any], run: bytes) -> None:
        """Keep the fields of one tag of `RUNS`."""
        if run[0] == 0x3D:
            kept.setdefault("floats", []).append(len(run) // 5)
        elif run[0] == 0x40:
            kept.setdefault("ints", []).append(self._whole_numbers(run)[1::2])
        else:
            kept.setdefault("strings", []).extend(short or long for short, long in MODES.findall(run))

    def _whole_numbers(self, content: bytes) -> NDArray[np.int64]:
        """Return the numbers that varints are, one after the other."""
        self.numbers += len(content)
        if len(content) > MAX_PACKED or self.numbers > MAX_NUMBERS:
            raise ModelError(f"'{self.name}' has more than '{MAX_PACKED}' whole numbers. Give a smaller model.")
        bytes_ = np.frombuffer(content, np.uint8)
        ends = np.flatnonzero(bytes_ < 128)
        lengths = np.diff(ends, prepend=-1)
        longest = int(lengths.max(initial=0))
        if lengths.sum() < len(bytes_) or longest > 10:
            raise self.broken("it has no whole numbers where they belong")
        values = np.zeros(len(ends), np.uint64)
        for place in range(longest):
            inside = lengths > place
            bits = bytes_[(ends - lengths + 1 + place)[inside]] & 127
            values[inside] |= bits.astype(np.uint64) << np.uint64(7 * place)
        return values.view(np.int64)

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """Return the number that begins at a byte, and the byte after it."""
        value = shift = 0
        while at < end and shift < 70:
            byte = self.content[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & 0xFFFF_FFFF_FFFF_FFFF, at
            shift += 7
        raise self.broken(f"it has no whole number at byte '{at}'")

    def _text(self, start: int, end: int) -> str:
        try:
            return self.content[start:end].decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.broken(f"it has no text at byte '{start}'") from error

    def broken(self, how: str) -> ModelError:
        return refused(self.name, f"is not an ONNX model: {how}")
