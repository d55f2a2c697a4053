"""A run as one ONNX graph, from pixels to calibrated probabilities; what `tenfold export` proves and writes."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tenfold.data.digits import Digits
from tenfold.graphs.whole_graphs import calibrated, classical
from tenfold.models.estimator_graphs import chained
from tenfold.runs.begin import same_data

if TYPE_CHECKING:
    from onnx import ModelProto
    from rich.console import Console

    from tenfold.runs.estimator import DigitClassifier
    from tenfold.runs.run import Run


def run_graph(classifier: "DigitClassifier") -> "ModelProto":
    """Return the graph of a trained classifier on the processor: `images` in, `probabilities` and maybe `digit` out."""
    if classifier.model_ is not None:
        graph = classical(classifier.model_)
    else:
        from tenfold.graphs.network_graph import network

        assert classifier.module_ is not None
        graph = network(classifier.module_, classifier.recipe_.prediction.shifts)
    whole = calibrated(graph, classifier.temperature_) if classifier.temperature_ != 1 else chained(graph)
    _state_shapes(whole)
    return whole


def _state_shapes(graph: "ModelProto") -> None:
    """Write out what goes in and comes out: the links of a chain know it by the letters of their own texts."""
    from onnx import TensorProto, helper

    shapes: dict[str, list[str | int | None]] = {"probabilities": ["N", 10], "digit": ["N"]}
    outputs = [
        helper.make_tensor_value_info(output.name, TensorProto.FLOAT, shapes[output.name])
        for output in graph.graph.output
    ]
    del graph.graph.input[:], graph.graph.output[:]
    graph.graph.input.append(helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 28, 28]))
    graph.graph.output.extend(outputs)


def held_out_and_training(run: "Run", console: "Console") -> tuple[Digits, NDArray[np.uint8]]:
    """Return the images that the run held out, labelled, and those that it was trained on, (N, 28, 28) uint8.

    Raises DataError where the run's data are not to be had, RunError where they are no longer the same.
    """
    digits = same_data(run, (), console)
    held_out = run.held_out()
    kept = np.setdiff1d(np.arange(len(digits)), held_out)
    return digits.take(held_out), digits.images[kept]
