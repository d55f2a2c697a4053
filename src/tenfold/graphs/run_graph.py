"""A run as one ONNX graph, from pixels to calibrated probabilities: `images` (N, 28, 28) uint8 in, (N, 10) out."""

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tenfold.models.blocks import shift_offsets, shifted
from tenfold.models.features import Features
from tenfold.models.fitted import OPSETS, chained, described

if TYPE_CHECKING:
    from onnx import ModelProto

    from tenfold.models.classical import Classical
    from tenfold.runs.estimator import DigitClassifier

DIGITS = 10
OPERATORS = {"offset": "Sub", "scale": "Mul", "components": "MatMul"}  # by what features learned

# Laplace's rule, as Classical has it: one vote more, spread over the ten digits.
SMOOTH = """
smooth (float[N, K] shares) => (float[N, K] probabilities) {
    votes = Mul(shares, count)
    with_another = Add(votes, tenth)
    probabilities = Div(with_another, count_and_one)
}
"""

# In double precision, as `tenfold.metrics.scores.sharpen`: whether two digits are tied is decided in the last bit.
SHARPEN = """
sharpen (float[N, K] shares) => (float[N, K] probabilities) {
    exact = Cast <to = 11> (shares)
    positive = Max(exact, least)
    logarithm = Log(positive)
    cooled = Div(logarithm, temperature)
    powers = Softmax <axis = 1> (cooled)
    probabilities = Cast <to = 1> (powers)
}
"""


def run_graph(classifier: "DigitClassifier") -> "ModelProto":
    """Return the graph of a trained classifier on the processor: `images` in, `probabilities` and maybe `digit` out."""
    if classifier.model_ is not None:
        graph = classical(classifier.model_)
    else:
        assert classifier.module_ is not None
        graph = network(classifier.module_, classifier.recipe_.prediction.shifts)
    whole = calibrated(graph, classifier.temperature_) if classifier.temperature_ != 1 else chained(graph)
    _state_shapes(whole)
    return whole


class AnsweringNetwork(nn.Module):
    """What a recogniser answers, from a network's logits: pixels scaled, shifts averaged.

    network: in evaluation mode, on the processor.
    radius: average over shifts of up to so many pixels, as `tenfold.training.predict.answer`.
    Gives probabilities, (N, 10), not yet calibrated; and, for a network of eleven logits, the last of which stands for
    what is no digit, the probability (N,) that the image is one.
    """

    def __init__(self, network: nn.Module, radius: int = 0) -> None:
        super().__init__()
        self.network = network
        self.radius = radius
        with torch.no_grad():  # asked once: in a trace, a comparison of sizes cannot be followed
            self.columns = network(torch.zeros(1, 1, 28, 28)).shape[1]

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return probabilities, or (probabilities, digit_probability), of images (N, 28, 28) uint8."""
        # All shifts as one batch, shift by shift: the network stands in the graph but once.
        logits = self.network(torch.cat(shifted(images.float().div(255).unsqueeze(1), self.radius)))
        if self.columns == DIGITS:
            return self._averaged(F.softmax(logits, dim=1), DIGITS)
        probabilities = self._averaged(F.softmax(logits[:, :DIGITS], dim=1), DIGITS)
        digit_probability = 1 - self._averaged(F.softmax(logits, dim=1), self.columns)[:, DIGITS]
        return probabilities, digit_probability

    def _averaged(self, shares: Tensor, columns: int) -> Tensor:
        """Return the mean over the shifts, (N, columns), of (shifts * N, columns)."""
        return shares.reshape(len(shift_offsets(self.radius)), -1, columns).mean(0) if self.radius else shares


def network(module: nn.Module, radius: int = 0) -> "ModelProto":
    """Return the graph of `AnsweringNetwork(module, radius)`, batch norm folded into the convolutions before it."""
    answers = AnsweringNetwork(module, radius).eval()
    return traced(answers, ["probabilities"] if answers.columns == DIGITS else ["probabilities", "digit"])


@torch.no_grad()
def traced(module: nn.Module, outputs: list[str]) -> "ModelProto":
    """Return the graph of a module that takes `images`, (N, 28, 28) uint8.

    By PyTorch's older exporter: for three of our networks its graph had the same operators as that of the newer one,
    which took 3 to 10 s in place of 0.4 (PyTorch 2.13).
    """
    import onnx

    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore", DeprecationWarning)  # it says that the newer exporter is the default
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)  # of a padding: onnxruntime folds it
        path = Path(folder) / "traced.onnx"
        torch.onnx.export(
            module,
            (torch.zeros(3, 28, 28, dtype=torch.uint8),),
            path,
            dynamo=False,
            opset_version=OPSETS[""],
            input_names=["images"],
            output_names=outputs,
            dynamic_axes={name: {0: "N"} for name in ("images", *outputs)},
        )
        model: ModelProto = onnx.load(path)
    return model


def classical(model: "Classical") -> "ModelProto":
    """Return the graph of a fitted classical model, its features and Laplace's rule in it; not yet calibrated."""
    from onnx import ModelProto

    assert model.fitted is not None
    answer = ModelProto.FromString(model.fitted.content)
    # scikit-learn's graphs also give the digit, which follows from the probabilities.
    kept = [output for output in answer.graph.output if output.name == "probabilities"]
    del answer.graph.output[:]
    answer.graph.output.extend(kept)
    links = [features(model.features), answer]
    if model.votes is not None:
        links.append(described(SMOOTH, count=float(model.votes), tenth=0.1, count_and_one=model.votes + 1.0))
    return chained(*links)


def features(fitted: Features) -> "ModelProto":
    """Return the graph of fitted features: `images` (N, 28, 28) uint8 in, rows (N, D) float32 out."""
    extraction = nn.Module()
    extraction.forward = fitted.extract
    rows = traced(extraction, ["rows"])
    return chained(rows, _projection(fitted)) if fitted.learned else rows


def _projection(fitted: Features) -> "ModelProto":
    """Return the graph of what the features learned: (N, D) float32 in, centred, scaled and projected out."""
    names = list(fitted.learned)
    values = ["rows", *(f"after_{name}" for name in names[:-1]), "projected"]
    lines = "\n".join(
        f"    {after} = {OPERATORS[name]}({before}, {name})"
        for name, before, after in zip(names, values[:-1], values[1:], strict=True)
    )
    text = f"projection (float[N, D] rows) => (float[N, E] projected) {{\n{lines}\n}}"
    return described(text, **{name: each.T if name == "components" else each for name, each in fitted.learned.items()})


def calibrated(graph: "ModelProto", temperature: float) -> "ModelProto":
    """Return the graph with its first output, probabilities, to the power 1 / temperature, and summing to 1 again."""
    return chained(graph, described(SHARPEN, least=np.float64(1e-30), temperature=np.float64(temperature)))


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
