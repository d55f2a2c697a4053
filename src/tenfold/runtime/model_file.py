"""A model file that somebody else made, opened only when it is what the exporter writes: bytes -> session and card.

Everything that can be refused is refused before onnxruntime sees a byte: other inputs and outputs, control flow,
functions, operators of other makers, files beside the model, sizes. What runs is then a plain graph of arithmetic.
The shipped models are found by their names, and have to be what their card says.
"""

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import ModelError
from tenfold.runtime.bounds import TREES, images_at_once
from tenfold.runtime.wire import ADVICE, Outline, Value, outline, refused

PRETRAINED = Path(__file__).parent.parent / "pretrained"
CARD = "card.json"
SHIPPED = {"shipped": "world.onnx", "world": "world.onnx", "tiny": "tiny.onnx"}


class Sizes(NamedTuple):
    """The axes of an answer, and the shape of a picture."""

    axes: int
    shape: list[int]


KEY, FORMAT = "tenfold", 1
MAX_CARD_BYTES = 4 << 20  # 100,000 held-out errors; our worst classical model has 750
MAX_BYTES = 64 << 20  # our largest, a random forest, has 52 MB
OPSETS = {"": range(17, 22), TREES: range(1, 6)}  # of ONNX's own operators, and of trees
UINT8, FLOAT = 2, 1  # onnx.TensorProto.DataType
# Of a network that reads: the axes of what it answers, and one picture of a size to try it with.
READING = {"lines": Sizes(3, [1, 32, 320]), "page": Sizes(4, [1, 256, 256])}
INPUT, PROBABILITIES, DIGIT_PROBABILITY = "images", "probabilities", "digit"
LOG_FATAL = 4


@dataclass(frozen=True, slots=True)
class Card:
    """A model's card, checked.

    name, recipe, precision ("fp32", "fp16" or "int8") as exported. threshold: the confidence from which it answers,
    where the user gives none. n: how many images were held out. held_out: for each of them that was read wrong,
    (confidence, how many held-out images have at least that confidence), by falling confidence.
    fields: the whole JSON object.
    """

    name: str
    recipe: str
    precision: str
    threshold: float
    n: int
    held_out: tuple[tuple[float, int], ...]
    fields: dict[str, Any]


def parse(text: str, model: str) -> Card:
    """Return the card that a model's metadata holds as JSON; ModelError where anything in it is not as it must be."""
    if len(text) > MAX_CARD_BYTES:
        raise _malformed(model, f"it has '{len(text)}' characters")
    try:
        fields = json.loads(text, parse_constant=int)  # a ValueError for NaN and Infinity, which JSON does not have
    except (ValueError, RecursionError) as error:
        raise _malformed(model, "it is not JSON") from error
    if not isinstance(fields, dict):
        raise _malformed(model, "it is no JSON object")
    if fields.get("format") != FORMAT or isinstance(fields["format"], bool):
        raise ModelError(
            f"'{model}' has a card of format '{_short(fields.get('format'))}'; this Tenfold reads {FORMAT}. "
            "Export the model again, or install the Tenfold that wrote it."
        )
    for key, kind in (("name", str), ("recipe", str), ("precision", str), ("data", dict), ("metrics", dict)):
        if not isinstance(fields.get(key), kind):
            raise _malformed(model, f"its '{key}' is '{_short(fields.get(key))}'")
    if fields["precision"] not in ("fp32", "fp16", "int8"):
        raise _malformed(model, f"its 'precision' is '{_short(fields['precision'])}'")
    if not _is_share(fields.get("threshold")):
        raise _malformed(model, f"its 'threshold' is '{_short(fields.get('threshold'))}'")
    n, errors = _held_out(fields.get("held_out"), model)
    name, recipe, precision = (fields[key] for key in ("name", "recipe", "precision"))
    return Card(name, recipe, precision, float(fields["threshold"]), n, errors, fields)


