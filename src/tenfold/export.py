"""Run -> model.onnx, proven equal: one file that answers as the run does, wherever onnxruntime runs, without torch.

Or run -> model.h, for a run in whole numbers: the same in C, for a microcontroller.

The graph takes pixels and gives calibrated probabilities; features, test-time shifts and temperature are inside. Before
it is written, it has answered every image of the test set, one, two, seven and 64 at a time, as the run itself does.
Labels of test sets are never looked at.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data import load
from tenfold.data import names as sources
from tenfold.errors import DataError, ExportError
from tenfold.files import write_atomically
from tenfold.graphs import model_card, parity
from tenfold.runs.provenance import training_specs

if TYPE_CHECKING:
    from onnx import ModelProto
    from rich.console import Console

    from tenfold.runs.estimator import DigitClassifier
    from tenfold.runs.run import Run
    from tenfold.runtime.model_file import Model

SUFFIX, HEADER = ".onnx", ".h"
HEADER_IMAGES = 500  # that the whole numbers of a header are compared on, in numpy, which takes seconds
CALIBRATION_IMAGES = 256  # of the training, whose activations give an 8-bit graph its ranges
PASSES = 3  # over the held-out images, in turn, when two graphs' speeds are compared


def export(
    run: Path, out: Path, *, data: str | None = None, int8: bool = False, force: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Return what was written to `out`, one ONNX file or C header, and how it was proven.

    run: a folder that `train` wrote. data: images to compare on, a name or a path; by default MNIST's test images, or,
    where those are not on this machine, what the run's own data have. int8: in whole numbers of eight bits, which is
    measured on the run's held-out images in place of being proven equal. force: replace a file that is there.
    Keys: run, out, bytes, sha256, opset, parameters, precision, threshold, data, images (compared),
    largest_difference (of any probability), ties (images whose two best digits are tied, of which the graph names the
    other), seconds and images_per_second (by batch size; on one thread), int8 (None, or accuracy, fp32_accuracy, n,
    agreement and images_per_second, fp32_images_per_second by batch size). Of a header, which a name in .h asks for:
    run, out, bytes, sha256, parameters, precision, data, images, largest_difference and ties as above, weight_bytes
    and buffer_bytes.
    Raises ExportError where the graph does not answer as the run does, RunError for a folder that is no run or has no
    weights, DataError for data that cannot be read.
    """
    from rich.console import Console

    from tenfold.runs.run import Run

    console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
    opened = Run.open(run)
    _check_out(out, opened, force)
    if out.suffix == HEADER:
        return _export_header(opened, out, data, int8, console)
    if int8:
        _check_int8(opened)
    from tenfold.runs.estimator import from_run

    classifier = from_run(opened, "cpu")
    spec, images = _compared(opened, data)
    content, graph = _build(opened, classifier, console)
    with console.status(f"Comparing {len(images):,} images at batch sizes {', '.join(map(str, parity.BATCHES))}"):
        first, again = _session(content, out), _session(content, out)
        proof = parity.prove(first.run, again.run, images, _expected(classifier, images, first), spec)
    figures = None
    if int8:
        content, figures = _quantise(opened, classifier, graph, images, proof, out, console)
    _write(out, content)
    result = {
        "run": str(opened.path),
        "out": str(out),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "opset": next(opset.version for opset in graph.opset_import if not opset.domain),
        "parameters": _parameters(classifier),
        "precision": "int8" if int8 else "fp32",
        "threshold": _session(content, out).card.threshold,
        "data": spec,
        "images": proof.images,
        "largest_difference": proof.largest_difference,
        "ties": [index + 1 for index in proof.ties],
        "seconds": {str(batch): round(seconds, 4) for batch, seconds in proof.seconds.items()},
        "images_per_second": {
            str(batch): round(proof.images / max(seconds, 1e-9), 1) for batch, seconds in proof.seconds.items()
        },
        "int8": figures,
    }
    for line in describe(result):
        console.print(line, markup=False)
    return result


def describe(result: dict[str, Any]) -> list[str]:
    """Return what people are told of an export, line by line."""
    speed = result["images_per_second"]
    lines = [
        f"The fp32 graph answers {result['images']:,} images of {result['data']} as the run does: no probability "
        f"differs by more than {result['largest_difference']:.1g}, at batch sizes {', '.join(speed)}."
    ]
    if result["ties"]:
        lines.append(
            f"{len(result['ties'])} of them have two best digits within {parity.TIE:g}, of which the graph names the "
            "other one; the run's own answer to them changes with how many are asked at a time."
        )
    lines.append(f"On one thread: {speed['1']:,.0f} images a second one by one, {speed['64']:,.0f} in batches of 64.")
    if (int8 := result["int8"]) is not None:
        lines += _describe_int8(int8)
    lines.append(f"Wrote {result['out']}: {result['bytes'] / 1e6:.2f} MB, it answers from {result['threshold']:.4g} on")
    return lines


