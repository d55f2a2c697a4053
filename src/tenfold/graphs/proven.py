"""A run -> the content of a file for other programs, once that has answered as the run does: ONNX, 8 bits, or C."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.console import PlainConsole
from tenfold.data.digits import Digits
from tenfold.errors import ExportError, ModelError
from tenfold.graphs import run_graph
from tenfold.graphs.c_header import buffers, c_header
from tenfold.graphs.exported import EightBits, ExportedGraph, ExportedHeader
from tenfold.graphs.model_card import HeldOut, card_of
from tenfold.graphs.quantise import quantised
from tenfold.models.blocks import shift_offsets
from tenfold.models.integer_network import taken_apart
from tenfold.runs.begin import same_data
from tenfold.runs.run import Run
from tenfold.runtime.model_file import Model, from_bytes

if TYPE_CHECKING:
    from onnx import ModelProto

    from tenfold.runs.estimator import DigitClassifier

Floats = NDArray[np.float32]
Answer = Callable[[NDArray[np.uint8]], Sequence[Floats]]  # -> probabilities (N, 10), perhaps digit_probability (N,)

BATCHES = (1, 2, 7, 64)
TOLERANCE = 1e-4
# Where a classifier's own two best digits are as near as this, its answer is the last bit's: it changes with how many
# images are asked at a time, and with the number of threads that add up a forest's votes.
TIE = 1e-6
HEADER_IMAGES = 500  # that the whole numbers of a header are compared on: one at a time too, which takes seconds
CALIBRATION_IMAGES = 256  # of the training, whose activations give an 8-bit graph its ranges
PASSES = 3  # over the held-out images, in turn, when two graphs' speeds are compared
ADVICE = "Nothing is written. Train the run again, or report this with its recipe.toml."


@dataclass(frozen=True)
class Parity:
    """What was compared, and how near it was.

    images: how many. largest_difference: of any probability, at any batch size. ties: indices of images whose best two
    digits are tied within TIE, where the graph named the other one. seconds: by batch size, for all images.
    answers: the graph's, at the largest batch.
    """

    images: int
    largest_difference: float
    ties: list[int]
    seconds: dict[int, float]
    answers: Sequence[Floats]


def prove(answer: Answer, again: Answer, images: NDArray[np.uint8], expected: Sequence[Floats], spec: str) -> Parity:
    """Return the comparison of a graph's answers with those expected, for images (N, 28, 28) uint8.

    answer, again: the graph, loaded twice. expected: probabilities (N, 10), and digit (N,) where the graph gives it.
    spec: what messages call the images. Raises ExportError naming the worst image where a probability is off by more
    than TOLERANCE, where another digit is the best without being tied with the first, or where the second load
    answers otherwise.
    """
    largest, ties, seconds = 0.0, set[int](), {}
    answers: Sequence[Floats] = []
    for batch in BATCHES:
        answers, seconds[batch] = timed(answer, images, batch)
        largest = max(largest, _check_near(answers, expected, spec, batch))
        ties |= _check_best(answers[0], expected[0], spec, batch)
    repeated, _ = timed(again, images, BATCHES[-1])
    if any(not np.array_equal(first, second) for first, second in zip(answers, repeated, strict=True)):
        raise ExportError(
            f"The graph answers '{spec}' otherwise when it is loaded again. Nothing is written; please report this."
        )
    return Parity(len(images), largest, sorted(ties), seconds, answers)


def timed(answer: Answer, images: NDArray[np.uint8], batch: int) -> tuple[list[Floats], float]:
    """Return the answers to all images, asked so many at a time, and the seconds that took."""
    began = time.perf_counter()
    parts = [answer(images[start : start + batch]) for start in range(0, len(images), batch)]
    seconds = time.perf_counter() - began
    return [np.concatenate(column) for column in zip(*parts, strict=True)], seconds


def _check_near(answers: Sequence[Floats], expected: Sequence[Floats], spec: str, batch: int) -> float:
    """Return the largest difference of any probability; ExportError where it is above TOLERANCE, or no number."""
    largest = 0.0
    for have, want in zip(answers, expected, strict=True):
        if have.shape != want.shape:
            raise ExportError(f"The graph answers with shape '{have.shape}', the run with '{want.shape}'. {ADVICE}")
        difference = np.abs(have.astype(np.float64) - want).reshape(len(want), -1).max(1)
        worst = int(np.nan_to_num(difference, nan=np.inf).argmax())
        if not difference[worst] <= TOLERANCE:  # also NaN
            raise ExportError(
                f"The graph does not answer as the run does: image '{worst + 1}' of '{spec}', in batches of {batch}, "
                f"differs by '{difference[worst]:.2g}', above {TOLERANCE:g}. {ADVICE}"
            )
        largest = max(largest, float(difference[worst]))
    return largest


def _check_best(have: Floats, want: Floats, spec: str, batch: int) -> set[int]:
    """Return the images of which another digit is best, though tied with the run's; ExportError where one is not."""
    digits, wanted = have.argmax(1), want.argmax(1)
    others = np.flatnonzero(digits != wanted)
    gaps = want[others, wanted[others]] - want[others, digits[others]]
    if (gaps > TIE).any():
        worst = others[gaps.argmax()]
        raise ExportError(
            f"The graph reads image '{worst + 1}' of '{spec}', in batches of {batch}, as '{digits[worst]}' and the run "
            f"as '{wanted[worst]}': a near tie, {gaps.max():.2g} apart, that rounding decides. {ADVICE}"
        )
    return set(others.tolist())