def _held_out(value: Any, model: str) -> tuple[int, tuple[tuple[float, int], ...]]:
    """Return how many images were held out, and the (confidence, answered) pairs of those read wrong."""
    if not isinstance(value, dict) or not _is_count(value.get("n")) or not isinstance(value.get("errors"), list):
        raise _malformed(model, f"its 'held_out' is '{_short(value)}'")
    n, pairs = value["n"], [(1.0, 0)]
    for number, pair in enumerate(value["errors"], start=1):
        confidence, answered = pairs[-1]
        good = isinstance(pair, list) and len(pair) == 2 and _is_share(pair[0]) and _is_count(pair[1])
        # Fewer errors than answers, both counted down to this confidence; equal confidences have equal counts.
        if not good or pair[0] > confidence or not max(number, answered) <= pair[1] <= n:
            raise _malformed(model, f"its held-out error {number} is '{_short(pair)}'")
        pairs.append((float(pair[0]), pair[1]))
    return n, tuple(pairs[1:])


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1  # not bool


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _short(value: Any) -> str:
    """Return a value as one short line."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # deep nesting, or a number of thousands of digits
        text = type(value).__name__
    return ascii(text)[1:-1][:60]


def _malformed(model: str, how: str) -> ModelError:
    return refused(model, f"has a malformed card: {how}")


@dataclass(frozen=True, eq=False, slots=True)
class Model:
    """An open model; its graph gives probabilities (N, 10), and perhaps (N,) that of being a digit at all.

    at_once: how many images to ask of it at a time, at most.
    """

    session: Any
    card: Card
    sha256: str
    has_digit_probability: bool
    outputs: tuple[str, ...]
    at_once: int

    def run(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Return the graph's outputs as they are; ModelError where onnxruntime fails."""
        try:
            answers: list[NDArray[np.float32]] = self.session.run(self.outputs, {INPUT: images})
        except Exception as error:  # onnxruntime's exceptions share no base
            raise refused(self.card.name, f"cannot be run: '{_first_line(error)}'") from error
        return answers


def open_model(path: Path, sha256: str | None = None) -> Model:
    """Return the model of a file. sha256: refuse any other content (64 hexadecimal digits).

    ModelError where it cannot be read, is not what the exporter writes (see `check`), or does not run.
    """
    with contextlib.suppress(OSError, ValueError):  # `read_model` says what is wrong with the path
        run = path if path.is_dir() else path.parent
        if path.suffix != ".onnx" and (run / "run.json").is_file():
            raise ModelError(f"'{path}' is a run's, and no model. Make one: tenfold export '{run}' --out model.onnx")
    content, _ = _content(path, sha256)
    return from_bytes(content, str(path))


def _content(path: Path, sha256: str | None) -> tuple[bytes, str]:
    """Return a model file's bytes and their SHA-256; ModelError where that is not the one expected."""
    content = read_model(path, MAX_BYTES)
    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and digest != sha256.lower():
        raise ModelError(f"'{path}' has the SHA-256 '{digest}', not the expected '{sha256}'. Get the file again.")
    return content, digest


@dataclass(frozen=True, slots=True)
class Reading:
    """An open network of rows or pages: `pixels` (N, 1, H, W) float32 in, `answers` out."""

    session: Any
    card: Card
    sha256: str


def open_reading(path: Path, kind: str, sha256: str | None = None, threads: int = 1) -> Reading:
    """Return the network of a file that `tenfold train lines` or `page` left in its run, of that `kind`.

    sha256: as of `open_model`. ModelError where it cannot be read, or is not what such a training leaves.
    """
    content, digest = _content(path, sha256)
    found = outline(content, str(path))
    check_opsets(found, str(path))
    wanted = READING[kind]
    have = [(value.name, value.element, len(value.shape or ())) for value in (*found.inputs, *found.outputs)]
    texts = [value for key, value in found.metadata if key == KEY]
    if have != [("pixels", FLOAT, 4), ("answers", FLOAT, wanted.axes)] or len(texts) != 1:
        raise refused(str(path), f"is no network of '{kind}', which `tenfold train {kind}` makes")
    images_at_once(found, str(path), ("pixels", "f4", wanted.shape), 8)
    return Reading(open_session(content, str(path), threads), parse(texts[0], str(path)), digest)


def from_bytes(content: bytes, name: str) -> Model:
    """Return the model of an exported file's bytes; `name` is what messages call it. ModelError as `open_model`."""
    card, at_once = check(content, name)
    session = open_session(content, name)
    outputs = tuple(value.name for value in session.get_outputs())
    model = Model(session, card, hashlib.sha256(content).hexdigest(), DIGIT_PROBABILITY in outputs, outputs, at_once)
    _try(model, name)
    return model


def check(content: bytes, name: str) -> tuple[Card, int]:
    """Return the card of a model that may be run, and on how many images at once, from its bytes alone.

    ModelError names what is not as the exporter writes it.
    """
    if len(content) > MAX_BYTES:
        raise ModelError(f"'{name}' has '{len(content)}' bytes. Give a model of at most {MAX_BYTES}.")
    found = outline(content, name)
    check_opsets(found, name)
    _check_signature(found, name)
    texts = [value for key, value in found.metadata if key == KEY]
    if len(texts) != 1:
        raise refused(name, f"has '{len(texts)}' cards (metadata '{KEY}'), not one")
    return parse(texts[0], name), images_at_once(found, name, (INPUT, "u1", [28, 28]))