def _describe_int8(figures: dict[str, Any]) -> list[str]:
    lines = [
        f"int8 reads {100 * figures['accuracy']:.2f}% of {figures['n']:,} held-out images rightly, fp32 "
        f"{100 * figures['fp32_accuracy']:.2f}%; of the images compared it answers {100 * figures['agreement']:.2f}% "
        "as fp32 does."
    ]
    for batch, speed in figures["images_per_second"].items():
        before = figures["fp32_images_per_second"][batch]
        word = "faster" if speed > before else "SLOWER"
        lines.append(f"In batches of {batch} int8 is {word}: {speed:,.0f} images a second, fp32 {before:,.0f}.")
    return lines


def _check_out(out: Path, run: "Run", force: bool) -> None:
    """Raise ExportError where nothing can or should be written to `out`, before time is spent."""
    if out.suffix not in (SUFFIX, HEADER):
        raise ExportError(f"'{out}' does not end in {SUFFIX} or {HEADER}. Give --out a name such as 'model{SUFFIX}'.")
    if not out.parent.is_dir():
        raise ExportError(f"'{out.parent}' is no folder. Make it, or give --out another file.")
    if out.is_dir():
        raise ExportError(f"'{out}' is a folder. Give --out a file.")
    if out.exists() and run.recipe.classical and out.samefile(run.path / "model.onnx"):
        raise ExportError(f"'{out}' is what the run itself answers with. Give --out another file.")
    if out.exists() and not force:
        raise ExportError(f"'{out}' exists already. Give --out another file, or add --force.")


def _check_int8(run: "Run") -> None:
    """Raise ExportError for a run that cannot be quantised, or whose loss could not be measured."""
    if run.recipe.classical:
        raise ExportError(
            f"'{run.recipe.model.kind}' is no network, and --int8 is for networks alone. Leave --int8 away."
        )
    if not len(run.held_out()):
        raise ExportError(
            f"'{run.path}' held out '0' images, so what --int8 costs cannot be measured. Leave --int8 away, or train "
            "with data.validation above 0."
        )


def _compared(run: "Run", data: str | None) -> tuple[str, NDArray[np.uint8]]:
    """Return the name of the images to compare on, and those, (N, 28, 28) uint8."""
    spec = data or _default_data(run)
    images = load(spec, "submit").images
    if not len(images):
        raise DataError(f"'{spec}' holds '0' images. Give at least one to compare on.")
    return spec, images


def _default_data(run: "Run") -> str:
    """Return mnist:test where that is on this machine, or the test part or path of the run's own data that is."""
    if sources.find("mnist", "test") is not None:
        return "mnist:test"
    for spec in training_specs(run.manifest):
        named = sources.parse(spec)
        if named is None and Path(spec).expanduser().exists():
            return spec
        if named is not None and sources.available(named[0]):
            return f"{named[0]}:test"
    raise DataError(
        f"Neither 'mnist:test' nor the run's own '{run.manifest['data']['spec']}' is on this machine. "
        "Give images to compare on with --data."
    )


def _build(run: "Run", classifier: "DigitClassifier", console: "Console") -> "tuple[bytes, ModelProto]":
    """Return the bytes of the run's graph with its card, and the graph."""
    from tenfold.graphs.run_graph import held_out_and_training, run_graph

    graph = run_graph(classifier)
    validation = run.validation() or {}
    labels, probabilities, digit = (validation.get(name) for name in ("labels", "probabilities", "digit"))
    if labels is not None and digit is None and len(graph.graph.output) > 1:
        held_out, _ = held_out_and_training(run, console)
        labels = held_out.labels
        probabilities, digit = classifier.answer(held_out.images)
    card = model_card.card(run, "fp32", classifier.temperature_, labels, probabilities, digit)
    return with_card(graph, card), graph


def _export_header(run: "Run", out: Path, data: str | None, int8: bool, console: "Console") -> dict[str, Any]:
    """Return what was written to `out`, a C header, once its whole numbers have answered as the run does.

    No compiler is needed: they are asked in numpy.
    """
    from tenfold.graphs.c_header import buffers, c_header
    from tenfold.models.blocks import shift_offsets
    from tenfold.models.integer_network import ADVICE, taken_apart

    if int8:
        raise ExportError(f"'{out}' is in whole numbers of eight bits anyway. Leave --int8 away.")
    if run.recipe.classical:
        raise ExportError(f"'{run.recipe.model.kind}' is no network, and a header needs one. {ADVICE}")
    from tenfold.runs.estimator import from_run

    classifier = from_run(run, "cpu")
    assert classifier.module_ is not None
    network = taken_apart(
        classifier.module_, shift_offsets(run.recipe.prediction.shifts), float(classifier.temperature_)
    )
    spec, images = _compared(run, data)
    images = images[:HEADER_IMAGES]
    with console.status(f"Comparing {len(images):,} images"):
        answers, expected = network.probabilities, [classifier.predict_proba(images)]
        proof = parity.prove(lambda part: [answers(part)], lambda part: [answers(part)], images, expected, spec)
    validation = run.validation() or {}
    labels, probabilities = validation.get("labels"), validation.get("probabilities")
    card = model_card.card(run, "int8", classifier.temperature_, labels, probabilities)
    content = c_header(network, card).encode("ascii")
    _write(out, content)
    result = {
        "run": str(run.path),
        "out": str(out),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "parameters": _parameters(classifier),
        "precision": "int8",
        "data": spec,
        "images": proof.images,
        "largest_difference": proof.largest_difference,
        "ties": [index + 1 for index in proof.ties],
        "weight_bytes": network.weights,
        "buffer_bytes": buffers(network),
    }
    for line in (
        f"The whole numbers answer {proof.images:,} images of {spec} as the run does: no probability differs by more "
        f"than {proof.largest_difference:.1g}.",
        f"Wrote {out}: {network.weights:,} bytes of weights, {result['buffer_bytes']:,} bytes of buffers",
    ):
        console.print(line, markup=False)
    return result