@dataclass(frozen=True)
class Subject:
    """A run, the classifier that it holds, on the processor, and the images (N, 28, 28) uint8 to compare on.

    spec: what messages call the images. out: where the content will be written.
    """

    run: Run
    classifier: "DigitClassifier"
    spec: str
    images: NDArray[np.uint8]
    out: Path

    def card(self, precision: str, held_out: HeldOut | None) -> dict[str, Any]:
        """Return the card of a file of that precision."""
        return card_of(self.run, precision, self.classifier.temperature_, held_out)

    def facts(self, content: bytes, precision: str, proof: Parity) -> dict[str, Any]:
        """Return the fields of Exported."""
        return {
            "run": str(self.run.path),
            "out": str(self.out),
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "parameters": self.run.manifest["parameters"],
            "precision": precision,
            "data": self.spec,
            "images": proof.images,
            "largest_difference": proof.largest_difference,
            "ties": [index + 1 for index in proof.ties],
        }


def proven_header(subject: Subject, console: PlainConsole) -> tuple[bytes, ExportedHeader]:
    """Return the content of a C header, the run's whole numbers; no compiler is needed, PyTorch asks them.

    Raises ExportError where there are none, or where they do not answer as the run does.
    """
    classifier = subject.classifier
    assert classifier.module_ is not None
    shifts = shift_offsets(classifier.recipe_.prediction.shifts)
    network = taken_apart(classifier.module_, shifts, float(classifier.temperature_))
    images = subject.images[:HEADER_IMAGES]

    def answer(batch: NDArray[np.uint8]) -> list[Floats]:
        return [network.probabilities(batch)]

    with console.working(f"Comparing {len(images):,} images"):
        proof = prove(answer, answer, images, [classifier.answer(images)[0]], subject.spec)
    card = subject.card("int8", _held_out_answers(subject, False, console))
    content = c_header(network, card).encode("ascii")
    facts = subject.facts(content, "int8", proof)
    return content, ExportedHeader(**facts, weight_bytes=network.weights, buffer_bytes=buffers(network))


def proven_graph(subject: Subject, int8: bool, console: PlainConsole) -> tuple[bytes, ExportedGraph]:
    """Return the content of an ONNX file: the run's graph, in fp32 or 8 bits.

    Raises ExportError where it does not answer as the run does in fp32; DataError and RunError where the run's data
    are needed and are not to be had.
    """
    graph = run_graph.run_graph(subject.classifier)
    outputs = len(graph.graph.output)
    card = subject.card("fp32", _held_out_answers(subject, outputs > 1, console))
    content = _with_card(graph, card)
    images = subject.images
    with console.working(f"Comparing {len(images):,} images at batch sizes {', '.join(map(str, BATCHES))}"):
        first, again = _opened(content, subject), _opened(content, subject)
        proof = prove(first.run, again.run, images, subject.classifier.answer(images)[:outputs], subject.spec)
    figures = None
    if int8:
        content, card, figures = _eight_bits(subject, content, proof, console)
    return content, ExportedGraph(
        **subject.facts(content, card["precision"], proof),
        opset=next(opset.version for opset in graph.opset_import if not opset.domain),
        threshold=card["threshold"],
        seconds={str(batch): round(seconds, 4) for batch, seconds in proof.seconds.items()},
        images_per_second={str(batch): _speed(images, seconds) for batch, seconds in proof.seconds.items()},
        int8=figures,
    )