def read_model(path: Path, most: int) -> bytes:
    """Return a file's bytes, `most` at most; ModelError where that is no file, is larger or cannot be read."""
    try:
        if not path.is_file():
            raise ModelError(f"There is no model at '{path}'. {ADVICE}")
        with path.open("rb") as file:
            content = file.read(most + 1)  # no more than tells that it is too large
        if len(content) > most:
            raise ModelError(f"'{path}' has over '{most}' bytes. Give a model of at most that.")
        return content
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"'{path}' cannot be read: {reason}. Check the path and its permissions.") from error


def check_opsets(found: Outline, name: str) -> None:
    opsets = dict(found.opsets)
    if len(opsets) != len(set(found.opsets)):
        raise refused(name, "names two versions of the same operators")
    for domain, version in opsets.items():
        if domain not in OPSETS:
            raise refused(name, f"needs the operators of '{_shown(domain)}'")
        if version not in OPSETS[domain]:
            opset = f"{domain or 'ai.onnx'} {version}"
            raise ModelError(f"'{name}' has the opset '{opset}'. Export it with opset 17 to 21.")
    if "" not in opsets:
        raise refused(name, "names no opset")


def _check_signature(found: Outline, name: str) -> None:
    outputs = [Value(PROBABILITIES, FLOAT, [None, 10]), Value(DIGIT_PROBABILITY, FLOAT, [None])]
    for what, have, want in (
        ("input", found.inputs, [Value(INPUT, UINT8, [None, 28, 28])]),
        ("output", found.outputs, outputs[: max(1, len(found.outputs))]),
    ):
        if have != want:
            shown, wanted = (", ".join(map(_signature, values[:4])) or "none" for values in (have, want))
            raise refused(name, f"has the {what}s '{_shown(shown)}', not '{wanted}'")


def _signature(value: Value) -> str:
    element = {UINT8: "uint8", FLOAT: "float32"}.get(value.element, f"type {value.element}")
    shape = "?" if value.shape is None else ", ".join("N" if side is None else str(side) for side in value.shape)
    return f"{value.name} {element}[{shape}]"


def open_session(content: bytes, name: str, threads: int = 1) -> Any:
    """Return onnxruntime's session, of one thread: several images are spread over threads by whoever calls it.

    Measured on two cores: a pool within the session makes one image slower (its threads have to be woken, or spin
    and burn a core when idle) and batches no faster than chunks side by side; and answers then depend on no count.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = LOG_FATAL  # what goes wrong is raised, and said once
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base
        raise refused(name, f"cannot be loaded: '{_first_line(error)}'") from error


def _try(model: Model, name: str) -> None:
    """Run two images, so that a graph that gives no probabilities is refused now and not with a user's images."""
    images = np.zeros((2, 28, 28), np.uint8)
    images[1, 4:24, 12:16] = 255
    answers = model.run(images)
    shapes, wanted = [answer.shape for answer in answers], [(2, 10), (2,)][: 1 + model.has_digit_probability]
    if shapes != wanted or any(answer.dtype != np.float32 for answer in answers):
        raise refused(name, f"gives arrays of '{shapes}', not {wanted}")
    low, high = min(float(answer.min()) for answer in answers), max(float(answer.max()) for answer in answers)
    total = answers[0].sum(axis=1)
    if not (-1e-3 <= low <= high <= 1 + 1e-3 and np.abs(total - 1).max() <= 1e-2):  # also NaN
        raise refused(name, f"gives values from '{low:g}' to '{high:g}', not probabilities")


def _first_line(error: Exception) -> str:
    return _shown(str(error).partition("\n")[0] or type(error).__name__)


def _shown(text: str) -> str:
    """Return text on one line of at most 200 printable characters."""
    return (text if text.isprintable() else ascii(text)[1:-1])[:200]


def model_path(model: str | Path | None) -> Path:
    """Return the file of a model: of a shipped one by its name (None, "shipped", "tiny"), else the path itself.

    ModelError where the shipped one is not there.
    """
    name = SHIPPED.get("shipped" if model is None else str(model))
    if name is None:
        return Path(str(model))
    path = PRETRAINED / name
    if not path.is_file():
        raise ModelError(f"The shipped model '{name}' is not installed. Give the path of one: tenfold export RUN.")
    return path


def expected_sha256(path: Path) -> str | None:
    """Return the SHA-256 that the card gives of a shipped model's file; None for any other file.

    ModelError where the card is not as it was shipped.
    """
    if path.parent != PRETRAINED:
        return None
    card = PRETRAINED / CARD
    try:
        return str(json.loads(card.read_text(encoding="utf-8"))["models"][path.name]["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"'{card}' does not say what '{path.name}' must be. Install Tenfold again.") from error