def with_card(graph: "ModelProto", card: dict[str, Any]) -> bytes:
    """Return the bytes of a graph with this card; equal graphs and cards give equal bytes."""
    from onnx import helper

    helper.set_model_props(graph, {"tenfold": json.dumps(card, sort_keys=True, allow_nan=False)})
    return bytes(graph.SerializeToString(deterministic=True))


def _session(content: bytes, out: Path) -> "Model":
    """Return the model as the runtime opens it, which refuses what is not as an exported model has to be."""
    from tenfold.errors import ModelError
    from tenfold.runtime.model_file import from_bytes

    try:
        return from_bytes(content, out.name)
    except ModelError as error:
        raise ExportError(f"The graph is none that can be used: {error}") from error


def _expected(classifier: "DigitClassifier", images: NDArray[np.uint8], model: "Model") -> "list[NDArray[np.float32]]":
    """Return what the run itself answers, output by output of the graph."""
    return list(classifier.answer(images)) if model.has_digit else [classifier.predict_proba(images)]


def _quantise(
    run: "Run",
    classifier: "DigitClassifier",
    graph: "ModelProto",
    images: NDArray[np.uint8],
    proof: parity.Parity,
    out: Path,
    console: "Console",
) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes of the graph in 8 bits, and what was measured of it beside the fp32 graph."""
    from tenfold.graphs.quantise import quantised
    from tenfold.graphs.run_graph import held_out_and_training

    held_out, training = held_out_and_training(run, console)
    labels = held_out.labels
    assert labels is not None
    chosen = np.random.default_rng(run.manifest["seed"]).permutation(len(training))[:CALIBRATION_IMAGES]
    with console.status(f"Measuring the ranges of {len(chosen):,} training images"):
        small = quantised(graph, training[np.sort(chosen)])
    draft = model_card.card(run, "int8", classifier.temperature_, None, None)
    models = {"int8": _session(with_card(small, draft), out), "fp32": _session(graph.SerializeToString(), out)}
    answers, speeds = _side_by_side(models, held_out.images)
    accuracies = {name: float((answer[0].argmax(1) == labels).mean()) for name, answer in answers.items()}
    measured = {"accuracy": accuracies["int8"], "fp32_accuracy": accuracies["fp32"], "n": len(labels)}
    probabilities, *digit = answers["int8"]
    card = model_card.card(run, "int8", classifier.temperature_, labels, probabilities, digit[0] if digit else None)
    content = with_card(small, card | {"int8": measured})
    given, _ = parity.timed(_session(content, out).run, images, parity.BATCHES[-1])
    agreement = float((given[0].argmax(1) == proof.answers[0].argmax(1)).mean())
    return content, measured | {
        "agreement": agreement,
        "images_per_second": speeds["int8"],
        "fp32_images_per_second": speeds["fp32"],
    }


def _side_by_side(
    models: "dict[str, Model]", images: NDArray[np.uint8]
) -> "tuple[dict[str, list[NDArray[np.float32]]], dict[str, dict[str, float]]]":
    """Return each model's answers to the images, and its images a second by batch size: the best of passes in turn."""
    answers: dict[str, list[NDArray[np.float32]]] = {}
    speeds: dict[str, dict[str, float]] = {name: {} for name in models}
    for batch in (1, parity.BATCHES[-1]):
        for _ in range(PASSES):
            for name, model in models.items():
                answers[name], seconds = parity.timed(model.run, images, batch)
                speed = round(len(images) / max(seconds, 1e-9), 1)
                speeds[name][str(batch)] = max(speed, speeds[name].get(str(batch), 0.0))
    return answers, speeds


def _parameters(classifier: "DigitClassifier") -> int:
    """Return how many numbers were fitted."""
    if classifier.model_ is not None:
        return classifier.model_.parameters
    assert classifier.module_ is not None
    return sum(parameter.numel() for parameter in classifier.module_.parameters())


def _write(out: Path, content: bytes) -> None:
    try:
        write_atomically(out, content)
    except OSError as error:
        raise ExportError(f"'{out}' cannot be written: {error.strerror}. Give --out another file.") from None