def _eight_bits(
    subject: Subject, whole: bytes, proof: Parity, console: PlainConsole
) -> tuple[bytes, dict[str, Any], EightBits]:
    """Return a proven graph in 8 bits: its content, its card, and what was measured of it beside the fp32 graph."""
    held_out, training = _held_out_and_training(subject.run, console)
    labels = held_out.labels
    assert labels is not None
    chosen = np.random.default_rng(subject.run.manifest["seed"]).permutation(len(training))[:CALIBRATION_IMAGES]
    with console.working(f"Measuring the ranges of {len(chosen):,} training images"):
        small = quantised(whole, training[np.sort(chosen)])
    draft = _opened(_with_card(small, subject.card("int8", None)), subject)
    answers, speeds = _side_by_side({"int8": draft, "fp32": _opened(whole, subject)}, held_out.images)
    right = {precision: float((answer[0].argmax(1) == labels).mean()) for precision, answer in answers.items()}
    measured: dict[str, Any] = {"accuracy": right["int8"], "fp32_accuracy": right["fp32"], "n": len(labels)}
    card = subject.card("int8", HeldOut(labels, *answers["int8"])) | {"int8": measured}
    content = _with_card(small, card)
    given, _ = timed(_opened(content, subject).run, subject.images, BATCHES[-1])
    agreement = float((given[0].argmax(1) == proof.answers[0].argmax(1)).mean())
    figures = EightBits(
        **measured, agreement=agreement, images_per_second=speeds["int8"], fp32_images_per_second=speeds["fp32"]
    )
    return content, card, figures


def _held_out_answers(subject: Subject, knows_no_digit: bool, console: PlainConsole) -> HeldOut | None:
    """Return the run's answers to what it held out; None where that is nothing.

    They stand in its folder; but older runs did not note how probably an image is a digit, and are asked again.
    """
    kept = subject.run.validation() or {}
    if "labels" not in kept or "probabilities" not in kept:
        return None
    if not knows_no_digit or "digit_probability" in kept:
        return HeldOut(kept["labels"], kept["probabilities"], kept.get("digit_probability"))
    held_out, _ = _held_out_and_training(subject.run, console)
    assert held_out.labels is not None
    return HeldOut(held_out.labels, *subject.classifier.answer(held_out.images))


def _held_out_and_training(run: Run, console: PlainConsole) -> tuple[Digits, NDArray[np.uint8]]:
    """Return the images that the run held out, labelled, and those that it was trained on, (N, 28, 28) uint8.

    Raises DataError where the run's data are not to be had, RunError where they are no longer the same.
    """
    digits = same_data(run, (), console)
    held_out = run.held_out()
    return digits.take(held_out), np.delete(digits.images, held_out, axis=0)


def _with_card(graph: "ModelProto", card: dict[str, Any]) -> bytes:
    """Return the bytes of a graph with this card; equal graphs and cards give equal bytes."""
    from onnx import helper

    helper.set_model_props(graph, {"tenfold": json.dumps(card, sort_keys=True, allow_nan=False)})
    return bytes(graph.SerializeToString(deterministic=True))


def _opened(content: bytes, subject: Subject) -> Model:
    """Return the model as the runtime opens it, which refuses what is not as an exported model has to be."""
    try:
        return from_bytes(content, subject.out.name)
    except ModelError as error:
        raise ExportError(f"The graph is none that can be used: {error}") from error


def _side_by_side(
    models: dict[str, Model], images: NDArray[np.uint8]
) -> tuple[dict[str, list[Floats]], dict[str, dict[str, float]]]:
    """Return each model's answers to the images, and its images a second by batch size: the best of passes in turn."""
    answers: dict[str, list[Floats]] = {}
    speeds: dict[str, dict[str, float]] = {name: {} for name in models}
    for batch in (1, BATCHES[-1]):
        for _ in range(PASSES):
            for name, model in models.items():
                answers[name], seconds = timed(model.run, images, batch)
                speeds[name][str(batch)] = max(_speed(images, seconds), speeds[name].get(str(batch), 0.0))
    return answers, speeds


def _speed(images: NDArray[np.uint8], seconds: float) -> float:
    return round(len(images) / max(seconds, 1e-9), 1)
